"""What models that never saw the samples say of their targets: a kind of targets a file."""
