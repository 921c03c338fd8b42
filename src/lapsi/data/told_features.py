"""Features in words, where these hardly tell samples apart."""

from __future__ import annotations

from lapsi.data.blocks import Survey
from lapsi.data.standardize import is_constant

FEW = 0.5  # of the features


def doubt_features(features: Survey) -> str:
    """Whether most or all are the same for every sample; "" where that is not so."""
    constant = is_constant(features)
    if constant.all():
        return (
            f"All {len(constant):,} features are the same for every sample, so nothing tells the samples apart; are these the "
            "features that were meant?"
        )
    if constant.mean() < FEW:
        return ""
    return f"{int(constant.sum()):,} of {len(constant):,} features are the same for every sample, and tell nothing."
