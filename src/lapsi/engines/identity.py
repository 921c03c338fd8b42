"""What must be equal for the finished parts of some work to belong together."""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from typing import Any

import numpy as np

from lapsi.data.dataset import Dataset
from lapsi.settings.execution import WORKERS
from lapsi.settings.network import NetworkSettings
from lapsi.settings.pairs import PairSettings
from lapsi.settings.settings import Settings

IDENTITY_FORMAT = 4  # of the parts that unfinished work keeps
# what changes no part, and may change when a run goes on
ROUTINE = ("memory_limit", "verify", *WORKERS)


def identity(dataset: Dataset, settings: Settings, rows: np.ndarray) -> dict[str, Any]:
    """Of samples `rows` (n,) of a data set that leave one by one."""
    return {**_marks(dataset), "n_scored": len(rows), "rows": _digest([rows]), "settings": _kept(settings)}


def groups_identity(dataset: Dataset, settings: Settings, groups: list[np.ndarray]) -> dict[str, Any]:
    """Of groups of samples that leave together, the rows (g,) of each, in their order."""
    sizes = np.array([len(rows) for rows in groups])
    return {**_marks(dataset), "n_groups": len(groups), "rows": _digest([sizes, *groups]), "settings": _kept(settings)}


def model_identity(digests: dict[str, str], settings: NetworkSettings | PairSettings, rows: np.ndarray) -> dict[str, Any]:
    """Of samples `rows` (n,) that leave, and digests by what they are of."""
    marks = {"version": version("lapsi"), "format": IDENTITY_FORMAT, **digests}
    return {**marks, "n_scored": len(rows), "rows": _digest([rows]), "settings": _kept(settings)}


def _marks(dataset: Dataset) -> dict[str, Any]:
    return {"version": version("lapsi"), "format": IDENTITY_FORMAT, "data": dataset.digest()}


def _kept(settings: Settings | NetworkSettings | PairSettings) -> dict[str, Any]:
    kept = settings.to_dict()
    return kept | {"execution": {name: value for name, value in kept["execution"].items() if name not in ROUTINE}}


def _digest(arrays: list[np.ndarray]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
