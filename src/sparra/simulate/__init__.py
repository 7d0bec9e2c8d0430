"""Synthetic CTs, slides and follow-up with known planted biomarkers."""
