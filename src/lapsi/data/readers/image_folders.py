"""Image folders: one subfolder a class."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from lapsi.data.readers.columns import listed
from lapsi.data.samples import EncodedImages, Samples
from lapsi.errors import InputError

SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation", "dev"}


def read_image_folder(folder: Path, split: str | None = None) -> Samples:
    """The images below the subfolders of a folder, each subfolder a class; ids are the paths within it.

    Args:
        folder: holds one subfolder a class, or, where `split` is named, one subfolder a split that does.
        split: its name.

    Raises:
        InputError: when there is no such folder, or no two subfolders with images.
    """
    root = folder if split is None else folder / split
    if not root.is_dir():
        there = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
        raise InputError(f"{folder} has no split {split!r}; it holds {listed(there)}.")
    folders = [entry for entry in sorted(root.iterdir()) if entry.is_dir() and entry.name[0] != "."]
    files = {entry.name: image_files(entry) for entry in folders}
    found = {name: paths for name, paths in files.items() if paths}
    if len(found) < 2:
        raise InputError(
            f"{root} holds {len(found)} subfolders with images ({listed(list(found))}); expected one a class, at least 2."
        )
    nested = _splits(root, list(found))
    if nested:
        raise InputError(
            f"The subfolders of {root} ({listed(list(found))}) look like splits, each with a folder a class; name one, "
            f"e.g. --split {nested}."
        )
    paths = [path for group in found.values() for path in group]
    labels = np.array([name for name, group in found.items() for _ in group])
    ids = np.array([path.relative_to(root).as_posix() for path in paths])
    columns = pd.DataFrame({"path": [str(path.absolute()) for path in paths]})
    if split is not None:
        columns["split"] = split
    return Samples(image_content(paths), labels, ids, columns, str(folder))


def image_content(paths: list[Path]) -> EncodedImages:
    """Images in files."""
    return EncodedImages([str(path) for path in paths], lambda position: paths[position].read_bytes())


def image_files(folder: Path) -> list[Path]:
    """Files below a folder whose ending is that of an image, in order of their names; hidden ones are left out."""
    endings = Image.registered_extensions()
    paths = []
    for place, subfolders, names in os.walk(folder):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        paths += [Path(place, name) for name in sorted(names) if Path(name).suffix.lower() in endings and name[0] != "."]
    return paths


def _splits(root: Path, names: list[str]) -> str | None:
    """The first of the subfolders where they are named as splits are, and hold the same subfolders and no images."""
    if not {name.lower() for name in names} <= SPLITS:
        return None
    inner = []
    for name in names:
        entries = [entry for entry in (root / name).iterdir() if entry.name[0] != "."]
        if not all(entry.is_dir() for entry in entries):
            return None
        inner.append({entry.name for entry in entries})
    return names[0] if len(inner[0]) > 1 and all(each == inner[0] for each in inner) else None
