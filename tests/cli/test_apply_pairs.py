"""Reviewed files of pairs come back as they came, without the pairs that were removed."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import save_file

import lapsi
import tiny_models
from commands import fail, succeed

N = 12
RNG = np.random.default_rng(0)
A, B = RNG.normal(size=(N, 4)).astype(np.float32), RNG.normal(size=(N, 3)).astype(np.float16)
CAPTIONS = [f"caption {row}" for row in range(N)]
FILES = [f"pictures/{row}.png" for row in range(N)]
KEPT = np.delete(np.arange(N), [5, 8])
SHORT = ("--epochs", 3, "--dimensions", 2, "--verify", 0, "--quiet")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAPSI_CACHE", str(tmp_path / "cache"))


def scored(source, *options):
    succeed("score-pairs", source, "-o", "run", *options, *SHORT)


def decide(*more, removed=(5, 8), kept=(9,)):
    """Writes review.csv as the page does: a pair is named by its leave-one-out rank in float32."""
    scores = lapsi.load_run("run")
    table, key = scores.table, scores.provenance.data_hash
    place = {row: place for place, row in enumerate(table["row"])}
    decisions = [*((row, "remove", "") for row in removed), *((row, "keep", "") for row in kept), *more]
    ranks = table["loo_label"].to_numpy(np.float32).astype(float)
    lines = [
        [table["id"][place[row]], place[row], repr(float(ranks[place[row]])).removesuffix(".0"), action, label, "", key]
        for row, action, label in decisions
    ]
    names = ["id", "row", "label", "action", "new_label", "note", "run"]
    pd.DataFrame(lines, columns=names).to_csv("review.csv", index=False)


def applied(output, *options):
    return " ".join(succeed("apply", "run", "--review", "review.csv", "-o", output, *options).stdout.split())


def frame():
    lists = {"image_embeddings": A.astype(float).tolist(), "text_embeddings": B.astype(float).tolist()}
    return pd.DataFrame({**lists, "caption": CAPTIONS, "file": FILES, "more": np.arange(N) / 7})


def test_arrays_of_both_sides_come_back_with_all_that_the_file_holds():
    held = {"image_embeddings": A, "text_embeddings": B, "captions": np.array(CAPTIONS), "filenames": np.array(FILES)}
    np.savez_compressed("a.npz", **held, logit_scale=np.float32(2.5), more=np.arange(3))
    scored("a.npz")
    decide()
    assert "10 samples with all that a.npz holds to b.npz: 2 removed, 0 changed, 1 kept" in applied("b.npz")
    applied("new/b.npz")
    with np.load("b.npz") as after, np.load("new/b.npz") as elsewhere:
        assert after.files == [*held, "logit_scale", "more"]
        for name, array in held.items():
            assert_array_equal(after[name], array[KEPT])
            assert after[name].dtype == array.dtype
        assert_array_equal(after["more"], np.arange(3))
        assert elsewhere["filenames"].tolist() == [f"../{FILES[row]}" for row in KEPT]
    scored("a.npz", "--image-folder", "photos", "--force")
    applied("other/b.npz")
    with np.load("other/b.npz") as after:
        assert after["filenames"].tolist() == [FILES[row] for row in KEPT]


def test_tensors_and_records_come_back():
    save_file({"image_embeddings": A, "text_embeddings": B, "mean": np.zeros(3)}, "a.safetensors", {"made": "by hand"})
    scored("a.safetensors")
    decide()
    applied("b.safetensors")
    with safe_open("b.safetensors", "np") as after:
        assert after.metadata() == {"made": "by hand"}
        assert_array_equal(after.get_tensor("text_embeddings"), B[KEPT])
        assert after.get_tensor("text_embeddings").dtype == np.float16
        assert len(after.get_tensor("mean")) == 3
    lines = [json.dumps(record).replace('": ', '":  ') for record in frame().to_dict("records")]
    Path("a.jsonl").write_text("\n".join(lines) + "\n")
    scored("a.jsonl", "--force")
    decide()
    applied("b.jsonl")
    assert Path("b.jsonl").read_text().splitlines() == [lines[row] for row in KEPT]


def test_tables_come_back_with_all_their_columns_and_paths_that_are_right():
    frame().to_parquet("a.parquet", index=False)
    scored("a.parquet", "--rows", 10)
    removed = int(lapsi.load_run("run").table["row"][3])
    decide(removed=(removed,), kept=())
    assert "11 samples with all their columns" in applied("b.parquet")
    after, expected = pd.read_parquet("b.parquet"), frame().drop(index=removed).reset_index(drop=True)
    pd.testing.assert_frame_equal(after.drop(columns=list(frame())[:2]), expected.drop(columns=list(frame())[:2]))
    assert_array_equal(np.stack(after["image_embeddings"]), np.delete(A, removed, axis=0))
    applied("new/b.parquet")
    assert pd.read_parquet("new/b.parquet")["file"].tolist() == [f"../{path}" for path in expected["file"]]


@pytest.mark.slow
def test_pictures_and_captions_come_back_as_their_table(tmp_path):
    Path("pictures").mkdir()
    for row, name in enumerate(FILES):
        Image.new("RGB", (8, 8), (20 * row, 0, 250 * (row % 2))).save(name)
    tiny_models.save_vision("resnet", tmp_path / "sees")
    tiny_models.save_bert(tmp_path / "reads")
    table = pd.DataFrame({"image": FILES, "caption": CAPTIONS, "more": [f"{row}.50" for row in range(N)]})
    table.loc[2, "caption"], table.loc[3, "image"] = " ", ""
    table.to_csv("a.csv", index=False, sep=";")
    scored("a.csv", "--image-model", "sees", "--text-model", "reads", "--skip-bad")
    decide()
    applied("b.csv")
    lines = Path("a.csv").read_text().splitlines()
    assert Path("b.csv").read_text().splitlines() == [lines[0], *(lines[1 + row] for row in KEPT)]
    applied("new/b.csv")
    after = pd.read_csv("new/b.csv", sep=";", dtype=str, keep_default_na=False)
    assert after["image"].tolist() == ["" if row == 3 else f"../{FILES[row]}" for row in KEPT]
    assert "is no folder of image files with a class each" in fail(2, "apply", "run", "--review", "review.csv", "-o", "folder")
    table.assign(caption="another").to_csv("a.csv", index=False, sep=";")
    assert "10 samples with" not in applied("c.csv")
    assert set(pd.read_csv("c.csv")) == {"id", "path", "text"}


@pytest.mark.parametrize("new", ["2", ""])
def test_a_pair_has_nothing_to_relabel(new):
    np.savez("a.npz", image_embeddings=A, text_embeddings=B)
    scored("a.npz")
    decide((3, "relabel", new))
    said = fail(2, "apply", "run", "--review", "review.csv", "-o", "b.npz")
    assert "The review relabels '3', but a pair has no label to change; keep or remove it." in said
    assert not list(Path().glob("b.*"))


def test_what_cannot_come_back_is_one_line_and_writes_nothing():
    np.savez("a.npz", image_embeddings=A, text_embeddings=B, captions=CAPTIONS)
    scored("a.npz", "--shuffle-pairs", 0.5)
    decide()
    there = sorted(Path().iterdir())
    assert "not changed on purpose" in fail(2, "apply", "run", "--review", "review.csv", "-o", "b.npz")
    scored("a.npz", "--force")
    decide()
    assert "b.jsonl is a file of kind '.jsonl', as which only" in fail(
        2, "apply", "run", "--review", "review.csv", "-o", "b.jsonl"
    )
    assert "never overwritten" in fail(3, "apply", "run", "--review", "review.csv", "-o", "a.npz", "--force")
    for changes in (
        {"image_embeddings": A + 1},
        {"captions": CAPTIONS[::-1]},
        {"image_embeddings": A[1:], "text_embeddings": B[1:]},
    ):
        held = {"image_embeddings": A, "text_embeddings": B, "captions": CAPTIONS} | changes
        np.savez("a.npz", **held | {"captions": held["captions"][: len(held["text_embeddings"])]})
        assert "have changed since the run" in fail(2, "apply", "run", "--review", "review.csv", "-o", "b.npz")
    assert sorted(Path().iterdir()) == there


def test_an_array_that_may_go_by_feature_is_not_cut():
    np.savez("a.npz", image_embeddings=RNG.normal(size=(N, N)), text_embeddings=B, captions=CAPTIONS, scale=np.ones(N))
    scored("a.npz")
    decide()
    said = fail(2, "apply", "run", "--review", "review.csv", "-o", "b.npz")
    assert "a.npz has as many samples as features, 12, and it is not known which of them the array 'scale' goes by" in said


def test_a_review_of_other_ranks_is_of_another_run():
    np.savez("a.npz", image_embeddings=A, text_embeddings=B)
    scored("a.npz")
    decide()
    review = pd.read_csv("review.csv")
    review.assign(label=review["label"] + 100).to_csv("review.csv", index=False)
    rank = lapsi.load_run("run").table["loo_label"][5]
    assert f"with rank '{review['label'][0] + 100}', here in row 5 with '{rank}'" in fail(
        2, "apply", "run", "--review", "review.csv", "-o", "b.npz"
    )
