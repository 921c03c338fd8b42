"""Input that once gave a wrong result or a traceback."""

import json

import datasets
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

import lapsi
from commands import fail, run
from lapsi import plots
from lapsi.analysis.label_issues import label_issues
from lapsi.data.corruption import corrupt_dataset, corrupt_samples
from lapsi.data.dataset import make_dataset
from lapsi.data.extractors.embedding import load_extractor
from lapsi.data.readers.arrays import read_dataset
from lapsi.data.readers.columns import Columns
from lapsi.data.readers.image_folders import read_image_folder
from lapsi.data.readers.source import open_source
from lapsi.data.samples import decode_image, image_arrays
from lapsi.data.writing import write_features
from lapsi.settings.corruption import Corruption
from lapsi.settings.extractor import ExtractorSettings
from tiny_models import save_bert

pytestmark = pytest.mark.usefixtures("here")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 3))
Y = np.array(["a", "b"] * 6)


def pictures(folder, n=12):
    for row in range(n):
        place = folder / ("dog" if row % 2 else "cat")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(place / f"{row:02}.png")


@pytest.mark.slow
def test_rows_count_in_the_source_where_images_were_left_out(tmp_path, models):
    pictures(tmp_path / "photos")
    (tmp_path / "photos" / "cat" / "02.png").write_bytes(b"no image")  # row 1 of the folder
    options = ("--model", models["image"], "--skip-bad", "--verify", 0, "--quiet")
    assert run("score", "photos", *options, "-o", "run").returncode == 0
    table = lapsi.load_run("run").table
    assert table["row"].tolist() == [0, *range(2, 12)]
    assert run("select", "run", "--strategy", "high", "--fraction", 0.5, "-o", "rows.npy", "--quiet").returncode == 0
    files = sorted((tmp_path / "photos").rglob("*.png"))
    chosen = {files[row].relative_to(tmp_path / "photos").as_posix() for row in np.load("rows.npy")}
    order = table.sort_values("lsi")
    expected = [name for _, part in order.groupby("label") for name in part["id"].tail(int(0.5 * len(part)))]
    assert chosen == set(expected)
    (tmp_path / "photos" / "dog" / "11.png").write_bytes(b"no image")  # the last row
    (tmp_path / "some.txt").write_text("0\n1\n4\n7\n11\n")
    assert run("score", "photos", *options, "--indices", "some.txt", "-o", "some").returncode == 0
    assert lapsi.load_run("some").table["row"].tolist() == [0, 4, 7]  # row 1 could not be read
    record = json.loads(run("score", "photos", *options[:-1], "--json", "-o", "json").stdout)
    assert record["left_out"][0]["sample"].endswith("02.png")


def test_the_shape_of_arrays_is_part_of_the_image(models):
    images = RNG.integers(0, 256, (4, 8, 6, 3), dtype=np.uint8)
    options = {"kind": "image", "model": models["image"], "progress": False}
    turned = lapsi.embed(images.reshape(4, 6, 8, 3), **options)
    straight = lapsi.embed(images, **options)
    assert np.abs(turned - straight).max() > 1e-4
    content = image_arrays(images)
    assert_array_equal(np.asarray(content.decode(content.read(2))), images[2])


@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_sixteen_bits_keep_their_greys(tmp_path, kind):
    grey = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    Image.fromarray(grey).save(tmp_path / f"a.{kind}")
    decoded = np.asarray(decode_image((tmp_path / f"a.{kind}").read_bytes()))
    np.testing.assert_allclose(decoded[..., 0], grey / 257, atol=0.51)


def test_pixels_without_a_range_are_refused(tmp_path):
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "a.tiff")
    with pytest.raises(ValueError, match="mode F, whose range is unknown"):
        decode_image((tmp_path / "a.tiff").read_bytes())


def test_human_labels_are_names_first():
    data = make_dataset(X, np.array(["1", "2", "10"] * 4))
    human = np.array([1, 2, 2] * 4)
    changed = corrupt_dataset(data, Corruption(human_labels=human))
    assert_array_equal(changed.classes[changed.labels], human.astype(str))


def test_blank_cells_are_missing(tmp_path, models):
    frame = pd.DataFrame({"text": ["good"] * 12, "label": Y, "who": ["x", ""] * 6, "word": ["NA", "b"] * 6})
    frame.to_csv("a.csv", index=False)
    samples = open_source("a.csv", Columns(group="who", keep=("word",)))
    assert samples.columns["group"].isna().sum() == 6
    assert set(samples.columns["word"]) == {"NA", "b"}
    frame.assign(label=["", *Y[1:]]).to_csv("b.csv", index=False)
    assert "One label is missing" in fail(2, "score", "b.csv", "--model", models["text"], "-o", "run", "--quiet")
    assert (
        "remove these samples"
        in fail(2, "score", "b.csv", "--model", models["text"], "--lorem-ipsum", 0.5, "-o", "run", "--quiet").lower()
    )
    assert "One label is missing" in fail(2, "score", "b.csv", "--model", "never/asked", "-o", "run", "--quiet")
    frame.assign(text=["", *["good"] * 11]).to_csv("c.csv", index=False)
    assert "of the 12 samples cannot be read: text 0 (the row holds nothing)" in fail(
        2, "score", "c.csv", "--model", models["text"], "-o", "run", "--quiet"
    )


def test_long_tables_with_line_breaks_in_texts(tmp_path):
    texts = [f"line\nbreak, {row} " + "word " * 200 for row in range(2000)]
    pd.DataFrame({"id": range(2000), "text": texts, "label": np.arange(2000) % 2}).to_csv("a.csv", index=False)
    assert open_source("a.csv", Columns()).content.values == texts


def test_truth_that_is_not_known_is_no_error():
    y = np.arange(12) % 2
    truth = pd.Series([1.0, None, *map(float, y[2:])])
    scores = lapsi.score(X, y, columns={"reference_label": truth}, verify=0, progress=False)
    found = label_issues(scores).found
    assert found.n_errors == 1
    legend = [text.get_text() for text in plots.corrupted(scores).get_legend().get_texts()]
    assert sorted(legend) == ["labels agree (10)", "labels differ (1)", "no second label (1)"]


def test_labels_that_are_floats_are_compared_as_integers(tmp_path):
    scores = lapsi.score(
        X,
        (np.arange(12) % 2).astype(float),
        columns={"reference_label": np.r_[1.0, np.arange(1, 12) % 2]},
        verify=0,
        progress=False,
    )
    assert label_issues(scores).found.n_errors == 1
    names, second = np.array(["ant", "bee"]), np.r_[np.nan, np.arange(1, 12) % 2]
    np.savez("a.npz", features=X, labels=np.arange(12) % 2, second=second, class_names=names)
    dataset = open_source("a.npz", Columns(reference_labels="second"))
    assert dataset.columns["reference_label"][1:].tolist() == names[np.arange(1, 12) % 2].tolist()
    assert dataset.columns["reference_label"].isna().tolist() == [True, *[False] * 11]


@pytest.mark.slow
def test_images_are_tried_again_when_a_decoder_was_installed(tmp_path, models, monkeypatch):
    pictures(tmp_path / "photos")
    decode = decode_image

    def without(raw):
        if raw == (tmp_path / "photos" / "cat" / "02.png").read_bytes():
            raise OSError("no decoder")
        return decode(raw)

    options = ("--model", models["image"], "--skip-bad", "--verify", 0, "--quiet", "--force")
    with monkeypatch.context() as patch:
        patch.setattr("lapsi.data.samples.decode_image", without)
        for _ in range(2):
            assert run("score", "photos", *options, "-o", "run").returncode == 0
            assert len(lapsi.load_run("run")) == 11
    assert run("score", "photos", *options, "-o", "run").returncode == 0
    assert len(lapsi.load_run("run")) == 12


@pytest.mark.slow
def test_pictures_of_other_samples_are_never_shown(tmp_path):
    images = RNG.integers(0, 256, (12, 8, 8), dtype=np.uint8)
    np.savez("a.npz", features=images.reshape(12, 64), labels=Y)
    assert run("score", "a.npz", "-o", "run", "--verify", 0, "--quiet").returncode == 0
    assert "12 with a picture" in run("report", "run", "-o", "a.html").stdout
    np.savez("a.npz", features=images.reshape(12, 64)[::-1], labels=Y)
    assert "with a picture" not in run("report", "run", "-o", "b.html").stdout
    assert "no pictures" in " ".join(run("report", "run", "-o", "c.html").stderr.split())


def test_hub_columns_with_gaps(tmp_path):
    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["a", "b"]),
            "second": datasets.ClassLabel(names=["a", "b"]),
        }
    )
    rows = {"text": ["x"] * 4, "label": [0, 1, 0, 1], "second": [0, -1, None, 1]}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk("saved")
    samples = open_source("saved", Columns(reference_labels="second"))
    seconds = samples.columns["reference_label"]
    assert seconds.isna().tolist() == [False, True, True, False]
    assert seconds[seconds.notna()].tolist() == ["a", "b"]


def test_carried_columns_are_no_features(tmp_path):
    frame = pd.DataFrame(X, columns=["f0", "f1", "f2"]).assign(fold=1, f_true=[0, 1] * 6, label=Y)
    frame.to_parquet("a.parquet")
    dataset = read_dataset(tmp_path / "a.parquet", Columns(prefix="f", group="fold", reference_labels="f_true"))
    assert_array_equal(dataset.features, X)


def test_own_feature_files_keep_their_labels(tmp_path):
    write_features(make_dataset(X, Y, columns={"labels": np.arange(12) % 3}), {}, tmp_path / "a.safetensors")
    dataset = read_dataset(tmp_path / "a.safetensors", Columns())
    assert_array_equal(dataset.classes[dataset.labels], Y)
    pd.DataFrame({"text": ["x"] * 12, "label": Y, "who": 1, "group": 2}).to_csv("a.csv", index=False)
    for keep in ("id", "label", "text", "corrupted"):
        frame = pd.DataFrame({"text": ["x"] * 12, "y": Y, keep: "x"})
        frame.to_csv("b.csv", index=False)
        with pytest.raises(lapsi.InputError, match=f"--keep {keep}: that name is taken"):
            open_source("b.csv", Columns(labels="y", texts="text", keep=(keep,)))
    with pytest.raises(lapsi.InputError, match="--keep group: that name is taken"):
        open_source("a.csv", Columns(group="who", keep=("group",)))


@pytest.mark.parametrize(
    ("pooling", "message"),
    [
        ({"pooling_mode_max_tokens": True}, "pools by max"),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True}, "pools by max and mean"),
        ({"pooling_mode_lasttoken": True}, "pools by lasttoken"),
        ({"pooling_mode": "weightedmean"}, "pools by weightedmean"),
    ],
)
def test_poolings_that_are_not_computed_are_refused(tmp_path, pooling, message):
    model = save_bert(tmp_path / "encoder", sentence_encoder=True)
    (tmp_path / "encoder" / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    with pytest.raises(lapsi.InputError, match=message):
        load_extractor("text", ExtractorSettings(model=model))
    assert load_extractor("text", ExtractorSettings(model=model, pooling="mean")).pooling == "mean"


def test_other_ends_of_sentence_encoders(tmp_path):
    model = save_bert(tmp_path / "encoder", sentence_encoder=True)
    modules = json.loads((tmp_path / "encoder" / "modules.json").read_text())
    (tmp_path / "encoder" / "modules.json").write_text(
        json.dumps([*modules, {"path": "3_Dense", "type": "sentence_transformers.models.Dense"}])
    )
    with pytest.raises(lapsi.InputError, match="ends in Dense, which lapsi does not compute"):
        load_extractor("text", ExtractorSettings(model=model))
    (tmp_path / "encoder" / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": "cls"}))
    (tmp_path / "encoder" / "modules.json").write_text(json.dumps(modules))
    assert load_extractor("text", ExtractorSettings(model=model)).pooling == "cls"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--labels", "nonsense"), "--labels does not apply: an image folder"),
        (("--group", "who"), "--group does not apply"),
        (("--split-column", "who"), "--split-column does not apply"),
        (("--keep", "who"), "--keep does not apply"),
    ],
)
def test_options_without_effect_are_refused(tmp_path, models, options, message):
    pictures(tmp_path / "photos")
    assert message in fail(2, "score", "photos", "--model", models["image"], *options, "-o", "run", "--quiet")
    assert "--model does not apply: the source holds features" in fail(
        2, "score", "digits", "--model", "x", "-o", "run", "--quiet"
    )
    (tmp_path / "digits").mkdir()
    assert "write ./digits" in fail(2, "score", "digits", "-o", "run", "--quiet")


def test_folders_that_are_no_classes(tmp_path):
    pictures(tmp_path / "photos")
    (tmp_path / "photos" / ".cache").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "photos" / ".cache" / "x.png")
    assert set(read_image_folder(tmp_path / "photos").labels) == {"cat", "dog"}
    for kind in ("cat", "dog"):
        for year in ("2020", "2021"):
            (tmp_path / "years" / kind / year).mkdir(parents=True)
            Image.new("RGB", (4, 4)).save(tmp_path / "years" / kind / year / "x.png")
    assert set(read_image_folder(tmp_path / "years").labels) == {"cat", "dog"}


def test_gaps_in_plain_lists():
    with pytest.raises(lapsi.InputError, match="One label is missing"):
        lapsi.score(X, ["a", "b"] * 5 + [float("nan"), "a"], progress=False)
    with pytest.raises(lapsi.InputError, match="mix types"):
        lapsi.score(X, ["a", 3] * 6, progress=False)
    table = lapsi.leave_group_out(X, Y, ["p", "q"] * 5 + [float("nan")] * 2, progress=False)
    assert set(table.index) == {"p", "q"}


def test_what_cannot_be_stored_is_refused_before_any_work(tmp_path):
    with pytest.raises(lapsi.InputError, match="column 'odd' cannot be stored"):
        lapsi.score(X, Y, columns={"odd": np.ones(12, complex)}, progress=False)
    with pytest.raises(lapsi.InputError, match="ids cannot be stored"):
        lapsi.score(X, Y, ids=[f"\udcff{row}" for row in range(12)], progress=False)


@pytest.mark.slow
def test_the_cache_may_be_deleted_between_score_and_groups(tmp_path, models):
    texts = [" ".join(RNG.choice(["good", "bad", "dull", "film"], RNG.integers(1, 9))) for _ in range(12)]
    pd.DataFrame({"text": texts, "label": Y, "who": np.arange(12) % 3}).to_csv("a.csv", index=False)
    options = ("--model", models["text"], "--group", "who")
    assert run("embed", "a.csv", *options, "--batch-size", 5, "-o", "f.safetensors", "--quiet").returncode == 0
    assert run("score", "a.csv", *options, "--noise", 0.1, "-o", "run", "--verify", 0, "--quiet").returncode == 0
    for file in (tmp_path / "cache").rglob("*.safetensors"):
        file.unlink()
    result = run("groups", "run", "--leave-group-out", "--quiet")
    assert result.returncode == 0, result.stderr


def test_decoders_may_raise_anything(tmp_path, models, monkeypatch):
    pictures(tmp_path / "photos")

    def broken(raw):
        raise RuntimeError("decoder failed")

    monkeypatch.setattr("lapsi.data.samples.decode_image", broken)
    assert "(decoder failed)" in fail(2, "score", "photos", "--model", models["image"], "-o", "run", "--quiet")


def test_images_that_are_missing_in_tables(tmp_path):
    pd.DataFrame({"image": [{"bytes": None, "path": None}] * 12, "label": Y}).to_parquet("a.parquet")
    with pytest.raises(lapsi.InputError, match="all 12 images are missing"):
        open_source("a.parquet", Columns())
    pd.DataFrame({"path": [], "label": []}).to_csv("b.csv", index=False)
    with pytest.raises(lapsi.InputError, match="holds no rows"):
        open_source("b.csv", Columns())
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("string")})
    datasets.Dataset.from_dict({"image": [None] * 12, "label": list(Y)}, features=features).save_to_disk("saved")
    samples = open_source("saved", Columns())
    with pytest.raises(OSError, match="holds no image"):
        samples.content.read(0)


def test_texts_and_models_that_do_not_fit(tmp_path, models):
    with pytest.raises(lapsi.InputError, match=r"max_tokens is 600, but .* has places for 512"):
        load_extractor("text", ExtractorSettings(model=models["text"], max_tokens=600))
    with pytest.raises(lapsi.InputError, match="One text was passed by itself"):
        lapsi.embed("a text", kind="text", model=models["text"], progress=False)
    with pytest.raises(lapsi.InputError, match="The images make no array"):
        lapsi.embed(
            [np.zeros((4, 4, 3), np.uint8), np.zeros((5, 4, 3), np.uint8)], kind="image", model=models["image"], progress=False
        )
    pictures(tmp_path / "photos", 4)
    series = pd.Series(sorted(map(str, (tmp_path / "photos").rglob("*.png"))), index=[7, 8, 9, 10])
    assert lapsi.embed(series, kind="image", model=models["image"], progress=False).shape == (4, 8)
    (tmp_path / "latin.csv").write_bytes("text,label\ncaf\xe9,a\nx,b\n".encode("latin-1"))
    with pytest.raises(lapsi.InputError, match="row 0 is no text in UTF-8"):
        open_source("latin.csv", Columns())


@pytest.mark.slow
def test_dollars_are_no_mathematics(tmp_path):
    names = np.array(["$_$", "$10-$20"] * 6)
    scores = lapsi.score(X, names, verify=0, progress=False)
    plots.save(plots.by_class(scores), tmp_path / "a.png")
    plots.save(plots.distribution({"$_$": scores, "b": scores}), tmp_path / "b.png")


def test_json_without_infinity(tmp_path):
    scores = lapsi.score(X, Y, columns={"odd": [np.inf] * 12}, verify=0, progress=False)
    scores.save("run")
    record = run("show", "run", "--json").stdout
    assert "Infinity" not in record
    assert json.loads(record)["most_informative"][0]["odd"] is None


def test_small_shares_touch_nothing(tmp_path, models):
    pd.DataFrame({"text": ["good"] * 12, "label": Y}).to_csv("a.csv", index=False)
    samples = corrupt_samples(open_source("a.csv", Columns()), Corruption(lorem_ipsum=0.01))
    dataset = corrupt_dataset(samples.with_features(X, np.arange(12)), Corruption(lorem_ipsum=0.01))
    assert not dataset.columns["corrupted"].any()
    for options, message in (
        (("--flip-labels", 7), "flip_labels is 7"),
        (("--human-labels", "none.npy"), "none.npy does not exist"),
    ):
        assert message in fail(2, "score", "a.csv", "--model", models["text"], *options, "--dry-run")
    assert "list" in fail(2, "groups", _with_lists(), "--by", "odd")


def _with_lists():
    lapsi.score(X, Y, columns={"odd": pd.Series([[1, 2]] * 12)}, verify=0, progress=False).save("lists")
    return "lists"
