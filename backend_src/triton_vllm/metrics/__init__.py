"""The metrics of a model: which there are, and how their values reach Triton."""
