"""What leaves, and what moves when it does."""
