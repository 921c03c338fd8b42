"""Reviewed files of arrays and of records come back as they came: .npz, .safetensors and .jsonl."""

import hashlib
import json
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from numpy.testing import assert_array_equal
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from scipy.sparse import csr_array, load_npz, save_npz

import lapsi
from commands import fail, run, succeed
from lapsi.data.readers.columns import Columns
from lapsi.data.readers.source import open_source
from lapsi.data.rewriting.choose import REWRITERS
from lapsi.data.rewriting.decided import REWRITTEN, Decided

N = 30
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 3)).astype(np.float32)
CODES = np.arange(N) % 3
NAMES = np.array(["ant", "bee", "cat"])
SETS = [["ant"], ["bee", "dog"], ["cat", "ant"], ["bee"], ["dog"], ["cat", "bee"]] * 5
KEPT = np.delete(np.arange(N), [5, 8])


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def scored(source, *options):
    succeed("score", source, *options, "--verify", 0, "-o", "run", "-q")
    return lapsi.load_run("run")


def decide(new, *more):
    """Writes review.csv: 3 becomes `new`, 5 and 8 are removed."""
    scores = lapsi.load_run("run")
    table, key = scores.table.set_index("row"), scores.provenance.data_hash
    rows = [(3, "relabel", new), (5, "remove", ""), (8, "remove", ""), (9, "keep", ""), *more]
    place = {row: place for place, row in enumerate(table.index)}
    lines = [[table["id"][row], place[row], table["label"][row], action, label, "", key] for row, action, label in rows]
    names = ["id", "row", "label", "action", "new_label", "note", "run"]
    pd.DataFrame(lines, columns=names).to_csv("review.csv", index=False)


def applied(output, *options):
    return " ".join(succeed("apply", "run", "--review", "review.csv", "-o", output, *options).stdout.split())


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("dtype", ["int8", ">i4", "uint16", "float32", "U3", "S3"])
def test_arrays_come_back_with_their_names_types_and_order(save, dtype):
    labels = (CODES + 1).astype(dtype)
    held = {"weight": np.ones(N), "emb": X.astype(">f4"), "y": labels, "id": np.arange(N) + 100, "note": np.array("as it is")}
    save("a.npz", **held, widths=np.arange(3))
    scored("a.npz", "--features", "emb", "--labels", "y", "--ids", "id")
    decide("3")
    assert "28 samples with all that a.npz holds to b.npz: 2 removed, 1 relabelled, 1 kept" in applied("b.npz")
    expected = labels.copy()
    expected[3] = labels[2]
    with np.load("b.npz") as after:
        assert after.files == ["weight", "emb", "y", "id", "note", "widths"]
        for name in ("weight", "emb", "id"):
            assert_array_equal(after[name], held[name][KEPT])
            assert after[name].dtype == held[name].dtype
        assert_array_equal(after["y"], expected[KEPT])
        assert after["y"].dtype == labels.dtype
        assert_array_equal(after["widths"], np.arange(3))
        assert after["note"] == "as it is"
    kinds = {member.compress_type for member in ZipFile("b.npz").infolist()}
    assert (kinds == {ZIP_DEFLATED}) == (save is np.savez_compressed)
    scores = scored("b.npz", "--features", "emb", "--labels", "y", "--ids", "id", "--force")
    assert_array_equal(scores.table["id"], KEPT + 100)


def test_classes_that_are_named_keep_their_numbers_and_new_ones_get_the_next():
    np.savez("a.npz", features=X, labels=CODES.astype(np.int16), class_names=NAMES, reference=CODES)
    scored("a.npz", "--reference-labels", "reference")
    decide("bee", (4, "relabel", "dragonfly"))
    assert "no class of this run" in fail(2, "apply", "run", "--review", "review.csv", "-o", "b.npz")
    applied("b.npz", "--new-classes")
    with np.load("b.npz") as after:
        expected = CODES.copy()
        expected[[3, 4]] = 1, 3
        assert_array_equal(after["labels"], expected[KEPT])
        assert after["labels"].dtype == np.int16
        assert after["class_names"].tolist() == ["ant", "bee", "cat", "dragonfly"]
        assert_array_equal(after["reference"], CODES[KEPT])


def test_rows_that_were_not_scored_stay():
    np.savez("a.npz", features=X, labels=CODES)
    scored("a.npz", "--rows", 20)
    rows = lapsi.load_run("run").table["row"].tolist()
    (first, second) = rows[:2]
    table, key = lapsi.load_run("run").table, lapsi.load_run("run").provenance.data_hash
    review = table[["id", "label"]].head(2).assign(row=[0, 1], action="remove", new_label="", note="", run=key)
    review.to_csv("review.csv", index=False)
    applied("b.npz")
    with np.load("b.npz") as after:
        assert_array_equal(after["features"], np.delete(X, [first, second], axis=0))


def test_several_labels_and_several_numbers_keep_their_columns():
    tags = (RNG.random((N, 3)) < 0.5).astype(np.uint8)
    tags[3] = [1, 0, 0]
    np.savez("a.npz", features=X, labels=tags)
    scored("a.npz", "--task", "multilabel")
    decide("label_1|label_2")
    applied("b.npz")
    tags[3] = [0, 1, 1]
    with np.load("b.npz") as after:
        assert_array_equal(after["labels"], tags[KEPT])
        assert after["labels"].dtype == np.uint8
    decide("label_1|other")
    assert "'other' has no column" in fail(2, "apply", "run", "--review", "review.csv", "-o", "c.npz", "--new-classes")
    assert not list(Path().glob("c.npz*"))
    numbers = RNG.normal(size=(N, 2)).astype(np.float32)
    np.savez("a.npz", features=X, labels=numbers)
    scored("a.npz", "--force")
    decide("1.5,-2")
    applied("d.npz")
    numbers[3] = [1.5, -2]
    with np.load("d.npz") as after:
        assert_array_equal(after["labels"], numbers[KEPT])
        assert after["labels"].dtype == np.float32


def test_an_array_that_may_go_by_feature_is_not_cut():
    np.savez("a.npz", features=RNG.normal(size=(N, N)), labels=CODES, scale=np.ones(N))
    scored("a.npz")
    decide("1")
    said = fail(2, "apply", "run", "--review", "review.csv", "-o", "b.npz")
    assert "a.npz has as many samples as features, 30, and it is not known which of them the array 'scale' goes by" in said
    assert not list(Path().glob("b.npz*"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_tensors_come_back_with_their_types_and_their_header(dtype):
    tensors = {"x": torch.from_numpy(X).to(dtype), "y": torch.from_numpy(CODES).int(), "mean": torch.zeros(3)}
    save_file(tensors, "a.safetensors", {"made": "by hand"})
    scored("a.safetensors", "--features", "x", "--labels", "y")
    decide("1")
    applied("b.safetensors")
    with safe_open("b.safetensors", "pt") as after:
        assert after.metadata() == {"made": "by hand"}
        assert set(after.keys()) == set(tensors)
        assert after.get_tensor("x").dtype == dtype
        assert torch.equal(after.get_tensor("x"), tensors["x"][KEPT])
        assert after.get_tensor("y").dtype == torch.int32
        assert after.get_tensor("y").tolist() == [1 if row == 3 else CODES[row] for row in KEPT]
        assert len(after.get_tensor("mean")) == 3


@pytest.mark.parametrize("kind", ["tensor", "list"])
def test_a_dictionary_of_tensors_comes_back_with_its_types(kind):
    labels = torch.from_numpy(CODES).short() if kind == "tensor" else NAMES[CODES].tolist()
    held = {"x": torch.from_numpy(X).to(torch.bfloat16), "y": labels, "mean": torch.zeros(3), "names": ["no", "sample"]}
    torch.save(held, "a.pt")
    scored("a.pt", "--features", "x", "--labels", "y")
    decide("1" if kind == "tensor" else "bee")
    applied("b.pt")
    after = torch.load("b.pt", weights_only=True)
    assert list(after) == list(held)
    assert torch.equal(after["x"], held["x"][KEPT])
    assert after["names"] == held["names"]
    assert len(after["mean"]) == 3
    expected = [1 if row == 3 else CODES[row] for row in KEPT]
    if kind == "tensor":
        assert after["y"].dtype == torch.int16
        assert after["y"].tolist() == expected
    else:
        assert after["y"] == NAMES[expected].tolist()


@pytest.mark.parametrize("labels", [torch.from_numpy(CODES), CODES.tolist(), tuple(CODES.tolist())])
def test_classes_that_a_dictionary_of_tensors_names_are_counted(labels):
    held = {
        "features": torch.from_numpy(X),
        "labels": labels,
        "class_names": NAMES.tolist(),
        "tags": [["a"], ["a", 1]] * (N // 2),
    }
    torch.save(held, "a.pt")
    scored("a.pt")
    decide("dog")
    applied("b.pt", "--new-classes")
    after = torch.load("b.pt", weights_only=True)
    assert after["class_names"] == [*NAMES, "dog"]
    assert type(after["labels"]) is type(labels)
    assert [int(code) for code in after["labels"]] == [3 if row == 3 else CODES[row] for row in KEPT]
    assert after["tags"] == [held["tags"][row] for row in KEPT]


def test_sets_of_labels_in_a_dictionary_of_tensors_come_back_as_such():
    torch.save({"features": torch.from_numpy(X), "labels": SETS}, "a.pt")
    scored("a.pt")
    decide("ant|dog")
    applied("b.pt")
    after = torch.load("b.pt", weights_only=True)["labels"]
    assert after == [["ant", "dog"] if row == 3 else SETS[row] for row in KEPT]


def test_a_stream_of_arrow_comes_back_as_one_with_its_types():
    counts = pa.array([None, *range(1, N)], pa.int16())
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(X.ravel()), X.shape[1])
    names = pa.array(NAMES[CODES].tolist()).dictionary_encode()
    held = pa.table({"features": vectors, "count": counts, "name": names}).replace_schema_metadata({"made": "by hand"})
    with pa.ipc.new_stream("a.arrow", held.schema) as stream:
        stream.write_table(held)
    scored("a.arrow", "--labels", "name")
    decide("bee")
    applied("b.arrow")
    after = pa.ipc.open_stream("b.arrow").read_all()
    assert after.schema.equals(held.schema, check_metadata=True)
    assert after["count"].to_pylist() == [counts[row].as_py() for row in KEPT]
    assert after["name"].to_pylist() == NAMES[[1 if row == 3 else CODES[row] for row in KEPT]].tolist()
    assert_array_equal(np.stack(after["features"].to_numpy()), X[KEPT])


@pytest.mark.parametrize("kind", ["feather", "arrow"])
def test_arrow_tables_come_back_with_all_their_columns(kind):
    held = pd.DataFrame({"embedding": list(X), "name": pd.Categorical(NAMES[CODES]), "note": "as it is"})
    held.to_feather(f"a.{kind}")
    scored(f"a.{kind}", "--labels", "name")
    decide("bee")
    applied(f"b.{kind}")
    after = pd.read_feather(f"b.{kind}")
    assert list(after) == list(held)
    assert_array_equal(np.stack(after["embedding"]), X[KEPT])
    assert_array_equal(after["name"], NAMES[[1 if row == 3 else CODES[row] for row in KEPT]])


def test_embedded_samples_come_back_as_such(models):
    texts = [f"a text {row} of {NAMES[row % 3]}" for row in range(N)]
    pd.DataFrame({"text": texts, "label": NAMES[CODES], "author": CODES // 2}).to_csv("a.csv", index=False)
    embedded = ("--model", models["text"], "--cache", "cache", "--group", "author")
    succeed("embed", "a.csv", *embedded, "-o", "a.safetensors", "-q")
    scored("a.safetensors")
    decide("bee", (4, "relabel", "dragonfly"))
    applied("b.safetensors", "--new-classes")
    before, after = (open_source(name, Columns()) for name in ("a.safetensors", "b.safetensors"))
    assert_array_equal(np.asarray(after.features), np.asarray(before.features)[KEPT])
    expected = NAMES[CODES].astype(object)
    expected[[3, 4]] = "bee", "dragonfly"
    assert after.targets.shown.tolist() == expected[KEPT].tolist()
    assert_array_equal(after.ids, before.ids[KEPT])
    pd.testing.assert_frame_equal(after.columns, before.columns.iloc[KEPT].reset_index(drop=True))
    assert after.made_by == before.made_by
    with safe_open("b.safetensors", "np") as archive:
        details = json.loads(archive.metadata()["lapsi"])
        assert details["classes"] == ["ant", "bee", "cat", "dragonfly"]
        assert_array_equal(archive.get_tensor("labels"), after.labels)


def write_lines(frame, name="a.jsonl"):
    """Records with a blank line and blanks that json would not write."""
    lines = [json.dumps(record).replace('": ', '":  ') for record in frame.to_dict("records")]
    Path(name).write_text("\n".join([lines[0], "", *lines[1:]]) + "\n", encoding="utf-8")
    return lines


@pytest.mark.parametrize(
    ("labels", "new", "written"),
    [
        (NAMES[CODES].tolist(), "bee", "bee"),
        (CODES.tolist(), "1", 1),
        ([bool(code) for code in CODES], "True", True),
        ((CODES + np.arange(N) / 7).tolist(), "2.5", 2.5),
        (SETS, "bee|cat", ["bee", "cat"]),
        (["|".join(names) for names in SETS], "bee|cat", "bee|cat"),
    ],
)
def test_records_come_back_line_by_line(labels, new, written):
    options = ("--task", "multilabel") if "bee|" in new else ()
    frame = pd.DataFrame({"x": X[:, 0].astype(float), "z": X[:, 1].astype(float), "what": labels, "more": [{"a": [1]}] * N})
    lines = write_lines(frame)
    scored("a.jsonl", "--labels", "what", "--features", "x,z", *options)
    decide(new)
    applied("b.jsonl")
    after = Path("b.jsonl").read_text(encoding="utf-8").splitlines()
    changed = KEPT.tolist().index(3)
    kept = [lines[row] for row in KEPT]
    assert after[:changed] + after[changed + 1 :] == kept[:changed] + kept[changed + 1 :]
    assert json.loads(after[changed]) == json.loads(lines[3]) | {"what": written}
    assert list(json.loads(after[changed])) == ["x", "z", "what", "more"]
    assert type(json.loads(after[changed])["what"]) is type(written)


def test_paths_in_records_are_relative_to_where_they_lie(models):
    for row in range(12):
        Path("photos").mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (20 * row, 0, 250 * (row % 2))).save(f"photos/{row}.png")
    frame = pd.DataFrame({"image": [f"photos/{row}.png" for row in range(12)], "label": ["a", "b"] * 6})
    write_lines(frame)
    scored("a.jsonl", "--model", models["image"], "--cache", "cache")
    decide("a")
    applied("new/b.jsonl")
    after = pd.read_json("new/b.jsonl", lines=True)
    assert after["image"].tolist() == [f"../photos/{row}.png" for row in range(12) if row not in (5, 8)]
    assert after["label"].tolist() == ["a" if row == 3 else "ab"[row % 2] for row in range(12) if row not in (5, 8)]
    applied("b.jsonl")
    assert pd.read_json("b.jsonl", lines=True)["image"][0] == "photos/0.png"


def test_every_kind_has_a_writer():
    assert set(REWRITTEN) < set(REWRITERS)


LABELS_BESIDE = {
    "y.npy": lambda: np.save("y.npy", CODES.astype(np.uint8)),
    "y.txt": lambda: Path("y.txt").write_bytes(b"".join(b"%d%s" % (code, b"\r\n" if code else b"\n") for code in CODES)),
    "known.npz:kind": lambda: np.savez(
        "known.npz", kind=CODES.astype(np.int8), id=np.arange(N), names=NAMES, class_names=NAMES
    ),
    "known.csv:kind": lambda: known().to_csv("known.csv", index=False, sep=";"),
    "known.tsv.gz:kind": lambda: known().to_csv("known.tsv.gz", index=False, sep="\t"),
    "known.parquet:kind": lambda: known().astype({"kind": np.int8}).to_parquet("known.parquet"),
    "known.jsonl:kind": lambda: known().to_json("known.jsonl", orient="records", lines=True),
    "known.safetensors:kind": lambda: save_file({"kind": torch.from_numpy(CODES).short()}, "known.safetensors"),
}


def known():
    return pd.DataFrame({"id": [f"0{row}" for row in range(N)], "kind": CODES, "more": np.arange(N) / 7, "weight": 2.0})


def save_features(kind):
    """X.npy, or X.npz with a sparse matrix of that kind."""
    if kind == "dense":
        np.save("X.npy", np.asfortranarray(X.astype(">f4")))
        return "X.npy", "b.npy"
    save_npz("X.npz", getattr(csr_array(np.where(X > 0, X, 0)), f"to{kind}")(), compressed=kind != "csc")
    return "X.npz", "b.npz"


@pytest.mark.parametrize("labels", LABELS_BESIDE)
def test_labels_beside_features_come_back_in_their_kind_of_file(labels):
    LABELS_BESIDE[labels]()
    source, output = save_features("dense")
    scored(source, "--labels", labels)
    decide("1")
    file = labels.partition(":")[0]
    beside = f"b.labels.{file.partition('.')[2]}"
    assert f"28 samples with all that X.npy and {file} hold to b.npy and {beside}: 2 removed, 1 relabelled" in applied(output)
    assert_array_equal(np.load("b.npy"), X[KEPT])
    assert np.load("b.npy").dtype == ">f4"
    expected = CODES.copy()
    expected[3] = 1
    again = scored("b.npy", "--labels", labels.replace(file, beside), "--force")
    assert again.table["label"].astype(int).tolist() == expected[KEPT].tolist()
    log = pd.read_csv("b.npy.log.csv")
    for column, path in (("sha256", "b.npy"), ("sha256_labels", beside)):
        assert set(log[column]) == {hashlib.sha256(Path(path).read_bytes()).hexdigest()}
    held = {".npy": lambda: np.load(beside).dtype == np.uint8, ".txt": lambda: b"1\r\n" in Path(beside).read_bytes()}
    assert held.get(Path(file).suffix, lambda: True)()
    if file == "known.npz":
        with np.load(beside) as after:
            assert after["kind"].dtype == np.int8
            assert_array_equal(after["id"], KEPT)
            assert_array_equal(after["class_names"], NAMES)
    if file == "known.csv":
        lines, before = (Path(name).read_text().splitlines() for name in (beside, file))
        at = 1 + KEPT.tolist().index(3)
        assert lines[:at] + lines[at + 1 :] == [before[0], *(before[1 + row] for row in KEPT if row != 3)]
        assert lines[at] == before[4].replace(";0;", ";1;")
    if file == "known.parquet":
        expected_table = (
            known().astype({"kind": np.int8}).assign(kind=expected.astype(np.int8)).iloc[KEPT].reset_index(drop=True)
        )
        pd.testing.assert_frame_equal(pd.read_parquet(beside), expected_table)


@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "bsr"])
def test_sparse_matrices_come_back_with_their_labels(kind):
    LABELS_BESIDE["known.csv:kind"]()
    np.save("w.npy", np.arange(N) + 1.0)
    source, output = save_features(kind)
    scored(source, "--labels", "known.csv:kind", "--ids", "known.csv:id", "--weights", "w.npy")
    decide("1")
    applied(output)
    before, after = load_npz("X.npz"), load_npz("b.npz")
    assert (type(after), after.dtype) == (type(before), before.dtype)
    assert_array_equal(after.toarray(), before.toarray()[KEPT])
    packed = [ZipFile(name).infolist()[0].compress_type for name in (source, output)]
    assert packed[0] == packed[1]
    assert_array_equal(np.load("b.weights.npy"), KEPT + 1)
    kept = pd.read_csv("b.labels.csv", sep=";", dtype=str)
    assert kept["id"].tolist() == [f"0{row}" for row in KEPT]
    assert kept["kind"].tolist() == ["1" if row == 3 else str(CODES[row]) for row in KEPT]
    assert sorted(path.name for path in Path().glob("b.*")) == ["b.labels.csv", "b.npz", "b.npz.log.csv", "b.weights.npy"]


def test_files_beside_are_never_overwritten_and_nothing_is_half_written():
    np.save("b.labels.npy", CODES)
    source, _ = save_features("dense")
    scored(source, "--labels", "b.labels.npy")
    decide("1")
    there = sorted(Path().iterdir())
    for name in ("b.npy", "b.labels.npy"):
        assert "never overwritten" in fail(3, "apply", "run", "--review", "review.csv", "-o", name, "--force")
    Path("c.labels.npy").write_text("mine")
    assert "c.labels.npy exists already" in fail(3, "apply", "run", "--review", "review.csv", "-o", "c.npy")
    Path("c.labels.npy").unlink()
    np.save("b.labels.npy", CODES[::-1])
    assert "have changed since the run" in fail(2, "apply", "run", "--review", "review.csv", "-o", "c.npy")
    assert sorted(Path().iterdir()) == there


def test_labels_that_are_no_line_or_in_several_files_are_refused():
    Path("y.txt").write_text("".join(f"{code}\n" for code in CODES))
    source, output = save_features("dense")
    scored(source, "--labels", "y.txt")
    decide("two\nlines")
    assert "is no line of y.txt" in fail(2, "apply", "run", "--review", "review.csv", "-o", output, "--new-classes")
    for part in range(2):
        np.save(f"y-{part}.npy", CODES[15 * part : 15 * part + 15])
    scored(source, "--labels", "y-*.npy", "--force")
    decide("1")
    assert "labels are in 2 files, which are not written again" in fail(
        2, "apply", "run", "--review", "review.csv", "-o", output
    )
    assert not list(Path().glob("b.*"))


def test_what_cannot_come_back_is_one_line_and_writes_nothing():
    np.savez("a.npz", features=X, labels=CODES)
    scored("a.npz")
    decide("1")
    there = sorted(Path().iterdir())
    for output in ("b.jsonl", "b.safetensors"):
        said = fail(2, "apply", "run", "--review", "review.csv", "-o", output)
        assert f"{output} is a file of kind {Path(output).suffix!r}, as which only a run of one such file" in said
    assert "never overwritten" in fail(3, "apply", "run", "--review", "review.csv", "-o", "a.npz", "--force")
    np.savez("a.npz", features=X + 1, labels=CODES)
    assert "have changed since the run" in fail(2, "apply", "run", "--review", "review.csv", "-o", "b.npz")
    Path("a.npz").write_bytes(b"no archive")
    assert "a.npz cannot be read as .npz" in fail(2, "apply", "run", "--review", "review.csv", "-o", "b.npz")
    Path("a.npz").unlink()
    assert "that is still there" in fail(2, "apply", "run", "--review", "review.csv", "-o", "b.npz")
    assert sorted(Path().iterdir()) == [path for path in there if path.name != "a.npz"]
    np.savez("a.npz", features=X, labels=CODES)
    scored("a.npz", "--flip-labels", 0.2, "--force")
    decide({0: "1", 1: "2", 2: "0"}[int(lapsi.load_run("run").table["label"][3])])
    assert "not changed on purpose" in fail(2, "apply", "run", "--review", "review.csv", "-o", "b.npz")


def test_records_that_run_over_lines_are_refused():
    frame = pd.DataFrame({"x": X[:, 0].astype(float), "z": X[:, 1].astype(float), "label": CODES.tolist()})
    Path("a.jsonl").write_text("\n".join(json.dumps(record, indent=1) for record in frame.to_dict("records")))
    result = run("score", "a.jsonl", "--verify", 0, "-o", "run", "-q")
    if result.returncode == 0:
        decide("1")
        said = fail(2, "apply", "run", "--review", "review.csv", "-o", "b.jsonl")
        assert "a.jsonl has 150 lines for 30 records; expected one a line" in said
    else:
        assert "a.jsonl cannot be read as .jsonl" in result.stderr


@pytest.mark.parametrize(
    ("held", "new", "expected"),
    [
        (np.array([1, 2], np.int8), [300], np.array([1, 300], np.int64)),
        (np.array(["a", "b"]), ["long"], np.array(["a", "long"])),
        (np.array([b"a", b"b"]), ["é"], np.array([b"a", "é".encode()])),
        (np.array([1.0, 2.0], np.float32), [0.1], np.array([1.0, 0.1], np.float32)),
        (np.array([1, 2]), [0.5], np.array([1, 0.5])),
        (np.array([[1], [2]], np.uint8), [7], np.array([[1], [7]], np.uint8)),
        (np.array([True, False]), [True], np.array([True, True])),
    ],
)
def test_new_labels_widen_a_type_only_where_they_must(held, new, expected):
    found = Decided(2, (1,), np.arange(2), np.array([1]), new, np.array(["y"])).written(held)
    assert_array_equal(found, expected)
    assert found.dtype == expected.dtype
