"""A table with all its columns, to be written again with some of them changed or added."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lapsi.data.readers.text_tables import require_closed_quotes
from lapsi.errors import InputError

WHOLE_TABLES = (".csv", ".parquet")


def read_whole(path: Path, as_text: bool) -> pd.DataFrame:
    """The table in a file .csv or .parquet; `as_text` keeps every cell of a CSV file as it stands there.

    Raises:
        InputError: when it cannot be read.
    """
    kind = path.suffix.lower()
    if kind == ".csv":
        require_closed_quotes(path)
    try:
        if kind == ".parquet":
            return pd.read_parquet(path)
        if as_text:
            return pd.read_csv(path, dtype=str, keep_default_na=False)
        return pd.read_csv(path, keep_default_na=False, na_values=[""])
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as {path.suffix} ({error}); is the file whole and of this kind?") from error
