"""Run directories: what later versions may add, what earlier ones wrote, and what is never overwritten."""

import json
import os
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from stored_runs import CALL, stored_scores, write_format_0

import lapsi
from commands import run
from lapsi.cli.options import to_changed_spec
from lapsi.data.readers.columns import Columns
from lapsi.data.readers.labels import changes_of
from lapsi.data.spec import DataSpec, read_spec
from lapsi.results.format_0 import data_of_call
from lapsi.settings.corruption import Corruption
from lapsi.settings.extractor import ExtractorSettings
from lapsi.settings.settings import make_settings
from runs_for_reports import make_scores

SPEC = DataSpec(
    source="reviews.csv",
    columns=Columns(prefix="f", labels="stars", texts="review", group="author", split="part", keep=("age", "place")),
    extractor=ExtractorSettings("encoder", "mean", max_tokens=99, batch_size=8, device="cpu", dtype="float16"),
    corruption=Corruption(flip_labels=0.25, noise=0.5, noise_classes=("a", "b"), seed=7),
    cache="kept",
    skip_bad=True,
)


def edited(path, **values):
    """run.json with other values."""
    record = json.loads((path / "run.json").read_text()) | values
    (path / "run.json").write_text(json.dumps(record))


def test_the_format_is_named_and_files_are_listed(tmp_path):
    path = stored_scores().save(
        tmp_path / "run", beside=lambda directory: (directory / "left_out.csv").write_text("sample,reason\n")
    )
    record = json.loads((path / "run.json").read_text())
    assert record["format"] == 1
    assert set(record["files"]) == {"scores.parquet", "loo_proba.npy", "map.npy", "left_out.csv"}
    assert all(record["files"][name]["size"] == (path / name).stat().st_size for name in record["files"])


def test_what_a_later_version_adds_is_left_out(tmp_path):
    scores = stored_scores()
    path = scores.save(tmp_path / "run")
    before = lapsi.load_run(path)
    record = json.loads((path / "run.json").read_text())
    record["columns"]["lsi"]["colour"] = "blue"
    record["files"]["thumbnails.bin"] = {"size": 3, "blake2b": "00", "kind": "new"}
    (path / "thumbnails.bin").write_bytes(b"new")
    record["settings"]["measure"] = "psmi"
    record["verification"] |= {"reference": "sampled", "n_draws": 3}
    edited(path, **record, hardware={"cores": [1, 2]})
    again = lapsi.load_run(path)
    pd.testing.assert_frame_equal(again.table, before.table)
    changed = {"settings": record["settings"], "verification": record["verification"]}
    assert again.provenance == replace(before.provenance, **changed)
    assert "a reference (sampled)" in run("show", path).stdout
    assert run("report", path, "-q").returncode == 0
    scores.save(path, force=True)
    assert not (path / "thumbnails.bin").exists()


@pytest.mark.parametrize("name", ["thesis.txt", "thumbnails.bin", "scores.parquet"])
def test_only_listed_files_are_overwritten(tmp_path, name):
    scores = stored_scores()
    path = scores.save(tmp_path / "run")
    if name == "scores.parquet":  # a folder is never a file of a run
        (path / name).unlink()
        (path / name).mkdir()
        (path / name / "thesis.txt").write_text("precious")
    else:
        (path / name).write_text("precious")
    with pytest.raises(lapsi.RunExistsError, match="other things than a lapsi run"):
        scores.save(path, force=True)
    assert (path / name).exists()


@pytest.mark.parametrize("files", [None, 3, ["thesis.txt"], "thesis.txt"])
def test_a_list_of_files_that_is_none_lets_nothing_through(tmp_path, files):
    scores = stored_scores()
    path = scores.save(tmp_path / "run")
    (path / "thesis.txt").write_text("precious")
    edited(path, files=files)
    with pytest.raises(lapsi.RunExistsError, match="other things than a lapsi run"):
        scores.save(path, force=True)


def test_a_pipe_is_no_run(tmp_path):
    (tmp_path / "run").mkdir()
    os.mkfifo(tmp_path / "run" / "run.json")
    with pytest.raises(lapsi.RunExistsError, match="other things than a lapsi run"):
        stored_scores().save(tmp_path / "run", force=True)
    assert "holds no run" in run("show", tmp_path / "run").stderr


def test_runs_of_format_0_are_read(tmp_path):
    scores = stored_scores()
    path = write_format_0(scores, tmp_path / "old", CALL)
    again = lapsi.load_run(path)
    pd.testing.assert_frame_equal(again.table, scores.table)
    assert_array_equal(again.loo_proba, scores.loo_proba)
    assert_array_equal(again.map, scores.map)
    assert again.classes.tolist() == ["a", "b", "c"]
    settings = make_settings("newton", weight_decay=0.01, standardize="each").to_dict()
    expected = replace(scores.provenance, data=data_of_call(CALL), settings=settings)
    assert again.provenance == expected
    assert again.carried == ["group"]
    assert json.loads((again.save(tmp_path / "new") / "run.json").read_text())["format"] == 1
    assert lapsi.load_run(tmp_path / "new").provenance == again.provenance
    again.save(path, force=True)


def test_a_column_of_an_old_source_stays_one_whatever_it_is_called_now(tmp_path):
    scores = stored_scores()
    scores.table["refinement"] = ["mine", "yours"] * 12
    path = write_format_0(scores, tmp_path / "old")
    record = json.loads((path / "run.json").read_text())
    edited(path, columns=record["columns"] | {"refinement": "column of the source"})
    again = lapsi.load_run(lapsi.load_run(path).save(tmp_path / "new"))
    assert again.carried == ["group", "refinement"]


@pytest.mark.parametrize(
    "command",
    [
        ["show"],
        ["show", "--json"],
        ["issues"],
        ["export", "--to", "rows.csv"],
        ["report", "-o", "page.html"],
        ["select", "--strategy", "low", "--fraction", "0.5", "-o", "low.npy"],
        ["groups", "--by", "group"],
        ["plot", "distribution", "-o", "figure.png"],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_commands_take_runs_of_format_0(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    write_format_0(stored_scores(), tmp_path / "old")
    at = 2 if command[0] == "plot" else 1
    result = run(*command[:at], "old", *command[at:])
    assert result.returncode == 0, result.stderr


def test_data_are_kept_as_what_they_are():
    record = SPEC.to_record()
    assert json.loads(json.dumps(record)) == record
    assert list(record) == ["source", "columns", "split", "data_dir", "extractor", "corruption", "cache", "skip_bad"]
    again = read_spec(record)
    assert again.to_record() == record
    assert (again.columns, again.extractor) == (SPEC.columns, SPEC.extractor)
    assert changes_of(again).record() == changes_of(SPEC).record()


def test_options_of_old_runs_become_the_same_data():
    assert read_spec(data_of_call(CALL)).to_record() == SPEC.to_record()
    assert to_changed_spec(CALL).to_record() == SPEC.to_record()


def test_what_is_not_known_of_the_data_is_left_out():
    record = SPEC.to_record() | {"shard": 3}
    record["extractor"]["layers"] = record["columns"]["depth"] = record["corruption"]["blur"] = "new"
    assert read_spec(record).to_record() == SPEC.to_record()
    assert read_spec({"source": "digits"}).to_record() == DataSpec("digits").to_record()


@pytest.mark.parametrize(
    "change",
    [
        {"source": ...},
        {"columns": {"labels": 3}},
        {"columns": {"keep": "age"}},
        {"extractor": {"pooling": "max"}},
        {"extractor": {"batch_size": "many"}},
        {"corruption": {"flip_labels": 7}},
        {"corruption": {"noise_classes": 3}},
    ],
    ids=str,
)
def test_data_that_cannot_be_opened_are_refused_in_one_line(change):
    record = {name: value for name, value in (SPEC.to_record() | change).items() if value is not ...}
    with pytest.raises(lapsi.InputError, match="What the run keeps of its data cannot be used") as caught:
        read_spec(record)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_data_of_a_run_are_opened_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    np.savez("features.npz", features=rng.normal(size=(40, 3)), labels=np.arange(40) % 2, who=np.arange(40) % 4)
    assert (
        run("score", "features.npz", "--group", "who", "--flip-labels", "0.2", "--verify", "0", "-o", "run", "-q").returncode
        == 0
    )
    data = lapsi.load_run("run").provenance.data
    assert data["source"] == str(tmp_path / "features.npz")
    assert (data["columns"]["group"], data["corruption"]["flip_labels"], data["skip_bad"]) == ("who", 0.2, False)
    result = run("groups", "run", "--leave-group-out", "--json")
    assert result.returncode == 0, result.stderr
    assert run("report", "run", "-q").returncode == 0


def test_plan_and_source_are_kept(tmp_path):
    rng = np.random.default_rng(0)
    scores = lapsi.score(rng.normal(size=(40, 3)), np.arange(40) % 2, verify=0, progress=False)
    assert scores.provenance.plan["n_refined"] == 40
    assert scores.provenance.n_source == 40
    assert lapsi.load_run(scores.save(tmp_path / "run")).provenance == scores.provenance


def test_ids_of_numbers_and_missing_map(tmp_path):
    scores = make_scores(10, n_classes=2, classes=[False, True], with_map=False)
    again = lapsi.load_run(scores.save(tmp_path / "run"))
    assert again.map is None
    assert again.classes.tolist() == [False, True]
    pd.testing.assert_frame_equal(again.table, scores.table)
