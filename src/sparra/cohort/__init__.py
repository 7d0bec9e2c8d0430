"""Subjects, images and folds: who, when, which files."""
