"""Studies and timings, one command each."""
