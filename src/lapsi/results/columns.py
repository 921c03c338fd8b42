"""The one registry of columns: what each means, and how it is named and printed wherever it is shown."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pandas as pd

from lapsi.data.dataset import CARRIED
from lapsi.errors import InputError
from lapsi.settings.option import Choice

SAMPLE, LSI, SOFTMAX, SOURCE, ADDED = "sample", "lsi", "softmax", "source", "added"
DIRECTIONS = ("", "high", "low")
WHOLE = ","
FORMATS = re.compile(r"|,|,?\.\d{1,2}[efg%]")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        name: in tables, files and code.
        title: for readers.
        help: its meaning, in a sentence.
        measure: where it comes from. `"sample"`: what names the sample; `"source"`: what the source knows of it; else the
            measure, or the likelihood whose evidence it is, e.g. `"lsi"`, `"softmax"`.
        format: Python's format specification of its numbers, e.g. `".2e"`; `","` for whole ones; "" for what is no number.
        unit: `"nats"`, or "" for a pure number.
        direction: the end that is worth a look: `"high"`, `"low"`, or "".
        short: title where there is little room; "" where that is the title.
        optional: whether a run of its measure may lack it.
    """

    name: str
    title: str
    help: str
    measure: str = ADDED
    format: str = ""
    unit: str = ""
    direction: str = ""
    short: str = ""
    optional: bool = False

    def __post_init__(self) -> None:
        Choice(DIRECTIONS).check(f"direction of column {self.name!r}", self.direction)
        if not FORMATS.fullmatch(self.format):
            raise InputError(f"format of column {self.name!r} is {self.format!r}; expected '', ',' or e.g. '.2e', '.1%'.")

    @property
    def heading(self) -> str:
        """The shortest title."""
        return self.short or self.title

    @property
    def is_number(self) -> bool:
        """Whether it holds numbers."""
        return self.format != ""

    def means(self, other: Column) -> bool:
        """Whether another column of the name is the same, wherever it is told what it means."""
        return (self.title, self.measure, self.format) == (other.title, other.measure, other.format)

    def require(self, values: pd.Series) -> None:
        """Refuses values of another type.

        Raises:
            ValueError: when numbers are expected and these are none, or whole ones and these are not.
        """
        types = pd.api.types
        whole = self.format == WHOLE
        fits = types.is_integer_dtype(values) if whole else types.is_numeric_dtype(values) and not types.is_bool_dtype(values)
        if self.is_number and not fits:
            kind = "whole numbers" if whole else "numbers"
            raise ValueError(f"the column {self.name!r} holds values of type {values.dtype}; expected {kind}")

    def show(self, value: Any) -> str:
        """A value as text; "" where it is missing."""
        if pd.api.types.is_scalar(value) and pd.isna(value):
            return ""
        if not self.is_number:
            return str(value)
        return format(int(value) if self.format == WHOLE else float(value), self.format)


def _by_name(*columns: Column) -> dict[str, Column]:
    return {column.name: column for column in columns}


_nats = partial(Column, measure=LSI, format=".2e", unit="nats", direction="high")
_size = partial(Column, measure=LSI, format=".2e", direction="high")
_belief = partial(Column, measure=SOFTMAX, format=".3f", direction="low")
_class = partial(Column, measure=SOFTMAX)
_share = partial(Column, measure=LSI, format=".1%", direction="high")
_count = partial(Column, format=WHOLE)

# a row a sample, in the order of the table
COLUMNS = _by_name(
    Column("id", "id", "identifier of the sample", SAMPLE),
    _count("row", "row", "position of the sample in its source, from 0", SAMPLE),
    Column("label", "label", "its label, as given", SAMPLE),
    _nats("lsi", "LSI", "Laplace Sample Information, KL(with ‖ without), nats, ≥ 0; high: atypical, hard or mislabelled"),
    _nats("lsi_mean", "LSI, shift", "share of lsi from the shift of the parameters, nats"),
    _nats("lsi_curvature", "LSI, curvature", "share of lsi from the change of the posterior's width, nats"),
    _nats(
        "lsi_std",
        "LSI, deviation over seeds",
        "standard deviation of lsi over the seeds, nats (retraining with several seeds)",
        optional=True,
    ),
    _size(
        "lsi_error",
        "LSI, remaining error",
        "estimated relative error of lsi that remains; missing where none is estimated",
        format=".1e",
        optional=True,
    ),
    _size(
        "lsi_draw_error",
        "LSI, error of the draws",
        "standard error of lsi, relative, from what was drawn for the curvature: of texts labels, of very many outputs signs",
        format=".1e",
        optional=True,
    ),
    Column(
        "refinement",
        "refinement",
        "how the row was made: closed form, corrected, refined, converged or trained; with “, removal form” where full is not "
        "exact",
        LSI,
        optional=True,
    ),
    _belief(
        "loo_probability",
        "leave-one-out probability",
        "probability of the given label under the model that never saw the sample",
        short="LOO probability",
    ),
    _class("loo_label", "leave-one-out label", "label that this model predicts", short="LOO label"),
    _belief(
        "loo_margin",
        "confidence margin",
        "loo_probability minus the largest probability of another label, in [-1, 1]",
        short="margin",
    ),
    _nats("loo_loss", "leave-one-out loss", "-ln(loo_probability), nats", measure=SOFTMAX, short="LOO loss"),
    _belief("train_probability", "training probability", "probability of the given label under the model that saw the sample"),
    _size("leverage", "leverage", "how much the sample bends its own fit, tr(S K), in [0, C-1) (closed form)", optional=True),
    _size("shift_norm", "shift of the weights", "Euclidean norm of the change of the weights when the sample leaves"),
    _count("rank", "rank", "position by lsi, 1 is the most informative", LSI, direction="low"),
    _count("rank_in_class", "rank in class", "the same among the samples of its label", LSI, direction="low"),
    _belief(
        "label_quality",
        "label quality",
        "trust in the given label, in [0, 1], low: likely wrong; equal to loo_probability",
        format=".2f",
        short="quality",
    ),
    _class("suggested_label", "suggested label", "loo_label where it differs from label, else missing", short="suggested"),
)
# what the source knows of a sample, by the names that lapsi gives
TRAVELLING = _by_name(*(Column(name, name.replace("_", " "), text, SOURCE) for name, text in CARRIED.items()))
# what a list of likely label errors adds, and shows with more digits
ISSUES = _by_name(
    replace(COLUMNS["label_quality"], format=".4f"),
    _class(
        "suggested_probability",
        "probability of the suggested label",
        "largest probability under the model that never saw the sample",
        format=".3f",
        short="suggested with",
    ),
    _class("flagged", "flagged", "whether label_quality is below the threshold"),
)
DOUBTED = "labels less likely than a blind guess (of two classes: half as likely as the other)"
# a row a class
CLASSES = _by_name(
    _count("samples", "samples", "samples of the class", SAMPLE),
    _nats("lsi_median", "median LSI", "median of lsi, nats", format=".1e", short="median"),
    _nats("lsi_mean", "mean LSI", "mean of lsi, nats", format=".1e", short="mean"),
    _nats("lsi_max", "largest LSI", "largest lsi, nats", format=".1e", short="max"),
    _share(
        "curvature_share", "share of curvature", "share of lsi_curvature in the sum of lsi", direction="", short="curvature"
    ),
    _belief(
        "loo_accuracy",
        "leave-one-out accuracy",
        "share of the samples that models which never saw them classify as labelled",
        format=".1%",
        short="LOO acc.",
    ),
    _count("doubted", "doubted labels", DOUBTED, SOFTMAX, direction="high", short="doubted"),
)
# a row a group
GROUPS = _by_name(
    _count("samples", "samples", "samples of the group", SAMPLE),
    _nats("lsi_sum", "sum of LSI", "sum of lsi, nats; not the LSI of the group", format=".1e", short="sum"),
    _nats("lsi_mean", "mean LSI", "mean of lsi, nats", format=".1e", short="mean"),
    _nats("lsi_median", "median LSI", "median of lsi, nats", format=".1e", short="median"),
    _share("share_of_lsi", "share of LSI", "its share in the sum of lsi over all groups", short="share"),
    _share("top_decile", "top tenth", "share among the tenth of all samples with the largest LSI", short="top 10 %"),
    _count("doubted", "doubted labels", DOUBTED, SOFTMAX, direction="high", short="doubted"),
    _nats("group_lsi", "group LSI", "LSI of removing the whole group, nats", format=".1e", optional=True),
    _belief(
        "held_out_accuracy",
        "held-out accuracy",
        "accuracy of a model without the group on it",
        format=".1%",
        optional=True,
        short="held-out",
    ),
    _belief(
        "held_out_r2",
        "held-out R²",
        "share of the variance of the numbers that a model without the group explains in it",
        optional=True,
        short="held-out R²",
    ),
)


def find_column(name: str, described: Iterable[Column] = ()) -> Column:
    """What a column of a run means.

    Args:
        name: of the column.
        described: columns that the run describes itself; they come before the registry.

    Returns:
        A column of the source, where nobody knows the name.
    """
    own = next((column for column in described if column.name == name), None)
    return own or COLUMNS.get(name) or TRAVELLING.get(name) or source_column(name)


def source_column(name: str) -> Column:
    """A column that travelled along with the samples under a name of its own."""
    return Column(name, name.replace("_", " "), "column of the source", SOURCE)
