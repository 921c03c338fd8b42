"""One registry of columns behind tables, run.json, the report and the README."""

import json
import re
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from stored_runs import stored_scores

import lapsi
from documents import read
from lapsi.analysis.groups import roll_up
from lapsi.analysis.label_issues import label_issues
from lapsi.data.dataset import CARRIED
from lapsi.report.columns import page_measures
from lapsi.report.words import describe
from lapsi.results.columns import CLASSES, COLUMNS, GROUPS, ISSUES, TRAVELLING, Column, find_column
from runs_for_reports import make_scores


def test_readme_names_every_column_in_the_words_of_the_registry():
    section = re.search(r"<!-- --8<-- \[start:columns\] -->(.*?)<!-- --8<-- \[end:columns\] -->", read("README.md"), re.DOTALL)[
        1
    ]
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|$", section, re.MULTILINE)
    assert dict(rows) == {name: column.help for name, column in (COLUMNS | TRAVELLING).items()}
    assert len(rows) == len(COLUMNS) + len(TRAVELLING) == len(re.findall(r"^\| `", section, re.MULTILINE))


def test_columns_that_travel_are_columns():
    assert {name: column.help for name, column in TRAVELLING.items()} == CARRIED
    assert all(column.measure == "source" for column in TRAVELLING.values())
    assert find_column("age_group") == Column("age_group", "age group", "column of the source", "source")


def test_what_a_likelihood_says_is_marked():
    evidence = [name for name, column in COLUMNS.items() if column.measure == "softmax"]
    assert evidence == [
        "loo_probability",
        "loo_label",
        "loo_margin",
        "loo_loss",
        "train_probability",
        "label_quality",
        "suggested_label",
    ]
    assert {name for name, column in COLUMNS.items() if column.optional} == {
        "lsi_std", "lsi_error", "lsi_draw_error", "refinement", "leverage",
    }  # fmt: skip


def test_every_table_has_its_columns():
    scores = stored_scores()
    assert list(scores.summary()) == list(CLASSES)
    assert list(roll_up(scores)) == [name for name, column in GROUPS.items() if not column.optional]
    assert set(ISSUES) < set(label_issues(scores).table)
    assert [column.name for column in scores.columns] == list(scores.table)
    assert scores.carried == ["group"]


def test_run_json_says_what_the_columns_mean(tmp_path):
    scores = stored_scores()
    described = json.loads((scores.save(tmp_path / "run") / "run.json").read_text())["columns"]
    assert list(described) == list(scores.table)
    for name, record in described.items():
        column = asdict(find_column(name))
        assert record == {
            field: column[field] for field in ("title", "help", "measure", "format", "unit", "direction", "short")
        }


def test_the_report_shows_numbers_and_says_what_they_mean():
    scores = stored_scores()
    shown = [column.name for column in page_measures(scores)]
    assert shown == [name for name in scores.table if COLUMNS.get(name, ISSUES["flagged"]).is_number and name != "row"]
    assert describe(scores).columns == [(column.name, column.help) for column in scores.columns]


def test_optional_columns_of_an_engine_are_kept(tmp_path):
    scores = make_scores(12)
    table = scores.table.assign(refinement=["converged", "closed form"] * 6, lsi_error=[1e-3, np.nan] * 6)
    path = scores.from_pandas(table).save(tmp_path / "run")
    again = lapsi.load_run(path)
    pd.testing.assert_frame_equal(again.table, table)
    assert again.carried == []
    assert [column.measure for column in again.columns[-2:]] == ["lsi", "lsi"]
    assert "lsi_error" in [column.name for column in page_measures(again)]


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("lsi", 0.00123, "1.23e-03"),
        ("lsi", np.nan, ""),
        ("rank", np.int64(12345), "12,345"),
        ("suggested_label", pd.NA, ""),
        ("suggested_label", None, ""),
        ("label", 7, "7"),
        ("label", "a", "a"),
    ],
)
def test_values_are_shown_by_their_format(name, value, text):
    assert COLUMNS[name].show(value) == text


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"direction": "up"}, "direction of column 'x' is 'up'; expected one of '', 'high', 'low'"),
        ({"format": "d"}, "format of column 'x' is 'd'; expected"),
        ({"format": "99999999999e"}, "format of column 'x'"),
    ],
)
def test_columns_are_checked(fields, message):
    with pytest.raises(lapsi.InputError, match=message):
        Column("x", "x", "x", **fields)
