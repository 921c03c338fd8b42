"""Files of pairs that are not as they should be, or as they may be: read whole, or refused with a word before any work."""

import json
import os

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from PIL import Image
from safetensors.numpy import save_file

import lapsi
from commands import fail, run
from lapsi.data.readers.pairs import open_pairs
from lapsi.execution.progress import Stages
from lapsi.settings.pair_source import PairSource

pytestmark = pytest.mark.usefixtures("here")
N = 12
RNG = np.random.default_rng(0)
A, B = RNG.normal(size=(N, 4)), RNG.normal(size=(N, 3))
SHORT = ("--epochs", 3, "--dimensions", 2, "--verify", 0, "--quiet")
ROWS = [{"image_embeddings": a.tolist(), "text_embeddings": b.tolist(), "caption": f"c{row}"} for row, (a, b) in enumerate(zip(A, B, strict=True))]  # fmt: skip  # noqa: E501


def opened(path, **asked):
    return open_pairs(path, PairSource(**asked), Stages(show=False))


def written(kind, rows, folder):
    path = folder / f"pairs.{kind}"
    if kind == "jsonl":
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    elif kind == "parquet":
        pd.DataFrame(rows).to_parquet(path)
    else:
        save_file({name: np.array([row[name] for row in rows]) for name in ("image_embeddings", "text_embeddings")}, path)
    return path


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "safetensors"])
def test_features_come_from_any_kind_of_file(tmp_path, kind):
    pairs = opened(written(kind, ROWS, tmp_path))
    assert_array_equal(np.asarray(pairs.first.read(slice(None))), A)
    assert_array_equal(np.asarray(pairs.second.read(slice(None))), B)
    if kind != "safetensors":
        assert pairs.columns["text"].tolist() == [f"c{row}" for row in range(N)]
    shuffled = opened(written(kind, ROWS, tmp_path), shuffle_pairs=0.5)
    moved = shuffled.columns["corrupted"].to_numpy()
    assert moved.sum() == 6
    assert_array_equal((np.asarray(shuffled.second.read(slice(None))) != B).any(1), moved)


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
@pytest.mark.parametrize("row", [0, 5])
@pytest.mark.parametrize("value", [None, [1.0]])
def test_lists_that_are_missing_or_short(tmp_path, kind, row, value):
    rows = [each | ({"image_embeddings": value} if position == row else {}) for position, each in enumerate(ROWS)]
    with pytest.raises(lapsi.InputError, match="The lists in column 'image_embeddings' of pairs.* differ in length"):
        opened(written(kind, rows, tmp_path))


GAP = np.where(np.arange(N)[:, None] == 3, np.nan, B)
WRONG = {
    "a row less": ({"text_embeddings": B[:-1]}, r"has 12 images and 11 texts; expected one of each a pair"),
    "a number that is missing": ({"text_embeddings": GAP}, "3 NaN or infinite values in 1 samples, the first at row 3"),
    "texts that are not pooled": ({"text_embeddings": B[:, :, None]}, r"The features have shape \(12, 3, 1\); expected 2 axes"),
    "one number a text": ({"text_embeddings": B[:, 0]}, r"The features have shape \(12,\); expected 2 axes"),
    "complex numbers": ({"text_embeddings": B + 1j}, "Complex data not supported"),
    "captions for some": ({"captions": ["a"] * 5}, "12 samples but 5 values of 'text'"),
    "files for some": ({"filenames": ["a"] * 5}, "12 samples but 5 files"),
    "objects": ({"captions": np.array(["a", 3] * 6, dtype=object)}, "Object arrays cannot be loaded"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_arrays_that_make_no_pairs(tmp_path, kind):
    change, message = WRONG[kind]
    np.savez("pairs.npz", **{"image_embeddings": A, "text_embeddings": B} | change)
    with pytest.raises(lapsi.InputError, match=message):
        opened(tmp_path / "pairs.npz")


def test_pairs_without_a_file_have_no_path(tmp_path):
    names = [None if row == 3 else f"{row}.png" for row in range(N)]
    pd.DataFrame([row | {"filename": name} for row, name in zip(ROWS, names, strict=True)]).to_parquet("pairs.parquet")
    paths = opened(tmp_path / "pairs.parquet").columns["path"]
    assert paths.isna().tolist() == [name is None for name in names]
    assert paths[0] == str(tmp_path / "0.png")


def test_captions_that_a_terminal_would_obey(tmp_path):
    captions = [f"\x1b]0;owned\x07[/]\r\n\u202e{row}" for row in range(N)]
    np.savez(
        "pairs.npz", image_embeddings=A, text_embeddings=B, captions=captions, filenames=[f"{row}.png" for row in range(N)]
    )
    assert run("score-pairs", "pairs.npz", "-o", "run", *SHORT).returncode == 0
    assert lapsi.load_run("run").table["text"].tolist() == captions
    for command in (("show",), ("issues",), ("report",)):
        ended = run(*command, "run")
        assert ended.returncode == 0, ended.stderr
        assert not set("\x1b\x07\u202e") & set(ended.stdout + ended.stderr)
    assert "12 images not found" in run("report", "run", "-o", "again.html").stdout


@pytest.fixture
def pictured(tmp_path):
    """A table of pictures and captions."""
    (tmp_path / "pictures").mkdir()
    for row in range(N):
        Image.fromarray(RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(tmp_path / "pictures" / f"{row}.png")
    table = pd.DataFrame({"image": [f"pictures/{row}.png" for row in range(N)], "caption": [f"word {row}" for row in range(N)]})
    table.to_csv("pairs.csv", index=False)
    return table


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["damaged", "missing", "pipe", "endless", "folder"])
def test_pictures_that_cannot_be_read_are_named(tmp_path, pictured, models, kind):
    place = tmp_path / "pictures" / "3.png"
    place.unlink()
    {
        "damaged": lambda: place.write_bytes(b"no image"),
        "missing": lambda: None,
        "pipe": lambda: os.mkfifo(place),
        "endless": lambda: place.symlink_to("/dev/zero"),
        "folder": place.mkdir,
    }[kind]()
    models_ = ("--image-model", models["image"], "--text-model", models["text"])
    line = fail(2, "score-pairs", "pairs.csv", "-o", "run", *models_, *SHORT)
    assert "1 of the 12 samples cannot be read: pictures/3.png (" in line
    assert line.endswith("Mend or remove them; --skip-bad leaves them out.")
    assert not list(tmp_path.glob("run*"))


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("image", None, r"1 of the 12 samples cannot be read: image 5 \(the row holds nothing\).*--skip-bad"),
        ("caption", None, r"1 of the 12 samples cannot be read: text 5 \(the row holds nothing\).*--skip-bad"),
    ],
)
def test_gaps_in_tables_of_pictures(tmp_path, pictured, column, value, message):
    pictured.assign(**{column: [value if row == 5 else cell for row, cell in enumerate(pictured[column])]}).to_csv(
        "pairs.csv", index=False
    )
    with pytest.raises(lapsi.InputError, match=message):
        opened(tmp_path / "pairs.csv")


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("pairs.npz", ("--image-model", "x"), "--image-model does not apply: image_embeddings of pairs.npz holds features"),
        ("pairs.npz", ("--text-model", "x"), "--text-model does not apply: text_embeddings of pairs.npz holds features"),
        ("pairs.npz", ("--cache", "x"), "--cache does not apply: each side of pairs.npz holds features"),
        ("pairs.npz", ("--image-folder", "x"), "--image-folder does not apply: pairs.npz names no files"),
        ("pairs.npz", ("--corruption-seed", 3), "--corruption-seed was given but no pairs are shuffled"),
        ("pairs.csv", ("--files", "image"), "--files does not apply: the images are files that image of pairs.csv names"),
        ("pairs.csv", ("--captions", "caption"), "--captions does not apply: caption of pairs.csv holds the texts"),
        ("pairs.csv", ("--ids", "caption", "--keep", "text"), "--keep text: that name is taken"),
    ],
)
def test_options_without_effect_are_refused(tmp_path, pictured, source, options, message):
    np.savez("pairs.npz", image_embeddings=A, text_embeddings=B)
    assert message in fail(2, "score-pairs", source, "-o", "run", *options, *SHORT)
    assert not list(tmp_path.glob("run*"))
