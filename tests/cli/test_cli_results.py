"""What is done with a finished run by the command line: figures, subsets, columns beside the data."""

import shutil

import datasets
import numpy as np
import pandas as pd
import pytest

import lapsi
from commands import fail, run


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory):
    """Two runs on the same samples, and a table beside them."""
    folder = tmp_path_factory.mktemp("runs")
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 3)), np.array(["ant", "bee"] * 20)
    for name, curvature in (("a", "diag"), ("b", "kfac")):
        scores = lapsi.score(X, y, curvature=curvature, columns={"group": np.arange(40) % 4}, verify=0, progress=False)
        scores.save(folder / name)
    pd.DataFrame({"value": range(40)}).to_csv(folder / "data.csv", index=False)
    return folder


@pytest.fixture(autouse=True)
def finished(two_runs, tmp_path, monkeypatch):
    """A copy of them to work in."""
    shutil.copytree(two_runs, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)


def succeed(*arguments):
    result = run(*arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_subsets(tmp_path):
    assert "20 of 40 samples (low, 0.5 of each of 2 classes, rounded down) to low.npy" in succeed(
        "select", "a", "--strategy", "low", "--fraction", 0.5, "-o", "low.npy"
    )
    rows = np.load("low.npy")
    table = lapsi.load_run("a").table
    assert set(rows) == set(table.sort_values("lsi").groupby("label").head(10).index)
    succeed("select", "a", "--strategy", "drop-lowest", "--fraction", 0.5, "-o", "rest.txt")
    np.testing.assert_array_equal(np.sort(np.r_[rows, np.loadtxt("rest.txt", dtype=int)]), np.arange(40))
    succeed("select", "a", "--strategy", "high", "--fraction", 0.1, "-o", "high.csv", "--quiet")
    frame = pd.read_csv("high.csv")
    assert list(frame.columns) == ["id", "row", "label", "lsi", "group"]
    assert len(frame) == 4
    assert "--force" in fail(3, "select", "a", "--strategy", "low", "--fraction", 0.5, "-o", "low.npy")
    assert "strategy is 'best'" in fail(2, "select", "a", "--strategy", "best", "--fraction", 0.5, "-o", "x.npy")
    scores = lapsi.load_run("a")
    scores.from_pandas(scores.to_pandas().head(10)).save("some")
    succeed("select", "some", "--strategy", "low", "--fraction", 0.5, "-o", "some.csv")
    assert not (tmp_path / "x.npy").exists()
    X = np.random.default_rng(0).normal(size=(40, 3))
    some = lapsi.score(X, np.array(["ant", "bee"] * 20), indices=np.arange(40)[::-2], verify=0, progress=False)
    some.save("odd")
    succeed("select", "odd", "--strategy", "high", "--fraction", 0.5, "-o", "odd.npy")
    best = some.table.nlargest(10, "lsi")["row"]  # all of one class
    np.testing.assert_array_equal(np.load("odd.npy"), np.sort(best))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "runs", "ending"),
    [("distribution", "ab", "pdf"), ("distribution", "a", "svg"), ("by-class", "a", "png"), ("correlation", "ab", "png")],
)
def test_figures(kind, runs, ending):
    succeed("plot", kind, *runs, "-o", f"figure.{ending}")
    magic = {"pdf": b"%PDF", "svg": b"<?xml", "png": b"\x89PNG"}[ending]
    with open(f"figure.{ending}", "rb") as file:
        assert file.read().startswith(magic)
    assert "--force" in fail(3, "plot", kind, *runs, "-o", f"figure.{ending}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("histogram", "a", "-o", "x.png"), "'histogram' is no figure; expected one of distribution"),
        (("distributions", "a", "-o", "x.png"), "measures. Did you mean 'distribution'?"),
        (("by-class", "a", "b", "-o", "x.png"), "by-class was given 2 runs; expected one"),
        (("correlation", "a", "a", "-o", "x.png"), "correlation was given 1 runs; expected two different ones"),
        (("training", "a", "-o", "x.png"), "kept no LSI along the training"),
        (("corrupted", "a", "-o", "x.png"), "nothing to compare"),
        (("distribution", "a", "-o", "x.gif"), "kind '.gif'"),
        (("distribution", "none", "-o", "x.png"), "none does not exist"),
    ],
)
def test_figures_that_cannot_be(tmp_path, arguments, message):
    assert message in fail(2, "plot", *arguments)
    assert not list(tmp_path.glob("x.*"))


def test_columns_beside_a_table(tmp_path):
    succeed("export", "a", "--into", "data.csv", "--to", "scored.parquet")
    scored = pd.read_parquet("scored.parquet")
    assert scored["value"].tolist() == list(range(40))
    np.testing.assert_allclose(scored["lapsi_lsi"], lapsi.load_run("a").lsi)
    assert list(pd.read_csv("data.csv").columns) == ["value"]
    assert "exists already" in fail(3, "export", "a", "--into", "data.csv", "--to", "scored.parquet")
    assert "no column 'name'; they have value" in fail(2, "export", "a", "--into", "data.csv", "--ids", "name", "--to", "x.csv")
    assert "cannot be extended" in fail(2, "export", "a", "--into", "data.txt", "--to", "x.csv")
    pd.DataFrame({"code": [f"{row:03}" for row in range(40)], "word": "NA"}).to_csv("codes.csv", index=False)
    succeed("export", "a", "--into", "codes.csv", "--to", "codes-scored.csv")
    cells = pd.read_csv("codes-scored.csv", dtype=str, keep_default_na=False)
    assert cells["code"][7] == "007"
    assert set(cells["word"]) == {"NA"}
    pd.DataFrame({"value": range(7)}).to_csv("short.csv", index=False)
    assert "have 7 rows, the run is of 40 samples" in fail(2, "export", "a", "--into", "short.csv", "--to", "x.csv")
    assert not (tmp_path / "x.csv").exists()


def test_columns_in_a_saved_data_set(tmp_path):
    datasets.Dataset.from_dict({"text": [f"t{row}" for row in range(40)]}).save_to_disk("saved")
    succeed("export", "a", "--into", "saved", "--to", "scored")
    rows = datasets.load_from_disk("scored")
    np.testing.assert_allclose(rows["lapsi_lsi"][:], lapsi.load_run("a").lsi)
    assert rows["text"][3] == "t3"
    assert "scored" in fail(3, "export", "a", "--into", "saved", "--to", "scored")
    assert datasets.load_from_disk("saved").column_names == ["text"]
