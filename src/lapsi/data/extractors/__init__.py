"""Frozen pretrained models, and the cache of what they made."""
