"""What comes in is read whole and to the letter, or refused with a word on what and where."""

import csv
import io
import os
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from PIL import Image

import lapsi
from commands import fail, run
from lapsi.data.corruption import corrupt_dataset
from lapsi.data.dataset import make_dataset
from lapsi.data.readers.arrays import read_indices
from lapsi.data.readers.columns import Columns
from lapsi.data.readers.containers import open_arrays
from lapsi.data.readers.image_folders import read_image_folder
from lapsi.data.readers.labels import read_labels
from lapsi.data.readers.source import open_source
from lapsi.data.samples import decode_image, image_arrays
from lapsi.report.thumbnails import file_pictures
from lapsi.settings.corruption import Corruption

pytestmark = pytest.mark.usefixtures("here")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 3))
Y = np.array(["a", "b"] * 6)
ROWS = [[str(row), f"text {row}", "ab"[row % 2]] for row in range(40)]


@pytest.fixture
def photos(tmp_path):
    root = tmp_path / "photos"
    for place in ("cat", "cat/2020", "dog", "emu"):
        (root / place).mkdir(parents=True)
        for row in range(3):
            Image.fromarray(RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(root / place / f"{row}.png")
    return root


def scored(labels=Y, **options):
    """A run written and read back."""
    lapsi.score(X, labels, verify=0, progress=False, **options).save("scored", force=True)
    return lapsi.load_run("scored")


def write_rows(path, change=lambda line: line):
    lines = ["id,text,label", *(",".join(row) for row in ROWS)]
    path.write_text("".join(f"{change(line)}\n" for line in lines))


@pytest.mark.parametrize(
    ("opened", "message"),
    [
        ('"text 5', r"the quote that opens in line 7 never closes"),
        ('"text 5"ish', r"the quote that opens in line 7 closes in line 7 before more text"),
    ],
)
def test_quotes_that_do_not_close_their_cell(tmp_path, opened, message):
    write_rows(tmp_path / "a.csv", lambda line: line.replace("text 5", opened))
    with pytest.raises(lapsi.InputError, match=message):
        open_source("a.csv", Columns())
    scored()
    pd.DataFrame({"value": range(12)}).to_csv("data.csv", index=False)
    assert run("export", "scored", "--into", "data.csv", "--to", "both.csv").returncode == 0
    assert "the quote that opens in line 7" in fail(2, "export", "scored", "--into", "a.csv", "--to", "more.csv")


def test_quotes_that_close_in_another_row(tmp_path):
    quoted = "\n".join(f'{row},"{text}",{label}' for row, text, label in ROWS).replace('text 5"', "text 5")
    (tmp_path / "a.csv").write_text(f"id,text,label\n{quoted}\n")
    with pytest.raises(lapsi.InputError, match="opens in line 7 closes in line 8 before more text, so rows may run together"):
        open_source("a.csv", Columns())


@given(
    st.lists(st.text(alphabet='", \r\n\tx', max_size=8).map("t{}".format), min_size=2, max_size=6),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.booleans(),
)
def test_quoted_cells_come_as_they_are(tmp_path_factory, texts, quoting, marked):
    file = tmp_path_factory.getbasetemp() / "quoted.csv"
    stream = io.StringIO()
    writer = csv.writer(stream, quoting=quoting, lineterminator="\r\n")
    writer.writerows([["text", "label"], *([text, "x"] for text in texts)])
    file.write_bytes(stream.getvalue().encode("utf-8-sig" if marked else "utf-8"))
    assert open_arrays(file).load("text").tolist() == texts


def test_quotes_inside_cells_are_letters(tmp_path):
    (tmp_path / "a.csv").write_text('text,label\na 5" disk,a\nx "y" z,b\n')
    assert open_source("a.csv", Columns()).content.values == ['a 5" disk', 'x "y" z']


@pytest.fixture
def locked(monkeypatch):
    """Makes folders that the system refuses to list."""
    names, listing = set(), os.scandir

    def scandir(folder="."):
        if str(folder).endswith(tuple(names)):
            raise PermissionError(13, "Permission denied", str(folder))
        return listing(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    return names


@pytest.mark.slow
@pytest.mark.parametrize(("place", "n_left"), [("emu", 9), ("cat/2020", 9)])
def test_folders_that_cannot_be_read_are_named(photos, models, locked, place, n_left):
    locked.add(place)
    refused = fail(2, "score", "photos", "--model", models["image"], "-o", "run", "--quiet")
    assert f"1 of the folders and files below {photos} cannot be read: {photos / place} (Permission denied)" in refused
    assert "--skip-bad leaves them out" in refused
    options = ("--model", models["image"], "--skip-bad", "--verify", 0, "-o", "run", "--quiet")
    assert run("score", photos, *options).returncode == 0
    assert len(lapsi.load_run("run")) == n_left
    left_out = pd.read_csv("run/left_out.csv")
    assert left_out["sample"].tolist() == [str(photos / place)]
    assert left_out["reason"].tolist() == ["Permission denied"]
    assert run("report", "run", "--quiet").returncode == 0


def test_a_folder_of_which_nothing_can_be_read(photos, locked):
    locked.add("photos")
    for skip_bad in (False, True):
        with pytest.raises(lapsi.InputError, match="below photos cannot be read: photos .Permission denied"):
            open_source("photos", Columns(), skip_bad=skip_bad)


@pytest.mark.slow
def test_scores_of_a_part_go_beside_a_source_with_faults(photos, models):
    (photos / "cat" / "1.png").write_bytes(b"no image")
    samples = read_image_folder(photos)
    samples.columns.to_csv("files.csv", index=False)
    options = ("--model", models["image"], "--skip-bad", "--verify", 0, "--quiet")
    for more, rows in ((("--limit", 3), [0, 2, 3]), (("--limit", 1), [0]), ((), [0, *range(2, 12)])):
        assert run("score", "photos", *options, *more, "-o", "run", "--force").returncode == 0
        result = run("export", "run", "--into", "files.csv", "--to", "both.csv", "--force")
        assert result.returncode == 0, result.stderr
        both = pd.read_csv("both.csv")
        assert np.flatnonzero(both["lapsi_lsi"].notna()).tolist() == rows
        np.testing.assert_allclose(both["lapsi_lsi"].dropna(), lapsi.load_run("run").lsi)
    samples.columns.head(11).to_csv("files.csv", index=False)
    assert "have 11 rows, the run is of 12 samples" in fail(2, "export", "run", "--into", "files.csv", "--to", "c.csv")


def test_linked_folders_are_read_once(photos, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "elsewhere" / "z.png")
    (photos / "dog" / "more").symlink_to(tmp_path / "elsewhere")
    (photos / "dog" / "again").symlink_to(photos / "dog")
    samples = read_image_folder(photos)
    assert samples.ids.tolist()[6:10] == ["dog/0.png", "dog/1.png", "dog/2.png", "dog/more/z.png"]
    assert len(samples.labels) == 13
    (photos / "dog" / "lost").symlink_to(tmp_path / "nowhere")
    (photos / "fox").symlink_to(tmp_path / "nowhere")
    with pytest.raises(lapsi.InputError, match=r"2 of the .* cannot be read: .*fox .No such file.*; .*dog/lost .No such file"):
        read_image_folder(photos)
    assert [name for name, _ in read_image_folder(photos, skip_bad=True).unread] == [f"{photos}/fox", f"{photos}/dog/lost"]


@pytest.mark.slow
def test_a_run_among_the_images_is_no_class(photos, models):
    for place in ("photos/run", "photos/cat/run"):
        options = ("--model", models["image"], "--verify", 0, "--limit", 2, "--quiet")
        assert run("score", "photos", *options, "-o", place).returncode == 0
        assert (photos.parent / place / "overview.png").exists()
    samples = read_image_folder(photos)
    assert len(samples.labels) == 12
    assert set(samples.labels) == {"cat", "dog", "emu"}


@pytest.mark.parametrize(
    "labels", [["a", "a\0"] * 6, pd.Series(["a", "a\0b"] * 6), np.array(["a\0b", "a\0c"] * 6), ["a\0", "b"] * 6]
)
def test_labels_with_a_nul_are_refused(labels):
    with pytest.raises(lapsi.InputError, match="labels hold a NUL, the first in 'a"):
        lapsi.score(X, labels, progress=False)
    with pytest.raises(lapsi.InputError, match="ids hold a NUL"):
        lapsi.score(X, Y, ids=[f"{row}\0" for row in range(12)], progress=False)
    assert scored(columns={"word": ["a", "a\0"] * 6}).table["word"].tolist() == ["a", "a\0"] * 6


@pytest.mark.parametrize(
    "labels",
    [
        np.array([1, 2**63 + 1], dtype=np.uint64)[np.arange(12) % 2],
        [1, 2**63 + 1] * 6,
        pd.Series([1, 2**64 - 1] * 6, dtype=object),
        [2**53, 2**53 + 1] * 6,
        pd.Series([np.int64(3), np.int64(4)] * 6, dtype=object),
        pd.Series([np.bool_(True), np.bool_(False)] * 6, dtype=object),
    ],
)
def test_integers_stay_whole(labels):
    expected = [int(label) for label in labels]
    scores = scored(labels, columns={"reference_label": labels, "other": labels}, ids=[*range(11), 2**63 + 1])
    assert [int(value) for value in scores.classes.tolist()] == sorted(set(expected))
    for name in ("label", "reference_label", "other"):
        assert [int(value) for value in scores.table[name].tolist()] == expected
    assert scores.table["id"].tolist() == [*range(11), 2**63 + 1]
    assert_array_equal(scores.classes[scores.label_codes], scores.table["label"])


BIG = [9223372036854775809, 9223372036854775810, 3]
WHOLE = [9007199254740993, None, 3]


def test_large_integers_of_tables_keep_their_digits(tmp_path):
    frame = pd.DataFrame({"big": pd.array(BIG, dtype="UInt64"), "whole": pd.array(WHOLE, dtype="Int64"), "number": 1e300})
    frame.to_csv("a.csv", index=False)
    frame.to_json("a.jsonl", orient="records", lines=True)
    frame.to_parquet("a.parquet")
    for name, big in (("a.csv", list(map(str, BIG))), ("a.jsonl", list(map(str, BIG))), ("a.parquet", BIG)):
        arrays = open_arrays(tmp_path / name)
        assert arrays.load("big").tolist() == big
        assert arrays.load("whole").tolist() == WHOLE
        assert arrays.load("number").tolist() == [1e300] * 3
    (tmp_path / "gaps.csv").write_text("big,label\n9223372036854775809,a\n,b\n9223372036854775810,c\n")
    held = open_arrays(tmp_path / "gaps.csv").load("big")
    assert pd.isna(held).tolist() == [False, True, False]
    assert held[[0, 2]].tolist() == ["9223372036854775809", "9223372036854775810"]


def test_integers_beside_gaps_come_back_whole():
    table = scored(columns={"whole": [2**53 + 1, None] * 6, "big": [2**63 + 1, None] * 6}).table
    for name, value in (("whole", 2**53 + 1), ("big", 2**63 + 1)):
        assert table[name].isna().tolist() == [False, True] * 6
        assert table[name].dropna().tolist() == [value] * 6


def test_ids_come_back_from_csv():
    ids = ["a\rb", "a\r", "c\r\nd", "e\nf", 'g,"h', '"i"', "NA", "nan", " j ", "k\tl", "'m", "é"]
    scored(ids=ids)
    assert run("export", "scored", "--to", "a.csv").returncode == 0
    assert open_arrays(Path("a.csv")).load("id").tolist() == ids
    assert pd.read_csv("a.csv", keep_default_na=False)["id"].tolist() == ids
    with open("a.csv", newline="", encoding="utf-8") as file:
        assert [row["id"] for row in csv.DictReader(file)] == ids
    scored()
    assert run("export", "scored", "--to", "b.csv").returncode == 0
    assert b"\r" not in Path("b.csv").read_bytes()


@pytest.mark.parametrize("missing", [[*np.arange(11.0), np.nan], [*map(str, range(11)), None], [*map(str, range(11)), ""]])
def test_missing_ids_are_refused(missing):
    with pytest.raises(lapsi.InputError, match="1 ids are missing .* the first at row 11"):
        lapsi.score(X, Y, ids=missing, progress=False)


STORABLE = {
    "structs": [{"a": 1}] * 12,
    "intervals": pd.interval_range(0, 12),
    "periods": pd.period_range("2020", periods=12, freq="M"),
    "lists": pd.Series([[1, 2]] * 12),
    "times": pd.date_range("2020", periods=12),
    "gaps": [1, None] * 6,
}


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([{}] * 12),
        pd.Series([[{}]] * 12),
        [2**64] * 12,
        [2**64, None] * 6,
        [-1, 2**63] * 6,
        np.full(12, 2**62).astype("datetime64[s]"),
        pd.Series(["a", "\udcff"] * 6, dtype=object),
        [1, "a"] * 6,
    ],
)
def test_what_parquet_cannot_write_is_refused_before_any_work(monkeypatch, column):
    monkeypatch.setattr("lapsi.scoring.make_engine", lambda *_: pytest.fail("the work began"))
    with pytest.raises(lapsi.InputError, match="The column 'odd' cannot be stored"):
        lapsi.score(X, Y, columns={"odd": column}, progress=False)


def test_what_parquet_can_write_is_taken():
    table = scored(columns=STORABLE).table
    assert table["structs"].tolist() == STORABLE["structs"]
    assert table["intervals"].tolist() == STORABLE["intervals"].tolist()
    assert table["times"].tolist() == STORABLE["times"].tolist()


def test_labels_and_names_that_cannot_be_stored():
    with pytest.raises(lapsi.InputError, match="labels cannot be stored"):
        lapsi.score(X, [1, 2**64] * 6, progress=False)
    with pytest.raises(lapsi.InputError, match="ids cannot be stored"):
        lapsi.score(X, Y, ids=[*range(11), 2**64], progress=False)
    with pytest.raises(lapsi.InputError, match="column '.udcff' cannot be stored"):
        lapsi.score(X, Y, columns={"\udcff": Y}, progress=False)
    for columns in ({1: Y, "1": Y}, pd.DataFrame(np.zeros((12, 2)), columns=["1", "1"])):
        with pytest.raises(lapsi.InputError, match="Two columns are named '1'"):
            lapsi.score(X, Y, columns=columns, progress=False)


@pytest.mark.slow
def test_pipes_and_devices_among_images(photos, models):
    os.mkfifo(photos / "cat" / "pipe.png")
    (photos / "dog" / "zero.png").symlink_to("/dev/zero")
    options = ("--model", models["image"], "--verify", 0, "-o", "run", "--quiet")
    assert "pipe.png (it is no regular file)" in fail(2, "score", "photos", *options)
    assert run("score", "photos", *options, "--skip-bad").returncode == 0
    assert [name[-8:] for name in pd.read_csv("run/left_out.csv")["sample"]] == ["pipe.png", "zero.png"]
    with pytest.raises(lapsi.InputError, match="zero.png .it is no regular file"):
        lapsi.embed([photos / "dog" / "zero.png"], kind="image", model=models["image"], progress=False)
    assert file_pictures([str(photos / "cat" / "pipe.png")])(0) is None
    os.mkfifo("a.csv")
    with pytest.raises(lapsi.InputError, match="a.csv is no regular file"):
        open_source("a.csv", Columns())


def test_images_without_pixels(monkeypatch):
    for shape in ((4, 8, 0, 3), (4, 0, 8)):
        with pytest.raises(lapsi.InputError, match=r"images are an array of shape .*, without a pixel"):
            image_arrays(np.zeros(shape, np.uint8))
    empty = Image.new("RGB", (0, 4))
    monkeypatch.setattr("lapsi.data.samples.Image.open", lambda _: empty)
    with pytest.raises(ValueError, match="it has 0 × 4 pixels"):
        decode_image(b"")


def test_names_that_are_no_text(photos, models, tmp_path):
    os.rename(photos / "cat" / "0.png", os.fsencode(photos / "cat") + b"/\xff.png")
    os.rename(photos / "emu", os.fsencode(photos) + b"/\xfe")
    options = ("--model", models["image"], "--verify", 0, "--quiet")
    refused = fail(2, "score", "photos", *options, "-o", "run")
    assert f"4 of the folders and files below {photos} cannot be read: {photos}/cat/?.png (its name is no text" in refused
    assert run("score", "photos", *options, "-o", "run", "--skip-bad").returncode == 0
    assert len(lapsi.load_run("run")) == 8
    assert len(pd.read_csv("run/left_out.csv")) == 4
    np.savez("a.npz", features=X, labels=Y)
    for arguments in (("score", "a.npz", "-o", "\udcff"), ("export", "run", "--to", "\udcff.csv")):
        assert "is no text in UTF-8; choose another path" in fail(2, *arguments)


@pytest.mark.slow
def test_names_that_are_too_long(tmp_path):
    np.savez("a.npz", features=X, labels=Y)
    scored()
    for length in (242, 300):
        name = "r" * length
        assert f"{'r' * 20}… has {length} bytes; expected a name of at most 241" in fail(
            2, "score", "a.npz", "-o", name, "--quiet"
        )
        assert "expected a name of at most 241" in fail(2, "export", "scored", "--to", f"{name[4:]}.csv")
    for arguments in (("show",), ("score", "-o", "run")):
        assert "name too long" in fail(2, arguments[0], "r" * 300, *arguments[1:])
    assert run("score", "a.npz", "-o", "r" * 241, "--verify", 0, "--quiet").returncode == 0


def test_bytes_are_text_in_utf8():
    names = np.array(["é".encode(), b"b"] * 6)
    scores = scored(names, ids=np.array([f"é{row}".encode() for row in range(12)]), columns={"reference_label": names})
    assert scores.classes.tolist() == ["b", "é"]
    assert scores.table["reference_label"].tolist() == scores.table["label"].tolist() == ["é", "b"] * 6
    assert scores.table["id"][3] == "é3"
    data = make_dataset(X, names)
    changed = corrupt_dataset(data, Corruption(human_labels=names[::-1]))
    assert changed.classes[changed.labels].tolist() == ["b", "é"] * 6
    with pytest.raises(lapsi.InputError, match="labels are bytes that are no text in UTF-8"):
        lapsi.score(X, np.array([b"\xff", b"b"] * 6), progress=False)


def test_images_and_labels_of_one_length():
    images = RNG.integers(0, 256, (12, 8, 8), dtype=np.uint8)
    for columns, message in (
        ({"labels": Y[:10]}, "There are 12 samples but 10 labels"),
        ({"labels": [*Y, "a"]}, "There are 12 samples but 13 labels"),
        ({"labels": Y, "ids": Y[:3]}, "There are 12 samples but 3 ids"),
        ({"labels": Y, "who": Y[:3]}, "There are 12 samples but 3 values of 'group'"),
    ):
        np.savez("a.npz", images=images, **columns)
        with pytest.raises(lapsi.InputError, match=message):
            open_source("a.npz", Columns(group="who" if "who" in columns else None, ids="ids" if "ids" in columns else None))


@pytest.mark.slow
@pytest.mark.parametrize("labels", [np.array(["é".encode(), b"b"] * 6), np.arange(12) % 2 * 1.0])
def test_images_of_a_run_are_found_again_whatever_its_labels(models, labels):
    np.savez("a.npz", images=RNG.integers(0, 256, (12, 8, 8, 3), dtype=np.uint8), labels=labels)
    assert run("score", "a.npz", "--model", models["image"], "--verify", 0, "--quiet", "-o", "run").returncode == 0
    assert "12 with a picture" in run("report", "run").stdout


@pytest.mark.parametrize("kind", [">i8", ">u2", ">U3"])
def test_any_byte_order(kind):
    labels = (np.arange(12) % 2).astype(kind)
    scores = scored(labels, ids=np.arange(12).astype(kind), columns={"other": labels, "number": X[:, 0].astype(">f4")})
    assert scores.table["label"].tolist() == scores.table["other"].tolist() == labels.tolist()
    assert scores.table["id"].tolist() == np.arange(12).astype(kind).tolist()
    assert_array_equal(scores.table["number"], X[:, 0].astype(np.float32))


@pytest.mark.parametrize("n_promised", [2**40, 2**70, 9])
def test_arrays_that_promise_more_than_they_hold(tmp_path, n_promised):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<i8", "fortran_order": False, "shape": (n_promised,)})
    promise = header.getvalue() + bytes(64)
    (tmp_path / "rows.npy").write_bytes(promise)
    with ZipFile("rows.npz", "w") as archive:
        archive.writestr("features.npy", promise)
        archive.writestr("labels.npy", promise)
    with pytest.raises(lapsi.InputError, match="rows.npz cannot be read as .npz"):
        open_source("rows.npz", Columns())
    np.savez("a.npz", features=X, labels=Y)
    refused = fail(2, "score", "a.npz", "--indices", "rows.npy", "-o", "run", "--quiet")
    assert "rows.npy cannot be read as row positions" in refused
    np.save("x.npy", X)
    assert "rows.npy cannot be read" in fail(2, "score", "x.npy", "--labels", "rows.npy", "-o", "run", "--quiet")
    with pytest.raises(lapsi.InputError, match="rows.npy cannot be read"):
        read_labels("rows.npy")
    (tmp_path / "empty.npy").write_bytes(b"")
    with pytest.raises(lapsi.InputError, match="empty.npy cannot be read as row positions"):
        read_indices(tmp_path / "empty.npy")
    np.save("whole.npy", np.array([3, 1]))
    assert_array_equal(read_indices(tmp_path / "whole.npy"), [3, 1])
