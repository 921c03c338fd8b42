"""`lapsi measure` on runs that others write to, and that are more than runs: nothing is lost, and no work is in vain."""

import signal
import subprocess
import sys

import numpy as np
import pytest

import lapsi
from commands import fail, run
from lapsi.measuring import add_measures

HELD = """
import os, signal, sys
from lapsi.cli.main import main
from lapsi.results.run_directory import write_directory
import lapsi.results.scores as scores

def killed(path, write, force):
    def then(directory):
        write(directory)
        os.kill(os.getpid(), signal.SIGKILL)
    write_directory(path, then, force)

scores.write_directory = killed
sys.argv = ["lapsi", "measure", "run", "--add", "grand", "-q"]
main()
"""


@pytest.fixture(autouse=True)
def scored(tmp_path, monkeypatch):
    """A run in the folder where the test works, with files that are no rows."""
    monkeypatch.chdir(tmp_path)
    labels = np.arange(30) % 2
    np.savez("x.npz", features=np.random.default_rng(0).normal(size=(30, 3)) + labels[:, None], labels=labels)
    assert run("score", "x.npz", "-o", "run", "--verify", 0, "-q").returncode == 0
    return tmp_path / "run"


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.slow
def test_a_kill_in_the_middle_leaves_the_run_as_it_was(scored):
    before = contents(scored)
    killed = subprocess.run([sys.executable, "-c", HELD], capture_output=True, text=True, timeout=300, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert contents(scored) == before
    assert run("measure", "run", "--add", "grand", "-q").returncode == 0
    assert "grand" in lapsi.load_run("run").table
    assert set(contents(scored)) == set(before)


def test_columns_that_another_process_added_are_not_lost(monkeypatch):
    with monkeypatch.context() as patch:

        def meanwhile(*arguments):
            patch.undo()
            assert run("measure", "run", "--add", "el2n", "-q").returncode == 0
            return add_measures(*arguments)

        patch.setattr("lapsi.cli.measure.add_measures", meanwhile)
        line = fail(3, "measure", "run", "--add", "grand", "-q")
    assert "run was written by another process in the meantime; measure it again" in line
    assert run("measure", "run", "--add", "grand", "-q").returncode == 0
    assert {"el2n", "grand"} <= set(lapsi.load_run("run").table)


def test_a_folder_that_holds_more_than_a_run_is_refused_before_the_work(scored, monkeypatch):
    (scored / "notes.txt").write_text("mine")
    (scored / "more").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr("lapsi.cli.measure.add_measures", lambda *_: pytest.fail("the work began"))
        assert "holds other things than a lapsi run" in fail(3, "measure", "run", "--add", "grand", "-q")
    assert run("measure", "run", "--add", "grand", "--to", "other", "-q").returncode == 0
    assert "grand" in lapsi.load_run("other").table
    assert (scored / "notes.txt").read_text() == "mine"
