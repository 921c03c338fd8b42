"""Models on frozen features: forward passes and per-sample derivatives in batch form."""
