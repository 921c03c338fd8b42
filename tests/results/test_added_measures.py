"""Measures beside LSI in one run."""

import numpy as np
import pandas as pd
import pytest
from stored_runs import stored_scores

import lapsi
from commands import run
from lapsi.analysis.label_issues import label_issues
from lapsi.report.columns import embed_columns, page_measures
from lapsi.results.columns import Column
from runs_for_reports import make_scores

N = 24
PSMI = Column("psmi", "PSMI", "pointwise sliced mutual information, nats", "psmi", ".2e", "nats", "low")


def measured(scores):
    """Columns of other measures, in another order of the rows."""
    rows = {"id": scores.table["id"], "psmi": np.arange(N) / 8, "forgotten": np.arange(N), "kind": ["new", "old"] * (N // 2)}
    return pd.DataFrame(rows).sample(frac=1, random_state=0)


@pytest.fixture
def scores():
    return stored_scores(N)


def test_columns_are_added_by_id_and_stay(scores, tmp_path):
    both = scores.with_measure(measured(scores), [PSMI])
    assert list(both.table) == [*scores.table, "psmi", "forgotten", "kind"]
    pd.testing.assert_frame_equal(both.table[list(scores.table)], scores.table)
    assert both.table["psmi"].tolist() == (np.arange(N) / 8).tolist()
    assert both.carried == scores.carried == ["group"]
    again = lapsi.load_run(both.save(tmp_path / "run"))
    pd.testing.assert_frame_equal(again.table, both.table)
    assert again.columns == both.columns
    assert again.columns[-3] == PSMI
    assert [column.format for column in again.columns[-2:]] == [",", ""]
    assert again.from_pandas(again.to_pandas().head(5)).columns == both.columns
    assert again.with_measure(measured(scores).rename(columns=str.upper).rename(columns={"ID": "id"})).carried == ["group"]


def test_a_measure_is_shown_where_lsi_is(scores, tmp_path):
    both = scores.with_measure(measured(scores), [PSMI])
    both.save(tmp_path / "run")
    assert {"psmi", "forgotten"} < {column.name for column in page_measures(both)}
    page = embed_columns(both, np.arange(N), None, 80)
    assert {"psmi", "forgotten"} < set(page["measures"])
    assert [column["key"] for column in page["extra"]] == ["group", "kind"]
    assert list(label_issues(both).table)[-1] == "group"
    assert run("show", tmp_path / "run").returncode == 0
    assert '"psmi": ' in run("show", tmp_path / "run", "--json").stdout
    assert run("report", tmp_path / "run", "-q").returncode == 0
    assert run("export", tmp_path / "run", "--to", tmp_path / "rows.csv").returncode == 0
    assert pd.read_csv(tmp_path / "rows.csv")["psmi"].tolist() == (np.arange(N) / 8).tolist()


def test_measures_of_other_scores_keep_where_they_come_from(scores, tmp_path):
    other = stored_scores(N).with_measure(measured(scores)[["id", "psmi"]], [PSMI])
    both = scores.with_measure(other)
    assert list(both.table) == [*scores.table, "psmi"]
    record = both.provenance.measures["psmi"]
    assert record["settings"] == other.provenance.settings
    assert record["data_hash"] == other.provenance.data_hash
    again = lapsi.load_run(both.save(tmp_path / "run"))
    assert again.provenance == both.provenance
    third = stored_scores(N).with_measure(again)
    assert third.provenance.measures == both.provenance.measures


REFUSED = {
    "a column that is there": (lambda table: table.assign(lsi=1.0), "has a column 'lsi' already"),
    "a column of the source": (lambda table: table.assign(group=1.0), "has a column 'group' already"),
    "no ids": (lambda table: table.drop(columns="id"), "expected 'id' and the names of new ones"),
    "ids alone": (lambda table: table[["id"]], "expected 'id' and the names of new ones"),
    "a column twice": (lambda table: pd.concat([table, table[["kind"]]], axis=1), "each once"),
    "a column without a name": (lambda table: table.rename(columns={"kind": 3}), "names of new ones, each once"),
    "a sample twice": (lambda table: pd.concat([table, table.head(1)]), "'s11' twice"),
    "a sample less": (lambda table: table[table["id"] != "s3"], "no row of the sample 's3'; expected the same"),
    "other samples": (lambda table: table.assign(id=range(N)), r"no row of the sample 's0' \(24 in all\)"),
    "a sample more": (lambda table: pd.concat([table, table.head(1).assign(id="z")]), "of no sample of the run: 'z'"),
    "words for numbers": (lambda table: table.assign(psmi="much"), "'psmi' holds values of type .*; expected numbers"),
    "what no file holds": (lambda table: table.assign(kind=[object()] * N), "cannot be stored"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_does_not_fit_is_refused(scores, kind):
    change, message = REFUSED[kind]
    before = scores.table.copy()
    with pytest.raises(lapsi.InputError, match=message):
        scores.with_measure(change(measured(scores)), [PSMI])
    pd.testing.assert_frame_equal(scores.table, before)


def test_descriptions_of_nothing_are_refused(scores):
    with pytest.raises(lapsi.InputError, match="'psmi' is described, but the table does not have it"):
        scores.with_measure(measured(scores).drop(columns="psmi"), [PSMI])


def test_other_scores_must_bring_something_new_of_the_same_samples(scores):
    with pytest.raises(lapsi.InputError, match=r"no measure that is not there already \(lsi, softmax\)"):
        scores.with_measure(stored_scores(N))
    numbered = make_scores(N, classes=["a", "b", "c"])
    with pytest.raises(lapsi.InputError, match="no row of the sample 's0'"):
        scores.with_measure(numbered.with_measure(measured(numbered), [PSMI]))
    ids, groups = scores.table["id"].tolist(), {"group": ["x"] * N}
    other = make_scores(N, seed=1, ids=ids, classes=["a", "b", "c"], columns=groups).with_measure(measured(scores), [PSMI])
    with pytest.raises(lapsi.InputError, match="has the label '.' here and '.' there"):
        scores.with_measure(other)
