"""Numbers that tell what a unit is worth: a measure a file."""
