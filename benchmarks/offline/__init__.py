"""A payload that carries the benchmarks to a machine with a GPU and no network."""
