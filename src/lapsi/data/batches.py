"""Samples as a torch module takes them: from a map-style data set to the arguments of the module, some rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import default_collate

from lapsi.errors import InputError

TARGETS = ("labels", "label", "targets", "target", "y")  # keys under which data sets hold what is to be predicted
COLLATED = Callable[[list[Any]], Any]


@dataclass(frozen=True, slots=True, eq=False)
class Arguments:
    """What a module is called with for some samples, and their targets.

    Attributes:
        inputs, named: positional arguments, and those by name.
        targets: (n, …).
    """

    inputs: tuple[Any, ...]
    named: dict[str, Any]
    targets: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Batches:
    """A map-style data set, as a module reads it.

    Attributes:
        dataset: `len` and an item by its position; an item is (input, …, target), or a mapping with one of `TARGETS`.
        collate: makes a batch of a list of items.
        device, dtype: of the module: inputs of floating point become so.
    """

    dataset: Any
    collate: COLLATED
    device: torch.device
    dtype: torch.dtype

    def __len__(self) -> int:
        return len(self.dataset)

    def take(self, rows: Sequence[int] | Tensor) -> Arguments:
        """Of samples `rows` (n,).

        Raises:
            InputError: when a batch is neither a tuple nor a mapping with targets.
        """
        batch = self.collate([self.dataset[int(row)] for row in rows])
        if isinstance(batch, Mapping):
            key = next((name for name in TARGETS if name in batch), None)
            if key is None:
                raise InputError(f"A sample holds {', '.join(map(str, batch))}; expected its target under one of {TARGETS}.")
            named = {name: self._moved(value) for name, value in batch.items() if name != key}
            return Arguments((), named, torch.as_tensor(batch[key]).to(self.device))
        if not isinstance(batch, tuple | list) or len(batch) < 2:
            raise InputError(f"A batch is a {type(batch).__name__}; expected (input, target), or a mapping with the target.")
        *inputs, targets = batch
        if len(inputs) == 1 and isinstance(inputs[0], Mapping):
            return Arguments((), {name: self._moved(value) for name, value in inputs[0].items()}, targets.to(self.device))
        return Arguments(tuple(map(self._moved, inputs)), {}, torch.as_tensor(targets).to(self.device))

    def _moved(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        return value.to(self.device, self.dtype) if value.is_floating_point() else value.to(self.device)


def batches_of(dataset: Any, collate: COLLATED | None, like: Tensor) -> Batches:
    """Of a data set, for a module with a parameter `like` (device and dtype).

    Raises:
        InputError: when it has no length, or fewer than two samples.
    """
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        raise InputError(f"dataset is a {type(dataset).__name__}; expected one with a length and an item by its position.")
    if len(dataset) < 2:
        raise InputError(f"The data set has {len(dataset)} sample; expected at least 2, one to leave out and one to keep.")
    return Batches(dataset, collate or default_collate, like.device, like.dtype)
