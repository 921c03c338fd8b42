"""`lapsi privacy` in the terminal."""

import json

import numpy as np
import pytest

import lapsi
import oracles
from commands import fail, run
from lapsi.execution.checkpoint import Checkpoint

NOTE = "no guarantee of differential privacy"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("privacy")
    labels = np.arange(40) % 2
    np.savez(folder / "x.npz", features=np.random.default_rng(0).normal(size=(40, 3)) + labels[:, None], labels=labels)
    trained = ["--epochs", 5, "--seeds", 1, "--clip-norm", 1, "--verify", 0, "--quiet"]
    assert run("score", folder / "x.npz", "-o", folder / "a", "--verify", 0, "--quiet").returncode == 0
    assert run("score", folder / "x.npz", "-o", folder / "b", *trained).returncode == 0
    return folder


def succeed(*arguments):
    result = run("privacy", *arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.slow
def test_one_run(folder, tmp_path):
    shown = succeed(folder / "a", "--orders", "1,2,8", "--to", tmp_path / "new", "-o", tmp_path / "orders.png", "--quiet")
    assert shown.strip().endswith(f"{NOTE}.")
    scores = lapsi.load_run(tmp_path / "new")
    np.testing.assert_allclose(scores.table["renyi_1"], lapsi.load_run(folder / "a").lsi, rtol=1e-12)
    assert (tmp_path / "new" / "overview.png").is_file()
    assert (tmp_path / "orders.png").stat().st_size > 10_000
    told = json.loads(succeed(tmp_path / "new", "--orders", "2", "--json"))
    assert [row["order"] for row in told["rows"]] == [2.0]
    assert told["rows"][0]["max"] == scores.table["renyi_2"].max()
    assert NOTE in told["note"]


@pytest.mark.slow
def test_what_was_stopped_goes_on(folder, tmp_path, monkeypatch):
    trained = ["--epochs", 5, "--seeds", 3, "--verify", 0, "--quiet"]
    assert run("score", folder / "x.npz", "-o", tmp_path / "c", *trained).returncode == 0
    call = ("privacy", tmp_path / "c", "--orders", "2", "--quiet", "--to")
    succeed(*call[1:], tmp_path / "whole")
    save, saved = Checkpoint.save, []

    def stop_after_two(self, name, arrays):
        save(self, name, arrays)
        saved.append(name)
        if len(saved) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", stop_after_two)
        stopped = run(*call, tmp_path / "new")
        assert stopped.returncode == 130
        assert f"Finished parts are kept in {tmp_path / 'new.partial'}" in " ".join(stopped.stderr.split())
        other = fail(2, "privacy", tmp_path / "c", "--orders", "2,4", "--quiet", "--to", tmp_path / "new")
        assert "was begun with other data or settings: orders was" in other
        saved.append("not the second")
        succeed(*call[1:], tmp_path / "new")
    assert len(saved) == 4
    found, expected = (lapsi.load_run(tmp_path / name).table["renyi_2"] for name in ("new", "whole"))
    np.testing.assert_array_equal(found, expected)
    assert not (tmp_path / "new.partial").exists()


@pytest.mark.slow
def test_several_runs(folder, tmp_path):
    shown = succeed(folder / "a", folder / "b", "-o", tmp_path / "trainings.svg")
    assert "closed form" in shown
    assert "clip norm 1" in (tmp_path / "trainings.svg").read_text()
    assert NOTE in " ".join(shown.split())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "arguments", "message"),
    [
        (2, ("a", "b", "--orders", "2"), "--orders is of one run, but 2 were given"),
        (2, ("a", "a"), "A run was given twice"),
        (2, ("a", "--orders", "two"), "--orders is 'two'; expected numbers with commas"),
        (2, ("a", "--orders", "0"), "orders is 0.0; expected a finite number greater than 0"),
        (2, ("a", "-o", "picture.bmp"), "picture.bmp is no picture that can be written"),
        (3, ("a", "--to", "b"), "b holds a run already"),
    ],
)
def test_what_cannot_be_told(folder, monkeypatch, code, arguments, message):
    monkeypatch.chdir(folder)
    assert message in fail(code, "privacy", *arguments)


@pytest.mark.slow
def test_a_run_by_renyi_says_so(tmp_path):
    inputs, labels = oracles.make_data(40, 3, 3, seed=3)
    np.savez(tmp_path / "x.npz", features=inputs[:, :-1], labels=labels)
    trained = ["--epochs", 5, "--seeds", 1, "--prior-precision", 0.01, "--divergence", "renyi", "--order", 300]
    shown = run("score", tmp_path / "x.npz", "-o", tmp_path / "run", *trained).stdout
    n = lapsi.load_run(tmp_path / "run").n_infinite
    assert "Rényi divergence of order 300" in " ".join(shown.split())
    assert f"Infinite: LSI of {n} of 40 samples" in shown
    assert json.loads(run("show", tmp_path / "run", "--json").stdout)["n_infinite"] == n > 0
    assert run("report", tmp_path / "run").returncode == 0
    assert f"Infinite: LSI of {n} of 40 samples" in (tmp_path / "run.html").read_text()
