"""Several files as one source, from the command line: scored, opened again, and never overwritten."""

import json

import numpy as np
import pandas as pd
import pytest

import lapsi
from commands import run

QUICK = ("--verify", 0, "--refine", 0, "--weight-decay", 0.01)
Y = np.arange(90) % 3
X = np.random.default_rng(0).normal(size=(90, 5)) + 2 * np.eye(3, 5)[Y]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with three shards, and a file of all rows beside it."""
    (tmp_path / "parts").mkdir()
    for part in range(3):
        rows = slice(30 * part, 30 * part + 30)
        np.savez(tmp_path / "parts" / f"part-{part}.npz", features=X[rows], labels=Y[rows])
    np.savez(tmp_path / "whole.npz", features=X, labels=Y)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def scored(*source):
    result = run("score", *source, "-o", "run", "--force", "--quiet", *QUICK)
    assert result.returncode == 0, result.stderr
    return lapsi.load_run("run")


def test_a_folder_a_pattern_and_several_files_are_one_source(folder):
    files = [f"parts/part-{part}.npz" for part in range(3)]
    whole = scored("whole.npz")
    for source in (["parts"], ["parts/*.npz"], files):
        scores = scored(*source)
        np.testing.assert_array_equal(scores.lsi, whole.lsi)
        assert scores.provenance.data_hash == whole.provenance.data_hash
        assert scores.provenance.data["shards"] == [str(folder / file) for file in files]
    assert scores.provenance.source == "parts/part-0.npz and 2 more"
    assert "shards" not in whole.provenance.data


def test_shards_are_opened_again_from_anywhere(folder, monkeypatch):
    scored("parts/part-*.npz")
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    told = run("report", "../run", "-o", "page.html")
    assert "90 samples, 90 with a picture" in told.stdout
    (folder / "parts" / "part-2.npz").unlink()
    told = run("report", "../run", "-o", "page.html", "--force")
    assert told.returncode == 0
    assert "part-2.npz is missing, one of the 3 files that the run was made from" in " ".join(told.stderr.split())
    told = run("groups", "../run", "--leave-group-out")
    assert told.returncode == 2
    assert len(told.stderr.splitlines()) == 1


def test_npy_shards_know_their_labels_from_anywhere(folder, monkeypatch):
    (folder / "npy").mkdir()
    for part in range(2):
        np.save(folder / "npy" / f"features-{part}.npy", X[45 * part : 45 * part + 45])
        np.save(folder / "npy" / f"labels-{part}.npy", Y[45 * part : 45 * part + 45])
    np.save(folder / "npy" / "ones.npy", np.ones(90))
    whole, pattern = scored("whole.npz"), ["npy/features-*.npy", "--labels", "npy/labels-*.npy"]
    for source in (["npy"], pattern, [*pattern, "--weights", "npy/ones.npy"]):
        scores = scored(*source)
        np.testing.assert_allclose(scores.lsi, whole.lsi, rtol=1e-9)
        monkeypatch.chdir(folder / "npy")
        assert "90 with a picture" in run("report", "../run", "-o", "../page.html", "--force").stdout
        monkeypatch.chdir(folder)


def test_no_shard_is_overwritten_by_a_review(folder):
    (folder / "tables").mkdir()
    for part in range(2):
        rows = slice(45 * part, 45 * part + 45)
        pd.DataFrame({"features": list(X[rows]), "label": Y[rows]}).to_parquet(folder / "tables" / f"part-{part}.parquet")
    scored("tables")
    before = (folder / "tables" / "part-1.parquet").read_bytes()
    (folder / "review.csv").write_text("id,row,label,action,new_label\n0,0,0,remove,\n")
    told = run("apply", "run", "--review", "review.csv", "-o", "tables/part-1.parquet", "--force")
    assert told.returncode == 3
    assert "never overwritten" in told.stderr
    assert (folder / "tables" / "part-1.parquet").read_bytes() == before


def test_wrong_names_of_files_are_told_before_any_work(folder):
    for source, message in (
        (["parts/part-0.npz", "parts/part-7.npz"], "part-7.npz, one of 2 files that were named, does not exist"),
        (["parts/x-*.npz"], "No file fits the pattern parts/x-*.npz"),
        (["a,b.npz", "parts/part-0.npz"], "has a comma in its name"),
    ):
        told = run("score", *source, "-o", "new")
        assert told.returncode == 2
        assert message in told.stderr
        assert not (folder / "new").exists()


def test_a_plan_of_shards_is_told(folder):
    told = run("score", "parts", "--dry-run", "--json", *QUICK)
    assert json.loads(told.stdout)["peak_bytes"] > 0
