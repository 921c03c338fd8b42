"""What saved scores tell together."""
