"""Teachers for benchmarks."""
