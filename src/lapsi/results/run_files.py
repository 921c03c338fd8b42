"""The files of a run: kept with their sizes and hashes, and checked by their headers before anything of them is read."""

from __future__ import annotations

import hashlib
from pathlib import Path
from tokenize import TokenError

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lapsi.results.columns import COLUMNS, LSI, SOURCE, WHOLE, Column
from lapsi.results.evidence.choose import evidence_of
from lapsi.results.record import RunRecord, StoredFile
from lapsi.settings.task import PAIRS, REGRESSION, TOKENS

ROWS = "scores.parquet"
TRAJECTORY = "trajectory.parquet"
PROBABILITIES, NUMBERS = "loo_proba.npy", "loo_prediction.npy"
MAP = "map.npy"
NEIGHBOURS, NEAREST = "neighbours.npy", 5  # how many of each sample
FEATURES = "features.npy"
MAPPED_FROM = 2**26  # bytes
BLOCK_ROWS = 2**16
ALONG = {name: COLUMNS[name] for name in ("id", "lsi", "lsi_mean", "lsi_curvature")}
ALONG["epoch"] = Column("epoch", "epoch", "epochs that were trained", LSI, WHOLE)
# what the libraries raise on files that are no such files
UNREADABLE = (
    *(OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, EOFError),
    *(MemoryError, RecursionError, NotImplementedError, SyntaxError, TokenError, pa.ArrowException),
)
KINDS = {"f": "floating-point numbers", "i": "integers"}
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def fingerprint(path: Path) -> StoredFile:
    """Size and hash of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16))
    return StoredFile(path.stat().st_size, digest.hexdigest())


def find_file(directory: Path, name: str, record: RunRecord) -> Path | None:
    """A file of a run, as it was written; None where the run has none of that name.

    Raises:
        ValueError: when it is missing or another one.
    """
    path = directory / name
    stored = None if record.files is None else record.files.get(name)
    if stored is None and (record.files is not None or not path.exists()):
        return None
    if not path.is_file():
        raise ValueError(f"{name} is missing")
    if stored is not None and (path.stat().st_size != stored.size or fingerprint(path) != stored):
        raise ValueError(f"{name} is not the file that was written with this run.json: changed, or copied in part")
    return path


def require_file(directory: Path, name: str, record: RunRecord) -> Path:
    """A file that every run has.

    Raises:
        ValueError: as `find_file`, or when the run has none.
    """
    path = find_file(directory, name, record)
    if path is None:
        raise ValueError(f"{name} is missing" if record.files is None else f"run.json lists no {name}")
    return path


def read_array(path: Path, shape: tuple[int, int | None], kind: str = "f") -> np.ndarray:
    """Finite numbers of this shape (None: of any width), floating-point ones or (kind "i") integers; many stay in the file.

    Raises:
        ValueError: when the file holds anything else, by its header before any memory is taken.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        if version not in HEADERS:
            raise ValueError(f"{path.name} has the version {version} of its format; expected (1, 0)")
        found, _, dtype = HEADERS[version](file)
        content = size - file.tell()
    wanted = (shape[0], found[-1] if shape[1] is None and len(found) == 2 else shape[1])
    if found != wanted or dtype.kind != kind:
        expected = f"({shape[0]}, {'any' if shape[1] is None else shape[1]})"
        raise ValueError(f"{path.name} holds {dtype} of shape {found}; expected {KINDS[kind]} of shape {expected}")
    if content != dtype.itemsize * found[0] * found[1]:
        raise ValueError(f"{path.name} holds {content:,} bytes of numbers; expected {dtype.itemsize * found[0] * found[1]:,}")
    array = np.load(path, mmap_mode="r" if content >= MAPPED_FROM else None, allow_pickle=False)
    if not all(np.isfinite(array[start : start + BLOCK_ROWS]).all() for start in range(0, len(array), BLOCK_ROWS)):
        raise ValueError(f"{path.name} holds numbers that are not finite")
    return np.asarray(array)


def prediction_file(task: str) -> str:
    """Where a run keeps what its models predict for the samples that they never saw."""
    return NUMBERS if task in (REGRESSION, TOKENS, PAIRS) else PROBABILITIES


def read_table(path: Path, names: list[str], most_rows: int | None = None) -> pd.DataFrame:
    """The columns of these names.

    Raises:
        ValueError: when one is missing or stands there twice, or there are no rows or too many, by the footer of the file.
    """
    with pq.ParquetFile(path) as file:
        held, n_rows = file.schema_arrow.names, file.metadata.num_rows
    missing = [name for name in names if held.count(name) != 1]
    if missing:
        raise ValueError(f"{path.name} has the column {missing[0]!r} {held.count(missing[0])} times; expected it once")
    if n_rows == 0:
        raise ValueError(f"{path.name} has no rows")
    if most_rows is not None and n_rows > most_rows:
        raise ValueError(f"{path.name} has {n_rows:,} rows; the data set has {most_rows:,}")
    return pd.read_parquet(path, columns=names)


def read_scores(path: Path, record: RunRecord) -> pd.DataFrame:
    """The rows of a run.

    Raises:
        ValueError: when they are not what run.json says.
    """
    known = evidence_of(record.provenance.task).columns(np.array(record.classes))
    absent = [name for name, column in known.items() if not column.optional and name not in record.columns]
    if absent:
        raise ValueError(f"run.json has no column {absent[0]!r}")
    table = read_table(path, list(record.columns), record.provenance.n_samples)
    for column in record.columns.values():
        if column.measure != SOURCE:
            column.require(table[column.name])
    _require_samples(table, may_be_infinite=record.provenance.settings.get("order", 1) != 1)
    return table


def read_trajectory(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    """Scores along the training, of samples in the table of a run.

    Raises:
        ValueError: when they are of others.
    """
    with pq.ParquetFile(path) as file:
        names = list(dict.fromkeys([*file.schema_arrow.names, *ALONG]))
    along = read_table(path, names)
    for name, column in ALONG.items():
        column.require(along[name])
    if set(along["id"]) != set(table["id"]):
        raise ValueError(f"{path.name} is of other samples than {ROWS}")
    return along


def _require_samples(table: pd.DataFrame, *, may_be_infinite: bool) -> None:
    """Each sample once, with finite scores, but where they may be infinite."""
    for name in ("id", "row"):
        if table[name].isna().any() or table[name].duplicated().any():
            raise ValueError(f"the column {name!r} of {ROWS} has gaps, or a value twice; expected one a sample")
    if table["row"].min() < 0:
        raise ValueError(f"the column 'row' of {ROWS} holds {table['row'].min()}; expected positions from 0")
    if not ((may_be_infinite | np.isfinite(table["lsi"])) & (table["lsi"] >= 0)).all():
        raise ValueError(f"the column 'lsi' of {ROWS} holds values that are negative or not finite")
