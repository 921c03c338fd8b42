"""The command line: its entry point called in this process, and twice as the installed command."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import lapsi
from commands import run


def run_installed(*arguments, cwd):
    command = shutil.which("lapsi", path=str(Path(sys.executable).parent))
    assert command, "the lapsi command is not installed beside this Python"
    return subprocess.run([command, *arguments], capture_output=True, text=True, timeout=300, cwd=cwd, check=False)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    X = rng.normal(size=(90, 5)) + 2 * np.eye(3, 5)[y]
    path = tmp_path_factory.mktemp("data") / "features.npz"
    np.savez(path, features=X, labels=np.array(["ant", "bee", "[red]cat"])[y])
    return path


@pytest.fixture(scope="module")
def scored(source, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run"
    result = run("score", source, "-o", path, "--curvature", "kron", "--verify", 4)
    assert result.returncode == 0, result.stderr
    return path, result


def test_score_writes_a_run_that_python_reads(scored, source):
    path, result = scored
    scores = lapsi.load_run(path)
    assert scores.provenance.settings["curvature"] == "kfac"
    assert scores.provenance.source == str(source)
    data = np.load(source)
    expected = lapsi.score(data["features"], data["labels"], curvature="kfac", verify=4, progress=False)
    np.testing.assert_allclose(scores.lsi, expected.lsi, rtol=1e-9)
    assert (path / "overview.png").read_bytes().startswith(b"\x89PNG")
    for text in ("By class", "Most informative", "[red]cat", "largest relative error", "Seconds"):
        assert text in result.stdout
    assert "leave-one-out" in result.stderr


def test_show_and_its_json_agree(scored):
    path, _ = scored
    assert "Least informative" in run("show", path).stdout
    record = json.loads(run("show", path, "--json", "--extremes", 2).stdout)
    table = lapsi.load_run(path).ranking()
    assert [row["id"] for row in record["most_informative"]] == table["id"].head(2).tolist()
    assert record["summary"][-1]["label"] == "all"
    assert record["verification"]["max_relative_error"] < 1e-3


@pytest.mark.parametrize("kind", ["csv", "parquet", "json"])
def test_export(scored, tmp_path, kind):
    path, _ = scored
    target = tmp_path / f"scores.{kind}"
    assert run("export", path, "--to", target).returncode == 0
    table = {"csv": pd.read_csv, "parquet": pd.read_parquet, "json": pd.read_json}[kind](target)
    np.testing.assert_allclose(table["lsi"], lapsi.load_run(path).lsi, rtol=1e-9)
    refused = run("export", path, "--to", target)
    assert refused.returncode == 3
    assert "--force" in refused.stderr
    assert run("export", path, "--to", target, "--force").returncode == 0


def test_quiet_prints_nothing_and_json_prints_only_json(source, tmp_path):
    quiet = run("score", source, "-o", tmp_path / "a", "--quiet")
    assert (quiet.stdout, quiet.stderr, quiet.returncode) == ("", "", 0)
    as_json = run("score", source, "-o", tmp_path / "b", "--json", "--limit", 7, "--verify", 0)
    assert json.loads(as_json.stdout)["n_scored"] == 7
    assert as_json.stderr == ""


def test_dry_run_tells_the_cost_and_touches_nothing(source, tmp_path):
    result = run("score", source, "-o", tmp_path / "run", "--dry-run")
    assert result.returncode == 0
    for text in ("newton", "GiB", "about", "flop"):
        assert text in result.stdout
    plan = json.loads(run("score", source, "--dry-run", "--json").stdout)
    assert plan["engine"] == "newton"
    assert 0 < plan["peak_bytes"] < plan["limit_bytes"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--weight-decay", "0"], 2, "no finite optimum"),
        (["--weight-decay", "-1"], 2, "weight_decay is -1"),
        (["--prior-precision", "huge"], 2, "--prior-precision is 'huge'; expected 'map' or a number"),
        (["--refine", "x"], 2, "--refine is 'x'"),
        (["--memory-limit", "much"], 2, "--memory-limit is 'much'"),
        (["--memory-limit", "9M"], 5, "PCA"),
        (["--features", "pixels"], 2, "no features named 'pixels'; it has features, labels"),
        (["--feature-prefix", "f"], 2, "for tables"),
        (["--limit", "0"], 2, "--limit is 0"),
        (["--indices", "nowhere.txt"], 2, "cannot be read as row positions"),
        (["--curvature", "dense"], 2, "dense"),
    ],
)
def test_errors_are_one_line_with_an_exit_code_and_nothing_written(source, tmp_path, arguments, code, message):
    result = run("score", source, "-o", tmp_path / "run", *arguments)
    assert result.returncode == code
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_output_is_needed_and_never_overwritten(source, scored):
    path, _ = scored
    assert "-o RUN" in run("score", source).stderr
    before = (path / "run.json").read_bytes()
    refused = run("score", source, "-o", path)
    assert refused.returncode == 3
    assert (path / "run.json").read_bytes() == before
    assert run("show", path.parent).returncode == 2


def test_help_names_units_defaults_and_exit_codes():
    assert "Exit codes" in run("--help").stdout
    text = run("score", "--help").stdout
    assert "default: 0.01" in text
    assert "8G or 500M" in text


def test_demo_finds_most_of_the_planted_errors(tmp_path):
    result = run_installed("demo", "-o", "out", "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    record = json.loads(result.stdout)
    assert record["planted"] == 180
    assert record["planted_in_top_10_percent"] >= 140
    assert len(record["most_informative"]) == len(record["least_informative"]) == 10
    assert (tmp_path / "out" / "overview.png").stat().st_size > 20_000
    assert run_installed("demo", "-o", "out", cwd=tmp_path).returncode == 3
