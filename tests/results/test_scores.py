import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.datasets import load_iris

import lapsi
from lapsi.analysis.groups import roll_up
from lapsi.results import run_files
from lapsi.results.columns import COLUMNS
from lapsi.results.evidence import classes
from lapsi.results.evidence.base import quarters


@pytest.fixture(scope="module")
def scores():
    X, y = load_iris(return_X_y=True)
    return lapsi.score(X, np.array(["a", "b", "c"])[y], verify=3, progress=False)


def test_columns_and_ranks(scores):
    table = scores.to_pandas()
    assert list(table) == [name for name in COLUMNS if name in table]
    assert {name for name, column in COLUMNS.items() if not column.optional} | {"leverage"} <= set(table)
    assert_array_equal(np.sort(table["rank"]), np.arange(1, 151))
    assert table.loc[table["rank"] == 1, "lsi"].item() == table["lsi"].max()
    assert (table["lsi"] == table["lsi_mean"] + table["lsi_curvature"]).all()
    assert table["label_quality"].between(0, 1).all()
    for _, part in table.groupby("label"):
        assert_array_equal(np.sort(part["rank_in_class"]), np.arange(1, 51))
    table["lsi"] = 0
    assert scores.lsi.min() > 0


def test_ranking_is_sorted(scores):
    assert scores.ranking()["lsi"].is_monotonic_decreasing


def test_summary_has_each_class_and_all(scores):
    summary = scores.summary()
    assert list(summary.index[-1:]) == ["all"]
    assert summary["lsi_median"].iloc[:-1].is_monotonic_increasing
    assert summary.loc["all", "samples"] == 150 == summary["samples"].iloc[:-1].sum()
    assert summary.loc["all", "doubted"] == (scores.table["label_quality"] < 1 / 3).sum()


def test_ranks_are_those_among_the_samples_that_are_left(scores):
    table = scores.to_pandas()
    left = scores.from_pandas(table.nsmallest(60, "lsi").assign(note="x"))
    assert_array_equal(np.sort(left.table["rank"]), np.arange(1, 61))
    assert left.ranking()["lsi"].is_monotonic_decreasing
    assert left.ranking()["rank"].iloc[0] == 1
    for _, part in left.table.groupby("label"):
        assert_array_equal(part.sort_values("lsi", ascending=False)["rank_in_class"], np.arange(1, len(part) + 1))
    assert list(left.table) == [*table.columns, "note"]
    assert left.table.dtypes["rank"] == table.dtypes["rank"] == np.int64
    assert (roll_up(left)["top_decile"] * roll_up(left)["samples"]).sum() == pytest.approx(6)
    pd.testing.assert_frame_equal(scores.from_pandas(table).table, table)


def test_save_and_load_round_trip(scores, tmp_path):
    path = scores.save(tmp_path / "deep" / "run")
    again = lapsi.load_run(path)
    pd.testing.assert_frame_equal(again.table, scores.table)
    assert_array_equal(again.loo_proba, scores.loo_proba)
    assert_array_equal(again.classes, scores.classes)
    assert again.provenance == scores.provenance
    record = json.loads((path / "run.json").read_text())
    assert record["version"] == lapsi.__version__
    assert record["settings"]["objective"]["weight_decay"] == record["regularization"]["chosen"]["weight_decay"]
    assert record["verification"]["max_relative_error"] >= 0
    assert not list(tmp_path.rglob("*.tmp"))


def test_runs_are_overwritten_only_by_force(scores, tmp_path):
    path = scores.save(tmp_path / "run")
    with pytest.raises(lapsi.RunExistsError, match="holds a run already.*--force"):
        scores.save(path)
    scores.save(path, force=True)
    (tmp_path / "empty").mkdir()
    assert len(lapsi.load_run(scores.save(tmp_path / "empty"))) == len(scores)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.png").write_bytes(b"")
    for force in (False, True):
        with pytest.raises(lapsi.RunExistsError, match="other things than a lapsi run, so it is never"):
            scores.save(tmp_path / "photos", force=force)
    (path / "thesis.txt").write_text("precious")
    with pytest.raises(lapsi.RunExistsError, match="other things than a lapsi run"):
        scores.save(path, force=True)
    with pytest.raises(lapsi.InputError, match="Nothing can be written below"):
        scores.save(path / "thesis.txt" / "run")


def test_a_failing_write_leaves_the_old_run(scores, tmp_path, monkeypatch):
    path = scores.save(tmp_path / "run")
    before = sorted((file.name, file.read_bytes()) for file in path.iterdir())
    monkeypatch.setattr(np, "save", lambda *_, **__: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        scores.save(path, force=True)
    assert sorted((file.name, file.read_bytes()) for file in path.iterdir()) == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]


def test_a_failing_rename_brings_the_old_run_back(scores, tmp_path, monkeypatch):
    path = scores.save(tmp_path / "run")
    rename = Path.rename

    def failing(self, target):
        if self.name == "run" and self.parent != tmp_path:
            raise OSError("no rename")
        return rename(self, target)

    monkeypatch.setattr("lapsi.results.run_directory.exchange", lambda *_: False)  # a system that cannot do it in one step
    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="no rename"):
        scores.save(path, force=True)
    assert len(lapsi.load_run(path)) == 150


def test_what_is_no_run_is_refused(scores, tmp_path):
    with pytest.raises(lapsi.InputError, match="does not exist"):
        lapsi.load_run(tmp_path / "nowhere")
    with pytest.raises(lapsi.InputError, match="holds no run"):
        lapsi.load_run(tmp_path)
    path = scores.save(tmp_path / "run")
    (path / "scores.parquet").write_bytes(b"half")
    with pytest.raises(lapsi.InputError, match="cannot be read"):
        lapsi.load_run(path)


def test_large_predictions_stay_in_their_file(scores, tmp_path, monkeypatch):
    scores.save(tmp_path / "run")
    monkeypatch.setattr(run_files, "MAPPED_FROM", 0)
    monkeypatch.setattr(run_files, "BLOCK_ROWS", 64)
    loaded = lapsi.load_run(tmp_path / "run")
    assert isinstance(loaded.prediction.base, np.memmap)
    assert_array_equal(loaded.prediction, scores.prediction)
    loaded.save(tmp_path / "run", force=True)
    assert_array_equal(lapsi.load_run(tmp_path / "run").prediction, scores.prediction)
    broken = scores.prediction.copy()
    broken[149, 1] = np.nan
    replace(scores, prediction=broken).save(tmp_path / "broken")
    with pytest.raises(lapsi.InputError, match="loo_proba.npy holds numbers that are not finite"):
        lapsi.load_run(tmp_path / "broken")


def test_evidence_is_the_same_in_any_blocks(scores, monkeypatch):
    X, y = load_iris(return_X_y=True)
    monkeypatch.setattr(classes, "BLOCK_ROWS", 7)
    monkeypatch.setattr("lapsi.scoring.BLOCK_ROWS", 64)
    again = lapsi.score(X, np.array(["a", "b", "c"])[y], verify=3, progress=False)
    assert_array_equal(again.table["loo_margin"], scores.table["loo_margin"])
    assert_array_equal(again.prediction, scores.prediction)
    own, others = again.label_codes[:, None], np.array(again.prediction, dtype=np.float64)
    given = np.take_along_axis(others, own, 1)[:, 0]
    np.put_along_axis(others, own, 0, 1)
    np.testing.assert_allclose(again.table["loo_margin"], given - others.max(1), atol=1e-6)


def test_quarters_are_named_by_their_ends_and_fewer_where_values_repeat():
    parts = quarters(np.array([1000, 5, 5, 5, 7, 8]), ",")
    assert [(name, rows.tolist()) for name, rows in parts] == [("5", [1, 2, 3]), ("7", [4]), ("8 to 1,000", [0, 5])]
