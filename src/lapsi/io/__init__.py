"""Readers of feature files, and the writer of score tables."""
