"""Scores: one row a sample, with the provenance that makes them worth trusting."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lapsi.data.arrays import to_numpy
from lapsi.errors import InputError, first_line
from lapsi.execution.files import MARKER
from lapsi.results.added import aligned, measure_of_scores, measure_of_table
from lapsi.results.cautions import cautions
from lapsi.results.columns import SOURCE, Column, find_column
from lapsi.results.evidence.base import Evidence
from lapsi.results.evidence.choose import evidence_of
from lapsi.results.notebook import notebook_view, text_view
from lapsi.results.onward import onward
from lapsi.results.paths import require_run
from lapsi.results.provenance import Provenance
from lapsi.results.record import RunRecord, read_record
from lapsi.results.run_directory import write_directory
from lapsi.results.run_files import (
    FEATURES,
    MAP,
    NEAREST,
    NEIGHBOURS,
    ROWS,
    TRAJECTORY,
    UNREADABLE,
    find_file,
    fingerprint,
    prediction_file,
    read_array,
    read_scores,
    read_trajectory,
    require_file,
)
from lapsi.results.tables import with_ranks
from lapsi.settings.task import CLASSES, PAIRS, REGRESSION, TOKENS

GROUP = "group"
WITHOUT_CLASSES = {REGRESSION: "numbers", TOKENS: "tokens of texts", PAIRS: "pairs"}


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """LSI and leave-one-out evidence of n scored samples.

    Attributes:
        table: (n rows) the columns that the evidence on its targets has (of classes: `lapsi.results.columns.COLUMNS`), the
            optional ones where the engine gives them, then what travelled along with the samples (`TRAVELLING` and columns of
            the source), in the order of the data set.
        prediction: (n, K) of the models that never saw the sample: probabilities of classes or labels, float32, or numbers.
        outputs: (K,) the classes, labels or names of the numbers, the order of the columns of `prediction`.
        provenance: where the scores come from and how exact they are.
        map: (n, 2) float32, where each sample lies on the first two principal components of the inputs of the probe, or of
            `features`; or None.
        trajectory: lsi, lsi_mean, lsi_curvature (and lsi_std) by id and epoch, where scores were taken along the way.
        described: what columns mean that lapsi does not know itself.
        neighbours: (n, 5) int32, the `row` of the scored samples whose inputs lie nearest, the nearest first; -1 where there
            are fewer, or where so many samples would have taken long; or None.
        features: (n, d) float32, what goes into the last linear layer of the network that was scored (`provenance.features`);
            None for a probe, whose features are the data, and where a network has no such layer.
    """

    table: pd.DataFrame
    prediction: np.ndarray
    outputs: np.ndarray
    provenance: Provenance
    trajectory: pd.DataFrame | None = None
    map: np.ndarray | None = None
    described: tuple[Column, ...] = ()
    neighbours: np.ndarray | None = None
    features: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        """The run on a page; `to_pandas()` has every sample."""
        return text_view(self.table, self.summary(), self.provenance, self.columns, self.cautions)

    def _repr_html_(self) -> str:
        return notebook_view(self.table, self.summary(), self.provenance, self.columns, self.cautions)

    @property
    def task(self) -> str:
        """What the targets are: `"classes"`, `"multilabel"`, `"regression"`, `"tokens"` or `"pairs"`."""
        return self.provenance.task

    @property
    def evidence(self) -> Evidence[Any]:
        """What is said of targets of this kind."""
        return evidence_of(self.task)

    @property
    def loo_proba(self) -> np.ndarray:
        """(n, C) float32, probabilities of classes (or labels) under the model that never saw the sample.

        Raises:
            InputError: where the targets are numbers, or tokens of texts.
        """
        if self.task in WITHOUT_CLASSES:
            what = WITHOUT_CLASSES[self.task]
            raise InputError(f"The targets of the run are {what}, which have no probabilities; see prediction (n, K).")
        return self.prediction

    @property
    def classes(self) -> np.ndarray:
        """(C,) the classes (or labels), the order of the columns of `loo_proba`.

        Raises:
            InputError: where the targets are numbers, or tokens of texts.
        """
        if self.task in WITHOUT_CLASSES:
            raise InputError(f"The targets of the run are {WITHOUT_CLASSES[self.task]} and no classes; this is for classes.")
        return self.outputs

    @property
    def lsi(self) -> np.ndarray:
        """(n,) LSI in nats."""
        return self.table["lsi"].to_numpy()

    @property
    def may_be_infinite(self) -> bool:
        """Whether LSI is a Rényi divergence of another order than 1."""
        return bool(self.provenance.settings.get("order", 1) != 1)

    @property
    def n_infinite(self) -> int:
        """Samples whose LSI is infinite, as Rényi divergences may be."""
        return int(np.isposinf(self.lsi).sum())

    @property
    def infinite_in_words(self) -> str:
        """How many samples those are, and why; "" where there are none."""
        if self.n_infinite == 0:
            return ""
        return (
            f"Infinite: LSI of {self.n_infinite:,} of {len(self):,} samples, without which the posterior is so much narrower "
            "that the Rényi divergence of this order has no value; take a smaller order"
        )

    @property
    def cautions(self) -> list[str]:
        """Where these scores cannot mean much, a sentence each; empty where nothing was found."""
        return cautions(self)

    def as_drawn(self) -> Scores:
        """The same with infinite LSI at the largest finite one, where pictures can show it.

        Raises:
            InputError: when there is no finite one.
        """
        if self.n_infinite == 0:
            return self
        if self.n_infinite == len(self):
            raise InputError("LSI of all samples is infinite, so there is nothing to draw; take a smaller order.")
        most = self.lsi[np.isfinite(self.lsi)].max()
        return replace(self, table=self.table.assign(lsi=np.minimum(self.lsi, most)))

    @property
    def doubted(self) -> np.ndarray:
        """(n,) whether the target of each sample is doubted, which means the same everywhere.

        Of classes: a model that never saw the sample finds the label less likely than a blind guess (of two classes: half as
        likely as the other). Of numbers: beyond three standard deviations. With several labels: one is less likely than not.
        """
        return self.evidence.doubted(self.table, self.outputs)

    @property
    def label_codes(self) -> np.ndarray:
        """(n,) int64, the position of each given label in `classes`: what `loo_proba` and cleanlab count by.

        Raises:
            InputError: where the targets are no classes, one a sample.
        """
        if self.task != CLASSES:
            raise InputError(f"The targets of the run are those of task {self.task!r}; this is for one class a sample.")
        return pd.Index(self.classes).get_indexer(pd.Index(self.table["label"])).astype(np.int64)

    @property
    def columns(self) -> list[Column]:
        """What the columns of the table mean, in their order."""
        known = [find_column(name, self.described) for name in self.table.columns]
        called = self.provenance.group_name
        return [replace(column, title=called) if column.name == GROUP and column.title == GROUP else column for column in known]

    @property
    def carried(self) -> list[str]:
        """Columns of the table that travelled along with the samples."""
        return [column.name for column in self.columns if column.measure == SOURCE]

    def ranking(self) -> pd.DataFrame:
        """The table sorted from the most to the least informative sample."""
        return self.table.sort_values("rank", ignore_index=True)

    def to_pandas(self) -> pd.DataFrame:
        """A copy of the table, one row a sample."""
        return self.table.copy()

    def from_pandas(self, table: pd.DataFrame) -> Scores:
        """The scores of the samples in a frame that came from `to_pandas`, filtered, reordered or with columns added.

        Their ranks are those among the samples of the frame.

        Raises:
            InputError: when it lacks a column of the scores, or names a sample that has none or stands in it twice.
        """
        lost = [name for name in self.table.columns if name not in table and name not in self.carried]
        if lost:
            raise InputError(f"The frame has no column {lost[0]!r}; start from to_pandas() and keep its columns.")
        positions = pd.Index(self.table["id"]).get_indexer(table["id"])
        if (positions < 0).any() or len(np.unique(positions)) < len(positions):
            raise InputError("The frame names samples that were not scored, or one more than once; start from to_pandas().")
        arrays = (self.map, self.neighbours, self.features)
        chosen, near, features = (None if each is None else each[positions] for each in arrays)
        along = self.trajectory
        if along is not None:
            along = along[along["id"].isin(table["id"])].reset_index(drop=True)
        rows = with_ranks(table.reset_index(drop=True), by_class="rank_in_class" in table)
        predicted = self.prediction[positions]
        return Scores(rows, predicted, self.outputs, self.provenance, along, chosen, self.described, near, features)

    def with_measure(
        self,
        other: Scores | pd.DataFrame,
        columns: Iterable[Column] = (),
        *,
        origin: Mapping[str, Any] | None = None,
    ) -> Scores:
        """These scores with the columns of another measure beside those that are there.

        Args:
            other: scores of the same samples, of which the columns of measures are taken that these have not; or a table with a
                column `id`, of which all others are.
            columns: what columns of a table mean; one that is not described is shown under its name.
            origin: of each measure of a table, where it comes from; plain JSON values.

        Raises:
            InputError: when a column is there already or cannot be stored, or the samples are not the same.
        """
        new = measure_of_scores(self, other) if isinstance(other, Scores) else measure_of_table(other, columns, origin or {})
        values = aligned(self.table, new)
        provenance = replace(self.provenance, measures={**self.provenance.measures, **new.origin})
        described = (*self.described, *new.described)
        return replace(self, table=self.table.assign(**values), provenance=provenance, described=described)

    def summary(self) -> pd.DataFrame:
        """One row a class (a label; a quarter of the numbers), ordered by median LSI, and a last row "all".

        Columns: samples, median, mean and maximum of lsi (nats), share of lsi_curvature in the sum of lsi,
        leave-one-out accuracy (or R²), number of samples whose target is doubted.
        """
        return self.evidence.summarise(self.table, self.outputs)

    def issues(self, threshold: float | None = None) -> Any:
        """Targets ranked from the least to the most trusted: `lapsi.analysis.label_issues.label_issues`.

        Raises:
            InputError: as that function.
        """
        return onward("label_issues", self, threshold)

    def report(self, path: str | Path = "report.html", **named: Any) -> Path:
        """Writes the run as one HTML file to look at and review: `lapsi.report.page.write_report`, whose options it takes.

        Args:
            path: the file; overwritten where it exists.
            named: e.g. `features`, (n, d) of the scored samples, which are sketched where nothing else shows them.

        Raises:
            InputError: as that function.
        """
        onward("write_report", self, path, **named)
        return Path(path)

    def plot(self, name: str = "distribution", **named: Any) -> Any:
        """A figure of `lapsi.plots` of this run, which a notebook shows and whose `save` writes it: `lapsi.plots.drawn.draw`.

        Raises:
            InputError: for a name that is none, or where there is nothing to draw.
        """
        return onward("draw", self, name, **named)

    def save(self, path: str | Path, *, force: bool = False, beside: Callable[[Path], object] | None = None) -> Path:
        """Writes a run directory, whole or not at all.

        Files: scores.parquet, loo_proba.npy, map.npy, neighbours.npy, features.npy, run.json, trajectory.parquet.

        Args:
            path: of the directory.
            force: overwrite a run that is there.
            beside: writes further files into the directory that it is given.

        Raises:
            RunExistsError: when the path is taken and `force` is not set, or it holds something else than a run.
        """

        def write(directory: Path) -> None:
            if beside is not None:
                beside(directory)
            self._write_into(directory)

        write_directory(Path(path), write, force)
        return Path(path)

    def _write_into(self, directory: Path) -> None:
        """The files of a run; run.json is the last, since it lists the others."""
        self.table.to_parquet(directory / ROWS, index=False)
        np.save(directory / prediction_file(self.task), self.prediction, allow_pickle=False)
        if self.trajectory is not None:
            self.trajectory.to_parquet(directory / TRAJECTORY, index=False)
        for name, array in ((MAP, self.map), (NEIGHBOURS, self.neighbours), (FEATURES, self.features)):
            if array is not None:
                np.save(directory / name, array, allow_pickle=False)
        files = {file.name: fingerprint(file) for file in sorted(directory.iterdir())}
        columns = {column.name: column for column in self.columns}
        record = RunRecord(self.provenance, self.outputs.tolist(), columns, files)
        (directory / MARKER).write_text(record.to_json(), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Scores:
        """Reads a run directory, of this format or an older one.

        Raises:
            InputError: when there is no run, or a file of it is missing, changed or damaged.
        """
        directory = Path(path)
        require_run(directory)
        try:
            record = read_record(directory / MARKER)
            table = read_scores(require_file(directory, ROWS, record), record)
            task = record.provenance.task
            predicted = read_array(require_file(directory, prediction_file(task), record), (len(table), len(record.classes)))
            evidence_of(task).require(table, predicted, record.classes)
            names = (MAP, TRAJECTORY, NEIGHBOURS, FEATURES)
            on_map, along, near, features = (find_file(directory, name, record) for name in names)
            return cls(
                table,
                predicted,
                to_numpy(record.classes),
                record.provenance,
                None if along is None else read_trajectory(along, table),
                None if on_map is None else read_array(on_map, (len(table), 2)),
                record.described(),
                None if near is None else read_array(near, (len(table), NEAREST), "i"),
                None if features is None else read_array(features, (len(table), None)),
            )
        except UNREADABLE as error:
            raise InputError(
                f"The run in {directory} cannot be read ({first_line(error)}); copy it again from where it is whole, or score "
                "its data again."
            ) from error
