"""Gaussian algebra: precision matrices of one structure each and their divergences in difference form.

Knows no model and no data.
"""
