"""Survival models, one a file."""
