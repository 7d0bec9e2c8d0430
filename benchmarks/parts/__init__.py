"""What the benchmarks share: bags and plain references."""
