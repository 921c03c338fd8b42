"""A run in plain words: sentences, figures and the small print, all as plain strings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lapsi.analysis.checks.told import in_a_line
from lapsi.analysis.issues.choose import ISSUES
from lapsi.analysis.label_issues import disagreement, label_issues
from lapsi.report.columns import page_columns
from lapsi.report.kinds.base import View
from lapsi.report.kinds.choose import view_of
from lapsi.report.phrasing import counted, number
from lapsi.results.noise import noise_in_words
from lapsi.results.provenance import Provenance
from lapsi.results.regularization import chosen_of
from lapsi.results.scores import Scores
from lapsi.results.verification import TRAINED_ON, ranking_in_words

TOP = 0.1
NOTHING = "–"
REFERENCES = {
    "exact": "models trained to convergence without them",
    "removal form": "models trained to convergence without them",
    "trained alone": "models trained one at a time in float64",
}

OF_THE_CACHE = ("cache", "n_from_cache", "left_out")
CHANGES: dict[str, Callable[[Any], str]] = {
    "human_labels": lambda _: "labels that people gave in the place of the given ones",
    "flip_labels": lambda value: f"{100 * value:.3g}% of the labels flipped",
    "lorem_ipsum": lambda value: f"{100 * value:.3g}% of the texts replaced by lorem ipsum",
    "noise": lambda value: f"noise of {value:g} standard deviations on features",
    "noise_classes": lambda names: f"only of {', '.join(map(str, names))}",
}


@dataclass(frozen=True, slots=True)
class Words:
    """What the page says beside its plots.

    Attributes:
        figures: a value and what it counts.
        sentences: the data set in plain words.
        settings, provenance, columns: names and values.
        accuracy: how exact the scores are.
        regularization: how it was chosen; "" where it was given.
    """

    figures: list[tuple[str, str]]
    sentences: list[str]
    settings: list[tuple[str, str]]
    provenance: list[tuple[str, str]]
    columns: list[tuple[str, str]]
    accuracy: str
    regularization: str


def describe(scores: Scores) -> Words:
    """All words of a run."""
    view = view_of(scores)
    return Words(
        figures=_figures(scores, view),
        sentences=_sentences(scores, view),
        settings=_settings(scores, view),
        provenance=_provenance(scores),
        columns=[(view.called(column), column.help) for column in page_columns(scores)],
        accuracy=_accuracy(scores.provenance.verification, view.phrases(scores.outputs).exactness),
        regularization=_regularization(scores),
    )


def _settings(scores: Scores, view: View) -> list[tuple[str, str]]:
    """Those that were made use of, by their own names where these tell them apart."""
    told = dict(_flat(scores.provenance.settings))
    idle = {"engine.name", *(["model.activation"] if told.get("model.hidden", "") == NOTHING else []), *view.hidden}
    pairs = [(name, value) for name, value in told.items() if name not in idle and value != NOTHING]
    short = [name.rpartition(".")[2] for name, _ in pairs]
    return [(own if short.count(own) == 1 else name, value) for own, (name, value) in zip(short, pairs, strict=True)]


def _described(provenance: Provenance) -> str:
    """By what the model knows a sample, or how large the network is that does."""
    if "network" in provenance.settings:
        return f"seen by a network of {provenance.n_features:,} parameters"
    if "pairs" in provenance.settings:
        return f"both sides described by {provenance.n_features:,} features"
    return f"each described by {provenance.n_features:,} features"


def _figures(scores: Scores, view: View) -> list[tuple[str, str]]:
    of_targets = view.figures(scores)
    median = (number(float(np.median(scores.lsi))), "median LSI, nats")
    return [(f"{len(scores):,}", "samples scored"), *of_targets[:-3], median, *of_targets[-3:]]


def _sentences(scores: Scores, view: View) -> list[str]:
    provenance, lsi, summary = scores.provenance, scores.lsi, scores.summary().iloc[:-1]
    scored = "all of them" if len(scores) == provenance.n_samples else f"{len(scores):,} of them"
    top = max(1, round(0.01 * len(scores)))
    share = np.sort(lsi)[-top:].sum() / lsi.sum() if lsi.sum() > 0 else 0.0
    sentences = [
        f"The data set has {provenance.n_samples:,} samples {view.predicted(scores)}, {_described(provenance)}; {scored} were "
        "scored.",
        *([f"Their features, by which the map lays them out, are {seen}."] if (seen := provenance.features_in_words) else []),
        f"LSI runs from {number(lsi.min())} to {number(lsi.max())} nats; half of the samples lie below "
        f"{number(float(np.median(lsi)))}. The highest {counted(top)} hold{'s' if top == 1 else ''} {share:.0%} of all LSI.",
    ]
    if len(summary) > 1:
        least, most = (view.part_named(summary.index[place], scores.outputs) for place in (0, -1))
        medians = summary["lsi_median"]
        sentences.append(
            f"By median, {most} teach the model most ({number(medians.iloc[-1])}), {least} least ({number(medians.iloc[0])})."
        )
    return [
        *sentences,
        view.doubts(scores),
        *_planted(scores, view),
        *_second(scores, view),
        *_noise(scores),
        *_checked(scores),
    ]


def _planted(scores: Scores, view: View) -> list[str]:
    if "corrupted" not in scores.table:
        return []
    marked = scores.table["corrupted"].fillna(False).astype(bool).to_numpy()
    if not marked.any():
        return []
    top = max(1, round(TOP * len(scores)))
    by_lsi = marked[np.argsort(-scores.lsi, kind="stable")[:top]].sum()
    by_quality = marked[np.argsort(scores.table["label_quality"].to_numpy(), kind="stable")[:top]].sum()
    return [
        f"Known to be corrupted: {counted(int(marked.sum()))}. The top tenth by LSI holds {by_lsi:,} of them, the tenth with "
        f"the lowest {view.phrases(scores.outputs).quality} {by_quality:,}."
    ]


def _noise(scores: Scores) -> list[str]:
    said = noise_in_words(scores)
    return [f"{said} What lies below is no more than training again makes of LSI by itself."] if said else []


def _checked(scores: Scores) -> list[str]:
    line = in_a_line(scores)
    return [f"Checks of the data: {line}."] if line else []


def _second(scores: Scores, view: View) -> list[str]:
    """How the targets agree with second ones, and how well their quality tells which do not."""
    if "reference_label" not in scores.table or scores.task not in ISSUES:
        return []
    known, differs = disagreement(scores, "reference_label")
    say = view.phrases(scores.outputs)
    if not known.any():
        return []
    told = (
        f"Of {counted(int(known.sum()))} with a reference, {differs.sum():,} ({differs.sum() / known.sum():.1%}) differ from it"
    )
    found = label_issues(scores).found
    if found is None or found.truth != "reference_label":
        return [f"{told}."]
    return [
        f"{told}. Ranked by {say.quality}, one that differs comes before one that agrees with a probability of "
        f"{found.auroc:.1%} (AUROC {found.auroc:.3f}, average precision {found.average_precision:.3f}); of those that are "
        f"doubted, {found.precision:.0%} differ, and {found.recall:.0%} of all that differ are doubted."
    ]


def _accuracy(verification: dict[str, Any] | None, word: str) -> str:
    if verification is None:
        return f"The {word} of these scores was not measured (verify 0)."
    if verification.get("failure"):
        return f"The {word} of these scores was NOT measured: the check failed ({verification['failure']})."
    if verification["reference"] == TRAINED_ON:
        return ranking_in_words(verification)
    reference = REFERENCES.get(verification["reference"], verification["reference"])
    text = (
        f"{counted(len(verification['rows']))} were checked against {reference}: the largest relative error of LSI is "
        f"{number(verification['max_relative_error'])}, the median {number(verification['median_relative_error'])}."
    )
    suspected, random = (verification.get(f"max_relative_error_{name}") for name in ("suspected", "random"))
    if suspected is not None and random is not None:
        text += (
            f" The largest of those that were estimated to be off most is {number(suspected)}, of those drawn at random "
            f"{number(random)}."
        )
    dense = verification.get("max_relative_error_exact")
    return text if dense is None else f"{text} Other samples' curvature included, the largest is {number(dense)}."


def _regularization(scores: Scores) -> str:
    chosen = chosen_of(scores.provenance.regularization)
    return "" if chosen is None else f"Regularisation: {chosen.sentence()}."


def _provenance(scores: Scores) -> list[tuple[str, str]]:
    provenance = scores.provenance
    seconds = ", ".join(f"{name} {value:.1f}" for name, value in provenance.seconds.items())
    pairs = [
        ("source", provenance.source),
        ("created", provenance.created),
        ("lapsi", provenance.version),
        ("engine", provenance.engine),
        ("precision and device", f"{provenance.dtype}, {provenance.device}"),
        ("gradient at the optimum", f"{number(provenance.grad_norm)} after {provenance.n_iterations:,} iterations"),
        ("seconds", f"{sum(provenance.seconds.values()):.1f} ({seconds})"),
        ("data hash", provenance.data_hash),
    ]
    made_by = {name: value for name, value in (provenance.extractor or {}).items() if name not in OF_THE_CACHE}
    pairs += [(f"extractor: {name}", value) for name, value in _flat(made_by) if value != NOTHING]
    changed = _changed(provenance.corruption)
    pairs += [("changed on purpose", changed)] if changed else []
    return pairs + ([("licence", provenance.licence)] if provenance.licence else [])


def _changed(corruption: dict[str, Any]) -> str:
    """What was changed on purpose, e.g. "10% of the labels flipped; in all 180 samples"; "" for nothing."""
    told = [say(corruption[name]) for name, say in CHANGES.items() if corruption.get(name)]
    return "; ".join([*told, f"in all {counted(corruption.get('n_corrupted', 0))}"]) if told else ""


def _flat(settings: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as pairs; names joined by a dot."""
    pairs: list[tuple[str, str]] = []
    for name, value in settings.items():
        if isinstance(value, dict):
            pairs += _flat(value, f"{prefix}{name}.")
        else:
            pairs.append((f"{prefix}{name}".replace("_", " "), _plain(value)))
    return pairs


def _plain(value: Any) -> str:
    if value is None or value in ([], ()):
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)
