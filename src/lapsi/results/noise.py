"""What training alone makes of LSI, in words, where that was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lapsi.results.scores import Scores

NOISES = {"rounding": "with another last digit", "order": "with other batches"}


def share_below_noise(scores: Scores) -> float:
    """Of the samples, by LSI; 0 where no noise floor was measured."""
    floor = scores.provenance.noise_floor
    return float((scores.lsi <= max(floor.values())).mean()) if floor else 0.0


def noise_in_words(scores: Scores) -> str:
    """A sentence; "" where no noise floor was measured."""
    floor = scores.provenance.noise_floor
    if not floor:
        return ""
    said = ", ".join(f"{value:.1e} nats {NOISES.get(name, name)}" for name, value in floor.items())
    share = share_below_noise(scores)
    return f"Noise floor: the same training with nothing removed: {said}; {share:.0%} of the samples lie below it."
