"""Scores: one row a sample, with the provenance that makes them worth trusting."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lapsi.data.dataset import CARRIED
from lapsi.errors import InputError
from lapsi.execution.files import MARKER, require_run, write_directory
from lapsi.results.notebook import notebook_view

ROWS = "scores.parquet"
TRAJECTORY = "trajectory.parquet"
PROBABILITIES = "loo_proba.npy"
MAP = "map.npy"

COLUMNS = {
    "id": "identifier of the sample",
    "row": "position of the sample in its source, from 0",
    "label": "its label, as given",
    "lsi": "Laplace Sample Information, KL(with ‖ without), nats, ≥ 0; high: atypical, hard or mislabelled",
    "lsi_mean": "share of lsi from the shift of the parameters, nats",
    "lsi_curvature": "share of lsi from the change of the posterior's width, nats",
    "lsi_std": "standard deviation of lsi over the seeds, nats (retraining with several seeds)",
    "loo_probability": "probability of the given label under the model that never saw the sample",
    "loo_label": "label that this model predicts",
    "loo_margin": "loo_probability minus the largest probability of another label, in [-1, 1]",
    "loo_loss": "-ln(loo_probability), nats",
    "train_probability": "probability of the given label under the model that saw the sample",
    "leverage": "how much the sample bends its own fit, tr(S K), in [0, C-1) (closed form)",
    "shift_norm": "Euclidean norm of the change of the weights when the sample leaves",
    "rank": "position by lsi, 1 is the most informative",
    "rank_in_class": "the same among the samples of its label",
    "label_quality": "trust in the given label, in [0, 1], low: likely wrong; equal to loo_probability",
    "suggested_label": "loo_label where it differs from label, else missing",
}


OPTIONAL = {"lsi_std", "leverage"}
FROM_SOURCE = "column of the source"


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where scores come from and how exact they are.

    Attributes:
        version: of lapsi.
        created: UTC time, ISO 8601.
        settings: of the run, as given.
        engine, dtype, device: what was used in the end.
        source, data_hash: the data.
        n_samples, n_features, n_classes: of the data set (n_features without the constant).
        train_accuracy: share of samples that the probe trained on all of them classifies as labelled.
        grad_norm, n_iterations: of the fit with all samples (gradient of the mean-form objective at its end).
        seconds: wall time by stage.
        verification: measured accuracy (fields of `Verification`), or None when it was turned off.
        extractor: what made the features (model, revision, settings), where lapsi did.
        corruption: what was changed on purpose first, and how many samples that touched; empty for nothing.
        licence: what the source says of its terms.
        call: options of the command line that opened the data, to open them again; empty from Python.
    """

    version: str
    created: str
    settings: dict[str, Any]
    engine: str
    dtype: str
    device: str
    source: str
    data_hash: str
    n_samples: int
    n_features: int
    n_classes: int
    train_accuracy: float
    grad_norm: float
    n_iterations: int
    seconds: dict[str, float]
    verification: dict[str, Any] | None
    extractor: dict[str, Any] | None = None
    corruption: dict[str, Any] = field(default_factory=dict)
    licence: str = ""
    call: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """LSI and leave-one-out evidence of n scored samples.

    Attributes:
        table: (n rows) the columns of `COLUMNS`, those of `OPTIONAL` where the engine gives them, then what travelled along
            with the samples (`lapsi.data.dataset.CARRIED` and columns of the source), in the order of the data set.
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
    def carried(self) -> list[str]:
        """Columns of the table that travelled along with the samples."""
        return [name for name in self.table.columns if name not in COLUMNS]

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
        lost = [name for name in self.table.columns if name not in table and name in COLUMNS]
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
        groups = [(str(name), part) for name, part in self.table.groupby("label", sort=True)]
        rows = pd.DataFrame([_summary_row(name, part) for name, part in groups]).sort_values("lsi_median")
        whole = pd.DataFrame([_summary_row("all", self.table)])
        return pd.concat([rows, whole], ignore_index=True).set_index("label")

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
        columns = {name: (COLUMNS | CARRIED).get(name, FROM_SOURCE) for name in self.table.columns}
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


def build_table(
    samples: pd.DataFrame, labels: np.ndarray, classes: np.ndarray, loo_log_proba: np.ndarray, measures: dict[str, np.ndarray]
) -> pd.DataFrame:
    """The table of `Scores`.

    Args:
        samples: (n rows) columns id and row.
        labels: (n,) codes, positions in `classes` (C,).
        loo_log_proba: (n, C) log-probabilities under the models that never saw the sample.
        measures: the columns lsi_mean, lsi_curvature, train_probability, shift_norm and those of `OPTIONAL`, (n,) each.
    """
    own = np.arange(len(labels))
    given = np.exp(loo_log_proba[own, labels])
    others = loo_log_proba.copy()
    others[own, labels] = -np.inf
    margin = given - np.exp(others.max(1))
    predicted = loo_log_proba.argmax(1)
    lsi = measures["lsi_mean"] + measures["lsi_curvature"]
    table = pd.DataFrame(
        {
            "id": samples["id"],
            "row": samples["row"],
            "label": classes[labels],
            "lsi": lsi,
            "lsi_mean": measures["lsi_mean"],
            "lsi_curvature": measures["lsi_curvature"],
            "lsi_std": measures.get("lsi_std"),
            "loo_probability": given,
            "loo_label": classes[predicted],
            "loo_margin": margin,
            "loo_loss": -loo_log_proba[own, labels],
            "train_probability": measures["train_probability"],
            "leverage": measures.get("leverage"),
            "shift_norm": measures["shift_norm"],
        }
    )
    table = table.drop(columns=OPTIONAL - set(measures))
    table["rank"] = _rank(table["lsi"])
    table["rank_in_class"] = _rank(table.groupby("label")["lsi"])
    # of probability, margin, loss over entropy and LSI the probability found planted label errors best (CIFAR-10 features)
    table["label_quality"] = given
    table["suggested_label"] = table["loo_label"].convert_dtypes().mask(predicted == labels)
    return table


def _rank(values: Any) -> pd.Series:
    return values.rank(method="first", ascending=False).astype("int64")


def _summary_row(name: str, part: pd.DataFrame) -> dict[str, Any]:
    return {
        "label": name,
        "samples": len(part),
        "lsi_median": part["lsi"].median(),
        "lsi_mean": part["lsi"].mean(),
        "lsi_max": part["lsi"].max(),
        "curvature_share": part["lsi_curvature"].sum() / total if (total := part["lsi"].sum()) > 0 else 0.0,
        "loo_accuracy": part["suggested_label"].isna().mean(),
        "contradicted": int(part["suggested_label"].notna().sum()),
    }
