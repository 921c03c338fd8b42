"""Scores: one row a sample, with the provenance that makes them worth trusting."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lapsi.errors import InputError
from lapsi.results.columns import SOURCE, Column, find_column
from lapsi.results.notebook import notebook_view
from lapsi.results.provenance import Provenance
from lapsi.results.run_directory import MARKER, require_run, write_directory
from lapsi.results.tables import summarise

ROWS = "scores.parquet"
TRAJECTORY = "trajectory.parquet"
PROBABILITIES = "loo_proba.npy"
MAP = "map.npy"


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """LSI and leave-one-out evidence of n scored samples.

    Attributes:
        table: (n rows) the columns of `lapsi.results.columns.COLUMNS`, the optional ones where the engine gives them, then what
            travelled along with the samples (`TRAVELLING` and columns of the source), in the order of the data set.
        loo_proba: (n, C) float32, class probabilities under the model that never saw the sample.
        classes: (C,) the label values, the order of the columns of `loo_proba`.
        provenance: where the scores come from and how exact they are.
        map: (n, 2) float32, where each sample lies on the first two principal components of the inputs of the probe; or None.
        trajectory: lsi, lsi_mean, lsi_curvature (and lsi_std) by id and epoch, where scores were taken along the way.
    """

    table: pd.DataFrame
    loo_proba: np.ndarray
    classes: np.ndarray
    provenance: Provenance
    trajectory: pd.DataFrame | None = None
    map: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.table)

    def _repr_html_(self) -> str:
        return notebook_view(self.table, self.summary(), self.provenance.source, self.provenance.n_samples)

    @property
    def lsi(self) -> np.ndarray:
        """(n,) LSI in nats."""
        return self.table["lsi"].to_numpy()

    @property
    def label_codes(self) -> np.ndarray:
        """(n,) int64, the position of each given label in `classes`: what `loo_proba` and cleanlab count by."""
        return np.searchsorted(self.classes, self.table["label"].to_numpy()).astype(np.int64)

    @property
    def columns(self) -> list[Column]:
        """What the columns of the table mean, in their order."""
        return [find_column(name) for name in self.table.columns]

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

        Raises:
            InputError: when it lacks a column of the scores, or names a sample that has none or stands in it twice.
        """
        lost = [name for name in self.table.columns if name not in table and name not in self.carried]
        if lost:
            raise InputError(f"The frame has no column {lost[0]!r}; start from to_pandas() and keep its columns.")
        positions = pd.Index(self.table["id"]).get_indexer(table["id"])
        if (positions < 0).any() or len(np.unique(positions)) < len(positions):
            raise InputError("The frame names samples that were not scored, or one more than once; start from to_pandas().")
        chosen = None if self.map is None else self.map[positions]
        along = self.trajectory
        if along is not None:
            along = along[along["id"].isin(table["id"])].reset_index(drop=True)
        rows = table.reset_index(drop=True)
        return Scores(rows, self.loo_proba[positions], self.classes, self.provenance, along, chosen)

    def summary(self) -> pd.DataFrame:
        """One row a class, ordered by median LSI, and a last row "all".

        Columns: samples, median, mean and maximum of lsi (nats), share of lsi_curvature in the sum of lsi,
        leave-one-out accuracy, number of samples whose label the leave-one-out model contradicts.
        """
        return summarise(self.table)

    def save(self, path: str | Path, *, force: bool = False) -> Path:
        """Writes a run directory, whole or not at all: scores.parquet, loo_proba.npy, map.npy, run.json, trajectory.parquet.

        Raises:
            RunExistsError: when the path is taken and `force` is not set, or it holds something else than a run.
        """
        write_directory(Path(path), self.write_into, force)
        return Path(path)

    def write_into(self, directory: Path) -> None:
        """Writes the files of a run into an existing directory."""
        self.table.to_parquet(directory / ROWS, index=False)
        np.save(directory / PROBABILITIES, self.loo_proba, allow_pickle=False)
        if self.trajectory is not None:
            self.trajectory.to_parquet(directory / TRAJECTORY, index=False)
        if self.map is not None:
            np.save(directory / MAP, self.map, allow_pickle=False)
        columns = {column.name: column.help for column in self.columns}
        record = {**asdict(self.provenance), "classes": self.classes.tolist(), "columns": columns}
        (directory / MARKER).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Scores:
        """Reads a run directory.

        Raises:
            InputError: when there is no run, or a file of it is missing or damaged.
        """
        directory = Path(path)
        require_run(directory)
        try:
            record = json.loads((directory / MARKER).read_text(encoding="utf-8"))
            columns = list(record.pop("columns"))
            classes = np.asarray(record.pop("classes"))
            table = pd.read_parquet(directory / ROWS)[columns]
            probabilities = np.load(directory / PROBABILITIES, allow_pickle=False)
            along = directory / TRAJECTORY
            trajectory = pd.read_parquet(along) if along.exists() else None
            on_map = np.load(directory / MAP, allow_pickle=False) if (directory / MAP).exists() else None
            return cls(table, probabilities, classes, Provenance(**record), trajectory, on_map)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"The run in {directory} cannot be read ({error}); score the data again.") from error
