"""Frozen pretrained extractors that turn images and texts into features, and the cache of what they gave."""
