"""Clustering of bags into nodes, edges between them, and their store."""
