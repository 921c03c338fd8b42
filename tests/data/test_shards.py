"""Features in several files: the same data, digest and scores whatever holds them, and one line for what is wrong with one."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from numpy.testing import assert_array_equal
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch

import lapsi
from lapsi.data import blocks
from lapsi.data.dataset import make_dataset
from lapsi.data.readers import containers
from lapsi.data.readers.columns import Columns
from lapsi.data.readers.source import open_source, open_spec
from lapsi.data.samples import Samples
from lapsi.data.spec import DataSpec
from lapsi.errors import InputError
from lapsi.execution.progress import Stages
from lapsi.scoring import score_dataset
from lapsi.settings.settings import make_settings

N, D = 120, 5
Y = np.arange(N) % 3
NAMES = np.array(["ant", "bee", "cat"])[Y]
X = (np.random.default_rng(0).normal(size=(N, D)) + 2 * np.eye(3, D)[Y]).astype("float32")
PARTS = (slice(0, 50), slice(50, 53), slice(53, N))
SETTINGS = make_settings(weight_decay=0.01, verify=0, refine=0)


@pytest.fixture(autouse=True)
def few_rows(monkeypatch):
    """Blocks of 16 rows, and .npz files mapped however small."""
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1)
    monkeypatch.setattr(containers, "MAPPED_FROM", 0)


def write_npy(folder, features, labels, part=None):
    for name, values in (("features", features), ("labels", labels)):
        np.save(folder / f"{name}{'' if part is None else f'-{part}'}.npy", values)


def write_npz(folder, features, labels, part=None):
    np.savez(folder / f"part{'' if part is None else f'-{part}'}.npz", labels=labels, features=features)


def write_safetensors(folder, features, labels, part=None):
    codes = np.searchsorted(np.unique(NAMES), labels)
    save_file({"features": features, "labels": codes}, folder / f"part{'' if part is None else f'-{part}'}.safetensors")


def write_parquet(folder, features, labels, part=None):
    table = pa.table({"features": list(features), "label": labels, "more": np.arange(len(labels))})
    pq.write_table(table, folder / f"part{'' if part is None else f'-{part}'}.parquet", row_group_size=23)


WRITERS = {"npy": write_npy, "npz": write_npz, "safetensors": write_safetensors, "parquet": write_parquet}


def write_shards(folder, kind, features=X):
    for part, rows in enumerate(PARTS):
        WRITERS[kind](folder, features[rows], NAMES[rows], part)
    return folder


def with_names(dataset):
    """The same with the names of the classes, where the file holds their numbers."""
    return dataset if dataset.classes.dtype.kind == "U" else make_dataset(dataset.features, np.unique(NAMES)[dataset.labels])


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64", "uint8", "bool"])
@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("several", [False, True], ids=["one", "several"])
def test_the_same_data_and_digest_whatever_holds_them(tmp_path, kind, dtype, several):
    features = (X * 10).astype(dtype)
    if several:
        dataset = open_source(str(write_shards(tmp_path, kind, features)), Columns())
    else:
        WRITERS[kind](tmp_path, features, NAMES)
        labels = str(tmp_path / "labels.npy") if kind == "npy" else None
        name = "features.npy" if kind == "npy" else f"part.{kind}"
        dataset = open_source(str(tmp_path / name), Columns(labels=labels))
    assert dataset.features.dtype == np.dtype(dtype)
    assert_array_equal(np.asarray(dataset.features), features)
    given = make_dataset(features, NAMES)
    assert with_names(dataset).digest() == given.digest()
    assert_array_equal(dataset.survey.scatter, given.survey.scatter)


@pytest.mark.parametrize("kind", WRITERS)
def test_the_same_scores_to_the_last_bit(tmp_path, kind):
    half = X.astype("float16")
    held = open_source(str(write_shards(tmp_path, kind, half)), Columns())
    given = make_dataset(half.astype("float32"), held.classes[Y])
    one, other = (score_dataset(each, SETTINGS, np.arange(N), Stages(False))[0] for each in (held, given))
    assert_array_equal(one.lsi, other.lsi)
    assert_array_equal(one.map, other.map)
    assert one.provenance.data_hash == other.provenance.data_hash


def test_small_types_have_the_digest_that_they_had_as_float32():
    for features in (X.astype("float16"), X > 0):
        assert make_dataset(features, Y).digest() == make_dataset(features.astype("float32"), Y).digest()
        unmarked = make_dataset(features.astype("float32"), Y)._first_digest()
        assert make_dataset(features, Y).has_digest(unmarked)


def test_bfloat16_is_read_as_float32(tmp_path):
    features = torch.from_numpy(X).to(torch.bfloat16)
    save_torch({"features": features, "labels": torch.from_numpy(Y)}, tmp_path / "x.safetensors")
    dataset = open_source(str(tmp_path / "x.safetensors"), Columns())
    assert dataset.digest() == make_dataset(features.float().numpy(), Y).digest()
    assert_array_equal(dataset.features.read(np.array([7, 3])), features[[7, 3]].float().numpy())


@pytest.mark.parametrize("kind", WRITERS)
def test_any_rows_are_read_in_any_order(tmp_path, kind):
    features = open_source(str(write_shards(tmp_path, kind)), Columns()).features
    for rows in (np.array([119, 3, 52, 52, 0, 50]), np.array([], dtype=int), slice(48, 60), slice(5, 5), slice(None, None, 7)):
        assert_array_equal(features.read(rows), X[rows])
    assert_array_equal(features.read(np.arange(N) % 2 == 0), X[::2])
    assert [rows for rows, _ in features.blocks()][-2:] == [slice(96, 112), slice(112, 120)]


def test_parquet_is_decoded_in_batches(tmp_path, monkeypatch):
    write_parquet(tmp_path, X, NAMES)
    pq.write_table(pq.read_table(tmp_path / "part.parquet"), tmp_path / "part.parquet")  # one row group of all rows
    batches, whole = [], pq.ParquetFile.iter_batches
    read = pq.read_table

    def counted(self, size, **options):
        for batch in whole(self, size, **options):
            batches.append(batch.num_rows)
            yield batch

    def without_features(path, columns=None):
        assert columns is not None
        assert "features" not in columns
        return read(path, columns=columns)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", counted)
    monkeypatch.setattr(pq, "read_table", without_features)
    dataset = open_source(str(tmp_path / "part.parquet"), Columns())
    assert max(batches[1:]) == 16
    assert sum(batches[1:]) == N
    batches.clear()
    assert_array_equal(dataset.features.read(np.array([20, 17])), X[[20, 17]])
    assert batches == [16, 16]


def test_wide_tables_are_read_in_batches(tmp_path):
    frame = pd.DataFrame(X[:, ::-1], columns=[f"f{column}" for column in (10, 4, 3, 2, 1)]).assign(label=NAMES)
    for part, rows in enumerate(PARTS):
        frame.iloc[rows].to_parquet(tmp_path / f"{part}.parquet")
    dataset = open_source(str(tmp_path), Columns(prefix="f"))
    assert dataset.digest() == make_dataset(X.astype("float64"), NAMES).digest()


def test_shards_stand_in_natural_order(tmp_path):
    for part in range(12):
        write_npz(tmp_path, X[10 * part : 10 * part + 10], NAMES[10 * part : 10 * part + 10], part)
    for source in (tmp_path, tmp_path / "part-*.npz", tmp_path / "*[0-9].npz"):
        assert_array_equal(np.asarray(open_source(str(source), Columns()).features), X)
    listed = ",".join(str(tmp_path / f"part-{part}.npz") for part in (3, 1))
    assert_array_equal(np.asarray(open_source(listed, Columns()).features), np.concatenate([X[30:40], X[10:20]]))


def test_what_travels_along_is_of_all_shards(tmp_path):
    for part, rows in enumerate(PARTS):
        known = {"group": [None] * 3 if part == 1 else NAMES[rows], "rank": pd.array(np.arange(N)[rows], dtype="Int64")}
        table = pd.DataFrame({"features": list(X[rows]), "label": NAMES[rows], "name": [f"s{row}" for row in range(N)[rows]]})
        table.assign(**known).to_parquet(tmp_path / f"part-{part}.parquet")
    dataset = open_source(str(tmp_path), Columns(ids="name", group="group", keep=("rank",)))
    assert dataset.ids[-1] == "s119"
    assert dataset.columns["group"].isna().sum() == 3
    assert_array_equal(dataset.columns["rank"], np.arange(N))


def test_labels_of_npy_shards_are_one_file_or_several(tmp_path):
    write_shards(tmp_path, "npy")
    np.save(tmp_path / "all.npy", NAMES)
    whole = make_dataset(X, NAMES).digest()
    for labels in ("all.npy", "labels-*.npy"):
        dataset = open_source(str(tmp_path / "features-*.npy"), Columns(labels=str(tmp_path / labels)))
        assert dataset.digest() == whole
    with pytest.raises(InputError, match="name a second .npy file with --labels"):
        open_source(str(tmp_path / "features-*.npy"), Columns())


def test_texts_in_shards_are_samples(tmp_path):
    for part, rows in enumerate(PARTS):
        pd.DataFrame({"text": NAMES[rows], "label": Y[rows]}).to_parquet(tmp_path / f"part-{part}.parquet")
    samples = open_source(str(tmp_path), Columns())
    assert isinstance(samples, Samples)
    assert len(samples.content) == N


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda features: features[:, :4], "-1.* has 4 features, .*-0.* has 5; expected as many in all shards"),
        (lambda features: features.astype("float64"), "-1.* of type float64, .*-0.* of type float32; expected one type"),
    ],
)
def test_shards_that_differ_are_named(tmp_path, kind, change, message):
    write_shards(tmp_path, kind)
    WRITERS[kind](tmp_path, np.ascontiguousarray(change(X[PARTS[1]])), NAMES[PARTS[1]], 1)
    with pytest.raises(InputError, match=message):
        open_source(str(tmp_path), Columns())


@pytest.mark.parametrize("kind", WRITERS)
def test_a_number_that_is_none_is_named_with_its_shard(tmp_path, kind):
    features = X.copy()
    features[51, 2] = np.nan
    stem = "features" if kind == "npy" else "part"
    with pytest.raises(InputError, match=rf"the first at row 51 \(row 1 of {stem}-1.{kind}\), column 2"):
        open_source(str(write_shards(tmp_path, kind, features)), Columns())


@pytest.mark.parametrize("kind", WRITERS)
def test_a_damaged_shard_is_named(tmp_path, kind):
    write_shards(tmp_path, kind)
    damaged = tmp_path / f"{'features' if kind == 'npy' else 'part'}-1.{kind}"
    damaged.write_bytes(damaged.read_bytes()[:-40])
    with pytest.raises(InputError, match=f"{damaged} cannot be read as .{kind}"):
        open_source(str(tmp_path), Columns())


def test_a_damaged_page_is_named(tmp_path):
    write_shards(tmp_path, "parquet")
    damaged = tmp_path / "part-1.parquet"
    content = bytearray(damaged.read_bytes())
    content[4:60] = bytes(56)  # the first page, not the footer
    damaged.write_bytes(content)
    with pytest.raises(InputError, match=f"{damaged} cannot be read as .parquet"):
        open_source(str(tmp_path), Columns())


def test_a_changed_bit_of_a_mapped_npz_is_found(tmp_path):
    write_npz(tmp_path, X, NAMES)
    content = bytearray((tmp_path / "part.npz").read_bytes())
    content[content.index(X.tobytes()) + 100] ^= 1
    (tmp_path / "part.npz").write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as .npz .*CRC"):
        open_source(str(tmp_path / "part.npz"), Columns())


def test_a_missing_shard_is_named(tmp_path):
    write_shards(tmp_path, "npz")
    (tmp_path / "part-1.npz").unlink()
    for source in (tmp_path, tmp_path / "part-*.npz"):
        with pytest.raises(InputError, match="part-1.npz is missing between part-0.npz and part-2.npz"):
            open_source(str(source), Columns())
    np.savez(tmp_path / "part-5.npz", features=X, labels=NAMES)
    with pytest.raises(InputError, match="part-1.npz and 2 more are missing"):
        open_source(str(tmp_path), Columns())
    assert open_source(str(tmp_path / "part-[025].npz"), Columns()).n_samples == 50 + 67 + N  # those are meant
    listed = f"{tmp_path / 'part-0.npz'},{tmp_path / 'part-1.npz'}"
    with pytest.raises(InputError, match="part-1.npz, one of 2 files that were named, does not exist"):
        open_source(listed, Columns())


@pytest.mark.parametrize("held", [(0, 1), (0,)])
def test_names_that_say_of_how_many_they_are_tell_the_last_one(tmp_path, held):
    for part in held:
        write_npz(tmp_path, X, NAMES, f"0000{part}-of-00003")
    with pytest.raises(InputError, match=f"part-0000{len(held)}-of-00003.npz.* missing"):
        open_source(str(tmp_path), Columns())


def test_a_shard_that_the_run_had_is_named(tmp_path):
    shards = tuple(str(tmp_path / f"part-{part}.npz") for part in range(3))
    spec = DataSpec(str(write_shards(tmp_path, "npz")), shards=shards)
    assert open_spec(spec).n_samples == N
    (tmp_path / "part-2.npz").unlink()
    with pytest.raises(InputError, match="part-2.npz is missing, one of the 3 files that the run was made from"):
        open_spec(spec)
    assert open_spec(replace(spec, shards=())).n_samples == 53


def test_other_wrong_folders_and_patterns_are_told(tmp_path):
    with pytest.raises(InputError, match="No file fits the pattern"):
        open_source(str(tmp_path / "*.npz"), Columns())
    write_shards(tmp_path, "npz")
    with pytest.raises(InputError, match="part-.*npz has no splits"):
        open_source(str(tmp_path / "part-*.npz"), Columns(), split="train")
    np.save(tmp_path / "other.npy", X)
    with pytest.raises(InputError, match="files of kind '.npy', '.npz'; expected shards of one kind"):
        open_source(str(tmp_path), Columns())
    for part in range(3):
        (tmp_path / f"part-{part}.npz").unlink()
    np.save(tmp_path / "others.npy", X)
    with pytest.raises(InputError, match=r"several names \(other, others\); say which are the features"):
        open_source(str(tmp_path), Columns())


def test_columns_that_differ_are_named(tmp_path):
    write_shards(tmp_path, "npz")
    np.savez(tmp_path / "part-1.npz", features=X, labels=Y)
    with pytest.raises(InputError, match="part-1.npz holds int64 as 'labels', part-0.npz <U3; expected one type"):
        open_source(str(tmp_path), Columns())
    np.savez(tmp_path / "part-1.npz", features=X)
    with pytest.raises(InputError, match="part-1.npz has no 'labels', as part-0.npz has; it has features"):
        open_source(str(tmp_path), Columns())


def test_tables_that_differ_are_named(tmp_path):
    write_shards(tmp_path, "parquet")
    write_parquet(tmp_path, X, Y, 1)
    with pytest.raises(InputError, match="part-1.parquet holds int64 as 'label', part-0.parquet .*string; expected one type"):
        open_source(str(tmp_path), Columns())
    frame = pd.DataFrame({"features": [*X[:20], X[0, :3], *X[20:]], "label": [*NAMES, "ant"]})
    frame.to_parquet(tmp_path / "uneven.parquet")
    with pytest.raises(InputError, match="differ in length: that of row 20 has 3 numbers, the first has 5"):
        open_source(str(tmp_path / "uneven.parquet"), Columns())


def test_class_names_of_shards_are_the_same(tmp_path):
    for part, names in enumerate((["a", "b", "c"], ["a", "b", "c"], ["a", "c", "b"])):
        np.savez(tmp_path / f"{part}.npz", features=X, labels=Y, class_names=names)
    with pytest.raises(InputError, match="2.npz holds other 'class_names' than 0.npz"):
        open_source(str(tmp_path), Columns())
    (tmp_path / "2.npz").unlink()
    assert open_source(str(tmp_path), Columns()).classes.tolist() == ["a", "b", "c"]


def test_scores_of_numpy_half_precision_are_those_of_its_numbers():
    half = X.astype("float16")
    one, other = (lapsi.score(each, Y, verify=2, progress=False) for each in (half, half.astype("float32")))
    assert_array_equal(one.lsi, other.lsi)
