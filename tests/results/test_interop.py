"""Scores in pandas, Hugging Face data sets, FiftyOne and quanda."""

from dataclasses import replace

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from cleanlab.multilabel_classification.filter import find_label_issues
from numpy.testing import assert_array_equal

import lapsi
from lapsi.results.interop import add_columns, to_fiftyone, to_label_lists, to_self_influence, written
from runs_of_targets import digits_as_bits, numbers

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(30, 3)), np.array(["a", "b"] * 15)
NAMES = [f"s{row}" for row in range(30)]


@pytest.fixture(scope="module")
def scores():
    columns = {"path": [f"/photos/{name}.png" for name in NAMES]}
    return lapsi.score(X, Y, ids=NAMES, columns=columns, verify=0, progress=False)


def test_pandas_round_trip(scores):
    again = scores.from_pandas(scores.to_pandas())
    pd.testing.assert_frame_equal(again.table, scores.table)
    assert_array_equal(again.loo_proba, scores.loo_proba)
    frame = scores.to_pandas().assign(mine=range(30)).sort_values("lsi").iloc[5:15]
    some = scores.from_pandas(frame)
    rows = frame.index.to_numpy()
    assert_array_equal(some.lsi, scores.lsi[rows])
    assert_array_equal(some.loo_proba, scores.loo_proba[rows])
    assert_array_equal(some.map, scores.map[rows])
    assert some.carried == ["path", "mine"]
    assert_array_equal(some.classes[some.label_codes], some.table["label"])
    for bad, message in (
        (frame.drop(columns="lsi"), "no column 'lsi'"),
        (frame.assign(id="unknown"), "samples that were not scored"),
        (pd.concat([frame, frame]), "more than once"),
    ):
        with pytest.raises(lapsi.InputError, match=message):
            scores.from_pandas(bad)


def test_round_trip_of_a_trajectory(scores):
    run = lapsi.score(X, Y, recipe=lapsi.Recipe(epochs=4, seeds=1), every=2, verify=0, progress=False)
    some = run.from_pandas(run.to_pandas().iloc[[3, 9]])
    assert set(some.trajectory["id"]) == {3, 9}
    assert len(some.trajectory) == 4


@pytest.mark.parametrize("kind", ["pandas", "datasets"])
def test_columns_go_beside_the_data(scores, kind):
    order = RNG.permutation(32)  # two rows that were not scored
    frame = pd.DataFrame({"name": np.array([*NAMES, "new", "newer"])[order], "value": order})
    data = frame if kind == "pandas" else datasets.Dataset.from_pandas(frame)
    scored = add_columns(data, scores, ids="name")
    table = scored if kind == "pandas" else scored.to_pandas()
    assert [name for name in table.columns if name.startswith("lapsi_")] == [f"lapsi_{name}" for name in written(scores)]
    by_name = scores.table.set_index("id")
    for row in table.to_dict("records"):
        if row["name"] in by_name.index:
            assert row["lapsi_lsi"] == by_name.loc[row["name"], "lsi"]
            expected, got = by_name.loc[row["name"], "suggested_label"], row["lapsi_suggested_label"]
            assert pd.isna(got) if pd.isna(expected) else got == expected
        else:
            assert pd.isna(row["lapsi_lsi"])
    assert "lapsi_lsi" not in (data.columns if kind == "pandas" else data.column_names)
    for arguments, message in (
        ({"columns": ["nope"], "ids": "name"}, "no column 'nope'"),
        ({"ids": "nope"}, "no column 'nope'; they have name, value"),
        ({"ids": "value"}, "30 scored samples do not occur"),
    ):
        with pytest.raises(lapsi.InputError, match=message):
            add_columns(data, scores, **arguments)
    with pytest.raises(lapsi.InputError, match="have a column 'lapsi_lsi' already"):
        add_columns(scored, scores, ids="name")


def test_row_numbers_are_ids():
    run = lapsi.score(X, Y, indices=[2, 5], verify=0, progress=False)
    table = add_columns(pd.DataFrame({"value": range(30)}), run, ["lsi"])
    assert np.flatnonzero(table["lapsi_lsi"].notna()).tolist() == [2, 5]
    assert table["lapsi_lsi"][5] == run.lsi[1]
    assert pd.api.types.is_integer_dtype(add_columns(pd.DataFrame({"value": range(30)}), run)["lapsi_rank"])
    with pytest.raises(lapsi.InputError, match="have 40 rows, the run is of 30 samples; name the column of ids"):
        add_columns(pd.DataFrame({"value": range(40)}), run)
    named = lapsi.score(X, Y, ids=np.arange(30)[::-1], verify=0, progress=False)  # ids that look like rows and are none
    np.testing.assert_array_equal(add_columns(pd.DataFrame({"value": range(30)}), named)["lapsi_lsi"], named.lsi)


def test_rows_of_a_source_that_was_read_in_part():
    def left_out(indices, **changes):  # rows 1 and 4 of 32 could not be read
        run = lapsi.score(X, Y, indices=indices, verify=0, progress=False)
        table = run.table.assign(row=np.delete(np.arange(32), [1, 4])[run.table["row"]])
        return replace(run, table=table, provenance=replace(run.provenance, **changes))

    frame = pd.DataFrame({"value": range(32)})
    part = left_out([0, 1, 2], n_source=32)
    assert np.flatnonzero(add_columns(frame, part, ["lsi"])["lapsi_lsi"].notna()).tolist() == [0, 2, 3]
    whole = left_out(None, n_source=32)
    for data, run in ((frame.head(30), part), (frame.head(31), whole)):
        with pytest.raises(lapsi.InputError, match="name the column of ids"):
            add_columns(data, run)
    earlier = left_out(None, n_source=None)  # as runs were that did not keep the number
    assert_array_equal(add_columns(frame, earlier)["lapsi_lsi"].dropna(), earlier.lsi)
    plain = replace(part, table=part.table.assign(row=[0, 1, 2]), provenance=earlier.provenance)
    assert_array_equal(add_columns(frame.head(30), plain)["lapsi_lsi"].dropna(), plain.lsi)
    with pytest.raises(lapsi.InputError, match="name the column of ids"):
        add_columns(frame, plain)


def test_fiftyone(scores):
    fields = to_fiftyone(scores)
    assert set(fields) == {"lsi", "lsi_rank", "label_quality", "mistakenness", "suggested_label"}
    for row, path in enumerate(scores.table["path"]):
        assert fields["lsi"][path] == scores.lsi[row]
        assert type(fields["lsi"][path]) is float
        assert type(fields["lsi_rank"][path]) is int
        assert fields["mistakenness"][path] == pytest.approx(1 - scores.table["label_quality"][row])
        assert fields["suggested_label"][path] in ("a", "b", None)
    assert list(to_fiftyone(scores, "id")["lsi"]) == NAMES
    with pytest.raises(lapsi.InputError, match="no column 'file'"):
        to_fiftyone(scores, "file")


def test_quanda(scores):
    influence = to_self_influence(scores)
    assert influence.dtype == torch.float32
    np.testing.assert_allclose(influence.numpy(), scores.lsi, rtol=1e-6)
    some = lapsi.score(X, Y, indices=[2, 5], verify=0, progress=False)
    backwards = lapsi.score(X, Y, indices=np.arange(30)[::-1], verify=0, progress=False)
    np.testing.assert_allclose(to_self_influence(backwards).numpy(), scores.lsi, rtol=1e-4)
    with pytest.raises(lapsi.InputError, match="2 of 30 samples were scored"):
        to_self_influence(some)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "own"), [(lambda: numbers(1), ["loo_label", "loo_deviation"]), (digits_as_bits, ["doubted_label"])]
)
def test_columns_of_every_kind_of_targets(make, own):
    run = make()
    table = add_columns(pd.DataFrame({"value": range(len(run))}), run)
    assert [name for name in table if name.startswith("lapsi_")] == [f"lapsi_{name}" for name in written(run)]
    assert written(run) == ["lsi", "rank", "label_quality", "suggested_label", *own]
    assert_array_equal(table[f"lapsi_{own[0]}"], run.table[own[0]])
    suggested = to_fiftyone(run, "id")["suggested_label"]
    for key, text in zip(run.table["id"].astype(str), run.table["suggested_label"], strict=True):
        expected = text if run.task == "regression" or pd.isna(text) else [each for each in text.split("|") if each]
        assert suggested[key] == expected or (suggested[key] is None and pd.isna(text))


@pytest.mark.slow
def test_cleanlab_takes_several_labels(scores):
    run = digits_as_bits()
    lists = to_label_lists(run)
    assert ["|".join(run.classes[codes]) for codes in lists] == run.table["label"].tolist()
    issues = find_label_issues(lists, run.loo_proba)
    wrong = np.arange(400) % 25 == 0
    assert wrong[issues].mean() > 0.2
    assert issues[wrong].mean() > 0.8
    with pytest.raises(lapsi.InputError, match="this is for several labels a sample"):
        to_label_lists(scores)
