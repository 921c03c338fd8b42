"""Likely errors of targets of each kind."""
