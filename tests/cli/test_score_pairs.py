"""`lapsi score-pairs`: files of features or of pictures and captions, scored to a run directory."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import lapsi
import tiny_models
from commands import fail, run

N = 24
SHORT = ("--epochs", 20, "--dimensions", 4, "--verify", 2)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Pictures of two colours and sentences that name them, and features of both."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAPSI_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 255, size=(N, 3))
    (tmp_path / "pictures").mkdir()
    names = [f"{row}.png" for row in range(N)]
    for name, colour in zip(names, colours, strict=True):
        Image.fromarray(np.broadcast_to(colour.astype(np.uint8), (32, 32, 3)).copy()).save(tmp_path / "pictures" / name)
    captions = [
        f"a field of {'red' if red > green else 'green'} and number {row}" for row, (red, green, _) in enumerate(colours)
    ]
    views = (colours @ rng.normal(size=(3, width)) / 100 + 0.1 * rng.normal(size=(N, width)) for width in (5, 4))
    first, second = (view.astype(np.float32) for view in views)
    np.savez(tmp_path / "pairs.npz", image_embeddings=first, text_embeddings=second, captions=captions, filenames=names)
    table = pd.DataFrame({"image": [f"pictures/{name}" for name in names], "caption": captions, "place": "garden"})
    table.to_csv(tmp_path / "pairs.csv", index=False)
    return tmp_path


def test_features_of_both_sides_are_scored_with_captions_and_pictures(folder):
    told = run("score-pairs", "pairs.npz", "-o", "run", "--image-folder", "pictures", *SHORT).stdout
    words = " ".join(told.split())
    assert "24 of 24 samples from pairs.npz: 9 features, each other; projections to 4 dimensions" in words
    assert "By leave-one-out rank" in words
    scores = lapsi.load_run("run")
    assert scores.table["text"].str.startswith("a field of").all()
    assert scores.table["path"].str.endswith("pictures/" + scores.table["path"].str.rsplit("/").str[-1].iloc[0]).iloc[0]
    shown = run("report", "run", "-o", "run.html").stdout
    assert "24 with a picture" in shown
    assert json.loads(run("show", "run", "--json").stdout)["n_samples"] == N
    direct = lapsi.score_pairs(
        *(np.load("pairs.npz")[name] for name in ("image_embeddings", "text_embeddings")),
        dimensions=4,
        recipe=lapsi.Recipe(optimizer="adam", learning_rate=0.01, epochs=20, seeds=1),
        progress=False,
    )
    np.testing.assert_array_equal(direct.lsi, scores.lsi)


def test_pictures_that_lie_elsewhere_are_told_with_the_option_that_says_where(folder):
    run("score-pairs", "pairs.npz", "-o", "run", "--quiet", *SHORT)
    told = " ".join(run("report", "run", "-o", "run.html").stdout.split())
    assert "(24 images not found or unreadable; score-pairs takes where they lie as --image-folder)" in told


def test_shuffled_captions_are_marked(folder):
    run("score-pairs", "pairs.npz", "-o", "run", "--shuffle-pairs", 0.25, "--limit", 12, "--quiet", *SHORT)
    scores = lapsi.load_run("run")
    assert len(scores) == 12
    assert scores.provenance.corruption == {"shuffle_pairs": 0.25, "corruption_seed": 0, "n_corrupted": 6}
    table = scores.table
    assert (table["corrupted"] == (table["text"] != table["original_text"])).all()


@pytest.mark.slow
def test_pictures_and_captions_go_through_two_extractors(folder):
    images, texts = folder / "sees", folder / "reads"
    tiny_models.save_vision("resnet", images)
    tiny_models.save_bert(texts)
    models = ("--image-model", images, "--text-model", texts)
    run("score-pairs", "pairs.csv", "-o", "run", *models, "--keep", "place", "--quiet", *SHORT)
    scores = lapsi.load_run("run")
    assert {"path", "text", "place"} <= set(scores.table)
    assert set(scores.provenance.extractor) == {"image", "text"}
    assert "24 with a picture" in run("report", "run", "-o", "run.html").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("none.npz",), "There is no file none.npz"),
        (("pairs.npz", "--images", "pixels"), "pairs.npz has no images named 'pixels'; it has image_embeddings"),
        (("pairs.csv", "--texts", "words"), "pairs.csv has no texts named 'words'; it has image, caption, place"),
        (("pairs.npz", "--shuffle-pairs", "2"), "shuffle"),
        (("pairs.npz", "--shuffle-pairs", "0.01"), "expected at least 2 pairs, which change places"),
        (("pairs.npz", "--keep", "text"), "--keep text: lapsi writes a column of that name itself|that name is taken"),
        (("pairs.npz", "--limit", "0"), "--limit is 0; expected at least 1"),
        (("pairs.npz", "--clip-norm", "1"), "none has a gradient of its own to clip"),
    ],
)
def test_wrong_input_is_one_line_and_nothing_is_written(folder, arguments, message):
    assert re.search(message, fail(2, "score-pairs", *arguments, "-o", "run"))
    assert not (folder / "run").exists()


def test_a_trial_takes_some_pairs_alone(folder):
    shown = run("score-pairs", "pairs.npz", "-o", "run", "--rows", 9, *SHORT)
    assert "A trial on 9 of 24 pairs, drawn at random." in " ".join(shown.stderr.split())
    scores, given = lapsi.load_run("run"), np.load("pairs.npz")
    rows = scores.table["row"].to_numpy()
    assert (scores.provenance.n_samples, scores.provenance.n_source) == (9, N)
    assert (np.diff(rows) > 0).all()
    assert scores.table["id"].tolist() == rows.tolist()
    assert scores.table["text"].tolist() == given["captions"][rows].tolist()
    alone = lapsi.score_pairs(
        given["image_embeddings"][rows],
        given["text_embeddings"][rows],
        dimensions=4,
        recipe=lapsi.Recipe(optimizer="adam", learning_rate=0.01, epochs=20, seeds=1),
        progress=False,
    )
    np.testing.assert_array_equal(scores.lsi, alone.lsi)


def test_a_plan_is_told_and_nothing_is_written(folder):
    before = sorted(folder.rglob("*"))
    told = json.loads(run("score-pairs", "pairs.npz", "--dry-run", "--json", "--limit", 5, *SHORT).stdout)
    assert (told["engine"], told["n_pairs"], told["n_scored"], told["embeddings"]) == ("retrain", N, 5, [])
    assert told["n_params"] == 4 * (5 + 1 + 4 + 1)
    assert 0 < told["peak_bytes"] < told["limit_bytes"]
    assert told["seconds"] > 0
    shown = run("score-pairs", "pairs.npz", "-o", "run", "--rows", 9, "--dry-run", *SHORT).stdout
    assert "nothing was run or written" in shown
    assert "9 of 20 epochs" in shown
    assert "flop" not in shown
    assert sorted(folder.rglob("*")) == before
    assert "No run directory was named" in fail(2, "score-pairs", "pairs.npz")


@pytest.mark.slow
def test_a_plan_tells_what_features_of_both_sides_will_take(folder):
    tiny_models.save_vision("resnet", folder / "sees")
    tiny_models.save_bert(folder / "reads")
    models = ("--image-model", folder / "sees", "--text-model", folder / "reads")
    told = json.loads(run("score-pairs", "pairs.csv", "--dry-run", "--json", *models, *SHORT).stdout)
    assert [each["model"] for each in told["embeddings"]] == [str(folder / "sees"), str(folder / "reads")]
    assert all(each["seconds"] > 0 for each in told["embeddings"])


def test_a_run_is_not_overwritten_unasked(folder):
    run("score-pairs", "pairs.npz", "-o", "run", "--quiet", *SHORT)
    fail(3, "score-pairs", "pairs.npz", "-o", "run", *SHORT)
    assert "is of pairs" in fail(2, "measure", "run")


@pytest.mark.slow
def test_pairs_that_cannot_be_read_are_left_out_and_named(folder):
    images, texts = folder / "sees", folder / "reads"
    tiny_models.save_vision("resnet", images)
    tiny_models.save_bert(texts)
    models = ("--image-model", images, "--text-model", texts, "--quiet", *SHORT)
    table = pd.read_csv("pairs.csv")
    table.loc[2, "caption"], table.loc[7, "caption"], table.loc[9, "image"] = " ", None, None
    table.to_csv("pairs.csv", index=False)
    (folder / "pictures" / "4.png").write_bytes(b"no image")
    fail(2, "score-pairs", "pairs.csv", "-o", "run", *models)
    assert not (folder / "run").exists()
    assert run("score-pairs", "pairs.csv", "-o", "run", *models, "--skip-bad").returncode == 0
    scores = lapsi.load_run("run")
    kept = [row for row in range(N) if row not in (2, 4, 7, 9)]
    assert scores.table["row"].tolist() == scores.table["id"].tolist() == kept
    assert scores.table["text"].tolist() == table["caption"][kept].tolist()
    assert (scores.provenance.n_samples, scores.provenance.n_source) == (20, N)
    left_out = pd.read_csv("run/left_out.csv")["sample"].str.rsplit("/").str[-1].tolist()
    assert left_out == ["row 2 of pairs.csv", "row 7 of pairs.csv", "row 9 of pairs.csv", "4.png"]
    assert "--skip-bad does not apply" in fail(2, "score-pairs", "pairs.npz", "-o", "new", "--skip-bad")
