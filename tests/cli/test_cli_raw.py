"""From images and texts to scores, label issues and groups, by the command line."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from safetensors.numpy import load_file

import lapsi
from commands import fail, succeed
from lapsi.cli.data import reopen_features
from lapsi.execution.progress import Stages
from lapsi.scoring import score_dataset

pytestmark = pytest.mark.usefixtures("here")
N = 40
GOOD, BAD = ["good", "fine", "very good film"], ["bad", "dull", "so very dull film"]


@pytest.fixture
def reviews(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.where(np.arange(N) % 2, "pos", "neg")
    texts = [" ".join(rng.choice(GOOD if label == "pos" else BAD, 3)) for label in labels]
    second = np.where(np.arange(N) == 5, "neg", labels)
    frame = pd.DataFrame(
        {"text": texts, "label": labels, "second": second, "who": np.arange(N) % 4, "name": np.arange(N) + 100}
    )
    frame.to_csv("reviews.csv", index=False)
    return frame


@pytest.fixture
def pictures(tmp_path):
    rng = np.random.default_rng(0)
    for row in range(N):
        folder = tmp_path / "pictures" / ("dark" if row % 2 else "light")
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 120, (9, 9, 3)) + (0 if row % 2 else 120)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{row:02}.png")
    return tmp_path / "pictures"


@pytest.mark.slow
def test_texts_end_to_end(reviews, models):
    options = ("--model", models["text"], "--reference-labels", "second", "--group", "who", "--ids", "name", "--verify", 2)
    result = succeed("score", "reviews.csv", *options, "-o", "run")
    scores = lapsi.load_run("run")
    table = scores.to_pandas()
    assert table["id"].tolist() == reviews["name"].tolist()
    assert table["text"].tolist() == reviews["text"].tolist()
    assert table["group"].tolist() == reviews["who"].tolist()
    assert table["reference_label"].tolist() == reviews["second"].tolist()
    features = lapsi.embed(reviews["text"].tolist(), kind="text", model=models["text"], progress=False)
    expected = lapsi.score(features, reviews["label"], verify=0, progress=False)
    np.testing.assert_allclose(scores.lsi, expected.lsi, rtol=1e-6)
    assert scores.provenance.extractor["model"] == models["text"]
    assert scores.provenance.seconds["embed"] > 0
    assert "embed" in result.stderr

    record = json.loads(succeed("issues", "run", "--json", "--top", 3, "--to", "ranked.csv").stdout)
    assert record["truth"]["n_errors"] == 1
    assert record["threshold"] == 1 / 3
    assert len(record["most_likely_errors"]) == 3
    assert len(pd.read_csv("ranked.csv")) == N
    shown = succeed("issues", "run").stdout
    assert "half as likely" in shown
    assert "Against reference_label: 1 labels differ" in shown

    rows = json.loads(succeed("groups", "run", "--json", "--leave-group-out").stdout)
    expected = lapsi.leave_group_out(features, reviews["label"], reviews["who"], progress=False)
    assert [row["group"] for row in rows] == pd.Series(table.groupby("group")["lsi"].sum()).sort_values(
        ascending=False
    ).index.tolist()
    for row in rows:
        assert row["group_lsi"] == pytest.approx(expected.loc[row["group"], "lsi"], rel=1e-6)
    left_out = succeed("groups", "run", "--leave-group-out")
    assert f"Leaving out {len(rows)} groups: about 1 s on this machine, 0." in left_out.stderr
    assert "models fitted without them from nothing: they differ by" in " ".join(left_out.stdout.split())
    shown = succeed("groups", "run", "--by", "label", "--to", "groups.csv").stdout
    assert "not the LSI of the group" in " ".join(shown.split())
    assert len(pd.read_csv("groups.csv")) == 2


@pytest.mark.slow
def test_an_image_folder_end_to_end(pictures, models):
    shown = succeed("embed", "pictures", "--model", models["image"], "-o", "features.safetensors").stdout
    assert "40 samples, 8 features, 2 classes" in shown
    assert "(0 from the cache)" in shown
    succeed("score", "features.safetensors", "-o", "a", "--verify", 0)
    succeed("score", "pictures", "--model", models["image"], "-o", "b", "--verify", 0)
    a, b = lapsi.load_run("a"), lapsi.load_run("b")
    np.testing.assert_array_equal(a.lsi, b.lsi)
    assert a.table["id"].tolist() == b.table["id"].tolist()
    assert a.table["path"].tolist() == b.table["path"].tolist()
    assert b.table["path"][0] == str(pictures / "dark" / "01.png")
    assert b.provenance.extractor["n_from_cache"] == N
    assert a.provenance.extractor["revision"] == b.provenance.extractor["revision"]
    refused = fail(3, "embed", "pictures", "--model", models["image"], "-o", "features.safetensors")
    assert "--force" in refused
    record = json.loads(succeed("embed", "pictures", "--model", models["image"], "-o", "c.safetensors", "--json").stdout)
    assert (record["n_samples"], record["n_features"], record["extractor"]["pooling"]) == (N, 8, "pooler")


@pytest.mark.slow
def test_bad_images(pictures, models, tmp_path):
    (pictures / "dark" / "05.png").write_bytes(b"no image")
    message = fail(2, "score", "pictures", "--model", models["image"], "-o", "run", "--quiet")
    assert "05.png (cannot identify image file" in message
    assert "--skip-bad" in message
    assert not (tmp_path / "run").exists()
    result = succeed("score", "pictures", "--model", models["image"], "-o", "run", "--skip-bad", "--verify", 0)
    assert "1 samples could not be read" in result.stdout
    left_out = pd.read_csv("run/left_out.csv")
    assert left_out["sample"].tolist() == [str(pictures / "dark" / "05.png")]
    assert "cannot identify image file" in left_out["reason"][0]
    scores = lapsi.load_run("run")
    assert len(scores) == N - 1
    assert "dark/05.png" not in set(scores.table["id"])
    assert Image.open("run/overview.png").height > 1000  # with both galleries
    succeed("score", "pictures", "--model", models["image"], "-o", "run", "--skip-bad", "--verify", 0, "--force")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["text", "image"])
def test_rows_that_hold_nothing_are_left_out_as_what_cannot_be_read(reviews, pictures, models, kind):
    named = {"text": "text 5", "image": "image 5"}[kind]
    values = {"text": reviews["text"], "image": pd.Series(sorted(map(str, pictures.glob("*/*.png"))))}[kind]
    frame = pd.DataFrame({kind: values, "label": reviews["label"]})
    frame.assign(**{kind: values.where(frame.index != 5)}).to_csv("gappy.csv", index=False)
    options = ("--model", models[kind], "--quiet")
    for command in ("score", "embed"):
        message = fail(2, command, "gappy.csv", *options, "-o", "refused.safetensors")
        assert f"1 of the {N} samples cannot be read: {named} (the row holds nothing). " in message
        assert message.endswith("Mend or remove them; --skip-bad leaves them out.")
    succeed("score", "gappy.csv", *options, "--skip-bad", "--verify", 0, "-o", "run")
    succeed("embed", "gappy.csv", *options, "--skip-bad", "-o", "features.safetensors")
    frame.drop(index=5).to_csv("whole.csv", index=False)
    succeed("score", "whole.csv", *options, "--verify", 0, "-o", "whole")
    scores, whole = lapsi.load_run("run"), lapsi.load_run("whole")
    np.testing.assert_array_equal(scores.lsi, whole.lsi)
    assert scores.table["row"].tolist() == [row for row in range(N) if row != 5]
    assert pd.read_csv("run/left_out.csv").to_numpy().tolist() == [[named, "the row holds nothing"]]
    assert len(load_file("features.safetensors")["features"]) == N - 1
    succeed("report", "run", "-q")


@pytest.mark.slow
def test_changes_on_purpose(reviews, models):
    options = ("--model", models["text"], "--flip-labels", 0.2, "--lorem-ipsum", 0.1, "--corruption-seed", 4, "--verify", 0)
    succeed("score", "reviews.csv", *options, "-o", "run")
    scores = lapsi.load_run("run")
    table = scores.to_pandas()
    assert (table["corruption"].fillna("").str.contains("flipped")).sum() == 8
    assert (table["corruption"].fillna("").str.contains("lorem")).sum() == 4
    record = scores.provenance.corruption
    assert record == {"flip_labels": 0.2, "lorem_ipsum": 0.1, "seed": 4, "n_corrupted": int(table["corrupted"].sum())}
    assert json.loads(succeed("issues", "run", "--json").stdout)["truth"]["truth"] == "original_label"
    succeed("groups", "run", "--by", "corruption", "--leave-group-out", "--quiet")

    reviews.assign(label=reviews["second"])[["label"]].to_csv("human.csv", index=False)
    succeed(
        "score", "reviews.csv", "--model", models["text"], "--human-labels", "human.csv:label", "-o", "human", "--verify", 0
    )
    human = lapsi.load_run("human").to_pandas()
    assert human["label"].tolist() == reviews["second"].tolist()
    assert np.flatnonzero(human["corrupted"]).tolist() == [5]
    succeed("score", "digits", "--noise", 1.0, "--noise-classes", "3", "-o", "noise", "--limit", 5, "--verify", 0)
    assert lapsi.load_run("noise").provenance.corruption["n_corrupted"] == 183


@pytest.mark.slow
def test_the_same_data_open_again_or_are_refused(reviews, models, tmp_path):
    succeed("score", "reviews.csv", "--model", models["text"], "-o", "run", "--verify", 0)
    reviews.assign(text=reviews["text"][::-1].to_numpy()).to_csv("reviews.csv", index=False)
    assert "have changed since the run; score them again" in fail(2, "groups", "run", "--leave-group-out", "--quiet")
    (tmp_path / "reviews.csv").unlink()
    assert "reviews.csv does not exist" in fail(2, "groups", "run", "--leave-group-out", "--quiet")
    X = np.random.default_rng(0).normal(size=(20, 3))
    lapsi.score(X, np.arange(20) % 2, progress=False).save("python")
    assert "saved from Python" in fail(2, "groups", "python", "--leave-group-out", "--quiet")
    np.savez("x.npz", features=X, labels=np.arange(20) % 2)
    succeed("score", "x.npz", "--hidden", 2, "--epochs", 2, "--limit", 2, "--seeds", 1, "-o", "mlp", "--quiet")
    assert "the run has hidden layers" in fail(2, "groups", "mlp", "--leave-group-out", "--quiet")


def earlier_digest(dataset):
    """The hash of the data as runs hold it that were written before digests had a mark."""
    digest = hashlib.blake2b(repr((dataset.features.shape, str(dataset.features.dtype))).encode(), digest_size=16)
    digest.update(dataset.features_hash.encode() or np.asarray(dataset.features).data)
    digest.update(dataset.labels.data)
    for names in (dataset.classes, dataset.ids):
        digest.update("\0".join(map(str, names)).encode())
    return digest.hexdigest()


@pytest.mark.slow
def test_runs_of_earlier_versions_find_their_data(reviews, models):
    succeed("score", "reviews.csv", "--model", models["text"], "-o", "texts", "--verify", 0)
    X = np.random.default_rng(0).normal(size=(20, 16))
    np.savez("x.npz", features=X, labels=np.arange(20) % 2)
    succeed("score", "x.npz", "-o", "features", "--verify", 0)
    for name in ("texts", "features"):
        scores = lapsi.load_run(name)
        dataset = reopen_features(scores, Stages(False))
        assert dataset.digest() == scores.provenance.data_hash
        record = json.loads(Path(name, "run.json").read_text()) | {"data_hash": earlier_digest(dataset)}
        del record["n_source"]
        Path(name, "run.json").write_text(json.dumps(record))
        succeed("groups", name, "--by", "label", "--leave-group-out", "--quiet")
    assert "20 with a picture" in succeed("report", "features").stdout
    succeed("score", "x.npz", "-o", "anew", "--verify", 0)
    assert json.loads(succeed("compare", "features", "anew", "--json").stdout)["same_data"] is None
    assert "data sets differ" not in succeed("compare", "features", "anew").stdout
    np.savez("x.npz", features=X[::-1], labels=np.arange(20) % 2)
    assert "have changed since the run" in fail(2, "groups", "features", "--leave-group-out", "--quiet")


@pytest.mark.slow
def test_a_plan_first(reviews, models, tmp_path):
    record = json.loads(succeed("score", "reviews.csv", "--model", models["text"], "--dry-run", "--json").stdout)
    assert record["engine"] == "newton"
    assert record["embedding"]["seconds"] > 0
    assert record["embedding"]["model"] == models["text"]
    shown = succeed("score", "reviews.csv", "--model", models["text"], "--dry-run").stdout
    assert "samples a second" in " ".join(shown.split())
    assert not (tmp_path / "cache").exists()


@pytest.mark.slow
def test_retraining_resumes_on_texts(reviews, models, monkeypatch):
    options = ("--model", models["text"], "--epochs", 3, "--seeds", 1, "--limit", 4, "--flip-labels", 0.1, "--verify", 0)
    succeed("score", "reviews.csv", *options, "-o", "whole", "--quiet")

    def killed(*arguments):
        score_dataset(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("lapsi.cli.score.score_dataset", killed)
        assert "go on with: lapsi score --resume run" in fail(130, "score", "reviews.csv", *options, "-o", "run", "--quiet")
    succeed("score", "--resume", "run", "--quiet")
    assert lapsi.load_run("run").table.equals(lapsi.load_run("whole").table)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("score", "reviews.csv", "--texts", "words", "-o", "run"), "no texts named 'words'; it has text, label"),
        (("score", "reviews.csv", "--model", "nowhere/at-all", "-o", "run"), "hub cannot be reached"),
        (("score", "reviews.csv", "--model", "nowhere/at-all", "-o", "run"), "--features COLUMN"),
        (("score", "reviews.csv", "--pooling", "max", "-o", "run"), "pooling is 'max'"),
        (("score", "no-such-folder", "-o", "run"), "no-such-folder does not exist"),
        (("score", "hf:no-such/data", "-o", "run"), "hub cannot be reached"),
        (("score", "digits", "--lorem-ipsum", "0.1", "-o", "run"), "the source holds features"),
        (("embed", "digits", "-o", "a.safetensors"), "holds features already"),
        (("embed", "reviews.csv", "-o", "a.npz"), "expected .safetensors"),
        (("issues", "nothing"), "nothing does not exist"),
        (("groups", "nothing"), "nothing does not exist"),
    ],
)
def test_one_clear_line_and_nothing_written(reviews, tmp_path, monkeypatch, arguments, message):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    before = set(tmp_path.iterdir())
    assert message in fail(2, *arguments, *(() if arguments[0] in ("issues", "groups") else ("--quiet",)))
    assert set(tmp_path.iterdir()) == before
