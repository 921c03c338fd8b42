"""The items of a map-style data set, read once as far as memory goes: passes over the data then cost no decoding."""

from __future__ import annotations

import copy
import sys
from collections.abc import Mapping
from typing import Any, final

import numpy as np
from torch import Tensor

KEPT_BYTES = 2**30


@final
class KeptItems:
    """By position. What was read stays, up to a limit, where its size is known: tensors, arrays, texts and numbers."""

    def __init__(self, dataset: Any, most_bytes: int = KEPT_BYTES) -> None:
        """Of a data set with a length and an item by its position; nothing is read yet."""
        self.dataset = dataset
        self._left = self._most = most_bytes
        self._items: dict[int, Any] = {}

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, row: int) -> Any:
        """An item that may be changed at its top, as some that make batches do."""
        if row not in self._items:
            item = self.dataset[row]
            size = bytes_of(item)
            if size is None or size > self._left:
                return item
            self._items[row] = item
            self._left -= size
        item = self._items[row]
        return copy.copy(item) if isinstance(item, dict | list) else item

    @property
    def n_bytes(self) -> int:
        """That are kept."""
        return self._most - self._left

    def __getstate__(self) -> tuple[Any, int]:
        """What was read is read anew where it is sent to."""
        return self.dataset, self._most

    def __setstate__(self, state: tuple[Any, int]) -> None:
        self.__init__(*state)


def bytes_of(item: Any) -> int | None:
    """That an item of a data set takes, about; None for what cannot be measured, such as an open image."""
    match item:
        case Tensor():
            return item.numel() * item.element_size()
        case np.ndarray() if item.dtype != object:
            return item.nbytes
        case str() | bytes() | bool() | int() | float() | np.generic() | None:
            return sys.getsizeof(item)
        case Mapping():
            return _sum(item.values())
        case list() | tuple():
            return _sum(item)
    return None


def _sum(parts: Any) -> int | None:
    sizes = [bytes_of(part) for part in parts]
    return None if None in sizes else sum(size + sys.getsizeof(0) for size in sizes if size is not None)
