"""Figures of scores, for papers and notebooks.

Every function draws on the matplotlib Axes it is given, or on new ones at the width of a column, and returns them;
`save(axes, "figure.pdf")` writes PNG, SVG or PDF. A notebook shows
the axes themselves as a picture.
"""

from lapsi.plots.agreements import correlation, measures, training
from lapsi.plots.choices import regularization
from lapsi.plots.distributions import by_class, corrupted, distribution
from lapsi.plots.divergences import by_order, by_training
from lapsi.plots.galleries import gallery
from lapsi.plots.predictions import residuals
from lapsi.plots.style import save

__all__ = [
    "by_class",
    "by_order",
    "by_training",
    "correlation",
    "corrupted",
    "distribution",
    "gallery",
    "measures",
    "regularization",
    "residuals",
    "save",
    "training",
]
