"""How the plan of a run looks in a terminal, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from lapsi.cli.terminal import cell
from lapsi.engines.base import Plan
from lapsi.execution.cost import GIB, duration


def print_plan(
    engine: str, plan: Plan, seconds: float, embeddings: Sequence[dict[str, Any]], console: Console, labels: str = ""
) -> None:
    """What a run will cost; before that what the `labels` are, and, where features must be made, what they will cost."""
    table = Table(title="Plan (nothing was run or written)", title_justify="left", show_header=False)
    if labels:
        table.add_row("labels", labels)
    for embedding in embeddings:
        rate = f"about {duration(embedding['seconds'])} at {embedding['samples_per_second']:.0f} samples a second"
        table.add_row("features", cell(f"{embedding['model']}: {rate}, less what the cache has"))
    table.add_row("engine", engine)
    table.add_row("peak memory", f"{plan.cost.peak_bytes / GIB:.2f} GiB (limit {plan.cost.limit_bytes / GIB:.2f} GiB)")
    table.add_row("time", f"about {duration(seconds)} on this machine")
    if plan.cost.flop:
        table.add_row("work", f"{sum(plan.cost.flop.values()):.2e} flop")
    for name, value in plan.notes:
        table.add_row(name, value)
    console.print(table)


def plan_as_dict(engine: str, plan: Plan, seconds: float) -> dict[str, Any]:
    """What `print_plan` shows, as plain JSON values."""
    return {"engine": engine, **asdict(plan.cost), "seconds": seconds, **plan.details}
