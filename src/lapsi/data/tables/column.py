"""What became of a column of a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

FEATURE, IDS, GROUP, LEFT_OUT = "feature", "ids", "group", "left out"
TABLE = "table"  # under which the record of a data set says how its table was encoded
COLUMNS = "columns"
SHOWN = "shown"
SCALED = "Each of these features is scaled by itself, unless standardize is given: columns have units of their own."


@dataclass(frozen=True, slots=True)
class TableColumn:
    """A column and what became of it.

    Attributes:
        name: as the table calls it.
        role: `FEATURE`, `IDS`, `GROUP` or `LEFT_OUT`.
        became: the same in words, with numbers.
        n_features: that were made of it.
    """

    name: str
    role: str
    became: str
    n_features: int = 0


def record_of(columns: Sequence[TableColumn], by: str) -> dict[str, Any]:
    """Plain JSON values for the provenance; `by`: what encoded the table."""
    return {"by": by, COLUMNS: [asdict(column) for column in columns]}


def in_words(record: dict[str, Any]) -> list[str]:
    """A line on the whole, and one on each column, of what `record_of` gave."""
    columns = record.get(COLUMNS, [])
    n_features = sum(each["n_features"] for each in columns)
    used = sum(each["role"] == FEATURE for each in columns)
    width = min(24, max((len(_shown(each["name"])) for each in columns), default=0))
    lines = [f"{used} of {len(columns)} columns became {n_features:,} features ({record['by']}):"]
    lines += [f"  {_shown(each['name']):<{width}}  {each['became']}" for each in columns]
    return [*lines, SCALED] if SHOWN in record else lines


def _shown(name: str) -> str:
    """A name on one line."""
    return "".join(letter if letter.isprintable() else "�" for letter in name) or "(no name)"
