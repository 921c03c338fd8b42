"""Pictures of a run. Nothing here trains."""
