"""Samples as a torch module takes them: from a map-style data set to the arguments of the module, some rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import default_collate

from lapsi.data.kept_items import KeptItems
from lapsi.data.same_twice import differ
from lapsi.errors import InputError, first_line

TARGETS = ("labels", "label", "targets", "target", "y")  # keys under which data sets hold what is to be predicted
WORDS, SEEN = "input_ids", "attention_mask"  # as transformers call them
READ_TWICE = 8  # samples that must be the same both times
IGNORED = -100  # the target of a token that does not count, as torch has it
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
        items: of the data set; one is (input, …, target), or a mapping with one of `TARGETS`.
        collate: makes a batch of a list of items.
        device, dtype: of the module: inputs of floating point become so.
        reads_ahead: whether the targets of a text without any are its own words.
    """

    items: KeptItems
    collate: COLLATED
    device: torch.device
    dtype: torch.dtype
    reads_ahead: bool = False

    def __len__(self) -> int:
        return len(self.items)

    def take(self, rows: Sequence[int] | Tensor) -> Arguments:
        """Of samples `rows` (n,).

        Raises:
            InputError: when a sample cannot be read, or a batch is neither a tuple nor a mapping with targets.
        """
        batch = self.of_items([self.item(int(row)) for row in rows], rows)
        if isinstance(batch, Mapping):
            key = next((name for name in TARGETS if name in batch), None)
            if key is None and self.reads_ahead and WORDS in batch:
                named = {name: self._moved(value) for name, value in batch.items()}
                return Arguments((), named, read_words(named))
            if key is None:
                raise InputError(f"A sample holds {', '.join(map(str, batch))}; expected its target under one of {TARGETS}.")
            named = {name: self._moved(value) for name, value in batch.items() if name != key}
            return Arguments((), named, self._targets(batch[key]))
        if not isinstance(batch, tuple | list) or len(batch) < 2:
            raise InputError(f"A batch is a {type(batch).__name__}; expected (input, target), or a mapping with the target.")
        *inputs, targets = batch
        if len(inputs) == 1 and isinstance(inputs[0], Mapping):
            return Arguments((), {name: self._moved(value) for name, value in inputs[0].items()}, self._targets(targets))
        return Arguments(tuple(map(self._moved, inputs)), {}, self._targets(targets))

    def spread(self, most: int) -> Tensor:
        """Rows (n,) of at most so many samples, the first and the last among them, evenly spaced."""
        return torch.linspace(0, len(self) - 1, min(most, len(self))).long().unique()

    def item(self, row: int) -> Any:
        """A sample as the data set gives it."""
        try:
            return self.items[row]
        except Exception as error:
            what = f"{type(error).__name__}: {first_line(error)}"
            raise InputError(f"Sample {row} of the data set cannot be read ({what}); mend it, or leave it out.") from error

    def of_items(self, items: list[Any], rows: Sequence[int] | Tensor) -> Any:
        """A batch of samples `rows`."""
        try:
            return self.collate(items)
        except Exception as error:
            raise InputError(
                f"{rows_in_words(rows)} of the data set cannot be made a batch ({first_line(error)}); expected "
                "tensors, arrays or numbers of one shape (see the transforms of the data set), or a collate that makes them so."
            ) from error

    def _targets(self, given: Any) -> Tensor:
        try:
            return torch.as_tensor(given).to(self.device)
        except (TypeError, ValueError, RuntimeError) as error:
            some = given[0] if isinstance(given, Sequence) and len(given) > 0 else given
            raise InputError(
                f"The targets are of type {type(some).__name__}, such as {some!r:.60}; expected numbers: of a class the "
                "position of its output."
            ) from error

    def _moved(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        return value.to(self.device, self.dtype) if value.is_floating_point() else value.to(self.device)


def padded_collate(items: list[Any], word: int = 0) -> Any:
    """A batch as torch makes it; texts of several lengths are padded at their ends, with a word, and their targets with
    `IGNORED`."""
    first = items[0]
    if isinstance(first, Mapping):
        fill = {WORDS: word} | dict.fromkeys(TARGETS, IGNORED)
        batch = {name: _stacked([item[name] for item in items], fill.get(name, 0)) for name in first}
        if WORDS in first and SEEN not in first:
            lengths = {len(item[WORDS]) for item in items}
            if len(lengths) > 1:
                batch[SEEN] = _stacked([torch.ones(len(item[WORDS]), dtype=torch.int64) for item in items], 0)
        return batch
    if isinstance(first, tuple | list):
        last = len(first) - 1
        return [
            _stacked(list(values), IGNORED if place == last else 0) for place, values in enumerate(zip(*items, strict=True))
        ]
    return default_collate(items)


def _stacked(values: list[Any], fill: int) -> Any:
    """Of n values (t,) of several lengths (n, T), filled up."""
    if isinstance(values[0], list | np.ndarray) and np.asarray(values[0]).dtype.kind in "iufb":
        values = [torch.as_tensor(np.asarray(value)) for value in values]
    ragged = isinstance(values[0], Tensor) and values[0].ndim == 1 and len({len(value) for value in values}) > 1
    if not ragged:
        return default_collate(values)
    dtype = reduce(torch.promote_types, (value.dtype for value in values))
    values = [value.to(dtype) for value in values]
    return pad_sequence(values, batch_first=True, padding_value=fill)


def rows_in_words(rows: Sequence[int] | Tensor) -> str:
    """E.g. "Sample 3", "Samples 0 to 7", "Samples 0, 5, …, 40"."""
    first, *_, last = known = [*map(int, rows), int(rows[-1])]
    if len(known) == 2:
        return f"Sample {first}"
    if last - first == len(known) - 2:
        return f"Samples {first} to {last}"
    return f"Samples {first}, {known[1]}, …, {last}" if len(known) > 3 else f"Samples {first} and {last}"


def read_words(named: Mapping[str, Any]) -> Tensor:
    """The words of texts (n, T) as targets, those that are padding ignored."""
    words: Tensor = named[WORDS]
    return words if SEEN not in named else words.masked_fill(named[SEEN] == 0, IGNORED)


def batches_of(dataset: Any, collate: COLLATED | None, like: Tensor, *, reads_ahead: bool = False) -> Batches:
    """Of a data set, for a module with a parameter `like` (device and dtype).

    Raises:
        InputError: when it has no length, fewer than two samples, or samples that differ from one reading to the next.
    """
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__") or isinstance(dataset, Mapping):
        raise InputError(f"dataset is a {type(dataset).__name__}; expected one with a length and an item by its position.")
    if len(dataset) < 2:
        raise InputError(f"The data set has {len(dataset)} sample; expected at least 2, one to leave out and one to keep.")
    batches = Batches(KeptItems(dataset), collate or padded_collate, like.device, like.dtype, reads_ahead)
    _require_same_twice(batches)
    return batches


def _require_same_twice(batches: Batches) -> None:
    """Refuses random augmentations, looking at some samples as the module would be given them."""
    items = batches.items
    for row in batches.spread(READ_TWICE).tolist():
        if differ(batches.of_items([batches.item(row)], [row]), batches.of_items([items.dataset[row]], [row])):
            raise InputError(
                f"Sample {row} of the data set is another one when it is read again, as random augmentations make it; expected "
                "the same every time. Hand it over with the transforms of evaluation."
            )
