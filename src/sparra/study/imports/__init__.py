"""Importing a whole folder of feature files that another tool wrote."""
