"""A table of Apache Arrow, written again: a file as a file, a stream as a stream; types and metadata stay."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.feather

from lapsi.data.readers.arrow_files import is_stream, read_arrow
from lapsi.data.rewriting.decided import Decided
from lapsi.data.rewriting.named import Named
from lapsi.data.rewriting.paths import mover
from lapsi.data.rewriting.tables import relabelled_column


def rewrite_arrow(source: Path, target: Path, named: Named, decided: Decided, folder: Path) -> None:
    """The rows of the samples that stay; relative paths of images stay right in `folder`."""
    table = read_arrow(source)
    decided.require_rows(len(table), source.name)
    if len(decided.changed) > 0:
        assert named.labels is not None
        table = _with(table, named.labels, relabelled_column(table[named.labels].to_pandas(), decided, "."))
    if named.paths is not None:
        moved = map(mover(source.absolute().parent, folder), table[named.paths].to_pylist())
        table = _with(table, named.paths, pd.Series(list(moved), dtype=object))
    kept = table.take(pa.array(decided.kept))
    if is_stream(source):
        with pa.ipc.new_stream(target, kept.schema) as stream:
            stream.write_table(kept)
    else:
        pa.feather.write_feather(kept, str(target))


def _with(table: pa.Table, name: str, values: pd.Series) -> pa.Table:
    """With other values in a column, in its type where that holds them."""
    place = table.column_names.index(name)
    kind = table.schema.field(place).type
    plain = pa.Array.from_pandas(values.astype(object))
    if pa.types.is_dictionary(kind):
        new = plain.cast(kind.value_type).dictionary_encode().cast(kind)
    else:
        try:
            new = plain.cast(kind)
        except pa.ArrowInvalid:
            new = plain
    return table.set_column(place, table.schema.field(place).with_type(new.type), new)
