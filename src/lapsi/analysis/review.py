"""What a person decided about samples, read from a file and applied to the data set."""

from __future__ import annotations

import csv
import io
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lapsi.analysis.reviewed import Reviewed, reviewed_targets
from lapsi.data.readers.layouts import open_text, separator_in
from lapsi.errors import InputError
from lapsi.results.scores import Scores

KEEP, RELABEL, REMOVE, UNSURE = "keep", "relabel", "remove", "unsure"
ACTIONS = (KEEP, RELABEL, REMOVE, UNSURE)
REQUIRED = ("id", "row", "label", "action", "new_label")
OPTIONAL = ("note", "run")


@dataclass(frozen=True, slots=True, eq=False)
class Cleaned:
    """A data set after a review.

    Attributes:
        table: id, label (and of several numbers a column each), what travelled along with the samples, and `original_label`,
            the label before any change (and so of each number); without the removed samples.
        log: id, row, action, label, new_label and note of every sample that was removed or relabelled.
        done: what is told of those that were relabelled.
        n_kept, n_unsure: samples that were looked at and left as they are.
    """

    table: pd.DataFrame
    log: pd.DataFrame
    done: str
    n_kept: int
    n_unsure: int


def read_review(path: str | Path) -> pd.DataFrame:
    """A review as the report page writes it, or a spreadsheet that read it: all columns as strings, "" where a cell is empty.

    Columns: id, row (position in the run), label (as given), action (one of `ACTIONS`), new_label; optional: note, run (hash of
    the data).

    Raises:
        InputError: when it cannot be read as such.
    """
    try:
        with open_text(Path(path)) as file:
            content = file.read()
        text = io.StringIO(content.decode("utf-8-sig"), newline="")
        lines = list(csv.reader(text, delimiter=separator_in(content), strict=True))
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{path} cannot be read as a review ({error}); expected the CSV file that the report writes."
        ) from error
    header, *rows = lines or [[]]
    missing = [name for name in REQUIRED if name not in header]
    if missing or len(set(header)) < len(header):
        raise InputError(
            f"{path} has the columns {', '.join(header) or '(none)'}; expected each of {', '.join(REQUIRED)} once "
            f"({', '.join(OPTIONAL)} may be there)."
        )
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise InputError(f"{path}: record {number} has {len(row)} cells; expected {len(header)}, one a column.")
    review = pd.DataFrame(rows, columns=header, dtype=object)
    for name in OPTIONAL:
        if name not in review:
            review[name] = ""
    return review[[*REQUIRED, *OPTIONAL]]


def apply_review(scores: Scores, review: pd.DataFrame, *, new_classes: bool = False) -> Cleaned:
    """The scored samples as a person decided.

    Args:
        scores: the run that was reviewed.
        review: as `read_review` gives it.
        new_classes: whether a new label may be none of the run.

    Raises:
        InputError: for samples that the run does not have, decisions that are none, and a review of another run.
    """
    targets = reviewed_targets(scores)
    _require_actions(review, targets)
    rows = _rows_of(scores, review, targets)
    relabelled = review["action"].to_numpy() == RELABEL
    new = [targets.read(record, new_classes) for record in _records(review[relabelled])]

    table = scores.table[["id", *targets.columns, *scores.carried]].copy()
    for place, name in enumerate(targets.columns):
        if f"original_{name}" not in table:  # else it holds the target before an earlier change, which stays the original one
            table[f"original_{name}"] = table[name]
        values = table[name].to_numpy(dtype=object, copy=True)
        values[rows[relabelled]] = [each[place] for each in new]
        table[name] = values.tolist()
    removed = review["action"].to_numpy() == REMOVE
    changed = review[removed | relabelled]
    return Cleaned(
        table=table.drop(index=table.index[rows[removed]]).reset_index(drop=True),
        log=changed[["id", "row", "action", "label", "new_label", "note"]].reset_index(drop=True),
        done=targets.done,
        n_kept=int((review["action"] == KEEP).sum()),
        n_unsure=int((review["action"] == UNSURE).sum()),
    )


def _require_actions(review: pd.DataFrame, targets: Reviewed) -> None:
    for record in _records(review):
        name = f"The review of sample {record['id']!r}"
        if record["action"] not in ACTIONS:
            raise InputError(f"{name} has the action {record['action']!r}; expected one of {', '.join(ACTIONS)}.")
        if record["action"] == RELABEL and not record["new_label"] and not targets.may_be_empty:
            raise InputError(f"{name} says relabel without a new label; fill in new_label or choose another action.")
        if record["action"] != RELABEL and record["new_label"]:
            raise InputError(
                f"{name} says {record['action']} but has the new label {record['new_label']!r}; clear it or relabel."
            )


def _rows_of(scores: Scores, review: pd.DataFrame, targets: Reviewed) -> np.ndarray:
    """(k,) positions in the table of the run of the reviewed samples, which must be those that the review means."""
    runs = set(review["run"]) - {""}
    if runs - {scores.provenance.data_hash}:
        raise InputError(
            f"The review belongs to another run (data {sorted(runs)[0]}, not {scores.provenance.data_hash}); apply it to the "
            "run that it was made from."
        )
    repeated = review["id"][review["id"].duplicated()]
    if len(repeated):
        raise InputError(f"The review names the sample {repeated.iloc[0]!r} twice; expected one decision a sample.")
    position = {str(name): row for row, name in enumerate(scores.table["id"].tolist())}
    rows = np.empty(len(review), dtype=np.int64)
    for place, record in enumerate(_records(review)):
        row = position.get(record["id"])
        if row is None:
            raise InputError(
                f"The review names the sample {record['id']!r}, which the run does not have; is it of another run?"
            )
        if record["row"] != str(row) or not targets.same(row, record["label"]):
            raise InputError(
                f"The review belongs to another run: sample {record['id']!r} stands there in row {record['row']} with "
                f"{targets.noun} {record['label']!r}, here in row {row} with {str(scores.table[targets.named_by].iloc[row])!r}."
            )
        if record["action"] == RELABEL and targets.same(row, record["new_label"]):
            raise InputError(
                f"The review of sample {record['id']!r} relabels it to {record['new_label']!r}, which is its {targets.noun}; "
                "use keep."
            )
        rows[place] = row
    return rows


def _records(review: pd.DataFrame) -> list[dict[str, str]]:
    return review.to_dict("records")  # type: ignore[return-value]
