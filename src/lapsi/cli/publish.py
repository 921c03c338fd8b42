"""`lapsi publish`: the scores of a run as one small file for others."""

from __future__ import annotations

from pathlib import Path

from lapsi.cli.terminal import say, told
from lapsi.results.published import publish as write
from lapsi.results.published import published
from lapsi.results.scores import Scores


def publish(run: Path, to: Path, title: str, licence: str, force: bool) -> None:
    """Writes the file and shows its card."""
    write(Scores.load(run), to, title=title, licence=licence, force=force)
    with told(to):
        for line in published(to).card.splitlines():
            say(line)
        say(f"{to.stat().st_size / 2**20:.2f} MiB to {to}", "dim")
