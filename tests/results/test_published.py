"""Scores published in one small file, and read again."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from numpy.testing import assert_allclose
from stored_runs import stored_scores

import lapsi
from commands import fail, run
from lapsi.results.columns import Column
from runs_for_reports import make_scores

N = 40
SECRETS = ("secret-id", "secret text", "/home/secret", "secret class")


@pytest.fixture
def scores():
    columns = {"text": ["secret text"] * N, "path": ["/home/secret/1.png"] * N}
    return make_scores(N, classes=["b", "c", "secret class"], ids=[f"secret-id {row}" for row in range(N)], columns=columns)


def test_numbers_come_back_as_they_were(scores, tmp_path):
    path = lapsi.publish(scores, tmp_path / "scores.parquet", title="Made up; noise", licence="CC0.")
    found = lapsi.published(path)
    assert list(found.table) == ["row", "lsi", "lsi_mean", "lsi_curvature", "loo_probability", "rank", "rank_in_class"]
    for name in found.table:
        assert_allclose(found.table[name], scores.table[name], rtol=6e-8)
    assert {str(kind) for kind in found.table.dtypes} == {"float32", "int32"}
    assert found.provenance["version"] == scores.provenance.version
    assert found.provenance["verification"]["max_relative_error"] == 1e-6
    for said in ("# Laplace Sample Information: Made up; noise", "CC0.", "1.0e-06", "`loo_probability`: probability"):
        assert said in found.card


def test_nothing_but_numbers_leaves(scores, tmp_path):
    path = lapsi.publish(scores, tmp_path / "scores.parquet", title="Made up")
    everything = path.read_bytes() + b"".join(pq.read_schema(path).metadata.values())
    for secret in SECRETS:
        assert secret.encode() not in everything
    assert "No terms were given." in lapsi.published(path).card


def test_what_was_changed_on_purpose_is_told(scores, tmp_path):
    about = replace(scores.provenance, corruption={"flip_labels": 0.2, "seed": 7, "n_corrupted": 8})
    found = lapsi.published(lapsi.publish(replace(scores, provenance=about), tmp_path / "scores.parquet", title="Made up"))
    assert found.provenance["corruption"] == about.corruption
    assert 'Changed on purpose before: {"flip_labels": 0.2' in found.card
    plain = lapsi.published(lapsi.publish(scores, tmp_path / "plain.parquet", title="Made up"))
    assert "Changed" not in plain.card


def test_rows_stand_in_the_order_of_the_source(scores, tmp_path):
    turned = scores.from_pandas(scores.table.sample(frac=1, random_state=0))
    found = lapsi.published(lapsi.publish(turned, tmp_path / "a.parquet", title="a")).table
    assert found["row"].tolist() == list(range(N))
    assert_allclose(found["lsi"], scores.lsi, rtol=6e-8)


def test_other_measures_are_published_too(scores, tmp_path):
    psmi = pd.DataFrame({"id": scores.table["id"], "psmi": np.arange(N) / 8})
    both = scores.with_measure(psmi, [Column("psmi", "PSMI", "its help", "psmi", ".2f")], origin={"psmi": {"version": "1"}})
    found = lapsi.published(lapsi.publish(both, tmp_path / "a.parquet", title="a"))
    assert found.table["psmi"].tolist() == (np.arange(N) / 8).tolist()
    assert "- `psmi`: its help" in found.card
    assert found.provenance["measures"] == {"psmi": {"version": "1"}}


def test_it_is_written_whole_and_over_nothing(scores, tmp_path):
    path = lapsi.publish(scores, tmp_path / "a.parquet", title="a")
    with pytest.raises(lapsi.RunExistsError):
        lapsi.publish(scores, path, title="b")
    assert "# Laplace Sample Information: a" in lapsi.published(path).card
    assert "# Laplace Sample Information: b" in lapsi.published(lapsi.publish(scores, path, title="b", force=True)).card
    with pytest.raises(lapsi.InputError, match=r"expected \.parquet"):
        lapsi.publish(scores, tmp_path / "a.csv", title="a")
    with pytest.raises(lapsi.InputError, match="title is empty"):
        lapsi.publish(scores, tmp_path / "b.parquet", title=" ")


def test_what_is_not_published_is_told(tmp_path):
    with pytest.raises(lapsi.InputError, match="no published scores of 'nothing'"):
        lapsi.published("nothing")
    scores = stored_scores(24)
    scores.table.to_parquet(tmp_path / "plain.parquet")
    with pytest.raises(lapsi.InputError, match="holds no published scores"):
        lapsi.published(tmp_path / "plain.parquet")


def test_what_a_terminal_would_obey_is_shown(scores, tmp_path):
    scores.save(tmp_path / "run")
    told = ("--title", "\x1b]0;owned\x07[/]\u202e", "--licence", "\x9b31m")
    shown = run("publish", tmp_path / "run", "--to", tmp_path / "a.parquet", *told)
    assert shown.returncode == 0
    assert not set("\x1b\x07\u202e\x9b") & set(shown.stdout + shown.stderr)
    assert r"\x1b]0;owned\x07[/]\u202e" in shown.stdout
    assert "\x1b]0;owned\x07[/]" in lapsi.published(tmp_path / "a.parquet").card


@pytest.mark.parametrize("option", ["title", "licence"])
def test_what_is_no_text_is_refused(scores, tmp_path, option):
    scores.save(tmp_path / "run")
    told = {"title": "made up"} | {option: "\udcff"}
    options = [word for name, text in told.items() for word in (f"--{name}", text)]
    line = fail(2, "publish", tmp_path / "run", "--to", tmp_path / "a.parquet", *options)
    assert f"The {option} is no text in UTF-8" in line
    assert not (tmp_path / "a.parquet").exists()


def test_the_command_shows_the_card(scores, tmp_path):
    scores.save(tmp_path / "run")
    shown = run("publish", tmp_path / "run", "--to", tmp_path / "a.parquet", "--title", "Made up", "--licence", "CC0.")
    assert shown.returncode == 0
    assert "# Laplace Sample Information: Made up\n" in shown.stdout
    assert len(lapsi.published(tmp_path / "a.parquet").table) == N
    again = run("publish", tmp_path / "run", "--to", tmp_path / "a.parquet", "--title", "Made up")
    assert again.returncode == 3


def test_cifar10_comes_with_the_package():
    found = lapsi.published("cifar10")
    table = found.table
    assert table["row"].tolist() == list(range(50_000))
    assert sorted(table["rank"]) == list(range(1, 50_001))
    assert (table["lsi"] > 0).all()
    assert table["loo_probability"].between(0, 1).all()
    assert_allclose(table["lsi"], table["lsi_mean"] + table["lsi_curvature"], rtol=1e-5)
    assert found.provenance["verification"]["max_relative_error"] < 0.01
    assert "SqueezeNet" in found.card
