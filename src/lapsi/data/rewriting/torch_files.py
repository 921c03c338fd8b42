"""Dictionaries of tensors in a file of `torch.save`, written again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lapsi.data.readers.class_names import class_names
from lapsi.data.readers.columns import Columns
from lapsi.data.readers.containers import named_tensors
from lapsi.data.readers.torch_files import read_tensors
from lapsi.data.rewriting.archives import relabelled
from lapsi.data.rewriting.decided import Decided
from lapsi.data.rewriting.named import Named
from lapsi.data.targets import label_set


def rewrite_tensors(source: Path, target: Path, named: Named, decided: Decided, folder: Path) -> None:
    """What goes by sample without the samples that were removed; types stay, and what lists hold.

    A new class gets the next number where the file names classes.
    """
    import torch

    held, new = read_tensors(source), dict[str, Any]()
    if len(decided.changed) > 0:
        assert named.labels is not None
        called = named.class_names if named.class_names in held else None
        known = None if called is None else class_names(named_tensors(held), Columns(class_names=called), source)
        new[named.labels], names = _written(held[named.labels], known, decided)
        new |= {} if names is None or called is None else {called: names.tolist()}
    for name in held:
        value = new.get(name, held[name])
        is_tensor, is_list = isinstance(value, torch.Tensor), isinstance(value, list | tuple)
        shape = tuple(value.shape) if is_tensor else (len(value),) if is_list else ()
        if named.cut(name, shape, decided, source.name):
            value = value[decided.kept] if is_tensor else type(value)(value[row] for row in decided.kept)
        new[name] = value.clone() if is_tensor else value
    with target.open("wb") as file:
        torch.save({name: new[name] for name in held}, file)


def _written(held: Any, names: np.ndarray | None, decided: Decided) -> tuple[Any, np.ndarray | None]:
    """All labels as they were held, and the names of classes that they count, None where these stay."""
    import torch

    if isinstance(held, torch.Tensor):
        array, more = relabelled(held.numpy(), names, decided)
        return torch.from_numpy(array), more
    if names is not None:
        array, more = relabelled(np.asarray(held), names, decided)
        return type(held)(array.tolist()), more
    new = list(held)
    for row, label in zip(decided.changed.tolist(), decided.labels, strict=True):
        new[row] = sorted(label_set(label)) if isinstance(new[row], list | tuple) else label
    return type(held)(new), None
