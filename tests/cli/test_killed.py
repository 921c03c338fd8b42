"""Runs of pairs and of networks that are killed, crossed by another process, or find no room: nothing done is lost."""

import json
import signal
import subprocess
import sys
import time
from unittest import mock

import numpy as np
import pytest

import lapsi
from commands import fail, run
from lapsi.errors import DiskFullError
from lapsi.execution.checkpoint import Checkpoint
from lapsi.pairs import score_pair_set

MADE = """
import torch
from torch import nn
from torch.utils.data import TensorDataset

def make():
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(24, 6, generator=generator)
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2)), TensorDataset(X, (X[:, 0] > 0).long())
"""
N_SEEDS = 5
LONG = ("--seeds", N_SEEDS, "--verify", 0, "-q")
SHUFFLED = ("--engine", "retrain", "--batching", "shuffled", "--batch-size", 8)  # two seeds train otherwise
CALLS = {
    "score-pairs": ("score-pairs", "pairs.npz", "--dimensions", 8, "--epochs", 50, *LONG),
    "score-network": ("score-network", "made.py:make", *SHUFFLED, "--epochs", 20, *LONG),
}
SHORT = ("score-pairs", "pairs.npz", "--dimensions", 2, "--epochs", 5, "--verify", 0, "-q", "-o", "run")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "made.py").write_text(MADE)
    rng = np.random.default_rng(0)
    np.savez("pairs.npz", image_embeddings=rng.normal(size=(24, 6)), text_embeddings=rng.normal(size=(24, 5)))
    return tmp_path


def finished(folder):
    return {file.name: file.read_bytes() for file in (folder / "run.partial").glob("*-part*.npz")}


def kill_after(call, folder, n_parts):
    """Starts the installed command and kills it when `n_parts` parts are there."""
    command = [sys.executable, "-m", "lapsi", *map(str, call), "-o", "run"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while len(finished(folder)) < n_parts:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()
    process.stderr.close()


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_a_run_that_was_killed_twice_goes_on_bit_by_bit(folder, monkeypatch, name):
    call = CALLS[name]
    kill_after(call, folder, 1)
    kill_after(call, folder, 3)
    kept = finished(folder)
    assert 3 <= len(kept) < N_SEEDS
    assert not (folder / "run").exists()
    assert "is not finished" in fail(2, "show", "run")
    assert f"was begun by lapsi {name}; go on with the same call of it" in fail(2, "score", "--resume", "run", "-q")
    other = fail(2, *call, "-o", "run", "--curvature", "full")
    assert "was begun with other data or settings: settings.curvature was" in other
    assert finished(folder) == kept
    saved, save = [], Checkpoint.save
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", lambda self, part, arrays: saved.append(part) or save(self, part, arrays))
        assert run(*call, "-o", "run").returncode == 0
    assert len(saved) == N_SEEDS - len(kept)
    assert not {f"{part}.npz" for part in saved} & set(kept)
    assert run(*call, "-o", "whole").returncode == 0
    for file in ("scores.parquet", "loo_prediction.npy", "loo_proba.npy", "map.npy"):
        assert (folder / "run" / file).exists() == (folder / "whole" / file).exists()
        if (folder / "run" / file).exists():
            assert (folder / "run" / file).read_bytes() == (folder / "whole" / file).read_bytes()
    assert not list(folder.glob("*.partial"))


@pytest.mark.slow
def test_of_two_processes_on_one_output_the_second_is_refused_at_once(folder, monkeypatch):
    refused = []

    def meanwhile(*arguments):
        refused.append(fail(3, *SHORT))
        refused.append(fail(3, *SHORT, "--force"))
        return score_pair_set(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("lapsi.cli.score_pairs.score_pair_set", meanwhile)
        assert run(*SHORT).returncode == 0
    assert len(refused) == 2
    assert all("Another process works on" in line for line in refused)
    assert len(lapsi.load_run("run")) == 24
    assert not (folder / "run.partial").exists()


@pytest.mark.slow
def test_a_kill_after_the_run_was_written_is_cleared_away(folder, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("lapsi.cli.unfinished.remove_checkpoint", lambda _: None)
        assert run(*SHORT).returncode == 0
    assert finished(folder)
    assert "holds a run already" in fail(3, *SHORT)
    assert not (folder / "run.partial").exists()
    with monkeypatch.context() as patch:
        patch.setattr("lapsi.cli.unfinished.remove_checkpoint", lambda _: None)
        assert run(*SHORT, "--force").returncode == 0
    assert run(*SHORT[:-1], "run", "--force", "--temperature", 0.3).returncode == 0  # other settings than the parts
    assert lapsi.load_run("run").provenance.settings["pairs"]["temperature"] == 0.3
    assert not (folder / "run.partial").exists()


@pytest.mark.slow
@pytest.mark.parametrize("error", [KeyboardInterrupt, DiskFullError("run was not written: the disk is full.")])
def test_what_stops_the_end_keeps_the_parts(folder, monkeypatch, error):
    with monkeypatch.context() as patch:
        patch.setattr("lapsi.results.scores.Scores.save", mock.Mock(side_effect=error))
        stopped = run(*SHORT)
    assert stopped.returncode == (130 if error is KeyboardInterrupt else 2)
    assert "run.partial" in stopped.stderr
    assert "the same call goes on with them." in stopped.stderr
    kept = finished(folder)
    assert kept
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", mock.Mock(side_effect=AssertionError("a part was made again")))
        assert run(*SHORT).returncode == 0


def test_what_stops_the_beginning_leaves_nothing(folder, monkeypatch):
    np.savez("huge.npz", image_embeddings=np.full((24, 6), 1e300), text_embeddings=np.eye(24, 5))
    assert "too large for float64" in fail(2, *SHORT[:1], "huge.npz", *SHORT[2:])
    assert sorted(file.name for file in folder.iterdir()) == ["huge.npz", "made.py", "pairs.npz"]
    with monkeypatch.context() as patch:
        patch.setattr("lapsi.cli.score_pairs.score_pair_set", mock.Mock(side_effect=KeyboardInterrupt))
        assert "Nothing is kept." in run(*SHORT).stderr
    assert not (folder / "run.partial").exists()


def test_a_directory_without_finished_parts_takes_other_settings(folder):
    X, y = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2
    options = {"checkpoint": folder / "parts", "progress": False, "verify": 0}
    with mock.patch.object(Checkpoint, "save", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        lapsi.score(X, y, weight_decay=0.1, **options)
    assert json.loads((folder / "parts" / "progress.json").read_text())
    other = lapsi.score(X, y, weight_decay=0.2, **options)
    np.testing.assert_array_equal(other.lsi, lapsi.score(X, y, weight_decay=0.2, progress=False, verify=0).lsi)
