"""How far a stage is, where no terminal draws a bar."""

import io
from contextlib import redirect_stderr

import pytest
import rich.console
from rich.console import Console

from lapsi.execution import progress
from lapsi.execution.progress import Lines, Stages


def test_lines_come_now_and_then_and_say_how_long_it_takes():
    told, now = [], [0.0]
    lines = Lines("embed", 200, told.append, lambda: now[0])
    for passed, units in ((1, 10), (11, 30), (15, 10), (22, 50), (130, 90)):
        now[0] = passed
        lines(units)
    lines.end()
    assert told == [
        "embed: 40 of 200 (20%), 11.0 s so far, about 44.0 s left",
        "embed: 100 of 200 (50%), 22.0 s so far, about 22.0 s left",
        "embed: 190 of 200 (95%), 2 min 10 s so far, about 6.8 s left",
        "embed: done in 2 min 10 s",
    ]


def test_a_stage_of_unknown_length_says_what_is_done():
    told, now = [], [0.0]
    lines = Lines("fit", None, told.append, lambda: now[0])
    now[0] = 4000.0
    lines(3)
    assert told == ["fit: 3 done, 1 h 6 min so far"]


def test_without_a_terminal_a_stage_is_a_line(monkeypatch):
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    out = io.StringIO()
    with redirect_stderr(out):
        stages = Stages(True)
        with stages.stage("fit", 4) as advance:
            advance(1)
        with Stages(False).stage("quiet") as advance:
            advance(1)
    first, last = out.getvalue().splitlines()
    assert first.startswith("fit: 1 of 4 (25%)")
    assert last.startswith("fit: done in ")
    assert list(stages.seconds) == ["fit"]


def test_a_stage_that_fails_does_not_say_that_it_is_done():
    out = io.StringIO()
    with redirect_stderr(out), pytest.raises(RuntimeError, match="no"), Stages(True).stage("fit"):
        raise RuntimeError("no")
    assert out.getvalue() == ""


def test_a_notebook_without_widgets_gets_one_line_written_over(monkeypatch):
    monkeypatch.setattr(rich.console, "_is_jupyter", lambda: True)
    monkeypatch.setattr(progress, "find_spec", lambda name: None)
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    out = io.StringIO()
    with redirect_stderr(out), Stages(True).stage("fit", 2) as advance:
        advance(1)
    assert out.getvalue().count("\r") == 2
    assert "\n" not in out.getvalue()
    monkeypatch.setattr(progress, "find_spec", lambda name: object())
    assert progress._draws_bars(Console(stderr=True))
