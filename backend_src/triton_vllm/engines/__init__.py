"""vLLM's engines behind one interface, an adapter per generation."""
