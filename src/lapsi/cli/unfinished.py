"""Finished parts beside a run that is being made, for commands that go on where the same call is given again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from lapsi.cli.terminal import INTERRUPTED, say
from lapsi.errors import DiskFullError
from lapsi.execution.checkpoint import Keep, has_parts, hold, remove_checkpoint
from lapsi.results.paths import is_whole, unfinished_path
from lapsi.results.run_directory import require_free

BY = "by"  # which command began


@contextmanager
def until_whole(output: Path, force: bool, by: str) -> Iterator[Keep]:
    """Where the parts of a run are kept while it is made and written; no other process works there, and in the end they go.

    `by`: the command, which the same call goes on with.

    Raises:
        RunExistsError: when the run is there and `force` is not set, or another process makes it.
        DiskFullError: saying what is kept.
    """
    path = unfinished_path(output)
    if not is_whole(output):  # else its parts are still to be cleared away
        require_free(output, force)
    held = hold(path)
    try:
        if is_whole(output):
            remove_checkpoint(path)
        require_free(output, force)  # another process may have been here since
        yield Keep(path, {BY: by}, hold=held)
        remove_checkpoint(path)
    except KeyboardInterrupt:
        kept = f"Finished parts are kept in {path}; the same call goes on with them." if has_parts(path) else "Nothing is kept."
        say(f"Stopped. {kept}", error=True)
        raise typer.Exit(INTERRUPTED) from None
    except DiskFullError as error:
        if not has_parts(path):
            raise
        raise DiskFullError(f"{error} Finished parts are kept in {path}; then the same call goes on with them.") from error
    finally:
        if not has_parts(path):
            remove_checkpoint(path)
        held.release()
