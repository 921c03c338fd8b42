"""Image folders: one subfolder a class."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from lapsi.data.readers.columns import listed
from lapsi.data.samples import ImageFiles, Samples, tell_unreadable
from lapsi.errors import InputError
from lapsi.execution.files import holds_run

TRAIN = "train"
SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation", "dev"}
Unread = list[tuple[str, str]]  # names and reasons


def read_image_folder(folder: Path, split: str | None = None, *, skip_bad: bool = False) -> Samples:
    """The images below the subfolders of a folder, each subfolder a class; ids are the paths within it.

    Args:
        folder: holds one subfolder a class, or nothing but one folder that does; or, where `split` is named, one subfolder a
            split that does.
        split: its name.
        skip_bad: leave out what cannot be read, and say so in `unread`.

    Raises:
        InputError: when there is no such folder, or no two subfolders with images; or a part of it cannot be read, naming it,
            and `skip_bad` is off.
    """
    unread: Unread = []
    root = folder if split is not None and os.path.isdir(folder / split) else _class_folder(folder)
    place = "" if root == folder else str(root if split is None else root / split)
    root = root if split is None else root / split
    if not os.path.isdir(root):
        there = [entry.name for entry in _entries(folder, unread)[0]]
        raise InputError(f"{folder} has no split {split!r}; it holds {listed(there)}.")
    files = {entry.name: image_files(entry, unread) for entry in _entries(root, unread)[0]}
    found = {name: paths for name, paths in files.items() if paths}
    if unread and (len(found) < 2 or not skip_bad):
        raise InputError(tell_unreadable(unread, f"folders and files below {root}"))
    if len(found) < 2:
        raise InputError(
            f"{root} holds {len(found)} subfolders with images ({listed(list(found))}); expected one a class, at least 2."
            f"{_elsewhere(root)}"
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
    said = where_found(place, sum(map(_is_image, _entries(root, [])[1])))
    return Samples(ImageFiles(paths), labels, ids, columns, str(folder), unread=tuple(unread), said=said)


def where_found(place: str, n_beside: int) -> str:
    """What a person is told: of the folder of the classes, where it is another than was named, and of images beside these."""
    lie = f"{n_beside:,} images lie in no folder of a class and are"
    if n_beside == 1:
        lie = "1 image lies in no folder of a class and is"
    told = [f"The classes are the folders of {place}."] if place else []
    return " ".join([*told, f"{lie} left out."] if n_beside else told)


def _class_folder(folder: Path) -> Path:
    """The folder itself, or, where it holds nothing but one folder with folders inside, that one, and so on."""
    subfolders, files = _entries(folder, [])
    if len(subfolders) != 1 or any(map(_is_image, files)):
        return folder
    inner, images = _entries(subfolders[0], [])
    return folder if not inner or any(map(_is_image, images)) else _class_folder(subfolders[0])


def _elsewhere(root: Path) -> str:
    """A question about the folder above, where that holds several with images as this one does; else ""."""
    above = root.parent if root.name else root.absolute().parent

    def has_images(folder: Path) -> bool:
        return any(map(_is_image, _entries(folder, [])[1]))

    return f" Do you mean {above}?" if has_images(root) and sum(map(has_images, _entries(above, [])[0])) > 1 else ""


def image_files(folder: Path, unread: Unread) -> list[Path]:
    """Files below a folder whose ending is that of an image, in order of their names; hidden ones and runs are left out.

    What cannot be read, or has a name that cannot be kept, is added to `unread`.
    """
    paths: list[Path] = []
    seen: set[tuple[int, int]] = set()  # so that links in a circle end
    waiting = [folder]
    while waiting:
        place = waiting.pop()
        try:
            status = place.stat()
        except OSError as error:
            unread.append((_shown(place), error.strerror or str(error)))
            continue
        if (status.st_dev, status.st_ino) not in seen:
            seen.add((status.st_dev, status.st_ino))
            subfolders, files = _entries(place, unread)
            waiting += reversed(subfolders)
            paths += [path for path in files if _is_image(path) and _has_text_name(path, unread)]
    return paths


def _entries(folder: Path, unread: Unread) -> tuple[list[Path], list[Path]]:
    """Subfolders and files of a folder in order of their names, those that links lead to among them."""
    try:
        with os.scandir(folder) as entries:
            listed = sorted((entry for entry in entries if entry.name[0] != "."), key=lambda entry: entry.name)
    except OSError as error:
        unread.append((_shown(folder), error.strerror or str(error)))
        return [], []
    subfolders, files = [], []
    for entry in listed:
        path = Path(entry.path)
        try:
            is_folder = stat.S_ISDIR(path.stat().st_mode) if entry.is_symlink() else entry.is_dir()
        except OSError as error:
            if not _is_image(path):  # may have led to a folder; an image is missed when it is read
                unread.append((_shown(path), error.strerror or str(error)))
                continue
            is_folder = False
        if not is_folder:
            files.append(path)
        elif not holds_run(path):
            subfolders.append(path)
    return subfolders, files


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in Image.registered_extensions()


def _has_text_name(path: Path, unread: Unread) -> bool:
    absolute = path.absolute()
    if _shown(absolute) == str(absolute):
        return True
    unread.append((_shown(path), "its name is no text in UTF-8"))
    return False


def _shown(path: Path) -> str:
    """A path for a message, with a mark in place of each byte that is no text."""
    return str(path).encode("utf-8", "replace").decode()


def _splits(root: Path, names: list[str]) -> str | None:
    """The one to train on, or the first, of subfolders named as splits that hold the same subfolders and no images."""
    if not {name.lower() for name in names} <= SPLITS:
        return None
    inner = []
    for name in names:
        entries = [entry for entry in (root / name).iterdir() if entry.name[0] != "."]
        if not all(entry.is_dir() for entry in entries):
            return None
        inner.append({entry.name for entry in entries})
    return to_train_on(names) if len(inner[0]) > 1 and all(each == inner[0] for each in inner) else None


def to_train_on(splits: list[str]) -> str:
    """The split that is called so, or the first."""
    return next((name for name in splits if name.lower().startswith(TRAIN)), splits[0])
