"""Batching, the fit loop, checkpoints, prediction."""
