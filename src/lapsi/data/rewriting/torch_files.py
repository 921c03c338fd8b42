"""Dictionaries of tensors in a file of `torch.save`, written again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lapsi.data.readers.torch_files import read_tensors
from lapsi.data.rewriting.decided import Decided
from lapsi.data.rewriting.named import Named


def rewrite_tensors(source: Path, target: Path, named: Named, decided: Decided, folder: Path) -> None:
    """What goes by sample without the samples that were removed, tensors as tensors and lists as lists; types stay."""
    import torch

    new: dict[str, Any] = {}
    for name, value in read_tensors(source).items():
        is_tensor = isinstance(value, torch.Tensor)
        held: Any = value if is_tensor else np.asarray(value)
        if name == named.labels and len(decided.changed) > 0:
            written = decided.written(np.asarray(held))
            held = torch.from_numpy(written) if is_tensor else written
        if named.cut(name, tuple(held.shape), decided, source.name):
            held = held[decided.kept]
        new[name] = held.clone() if is_tensor else held.tolist()
    with target.open("wb") as file:
        torch.save(new, file)
