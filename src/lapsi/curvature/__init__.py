"""How the curvature of a problem is summarised, and how the summary changes when units leave."""
