"""Benchmarks: the raw engine, vLLM's own server and Triton with our backend, side by side."""
