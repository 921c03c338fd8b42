"""Zip files of images: one folder a class inside, be it below a folder of all."""

from __future__ import annotations

import zlib
from pathlib import Path, PurePosixPath
from zipfile import BadZipFile, ZipFile, is_zipfile

import numpy as np
import pandas as pd
from PIL import Image

from lapsi.data.readers.columns import listed
from lapsi.data.readers.image_folders import SPLITS, to_train_on, where_found
from lapsi.data.samples import EncodedImages, Samples
from lapsi.errors import InputError, first_line
from lapsi.execution.disk import in_words

ARCHIVE = ".zip"
LARGEST = 2**28  # bytes of a file inside, before more memory is taken than any image asks for


def is_archive(path: Path) -> bool:
    """Whether a path is that of a zip file."""
    return path.suffix.lower() == ARCHIVE and path.is_file()


def read_image_archive(path: Path, split: str | None = None) -> Samples:
    """The images of a zip file, each folder a class; ids are the paths below the folder that holds the classes.

    Args:
        path: of the file.
        split: the folder of a part, which holds the classes.

    Raises:
        InputError: when it is no zip file, is encrypted, or holds no two folders with images.
    """
    try:
        if not is_zipfile(path):
            raise BadZipFile("it is no zip file")
        archive = ZipFile(path)
        members = [each for each in archive.infolist() if not each.is_dir() and _is_image(PurePosixPath(each.filename))]
    except (OSError, BadZipFile, UnicodeError) as error:
        raise InputError(f"{path} cannot be read as a zip file of images ({first_line(error)}); pack it again.") from error
    if any(each.flag_bits & 1 for each in members):
        raise InputError(f"{path} is encrypted; unpack it, and name the folder.")
    cut = [each.orig_filename for each in archive.infolist() if "\0" in each.orig_filename]
    if cut:
        raise InputError(f"{path} holds a name with a NUL, {cut[0]!r}, which no folder can hold; pack it again.")
    names = sorted(each.filename for each in members)
    top, classes = _class_folder(names, path, split)
    inside = [name for name in names if name.startswith(top) and "/" in name.removeprefix(top)]
    relative = [name.removeprefix(top) for name in inside]
    labels = np.array([name.partition("/")[0] for name in relative])
    place = f"{path.name}/{top}".rstrip("/")
    if len(classes) < 2:
        told = f"{place} holds {len(classes)} folders with images ({listed(classes)})"
        raise InputError(f"{told}; expected one a class, at least 2.")
    parts = [_below(names, f"{top}{name}/") for name in classes]
    if {name.lower() for name in classes} <= SPLITS and len(parts[0]) > 1 and all(part == parts[0] for part in parts):
        raise InputError(
            f"The folders of {place} ({listed(classes)}) look like splits; name one, e.g. --split {to_train_on(classes)}."
        )

    def fetch(position: int) -> bytes:
        size = archive.getinfo(inside[position]).file_size
        if size > LARGEST:
            raise OSError(f"it unpacks to {in_words(size)}; expected at most {in_words(LARGEST)} of an image")
        try:
            return archive.read(inside[position])
        except (BadZipFile, RuntimeError, NotImplementedError, zlib.error) as error:
            raise OSError(first_line(error)) from error

    content = EncodedImages([f"{path.name}/{name}" for name in inside], fetch)
    columns = pd.DataFrame(index=pd.RangeIndex(len(inside)))
    if split is not None:
        columns["split"] = split
    taken = set(inside)
    beside = [name for name in names if name not in taken and (split is None or "/" not in name.removeprefix(top))]
    said = where_found(place if top else "", len(beside))
    return Samples(content, labels, np.array(relative), columns, str(path), said=said)


def _class_folder(names: list[str], path: Path, split: str | None) -> tuple[str, list[str]]:
    """The folder that holds those of the classes, with a slash at its end, and their names."""
    top, below = "", _below(names, "")
    while split in below or (len(below) == 1 and _below(names, f"{top}{below[0]}/")):
        top, split = f"{top}{split if split in below else below[0]}/", None if split in below else split
        below = _below(names, top)
    if split is not None:
        raise InputError(f"{path.name} has no split {split!r}; it holds {listed(below)}.")
    return top, below


def _below(names: list[str], top: str) -> list[str]:
    """The folders right below another that hold images at any depth."""
    inside = (name.removeprefix(top) for name in names if name.startswith(top))
    return sorted({name.partition("/")[0] for name in inside if "/" in name})


def _is_image(name: PurePosixPath) -> bool:
    hidden = any(part[:1] == "." or part == "__MACOSX" for part in name.parts)
    return not hidden and name.suffix.lower() in Image.registered_extensions()
