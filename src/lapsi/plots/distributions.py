"""How LSI is distributed: over a data set, by class, and over what was changed on purpose."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from lapsi.analysis.label_issues import disagreement
from lapsi.errors import InputError
from lapsi.plots.style import HIGH, INK, LOW, LSI_LABEL, drawing, label_axes, plain
from lapsi.results.scores import Scores
from lapsi.settings.task import CLASSES, MULTILABEL, REGRESSION

FEWEST_BINS, MOST_BINS = 8, 60
CLASSES_AT_MOST = 40
WORDS = {CLASSES: "label", MULTILABEL: "label", REGRESSION: "target"}


def distribution(scores: Scores | Mapping[str, Scores], axes: Axes | None = None) -> Axes:
    """Distribution of LSI on a logarithmic axis, of one run or of several by name (paper, Figure 1).

    Beside that of a network that was retrained: its noise floor, below which LSI says nothing. Infinite LSI is not drawn.

    Raises:
        InputError: when no sample of a run has an LSI above 0.
    """
    runs = {"": scores} if isinstance(scores, Scores) else dict(scores)
    values = {name: _positive(run.lsi, name) for name, run in runs.items()}
    bins = bins_of(np.concatenate(list(values.values())))
    with drawing(axes) as drawn:
        for name, lsi in values.items():
            drawn.hist(lsi, bins=bins, weights=_percent(lsi), histtype="step", label=plain(name))
        drawn.set_xscale("log")
        if len(values) == 1:
            _mark_median(drawn, *values.values())
            mark_floor(drawn, *runs.values())
        else:
            _legend_above(drawn)
        return label_axes(drawn, LSI_LABEL, "samples (%)")


def by_class(scores: Scores, axes: Axes | None = None) -> Axes:
    """LSI of each class, ordered by its median: quartiles as boxes, 5 to 95 % as whiskers (paper, Figure 7).

    With several labels a sample: of the samples that have each label; of numbers: of each quarter of the (first) target.
    """
    scores = scores.as_drawn()
    parts = scores.evidence.parts(scores.table, scores.outputs)
    known = [(name, scores.lsi[rows]) for name, rows in parts if len(rows)]
    groups = sorted(known, key=lambda group: float(np.median(group[1])))
    half = CLASSES_AT_MOST // 2
    ordered = groups if len(groups) <= CLASSES_AT_MOST else groups[:half] + groups[-half:]
    with drawing(axes, height=max(1.2, 0.17 * len(ordered) + 0.6)) as drawn:
        boxes = drawn.boxplot(
            [lsi for _, lsi in ordered],
            orientation="horizontal",
            whis=(5, 95),
            showfliers=False,
            patch_artist=True,
            widths=0.6,
            medianprops={"color": INK},
        )
        for box in boxes["boxes"]:
            box.set(facecolor=LOW, alpha=0.45, edgecolor=LOW)
        drawn.set_yticks(range(1, len(ordered) + 1), [plain(name) for name, _ in ordered])
        drawn.set_xscale("log")
        left_out = f"{len(ordered)} of {len(groups)} {scores.evidence.rows_are}" if len(groups) > len(ordered) else ""
        drawn.set_title(left_out, loc="left")
        return label_axes(drawn, LSI_LABEL, "")


def corrupted(scores: Scores, axes: Axes | None = None) -> Axes:
    """LSI of samples that were changed on purpose against the others, one line a kind of change (paper, Figures 5 and 6).

    Where nothing was changed, samples whose target differs from `reference_label` against the others.

    Raises:
        InputError: when the run knows neither.
    """
    table = scores.table
    if "corruption" in table:
        kinds = table["corruption"].astype(object).where(table["corruption"].notna(), "as found")
    elif "reference_label" in table:
        known, differs = disagreement(scores, "reference_label")
        word = WORDS[scores.task]
        names = np.where(known, np.where(differs, f"{word}s differ", f"{word}s agree"), f"no second {word}")
        kinds = pd.Series(names, index=table.index)
    else:
        second = f"second {WORDS[scores.task]}s"
        raise InputError(f"The run knows of no changed samples and no {second}, so there is nothing to compare.")
    values = {str(kind): _positive(part.to_numpy(), str(kind)) for kind, part in table["lsi"].groupby(kinds)}
    bins = bins_of(np.concatenate(list(values.values())))
    with drawing(axes) as drawn:
        for kind in sorted(values, key=lambda name: -len(values[name])):
            lsi = values[kind]
            drawn.hist(lsi, bins=bins, weights=_percent(lsi), histtype="step", label=plain(f"{kind} ({len(lsi):,})"))
        _legend_above(drawn)
        drawn.set_xscale("log")
        return label_axes(drawn, LSI_LABEL, "samples of each kind (%)")


def _positive(lsi: np.ndarray, name: str) -> np.ndarray:
    positive = lsi[(lsi > 0) & np.isfinite(lsi)]
    if len(positive) == 0:
        raise InputError(f"No sample{f' of {name}' if name else ''} has a finite LSI above 0: a logarithmic axis shows none.")
    return positive


def bins_of(values: np.ndarray) -> list[float]:
    """Edges of the bins of a histogram on a logarithmic axis, fewer of few values (n,) > 0: about 2 √n bins."""
    n_edges = 1 + int(np.clip(2 * np.sqrt(len(values)), FEWEST_BINS, MOST_BINS))
    return np.geomspace(values.min() * 0.999, values.max() * 1.001, n_edges).tolist()


def _percent(lsi: np.ndarray) -> np.ndarray:
    """Weights with which a histogram counts percent."""
    return np.full(len(lsi), 100 / len(lsi))


def _legend_above(axes: Axes) -> None:
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2)


def _mark_median(axes: Axes, lsi: np.ndarray) -> None:
    median = float(np.median(lsi))
    axes.set_ylim(top=1.12 * axes.get_ylim()[1])
    axes.axvline(median, color=HIGH, linewidth=0.8, linestyle="--")
    axes.annotate(
        f"median {median:.1e}", (median, 1.0), xycoords=("data", "axes fraction"), xytext=(3, 0), textcoords="offset points",
        va="top", fontsize=7, color=INK,
    )  # fmt: skip


def mark_floor(axes: Axes, run: Scores) -> None:
    """Shades what lies below the noise floor of a run, where it has one."""
    floor = max(run.provenance.noise_floor.values(), default=0.0)
    low, high = axes.get_xlim()
    if not low < floor:
        return
    axes.axvspan(low, min(floor, high), color=INK, alpha=0.12, linewidth=0)
    axes.annotate(
        "noise floor", (min(floor, high), 0.9), xycoords=("data", "axes fraction"), xytext=(-3, 0),
        textcoords="offset points", ha="right", va="top", fontsize=7, color=INK,
    )  # fmt: skip
    axes.set_xlim(low, high)
