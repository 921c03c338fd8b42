from functools import partial

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from numpy.testing import assert_array_equal
from safetensors.numpy import save_file

from lapsi.data import writing
from lapsi.data.readers.arrays import Columns, read_dataset, read_indices
from lapsi.data.writing import write_table
from lapsi.errors import InputError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 11)).astype("float32")
Y = np.arange(12) % 3
NAMES = np.array(["ant", "bee", "cat"])[Y]
IDS = np.array([f"s{row}" for row in range(12)])


def write_npz(path):
    np.savez(path, features=X, labels=Y, names=NAMES, ids=IDS)


def write_safetensors(path):
    save_file({"features": X, "labels": Y}, path)


def write_wide(path):
    frame = pd.DataFrame(X, columns=[f"f{column}" for column in range(11)]).assign(label=NAMES, ids=IDS, other=1.0)
    write = {".parquet": frame.to_parquet, ".feather": frame.to_feather}.get(path.suffix, partial(frame.to_csv, index=False))
    write(path)


def write_lists(path):
    pd.DataFrame({"embedding": list(X), "label": pd.Categorical(NAMES)}).to_parquet(path)


def write_stream(path):
    table = pa.table({"embedding": list(X), "label": NAMES.tolist()})
    with pa.ipc.new_stream(path, table.schema) as stream:
        stream.write_table(table)


def write_tensors(path):
    torch.save({"features": torch.from_numpy(X), "labels": torch.from_numpy(Y), "names": NAMES.tolist()}, path)


def write_brain_floats(path):
    torch.save({"features": torch.from_numpy(X).to(torch.bfloat16), "labels": torch.from_numpy(Y)}, path)


@pytest.mark.parametrize(
    ("name", "write", "columns", "classes"),
    [
        ("a.npz", write_npz, Columns(), [0, 1, 2]),
        ("a.npz", write_npz, Columns(labels="names", ids="ids"), ["ant", "bee", "cat"]),
        ("a.safetensors", write_safetensors, Columns(), [0, 1, 2]),
        ("a.parquet", write_wide, Columns(prefix="f", ids="ids"), ["ant", "bee", "cat"]),
        ("a.csv", write_wide, Columns(prefix="f", labels="label"), ["ant", "bee", "cat"]),
        ("a.parquet", write_lists, Columns(features="embedding"), ["ant", "bee", "cat"]),
        ("a.feather", write_wide, Columns(prefix="f", ids="ids"), ["ant", "bee", "cat"]),
        ("a.arrow", write_stream, Columns(), ["ant", "bee", "cat"]),
        ("a.pt", write_tensors, Columns(), [0, 1, 2]),
        ("a.pth", write_tensors, Columns(labels="names"), ["ant", "bee", "cat"]),
    ],
)
def test_every_kind_of_file_gives_the_same_data(tmp_path, name, write, columns, classes):
    write(tmp_path / name)
    dataset = read_dataset(tmp_path / name, columns)
    assert_array_equal(np.asarray(dataset.features, "float32"), X)
    assert_array_equal(dataset.labels, Y)
    assert_array_equal(dataset.classes, classes)
    assert_array_equal(dataset.ids, IDS if write in (write_npz, write_wide) else np.arange(12))


def test_npy_pairs(tmp_path):
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", NAMES)
    dataset = read_dataset(tmp_path / "x.npy", Columns(labels=str(tmp_path / "y.npy")))
    assert_array_equal(dataset.classes[dataset.labels], NAMES)
    with pytest.raises(InputError, match="second .npy file with --labels"):
        read_dataset(tmp_path / "x.npy", Columns())
    with pytest.raises(InputError, match="does not exist"):
        read_dataset(tmp_path / "x.npy", Columns(labels=str(tmp_path / "z.npy")))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (Columns(prefix="g"), "no column that starts with 'g'; it has f0"),
        (Columns(prefix="f", labels="lable"), "no labels named 'lable'; it has f0.*14 in all"),
        (Columns(features="f0,f11"), "no features named 'f11'; it has f0.*Did you mean 'f1'"),
        (Columns(features="f0,f0"), "column 'f0' was named as a feature and once more"),
        (Columns(drop=("g1",)), "no column named 'g1'"),
        (Columns(features="f0", drop=("f1",)), "--drop does not apply"),
        (Columns(features="f0", prefix="f"), "Both"),
        (Columns(prefix="", labels="other"), "holds (large_)?string"),
        (Columns(features="f0", ids="id"), "no ids named 'id'"),
    ],
)
def test_wrong_names_are_told_with_those_present(tmp_path, columns, message):
    write_wide(tmp_path / "a.parquet")
    with pytest.raises(InputError, match=message):
        read_dataset(tmp_path / "a.parquet", columns)


def test_wrong_files_are_told(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_dataset(tmp_path / "a.npz", Columns())
    with pytest.raises(InputError, match="is a directory"):
        read_dataset(tmp_path, Columns())
    for name in ("a.npz", "a.npy", "a.safetensors", "a.parquet", "a.feather", "a.arrow", "a.pt"):
        (tmp_path / name).write_bytes(b"no such thing")
        with pytest.raises(InputError, match="cannot be read as"):
            read_dataset(tmp_path / name, Columns(labels=str(tmp_path / name)))
    write_npz(tmp_path / "whole.npz")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:300])
    np.save(tmp_path / "y.npy", Y)
    (tmp_path / "array.npz").write_bytes((tmp_path / "y.npy").read_bytes())
    for name in ("cut.npz", "array.npz"):
        with pytest.raises(InputError, match="cannot be read as .npz"):
            read_dataset(tmp_path / name, Columns())
    (tmp_path / "a.xlsx").write_bytes(b"")
    with pytest.raises(InputError, match=r"kind '.xlsx'; expected .npz, .npy"):
        read_dataset(tmp_path / "a.xlsx", Columns())
    (tmp_path / "empty.csv").write_bytes(b"")
    with pytest.raises(InputError, match="cannot be read as .csv"):
        read_dataset(tmp_path / "empty.csv", Columns())


def test_pickles_are_never_run(tmp_path):
    np.savez(tmp_path / "a.npz", features=np.array([object()] * 12), labels=Y)
    with pytest.raises(InputError, match="cannot be read"):
        read_dataset(tmp_path / "a.npz", Columns())


def test_tensors_without_names_and_objects_are_told(tmp_path):
    torch.save(torch.from_numpy(X), tmp_path / "one.pt")
    with pytest.raises(InputError, match=r"one.pt holds one tensor without a name; expected a dictionary, e.g. torch.save"):
        read_dataset(tmp_path / "one.pt", Columns())
    torch.save({"features": X, "labels": RuntimeError("run")}, tmp_path / "object.pt")
    with pytest.raises(InputError, match="object.pt cannot be read as .pt"):
        read_dataset(tmp_path / "object.pt", Columns())


def test_brain_floats_of_a_dictionary_are_read_as_they_are(tmp_path):
    write_brain_floats(tmp_path / "a.pt")
    features = np.asarray(read_dataset(tmp_path / "a.pt", Columns()).features)
    assert_array_equal(features, torch.from_numpy(X).to(torch.bfloat16).float().numpy())


def test_lists_of_unequal_length_are_told(tmp_path):
    pd.DataFrame({"features": [[1.0, 2.0], [3.0]], "label": ["a", "b"]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(InputError, match="differ in length"):
        read_dataset(tmp_path / "a.parquet", Columns())


def test_missing_values_of_a_table_are_told(tmp_path):
    (tmp_path / "a.csv").write_text("f0,label\n1.5,a\n,b\n2.5,a\n")
    with pytest.raises(InputError, match="NaN.*row 1, column 0"):
        read_dataset(tmp_path / "a.csv", Columns(prefix="f"))
    (tmp_path / "b.csv").write_text("f0,label\n1,1\n2,\n3,2\n")
    with pytest.raises(InputError, match="One label is missing"):
        read_dataset(tmp_path / "b.csv", Columns(prefix="f"))


def test_indices_are_read(tmp_path):
    (tmp_path / "rows.txt").write_text("3\n1\n")
    assert_array_equal(read_indices(tmp_path / "rows.txt"), [3, 1])
    np.save(tmp_path / "rows.npy", np.array([2, 0]))
    assert_array_equal(read_indices(tmp_path / "rows.npy"), [2, 0])
    (tmp_path / "rows.txt").write_text("three")
    with pytest.raises(InputError, match="one integer a line"):
        read_indices(tmp_path / "rows.txt")


@pytest.mark.parametrize("kind", [".csv", ".parquet", ".json"])
def test_tables_are_written(tmp_path, kind):
    table = pd.DataFrame({"id": ["a", "b"], "lsi": [1 / 3, 1e-9], "suggested_label": [None, "x"]})
    write_table(table, tmp_path / f"t{kind}")
    reader = {".csv": pd.read_csv, ".parquet": pd.read_parquet, ".json": pd.read_json}[kind]
    again = reader(tmp_path / f"t{kind}")
    assert list(again["lsi"]) == pytest.approx([1 / 3, 1e-9], rel=1e-6)
    assert again["suggested_label"].isna().tolist() == [True, False]
    with pytest.raises(InputError, match="kind '.doc'"):
        write_table(table, tmp_path / "t.doc")


@pytest.mark.parametrize("n_rows", [0, 1, 4, 5])
def test_json_is_written_some_rows_at_a_time(tmp_path, monkeypatch, n_rows):
    table = pd.DataFrame({"id": ["a", "<é>", "c", None, "e"], "lsi": [1 / 3, 1e-9, np.nan, 2.0, 3.0], "n": range(5)}).iloc[
        :n_rows
    ]
    monkeypatch.setattr(writing, "JSON_ROWS", 2)
    write_table(table, tmp_path / "t.json")
    expected = table.to_json(orient="records", indent=1, force_ascii=False, double_precision=15)
    assert (tmp_path / "t.json").read_text(encoding="utf-8") == expected
