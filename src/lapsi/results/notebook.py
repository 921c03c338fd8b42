"""How scores look in a notebook: the classes and both ends of the ranking, every value escaped."""

from __future__ import annotations

from html import escape

import pandas as pd

from lapsi.results.columns import CLASSES, COLUMNS, Column

ENDS = 5
CLASSES_SHOWN = 12
CELL = 40  # characters
SHOWN = ("id", "label", "suggested_label", "lsi", "label_quality")
BY_CLASS = ("samples", "lsi_median", "lsi_max", "loo_accuracy", "contradicted")
STYLE = "text-align:left;font-weight:600;padding:4px 0"


def notebook_view(table: pd.DataFrame, summary: pd.DataFrame, source: str, n_samples: int) -> str:
    """HTML of a run.

    Args:
        table: of `Scores`.
        summary: one row a class ordered by median LSI, and a last row for all.
        source: where the data came from.
        n_samples: of the data set, of which those in the table were scored.
    """
    classes = summary.iloc[:-1]
    if len(classes) > CLASSES_SHOWN:
        classes = pd.concat([classes.iloc[: CLASSES_SHOWN // 2], classes.iloc[-CLASSES_SHOWN // 2 :]])
    left_out = len(summary) - 1 - len(classes)
    title = "By class, ordered by median LSI (nats)" + (f"; {left_out} classes in the middle are left out" if left_out else "")
    ranked = table.sort_values("rank", ignore_index=True)
    rows = pd.concat([classes, summary.iloc[-1:]]).reset_index()
    ends = [COLUMNS[name] for name in SHOWN]
    return (
        f"<div><p><b>{len(table):,} of {n_samples:,} samples</b> from {escape(source)}</p>"
        + _html(title, rows, [COLUMNS["label"], *(CLASSES[name] for name in BY_CLASS)])
        + _html("Most informative: atypical, hard or mislabelled", ranked.head(ENDS), ends)
        + _html("Least informative: typical, redundant", ranked.tail(ENDS)[::-1], ends)
        + "<p>High LSI is not the same as a wrong label; low label quality is the evidence for one.</p></div>"
    )


def _html(title: str, rows: pd.DataFrame, columns: list[Column]) -> str:
    shown = pd.DataFrame(
        {column.title: [_cell(column.show(value)) for value in rows[column.name].tolist()] for column in columns}
    )
    caption = f'<caption style="{STYLE}">{escape(title)}</caption>'
    return shown.to_html(index=False, border=0, escape=True).replace("<thead>", f"{caption}<thead>", 1)


def _cell(text: str) -> str:
    return text if len(text) <= CELL else text[: CELL - 1] + "…"
