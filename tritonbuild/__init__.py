"""Build driver for container images of Triton Inference Server with vLLM."""
