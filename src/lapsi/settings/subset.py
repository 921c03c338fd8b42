"""Which part of the ranking a subset is."""

from __future__ import annotations

STRATEGIES = ("low", "mid", "high", "drop-lowest", "drop-highest", "balanced")
