"""The process that the engine's front end runs in.

Triton's stub has one interpreter lock, and every call between it and the server takes it several
times. An engine in the same process waits for those calls and they for the engine; here it has a
lock of its own, and the stub needs neither vLLM nor the library versions that vLLM needs.
"""
