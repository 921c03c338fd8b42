"""Runs that were changed by hand or copied in part end in one line and exit code 2, whatever was done to them."""

import io
import json
import shutil
import zipfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from stored_runs import stored_scores, write_format_0

import lapsi
from commands import run
from lapsi.results.run_files import fingerprint
from runs_for_reports import make_scores

N = 24


def with_trajectory(scores):
    """The same with LSI along the training."""
    ids = np.repeat(scores.table["id"], 2)
    values = {name: np.repeat(scores.table[name], 2) for name in ("lsi", "lsi_mean", "lsi_curvature")}
    along = pd.DataFrame({"id": ids, "epoch": np.tile([1, 2], len(scores)), **values}).reset_index(drop=True)
    return lapsi.Scores(scores.table, scores.loo_proba, scores.classes, scores.provenance, along, scores.map)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of each format."""
    folder = tmp_path_factory.mktemp("whole")
    scores = with_trajectory(stored_scores(N))
    return {0: write_format_0(scores, folder / "zero", {"source": "x.npz"}), 1: scores.save(folder / "one")}


def refused(path, word):
    """Checks what `lapsi show` says of a run that is not whole."""
    result = run("show", path)
    assert (result.returncode, result.stdout) == (2, ""), result
    assert result.stderr.count("\n") == 1, result.stderr
    assert result.stderr.startswith("lapsi: The run in"), result.stderr
    assert word in result.stderr, result.stderr


def set_in(part, name, value):
    """Another value of a setting, which stood beside all others in format 0."""

    def change(record):
        settings = record["settings"]
        (settings[part] if "format" in record else settings)[name] = value
        return json.dumps(record)

    return change


# run.json: what is done to its record (or its text), and a word of what is said
def edit(**values):
    """Other values; a name with __ goes down."""

    def change(record):
        for name, value in values.items():
            *path, last = name.split("__")
            place = record
            for part in path:
                place = place[part]
            if value is ...:
                del place[last]
            else:
                place[last] = value
        return json.dumps(record)

    return change


def nested(depth):
    """Objects in objects."""
    return lambda record: json.dumps(record)[:-1] + ', "more": ' + '{"a":' * depth + "1" + "}" * depth + "}"


def twice(name):
    """A name that stands there twice."""
    return lambda record: json.dumps(record)[:-1] + f', "{name}": {json.dumps(record[name])}}}'


RECORDS = {
    "nothing": (lambda _: "", "Expecting value"),
    "half": (lambda record: json.dumps(record)[:300], "run.json"),
    "a list": (lambda record: json.dumps([record]), "expected an object"),
    "a number": (lambda _: "3", "expected an object"),
    "words": (lambda _: "no run at all", "Expecting value"),
    "no UTF-8": (lambda record: json.dumps(record).encode() + b"\xff\xfe", "utf-8"),
    "nested 100,000 deep": (nested(100_000), "nested"),
    "nested 40 deep": (nested(40), "nested deeper"),
    "columns twice": (twice("columns"), "stands there twice"),
    "classes twice": (twice("classes"), "stands there twice"),
    "a later format": (edit(format=2), "format 2"),
    "a format in words": (edit(format="one"), "format 'one'"),
    "a format below 0": (edit(format=-1), "format -1"),
    "no samples": (edit(n_samples=...), "n_samples"),
    "samples in words": (edit(n_samples="many"), "n_samples"),
    "samples below 0": (edit(n_samples=-N), "n_samples"),
    "half a sample": (edit(n_samples=N + 0.5), "n_samples"),
    "too few samples": (edit(n_samples=N - 1), "the data set has 23"),
    "other number of classes": (edit(n_classes=4), "n_classes is 4"),
    "no classes": (edit(classes=...), "classes"),
    "classes of two types": (edit(classes=["a", "b", 3]), "several types"),
    "classes in lists": (edit(classes=[["a"], ["b"], ["c"]]), "none of strings"),
    "a class twice": (edit(classes=["a", "a", "c"]), "twice"),
    "classes out of order": (edit(classes=["c", "b", "a"]), "order"),
    "another class": (edit(classes=["a", "b", "d"]), "no class of the run"),
    "classes are numbers": (edit(classes=[0, 1, 2]), "no class of the run"),
    "no columns": (edit(columns=...), "columns"),
    "columns in a list": (edit(columns=["id", "lsi"]), "columns"),
    "no column lsi": (edit(columns__lsi=...), "no column 'lsi'"),
    "no column suggested_label": (edit(columns__suggested_label=...), "no column 'suggested_label'"),
    "a column that is not there": (edit(columns__more={"title": "m", "help": "h"}), "more"),
    "no settings": (edit(settings=...), "settings"),
    "settings in words": (edit(settings="default"), "settings"),
    "no curvature": (edit(settings__curvature=...), "curvature"),
    "weight decay in words": (set_in("objective", "weight_decay", "much"), "weight_decay"),
    "hidden layers in words": (set_in("model", "hidden", "many"), "hidden"),
    "verification in a list": (edit(verification=[1]), "verification"),
    "verified rows in words": (edit(verification__rows=["a"]), "verification.rows"),
    "no error": (edit(verification__max_relative_error=...), "max_relative_error"),
    "a random error in words": (
        edit(verification__max_relative_error_random="small"),
        "verification.max_relative_error_random",
    ),
    "neither error nor failure": (edit(verification__max_relative_error=None), "neither max_relative_error"),
    "one correlation": (edit(verification__spearman=0.5), "expected all or none"),
    "a reference that is no word": (edit(verification__reference=3), "reference"),
    "accuracy beyond 1": (edit(train_accuracy=3), "train_accuracy"),
    "accuracy is no number": (edit(train_accuracy=float("nan")), "train_accuracy"),
    "seconds in words": (edit(seconds__fit="long"), "seconds.fit"),
    "endless seconds": (edit(seconds__fit=float("inf")), "seconds.fit"),
    "a source that is no name": (edit(source=3), "source"),
    "extractor in words": (edit(extractor="resnet"), "extractor"),
    "corruption in a list": (edit(corruption=[]), "corruption"),
}
TRIAL = {"weight_decay": 0.1, "standardize": "x", "loo_loss": 1.0, "error": 0.1, "log_evidence": None, "n_trained": N}
CHOSEN = {"asked": ["weight_decay"], "chosen": TRIAL, "trials": [TRIAL], "n_losses": N, "end": ""}
OF_FORMAT_1 = {
    "a title that is no text": (edit(columns__lsi__title=3), "columns.lsi.title"),
    "no help": (edit(columns__lsi__help=...), "columns.lsi.help"),
    "a format that fills the memory": (edit(columns__lsi__format="99999999999e"), "format of column 'lsi'"),
    "weight decay still open": (set_in("objective", "weight_decay", "auto"), "leave weight_decay or standardize open"),
    "scaling still open": (set_in("model", "standardize", "auto"), "leave weight_decay or standardize open"),
    "no weight decay": (edit(settings__objective__weight_decay=...), "leave weight_decay or standardize open"),
    "a scaling that is none": (edit(regularization=CHOSEN), "regularization.chosen.standardize"),
    "no direction": (edit(columns__lsi__direction="up"), "direction"),
    "no files": (edit(files=...), "files"),
    "files in a list": (edit(files=["scores.parquet"]), "files"),
    "no file listed": (edit(files={}), "lists no scores.parquet"),
    "loo_proba.npy not listed": (edit(**{"files__loo_proba.npy": ...}), "lists no loo_proba.npy"),
    "a size in words": (edit(**{"files__loo_proba.npy__size": "big"}), "size"),
    "another hash": (edit(**{"files__loo_proba.npy__blake2b": "00"}), "not the file"),
    "data in words": (edit(data="x.npz"), "data"),
    "data from a number": (edit(data={"source": 3}), "data.source"),
    "data without source": (edit(data={"split": "train"}), "data.source"),
    "data columns in words": (edit(data={"source": "x", "columns": "all"}), "data.columns"),
}


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("kind", RECORDS)
def test_records(whole, tmp_path, kind, number):
    change, word = RECORDS[kind]
    _refuses_record(shutil.copytree(whole[number], tmp_path / "run"), change, word)


@pytest.mark.parametrize("kind", OF_FORMAT_1)
def test_records_of_this_format(whole, tmp_path, kind):
    change, word = OF_FORMAT_1[kind]
    _refuses_record(shutil.copytree(whole[1], tmp_path / "run"), change, word)


def _refuses_record(path, change, word):
    text = change(json.loads((path / "run.json").read_text()))
    (path / "run.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    refused(path, word)


def test_an_endless_record(whole, tmp_path):
    path = shutil.copytree(whole[1], tmp_path / "run")
    with (path / "run.json").open("ab") as file:
        file.truncate(2**40)  # a hole that takes no room
    refused(path, "expected at most")


# the other files: what is written instead, and a word of what is said
def array(change):
    """The numbers changed."""

    def write(path):
        np.save(path, change(np.load(path)))

    return write


def table(change):
    """The rows changed."""
    return lambda path: change(pd.read_parquet(path)).to_parquet(path, index=False)


def content(change):
    """The bytes changed."""
    return lambda path: path.write_bytes(change(path.read_bytes()))


def header(description):
    """A header that promises something else; the numbers stay."""

    def change(old):
        text = description.encode().ljust(117) + b"\n"
        return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + old[128:]

    return content(change)


def archive(path):
    """An npz in the place of an npy."""
    values = np.load(path)
    with path.open("wb") as file:
        np.savez(file, values=values)


def words(path):
    """An array of words."""
    np.save(path, np.full(np.load(path).shape, "word"))


def objects(path):
    """An array of pickled objects."""
    np.save(path, np.full((N, 3), None), allow_pickle=True)


def repeated(path):
    """A column that stands there twice."""
    rows = pq.read_table(path)
    pq.write_table(pa.table([*rows.columns, rows["lsi"]], names=[*rows.column_names, "lsi"]), path)


def zipped(path):
    """Another kind of file."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr("a", "b")
    path.write_bytes(stream.getvalue())


def folder(path):
    """A folder in the place of a file."""
    path.unlink()
    path.mkdir()


def put(name, row, value):
    """Another value in one row."""

    def change(rows):
        rows[name] = [*rows[name].iloc[:row], value, *rows[name].iloc[row + 1 :]]
        return rows

    return table(change)


PROMISE = "{{'descr': '{}', 'fortran_order': False, 'shape': {}, }}".format
ARRAYS = {
    "cut off": (content(lambda old: old[:-8]), "bytes of numbers"),
    "cut off in its header": (content(lambda old: old[:40]), ""),
    "empty": (content(lambda _: b""), ""),
    "longer": (content(lambda old: old + b"more"), "bytes of numbers"),
    "a row less": (array(lambda old: old[:-1]), "shape (23"),
    "a column less": (array(lambda old: old[:, :-1]), "of shape"),
    "an axis less": (array(np.ravel), "of shape"),
    "an axis more": (array(lambda old: old[None]), "of shape"),
    "words": (words, "<U4"),
    "whole numbers": (array(lambda old: old.astype(int)), "int64"),
    "objects": (objects, "object"),
    "an archive": (archive, "magic"),
    "not finite": (array(lambda old: np.where(np.arange(len(old))[:, None] == 5, np.nan, old).astype(old.dtype)), "not finite"),
    "8 TiB": (header(PROMISE("<f4", (2**40, 2))), "of shape"),
    "rows below 0": (header(PROMISE("<f4", (-N, 3))), "of shape"),
    "numbers of 0 bytes": (header(PROMISE("<f0", (N, 3))), ""),
    "a header of another language": (header("[1, 2]"), ""),
    "a header without end": (header("{'descr': "), ""),
    "a later version": (content(lambda old: old[:6] + b"\x09" + old[7:]), "version"),
    "a folder": (folder, "missing"),
}
PROBABILITIES = {
    "missing": (lambda path: path.unlink(), "missing"),
    "no probabilities": (array(lambda old: old * 2), "no probabilities"),
    "below 0": (array(lambda old: old - np.array([1, -1, 0], old.dtype)), "no probabilities"),
}
ROWS = {
    "missing": (lambda path: path.unlink(), "missing"),
    "empty": (content(lambda _: b""), ""),
    "cut off": (content(lambda old: old[:-200]), ""),
    "text": (content(lambda _: b"id,lsi\n1,2\n"), ""),
    "zipped": (zipped, ""),
    "a folder": (folder, "missing"),
    "no rows": (table(lambda rows: rows.iloc[:0]), "no rows"),
    "a row less": (table(lambda rows: rows.iloc[:-1]), "loo_proba.npy holds float32 of shape (24, 3); expected"),
    "rows twice": (table(lambda rows: pd.concat([rows, rows])), "the data set has 24"),
    "a column less": (table(lambda rows: rows.drop(columns="lsi")), "'lsi' 0 times"),
    "a column twice": (repeated, "'lsi' 2 times"),
    "lsi in words": (table(lambda rows: rows.assign(lsi="much")), "'lsi' holds"),
    "lsi is true": (table(lambda rows: rows.assign(lsi=True)), "'lsi' holds"),
    "lsi not finite": (put("lsi", 3, np.nan), "'lsi'"),
    "lsi below 0": (put("lsi", 3, -1.0), "'lsi'"),
    "ranks with fractions": (table(lambda rows: rows.assign(rank=rows["rank"] + 0.5)), "'rank' holds"),
    "an id twice": (put("id", 3, "s4"), "'id'"),
    "an id missing": (put("id", 3, None), "'id'"),
    "a row twice": (put("row", 3, 4), "'row'"),
    "a row below 0": (put("row", 3, -4), "'row'"),
    "a label of no class": (put("label", 3, "z"), "'label'"),
    "a label missing": (put("label", 3, None), "'label'"),
    "a prediction of no class": (put("loo_label", 3, "z"), "'loo_label'"),
    "a suggestion of no class": (put("suggested_label", 3, "z"), "'suggested_label'"),
    "labels are numbers": (table(lambda rows: rows.assign(label=1)), "'label'"),
}
ALONG = {
    "cut off": (content(lambda old: old[:-200]), ""),
    "no rows": (table(lambda rows: rows.iloc[:0]), "no rows"),
    "other samples": (put("id", 3, "z"), "other samples"),
    "samples missing": (table(lambda rows: rows.iloc[2:]), "other samples"),
    "a column less": (table(lambda rows: rows.drop(columns="epoch")), "'epoch' 0 times"),
    "epochs in words": (table(lambda rows: rows.assign(epoch="one")), "'epoch' holds"),
}
FILES = [
    *(("loo_proba.npy", kind, *what) for kind, what in (ARRAYS | PROBABILITIES).items()),
    *(("map.npy", kind, *what) for kind, what in ARRAYS.items()),
    *(("scores.parquet", kind, *what) for kind, what in ROWS.items()),
    *(("trajectory.parquet", kind, *what) for kind, what in ALONG.items()),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind", "change", "word"), FILES, ids=[f"{name}: {kind}" for name, kind, *_ in FILES])
def test_files(whole, tmp_path, name, kind, change, word):
    zero, one = (shutil.copytree(whole[number], tmp_path / str(number)) for number in (0, 1))
    change(zero / name)
    refused(zero, word)
    change(one / name)
    refused(one, "missing" if not (one / name).is_file() else "is not the file that was written")
    if (one / name).is_file():  # even where the list of files was changed as well
        record = json.loads((one / "run.json").read_text())
        stored = fingerprint(one / name)
        record["files"][name] = {"size": stored.size, "blake2b": stored.blake2b}
        (one / "run.json").write_text(json.dumps(record))
        refused(one, word)


@pytest.mark.parametrize("name", ["scores.parquet", "loo_proba.npy", "map.npy", "trajectory.parquet"])
def test_a_run_copied_over_another(whole, tmp_path, name):
    path = shutil.copytree(whole[1], tmp_path / "run")
    other = with_trajectory(make_scores(N, seed=1, ids=[f"s{row}" for row in range(N)], classes=["a", "b", "c"]))
    other.save(tmp_path / "other")
    shutil.copy(tmp_path / "other" / name, path / name)
    refused(path, f"{name} is not the file that was written")


@pytest.mark.parametrize("name", ["scores.parquet", "loo_proba.npy", "map.npy", "trajectory.parquet"])
def test_a_run_copied_in_part(whole, tmp_path, name):
    path = shutil.copytree(whole[1], tmp_path / "run")
    (path / name).unlink()
    refused(path, f"{name} is missing")


@pytest.mark.parametrize("kind", ["8 TiB", "an axis more", "words", "objects", "cut off"])
def test_headers_are_checked_before_memory_is_taken(whole, tmp_path, kind, monkeypatch):
    path = shutil.copytree(whole[0], tmp_path / "run")
    ARRAYS[kind][0](path / "loo_proba.npy")
    monkeypatch.setattr(np, "load", lambda *_, **__: pytest.fail("the array was loaded"))
    with pytest.raises(lapsi.InputError, match=r"loo_proba\.npy holds"):
        lapsi.load_run(path)


def test_words_of_a_check_are_shown_and_not_obeyed(whole, tmp_path):
    for number, change in enumerate(({"failure": "\x1b[2Jmine"}, {"reference": "\x1b[2Jmine"})):
        path = shutil.copytree(whole[1], tmp_path / str(number))
        record = json.loads((path / "run.json").read_text())
        record["verification"] |= change
        (path / "run.json").write_text(json.dumps(record))
        shown = run("show", path)
        assert shown.returncode == 0, shown.stderr
        assert "\x1b" not in shown.stdout
        assert "mine" in shown.stdout
