"""A run in plain words: sentences, figures and the small print, all as plain strings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lapsi.results.scores import Scores

TOP = 0.1
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
REFERENCES = {
    "exact": "models trained to convergence without them",
    "removal form": "models trained to convergence without them",
    "trained alone": "models trained one at a time in float64",
}


@dataclass(frozen=True, slots=True)
class Words:
    """What the page says beside its plots.

    Attributes:
        figures: a value and what it counts.
        sentences: the data set in plain words.
        settings, provenance, columns: names and values.
        accuracy: how exact the scores are.
    """

    figures: list[tuple[str, str]]
    sentences: list[str]
    settings: list[tuple[str, str]]
    provenance: list[tuple[str, str]]
    columns: list[tuple[str, str]]
    accuracy: str


def describe(scores: Scores) -> Words:
    """All words of a run."""
    return Words(
        figures=_figures(scores),
        sentences=_sentences(scores),
        settings=_flat(scores.provenance.settings),
        provenance=_provenance(scores),
        columns=[(column.name, column.help) for column in scores.columns],
        accuracy=_accuracy(scores.provenance.verification),
    )


def number(value: float) -> str:
    """Three significant digits, e.g. "0.0123" or "4.56 × 10⁻⁷"."""
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e5:
        return f"{value:,.{max(0, 2 - _exponent(value))}f}"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa} × 10{str(int(exponent)).translate(SUPERSCRIPTS)}"


def _exponent(value: float) -> int:
    return int(np.floor(np.log10(abs(value))))


def _figures(scores: Scores) -> list[tuple[str, str]]:
    doubted = int(scores.table["suggested_label"].notna().sum())
    return [
        (f"{len(scores):,}", "samples scored"),
        (f"{scores.provenance.n_classes:,}", "classes"),
        (number(float(np.median(scores.lsi))), "median LSI, nats"),
        (f"{doubted:,}", f"labels doubted ({doubted / len(scores):.1%})"),
        (f"{1 - doubted / len(scores):.1%}", "leave-one-out accuracy"),
        (f"{scores.provenance.train_accuracy:.1%}", "training accuracy"),
    ]


def _sentences(scores: Scores) -> list[str]:
    provenance, lsi, summary = scores.provenance, scores.lsi, scores.summary().iloc[:-1]
    scored = "all of them" if len(scores) == provenance.n_samples else f"{len(scores):,} of them"
    top = max(1, round(0.01 * len(scores)))
    share = np.sort(lsi)[-top:].sum() / lsi.sum() if lsi.sum() > 0 else 0.0
    doubted = int(scores.table["suggested_label"].notna().sum())
    sentences = [
        f"The data set has {provenance.n_samples:,} samples in {provenance.n_classes:,} classes, each described by "
        f"{provenance.n_features:,} features; {scored} were scored.",
        f"LSI runs from {number(lsi.min())} to {number(lsi.max())} nats; half of the samples lie below "
        f"{number(float(np.median(lsi)))}. The highest {_samples(top)} hold{'s' if top == 1 else ''} {share:.0%} of all LSI.",
    ]
    if len(summary) > 1:
        least, most = summary.iloc[0], summary.iloc[-1]
        sentences.append(
            f"By median, samples of class “{summary.index[-1]}” teach the model most ({number(most['lsi_median'])}), those of "
            f"“{summary.index[0]}” least ({number(least['lsi_median'])})."
        )
    sentences.append(
        f"For {_samples(doubted)} ({doubted / len(scores):.1%}) the model that never saw the sample prefers another label. "
        "A doubted label is not a wrong one: look before you change it."
    )
    return sentences + _planted(scores)


def _planted(scores: Scores) -> list[str]:
    if "corrupted" not in scores.table:
        return []
    marked = scores.table["corrupted"].fillna(False).astype(bool).to_numpy()
    if not marked.any():
        return []
    top = max(1, round(TOP * len(scores)))
    by_lsi = marked[np.argsort(-scores.lsi, kind="stable")[:top]].sum()
    by_quality = marked[np.argsort(scores.table["label_quality"].to_numpy(), kind="stable")[:top]].sum()
    return [
        f"Known to be corrupted: {_samples(int(marked.sum()))}. The top tenth by LSI holds {by_lsi:,} of them, the tenth with "
        f"the lowest label quality {by_quality:,}."
    ]


def _samples(count: int) -> str:
    return f"{count:,} sample{'' if count == 1 else 's'}"


def _accuracy(verification: dict[str, Any] | None) -> str:
    if verification is None:
        return "The accuracy of these scores was not measured (verify 0)."
    if verification.get("failure"):
        return f"The accuracy of these scores was NOT measured: the check failed ({verification['failure']})."
    reference = REFERENCES.get(verification["reference"], verification["reference"])
    text = (
        f"{_samples(len(verification['rows']))} were checked against {reference}: the largest relative error of LSI is "
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
    pairs += [(f"extractor: {name}", value) for name, value in _flat(provenance.extractor or {})]
    pairs += [(f"corruption: {name}", value) for name, value in _flat(provenance.corruption)]
    return pairs + ([("licence", provenance.licence)] if provenance.licence else [])


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
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
