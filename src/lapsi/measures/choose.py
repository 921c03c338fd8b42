"""The measures beside LSI by their names."""

from __future__ import annotations

from collections.abc import Sequence

from lapsi.errors import InputError
from lapsi.measures.base import Measure
from lapsi.measures.el2n import El2n
from lapsi.measures.forgetting import Forgetting
from lapsi.measures.grand import Grand
from lapsi.measures.psmi import Psmi
from lapsi.measures.sui import Sui
from lapsi.measures.trak import Trak

MEASURES: dict[str, type[Measure]] = {measure.name: measure for measure in (El2n, Grand, Forgetting, Psmi, Sui, Trak)}
LSI = "lsi"


def chosen_measures(names: Sequence[str]) -> list[Measure]:
    """Those of some names beside LSI, each once.

    Raises:
        InputError: when a name is not known.
    """
    for name in names:
        if name != LSI and name not in MEASURES:
            raise InputError(f"A measure is {name!r}; expected some of {', '.join(map(repr, MEASURES))}.")
    return [MEASURES[name]() for name in dict.fromkeys(names) if name != LSI]
