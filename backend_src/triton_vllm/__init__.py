"""Serve a vLLM engine through Triton's Python backend."""
