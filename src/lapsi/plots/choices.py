"""How the weight decay of a run was chosen."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes

from lapsi.errors import InputError
from lapsi.plots.style import HIGH, INK, LOW, drawing, label_axes
from lapsi.results.regularization import NAMES, chosen_of
from lapsi.results.scores import Scores
from lapsi.settings.model import EACH, NONE, ONE

COLOURS = {EACH: LOW, ONE: HIGH, NONE: INK}


def regularization(scores: Scores, axes: Axes | None = None) -> Axes:
    """Leave-one-out loss by weight decay, a line a scaling of the features; dotted what the marginal likelihood gives a sample.

    A ring marks what was chosen.

    Raises:
        InputError: when the run chose neither weight decay nor scaling.
    """
    found = chosen_of(scores.provenance.regularization)
    if found is None:
        raise InputError("The run was given its weight decay and scaling, so there is no choice to draw.")
    with drawing(axes) as drawn:
        for name, n_trained in found.groups():
            trials = found.curve(name, n_trained)
            decays, losses = [trial.weight_decay for trial in trials], [trial.loo_loss for trial in trials]
            of = "" if n_trained == found.chosen.n_trained else f", {n_trained:,} samples"
            style: Any = {"color": COLOURS[name], "alpha": 1.0 if n_trained == found.chosen.n_trained else 0.5}
            drawn.plot(decays, losses, marker="o", markersize=2, label=f"{NAMES[name]}{of}", **style)
            known = [
                (trial.weight_decay, -trial.log_evidence / n_trained) for trial in trials if trial.log_evidence is not None
            ]
            if known:
                drawn.plot(*zip(*known, strict=True), linestyle=":", linewidth=0.8, **style)
        drawn.plot(found.chosen.weight_decay, found.chosen.loo_loss, "o", markersize=7, fillstyle="none", color=INK)
        drawn.set_xscale("log")
        drawn.legend(title="dotted: −ln evidence", title_fontsize=7)
        return label_axes(drawn, "weight decay", "loss of unseen samples (nats)")
