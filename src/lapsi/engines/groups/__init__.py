"""Whole groups that leave together."""
