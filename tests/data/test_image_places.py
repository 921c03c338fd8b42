"""Images that lie a folder deeper than was said, or in a zip file."""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

import lapsi
from commands import run
from lapsi.data.readers.columns import Columns
from lapsi.data.readers.source import open_source

KINDS = ("cat", "dog")
N = 8


@pytest.fixture
def photos(tmp_path):
    """A folder `photos` with one subfolder a class."""
    for row in range(N):
        path = tmp_path / "photos" / KINDS[row % 2] / f"{row}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((6, 6, 3), 20 * row, dtype=np.uint8)).save(path)
    return tmp_path / "photos"


def packed(folder, path, inside=""):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.png")):
            archive.write(file, f"{inside}{file.relative_to(folder).as_posix()}")
        archive.writestr(f"__MACOSX/{inside}cat/._0.png", b"rubbish")
        archive.writestr(f"{inside}notes.txt", b"hello")
    return path


def same(found, expected):
    assert_array_equal(found.labels, expected.labels)
    assert_array_equal(found.ids, expected.ids)
    for row in range(N):
        assert found.content.read(row) == expected.content.read(row)


@pytest.mark.parametrize("depth", [1, 2])
def test_one_folder_inside_is_gone_into_and_said(tmp_path, photos, depth):
    place = tmp_path / "download" / "/".join("abc"[:depth])
    place.parent.mkdir(parents=True)
    shutil.copytree(photos, place)
    found = open_source(str(tmp_path / "download"), Columns())
    same(found, open_source(str(photos), Columns()))
    assert found.said == f"The classes are the folders of {place}."
    assert open_source(str(place), Columns()).said == ""


def test_splits_below_one_folder_are_found_by_name(tmp_path, photos):
    for split in ("train", "test"):
        shutil.copytree(photos, tmp_path / "download" / "all" / split)
    with pytest.raises(lapsi.InputError, match="look like splits.*--split train"):
        open_source(str(tmp_path / "download"), Columns())
    same(open_source(str(tmp_path / "download"), Columns(), "train"), open_source(str(photos), Columns()))
    with pytest.raises(lapsi.InputError, match="has no split 'tune'"):
        open_source(str(tmp_path / "download"), Columns(), "tune")


def test_a_folder_of_one_class_names_the_folder_to_give(photos):
    with pytest.raises(lapsi.InputError, match=f"holds 0 subfolders with images.*Do you mean {photos}[?]"):
        open_source(str(photos / "cat"), Columns())
    shutil.rmtree(photos / "dog")
    with pytest.raises(lapsi.InputError, match="holds 1 subfolders with images .cat.; expected one a class, at least 2.$"):
        open_source(str(photos), Columns())


@pytest.mark.parametrize("inside", ["", "photos/", "a/b/"])
def test_a_zip_file_is_as_the_folder(tmp_path, photos, inside):
    path = packed(photos, tmp_path / "photos.zip", inside)
    found = open_source(str(path), Columns())
    same(found, open_source(str(photos), Columns()))
    assert found.said == ("" if not inside else f"The classes are the folders of photos.zip/{inside[:-1]}.")
    assert "path" not in found.columns
    assert found.content.name(0) == f"photos.zip/{inside}cat/0.png"


def test_a_split_of_a_zip_file(tmp_path, photos):
    shutil.copytree(photos, tmp_path / "both" / "train")
    shutil.copytree(photos, tmp_path / "both" / "test")
    path = packed(tmp_path / "both", tmp_path / "both.zip", "top/")
    found = open_source(str(path), Columns(), "train")
    same(found, open_source(str(photos), Columns()))
    assert found.columns["split"].unique().tolist() == ["train"]
    with pytest.raises(lapsi.InputError, match="both.zip/top .test, train. look like splits; name one, e.g. --split train"):
        open_source(str(path), Columns())
    with pytest.raises(lapsi.InputError, match="has no split 'tune'; it holds test, train"):
        open_source(str(path), Columns(), "tune")


def test_zip_files_that_hold_no_classes(tmp_path, photos):
    (tmp_path / "no.zip").write_bytes(b"nothing")
    with pytest.raises(lapsi.InputError, match="cannot be read as a zip file of images .it is no zip file."):
        open_source(str(tmp_path / "no.zip"), Columns())
    one = packed(photos / "cat", tmp_path / "one.zip", "cat/")
    with pytest.raises(lapsi.InputError, match="one.zip holds 1 folders with images .cat.; expected one a class"):
        open_source(str(one), Columns())
    with pytest.raises(lapsi.InputError, match="--labels does not apply"):
        open_source(str(one), Columns(labels="x"))


@pytest.mark.parametrize(
    ("n", "told"), [(1, "1 image lies in no folder of a class and is"), (2, "2 images lie in no folder of a class and are")]
)
def test_images_in_no_folder_of_a_class_are_told(tmp_path, photos, n, told):
    for row in range(n):
        shutil.copy(photos / "cat" / "0.png", photos / f"{row}.png")
    found = open_source(str(photos), Columns())
    assert (len(found.content), found.said) == (N, f"{told} left out.")
    whole = open_source(str(packed(photos, tmp_path / "photos.zip", "a/")), Columns())
    assert (len(whole.content), whole.said) == (N, f"The classes are the folders of photos.zip/a. {told} left out.")


def test_files_inside_a_zip_file_that_promise_too_much_are_not_unpacked(tmp_path, photos, monkeypatch):
    path = packed(photos, tmp_path / "photos.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("cat/bomb.png", bytes(5000), zipfile.ZIP_DEFLATED)
    monkeypatch.setattr("lapsi.data.readers.image_archives.LARGEST", 4999)
    content = open_source(str(path), Columns()).content
    names = [content.name(row) for row in range(len(content))]
    with pytest.raises(OSError, match="it unpacks to 4.9 KiB; expected at most 4.9 KiB of an image"):
        content.read(names.index("photos.zip/cat/bomb.png"))
    assert content.read(0)


def test_names_inside_a_zip_file_that_end_early_are_refused(tmp_path, photos):
    path = packed(photos, tmp_path / "photos.zip")
    path.write_bytes(path.read_bytes().replace(b"cat/2.png", b"cat/\0.png"))
    with pytest.raises(lapsi.InputError, match=r"holds a name with a NUL, 'cat/.x00.png'"):
        open_source(str(path), Columns())


@pytest.mark.parametrize("damage", ["flipped", "lost", "unknown"])
def test_images_of_a_zip_file_that_cannot_be_unpacked_are_named(tmp_path, photos, damage):
    path = packed(photos, tmp_path / "photos.zip")
    raw, entry = bytearray(path.read_bytes()), path.read_bytes().find(b"PK\x01\x02")
    if damage == "flipped":
        raw[60] ^= 255
    elif damage == "lost":
        raw[entry + 42 : entry + 46] = (2**31 - 1).to_bytes(4, "little")  # where the file begins
    else:
        raw[entry + 10 : entry + 12] = (97).to_bytes(2, "little")  # how it is packed
    path.write_bytes(raw)
    content = open_source(str(path), Columns()).content
    assert content.name(0) == "photos.zip/cat/0.png"
    with pytest.raises(OSError, match="CRC|header|compression"):
        content.read(0)
    assert content.read(1)


@pytest.mark.slow
def test_a_zip_file_is_scored_as_the_folder(tmp_path, photos, models, here):
    path = packed(photos, tmp_path / "photos.zip", "photos/")
    for source, name in ((path, "zip"), (photos, "folder")):
        result = run("score", source, "--model", models["image"], "--verify", 0, "-o", name)
        assert result.returncode == 0, result.stderr
        assert ("The classes are the folders of photos.zip/photos." in result.stderr) == (name == "zip")
    assert_array_equal(lapsi.load_run("zip").lsi, lapsi.load_run("folder").lsi)
    assert run("report", "zip", "-q").returncode == 0
    assert '"kind": "image"' in Path("zip.html").read_text().replace('":"', '": "')
