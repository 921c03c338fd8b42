"""Calls the command line's entry point in this process."""

import contextlib
import io
import sys
from types import SimpleNamespace
from unittest import mock

from lapsi.cli.main import main


def run(*arguments):
    """Runs `lapsi` with these arguments; returns stdout, stderr and returncode."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    argv = mock.patch.object(sys, "argv", ["lapsi", *map(str, arguments)])
    with argv, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
    return SimpleNamespace(stdout=out.getvalue(), stderr=err.getvalue(), returncode=code)


def fail(code, *arguments):
    """Runs `lapsi` with these arguments, which ends with `code` and one line on stderr; returns the line."""
    result = run(*arguments)
    assert result.returncode == code, result.stderr or result.stdout
    (line,) = result.stderr.strip().splitlines()
    return line


def succeed(*arguments):
    """Runs `lapsi` with these arguments, which ends well; returns what `run` does."""
    result = run(*arguments)
    assert result.returncode == 0, result.stderr
    return result
