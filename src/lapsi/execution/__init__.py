"""Where and how work runs: files, checkpoint, progress, environment."""
