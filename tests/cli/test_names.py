"""Names that a person has are found, and stay: ids, groups, and either flag for what is written."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import lapsi
from commands import run

N = 30


@pytest.fixture(autouse=True)
def frame(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    made = pd.DataFrame(generator.normal(size=(N, 2)), columns=["f0", "f1"])
    made["id"], made["writer"] = [f"p{row}" for row in range(N)], [f"w{row % 3}" for row in range(N)]
    made["label"] = np.where(made["f0"] > 0, "up", "down")
    made.to_csv("data.csv", index=False)
    return made


def score(*more):
    result = run("score", "data.csv", "--feature-prefix", "f", "--verify", 0, "-q", "--to", "run", *more)
    assert result.returncode == 0, result.stderr
    return lapsi.load_run("run")


def test_a_column_called_id_names_the_samples(frame):
    assert score().table["id"].tolist() == frame["id"].tolist()


def test_ids_that_are_not_unique_are_none(frame):
    frame.assign(id="same").to_csv("data.csv", index=False)
    assert score().table["id"].tolist() == list(range(N))


def test_arrays_called_ids_name_the_samples(frame):
    np.savez("data.npz", features=frame[["f0", "f1"]], labels=frame["label"].to_numpy(str), ids=frame["id"].to_numpy(str))
    assert run("score", "data.npz", "--verify", 0, "-q", "-o", "run").returncode == 0
    assert lapsi.load_run("run").table["id"].tolist() == frame["id"].tolist()


def test_a_group_keeps_its_name(frame):
    scores = score("--group", "writer")
    assert next(column.title for column in scores.columns if column.name == "group") == "writer"
    by_name, by_group = (run("groups", "run", "--by", by, "--json").stdout for by in ("writer", "group"))
    assert by_name == by_group != ""
    assert run("report", "run", "-q").returncode == 0
    page = Path("run.html").read_text(encoding="utf-8")
    assert '"title":"writer"' in page.replace('": "', '":"')
    told = run("groups", "run", "--by", "author")
    assert "writer" in told.stderr


@pytest.mark.parametrize("flag", ["--to", "-o", "--output"])
def test_each_flag_names_what_is_written(flag):
    score()
    commands = [
        ("issues", "run", flag, "issues.csv"),
        ("groups", "run", "--by", "label", flag, "groups.csv"),
        ("export", "run", flag, "rows.csv"),
        ("report", "run", flag, "page.html", "-q"),
        ("plot", "distribution", "run", flag, "plot.png"),
        ("select", "run", "--strategy", "low", "--fraction", 0.5, flag, "low.npy", "-q"),
    ]
    for command in commands:
        assert run(*command).returncode == 0, command
