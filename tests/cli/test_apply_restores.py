"""A reviewed data set comes back as it came: its own table, or its folder of images."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import lapsi
from commands import fail, succeed
from lapsi.analysis.restored import restored_folder
from runs_for_reports import make_scores

N = 40


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def decide(name, *decisions):
    """Writes review.csv for a run: (row, action, new label)."""
    table, key = lapsi.load_run(name).table, lapsi.load_run(name).provenance.data_hash
    rows = [[table["id"][row], row, table["label"][row], action, new, "", key] for row, action, new in decisions]
    pd.DataFrame(rows, columns=["id", "row", "label", "action", "new_label", "note", "run"]).to_csv("review.csv", index=False)


@pytest.fixture
def patients():
    generator = np.random.default_rng(0)
    diagnosis = np.where(np.arange(N) % 3 == 0, "ill", "well")
    frame = pd.DataFrame(
        {
            "patient": [f"{row:03}" for row in range(N)],
            "size": np.where(diagnosis == "ill", "1.50", "0.10"),
            "noise": generator.normal(size=N).round(3),
            "diagnosis": diagnosis,
            "rank": [f"0{row}" for row in range(N)],
        }
    )
    frame.to_csv("patients.csv", index=False)
    succeed("score", "patients.csv", "--labels", "diagnosis", "--ids", "patient", "--features", "noise", "-o", "run", "-q")
    return frame


def test_a_table_comes_back_with_all_its_columns_as_they_stood(patients):
    decide("run", (3, "relabel", "well"), (5, "remove", ""), (6, "keep", ""))
    told = succeed("apply", "run", "--review", "review.csv", "--to", "cleaned.csv").stdout
    assert "39 samples with all their columns" in " ".join(told.split())
    before, after = (pd.read_csv(name, dtype=str, keep_default_na=False) for name in ("patients.csv", "cleaned.csv"))
    before.loc[3, "diagnosis"] = "well"
    pd.testing.assert_frame_equal(after, before.drop(index=5).reset_index(drop=True))
    succeed("score", "cleaned.csv", "--labels", "diagnosis", "--ids", "patient", "-o", "again", "-q")


def test_rows_that_were_not_scored_stay(patients):
    succeed("score", "patients.csv", "--labels", "diagnosis", "--features", "noise", "--limit", 10, "-o", "some", "-q")
    decide("some", (0, "remove", ""))
    succeed("apply", "some", "--review", "review.csv", "-o", "cleaned.parquet", "-q")
    assert pd.read_parquet("cleaned.parquet")["noise"].tolist() == patients["noise"].drop(0).tolist()


def test_numbers_are_the_same_however_they_are_written():
    frame = pd.DataFrame({"a": np.arange(20) % 7, "price": [f"{row}.50" for row in range(20)]})
    frame.to_csv("houses.csv", index=False)
    succeed("score", "houses.csv", "--labels", "price", "-o", "run", "-q")
    decide("run", (4, "relabel", "4.75"))
    succeed("apply", "run", "--review", "review.csv", "-o", "cleaned.csv", "-q")
    assert pd.read_csv("cleaned.csv", dtype=str)["price"].tolist() == frame["price"].replace("4.50", "4.75").tolist()


def test_a_table_that_says_something_else_now_is_not_touched(patients):
    decide("run", (5, "remove", ""))
    patients.assign(diagnosis="well").to_csv("patients.csv", index=False)
    succeed("apply", "run", "--review", "review.csv", "-o", "cleaned.csv", "-q")
    cleaned = pd.read_csv("cleaned.csv")
    assert (len(cleaned), cleaned.columns[0], "original_label" in cleaned) == (N - 1, "id", True)


@pytest.fixture
def photos(models):
    for row in range(12):
        path = Path("photos", "ab"[row % 2], f"{row // 2}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (20 * row, 0, 250 * (row % 2))).save(path)
    call = ("--model", models["image"], "--verify", 0, "--cache", "cache", "-q")
    succeed("score", "photos", *call, "-o", "run")
    return call


@pytest.mark.slow
def test_a_folder_of_images_comes_back_as_one(photos):
    decide("run", (0, "relabel", "b"), (7, "remove", ""))
    before = lapsi.load_run("run").table
    told = succeed("apply", "run", "--review", "review.csv", "-o", "cleaned").stdout
    assert "11 images to cleaned" in " ".join(told.split())
    kept = before.drop(index=7)
    expected = {Path("cleaned", label, Path(path).name) for label, path in zip(kept["label"], kept["path"], strict=True)}
    expected = expected - {Path("cleaned/a/0.png")} | {Path("cleaned/b/a-0.png")}
    found = set(Path("cleaned").rglob("*.png"))
    assert found == expected
    assert all(each.is_symlink() and each.read_bytes() for each in found)
    assert Path("cleaned/b/a-0.png").resolve() == Path("photos/a/0.png").resolve()
    assert len(pd.read_csv("cleaned.log.csv")) == 2
    succeed("score", "cleaned", *photos, "-o", "again")
    succeed("apply", "run", "--review", "review.csv", "-o", "copies", "--images", "copy", "-q")
    assert not any(each.is_symlink() for each in Path("copies").rglob("*.png"))
    assert "never overwritten" in fail(3, "apply", "run", "--review", "review.csv", "-o", "copies", "-q")
    assert "expected link or copy" in fail(2, "apply", "run", "--review", "review.csv", "-o", "new", "--images", "move", "-q")


@pytest.mark.slow
def test_paths_in_a_table_of_images_are_relative_to_where_it_lies(photos):
    frame = pd.DataFrame({"file": [str(path) for path in sorted(Path("photos").rglob("*.png"))]})
    frame["kind"] = [Path(path).parent.name for path in frame["file"]]
    frame.to_csv("photos.csv", index=False)
    succeed("score", "photos.csv", "--images", "file", "--labels", "kind", *photos, "-o", "table-run")
    decide("table-run", (0, "remove", ""))
    succeed("apply", "table-run", "--review", "review.csv", "-o", "cleaned.csv", "-q")
    pd.testing.assert_frame_equal(pd.read_csv("cleaned.csv"), frame.drop(index=0).reset_index(drop=True))
    Path("new").mkdir()
    succeed("apply", "table-run", "--review", "review.csv", "-o", "new/cleaned.csv", "-q")
    assert pd.read_csv("new/cleaned.csv")["file"][0] == f"../{frame['file'][1]}"
    decide("run", (0, "remove", ""))
    succeed("apply", "run", "--review", "review.csv", "-o", "listed.csv", "-q")
    assert pd.read_csv("listed.csv")["path"].str.startswith("photos/").all()


def test_a_run_of_features_is_no_folder(patients):
    decide("run", (5, "remove", ""))
    assert "is no folder of image files" in fail(2, "apply", "run", "--review", "review.csv", "-o", "folder", "-q")


def test_a_zip_file_is_named_where_a_folder_is_refused():
    scores = make_scores(20)
    scores = replace(scores, provenance=replace(scores.provenance, data={"source": "/data/photos.zip"}))
    with pytest.raises(lapsi.InputError, match=r"^photos\.zip is no folder of image files .*; unpack it and score the folder"):
        restored_folder(SimpleNamespace(table=scores.table), scores)
