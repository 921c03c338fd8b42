"""Figure 6: texts with flipped labels beside lorem ipsum with random labels; LSI tells them apart."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from experiments.base import Experiment, Numbers, Setup, main
from experiments.data import reviews, text_features
from experiments.drawing import distributions, panels
from experiments.summaries import auroc, described, median_ratio
from experiments.verdicts import PAPER, Check, Verdict
from experiments.ways import AS_PAPER
from lapsi.data.corruption import flip_labels, lorem_ipsum
from lapsi.plots.style import HIGH, LOW, PALETTE

SHARE = 0.1
KINDS = FLIPPED, LOREM = ("flipped labels", "lorem ipsum")


def corrupted(kind: str, texts: list[str], labels: np.ndarray) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Texts and labels of which a tenth is changed, and which ones (N,)."""
    generator = np.random.default_rng(0)
    if kind == FLIPPED:
        flipped = flip_labels(labels, 2, SHARE, generator)
        return texts, flipped, flipped != labels
    rows = np.sort(generator.choice(len(texts), round(SHARE * len(texts)), replace=False))
    changed, drawn = np.array(texts, dtype=object), labels.copy()
    changed[rows] = lorem_ipsum([len(texts[row]) for row in rows], int(generator.integers(2**31)))
    drawn[rows] = generator.permutation(np.arange(len(rows)) % 2)
    return changed.tolist(), drawn, np.isin(np.arange(len(texts)), rows)


def measure(setup: Setup) -> Numbers:
    """LSI under each kind of corruption."""
    texts, labels, what = reviews(setup, setup.sized(25_000, 5_000, 120))
    found, by = {}, ""
    for kind in KINDS:
        setup.tell(f"{kind}: {len(texts):,} texts")
        changed, y, touched = corrupted(kind, texts, labels)
        X, by = text_features(setup, changed)
        lsi = AS_PAPER.closed_form(X, y).lsi
        found[kind] = {"as found": described(lsi[~touched]), kind: described(lsi[touched]), "auroc": auroc(touched, lsi)}
    return {"data": f"{what}, features: {by}", "kinds": found, PAPER: AS_PAPER.says}


def judge(numbers: Numbers) -> tuple[Verdict, ...]:
    """Medians, and how far the quartiles lie apart."""
    flipped, lorem = (numbers["kinds"][kind] for kind in KINDS)
    spread = lorem[LOREM]["q75"] / lorem[LOREM]["q25"]
    of_others = lorem["as found"]["q75"] / lorem["as found"]["q25"]
    return (
        Verdict(
            "texts with flipped labels have higher LSI than the others",
            "Figure 6, left",
            (
                Check("median over the others", median_ratio(flipped[FLIPPED], flipped["as found"]), "≥", 2.0),
                Check("AUROC", flipped["auroc"], "≥", 0.8),
            ),
        ),
        Verdict(
            "lorem ipsum is concentrated around an intermediate value",
            "Figure 6, right",
            (
                Check("upper over lower quartile, as a share of that of the others", spread / of_others, "≤", 0.5),
                Check("median over the 5 % quantile of the others", lorem[LOREM]["q50"] / lorem["as found"]["q5"], ">", 1.0),
                Check("median over the 95 % quantile of the others", lorem[LOREM]["q50"] / lorem["as found"]["q95"], "<", 1.0),
            ),
        ),
        Verdict(
            "mislabelled texts have higher LSI than lorem ipsum",
            "Figure 6",
            (Check("median of flipped labels over lorem ipsum", median_ratio(flipped[FLIPPED], lorem[LOREM]), ">", 1.0),),
        ),
    )


def draw(numbers: Numbers) -> Figure:
    """A panel a kind."""
    figure, axes = panels(2, height=2.5)
    for each, colour, (kind, kept) in zip(axes, (HIGH, PALETTE[2]), numbers["kinds"].items(), strict=True):
        distributions(each, {"as found": kept["as found"], kind: kept[kind]}, (LOW, colour))
    low, high = min(each.get_xlim()[0] for each in axes), max(each.get_xlim()[1] for each in axes)
    for each in axes:
        each.set_xlim(low, high)
    return figure


EXPERIMENT = Experiment(
    "text_corruption", "Figure 6", "Does LSI tell wrong labels from lorem ipsum?", 0.7, measure, judge, draw
)

if __name__ == "__main__":
    main(EXPERIMENT)
