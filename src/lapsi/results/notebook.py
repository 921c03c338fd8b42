"""How scores look in a notebook and in a Python console: the classes and both ends of the ranking, on a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from html import escape

import pandas as pd

from lapsi.results.columns import Column
from lapsi.results.evidence.choose import evidence_of
from lapsi.results.loss_curve import loss_curve
from lapsi.results.provenance import Provenance
from lapsi.results.regularization import chosen_of

Part = tuple[str, pd.DataFrame, list[Column]]  # title, rows and columns of a table of a page
ENDS = 5
CLASSES_SHOWN = 12
CELL = 40  # characters
NOT_SHOWN = ("lsi_mean", "curvature_share")  # of the summary
NEXT = "Next: .issues(), .report('report.html'), .plot(), .ranking(), .save('run')"
STYLE = "text-align:left;font-weight:600;padding:4px 0"


def notebook_view(
    table: pd.DataFrame, summary: pd.DataFrame, provenance: Provenance, columns: list[Column], cautions: list[str]
) -> str:
    """HTML of a run, every value escaped.

    Args:
        table: of `Scores`.
        summary: one row a class ordered by median LSI, and a last row for all.
        provenance: of the run.
        columns: what those of the table mean.
        cautions: where the scores cannot mean much.
    """
    chosen = chosen_of(provenance.regularization)
    return (
        f"<div><p><b>{len(table):,} of {provenance.n_samples:,} samples</b> from {escape(provenance.source)}</p>"
        + "".join(f"<p><b>Caution.</b> {escape(each)}</p>" for each in cautions)
        + "".join(_html(*part) for part in _parts(table, summary, provenance, columns))
        + f"<p>{escape(_caution(provenance, columns))}</p>"
        + ("" if chosen is None else f"<p>{escape(chosen.sentence())}</p>{loss_curve(chosen)}")
        + "</div>"
    )


def text_view(
    table: pd.DataFrame, summary: pd.DataFrame, provenance: Provenance, columns: list[Column], cautions: list[str]
) -> str:
    """The same as plain text; the arguments as in `notebook_view`."""
    lines = [f"{len(table):,} of {provenance.n_samples:,} samples from {_line(provenance.source)}"]
    lines += [f"Caution: {_shown(each)}" for each in cautions]
    for part in _parts(table, summary, provenance, columns):
        lines += _text(*part)
    chosen = chosen_of(provenance.regularization)
    said = [_caution(provenance, columns), *([] if chosen is None else [f"Regularisation: {chosen.sentence()}."]), NEXT]
    return "\n".join([*lines, "", *said])


def html_page(said: str, cautions: list[str], parts: Sequence[Part], last: str) -> str:
    """A sentence, cautions and tables, every value escaped, and what else there is."""
    told = [f"<p><b>{escape(said)}</b></p>", *(f"<p><b>Caution.</b> {escape(each)}</p>" for each in cautions)]
    return "<div>" + "".join([*told, *(_html(*part) for part in parts), f"<p>{escape(last)}</p>"]) + "</div>"


def text_page(said: str, cautions: list[str], parts: Sequence[Part], last: str) -> str:
    """The same as plain text."""
    lines = [_shown(said), *(f"Caution: {_shown(each)}" for each in cautions)]
    return "\n".join([*lines, *(line for part in parts for line in _text(*part)), "", last])


def _parts(table: pd.DataFrame, summary: pd.DataFrame, provenance: Provenance, columns: list[Column]) -> list[Part]:
    """Title, rows and columns of each table of the page."""
    evidence, known = evidence_of(provenance.task), {column.name: column for column in columns}
    classes = summary.iloc[:-1]
    if len(classes) > CLASSES_SHOWN:
        classes = pd.concat([classes.iloc[: CLASSES_SHOWN // 2], classes.iloc[-CLASSES_SHOWN // 2 :]])
    left_out = len(summary) - 1 - len(classes)
    title = evidence.summary_title + (f"; {left_out} {evidence.rows_are} in the middle are left out" if left_out else "")
    ranked = table.sort_values("rank", ignore_index=True)
    rows = pd.concat([classes, summary.iloc[-1:]]).reset_index()
    ends = [known[name] for name in ("id", "label", "lsi", *evidence.shown)]
    parts = [column for name, column in evidence.summary_columns.items() if name not in NOT_SHOWN]
    return [
        (title, rows, [replace(known["label"], format=""), *parts]),
        (f"Most informative: {evidence.atypical}", ranked.head(ENDS), ends),
        ("Least informative: typical, redundant", ranked.tail(ENDS)[::-1], ends),
    ]


def _caution(provenance: Provenance, columns: list[Column]) -> str:
    quality = next(column.title for column in columns if column.name == "label_quality")
    return f"High LSI is not the same as {evidence_of(provenance.task).wrong}; low {quality} is the evidence for one."


def _text(title: str, rows: pd.DataFrame, columns: list[Column]) -> list[str]:
    cells = {column.heading: [_line(column.show(value)) for value in rows[column.name].tolist()] for column in columns}
    return ["", title, pd.DataFrame(cells).to_string(index=False)]


def _html(title: str, rows: pd.DataFrame, columns: list[Column]) -> str:
    shown = pd.DataFrame(
        {column.title: [_cell(column.show(value)) for value in rows[column.name].tolist()] for column in columns}
    )
    caption = f'<caption style="{STYLE}">{escape(title)}</caption>'
    return shown.to_html(index=False, border=0, escape=True).replace("<thead>", f"{caption}<thead>", 1)


def _line(text: str) -> str:
    """The same on one line, cut where it is long."""
    return _cell(_shown(text))


def _shown(text: str) -> str:
    """With nothing that a terminal would obey."""
    return "".join(letter if letter.isprintable() else "�" for letter in text)


def _cell(text: str) -> str:
    return text if len(text) <= CELL else text[: CELL - 1] + "…"
