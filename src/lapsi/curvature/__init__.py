"""How the curvature of a probe is summarised, and how the summary changes when one sample leaves."""
