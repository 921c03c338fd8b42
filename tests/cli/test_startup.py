"""What a command imports, in a process of its own: who asks for little waits for no large library."""

import inspect
import json
import subprocess
import sys

import numpy as np
import pytest
from typer.core import TyperGroup

import lapsi
from commands import run
from lapsi.cli.main import COMMANDS
from lapsi.data.readers.catalog import NAMED
from lapsi.data.readers.names import NAMES

LARGE = ("matplotlib", "pandas", "pyarrow", "scipy", "sklearn", "torch")
CALLED = """
import json, sys
from lapsi.cli.main import main
try:
    main()
except SystemExit as stop:
    code = stop.code or 0
print(json.dumps([code, [name for name in {large} if name in sys.modules]]))
"""


def imported(*arguments, cwd):
    """Exit code of a command, and which of the large libraries it loaded."""
    command = [sys.executable, "-c", CALLED.format(large=LARGE), *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=cwd, check=True)
    code, names = json.loads(ended.stdout.splitlines()[-1])
    return code, set(names)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with data, two runs of them and a review."""
    folder = tmp_path_factory.mktemp("startup")
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    np.savez(folder / "x.npz", features=rng.normal(size=(60, 4)) + 2 * np.eye(3, 4)[labels], labels=labels)
    for name in ("a", "b"):
        assert run("score", folder / "x.npz", "-o", folder / name, "--verify", 0, "--quiet").returncode == 0
    scores = lapsi.load_run(folder / "a")
    row = scores.table.iloc[[0]]
    review = row[["id", "row", "label"]].assign(action="remove", new_label="", note="", run=scores.provenance.data_hash)
    review.to_csv(folder / "review.csv", index=False)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--version",), 0),
        (("--help",), 0),
        (("show", "--help"), 0),
        (("score", "--help"), 0),
        (("nonsense",), 2),
        (("score", "--nonsense"), 2),
        (("score", "x.npz"), 2),
        (("score", "x.npz", "-o", "new", "--weight-decay", "much"), 2),
        (("score", "x.npz", "-o", "new", "--curvature", "dense"), 2),
        (("score", "x.npz", "-o", "new", "--flip-labels", "2"), 2),
        (("score", "x.npz", "-o", "new", "--pooling", "most"), 2),
        (("score", "x.npz", "-o", "new", "--clip-norm", "1", "--activation", "tanh"), 2),
        (("score", "none.npz", "-o", "new"), 2),
        (("score", "--resume", "none"), 2),
        (("embed", "none", "-o", "new.safetensors"), 2),
        (("show", "none"), 2),
        (("issues", "none"), 2),
        (("groups", "none"), 2),
        (("check", "none"), 2),
        (("report", "none"), 2),
        (("report", "a", "--map", "globe"), 2),
        (("apply", "none", "--review", "review.csv", "-o", "new.csv"), 2),
        (("export", "none", "--to", "new.csv"), 2),
        (("select", "a", "--strategy", "best", "--fraction", "0.5", "-o", "new.csv"), 2),
        (("plot", "distribution", "none", "-o", "new.png"), 2),
        (("plot", "pie", "a", "-o", "new.png"), 2),
        (("compare", "a", "none"), 2),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, tuple) else "",
)
def test_help_and_wrong_input_load_no_large_library(folder, arguments, code):
    assert imported(*arguments, cwd=folder) == (code, set())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "more"),
    [
        (("show", "a"), set()),
        (("issues", "a"), {"scipy", "sklearn"}),
        (("groups", "a"), set()),
        (("export", "a", "--to", "new.csv"), set()),
        (("select", "a", "--strategy", "high", "--fraction", "0.5", "-o", "new.csv"), set()),
        (("apply", "a", "--review", "review.csv", "-o", "new.csv"), set()),
        (("compare", "a", "b"), {"scipy"}),
        (("plot", "distribution", "a", "-o", "new.png"), {"matplotlib", "scipy", "sklearn"}),
        (("report", "a", "-o", "new.html"), {"scipy", "sklearn"}),
    ],
    ids=lambda given: given[0] if isinstance(given, tuple) else "",
)
def test_a_command_loads_what_it_works_with(folder, tmp_path, arguments, more):
    arguments = [
        tmp_path / word if word.startswith("new") else folder / word if word in ("a", "b") else word for word in arguments
    ]
    code, names = imported(*arguments, cwd=folder)
    assert code == 0
    assert names <= {"pandas", "pyarrow"} | more


def test_help_lists_every_command_with_what_it_does(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    lines = run("--help").stdout.splitlines()
    for name in COMMANDS:
        (line,) = [line for line in lines if line.strip("│ ").startswith(f"{name} ")]
        assert len(line.strip("│ ").split()) > 5


def test_a_wrong_command_is_told_with_one_that_is_near():
    told = run("scor").stderr
    assert "No such command 'scor'" in told
    if "suggest_commands" in inspect.signature(TyperGroup.__init__).parameters:  # newer versions of typer
        assert "Did you mean 'score'?" in told


def test_all_named_data_are_known_before_they_are_read():
    assert tuple(NAMED) == NAMES
