"""Importance maps: scores of patches, their files in open formats, and whether they can be trusted."""
