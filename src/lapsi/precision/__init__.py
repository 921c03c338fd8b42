"""Gaussian algebra: precision matrices of one structure each and the KL divergence in difference form.

Knows no model and no data.
"""
