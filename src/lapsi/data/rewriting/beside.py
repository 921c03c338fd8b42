"""Files beside one that holds features alone: of labels, and of what else is known of the samples."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lapsi.data.readers.arrays import BESIDE
from lapsi.data.readers.columns import Columns, choose_name, file_and_name
from lapsi.data.readers.containers import open_arrays
from lapsi.data.readers.layouts import kind_of
from lapsi.data.readers.shard_names import shards_of
from lapsi.data.rewriting.choose import REWRITERS
from lapsi.data.rewriting.named import Named
from lapsi.errors import InputError

LABELS = "labels"
OF_ONE_ARRAY = (".npy", ".txt")


@dataclass(frozen=True, slots=True)
class Beside:
    """A file that is written again beside the features.

    Attributes:
        source: where it lies.
        what: the first thing that it holds, as `Columns.files` calls it.
        named: what the names inside it mean.
    """

    source: Path
    what: str
    named: Named

    @property
    def holds_labels(self) -> bool:
        """Whether the labels are in it."""
        return self.what == LABELS

    def beside(self, output: Path) -> Path:
        """Where it is written, beside the features in `output`: cleaned.npy, cleaned.labels.csv."""
        return output.with_name(f"{output.stem}.{self.what}{kind_of(self.source)}")


def files_beside(columns: Columns) -> list[Beside]:
    """The files that were named beside one of features, each once; that of the labels first.

    Raises:
        InputError: for several files that hold one thing together, and a kind that is not written.
    """
    held: dict[Path, dict[str, str | None]] = {}
    for what, place in columns.files().items():
        if place is not None:
            path, name = _one_file(place, what)
            held.setdefault(path, {})[what] = _found(path, name, what)
    files = []
    for path, names in held.items():
        by_sample = frozenset(name for name in names.values() if name is not None)
        files.append(Beside(path, next(iter(names)), Named(labels=names.get(LABELS), by_sample=by_sample)))
    return files


def _one_file(place: str, what: str) -> tuple[Path, str]:
    path, name = file_and_name(place)
    if not path.is_file():
        shards = shards_of(place) or [path]
        if len(shards) > 1:
            raise InputError(f"{what} are in {len(shards)} files, which are not written again; write .csv, .parquet or .json.")
        path = shards[0]
    if kind_of(path) not in REWRITERS:
        raise InputError(
            f"{path.name}, which holds {what}, is of kind {path.suffix!r}, which is not written again; write .csv, .parquet or "
            ".json."
        )
    return path, name


def _found(path: Path, name: str, what: str) -> str | None:
    """How a file calls what it holds; None where it is one array without names."""
    if kind_of(path) in OF_ONE_ARRAY:
        return None
    called, usual = BESIDE.get(what, (what, ()))
    return choose_name(name or None, usual, open_arrays(path).names, called, path.name)
