"""What the page shows and says of targets of each kind."""
