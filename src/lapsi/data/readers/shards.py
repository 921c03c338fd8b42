"""Several files that hold the rows of one data set, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lapsi.data.arrays import feature_matrix, to_numpy
from lapsi.data.blocks import ArrayBlocks, Blocks
from lapsi.data.composed import JoinedBlocks
from lapsi.data.readers.columns import listed
from lapsi.data.readers.containers import NamedArrays, open_arrays, values_of
from lapsi.data.readers.unreadable import reading
from lapsi.errors import InputError


def open_shards(paths: Sequence[Path]) -> NamedArrays:
    """What files of one kind hold together.

    Raises:
        InputError: when one cannot be read, or lacks what the first holds, naming it.
    """
    shards = [open_arrays(path) for path in paths]
    first = shards[0]
    for path, shard in zip(paths, shards, strict=True):
        lost = [name for name in first.names if name not in shard.names]
        if lost:
            raise InputError(f"{path} has no {lost[0]!r}, as {paths[0].name} has; it has {listed(shard.names)}.")
        if (shard.made_by, shard.task) != (first.made_by, first.task):
            raise InputError(f"{path} says of its features that {shard.made_by} made them, {paths[0].name} {first.made_by}.")

    def each(read: Callable[[NamedArrays], Any]) -> list[Any]:
        values = []
        for path, shard in zip(paths, shards, strict=True):
            with reading(path):
                values.append(read(shard))
        return values

    def shared(name: str) -> Any:
        arrays = each(lambda shard: shard.shared(name))
        for path, array in zip(paths, arrays, strict=True):
            if to_numpy(array).tolist() != to_numpy(arrays[0]).tolist():
                raise InputError(f"{path} holds other {name!r} than {paths[0].name}; expected the same in all shards.")
        return arrays[0]

    def column(name: str) -> pa.ChunkedArray:
        return _joined_column(each(lambda shard: shard.column and shard.column(name)), paths, name)

    def load(name: str) -> np.ndarray:
        if first.column is None:
            return joined_values(each(lambda shard: shard.load(name)), paths, name)
        return values_of(column(name))

    return replace(
        first,
        load=load,
        column=None if first.column is None else column,
        features=lambda names: joined_rows(each(lambda shard: shard.features(names)), paths),
        shared=shared,
    )


def _joined_column(columns: Sequence[pa.ChunkedArray], paths: Sequence[Path], name: str) -> pa.ChunkedArray:
    """(N,) a column of all files; where one holds nothing but gaps, these are of the type of the others."""
    plain = [each.cast(each.type.value_type) if pa.types.is_dictionary(each.type) else each for each in columns]
    known = [place for place, each in enumerate(plain) if not pa.types.is_null(each.type)] or [0]
    kind = plain[known[0]].type
    for place in known:
        if plain[place].type != kind:
            raise InputError(
                f"{paths[place]} holds {plain[place].type} as {name!r}, {paths[known[0]].name} {kind}; expected one type in "
                "all shards."
            )
    return pa.chunked_array([chunk for each in plain for chunk in each.cast(kind).chunks], kind)


def joined_values(arrays: Sequence[Any], paths: Sequence[Path], name: str) -> np.ndarray:
    """(N, …) what is known of the samples of each file, together.

    Raises:
        InputError: when a file holds another type or another number of axes than the first.
    """
    values = [to_numpy(array) for array in arrays]
    for path, each in zip(paths, values, strict=True):
        if each.dtype.kind != values[0].dtype.kind or each.shape[1:] != values[0].shape[1:]:
            raise InputError(
                f"{path} holds {_told(each)} as {name!r}, {paths[0].name} {_told(values[0])}; expected one type in all shards."
            )
    return values[0] if len(values) == 1 else np.concatenate(values)


def _told(values: np.ndarray) -> str:
    return f"{values.dtype}" if values.ndim == 1 else f"{values.dtype} of {values.ndim} axes"


def joined_rows(parts: Sequence[Any], paths: Sequence[Path]) -> Any:
    """Features (N, d) of files, one after the other; those of a single one as they are.

    Raises:
        InputError: when one holds no features, or of another width or type than the first, naming it.
    """
    if len(parts) == 1:
        return parts[0]
    blocks = [_rows(part, path) for part, path in zip(parts, paths, strict=True)]
    for path, block in zip(paths, blocks, strict=True):
        if block.shape[1] != blocks[0].shape[1]:
            raise InputError(
                f"{path} has {block.shape[1]} features, {paths[0].name} has {blocks[0].shape[1]}; expected as many in all "
                "shards."
            )
        if block.dtype != blocks[0].dtype:
            raise InputError(
                f"{path} holds features of type {block.dtype}, {paths[0].name} of type {blocks[0].dtype}; expected one type in "
                "all shards."
            )
    return JoinedBlocks(tuple(blocks), tuple(path.name for path in paths))


def _rows(part: Any, path: Path) -> Blocks:
    if isinstance(part, Blocks):
        return part
    try:
        return ArrayBlocks(feature_matrix(part))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
