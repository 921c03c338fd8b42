"""The named data sets, on small files in the official formats."""

import io
import os
import pickle
import struct
import zipfile
from dataclasses import replace

import datasets
import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from PIL import Image
from sklearn.datasets import load_digits

from lapsi.data.dataset import Dataset
from lapsi.data.readers import catalog, hub
from lapsi.data.readers.catalog import IMAGENETTE, IMAGEWOOF, NAMED, read_named
from lapsi.data.readers.columns import Columns
from lapsi.data.readers.source import open_source
from lapsi.errors import InputError

RNG = np.random.default_rng(0)
CIFAR10_NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
FINE = [f"fine_{number}" for number in range(100)]
COARSE = [f"coarse_{number}" for number in range(20)]
PIXELS = RNG.integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)  # 10 to train, 2 to test
CODES = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 8, 7]
COARSE_CODES = [0, 19, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]
FINE_CODES = [99, 1, 4, 1, 5, 9, 2, 6, 5, 3, 8, 7]
ORIGINAL = dict(NAMED)
WNIDS = {"imagenette": IMAGENETTE, "imagewoof": IMAGEWOOF}


class OldPickler(pickle._Pickler):
    """Writes bytes as Python 2 wrote its strings, as in the official files."""

    def save(self, value, save_persistent_id=True):
        if type(value) is bytes and id(value) not in self.memo:
            self.write(pickle.BINSTRING + struct.pack("<i", len(value)) + value)
            self.memoize(value)
        else:
            super().save(value, save_persistent_id)


def write_pickle(path, value):
    buffer = io.BytesIO()
    OldPickler(buffer, protocol=2).dump(value)
    path.write_bytes(buffer.getvalue().replace(b"numpy._core", b"numpy.core"))


def planes(pixels):
    """(n, 3072): all of red, then green, then blue."""
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2).reshape(len(pixels), -1))


def as_bytes(names):
    return [name.encode() for name in names]


def batch(rows, **labels):
    return {b"batch_label": b"a batch", b"data": planes(PIXELS[rows]), **{key.encode(): value for key, value in labels.items()}}


PARTS = {f"data_batch_{number + 1}": slice(2 * number, 2 * number + 2) for number in range(5)} | {"test_batch": slice(10, 12)}


def write_cifar10_py(root):
    folder = root / "cifar-10-batches-py"
    folder.mkdir()
    write_pickle(folder / "batches.meta", {b"num_cases_per_batch": 2, b"label_names": as_bytes(CIFAR10_NAMES)})
    for name, rows in PARTS.items():
        write_pickle(folder / name, batch(rows, labels=CODES[rows]))
    return folder


def write_cifar10_bin(root):
    folder = root / "cifar-10-batches-bin"
    folder.mkdir()
    (folder / "batches.meta.txt").write_text("\n".join(CIFAR10_NAMES) + "\n\n")
    for name, rows in PARTS.items():
        records = np.column_stack([np.uint8(CODES[rows]), planes(PIXELS[rows])])
        (folder / f"{name}.bin").write_bytes(records.tobytes())
    return folder


SPLITS = {"train": slice(0, 10), "test": slice(10, 12)}


def write_cifar100_py(root):
    folder = root / "cifar-100-python"
    folder.mkdir()
    write_pickle(folder / "meta", {b"fine_label_names": as_bytes(FINE), b"coarse_label_names": as_bytes(COARSE)})
    for name, rows in SPLITS.items():
        write_pickle(folder / name, batch(rows, fine_labels=FINE_CODES[rows], coarse_labels=COARSE_CODES[rows]))
    return folder


def write_cifar100_bin(root):
    folder = root / "cifar-100-binary"
    folder.mkdir()
    (folder / "fine_label_names.txt").write_text("\n".join(FINE) + "\n")
    (folder / "coarse_label_names.txt").write_text("\n".join(COARSE) + "\n")
    for name, rows in SPLITS.items():
        records = np.column_stack([np.uint8(COARSE_CODES[rows]), np.uint8(FINE_CODES[rows]), planes(PIXELS[rows])])
        (folder / f"{name}.bin").write_bytes(records.tobytes())
    return folder


def write_human(path, labels, old=True):
    """As CIFAR-N is saved; `old` as an early numpy did."""
    buffer = io.BytesIO()
    torch.save(labels, buffer)
    with zipfile.ZipFile(buffer) as saved, zipfile.ZipFile(path, "w") as written:
        for name in saved.namelist():
            content = saved.read(name)
            written.writestr(name, content.replace(b"numpy._core", b"numpy.core") if old else content)


HUMAN10 = {
    "clean_label": np.array(CODES[:10]),
    "aggre_label": np.array([3, 1, 4, 1, 5, 9, 2, 6, 5, 0]),
    "worse_label": np.array([0] * 10),
    "random_label1": np.array(CODES[:10]),
    "random_label2": np.array(CODES[:10]),
    "random_label3": np.array([9] * 10),
}
HUMAN100 = {  # the coarse ones are lists in the official file
    "clean_label": np.array(FINE_CODES[:10]),
    "noisy_label": np.array([98] * 10),
    "clean_coarse_label": COARSE_CODES[:10],
    "noisy_coarse_label": [1] * 10,
}


def write_image(path, value, size=(4, 4)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, value)).save(path)


def write_imagenet(root, name, folder=None):
    """Two images a class to train, one to validate, whose grey values count them."""
    value = 0
    for split, n_images in (("train", 2), ("val", 1)):
        for wnid in sorted(WNIDS[name], reverse=True):
            for image in range(n_images):
                write_image(root / (folder or f"{name}2-320") / split / wnid / f"{wnid}_{image}.png", value)
                value += 1
    (root / (folder or f"{name}2-320") / "noisy_imagenette.csv").write_text("path,noisy_labels_0\n")


XRAYS = {
    "NORMAL/IM-0115-0001.png": ("normal", None),
    "NORMAL/NORMAL-28501-0001.png": ("normal", "28501"),
    "NORMAL/NORMAL2-IM-0222-0001.png": ("normal", None),
    "PNEUMONIA/BACTERIA-1008087-0001.png": ("bacterial", "1008087"),
    "PNEUMONIA/VIRUS-7-0002.png": ("viral", "7"),
    "PNEUMONIA/person12_bacteria_46.png": ("bacterial", "person12"),
    "PNEUMONIA/person12_bacteria_47.png": ("bacterial", "person12"),
    "PNEUMONIA/person3_virus_16.png": ("viral", "person3"),
}
REVIEWS = {"neg/0_3.txt": "Dull.", "neg/10_1.txt": "Café noir, <br />burnt.", "pos/0_9.txt": "Fine.", "pos/1_7.txt": "Good."}


def write_reviews(root):
    for split in ("train", "test"):
        for name, text in REVIEWS.items():
            path = root / "aclImdb" / split / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{split}: {text}", encoding="utf-8")
    (root / "aclImdb" / "train" / "unsup").mkdir()
    (root / "aclImdb" / "train" / "unsup" / "0_0.txt").write_text("unlabelled")
    (root / "aclImdb" / "train" / "pos" / "._1_7.txt").write_bytes(b"\xff")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """The sizes of the files that the tests write."""
    sizes = {
        "cifar10": {"train": (10,), "test": (2,)},
        "cifar100": {"train": (10,), "test": (2,)},
        "imagenette": {"train": (20,), "val": (10,)},
        "imagewoof": {"train": (20,), "val": (10,)},
        "pneumonia": {"train": (7, 8), "test": (2,), "val": (1,)},
        "imdb": {"train": (4,), "test": (4,)},
    }
    for name, splits in sizes.items():
        monkeypatch.setitem(NAMED, name, replace(NAMED[name], splits=splits))


@pytest.fixture
def hub_has(monkeypatch):
    """Puts a data set in the place of the hub; returns what was asked for."""

    def put(loaded):
        asked = []
        monkeypatch.setattr(hub, "_require_reachable", lambda repository, module: None)
        monkeypatch.setattr(datasets, "load_dataset", lambda *names: asked.append(names) or loaded)
        return asked

    return put


def images(samples):
    content = samples.content
    return [np.asarray(content.decode(content.read(row))) for row in range(len(content))]


def test_official_sizes_and_terms():
    assert {name: dict(spec.splits) for name, spec in ORIGINAL.items()} == {
        "cifar10": {"train": (50000,), "test": (10000,)},
        "cifar100": {"train": (50000,), "test": (10000,)},
        "imagenette": {"train": (9469,), "val": (3925,)},
        "imagewoof": {"train": (9025,), "val": (3929,)},
        "pneumonia": {"train": (5216, 5232), "test": (624,), "val": (16,)},
        "imdb": {"train": (25000,), "test": (25000,)},
        "digits": {},
    }
    terms = {"cifar": "Krizhevsky 2009", "imagen": "Apache-2.0", "imagew": "ImageNet", "pneu": "CC BY 4.0", "imdb": "Maas"}
    for start, words in terms.items():
        assert all(words in spec.licence for name, spec in NAMED.items() if name.startswith(start))
    assert "CC BY 4.0; UCI" in NAMED["digits"].licence


def test_digits_come_with_features():
    dataset = open_source("digits", Columns())
    assert isinstance(dataset, Dataset)
    digits = load_digits()
    assert_array_equal(dataset.features, digits.data)
    assert_array_equal(dataset.labels, digits.target)
    assert_array_equal(dataset.classes, range(10))
    assert_array_equal(dataset.ids, range(1797))
    assert dataset.source == "digits"
    with pytest.raises(InputError, match="--split test does not apply to digits"):
        read_named("digits", Columns(), "test", None)
    with pytest.raises(InputError, match="digits has no reference label named 'other'; it has label"):
        read_named("digits", Columns(reference_labels="other"), None, None)


@pytest.mark.parametrize("write", [write_cifar10_py, write_cifar10_bin])
@pytest.mark.parametrize("named", ["folder", "parent"])
def test_cifar10(tmp_path, write, named):
    folder = write(tmp_path)
    for split, rows in SPLITS.items():
        samples = open_source("cifar10", Columns(), split, folder if named == "folder" else tmp_path)
        assert_array_equal(images(samples), PIXELS[rows])
        assert samples.labels.tolist() == [CIFAR10_NAMES[code] for code in CODES[rows]]
        assert samples.ids is None
        assert samples.columns.to_dict("list") == {"split": [split] * len(samples.labels)}
        assert (samples.source, samples.licence) == (str(folder), NAMED["cifar10"].licence)


@pytest.mark.parametrize("write", [write_cifar100_py, write_cifar100_bin])
def test_cifar100_has_two_kinds_of_labels(tmp_path, write):
    write(tmp_path)
    samples = read_named("cifar100", Columns(keep=("coarse_label",)), None, tmp_path)
    fine, coarse = [FINE[code] for code in FINE_CODES[:10]], [COARSE[code] for code in COARSE_CODES[:10]]
    assert_array_equal(images(samples), PIXELS[:10])
    assert samples.labels.tolist() == fine
    assert samples.columns.to_dict("list") == {"split": ["train"] * 10, "coarse_label": coarse}
    turned = read_named("cifar100", Columns(labels="coarse_label", reference_labels="label"), "train", tmp_path)
    assert (turned.labels.tolist(), turned.columns["reference_label"].tolist()) == (coarse, fine)


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("inside", [True, False])
def test_human_labels_of_cifar10(tmp_path, old, inside):
    folder = write_cifar10_bin(tmp_path)
    write_human((folder if inside else tmp_path) / "CIFAR-10_human.pt", HUMAN10, old)
    columns = Columns(labels="aggre_label", reference_labels="label", keep=("worse_label", "random_label3"))
    samples = read_named("cifar10", columns, None, tmp_path)
    assert samples.labels.tolist() == [CIFAR10_NAMES[code] for code in HUMAN10["aggre_label"]]
    assert samples.columns["reference_label"].tolist() == [CIFAR10_NAMES[code] for code in CODES[:10]]
    assert samples.columns["worse_label"].tolist() == ["airplane"] * 10
    assert samples.columns["random_label3"].tolist() == ["truck"] * 10
    assert samples.licence == f"{NAMED['cifar10'].licence}; CIFAR-N labels: CC BY-NC 4.0, Wei et al. 2022"
    plain = read_named("cifar10", Columns(), None, tmp_path)
    assert plain.licence == NAMED["cifar10"].licence
    assert list(plain.columns) == ["split"]
    assert len(read_named("cifar10", Columns(), "test", tmp_path).labels) == 2  # nobody labelled these anew
    with pytest.raises(InputError, match="no labels named 'aggre_label'; it has label, split. .* for the training split"):
        read_named("cifar10", Columns(labels="aggre_label"), "test", tmp_path)


def test_human_labels_of_cifar100(tmp_path):
    write_cifar100_py(tmp_path)
    write_human(tmp_path / "CIFAR-100_human.pt", HUMAN100)
    samples = read_named("cifar100", Columns(reference_labels="noisy_label", keep=("noisy_coarse_label",)), None, tmp_path)
    assert samples.columns["reference_label"].tolist() == ["fine_98"] * 10
    assert samples.columns["noisy_coarse_label"].tolist() == ["coarse_1"] * 10
    assert "CC BY-NC" in samples.licence
    write_human(tmp_path / "CIFAR-100_human.pt", HUMAN100 | {"clean_coarse_label": [1] * 10})
    with pytest.raises(InputError, match="clean_coarse_label differs from the labels of the images in 10 of 10 rows"):
        read_named("cifar100", Columns(), None, tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"clean_label": np.array([*CODES[:9], 4])},
            "clean_label differs from the labels of the images in 1 of 10 rows, the first 9",
        ),
        ({"worse_label": np.zeros(9, int)}, "worse_label holds 9 labels; expected 10"),
        ({"worse_label": np.full(10, 10)}, "worse_label holds other values than integers from 0 to 9"),
        ({"worse_label": [0.5] * 10}, "worse_label holds other values than integers from 0 to 9"),
        ({"worse_label": np.zeros(10)}, "is damaged, or holds more than arrays of integers"),
        ({"clean_label": None}, "has no clean_label"),
    ],
)
def test_wrong_human_labels_are_refused(tmp_path, change, message):
    write_cifar10_py(tmp_path)
    labels = {name: values for name, values in (HUMAN10 | change).items() if values is not None}
    write_human(tmp_path / "CIFAR-10_human.pt", labels)
    with pytest.raises(InputError, match=message):
        read_named("cifar10", Columns(), None, tmp_path)


class Run:
    """Runs a command when it is unpickled without care."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_pickles_run_nothing(tmp_path):
    command = f"touch {tmp_path / 'ran'}"
    pickle.loads(pickle.dumps(Run(command)))
    (tmp_path / "ran").unlink()  # so it would run
    folder = write_cifar10_py(tmp_path)
    (folder / "data_batch_3").write_bytes(pickle.dumps({"data": Run(command)}, protocol=2))
    with pytest.raises(InputError, match="data_batch_3 cannot be read as a pickle of arrays .it refers to posix.system"):
        read_named("cifar10", Columns(), None, tmp_path)
    write_pickle(folder / "data_batch_3", batch(PARTS["data_batch_3"], labels=CODES[PARTS["data_batch_3"]]))
    torch.save({"clean_label": Run(command)}, tmp_path / "CIFAR-10_human.pt")
    with pytest.raises(InputError, match="CIFAR-10_human.pt is damaged, or holds more than arrays of integers") as caught:
        read_named("cifar10", Columns(), None, tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


def test_damaged_cifar_files_are_told(tmp_path):
    folder = write_cifar10_py(tmp_path)
    whole = (folder / "data_batch_2").read_bytes()
    for content, message in {
        whole[:100]: "data_batch_2 cannot be read as a pickle of arrays",
        b"": "data_batch_2 cannot be read as a pickle of arrays",
        pickle.dumps([1], 2): "data_batch_2 holds a list; expected a dict",
        pickle.dumps({"data": 1}, 2): "data_batch_2 holds no uint8 array .n, 3072. under 'data'",
    }.items():
        (folder / "data_batch_2").write_bytes(content)
        with pytest.raises(InputError, match=message):
            read_named("cifar10", Columns(), None, folder)
    for labels in ([1], [1, 10], [1, -1], [1.0, 2.0], None):
        write_pickle(folder / "data_batch_2", batch(slice(2, 4), labels=labels))
        with pytest.raises(InputError, match="data_batch_2: the labels are not 2 integers from 0 to 9"):
            read_named("cifar10", Columns(), None, folder)
    (folder / "data_batch_2").unlink()
    with pytest.raises(InputError, match="data_batch_2 is missing; unpack the official archive again"):
        read_named("cifar10", Columns(), None, folder)
    write_pickle(folder / "batches.meta", {b"label_names": as_bytes(FINE)})
    with pytest.raises(InputError, match="batches.meta does not hold the 10 label_names"):
        read_named("cifar10", Columns(), None, folder)


def test_damaged_binary_files_are_told(tmp_path):
    folder = write_cifar10_bin(tmp_path)
    path = folder / "test_batch.bin"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(InputError, match="test_batch.bin holds 6145 bytes; expected a multiple of 3073"):
        read_named("cifar10", Columns(), "test", folder)
    path.write_bytes(b"\x0a" + whole[1:])
    with pytest.raises(InputError, match="test_batch.bin: the labels are not 2 integers from 0 to 9"):
        read_named("cifar10", Columns(), "test", folder)
    path.unlink()
    with pytest.raises(InputError, match="test_batch.bin cannot be read"):
        read_named("cifar10", Columns(), "test", folder)


@pytest.mark.parametrize("name", ["imagenette", "imagewoof"])
def test_imagenette_and_imagewoof(tmp_path, name):
    write_imagenet(tmp_path, name)
    for data_dir in (tmp_path, tmp_path / f"{name}2-320"):
        samples = read_named(name, Columns(), "val", data_dir)
        assert samples.labels.tolist() == [WNIDS[name][wnid] for wnid in sorted(WNIDS[name])]
        assert samples.ids.tolist() == [f"{wnid}/{wnid}_0.png" for wnid in sorted(WNIDS[name])]
        assert [image[0, 0, 0] for image in images(samples)] == list(range(29, 19, -1))
        root = tmp_path / f"{name}2-320" / "val"
        assert samples.columns["path"].tolist() == [str(root / path) for path in samples.ids]
        assert samples.columns["split"].tolist() == ["val"] * 10
    assert len(read_named(name, Columns(), None, tmp_path).labels) == 20
    write_image(tmp_path / f"{name}2-320" / "train" / "n00000000" / "a.png", 0)
    with pytest.raises(InputError, match="holds a folder n00000000; expected n0"):
        read_named(name, Columns(), None, tmp_path)


def test_several_sizes_are_not_chosen_from(tmp_path):
    write_imagenet(tmp_path, "imagenette")
    write_imagenet(tmp_path, "imagenette", "imagenette2-160")
    with pytest.raises(InputError, match="holds imagenette2-320 and imagenette2-160; name one of them, e.g. --data-dir"):
        read_named("imagenette", Columns(), None, tmp_path)
    assert "imagenette2-160" in read_named("imagenette", Columns(), None, tmp_path / "imagenette2-160").source


def test_pneumonia_has_three_classes_and_patients(tmp_path):
    for value, name in enumerate(XRAYS):
        write_image(tmp_path / "chest_xray" / "train" / name, value)
    (tmp_path / "chest_xray" / "train" / ".DS_Store").write_bytes(b"")
    samples = read_named("pneumonia", Columns(), None, tmp_path)
    assert samples.ids.tolist() == list(XRAYS)
    assert [image[0, 0, 0] for image in images(samples)] == list(range(8))
    assert samples.labels.tolist() == [label for label, _ in XRAYS.values()]
    assert samples.columns["group"].fillna("").tolist() == [patient or "" for _, patient in XRAYS.values()]
    assert samples.columns["group"].isna().sum() == 2
    assert samples.columns["path"].tolist() == [str(tmp_path / "chest_xray" / "train" / name) for name in XRAYS]
    with pytest.raises(InputError, match="has no split 'val'"):
        read_named("pneumonia", Columns(), "val", tmp_path)


@pytest.mark.parametrize(
    "name", ["PNEUMONIA/person3_fungus_1.png", "PNEUMONIA/NORMAL-1-0001.png", "NORMAL/person3_virus_1.png", "OTHER/a.png"]
)
def test_files_that_tell_no_class_are_refused(tmp_path, name):
    for path in (*XRAYS, name):
        write_image(tmp_path / "chest_xray" / "train" / path, 0)
    with pytest.raises(InputError, match=f"{name} tells no class; expected NORMAL"):
        read_named("pneumonia", Columns(), None, tmp_path)


def test_imdb(tmp_path):
    write_reviews(tmp_path)
    samples = read_named("imdb", Columns(), "test", tmp_path)
    texts = [f"test: {text}" for text in REVIEWS.values()]
    assert [samples.content.decode(samples.content.read(row)) for row in range(4)] == texts
    assert samples.labels.tolist() == ["neg", "neg", "pos", "pos"]
    assert samples.ids.tolist() == list(REVIEWS)
    assert samples.columns["text"].tolist() == texts
    assert samples.columns["path"].tolist() == [str(tmp_path / "aclImdb" / "test" / name) for name in REVIEWS]
    assert len(read_named("imdb", Columns(), None, tmp_path / "aclImdb").labels) == 4
    (tmp_path / "aclImdb" / "test" / "neg" / "0_3.txt").write_bytes(b"caf\xe9")
    with pytest.raises(InputError, match="0_3.txt cannot be read as a text in UTF-8"):
        read_named("imdb", Columns(), "test", tmp_path)


def test_sizes_are_verified(tmp_path):
    write_reviews(tmp_path)
    (tmp_path / "aclImdb" / "train" / "neg" / "0_3.txt").unlink()
    with pytest.raises(InputError, match="aclImdb holds 3 samples of imdb, split train; expected 4: unpack aclImdb_v1.tar.gz"):
        read_named("imdb", Columns(), None, tmp_path)
    for name in list(XRAYS)[:6]:
        write_image(tmp_path / "chest_xray" / "train" / name, 0)
    with pytest.raises(
        InputError, match="holds 6 samples of pneumonia, split train; expected 7 or 8: unpack ChestXRay2017.zip"
    ):
        read_named("pneumonia", Columns(), None, tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "cifar10",
            "unpack cifar-10-python.tar.gz or .* holds cifar-10-batches-py or cifar-10-batches-bin, and add --data-dir FOLD",
        ),
        ("cifar100", "unpack cifar-100-python.tar.gz or .* cifar-100-python or cifar-100-binary, and add --data-dir FOLDER.$"),
        ("imagenette", "unpack imagenette2-320.tgz or .* holds imagenette2-320 or .*, and add --data-dir FOLDER.$"),
        ("imagewoof", "unpack imagewoof2-320.tgz or .* holds imagewoof2-320 or .*, and add --data-dir FOLDER.$"),
        ("pneumonia", "unpack ChestXRay2017.zip .* which then holds chest_xray, and add --data-dir FOLDER.$"),
        ("imdb", "unpack aclImdb_v1.tar.gz .* which then holds aclImdb, and add --data-dir FOLDER.$"),
    ],
)
def test_what_to_put_where_is_told(tmp_path, monkeypatch, name, message):
    def unreachable(*names):
        raise InputError("The hub cannot be reached.")

    monkeypatch.setattr(catalog, "read_hub_dataset", unreachable)
    for data_dir in (None, tmp_path, tmp_path / "missing"):
        with pytest.raises(InputError, match=message) as caught:
            read_named(name, Columns(), None, data_dir)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("columns", "split", "message"),
    [
        (Columns(), "val", "cifar10 has no split 'val'; it has train, test"),
        (Columns(labels="fine_label"), None, "cifar10 has no labels named 'fine_label'; it has label, split."),
        (Columns(keep=("worse_label",)), None, "named 'worse_label'; it has label, split. .* want CIFAR-10_human.pt .* beside"),
        (Columns(ids="name"), None, "cifar10 has no ids named 'name'; it has label, split"),
        (Columns(images="img"), None, "cifar10 is read in its own format, so its images cannot be named"),
        (Columns(class_names="names"), None, "so its class names cannot be named"),
    ],
)
def test_unknown_names_are_told_with_those_present(tmp_path, columns, split, message):
    write_cifar10_bin(tmp_path)
    with pytest.raises(InputError, match=message):
        read_named("cifar10", columns, split, tmp_path)


def images_on_hub(pixels, column="img", **labels):
    features = {column: datasets.Image()} | {name: datasets.ClassLabel(names=names) for name, (_, names) in labels.items()}
    values = {column: [Image.fromarray(image) for image in pixels]} | {name: codes for name, (codes, _) in labels.items()}
    return datasets.Dataset.from_dict(values, features=datasets.Features(features))


def test_cifar_from_the_hub(hub_has):
    loaded = datasets.DatasetDict(
        {split: images_on_hub(PIXELS[rows], label=(CODES[rows], CIFAR10_NAMES)) for split, rows in SPLITS.items()}
    )
    asked = hub_has(loaded)
    samples = read_named("cifar10", Columns(), "test", None)
    assert asked == [("uoft-cs/cifar10", None)]
    assert_array_equal(images(samples), PIXELS[10:])
    assert samples.labels.tolist() == ["ship", "horse"]
    assert samples.columns.to_dict("list") == {"split": ["test", "test"]}
    assert (samples.source, samples.licence) == ("hf:uoft-cs/cifar10", NAMED["cifar10"].licence)
    with pytest.raises(InputError, match="no reference label named 'aggre_label'; it has label, split. .* CIFAR-10_human.pt"):
        read_named("cifar10", Columns(reference_labels="aggre_label"), "test", None)
    loaded["test"] = loaded["test"].select([0])
    with pytest.raises(InputError, match="hf:uoft-cs/cifar10 holds 1 samples of cifar10, split test; expected 2"):
        read_named("cifar10", Columns(), "test", None)


def test_cifar100_from_the_hub(hub_has):
    labels = {"fine_label": (FINE_CODES[:10], FINE), "coarse_label": (COARSE_CODES[:10], COARSE)}
    asked = hub_has(datasets.DatasetDict({"train": images_on_hub(PIXELS[:10], **labels)}))
    samples = read_named("cifar100", Columns(), None, None)
    assert asked == [("uoft-cs/cifar100", None)]
    assert samples.labels.tolist() == [FINE[code] for code in FINE_CODES[:10]]
    assert list(samples.columns) == ["split"]
    turned = read_named("cifar100", Columns(labels="coarse_label", reference_labels="label"), None, None)
    assert turned.labels.tolist() == [COARSE[code] for code in COARSE_CODES[:10]]
    assert turned.columns["reference_label"].tolist() == samples.labels.tolist()


def test_imagenette_and_imdb_from_the_hub(hub_has):
    names = list(IMAGENETTE.values())
    asked = hub_has(datasets.DatasetDict({"validation": images_on_hub(PIXELS[:10], "image", label=(list(range(10)), names))}))
    samples = read_named("imagenette", Columns(), "val", None)
    assert asked == [("frgfm/imagenette", "320px")]
    assert samples.labels.tolist() == names
    assert samples.columns.to_dict("list") == {"split": ["val"] * 10}
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])})
    rows = {"text": ["a", "b", "c", "d"], "label": [0, 1, 1, 0]}
    asked = hub_has(datasets.DatasetDict({"train": datasets.Dataset.from_dict(rows, features=features)}))
    samples = read_named("imdb", Columns(), None, None)
    assert asked == [("stanfordnlp/imdb", None)]
    assert samples.labels.tolist() == ["neg", "pos", "pos", "neg"]
    assert samples.columns.to_dict("list") == {"text": ["a", "b", "c", "d"], "split": ["train"] * 4}


def test_what_the_hub_cannot_load_is_told(monkeypatch):
    def refuse(*names):
        raise RuntimeError("Dataset scripts are no longer supported\nbut found one")

    monkeypatch.setattr(hub, "_require_reachable", lambda repository, module: None)
    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(
        InputError, match="scripts are no longer supported.*To do without the hub, unpack imagenette2-320.tgz"
    ) as caught:
        read_named("imagenette", Columns(), None, None)
    assert "\n" not in str(caught.value)
