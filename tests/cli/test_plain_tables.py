"""Tables as they are, from the command line: scored, resumed, measured, shown, cleaned; and one line where they cannot be."""

import json
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

import lapsi
from commands import fail, run, succeed
from documents import one_thread

N = 60
pytestmark = pytest.mark.usefixtures("people")


@pytest.fixture
def people(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    rich = np.arange(N) % 3 == 0
    frame = pd.DataFrame(
        {
            "person_id": [f"p{row}" for row in range(N)],
            "age": np.where(np.arange(N) == 5, np.nan, rng.integers(20, 50, N) + 12.0 * rich),
            "work": rng.choice(["state", "private", "own"], N),
            "joined": pd.date_range("2019-12-30", periods=N).strftime("%d %b %Y"),
            "notes": [" ".join(rng.choice(["good", "bad", "film", "plot"], 5)) + f" {row}" for row in range(N)],
            "household": np.arange(N) // 2,
            "country": "US",
            "rank": rng.choice(["x", "y"], N),
            "income": np.where(rich, ">50K", "<=50K"),
        }
    )
    frame.to_csv("people.csv", index=False)
    with one_thread():
        yield frame


def test_labels_alone_are_enough(people):
    told = succeed("score", "people.csv", "--labels", "income", "--verify", 4, "-o", "run").stderr
    for line in (
        "5 of 8 columns became",
        "person_id  names the samples",
        "age        number, 1 gap filled with the median",
        "work       one-hot, 3 categories",
        "joined     date: year, month, day, total seconds, weekday",
        "notes      text, 60 different, SVD of",
        "household  group of the samples, 30 values",
        "country    left out: the same for every sample",
        "rank       one-hot, 2 categories",
    ):
        assert line in told
    scores = lapsi.load_run("run")
    assert_array_equal(scores.table["id"], people["person_id"])
    assert_array_equal(scores.table["group"], people["household"])
    assert_array_equal(scores.table["notes"], people["notes"])
    expected = lapsi.score(people.drop(columns="income"), people["income"], verify=0, progress=False)
    np.testing.assert_allclose(scores.lsi, expected.lsi, rtol=1e-6)
    assert scores.provenance.data_hash == expected.provenance.data_hash
    assert scores.provenance.table == expected.provenance.table
    assert scores.provenance.table["shown"] == ["age", "work", "joined", "notes", "rank (given)"]


def test_a_run_of_a_table_is_measured_shown_and_cleaned(people):
    succeed("score", "people.csv", "--labels", "income", "--verify", 0, "-o", "run", "-q")
    succeed("measure", "run", "--add", "el2n", "-q")
    assert np.isfinite(lapsi.load_run("run").table["el2n"]).all()
    succeed("report", "run", "-q")
    assert '"values": ["age", "work", "joined", "notes", "rank (given)"]' in Path("run.html").read_text().replace(
        '":[', '": ['
    ).replace('","', '", "')
    succeed("groups", "run", "--leave-group-out", "-q")
    scores = lapsi.load_run("run")
    row = scores.table.iloc[[3]]
    review = row[["id", "row", "label"]].assign(action="remove", new_label="", note="", run=scores.provenance.data_hash)
    review.to_csv("review.csv", index=False)
    succeed("apply", "run", "--review", "review.csv", "-o", "cleaned.csv")
    cleaned = pd.read_csv("cleaned.csv")
    assert len(cleaned) == N - 1
    assert cleaned["notes"].tolist() == people["notes"].drop(3).tolist()
    assert cleaned["work"].tolist() == people["work"].drop(3).tolist()
    people.assign(age=people["age"] + 1).to_csv("people.csv", index=False)
    assert "have changed since the run" in fail(2, "measure", "run", "--add", "grand", "-q")


def test_an_interrupted_run_goes_on(monkeypatch):
    options = ("score", "people.csv", "--labels", "income", "--epochs", 5, "--verify", 0, "--memory-limit", "1G", "-q")
    succeed(*options, "-o", "whole")
    with monkeypatch.context() as patch:
        patch.setattr("lapsi.cli.score._write", mock.Mock(side_effect=KeyboardInterrupt))
        assert run(*options, "-o", "run").returncode == 130
    assert not Path("run").exists()
    succeed("score", "--resume", "run", "-q")
    assert_array_equal(lapsi.load_run("run").lsi, lapsi.load_run("whole").lsi)


def test_features_are_named_with_commas_or_several_times():
    for number, options in enumerate((("--features", "age,work"), ("--features", "age", "--features", "work"))):
        succeed("score", "people.csv", "--labels", "income", *options, "--verify", 0, "-o", f"run{number}", "-q")
    first, second = lapsi.load_run("run0"), lapsi.load_run("run1")
    assert [column["name"] for column in first.provenance.table["columns"]] == ["age", "work"]
    assert first.provenance.data_hash == second.provenance.data_hash
    assert first.provenance.n_features == 5
    succeed(
        "score",
        "people.csv",
        "--labels",
        "income",
        "--drop",
        "notes,joined",
        "--drop",
        "rank",
        "--verify",
        0,
        "-o",
        "few",
        "-q",
    )
    assert lapsi.load_run("few").provenance.n_features == 5
    succeed("score", "people.csv", "--labels", "income", "--features", "work", "--verify", 0, "-o", "one", "-q")
    assert lapsi.load_run("one").provenance.n_features == 3


def test_ids_and_groups_that_are_named_go_first():
    options = ("--ids", "notes", "--group", "work", "--keep", "rank")
    fail(2, "score", "people.csv", "--labels", "income", *options, "-o", "run", "-q")
    options = ("--ids", "notes", "--group", "work", "--keep", "joined")
    succeed("score", "people.csv", "--labels", "income", *options, "--verify", 0, "-o", "run", "-q")
    scores = lapsi.load_run("run")
    roles = {column["name"]: column["role"] for column in scores.provenance.table["columns"]}
    assert roles == {
        "person_id": "left out",
        "age": "feature",
        "household": "left out",
        "country": "left out",
        "rank": "feature",
    }
    assert scores.table["id"][0].startswith(("good", "bad", "film", "plot"))


def test_a_dry_run_tells_the_columns_and_writes_nothing():
    result = succeed("score", "people.csv", "--labels", "income", "--dry-run", "--json")
    assert json.loads(result.stdout)["engine"] == "newton"
    assert "columns became" in succeed("score", "people.csv", "--labels", "income", "--dry-run").stderr
    assert sorted(path.name for path in Path().iterdir()) == ["people.csv"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--labels", "incme"), "has no labels named 'incme'; it has person_id, age, .* Did you mean 'income'?"),
        ((), "which holds the labels? Name it with --labels"),
        (("--labels", "income", "--features", "country,person"), "no features named 'person'; .* Did you mean 'person_id'?"),
        (("--labels", "income", "--features", "income,age"), "column 'income' was named as a feature and once more"),
        (("--labels", "income", "--drop", "age,work,joined,notes,rank"), "no column that features can be made of"),
        (("--labels", "income", "--drop", "wok"), "no column named 'wok'; .* Did you mean 'work'?"),
        (("--labels", "income", "--features", "person_id,notes,joined", "--model", "x"), "--model does not apply"),
    ],
)
def test_what_cannot_be_scored_is_one_line_and_writes_nothing(options, message):
    said = " ".join(fail(2, "score", "people.csv", *options, "-o", "run", "-q").split())
    for part in message.split(".*"):
        assert part.strip() in said
    assert sorted(path.name for path in Path().iterdir()) == ["people.csv"]


def test_an_extra_that_is_missing_is_one_line_and_writes_nothing(monkeypatch):
    monkeypatch.setitem(sys.modules, "skrub", None)
    said = fail(2, "score", "people.csv", "--labels", "income", "-o", "run", "-q")
    assert "pip install 'lapsi[tables]'" in said
    assert "--features age" in said
    assert sorted(path.name for path in Path().iterdir()) == ["people.csv"]
    succeed("score", "people.csv", "--labels", "income", "--features", "age", "--verify", 0, "-o", "run", "-q")


def test_more_categories_than_rows_is_one_line(people):
    few = people.iloc[:12].assign(work=[f"w{row % 8}" for row in range(12)], rank=[f"r{row % 7}" for row in range(12)])
    few.to_csv("few.csv", index=False)
    said = fail(2, "score", "few.csv", "--labels", "income", "--drop", "notes,joined", "-o", "run", "-q")
    assert "few.csv has 12 rows but 15 categories (work 8, rank 7)" in said


def test_names_that_a_terminal_would_obey_are_shown(people):
    people.rename(columns={"work": "\x1b[31mwork[bold]"}).to_csv("odd.csv", index=False)
    told = succeed("score", "odd.csv", "--labels", "income", "--verify", 0, "-o", "run").stderr
    assert "�[31mwork[bold]" in told
    assert "\x1b[31mwork" not in told


def test_shards_of_tables_are_one_table(people):
    Path("parts").mkdir()
    for part, rows in enumerate((slice(0, 20), slice(20, N))):
        people.iloc[rows].to_parquet(f"parts/part-{part}.parquet")
    people.to_parquet("people.parquet")
    for source in ("parts", "people.parquet"):
        succeed("score", source, "--labels", "income", "--verify", 0, "-o", f"run-{source}", "-q")
    first, second = (lapsi.load_run(f"run-{source}") for source in ("parts", "people.parquet"))
    assert first.provenance.data_hash == second.provenance.data_hash
