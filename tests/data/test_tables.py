"""Tables as they are: what each column becomes, against features made by hand."""

import re
import sys

import numpy as np
import pandas as pd
import polars
import pyarrow as pa
import pyarrow.parquet
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array, random_array

import lapsi
from lapsi.data.readers.columns import Columns
from lapsi.data.readers.source import open_source
from lapsi.data.tables import dataset as table_data
from lapsi.data.tables.column import FEATURE, GROUP, IDS, LEFT_OUT, SHOWN, TABLE, in_words
from lapsi.data.tables.dataset import TAKEN, labelled
from lapsi.data.tables.encode import encode, gaps_of
from lapsi.data.tables.roles import is_contributor, is_identifier, roles_of
from lapsi.results.columns import COLUMNS, ISSUES, TRAVELLING
from lapsi.results.evidence.choose import evidence_of

N = 60
RNG = np.random.default_rng(0)
WORDS = ["good", "bad", "film", "plot", "it", "is"]
Y = np.arange(N) % 2
FRAME = pd.DataFrame(
    {
        "person_id": [f"p{row}" for row in range(N)],
        "age": np.where(np.arange(N) % 7 == 3, np.nan, np.arange(N) % 11 + 20.5),
        "work": [["state", "private", None][row % 3] for row in range(N)],
        "joined": pd.date_range("2019-12-30", periods=N).astype(str),
        "notes": [" ".join(RNG.choice(WORDS, 6)) for _ in range(N)],
        "member": np.arange(N) % 5 == 0,
        "household": np.arange(N) // 2,
        "country": "US",
        "nothing": None,
        "wages": [["12.5", "?", "11"][row % 3] for row in range(N)],
    }
)


def role_of(columns):
    return {column.name: column.role for column in columns}


def made_by_hand():
    """Features of the frame without its texts, from first principles."""
    age = FRAME["age"].to_numpy()
    known = np.sort(age[~np.isnan(age)])
    middle = (known[(len(known) - 1) // 2] + known[len(known) // 2]) / 2
    days = [np.datetime64(day) for day in FRAME["joined"]]
    parts = [
        [float(str(day)[:4]), float(str(day)[5:7]), float(str(day)[8:]), day.astype("datetime64[s]").astype(float)]
        for day in days
    ]
    weekdays = [(day.astype(int) + 3) % 7 + 1 for day in days]  # day 0 was a Thursday
    work = FRAME["work"].tolist()
    wages = np.array([np.nan if text == "?" else float(text) for text in FRAME["wages"]])
    return {
        "age": np.c_[np.where(np.isnan(age), middle, age), np.isnan(age)],
        "work": np.array([[each == "private", each == "state", pd.isna(each)] for each in work], float),
        "joined": np.c_[np.array(parts), weekdays],
        "member": FRAME["member"].to_numpy(float)[:, None],
        "wages": np.c_[np.where(np.isnan(wages), 11.75, wages), np.isnan(wages)],
    }


def test_features_are_those_made_by_hand():
    encoded = encode(FRAME.drop(columns="notes"), "x.csv", chosen=False, has_ids=False, has_group=False)
    expected = made_by_hand()
    assert encoded.names(FEATURE) == list(expected)
    assert [column.n_features for column in encoded.columns if column.role == FEATURE] == [2, 3, 5, 1, 2]
    start = 0
    for name, values in expected.items():
        found = encoded.features[:, start : start + values.shape[1]]
        assert_allclose(found, values, rtol=1e-7, err_msg=name)  # seconds are float32
        start += values.shape[1]
    assert start == encoded.features.shape[1]


def test_every_column_is_told():
    encoded = encode(FRAME, "x.csv", chosen=False, has_ids=False, has_group=False)
    told = {column.name: column.became for column in encoded.columns}
    assert role_of(encoded.columns) == {
        "person_id": IDS,
        "household": GROUP,
        "country": LEFT_OUT,
        "nothing": LEFT_OUT,
        **dict.fromkeys(("age", "work", "joined", "notes", "member", "wages"), FEATURE),
    }
    assert told["age"] == "number, 9 gaps filled with the median 24.5 and marked"
    assert told["work"] == "one-hot, 2 categories, 20 gaps as one more"
    assert told["joined"] == "date: year, month, day, total seconds, weekday"
    assert told["notes"].startswith("text, 60 different, SVD of ")
    assert told["country"] == "left out: the same for every sample"
    assert told["nothing"] == "left out: it is empty"
    assert told["wages"] == "number, 20 gaps filled with the median 11.75 and marked"
    again = encode(FRAME, "x.csv", chosen=False, has_ids=False, has_group=False)
    assert_array_equal(again.features, encoded.features)


@pytest.mark.parametrize("column", ["work", "joined", "notes", "wages"])
def test_what_others_hold_does_not_change_a_column(column):
    alone = encode(FRAME[[column]], "x.csv", chosen=True).features
    whole = encode(FRAME[["age", column, "member"]], "x.csv", chosen=True).features
    assert_array_equal(whole[:, 2:-1], alone)


def test_texts_that_are_alike_lie_close():
    texts = [f"the {word} was seen by many people again" for word in ("film", "plot") for _ in range(30)]
    features = encode(pd.DataFrame({"t": [f"{text} {row}" for row, text in enumerate(texts)]}), "x", chosen=True).features
    features -= features.mean(0)
    scaled = features / np.linalg.norm(features, axis=1, keepdims=True)
    alike = scaled @ scaled.T
    assert alike[:30, :30].mean() > alike[:30, 30:].mean() + 0.3


def test_gaps_in_texts_and_dates_are_marked():
    frame = FRAME[["notes", "joined"]].copy()
    frame.loc[4, "notes"] = None
    frame.loc[[5, 6], "joined"] = None
    encoded = encode(frame, "x.csv", chosen=True)
    texts = encoded.columns[0].n_features
    assert_array_equal(np.flatnonzero(encoded.features[:, texts - 1]), [4])
    assert_array_equal(encoded.features[4, : texts - 1], 0)
    assert_array_equal(np.flatnonzero(encoded.features[:, -1]), [5, 6])
    assert "1 gap marked" in encoded.columns[0].became
    assert "2 gaps filled with the median and marked" in encoded.columns[1].became


def test_gaps_are_counted_as_they_were_told(tmp_path):
    FRAME.assign(label=Y).to_csv(tmp_path / "a.csv", index=False)
    for held in (labelled(FRAME, Y), open_source(str(tmp_path / "a.csv"), Columns())):
        record = held.made_by[TABLE]
        found = gaps_of(held.columns[record[SHOWN]], "x.csv").sum()
        told = {each["name"]: re.search(r"(\d+) gaps?", each["became"]) for each in record["columns"]}
        assert {name: int(told[name][1]) for name in found.index if told[name]} == {"age": 9, "work": 20, "wages": 20}
        assert found[found > 0].to_dict() == {"age": 9, "work": 20, "wages": 20}


@pytest.mark.parametrize(
    ("name", "identifies", "groups"),
    [
        ("id", True, False),
        ("PassengerId", True, False),
        ("patientID", True, False),
        ("uuid", True, False),
        ("customer", False, True),
        ("paid", False, False),
        ("solid", False, False),
        ("user type", False, False),
        ("id count", False, False),
    ],
)
def test_names_of_identifiers_and_groups(name, identifies, groups):
    assert (is_identifier(name), is_contributor(name)) == (identifies, groups)


def test_roles_by_values():
    frame = pd.DataFrame(
        {
            "Unnamed: 0": np.arange(N),
            "index": np.arange(N)[::-1],  # not counting up
            "ticket": [f"T{row}" for row in range(N)],
            "PassengerId": np.arange(N) + 7,
            "store_id": np.arange(N) % 4,
            "name": [f"Braund, Mr. Owen {row}" for row in range(N)],
            "tags": [["a"]] * N,
        }
    )
    found = roles_of(frame, has_ids=False, has_group=False)
    assert {name: column.role for name, column in found.items()} == {
        "Unnamed: 0": LEFT_OUT,
        "ticket": LEFT_OUT,
        "PassengerId": IDS,
        "store_id": GROUP,
        "tags": LEFT_OUT,
    }
    assert found["tags"].became == "left out: it holds list, of which no features are made"
    known = roles_of(frame, has_ids=True, has_group=True)
    assert {column.role for column in known.values()} == {LEFT_OUT}


def test_a_table_of_numbers_needs_no_extra_and_has_the_same_numbers(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "skrub", None)
    table = pd.DataFrame(RNG.normal(size=(N, 3)), columns=["f_a", "f_b", "f_c"]).assign(label=Y)
    table.to_csv(tmp_path / "a.csv", index=False)
    by_prefix = open_source(str(tmp_path / "a.csv"), Columns(prefix="f_"))
    for columns in (Columns(), Columns(features="f_a,f_b,f_c"), Columns(features=("f_a", "f_b", "f_c"))):
        plain = open_source(str(tmp_path / "a.csv"), columns)
        assert_array_equal(np.asarray(plain.features), np.asarray(by_prefix.features))
        assert plain.digest() == by_prefix.digest()
    assert labelled(table[["f_a", "f_b", "f_c"]], Y).digest() == lapsi.data.dataset.make_dataset(table.iloc[:, :3], Y).digest()
    table.loc[3, "f_b"] = np.nan
    assert np.isfinite(np.asarray(labelled(table[["f_a", "f_b"]], Y).features)).all()


def test_a_missing_extra_is_one_line(tmp_path, monkeypatch):
    FRAME.assign(label=Y).to_csv(tmp_path / "a.csv", index=False)
    monkeypatch.setitem(sys.modules, "skrub", None)
    with pytest.raises(
        lapsi.InputError, match=r"no numbers \('work', .*extra 'tables'.*pip install 'lapsi\[tables\]'.*--features age"
    ):
        open_source(str(tmp_path / "a.csv"), Columns())


@pytest.mark.parametrize(
    "convert",
    [lambda frame: frame, polars.from_pandas, lambda frame: pa.Table.from_pandas(frame, preserve_index=False)],
    ids=["pandas", "polars", "arrow"],
)
def test_frames_of_every_library_and_files_are_the_same_data(tmp_path, convert):
    table = FRAME.drop(columns="nothing").assign(label=Y)
    table.to_parquet(tmp_path / "a.parquet")
    file = open_source(str(tmp_path / "a.parquet"), Columns())
    held = labelled(convert(table), "label")
    assert held.digest() == file.digest()
    assert_array_equal(held.ids, FRAME["person_id"])
    assert_array_equal(held.columns["group"], FRAME["household"])
    assert_array_equal(held.columns["notes"], FRAME["notes"])
    assert held.made_by == file.made_by


LARGE = [None if row == 3 else 2**60 + row // 2 for row in range(N)]  # next to each other nothing else but integers tells them


@pytest.mark.parametrize(
    "convert",
    [
        lambda table, _: table.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get),
        lambda table, _: polars.from_arrow(table),
        lambda table, _: table,
        lambda table, folder: pa.parquet.write_table(table, folder / "a.parquet"),
        lambda table, folder: table.to_pandas(integer_object_nulls=True).to_csv(folder / "a.csv", index=False),
    ],
    ids=["pandas", "polars", "arrow", "parquet", "csv"],
)
@pytest.mark.parametrize("name", ["patient", "count"])
def test_large_integers_beside_gaps_are_not_merged(tmp_path, convert, name):
    """`name`: of a group of the samples, and of a column that travels along."""
    table = pa.table({"age": np.arange(N) % 7, name: pa.array(LARGE, pa.int64()), "label": Y})
    frame = convert(table, tmp_path)
    held = labelled(frame, "label") if frame is not None else open_source(str(next(tmp_path.iterdir())), Columns())
    kept = held.columns[GROUP if name == "patient" else name]
    assert [None if pd.isna(value) else int(value) for value in kept] == LARGE


def test_a_column_of_a_file_that_is_no_text_is_told(tmp_path):
    lines = "".join(f"{row},{'é' if row == 5 else 'e'}{row % 2},{row % 2}\n" for row in range(N))
    (tmp_path / "a.csv").write_bytes(f"age,work,label\n{lines}".encode("latin-1"))
    with pytest.raises(lapsi.InputError, match="Column 'work': row 5 is no text in UTF-8; save the file in UTF-8"):
        open_source(str(tmp_path / "a.csv"), Columns())
    held = open_source(str(tmp_path / "a.csv"), Columns(features="age"))  # what is not asked for is not looked at
    assert held.n_samples == N


def test_the_hash_tells_other_cells_and_names():
    digests = [labelled(FRAME, Y).digest()]
    for column, value in (("work", "state"), ("notes", "another word"), ("joined", "2020-02-02"), ("age", 3.0)):
        changed = FRAME.copy()
        changed.loc[2, column] = value
        digests.append(labelled(changed, Y).digest())
    digests.append(labelled(FRAME.rename(columns={"age": "years"}), Y).digest())
    assert len(set(digests)) == 6


def test_an_index_of_names_goes_before_a_column_of_ids():
    named = labelled(FRAME.set_axis([f"row {row}" for row in range(N)]), Y)
    assert named.ids[3] == "row 3"
    assert named.columns["person_id"][3] == "p3"
    given = labelled(FRAME, Y, ids=np.arange(N) + 5)
    assert given.ids[0] == 5


def test_numbers_that_are_left_of_rows_go_behind_a_column_of_ids():
    """An index of integers is what a filter or a shuffle leaves of the numbers of the rows."""
    order = np.random.default_rng(1).permutation(N)[:50]
    held = labelled(FRAME.iloc[order], Y[order])
    assert held.ids.tolist() == FRAME["person_id"].iloc[order].tolist()
    assert held.source == "a frame"
    without = labelled(FRAME.drop(columns="person_id").iloc[order], Y[order])
    assert without.ids.tolist() == order.tolist()
    named = FRAME.iloc[order].rename_axis("patient")
    assert labelled(named, Y[order]).ids.tolist() == order.tolist()


def test_labels_of_the_same_rows_in_another_order_are_refused():
    labels = pd.Series(Y)
    shuffled = FRAME.sample(frac=1, random_state=0)
    for frame in (shuffled, shuffled[["age"]].fillna(0)):
        with pytest.raises(lapsi.InputError, match=r"same samples as that of X in another order; put y .* y.loc\[X.index\]"):
            labelled(frame, labels)
        aligned = labelled(frame, labels.loc[frame.index])
        assert_array_equal(aligned.labels, Y[frame.index])
        assert labelled(frame, labels.to_numpy()).labels.tolist() == Y.tolist()
    assert labelled(FRAME, labels.set_axis(np.arange(N) + 100)).labels.tolist() == Y.tolist()  # other samples say nothing
    by_two = labels.set_axis(pd.MultiIndex.from_arrays([np.arange(N), np.arange(N)]))
    assert labelled(FRAME, by_two).labels.tolist() == Y.tolist()
    others = labels.loc[shuffled.index]
    for frame in (polars.from_pandas(shuffled), pa.Table.from_pandas(shuffled, preserve_index=False)):
        assert labelled(frame, others).labels.tolist() == others.tolist()  # whose rows have no names


@pytest.mark.parametrize("kind", [list, tuple, np.array])
def test_a_column_of_vectors_is_features(tmp_path, kind):
    vectors = RNG.normal(size=(N, 5))
    frame = pd.DataFrame({"who": FRAME["person_id"], "seen": [kind(row) for row in vectors]})
    held = labelled(frame, Y)
    assert_array_equal(np.asarray(held.features), vectors)
    assert held.ids.tolist() == FRAME["person_id"].tolist()
    assert list(held.columns) == []
    beside = labelled(frame.assign(age=FRAME["age"]), Y)
    assert np.asarray(beside.features).shape == (N, 7)
    assert "seen 5 numbers" in " ".join(" ".join(in_words(beside.made_by[TABLE])).split())
    changed = frame.assign(age=FRAME["age"])
    changed["seen"] = [kind(row) for row in vectors + 1e-12]
    assert labelled(changed, Y).digest() != beside.digest()
    pa.parquet.write_table(pa.table({"seen": list(vectors), "label": Y}), tmp_path / "x.parquet")
    assert_array_equal(np.asarray(open_source(str(tmp_path / "x.parquet"), Columns()).features), vectors)


def test_names_that_are_taken_are_kept_under_others():
    frame = FRAME[["age", "work"]].assign(rank=FRAME["work"], text=FRAME["notes"])
    held = labelled(frame, Y)
    assert list(held.columns) == ["age", "work", "rank (given)", "text (given)"]
    assert held.made_by[TABLE]["shown"] == list(held.columns)
    scores = lapsi.score(frame, Y, verify=0, progress=False)
    assert scores.table["rank (given)"].fillna("").tolist() == FRAME["work"].fillna("").tolist()
    own = set()
    for task, outputs in (("classes", ["a", "b"]), ("multilabel", ["a", "b"]), ("regression", ["target"])):
        own |= {name for name in evidence_of(task).columns(np.array(outputs)) if not name.endswith(("_a", "_b"))}
    assert own | {*COLUMNS, *ISSUES, *TRAVELLING} <= TAKEN


def test_wide_tables_keep_their_first_columns(monkeypatch):
    monkeypatch.setattr(table_data, "KEPT", 2)
    held = labelled(FRAME, Y)
    assert list(held.columns) == ["group", "age", "work"]
    assert held.made_by[TABLE]["shown"] == ["age", "work"]


@pytest.mark.parametrize("kind", [csr_array, lambda dense: csr_array(dense).tocoo()])
def test_sparse_features_lie_as_in_an_exact_svd(kind):
    dense = random_array((N, 400), density=0.05, rng=np.random.default_rng(1)).toarray()
    held = labelled(kind(dense), Y)
    found = np.asarray(held.features)
    assert found.shape == (N, N - 1)
    u, s, _ = np.linalg.svd(dense, full_matrices=False)
    nearest = (u[:, : N - 1] * s[: N - 1]) @ (u[:, : N - 1] * s[: N - 1]).T
    assert_allclose(found @ found.T, nearest, atol=1e-8)
    (told,) = in_words(held.made_by[TABLE])[1:]
    assert "sparse, 60 × 400, 5.00% not zero: SVD of 59 dimensions" in told
    other = dense.copy()
    other[other > 0] *= 2
    assert labelled(kind(other), Y).digest() != held.digest()
    few = labelled(kind(dense[:, :20]), Y)
    assert_array_equal(np.asarray(few.features), dense[:, :20])
    assert few.digest() == labelled(dense[:, :20], Y).digest()
    with pytest.raises(lapsi.InputError, match="not all finite"):
        labelled(csr_array(np.where(dense > 0, np.nan, 0.0)), Y)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (FRAME[["person_id", "country"]], "has no column that features can be made of: person_id .names the samples.*country"),
        (
            FRAME[["age", "work"]].assign(age=np.where(np.arange(N) == 0, np.inf, 1.0)),
            "Column 'age' of The frame holds an infinite number, the first in row 0",
        ),
        (
            pd.DataFrame({"a": np.arange(N) / 7, "b": np.where(np.arange(N) == 2, -np.inf, 1.0)}),
            "Column 'b' of The frame holds an infinite number, the first in row 2",
        ),
        (
            pd.DataFrame({"a": np.arange(N) / 7, "b": np.full(N, 1j)}),
            "Column 'b' of The frame holds complex numbers; expected real",
        ),
        (
            pd.DataFrame({name: [f"{name}{row % 35}" for row in range(N)] for name in "ab"}),
            "has 60 rows but 70 categories .a 35, b 35., more than can be told apart",
        ),
        (pd.concat([FRAME[["age", "work"]], FRAME[["age"]]], axis=1), "Two columns of The frame are named 'age'"),
        (FRAME[:0], "The frame has no rows; expected at least 2"),
        (pd.DataFrame({"a": [[1.0, 2.0]] * (N - 1) + [[1.0]]}), "a .left out: it holds list, of which no features are made"),
        (pd.DataFrame({"a": [["1", "2"]] * N}), "a .left out: it holds list, of which no features are made"),
        (
            pd.DataFrame({"a": [[1.0, 2.0]] * 3 + [[1.0, np.nan]] * (N - 3)}),
            "Column 'a' of The frame holds no finite .* row 3",
        ),
        (pd.DataFrame({"a": [None] + [[1.0, 2.0]] * (N - 1)}), "Column 'a' of The frame holds a gap, or .* in row 0; mend or"),
        (pd.DataFrame({name: ["x"] * N for name in "abcdef"}), "d .left out: the same for every sample.; and 2 more.$"),
    ],
)
def test_frames_that_cannot_be_used(frame, message):
    with pytest.raises(lapsi.InputError, match=message):
        labelled(frame, Y)


def test_a_label_column_that_is_not_there_is_told_with_near_ones():
    with pytest.raises(lapsi.InputError, match="has no labels named 'membr'; it has .* Did you mean 'member'"):
        labelled(FRAME, "membr")


# units


def mixed(factor=1):
    """Numbers, dates and categories, which as a matrix are scaled by one factor."""
    rng = np.random.default_rng(3)
    return pd.DataFrame(
        {
            "income": factor * rng.normal(size=N),
            "joined": pd.to_datetime("2019-12-30") + pd.to_timedelta(rng.permutation(N), "D"),
            "work": rng.choice(list("abcdefgh"), N),
        }
    )


def test_the_unit_of_a_column_changes_no_score():
    found, other = (lapsi.score(mixed(factor), Y, verify=0, progress=False) for factor in (1, 1000))
    assert_allclose(other.lsi, found.lsi, rtol=1e-6)
    assert_allclose(other.loo_proba, found.loo_proba, atol=1e-6)
    matrix = lapsi.score(np.asarray(labelled(mixed(), Y).features), Y, verify=0, progress=False)
    assert [each.provenance.settings["model"]["standardize"] for each in (matrix, found)] == ["one", "each"]
    assert found.provenance.regularization["asked"] == ["weight_decay"]
    shuffled = lapsi.score(mixed().assign(income=mixed()["income"].to_numpy()[::-1]), Y, verify=0, progress=False)
    assert np.abs(shuffled.lsi / found.lsi - 1).max() > 0.1


def test_a_table_has_units_and_a_matrix_none(tmp_path):
    mixed().assign(label=Y).to_csv(tmp_path / "a.csv", index=False)
    numbers = pd.DataFrame(RNG.normal(size=(N, 3)), columns=["f_a", "f_b", "f_c"])
    numbers.assign(label=Y).to_csv(tmp_path / "b.csv", index=False)
    of_table = [
        labelled(mixed(), Y),
        labelled(numbers, Y),
        labelled(polars.from_pandas(numbers), Y),
        open_source(str(tmp_path / "a.csv"), Columns()),
        open_source(str(tmp_path / "b.csv"), Columns()),
    ]
    matrix = [
        labelled(numbers.to_numpy(), Y),
        labelled(pd.DataFrame(numbers.to_numpy()), Y),
        labelled(csr_array(numbers.to_numpy()), Y),
        open_source(str(tmp_path / "b.csv"), Columns(prefix="f_")),
    ]
    assert [each.own_units for each in (*of_table, *matrix)] == [True] * 5 + [False] * 4
    assert in_words(of_table[0].made_by[TABLE])[-1].startswith("Each of these features is scaled by itself")
