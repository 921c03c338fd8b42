"""A table with all its columns, to be written again with some of them changed or added."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from lapsi.data.readers.arrow_files import ARROW, read_arrow
from lapsi.data.readers.layouts import DELIMITED, Layout, kind_of, open_text
from lapsi.data.readers.text_tables import layout_of, require_closed_quotes
from lapsi.data.readers.unreadable import reading

WHOLE_TABLES = (*DELIMITED, ".parquet", *ARROW)


def read_whole(path: Path, as_text: bool) -> tuple[pd.DataFrame, Layout]:
    """The table in a file of a kind of `WHOLE_TABLES`, and how it lies there.

    `as_text` keeps every cell of a file of text as it stands there.

    Raises:
        InputError: when it cannot be read.
    """
    with reading(path):
        if kind_of(path) in ARROW:
            return read_arrow(path).to_pandas(), Layout()
        if kind_of(path) not in DELIMITED:
            return pd.read_parquet(path), Layout()
        layout = layout_of(path)
        require_closed_quotes(path, layout.separator)
        asked: dict[str, Any] = {"dtype": str} if as_text else {"na_values": [""], "decimal": layout.decimal}
        with open_text(path) as file:
            return pd.read_csv(file, sep=layout.separator, keep_default_na=False, **asked), layout
