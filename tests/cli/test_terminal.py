"""What reaches the terminal: whatever data, names and arguments hold, and whatever becomes of standard output."""

import errno
import io
import subprocess
import sys
import unicodedata
from contextlib import redirect_stderr
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest

import lapsi
from commands import run
from lapsi.cli.main import main
from runs_for_reports import make_scores

ESCAPE = "\x1b]0;owned\x07\x1b[2J"
HOSTILE = f"{ESCAPE}\x9b31m\u202e\r\n"
MARKUP = ("[/]", "[bold]", "[/red]", "[link=x]", "a\\")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A run with escape sequences and markup wherever data can carry text."""
    n = 40
    columns = {name: [f"{name}{row % 3}" for row in range(n)] for name in (*MARKUP, f"{HOSTILE}column", "group")}
    columns |= {"reference_label": [f"{HOSTILE}{row % 3}" for row in range(n)], "samples": np.arange(n) % 2}
    scores = make_scores(
        n,
        classes=[f"{HOSTILE}ant", "[/]bee", "cat—猫"],
        ids=[f"{HOSTILE}{row}" for row in range(n)],
        columns=columns,
        source=f"{HOSTILE}[/]",
    )
    folder = tmp_path_factory.mktemp("hostile")
    return scores.save(folder / f"{ESCAPE}[/]run")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return make_scores(40, classes=["ant", "bee—蜂", "cat"]).save(tmp_path_factory.mktemp("runs") / "run")


def obeyed(text):
    return sorted({sign for sign in text if unicodedata.category(sign) == "Cc" and sign != "\n"} | ({"\u202e"} & set(text)))


@pytest.mark.filterwarnings("default::UserWarning")
@pytest.mark.parametrize(
    "arguments",
    [
        ("show", "RUN"),
        ("show", "RUN", "--json"),
        ("issues", "RUN"),
        ("groups", "RUN"),
        *(("groups", "RUN", "--by", name) for name in (*MARKUP, f"{HOSTILE}column", "samples", "reference_label")),
        ("groups", "RUN", "--by", "samples", "--json"),
        ("compare", "RUN", "RUN"),
        ("plot", "by-class", "RUN", "-o", f"{ESCAPE}[/].png"),
        ("report", "RUN", "-o", f"{ESCAPE}[/].html"),
        ("export", "RUN", "--to", f"{ESCAPE}[/].csv"),
        ("select", "RUN", "--strategy", "low", "--fraction", 0.5, "-o", f"{ESCAPE}[/].npy"),
    ],
)
def test_nothing_that_data_hold_is_obeyed(hostile, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    result = run(*(hostile if each == "RUN" else each for each in arguments))
    assert result.returncode == 0, result.stderr
    assert obeyed(result.stdout + result.stderr) == []
    assert result.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("score", f"{HOSTILE}[/].csv", "-o", "out"),
        ("show", f"{HOSTILE}[/]"),
        ("score", f"--{HOSTILE}"),
        (HOSTILE,),
        ("score", "digits", "-o", "x", HOSTILE),
        ("score", "digits", "-o", "x", "--curvature", HOSTILE),
        ("groups", "RUN", "--by", HOSTILE),
        ("issues", "RUN", "--to", f"x.{HOSTILE}"),
    ],
)
def test_errors_are_one_line_that_is_not_obeyed(hostile, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    result = run(*(hostile if each == "RUN" else each for each in arguments))
    assert result.returncode == 2
    assert obeyed(result.stderr) == []
    (line,) = result.stderr.splitlines()
    assert line.startswith("lapsi: ")
    assert r"\x1b" in line


def test_scripts_of_all_kinds_are_shown_as_they_are():
    """Only what a terminal would obey is changed, not letters, accents, joined signs or spaces."""
    names = ["größe", "मानक", "👩‍🔬", "שלום", "zero width\u200djoiner", "no\u00a0break"]
    terminal = pytest.importorskip("lapsi.cli.terminal")
    assert [terminal.plain(name) for name in names] == names
    assert terminal.plain("a\tb\x7f\ud800\u2028") == r"a\tb\x7f\ud800\u2028"


class Broken(io.StringIO):
    """A stream whose writes fail."""

    def __init__(self, error, at="write"):
        super().__init__()
        self.error, self.at = error, at

    def write(self, text):
        if self.at == "write":
            raise self.error
        return super().write(text)

    def flush(self):
        if self.at == "flush":
            raise self.error


def run_on(stream, *arguments):
    """Exit code and standard error of a command whose standard output is `stream`."""
    said = io.StringIO()
    argv = mock.patch.object(sys, "argv", ["lapsi", *map(str, arguments)])
    with argv, mock.patch.object(sys, "stdout", stream), redirect_stderr(said), pytest.raises(SystemExit) as stop:
        main()
    return stop.value.code or 0, said.getvalue()


SHOWN = [
    ("show", "RUN"),
    ("show", "RUN", "--json"),
    ("issues", "RUN"),
    ("groups", "RUN"),
    ("compare", "RUN", "RUN"),
    ("--help",),
]
WRITTEN = [
    ("export", "RUN", "--to", "out.csv"),
    ("issues", "RUN", "--to", "out.csv"),
    ("groups", "RUN", "--to", "out.csv", "--json"),
    ("plot", "distribution", "RUN", "-o", "out.png"),
    ("report", "RUN", "-o", "out.html"),
    ("select", "RUN", "--strategy", "low", "--fraction", 0.5, "-o", "out.npy"),
    ("score", "x.npz", "-o", "out", "--verify", 0),
    ("score", "x.npz", "-o", "out", "--verify", 0, "--json"),
]


@pytest.mark.parametrize("arguments", SHOWN)
def test_a_reader_that_has_seen_enough_is_no_error(finished, arguments):
    arguments = [finished if each == "RUN" else each for each in arguments]
    assert run_on(Broken(BrokenPipeError(errno.EPIPE, "Broken pipe")), *arguments) == (0, "")


@pytest.mark.parametrize("stream", [lambda: Broken(OSError(errno.ENOSPC, "No space left on device")), lambda: None])
@pytest.mark.parametrize("arguments", SHOWN)
def test_what_cannot_be_shown_is_an_error_in_one_line(finished, arguments, stream):
    code, said = run_on(stream(), *(finished if each == "RUN" else each for each in arguments))
    assert code == 1
    (line,) = said.splitlines()
    assert line.startswith("lapsi: nothing was shown: standard output cannot be written to (")


@pytest.mark.slow
@pytest.mark.parametrize("at", ["write", "flush"])
@pytest.mark.parametrize("arguments", WRITTEN)
def test_what_is_written_is_written(finished, tmp_path, monkeypatch, arguments, at):
    monkeypatch.chdir(tmp_path)
    np.savez("x.npz", features=np.random.default_rng(0).normal(size=(20, 3)), labels=np.arange(20) % 2)
    code, said = run_on(
        Broken(OSError(errno.ENOSPC, "No space left on device"), at),
        *(finished if each == "RUN" else each for each in arguments),
    )
    (out,) = [path.name for path in tmp_path.iterdir() if path.name != "x.npz"]
    assert (code, said.splitlines()[-1]) == (
        0,
        f"lapsi: {out} is written, but standard output cannot be written to (No space left on device).",
    )
    assert "Traceback" not in said


@pytest.mark.slow
@pytest.mark.parametrize("error", [BrokenPipeError(errno.EPIPE, "Broken pipe"), OSError(errno.ENOSPC, "No space left")])
def test_a_failing_standard_error_stops_no_work(tmp_path, monkeypatch, error):
    monkeypatch.chdir(tmp_path)
    np.savez("x.npz", features=np.random.default_rng(0).normal(size=(20, 3)), labels=np.arange(20) % 2)
    argv = mock.patch.object(sys, "argv", ["lapsi", "score", "x.npz", "-o", "run", "--verify", "0"])
    with argv, mock.patch.object(sys, "stderr", Broken(error)), pytest.raises(SystemExit) as stop:
        main()
    assert not stop.value.code
    assert len(lapsi.load_run("run")) == 20


@pytest.mark.parametrize(
    ("encoding", "shown"), [("ascii", rb"bee\u2014\u8702"), ("latin-1", rb"bee\u2014\u8702"), ("utf-8", "bee—蜂".encode())]
)
def test_signs_that_a_narrow_output_lacks_become_escapes(finished, encoding, shown):
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding=encoding)
    assert run_on(stream, "show", finished) == (0, "")
    stream.flush()
    assert shown in written.getvalue()


def test_progress_bars_are_drawn_with_what_the_terminal_has(tmp_path, monkeypatch):
    class Narrow(io.TextIOWrapper):
        def isatty(self):
            return True

    monkeypatch.chdir(tmp_path)
    np.savez("x.npz", features=np.random.default_rng(0).normal(size=(20, 3)), labels=np.arange(20) % 2)
    argv = mock.patch.object(sys, "argv", ["lapsi", "score", "x.npz", "-o", "run", "--verify", "0"])
    drawn = io.BytesIO()
    terminal = Narrow(drawn, encoding="ascii")
    with argv, mock.patch.object(sys, "stderr", terminal), pytest.raises(SystemExit) as stop:
        main()
    assert not stop.value.code
    terminal.flush()
    assert b"leave-one-out" in drawn.getvalue()
    assert rb"\u" not in drawn.getvalue()


@pytest.mark.filterwarnings("default::UserWarning")
def test_warnings_are_lines_that_are_not_obeyed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_scores(30, classes=[f"{ESCAPE}ant", "bee"], n_classes=2).save("run")
    result = run("plot", "by-class", "run", "-o", "figure.png")
    assert result.returncode == 0
    assert {line.partition(" (")[0] for line in result.stderr.splitlines()} == {"UserWarning: Glyph 27", "UserWarning: Glyph 7"}
    assert obeyed(result.stderr) == []


def test_a_full_disk_is_one_line(finished, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    result = run("export", finished, "--to", tmp_path / "out.csv")
    assert result.returncode == 2
    written, _, told = result.stderr.partition(": the disk of ")
    assert written == f"lapsi: {tmp_path / 'out.csv'} was not written"
    assert told.startswith(f"{tmp_path} is full (")
    assert told.endswith(" free). Free some space.\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full disk to write to")
def test_the_installed_command_ends_well_on_real_streams(finished):
    """One process each: the system's own streams fail once more when a process ends."""
    show = f"{sys.executable} -m lapsi show {finished}"
    script = f"set -o pipefail; {show} | head -1; echo $?; {show} > /dev/full; echo $?; {show} >&-; echo $?"
    result = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=300, check=True)
    first, *codes = result.stdout.splitlines()
    assert first.startswith("40 of 40 samples")
    assert codes == ["0", "1", "1"]
    assert [line.partition(" (")[0] for line in result.stderr.splitlines()] == [
        "lapsi: nothing was shown: standard output cannot be written to"
    ] * 2
