"""Which files a source names together: a folder of shards, a pattern, or several files; in natural order, none missing."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from lapsi.data.readers.columns import FEATURE_NAMES, LABEL_NAMES
from lapsi.errors import InputError
from lapsi.execution.files import MARKER

SHARDED = (".npy", ".npz", ".safetensors", ".parquet")
OF_MATRIX = {"format.npy", "shape.npy", "data.npy"}  # in files of scipy.sparse.save_npz
SEPARATOR = ","  # between the names of several files
NUMBER = re.compile(r"(\d+)")
COUNT = re.compile(r"[-_.]?\d+(?:[-_.]of[-_.]\d+)?$")  # what tells the shards of one array apart


def natural(name: str) -> list[int | str]:
    """A key that sorts part-2 before part-10."""
    return [int(part) if part.isdigit() else part for part in NUMBER.split(name)]


def shards_of(source: str) -> list[Path] | None:
    """The files that a source names together, in natural order or as they were listed; None where it names something else.

    Raises:
        InputError: when there are none, when they are of several kinds, or when the numbers in their names leave one out.
    """
    path = Path(source)
    if path.is_dir():
        return _checked(_in_folder(path), source, "*") if _holds_shards(path) else None
    if path.exists():
        return None
    if is_pattern(source):
        found = [Path(name) for name in glob.glob(source) if os.path.isfile(name)]
        if not found:
            raise InputError(f"No file fits the pattern {source}; expected files such as part-00000.parquet.")
        return _checked(found, source, path.name)
    listed = [Path(name) for name in source.split(SEPARATOR)]
    if len(listed) == 1 or not all(each.suffix.lower() in SHARDED for each in listed):
        return None
    missing = [each for each in listed if not each.is_file()]
    if missing:
        raise InputError(f"{missing[0]}, one of {len(listed)} files that were named, does not exist.")
    return _of_one_kind(listed, source)


def is_pattern(source: str) -> bool:
    """Whether a source is a pattern as the shell knows it."""
    return glob.has_magic(source)


def is_sparse_file(path: Path) -> bool:
    """Whether a file is one that scipy keeps a sparse matrix in."""
    if path.suffix.lower() != ".npz" or not path.is_file():
        return False
    try:
        with ZipFile(path) as archive:
            return set(archive.namelist()) >= OF_MATRIX
    except (OSError, BadZipFile):
        return False


def holds_features_alone(path: Path) -> bool:
    """Whether a file holds nothing but features, so that labels are in files beside it."""
    return path.suffix.lower() == ".npy" or is_sparse_file(path)


def beside(paths: Sequence[Path], folder: Path) -> str | None:
    """The pattern of the files with the labels in a folder of .npy files; None where there are none."""
    groups = _groups([path for path in _files(folder) if path not in paths])
    found = next((name for name in LABEL_NAMES if name in groups), None)
    return None if found is None else SEPARATOR.join(map(str, _checked(groups[found], str(folder), "*")))


def require_shards(paths: Sequence[Path]) -> None:
    """Refuses to go on without files that a run was made from.

    Raises:
        InputError: naming the first that is missing.
    """
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise InputError(
            f"{missing[0]} is missing, one of the {len(paths)} files that the run was made from; put it back, or score the "
            "data again."
        )


def _files(folder: Path) -> list[Path]:
    """Those with features that a folder holds itself."""
    return [path for path in folder.iterdir() if path.suffix.lower() in SHARDED and path.is_file() and path.name[:1] != "."]


def _holds_shards(folder: Path) -> bool:
    """Whether a folder holds features, and neither subfolders, as one of images does, nor a run."""
    below = (path for path in folder.iterdir() if path.is_dir() and path.name[:1] != ".")
    return next(below, None) is None and not (folder / MARKER).exists() and len(_files(folder)) > 0


def _in_folder(folder: Path) -> list[Path]:
    """The shards; of .npy files those of the features."""
    paths = _files(folder)
    if {path.suffix.lower() for path in paths} != {".npy"}:
        return paths
    groups = _groups(paths)
    named = [name for name in FEATURE_NAMES if name in groups] or [name for name in groups if name not in LABEL_NAMES]
    if len(named) != 1:
        raise InputError(
            f"{folder} holds .npy files of several names ({', '.join(sorted(groups))}); say which are the features by a "
            f"pattern, e.g. '{folder / sorted(groups)[0]}*.npy'."
        )
    return groups[named[0]]


def _groups(paths: Sequence[Path]) -> dict[str, list[Path]]:
    """Files by their names without the number of the shard."""
    groups: dict[str, list[Path]] = {}
    for path in paths:
        groups.setdefault(COUNT.sub("", path.stem), []).append(path)
    return groups


def _checked(paths: list[Path], source: str, pattern: str) -> list[Path]:
    ordered = sorted(_of_one_kind(paths, source), key=lambda path: natural(str(path)))
    missing = _missing(ordered, pattern)
    if missing:
        more = f" and {len(missing) - 1} more are" if len(missing) > 1 else " is"
        raise InputError(
            f"{missing[0]}{more} missing between {ordered[0].name} and {ordered[-1].name}; put it there, or name the files "
            "that are meant one by one."
        )
    return ordered


def _of_one_kind(paths: list[Path], source: str) -> list[Path]:
    kinds = sorted({path.suffix.lower() for path in paths})
    if len(kinds) > 1 or kinds[0] not in SHARDED:
        raise InputError(
            f"{source} names files of kind {', '.join(map(repr, kinds))}; expected shards of one kind: {', '.join(SHARDED)}."
        )
    return paths


def _missing(ordered: list[Path], pattern: str) -> list[Path]:
    """Files that the numbers of the others leave out, where only one number in their names counts."""
    parts = [NUMBER.split(path.name) for path in ordered]
    if len({path.parent for path in ordered}) > 1 or len({len(each) for each in parts}) > 1:
        return []
    counting = [place for place in range(len(parts[0])) if len({each[place] for each in parts}) > 1]
    if len(parts) == 1 and len(parts[0]) > 1:
        counting = [1]
    if len(counting) != 1 or counting[0] % 2 == 0:
        return []
    place = counting[0]
    held = {int(each[place]) for each in parts}
    names = []
    for number in range(min(held), max(_announced(parts[0], place), *held) + 1):
        parts[0][place] = str(number).zfill(len(parts[0][place]))
        name = "".join(parts[0])
        if number not in held and fnmatch(name, pattern):
            names.append(ordered[0].with_name(name))
    return names


def _announced(parts: list[str], place: int) -> int:
    """The last number, where names say of how many they are: 00000-of-00003."""
    said = place + 2 < len(parts) and parts[place + 1] in ("-of-", "_of_", ".of.")
    return int(parts[place + 2]) - 1 if said else -1
