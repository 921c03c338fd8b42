"""What is done with scores next, in rooms above this one, which are entered when they are asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Any

ROOMS = {
    "label_issues": "lapsi.analysis.label_issues",
    "write_report": "lapsi.report.page",
    "draw": "lapsi.plots.drawn",
}


def onward(name: str, *given: Any, **named: Any) -> Any:
    """What the function of that name gives."""
    return getattr(import_module(ROOMS[name]), name)(*given, **named)
