"""Samples leave a trained torch module by one Newton step in the eigenbasis of its curvature."""
