import base64
import io
import json
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

import lapsi
from commands import run
from lapsi.data.blocks import ArrayBlocks, survey
from lapsi.data.samples import EncodedImages, ImageArrays, Texts
from lapsi.data.standardize import standardizer_of
from lapsi.report import room
from lapsi.report.kinds.choose import VIEWS, view_of
from lapsi.report.maps import class_map, umap_map
from lapsi.report.packing import pack, to_script
from lapsi.report.page import asset, page_script, write_report
from lapsi.report.phrasing import number
from lapsi.report.thumbnails import encode, gallery_order
from lapsi.report.words import describe
from runs_for_reports import HOSTILE, hostile_scores, make_scores, with_checks
from runs_of_targets import digits_as_bits, numbers


class Document(HTMLParser):
    """The scripts of a page and every other text, as a browser would part them."""

    def __init__(self, path):
        super().__init__()
        self.scripts, self.text, self.links, self.handlers, self.within = [], [], [], [], None
        self.feed(Path(path).read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        self.within = tag
        if tag == "script":
            self.scripts.append([dict(attributes), ""])
        self.links += [value for name, value in attributes if name in ("src", "href")]
        self.handlers += [name for name, _ in attributes if name.startswith("on")]

    def handle_endtag(self, tag):
        self.within = None

    def handle_data(self, data):
        if self.within == "script":
            self.scripts[-1][1] += data
        else:
            self.text.append(data)

    def json(self, name):
        return next(json.loads(text) for attributes, text in self.scripts if attributes.get("id") == name)


def unpack(packed):
    return np.frombuffer(base64.b64decode(packed["data"]), packed["type"])


@pytest.fixture
def report(tmp_path):
    def write(scores, **options):
        path = tmp_path / "report.html"
        return write_report(scores, path, **options), Document(path), path

    return write


def test_the_page_holds_every_column(report):
    scores = make_scores(50, columns={"group": [f"g{row % 4}" for row in range(50)], "age": np.linspace(1, 2, 50)})
    summary, page, path = report(scores)
    data = page.json("column-data")
    assert (summary.n_samples, summary.n_shown, summary.n_bytes) == (50, 50, path.stat().st_size)
    np.testing.assert_allclose(unpack(data["measures"]["lsi"]), scores.lsi, rtol=1e-6)
    targets = data["targets"]
    assert_array_equal(unpack(targets["given"]), scores.label_codes)
    assert_array_equal(unpack(data["measures"]["rank"]), scores.table["rank"])
    assert data["ids"] == [str(row) for row in range(50)]
    group, age = data["extra"]
    assert [group["names"][code] for code in unpack(group["data"])] == scores.table["group"].tolist()
    np.testing.assert_allclose(unpack(age["data"]), scores.table["age"])
    top = unpack(targets["top"]["codes"]).reshape(50, 3)
    assert_array_equal(top[:, 0], scores.loo_proba.argmax(1))
    assert page.json("about-data")["key"] == f"{scores.provenance.data_hash}:{scores.provenance.created}"


def test_the_page_holds_numbers(report):
    for scores in (numbers(1), numbers(2)):
        data = report(scores)[1].json("column-data")
        targets, n_outputs = data["targets"], len(scores.outputs)
        names = ["label"] if n_outputs == 1 else [f"label_{name}" for name in scores.outputs]
        assert_array_equal(unpack(targets["given"]).reshape(-1, n_outputs), scores.table[names])  # to the last bit
        assert_array_equal(unpack(targets["predicted"]).reshape(-1, n_outputs), scores.prediction)
        assert_array_equal(unpack(targets["doubted"]), scores.table["suggested_label"].notna())
        first = scores.table[names[0]].to_numpy()
        assert_array_equal(unpack(targets["part"]), (first[:, None] > np.quantile(first, (0.25, 0.5, 0.75))).sum(1))
        if n_outputs == 2:
            assert scores.outputs[unpack(targets["worst"])].tolist() == scores.table["doubted_label"].tolist()


def test_the_page_holds_labels(report):
    scores = digits_as_bits()
    targets = report(scores)[1].json("column-data")["targets"]
    names = np.array(targets["names"])
    for key, column in (("given", "label"), ("found", "loo_label")):
        sets = np.split(unpack(targets[key]["codes"]), unpack(targets[key]["ends"])[:-1])
        assert ["|".join(names[codes]) for codes in sets] == scores.table[column].tolist()
    listed = unpack(targets["listed"]["codes"]).reshape(len(scores), 4)
    assert_array_equal(np.sort(listed), np.tile(np.arange(4), (len(scores), 1)))
    shown = unpack(targets["listed"]["probability"]).reshape(len(scores), 4)
    assert_array_equal(shown, np.take_along_axis(scores.prediction, listed.astype(int), 1))


@pytest.mark.parametrize("make", [lambda: numbers(2), digits_as_bits])
def test_quadrants_of_other_targets(make):
    scores = make()
    table, lines = scores.table, view_of(scores).quadrants(scores)
    kind = np.array(lines.kinds.names)[lines.codes(table)]
    high = scores.lsi >= np.quantile(scores.lsi, 0.75)
    if scores.task == "regression":
        far = table["loo_deviation"].abs() >= 2
        expected = {"suspect": high & far, "influential": high & ~far, "noisy": ~high & far, "typical": ~high & ~far}
    else:
        quality = table["label_quality"]
        expected = {"likely mislabelled": high & (quality < 0.5), "hard or rare": high & (quality >= 0.5)}
        expected |= {"ambiguous": ~high & (quality < 0.5), "typical or redundant": ~high & (quality >= 0.5)}
    for name, members in expected.items():
        assert_array_equal(kind == name, members)


@pytest.mark.slow
@pytest.mark.parametrize("make", [lambda: numbers(1), digits_as_bits])
def test_pages_of_other_targets_keep_their_limit(report, make):
    scores = make()
    scores = replace(scores, table=scores.table.assign(text="word " * 200))
    summary, page, path = report(scores, max_bytes=220_000)
    assert path.stat().st_size <= 220_000
    assert 100 < summary.n_shown < len(scores)
    rows = unpack(page.json("column-data")["rows"])
    assert {scores.lsi.argmax(), scores.lsi.argmin(), scores.table["label_quality"].argmin()} <= set(rows)


@pytest.mark.slow
def test_markup_in_names_of_targets_stays_text(report):
    labels = digits_as_bits()
    named = {name: f"{HOSTILE} {name}" for name in labels.outputs}
    table = labels.table.copy()
    for column in ("label", "loo_label", "suggested_label"):
        table[column] = table[column].replace({r"(bit \d)": rf"{HOSTILE} \1"}, regex=True)
    numbered = numbers(2)
    columns = {name: name.replace("mass", HOSTILE) for name in numbered.table}
    described = tuple(replace(column, name=columns.get(column.name, column.name)) for column in numbered.described)
    other = replace(
        numbered,
        table=numbered.table.rename(columns=columns).replace({"doubted_label": {"mass": HOSTILE}}),
        outputs=np.array(["progression", HOSTILE], dtype=object),
        described=described,
    )
    for scores in (replace(labels, table=table, outputs=np.array([*named.values()], dtype=object)), other):
        _, page, path = report(scores)
        executable = [text for attributes, text in page.scripts if "type" not in attributes]
        assert executable == [page_script(view_of(scores))]
        assert HOSTILE not in path.read_text(encoding="utf-8")
        assert page.handlers == []


def test_nothing_is_fetched(report):
    _, page, path = report(make_scores())
    assert all(link.startswith(("#", "data:")) for link in page.links)
    assert "default-src 'none'" in path.read_text(encoding="utf-8")
    assert "url(" not in asset("page.css")
    assert "@import" not in asset("page.css")
    for word in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "fetch(", "XMLHttp", "</script"):
        assert all(word not in page_script(view) for view in VIEWS.values()), word


def test_markup_in_the_data_stays_text(report):
    scores = hostile_scores()
    _, page, path = report(scores)
    executable = [text for attributes, text in page.scripts if "type" not in attributes]
    assert executable == [page_script(view_of(scores))]
    assert len(page.scripts) == 4
    assert page.handlers == []
    raw = path.read_text(encoding="utf-8")
    assert HOSTILE not in raw
    data = page.json("column-data")
    assert data["targets"]["names"] == scores.classes.tolist()
    assert data["ids"] == scores.table["id"].tolist()
    assert data["texts"] == scores.table["text"].tolist()
    assert any(HOSTILE in text for text in page.text)


def test_json_cannot_leave_its_element():
    value = {"a": "</script><!--<script>&\u2028\u2029", "b": "half \ud83d pair", "c": 'quotes " and \\'}
    text = to_script(value)
    assert not re.search("[<>&\u2028\u2029\ud800-\udfff]", text)
    assert json.loads(text) == value
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_script(float("nan"))


def test_arrays_are_little_endian():
    assert_array_equal(unpack(pack(np.array([1, 2], ">u4"))), [1, 2])


def photos(n, side=64):
    return ImageArrays(np.random.default_rng(0).integers(0, 255, (n, side, side, 3), dtype=np.uint8))


def test_thumbnails_of_images_at_hand(report):
    scores = make_scores(30)
    positions = np.arange(30)[::-1]
    shades = ImageArrays(np.repeat(np.arange(0, 240, 8, dtype=np.uint8), 64).reshape(30, 8, 8))
    summary, page, _ = report(scores, content=shades, positions=positions)
    assert (summary.pictures, summary.n_pictures, summary.n_unreadable) == ("image", 30, 0)
    pictures = page.json("picture-data")
    for row, image in zip(pictures["rows"], pictures["images"], strict=True):
        shade = np.asarray(Image.open(io.BytesIO(base64.b64decode(image))).convert("L"))
        assert (shade.shape, shade[0, 0]) == ((8, 8), 8 * positions[row])
    assert not any("have a thumbnail" in text for text in page.text)


def test_the_page_keeps_its_limit_by_leaving_out_thumbnails(report):
    scores = make_scores(400)
    limit = 1_000_000
    summary, page, path = report(scores, content=photos(400), max_bytes=limit)
    assert path.stat().st_size <= limit
    assert path.stat().st_size > 0.95 * limit
    assert 60 < summary.n_pictures < 400
    rows = set(page.json("picture-data")["rows"])
    order = np.argsort(scores.lsi)
    assert {*order[:20], *order[-20:]} <= rows
    assert any(f"{summary.n_pictures} of 400 samples have a thumbnail, to keep" in text for text in page.text)


def test_the_page_keeps_its_limit_by_cutting_texts_then_samples(report):
    scores = make_scores(2000, columns={"text": ["word " * 200] * 2000})
    summary, page, path = report(scores, max_bytes=1_100_000)
    assert path.stat().st_size <= 1_100_000
    assert summary.n_shown == 2000
    assert any("Texts are cut after 300" in text for text in page.text)
    fewer, page, path = report(scores, max_bytes=400_000)
    assert path.stat().st_size <= 400_000
    assert 100 < fewer.n_shown < 2000
    rows = unpack(page.json("column-data")["rows"])
    assert len(rows) == fewer.n_shown
    assert {scores.lsi.argmax(), scores.lsi.argmin()} <= set(rows)
    assert any(f"holds {fewer.n_shown:,} of 2,000 samples" in text for text in page.text)
    with pytest.raises(lapsi.InputError, match="max_bytes is 20,000, too little"):
        report(scores, max_bytes=20_000)


@pytest.mark.parametrize(("limit", "whole"), [(400_000, 0), (1_100_000, 1), (20_000_000, 1)])
def test_of_many_samples_a_part_tells_how_many_fit(report, monkeypatch, limit, whole):
    scores = make_scores(2000, columns={"text": ["word " * 200] * 2000})
    expected, page, _ = report(scores, max_bytes=limit)
    tried, embed = [], room.embed_columns
    monkeypatch.setattr(room, "TRIED_ROWS", 200)
    monkeypatch.setattr(
        room, "embed_columns", lambda scores, rows, *rest: tried.append(len(rows)) or embed(scores, rows, *rest)
    )
    summary, again, _ = report(scores, max_bytes=limit)
    assert tried.count(2000) == whole
    assert summary.n_shown == pytest.approx(expected.n_shown, rel=0.05)
    assert again.json("column-data")["texts"][0] == page.json("column-data")["texts"][0]


def test_missing_and_damaged_images_are_counted(report, tmp_path):
    paths = [str(tmp_path / f"{row}.png") for row in range(20)]
    for path in paths[:12]:
        Image.new("RGB", (200, 100), "red").save(path)
    Path(paths[11]).write_bytes(b"no image")
    summary, page, _ = report(make_scores(20, columns={"path": [*paths[:19], None]}))
    assert (summary.n_pictures, summary.n_unreadable) == (11, 9)
    assert any("9 images were not found or could not be read" in text for text in page.text)
    image = Image.open(io.BytesIO(base64.b64decode(page.json("picture-data")["images"][0])))
    assert image.size == (96, 48)
    broken = EncodedImages([f"{row}" for row in range(20)], lambda row: b"")
    assert report(make_scores(20), content=broken)[0].n_unreadable == 20


def test_without_images_texts_then_features_are_shown(report, tmp_path):
    texts = report(make_scores(20), content=Texts([f"text {row}" for row in range(25)]), positions=np.arange(5, 25))[1]
    assert texts.json("column-data")["texts"][0] == "text 5"
    gone = {"path": [str(tmp_path / "gone.png")] * 20}
    features = np.arange(20 * 16.0).reshape(20, 16)
    summary, page, _ = report(make_scores(20, columns=gone), features=features)
    assert summary.pictures == "pixels"
    pictures = page.json("picture-data")
    assert pictures["shape"] == [4, 4]
    values = unpack(pictures["values"]).reshape(20, 16)
    first = pictures["rows"].index(0)
    assert_array_equal(values[first], np.round(np.arange(16) / 319 * 255))
    bars = report(make_scores(20), features=np.random.default_rng(0).normal(size=(20, 101)))[1].json("picture-data")
    assert (bars["kind"], bars["shape"][0], len(unpack(bars["values"]))) == ("bars", 64, 20 * 64)
    drawn = np.random.default_rng(0).normal(size=(20, 10))
    own = report(make_scores(20), features=drawn)[1].json("picture-data")["values"]
    scaled = report(make_scores(20), features=drawn * np.logspace(-3, 3, 10) + 7)[1].json("picture-data")["values"]
    assert np.abs(unpack(own).astype(int) - unpack(scaled)).max() <= 1  # each feature by its own spread
    summary, page, _ = report(make_scores(20))
    assert summary.pictures == "none"
    assert any("raw samples were not at hand" in text for text in page.text)
    for constant in (0.0, 3.0):
        assert report(make_scores(20), features=np.full((20, 3), constant))[0].n_pictures == 20


def test_galleries_come_first_and_every_sample_once():
    scores = make_scores(500, n_classes=4)
    order = list(gallery_order(scores, np.arange(500)))
    assert sorted(order) == list(range(500))
    ranked = np.argsort(scores.lsi, kind="stable")
    assert order[:48] == ranked[:48].tolist()
    assert set(ranked[-48:]) | set(np.argsort(scores.table["label_quality"], kind="stable")[:48]) <= set(order[:144])
    assert list(gallery_order(scores, np.array([3, 8]))) in ([3, 8], [8, 3])


def test_small_images_keep_every_pixel():
    pixels = np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    again = Image.open(io.BytesIO(encode(Image.fromarray(pixels))))
    assert_array_equal(np.asarray(again.convert("RGB")), pixels)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"content": Texts(["a"] * 3)}, "20 samples were scored, but 20 positions"),
        ({"content": Texts(["a"] * 30), "positions": np.arange(5)}, "but 5 positions were given"),
        ({"features": np.zeros((3, 4))}, r"shape \(3, 4\); expected \(20, d\)"),
    ],
)
def test_what_does_not_fit_together_is_refused(report, options, message):
    with pytest.raises(lapsi.InputError, match=message):
        report(make_scores(20), **options)


def test_lsi_that_is_not_finite_is_refused(report):
    scores = make_scores(20)
    scores.table.loc[3, "lsi"] = np.inf
    with pytest.raises(lapsi.InputError, match="not finite"):
        report(scores)


def test_quadrants_part_the_samples():
    scores = make_scores(400)
    lines = view_of(scores).quadrants(scores)
    doubted = (scores.table["label_quality"] < 1 / 3).to_numpy()
    kind = np.array(lines.kinds.names)[lines.codes(scores.table)]
    high = scores.lsi >= np.quantile(scores.lsi, 0.75)
    assert_array_equal(kind == "likely mislabelled", high & doubted)
    assert_array_equal(kind == "hard or rare", high & ~doubted)
    assert_array_equal(kind == "ambiguous", ~high & doubted)
    assert_array_equal(kind == "typical or redundant", ~high & ~doubted)


def test_words_say_what_was_scored():
    words = describe(make_scores(30, n_samples=90, columns={"corrupted": np.arange(30) < 3}))
    assert "90 samples in 3 classes" in words.sentences[0]
    assert "30 of them were scored" in words.sentences[0]
    assert "Known to be corrupted: 3 samples" in words.sentences[-1]
    assert ("epochs", "3") in words.settings
    assert "2 samples were checked" in words.accuracy


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.0123, "0.0123"), (4.56e-7, "4.56 × 10⁻⁷"), (12345.6, "12,346"), (2.5e9, "2.50 × 10⁹")]
)
def test_numbers_have_three_digits(value, text):
    assert number(value) == text


def test_odd_runs_are_written(report):
    scores = make_scores(20, with_map=False)
    scores.table["lsi"] = 0.0
    page = report(scores)[1]
    assert any("saved without a map" in text for text in page.text)
    few = make_scores(12, n_classes=5, classes=["all", "b", "c", "d", "None"], seed=3)
    few.table["label"] = "all"
    assert report(few)[1].json("about-data")["spread"][1:] == [None] * 4
    mixed = {"note": [None, float("nan")] * 10, "when": pd.date_range("2026-01-01", periods=20), "flag": [True, False] * 10}
    extra = report(make_scores(20, columns=mixed | {"size": pd.array([1, None] * 10, "Int64")}))[1].json("column-data")["extra"]
    assert [column["kind"] for column in extra] == ["number", "strings", "names", "number"]
    (when,) = [column for column in extra if column["key"] == "when"]
    assert when["values"] == [f"2026-01-{day:02d}" for day in range(1, 21)]
    hours = pd.Series(pd.date_range("2026-01-01", periods=20, freq="36h")).mask(np.arange(20) == 3)
    (when,) = report(make_scores(20, columns={"when": hours}))[1].json("column-data")["extra"]
    assert when["values"][:4] == ["2026-01-01 00:00:00", "2026-01-02 12:00:00", "2026-01-04 00:00:00", ""]
    report(make_scores(20, source="odd \udcff name"))


def test_the_command_writes_beside_the_run_and_never_over_it(tmp_path):
    make_scores(30).save(tmp_path / "run")
    result = run("report", tmp_path / "run")
    assert result.returncode == 0, result.stderr
    assert "30 samples" in result.stdout
    page = tmp_path / "run.html"
    before = page.read_bytes()
    refused = run("report", tmp_path / "run")
    assert (refused.returncode, "--force" in refused.stderr) == (3, True)
    assert run("report", tmp_path / "run", "--force", "--quiet").stdout == ""
    assert page.read_bytes() == before
    assert run("report", tmp_path / "run", "-o", tmp_path / "other.html").returncode == 0
    assert run("report", tmp_path / "nowhere").returncode == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.html", "run", "run.html"]


def test_scores_show_in_a_notebook():
    view = hostile_scores()._repr_html_()
    assert "<script" not in view
    assert "&lt;script&gt;" in view
    assert "<img" not in view
    many = make_scores(400, n_classes=20)._repr_html_()
    assert "8 classes in the middle are left out" in many
    assert "400 of 400 samples" in many


def test_umap_is_optional_and_named_in_the_page(report, monkeypatch):
    features = np.random.default_rng(0).normal(size=(20, 3))
    inputs = standardizer_of(survey(ArrayBlocks(features)), "each").inputs(features)[:, :-1]
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(lapsi.InputError, match=r"lapsi\[umap\]"):
        umap_map(inputs)

    class Fake:
        def __init__(self, **settings):
            assert settings["random_state"] == 7

        def fit_transform(self, inputs):
            np.testing.assert_allclose(inputs.std(0), 1)
            return inputs[:, :2]

    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=Fake))
    layout = umap_map(inputs, seed=7)
    assert (layout.shape, layout.dtype) == ((20, 2), np.float32)
    page = report(replace(make_scores(20), map=layout), map_name="UMAP")[1]
    assert any("(UMAP, two dimensions)" in text for text in page.text)
    assert_array_equal(unpack(page.json("column-data")["map"]).reshape(20, 2), layout)


@pytest.mark.parametrize("n_classes", [2, 3, 6])
def test_a_map_of_the_classes_parts_what_principal_components_do_not(n_classes):
    rng = np.random.default_rng(0)
    codes = np.arange(240) % n_classes
    features = rng.normal(size=(240, 12)) * np.array([9, 8, 7] + [1] * 9)
    features[:, 3:][np.arange(240), codes] += 8
    layout = class_map(features, codes)
    assert (layout.shape, layout.dtype) == ((240, 2), np.float32)

    def parted(at):
        means = np.array([at[codes == each].mean(0) for each in range(n_classes)])
        return (np.linalg.norm(at[:, None] - means, axis=2).argmin(1) == codes).mean()

    assert parted(layout) > (0.99 if n_classes < 4 else 0.6)
    assert parted(layout) > parted(np.linalg.svd(features - features.mean(0))[0][:, :2]) + 0.3
    assert abs(np.corrcoef(layout.T)[0, 1]) < 0.2


def test_chance_parts_no_classes_on_a_map():
    features, codes = np.random.default_rng(0).normal(size=(60, 200)), np.arange(60) % 2
    layout = class_map(features, codes)
    gap = abs(layout[codes == 0, 0].mean() - layout[codes == 1, 0].mean())
    assert gap < 4 * layout[codes == 0, 0].std()
    with pytest.raises(lapsi.InputError, match="there are 60 samples of 1. Take the PCA"):
        class_map(features, np.zeros(60))


@pytest.mark.slow
def test_the_command_maps_the_classes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    features, labels = np.random.default_rng(0).normal(3, 5, size=(20, 3)), np.arange(20) % 2
    np.savez("x.npz", features=features, labels=np.where(labels, "b", "a"))
    np.savez("y.npz", features=features, labels=features[:, 0])
    for name in ("x", "y"):
        assert run("score", f"{name}.npz", "-o", name, "--verify", 0, "--quiet", "--standardize", "each").returncode == 0
    assert run("report", "x", "--map", "classes", "--quiet").returncode == 0
    page = Document(tmp_path / "x.html")
    inputs = standardizer_of(survey(ArrayBlocks(features)), "each").inputs(features)[:, :-1]
    expected = class_map(inputs, labels)
    np.testing.assert_allclose(unpack(page.json("column-data")["map"]).reshape(20, 2), expected, rtol=1e-5, atol=1e-6)
    assert any("(discriminants of the classes, two dimensions)" in text for text in page.text)
    assert "--map classes is for samples of one class each" in run("report", "y", "--map", "classes").stderr


def test_a_umap_is_refused_before_the_work_where_it_is_not_installed(tmp_path, monkeypatch):
    make_scores(30).save(tmp_path / "run")
    monkeypatch.setattr("lapsi.cli.commands.report.find_spec", lambda name: None)
    refused = run("report", tmp_path / "run", "--map", "umap")
    assert (refused.returncode, len(refused.stderr.strip().splitlines())) == (2, 1)
    assert "lapsi[umap]" in refused.stderr


def test_a_run_from_python_names_what_sketches_its_samples(tmp_path):
    make_scores(30).save(tmp_path / "run")
    told = " ".join(run("report", tmp_path / "run").stderr.split())
    assert "lapsi.load_run(RUN).report('run.html', features=X)" in told


@pytest.mark.slow
@pytest.mark.parametrize("scaling", ["each", "one", "none"])
def test_a_umap_is_of_what_the_probe_saw(tmp_path, monkeypatch, scaling):
    monkeypatch.chdir(tmp_path)
    features = np.random.default_rng(0).normal(3, 5, size=(20, 3))
    np.savez("x.npz", features=features, labels=np.arange(20) % 2)
    assert run("score", "x.npz", "-o", "run", "--limit", 12, "--verify", 0, "--quiet", "--standardize", scaling).returncode == 0
    seen = []

    class Fake:
        def __init__(self, **_):
            pass

        def fit_transform(self, inputs):
            seen.append(inputs)
            return inputs[:, :2]

    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=Fake))
    assert run("report", "run", "--map", "umap", "--quiet").returncode == 0
    centred = features - features.mean(0)
    scaled = {"each": centred / features.std(0), "one": centred / np.sqrt(features.var(0).mean()), "none": features}[scaling]
    np.testing.assert_allclose(seen[0], scaled[:12], rtol=1e-12)


def test_what_checks_found_is_on_the_page(tmp_path):
    scores = with_checks(make_scores(60))
    write_report(scores, tmp_path / "r.html")
    held = Document(tmp_path / "r.html").json("column-data")
    assert [each["title"] for each in held["checks"]] == ["duplicates", "outliers"]
    masks = [np.frombuffer(base64.b64decode(each["data"]["data"]), np.uint8) for each in held["checks"]]
    assert_array_equal(masks, [np.arange(60) % 7 == 0, np.arange(60) % 5 == 0])
    assert {each["key"]: each["check"] for each in held["extra"]}["check_duplicate"] is True
    assert "Checks of the data: duplicates: 9 samples; outliers: 12 samples; none: rare class." in describe(scores).sentences
    write_report(make_scores(60), tmp_path / "plain.html")
    assert Document(tmp_path / "plain.html").json("column-data")["checks"] == []
