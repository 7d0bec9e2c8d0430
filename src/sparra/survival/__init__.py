"""Survival estimators and their grids, metrics, comparison."""
