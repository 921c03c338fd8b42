"""Data sets of the paper that come as folders: Imagenette and Imagewoof, chest X-rays, and IMDb."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from lapsi.data.readers.image_folders import read_image_folder
from lapsi.data.samples import Samples, Texts, require_regular
from lapsi.errors import InputError

PATIENT_AND_CAUSE = re.compile(r"(?P<patient>person\d+)_(?P<cause>bacteria|virus)_\d+")  # as on Kaggle and in version 2
CAUSE_AND_PATIENT = re.compile(r"(?P<cause>BACTERIA|VIRUS|NORMAL)-(?P<patient>\d+)-\d+")  # in version 3
FINDINGS = {"bacteria": "bacterial", "virus": "viral"}
IMAGENETTE = {
    "n01440764": "tench",
    "n02102040": "English springer",
    "n02979186": "cassette player",
    "n03000684": "chain saw",
    "n03028079": "church",
    "n03394916": "French horn",
    "n03417042": "garbage truck",
    "n03425413": "gas pump",
    "n03445777": "golf ball",
    "n03888257": "parachute",
}
IMAGEWOOF = {
    "n02086240": "Shih-Tzu",
    "n02087394": "Rhodesian ridgeback",
    "n02088364": "Beagle",
    "n02089973": "English foxhound",
    "n02093754": "Australian terrier",
    "n02096294": "Border terrier",
    "n02099601": "Golden retriever",
    "n02105641": "Old English sheepdog",
    "n02111889": "Samoyed",
    "n02115641": "Dingo",
}


def read_imagenet_folder(folder: Path, split: str, classes: Mapping[str, str]) -> Samples:
    """A split of Imagenette or Imagewoof: one folder a WordNet id, whose class name `classes` tells.

    Raises:
        InputError: when there is another folder.
    """
    found = read_image_folder(folder, split)
    unknown = sorted(set(found.labels) - set(classes))
    if unknown:
        raise InputError(f"{folder / split} holds a folder {unknown[0]}; expected {', '.join(classes)}.")
    return replace(found, labels=np.array([classes[label] for label in found.labels]))


def read_pneumonia(folder: Path, split: str) -> Samples:
    """A split of the chest X-rays of children: normal, bacterial or viral, as the names of the files tell; groups are patients.

    Raises:
        InputError: when a name tells no class.
    """
    found = read_image_folder(folder, split)
    rows = [_finding(Path(path), place) for path, place in zip(found.columns["path"], found.labels, strict=True)]
    labels, patients = zip(*rows, strict=True)
    return replace(found, labels=np.array(labels), columns=found.columns.assign(group=pd.Series(patients, dtype=object)))


def _finding(path: Path, place: str) -> tuple[str, str | None]:
    """Class and patient that stand in the name of a file, where `place` is its folder."""
    match = PATIENT_AND_CAUSE.match(path.name) or CAUSE_AND_PATIENT.match(path.name)
    cause, patient = (None, None) if match is None else (match["cause"].lower(), match["patient"])
    if place == "NORMAL" and cause in (None, "normal"):
        return "normal", patient
    if place != "PNEUMONIA" or cause not in FINDINGS:
        raise InputError(
            f"{path} tells no class; expected NORMAL/… or PNEUMONIA/ with a name such as person1_bacteria_2.jpeg or "
            "person3_virus_4.jpeg."
        )
    return FINDINGS[cause], patient


def read_imdb(folder: Path, split: str) -> Samples:
    """A split of the IMDb reviews: one file a text, in the folders neg and pos.

    Raises:
        InputError: when a file is no text.
    """
    paths = [path for label in ("neg", "pos") for path in sorted((folder / split / label).glob("[!.]*.txt"))]
    texts = [_text(path) for path in paths]
    ids = np.array([path.relative_to(folder / split).as_posix() for path in paths])
    columns = pd.DataFrame({"path": [str(path.absolute()) for path in paths], "text": texts})
    return Samples(Texts(texts), np.array([path.parent.name for path in paths]), ids, columns, str(folder))


def _text(path: Path) -> str:
    try:
        require_regular(path)
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a text in UTF-8 ({error}); unpack the official archive again.") from error
