"""Where scores cannot mean much, in words: what a reader should know before believing them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lapsi.results.verification import TRAINED_ON, TRUSTED, WHAT_TO_DO
from lapsi.settings.task import CLASSES, REGRESSION

if TYPE_CHECKING:
    from lapsi.results.scores import Scores

GAP = 0.15  # of accuracy, or of R², between training and leave-one-out
FAR = 10.0  # times as far from the middle of the map as 95% of the samples
MIDDLE = 0.95
FEWEST = 20  # samples of which a share says something
NAMED = 3  # samples or classes in a sentence


def cautions(scores: Scores) -> list[str]:
    """Sentences, most important first; none where nothing was found."""
    fit = _of_classes(scores) if scores.task == CLASSES else _of_numbers(scores) if scores.task == REGRESSION else []
    return [*_otherwise_ranked(scores), *_not_at_an_optimum(scores), *fit, *_alone(scores), *_far_off(scores)]


def _otherwise_ranked(scores: Scores) -> list[str]:
    """Whether a network that trained on without samples ranks them otherwise."""
    checked = scores.provenance.verification or {}
    spearman = checked.get("spearman")
    if checked.get("reference") != TRAINED_ON or spearman is None or not spearman < TRUSTED:
        return []
    return [
        f"The ranking of this run is not to be trusted: among {len(checked['rows'])} samples that training went on without, "
        f"the rank correlation of LSI with theirs is {spearman:.2f}. {WHAT_TO_DO}"
    ]


def _not_at_an_optimum(scores: Scores) -> list[str]:
    """Whether a network stands farther from an optimum of its loss than its samples move it."""
    unconverged = scores.provenance.plan.get("unconverged")
    if not isinstance(unconverged, float):
        return []
    median = float(scores.table["lsi_mean"].median())
    if unconverged <= median:
        return []
    return [
        f"The weights are {unconverged:.1e} nats from an optimum, and a sample moves them by {median:.1e} (median): training "
        "has not ended there, or with another weight decay (give its own). What one step says of leaving is then rough."
    ]


def _of_classes(scores: Scores) -> list[str]:
    """Whether the model without a sample knows more of its label than the sizes of the classes tell."""
    trained, found = scores.provenance.train_accuracy, float(scores.table["suggested_label"].isna().mean())
    largest = float(scores.table["label"].value_counts(normalize=True).iloc[0])
    if len(scores) < FEWEST:
        return []
    if found <= largest and len(scores.classes) > 1:
        return [
            f"Leave-one-out accuracy is {found:.1%}, no better than always naming the largest class ({largest:.1%}): these "
            "features say little about these labels, so label quality and doubted labels mean little too. Check that "
            "features and labels stand in the same order, or take other features."
        ]
    return _overfitted(trained, found, f"Leave-one-out accuracy is {found:.1%}", "training accuracy {:.1%}")


def _of_numbers(scores: Scores) -> list[str]:
    trained, found = scores.provenance.train_r2, float(scores.summary()["loo_r2"].iloc[-1])
    if len(scores) < FEWEST or not np.isfinite(found):
        return []
    if found <= 0:
        return [
            f"Leave-one-out R² is {found:.2f}, no better than always naming the mean: these features say little about these "
            "targets, so target quality and doubted targets mean little too. Check that features and targets stand in the "
            "same order, or take other features."
        ]
    return _overfitted(trained, found, f"Leave-one-out R² is {found:.2f}", "training R² {:.2f}")


def _overfitted(trained: float | None, found: float, told: str, beside: str) -> list[str]:
    if trained is None or trained - found < GAP:
        return []
    return [
        f"{told}, {beside.format(trained)}: the model knows its training samples by heart, so many right targets are doubted. "
        "Fewer features or more samples help, and a larger weight decay where it was given."
    ]


def _alone(scores: Scores) -> list[str]:
    """Classes of one sample, where all samples were scored."""
    if scores.task != CLASSES or len(scores) < scores.provenance.n_samples:
        return []
    sizes = scores.table["label"].value_counts()
    single = sorted(map(str, sizes[sizes == 1].index))
    if not single:
        return []
    which = "A class has" if len(single) == 1 else f"{len(single):,} classes have"
    return [
        f"{which} one sample only ({_listed(single)}): a model without it cannot know the class, so its label is doubted "
        "whether right or wrong."
    ]


def _far_off(scores: Scores) -> list[str]:
    """Samples whose features are unlike those of all others."""
    if scores.map is None or len(scores) < FEWEST:
        return []
    away = np.linalg.norm(scores.map - np.median(scores.map, axis=0), axis=1)
    far = np.flatnonzero(away > FAR * np.quantile(away, MIDDLE))
    if len(far) == 0:
        return []
    ids = scores.table["id"].astype(str).to_numpy()[far[np.argsort(-away[far], kind="stable")]]
    which = "The features of one sample lie" if len(far) == 1 else f"The features of {len(far):,} samples lie"
    return [
        f"{which} more than {FAR:.0f} times as far from the middle as those of {MIDDLE:.0%} of all ({_listed(list(ids))}): "
        "perhaps damaged or in other units. They move the model and the scores of the others; mend or remove them, and score "
        "again."
    ]


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
