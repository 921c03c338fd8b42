"""What is trained: forward passes and per-sample derivatives in batch form."""
