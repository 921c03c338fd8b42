"""What is minimised, and what leaving means."""
