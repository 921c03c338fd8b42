"""The command line: its entry point called in this process, and twice as the installed command."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import typer
from filelock import FileLock

import lapsi
from commands import run
from lapsi.cli import group_removal, score
from lapsi.cli.main import app
from lapsi.cli.score import INTERRUPTED
from lapsi.engines.base import Work
from lapsi.engines.choose import make_engine
from lapsi.execution.disk import in_words
from lapsi.settings.settings import make_settings


def run_installed(*arguments, cwd):
    command = shutil.which("lapsi", path=str(Path(sys.executable).parent))
    assert command, "the lapsi command is not installed beside this Python"
    return subprocess.run([command, *arguments], capture_output=True, text=True, timeout=300, cwd=cwd, check=False)


def table_cells(text):
    """The rows of all tables in what a command printed, without their headings."""
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if line.startswith("│")]


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
    shown = run("show", path).stdout
    record = json.loads(run("show", path, "--json", "--extremes", 2).stdout)
    scores = lapsi.load_run(path)
    table = scores.ranking()
    assert [row["id"] for row in record["most_informative"]] == table["id"].head(2).tolist()
    assert [row["id"] for row in record["least_informative"]] == table["id"].tail(2).tolist()[::-1]
    assert record["summary"][-1]["label"] == "all"
    assert record["verification"] == scores.provenance.verification
    assert record["verification"]["max_relative_error"] < 1e-3
    before, highest, lowest = re.split("Most informative|Least informative", shown)
    for part, rows in ((highest, table.head(10)), (lowest, table.tail(10)[::-1])):
        assert [cells[:4] for cells in table_cells(part)] == [
            [str(row.id), row.label, f"{row.lsi:.2e}", f"{row.loo_probability:.3f}"] for row in rows.itertuples()
        ]
    assert [cells[:4] for cells in table_cells(before)] == [
        [label, f"{row['samples']:.0f}", f"{row['lsi_median']:.1e}", f"{row['lsi_max']:.1e}"]
        for label, row in scores.summary().iterrows()
    ]
    told = " ".join(shown.split())
    assert f"train accuracy {scores.provenance.train_accuracy:.1%}" in told
    assert f"largest relative error {scores.provenance.verification['max_relative_error']:.1e}" in told


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
    result = run("score", source, "-o", tmp_path / "run", "--dry-run", "--memory-limit", "3G")
    assert result.returncode == 0
    expected = make_engine(make_settings("newton", memory_limit=3 * 2**30)).plan(Work(90, 6, 3, 2, 90))
    told = table_cells(result.stdout)
    as_json = json.loads(run("score", source, "-o", tmp_path / "run", "--dry-run", "--json").stdout)
    assert (as_json["kept_bytes"], as_json["run_bytes"] > 2**18) == (expected.kept_bytes, True)
    assert [cells for cells in told if cells[0] != "time"] == [
        ["labels", "3 classes (smallest 30)"],
        ["engine", "newton"],
        ["peak memory", f"{expected.cost.peak_bytes / 2**30:.2f} GiB (limit 3.00 GiB)"],
        ["work", f"{sum(expected.cost.flop.values()):.2e} flop"],
        ["converged", "90 samples"],
        ["weight decay", "chosen by leave-one-out loss"],
        ["scaling of features", "chosen by leave-one-out loss"],
        ["disk", f"{in_words(expected.kept_bytes)} of finished parts, then {in_words(as_json['run_bytes'])}"],
    ]
    assert dict(told)["time"] == "about 1 s on this machine"
    plan = json.loads(run("score", source, "--dry-run", "--json", "--memory-limit", "3G").stdout)
    assert 0 < plan.pop("seconds") < 1
    assert (plan.pop("kept_bytes"), plan.pop("run_bytes")) == (as_json["kept_bytes"], as_json["run_bytes"])
    decided = {
        "n_refined": 90,
        "converges": True,
        "budget": 90 * 4.0 * (90 * 3 * (8 * 6 + 300) + 0.35 * 2 * (2 * 6) ** 2),
        "settles": True,
        "streams": False,
    }
    labels = {"labels": "3 classes (smallest 30)", "cautions": []}
    assert plan == {"engine": "newton", **asdict(expected.cost), **decided, **labels, "embedding": None}
    assert 0 < plan["peak_bytes"] < plan["limit_bytes"]
    assert list(tmp_path.iterdir()) == []


def test_labels_that_are_nearly_all_different_are_doubted_before_the_work(tmp_path):
    labels = [f"t{row // 2 * 2 if row < 8 else row}" for row in range(40)]
    np.savez(tmp_path / "x.npz", features=np.random.default_rng(0).normal(size=(40, 3)), labels=labels)
    said = "32 of 36 classes have one sample only"
    planned = run("score", tmp_path / "x.npz", "--dry-run")
    assert ["labels", "36 classes (smallest 1)"] in table_cells(planned.stdout)
    assert f"Caution: {said}" in planned.stdout
    as_json = json.loads(run("score", tmp_path / "x.npz", "--dry-run", "--json").stdout)
    assert as_json["cautions"][0].startswith(said)
    given = ("--verify", 0, "--weight-decay", 0.1, "--standardize", "each")
    scored = run("score", tmp_path / "x.npz", "-o", tmp_path / "run", *given)
    assert scored.stderr.index("labels: 36 classes") < scored.stderr.index(f"Caution: {said}")


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


def test_help_names_units_defaults_and_exit_codes(monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    text = run("--help").stdout
    assert "(Laplace Sample Information, nats)" in text
    (codes,) = re.findall(r"Exit codes: (.*)", text)
    kinds = (lapsi.LapsiError, lapsi.InputError, lapsi.RunExistsError, lapsi.ConvergenceError, lapsi.MemoryLimitError)
    assert {int(code) for code in re.findall(r"(\d+) [a-z]", codes)} == {0, INTERRUPTED, *(kind.exit_code for kind in kinds)}
    text = run("score", "--help").stdout
    assert re.search(r"--weight-decay .* L2 weight w of the mean loss.*\[default: auto\]", text)
    assert re.search(r"--memory-limit .* e\.g\. 8G or 500M; default: 80 % of what is free", text)
    for parameter in typer.main.get_command(app).get_command(None, "score").params:
        assert parameter.help, parameter.name
        (line,) = [
            line for line in text.splitlines() if re.match(rf"│ +(\* +)?{parameter.opts[0]}(,--[a-z-]+)*(\.\.\.)? ", line)
        ]
        if isinstance(parameter.default, str | int | float) and not isinstance(parameter.default, bool):
            assert f"[default: {parameter.default}]" in line


@pytest.mark.slow
def test_demo_finds_most_of_the_planted_errors(tmp_path):
    result = run_installed("demo", "-o", "out", "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    record = json.loads(result.stdout)
    assert record["planted"] == 180
    assert record["planted_in_top_10_percent"]["lsi"] >= 140
    assert record["planted_in_top_10_percent"]["label_quality"] >= 160
    assert len(record["most_informative"]) == len(record["least_informative"]) == 10
    assert (tmp_path / "out" / "overview.png").stat().st_size > 20_000
    page = (tmp_path / "out.html").read_text(encoding="utf-8")
    assert len(page) > 200_000
    assert run_installed("demo", "-o", "out", cwd=tmp_path).returncode == 3
    found = json.loads(run("issues", tmp_path / "out", "--json").stdout)["truth"]
    assert found["n_errors"] == 180
    assert found["auroc"] > 0.99


RETRAIN = ("--engine", "retrain", "--epochs", 12, "--seeds", 2, "--verify", 2)


@pytest.fixture(scope="module")
def retrained(source, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "retrained"
    result = run("score", source, "-o", path, *RETRAIN, "--every", 4)
    assert result.returncode == 0, result.stderr
    return path, result


@pytest.mark.slow
def test_retraining_from_the_command_line(retrained, source):
    path, result = retrained
    data = np.load(source)
    recipe = lapsi.Recipe(epochs=12, seeds=2)
    expected = lapsi.score(data["features"], data["labels"], recipe=recipe, every=4, verify=0, progress=False)
    scores = lapsi.load_run(path)
    pd.testing.assert_frame_equal(scores.table, expected.table)
    pd.testing.assert_frame_equal(scores.trajectory, expected.trajectory)
    assert "trained alone" in result.stdout
    assert "linear probe, engine retrain" in result.stdout
    assert not path.with_name("retrained.partial").exists()


@pytest.mark.slow
def test_every_recipe_option_arrives(source, tmp_path):
    options = ["--preset", "paper", "--optimizer", "adamw", "--learning-rate", 0.02, "--betas", "0.8,0.99", "--epsilon", 1e-7]
    options += ["--schedule", "step", "--step-epochs", 2, "--step-factor", 0.5, "--epochs", 3, "--batching", "poisson"]
    options += ["--batch-size", 30, "--clip-norm", 2, "--noise-multiplier", 0.5]
    options += ["--seeds", 1, "--hidden", "5,4", "--activation", "tanh", "--weight-decay", 0.02, "--verify", 0]
    result = run("score", source, "-o", tmp_path / "run", *options)
    assert result.returncode == 0, result.stderr
    recipe = lapsi.Recipe("adamw", 0.02, 0.9, True, (0.8, 0.99), 1e-7, 0.0, "step", 2, 0.5, 3, "poisson", 30, 2.0, 0.5, 1)
    expected = make_settings(recipe=recipe, hidden=(5, 4), activation="tanh", weight_decay=0.02, verify=0)
    assert lapsi.load_run(tmp_path / "run").provenance.settings == expected.to_dict()
    options = ("--sam-radius", 0.1, "--momentum", 0.5, "--no-nesterov", "--epochs", 2, "--verify", 0)
    sam = run("score", source, "-o", tmp_path / "sam", *options)
    assert sam.returncode == 0
    recipe = lapsi.load_run(tmp_path / "sam").provenance.settings["engine"]["recipe"]
    assert (recipe["sam_radius"], recipe["momentum"], recipe["nesterov"]) == (0.1, 0.5, False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--optimizer", "adam", "--momentum", 0.9], "momentum is 0.9 but optimizer 'adam' has no use for it; leave it out"),
        (["--optimizer", "adam", "--nesterov"], "nesterov is True but optimizer 'adam' has no use"),
        (["--preset", "paper", "--betas", "0.9,0.999"], "betas is (0.9, 0.999) but optimizer 'sgd' has no use"),
        (["--epochs", 2, "--epsilon", 1e-8], "epsilon is 1e-08 but optimizer 'sgd' has no use"),
        (["--optimizer", "adam", "--epsilon", 0], "epsilon is 0.0; expected a finite number of at least 1e-30"),
        (["--epochs", 2, "--step-epochs", 30], "step_epochs is 30 but schedule 'constant' has no use"),
        (["--schedule", "cosine", "--step-factor", 0.1], "step_factor is 0.1 but schedule 'cosine' has no use"),
        (["--activation", "relu"], "--activation is 'relu' but no layer is hidden"),
        (["--epochs", 2, "--activation", "tanh"], "--activation is 'tanh' but no layer is hidden"),
        (["--epochs", 2, "--refine", "auto"], "--refine belongs to engine 'newton'"),
        (["--clip-norm", 1, "--removal", "mean"], "--removal is 'mean' but Poisson batches and clipped gradients"),
        (["--corruption-seed", 1], "--corruption-seed was given but nothing is changed on purpose"),
        (["--cache", "here"], "--cache does not apply: the source holds features"),
        (["--skip-bad"], "--skip-bad does not apply: the source holds features"),
        (["--embed-batch-size", 32], "--embed-batch-size does not apply"),
        (["--pooling", "auto"], "--pooling does not apply"),
        (["--dry-run", "--embed-dtype", "float32"], "--embed-dtype does not apply"),
    ],
)
def test_options_without_effect_are_refused(source, tmp_path, options, message):
    result = run("score", source, "-o", tmp_path / "run", *options)
    assert (result.returncode, message in result.stderr) == (2, True), result.stderr
    assert len([line for line in result.stderr.splitlines() if line.startswith("lapsi:")]) == 1
    assert list(tmp_path.iterdir()) == []


def test_resume_and_restart_contradict_each_other(tmp_path):
    result = run("score", "--resume", tmp_path / "run", "--restart")
    assert (result.returncode, "give one of them" in result.stderr) == (2, True)


def test_ids_without_data_to_extend_are_refused(scored, tmp_path):
    result = run("export", scored[0], "--ids", "name", "--to", tmp_path / "x.csv")
    assert (result.returncode, "--ids is 'name' but names a column of --into" in result.stderr) == (2, True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_groups_are_left_out_of_the_model_that_was_scored(retrained):
    result = run("groups", retrained[0], "--leave-group-out")
    assert result.returncode == 2
    assert "the run was trained step by step (12 epochs)" in result.stderr
    assert "score the data with --engine newton" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ["samples", "lsi_sum", "group_lsi", "top"])
def test_a_column_may_be_called_as_what_is_counted(source, tmp_path, monkeypatch, name):
    data = np.load(source)
    table = pd.DataFrame(data["features"]).add_prefix("f").assign(label=data["labels"], **{name: np.arange(90) % 4})
    table.to_csv(tmp_path / "data.csv", index=False)
    options = ("--feature-prefix", "f", "--keep", name, "--dtype", "float64", "--verify", 0, "--quiet")
    assert run("score", tmp_path / "data.csv", "-o", tmp_path / "run", *options).returncode == 0
    asked = []
    real = group_removal.score_groups
    monkeypatch.setattr(group_removal, "score_groups", lambda *given: asked.append(given[2]) or real(*given))
    call = ("groups", tmp_path / "run", "--by", name, "--leave-group-out")
    written = run(*call, "--json", "--to", tmp_path / "groups.csv")
    assert written.returncode == 0, written.stderr
    rows = json.loads(written.stdout)
    key = name if name == "top" else f"by_{name}"
    assert sorted(row[key] for row in rows) == [0, 1, 2, 3]
    assert {row["samples"] for row in rows} == {22, 23}
    expected = lapsi.leave_group_out(data["features"], data["labels"], table[name], progress=False)
    np.testing.assert_allclose([row["group_lsi"] for row in rows], expected["lsi"][[row[key] for row in rows]], rtol=1e-9)
    assert pd.read_csv(tmp_path / "groups.csv")[key].tolist() == [row[key] for row in rows]
    assert asked[0].execution.dtype == "float64"
    assert run(*call).returncode == 0


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--noise-multiplier", 1], 2, "noise_multiplier is 1 without clip_norm"),
        (["--engine", "newton", "--hidden", "8"], 2, "engine is 'newton' but hidden was given"),
        (["--hidden", "8,x"], 2, "--hidden is '8,x'; expected numbers with commas"),
        (["--preset", "mine"], 2, "--preset is 'mine'; expected one of 'paper'"),
        (["--optimizer", "lion"], 2, "optimizer is 'lion'"),
        (["--learning-rate", 1000, "--epochs", 30], 4, "diverged in epoch"),
        (["--curvature", "kfac", "--hidden", "30000", "--memory-limit", "2G"], 5, "the kfac posterior of"),
        (["--epochs", 5, "--every", 9], 2, "every is 9"),
    ],
)
def test_wrong_recipes_are_one_line(source, tmp_path, options, code, message):
    result = run("score", source, "-o", tmp_path / "run", *options)
    assert (result.returncode, message in result.stderr) == (code, True), result.stderr
    assert len([line for line in result.stderr.splitlines() if line.startswith("lapsi:")]) == 1
    assert not (tmp_path / "run").exists()


def test_a_dry_run_of_retraining_tells_the_cost(source):
    result = run("score", source, "--dry-run", "--preset", "paper", "--json")
    plan = json.loads(result.stdout)
    assert plan["engine"] == "retrain"
    assert plan["flop"]["retrain"] == 3 * 90 * 1000 * 4 * 90 * 6 * 3
    assert plan["seconds"] > 0.1
    assert (plan["chunk_size"], plan["n_parts"]) == (90, 3)
    assert "90, in 3 parts that survive a kill" in run("score", source, "--dry-run", "--preset", "paper").stdout


def start_and_kill(source, path, n_parts):
    """Starts a run of the installed command and kills it when `n_parts` parts are there."""
    options = ["--engine", "retrain", "--epochs", "400", "--seeds", "6", "--hidden", "16", "--quiet", "--verify", "0"]
    command = [sys.executable, "-m", "lapsi", "score", str(source), "-o", str(path), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    parts = path.with_name(f"{path.name}.partial")
    while len(list(parts.glob("seed*part*.npz"))) < n_parts:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()
    process.stderr.close()
    return options


@pytest.mark.slow
def test_a_killed_run_goes_on_bit_by_bit(source, tmp_path):
    path = tmp_path / "run"
    options = start_and_kill(source, path, 2)
    assert not path.exists()
    refused = run("show", path)
    assert (refused.returncode, "--resume" in refused.stderr) == (2, True)
    again = run("score", source, "-o", path, *options)
    assert (again.returncode, "go on with 'lapsi score --resume" in again.stderr) == (3, True)
    other = run("score", "--resume", path, "--epochs", 300, "--curvature", "kfac")
    assert other.returncode == 2
    for text in ("recipe.epochs was 400, now 300", "curvature was 'diag', now 'kfac'"):
        assert text in other.stderr
    result = run("score", "--resume", path, "--quiet")
    assert result.returncode == 0, result.stderr
    whole = run("score", source, "-o", tmp_path / "whole", *options)
    assert whole.returncode == 0
    for file in ("scores.parquet", "loo_proba.npy"):
        assert (path / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
    assert not path.with_name("run.partial").exists()
    none = run("score", "--resume", path)
    assert (none.returncode, "is finished" in none.stderr) == (2, True)


@pytest.mark.slow
def test_an_unfinished_run_can_be_started_anew(source, tmp_path):
    path = tmp_path / "run"
    start_and_kill(source, path, 1)
    result = run("score", source, "-o", path, *RETRAIN, "--restart", "--quiet")
    assert result.returncode == 0, result.stderr
    assert lapsi.load_run(path).provenance.settings["engine"]["recipe"]["epochs"] == 12
    assert [file.name for file in tmp_path.iterdir()] == ["run"]


@pytest.mark.slow
def test_a_refused_restart_keeps_the_parts(source, tmp_path):
    path = tmp_path / "run"
    start_and_kill(source, path, 1)
    before = sorted(path.with_name("run.partial").iterdir())
    for options in (
        ["--restart", "--memory-limit", "10M"],
        ["--force", "--memory-limit", "10M"],
        ["--restart", "--device", "abacus"],
    ):
        assert run("score", source, "-o", path, *RETRAIN, *options).returncode in (2, 3, 5)
    assert sorted(path.with_name("run.partial").iterdir()) == before


@pytest.mark.slow
def test_a_run_that_diverged_does_not_stand_in_the_way(source, tmp_path):
    assert run("score", source, "-o", tmp_path / "run", *RETRAIN, "--learning-rate", 1e6).returncode == 4
    assert run("score", source, "-o", tmp_path / "run", *RETRAIN, "--quiet").returncode == 0
    assert [file.name for file in tmp_path.iterdir()] == ["run"]


@pytest.mark.slow
def test_a_kill_after_the_run_was_written_is_cleared_away(source, tmp_path, monkeypatch):
    monkeypatch.setattr("lapsi.cli.score.remove_checkpoint", lambda _: None)
    assert run("score", source, "-o", tmp_path / "run", *RETRAIN, "--quiet").returncode == 0
    assert (tmp_path / "run.partial").exists()
    monkeypatch.undo()
    again = run("score", "--resume", tmp_path / "run", "--preset", "paper", "--engine", "retrain")
    assert (again.returncode, "By class" in again.stdout) == (0, True), again.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["run"]


def interrupted(source, path, monkeypatch):
    """A run of which nothing but its beginning is kept."""
    with monkeypatch.context() as patch:
        patch.setattr("lapsi.curvature.ggn.GgnCurvature.divergence", mock.Mock(side_effect=KeyboardInterrupt))
        assert run("score", source, "-o", path, *RETRAIN).returncode == 130


def second_while_opening(monkeypatch, *arguments):
    """Lets another call run from start to end while the first opens its data; returns how it ended."""
    opened, ended = score.open_and_tell, []

    def open_data(*given):
        if not ended:
            ended.append(None)
            ended[0] = run(*arguments)
        return opened(*given)

    monkeypatch.setattr(score, "open_and_tell", open_data)
    return ended


@pytest.mark.slow
def test_of_two_that_resume_one_goes_on_and_nothing_is_left(source, tmp_path, monkeypatch):
    interrupted(source, tmp_path / "run", monkeypatch)
    ended = second_while_opening(monkeypatch, "score", "--resume", tmp_path / "run", "--quiet")
    first = run("score", "--resume", tmp_path / "run", "--quiet")
    assert sorted([first.returncode, ended[0].returncode]) == [0, 3], first.stderr + ended[0].stderr
    assert "Another process works on" in first.stderr + ended[0].stderr
    assert [file.name for file in tmp_path.iterdir()] == ["run"]


@pytest.mark.slow
def test_of_two_that_begin_the_later_one_works_for_nothing_never(source, tmp_path, monkeypatch):
    ended = second_while_opening(monkeypatch, "score", source, "-o", tmp_path / "run", *RETRAIN, "--quiet")
    trained = mock.Mock(wraps=score.score_dataset)
    monkeypatch.setattr(score, "score_dataset", trained)
    late = run("score", source, "-o", tmp_path / "run", *RETRAIN, "--quiet")
    assert (ended[0].returncode, late.returncode) == (0, 3), late.stderr
    assert trained.call_count == 1
    assert [file.name for file in tmp_path.iterdir()] == ["run"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", [("--resume", "run"), ("x.npz", "-o", "run", *RETRAIN), ("x.npz", "-o", "run", "--restart")]
)
def test_one_that_comes_while_another_works_leaves_all_as_it_is(source, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    shutil.copy(source, "x.npz")
    interrupted("x.npz", Path("run"), monkeypatch)
    files = sorted(Path("run.partial").iterdir())
    with FileLock("run.partial/.lock"):
        result = run("score", *arguments)
        assert (result.returncode, "Another process works on" in result.stderr) == (3, True), result.stderr
        assert not Path("run").exists()
    assert sorted(Path("run.partial").iterdir()) == files
    assert run("score", "--resume", "run", "--quiet").returncode == 0
    assert sorted(file.name for file in tmp_path.iterdir()) == ["run", "x.npz"]


@pytest.mark.slow
def test_parts_that_cannot_be_removed_do_not_undo_the_run(source, tmp_path, monkeypatch):
    def refuse(_):
        raise PermissionError("no")

    monkeypatch.setattr(score, "remove_checkpoint", refuse)
    result = run("score", source, "-o", tmp_path / "run", *RETRAIN)
    assert (result.returncode, "cannot be removed (no); delete them" in result.stderr) == (0, True)
    assert len(lapsi.load_run(tmp_path / "run")) == 90


@pytest.mark.slow
def test_other_peoples_files_stay(source, tmp_path, monkeypatch):
    monkeypatch.setattr("lapsi.curvature.ggn.GgnCurvature.divergence", mock.Mock(side_effect=KeyboardInterrupt))
    assert run("score", source, "-o", tmp_path / "run", *RETRAIN).returncode == 130
    monkeypatch.undo()
    (tmp_path / "run.partial" / "mine.npz").write_bytes(b"mine")
    assert run("score", "--resume", tmp_path / "run", "--quiet").returncode == 0
    assert (tmp_path / "run.partial" / "mine.npz").read_bytes() == b"mine"


@pytest.mark.slow
def test_a_run_goes_on_from_another_folder(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    rng = np.random.default_rng(0)
    np.save("X.npy", rng.normal(size=(30, 3)))
    np.save("y.npy", np.arange(30) % 2)
    np.save("ids.npy", np.arange(30) + 100)
    Path("rows.txt").write_text("3\n1\n2\n")
    monkeypatch.setattr("lapsi.curvature.ggn.GgnCurvature.divergence", mock.Mock(side_effect=KeyboardInterrupt))
    files = ("X.npy", "--labels", "y.npy", "--ids", "ids.npy", "--indices", "rows.txt")
    assert run("score", *files, "-o", "run", *RETRAIN).returncode == 130
    monkeypatch.undo()
    result = run("score", "--resume", tmp_path / "here" / "run", "--quiet")
    assert result.returncode == 0, result.stderr
    scores = lapsi.load_run(tmp_path / "here" / "run")
    assert scores.table["id"].tolist() == [103, 101, 102]
    assert scores.provenance.source == "X.npy"


@pytest.mark.parametrize("path", [".", "/", ".."])
def test_odd_places_are_one_line(source, path):
    for arguments in (["--resume", path], [source, "-o", path, *RETRAIN]):
        result = run("score", *arguments)
        assert result.returncode in (2, 3)
        assert result.stderr.startswith("lapsi:")


@pytest.mark.slow
def test_an_interrupt_tells_how_to_go_on(source, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("lapsi.curvature.ggn.GgnCurvature.divergence", interrupt)
    result = run("score", source, "-o", tmp_path / "run", *RETRAIN)
    assert result.returncode == 130
    assert f"go on with: lapsi score --resume {tmp_path / 'run'}" in result.stderr
    monkeypatch.undo()
    assert run("score", "--resume", tmp_path / "run", "--quiet").returncode == 0


def test_compare_tells_how_far_two_runs_agree(scored, retrained):
    table = run("compare", scored[0], retrained[0], "--extremes", 3)
    assert table.returncode == 0, table.stderr
    for text in ("Spearman", "top 10% in common", "rank differs most", "90 samples"):
        assert text in table.stdout
    record = json.loads(run("compare", scored[0], retrained[0], "--extremes", 3, "--json").stdout)
    assert record["n_common"] == 90
    assert record["same_data"]
    assert 0 < record["spearman"] < 1
    assert len(record["differ_most"]) == 3
    assert set(record["top_shared"]) == {"1%", "10%"}


def test_runs_that_rank_alike_have_no_samples_that_differ(scored):
    told = run("compare", scored[0], scored[0]).stdout
    assert "Every sample has the same rank in both runs." in told
    assert "differs most" not in told
    assert json.loads(run("compare", scored[0], scored[0], "--json").stdout)["differ_most"] == []


def test_the_version_is_told():
    assert run("--version").stdout.strip() == lapsi.__version__


def test_scores_that_are_all_zero_are_kept_and_drawn(tmp_path):
    """At initialisation, far from the decision: nothing moves and no prediction is in doubt."""
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "big.npz", features=rng.normal(size=(40, 3)) * 1e5, labels=np.arange(40) % 2)
    options = ("--epochs", 0, "--seeds", 1, "--standardize", "none", "--prior-precision", 1, "--json")
    result = run("score", tmp_path / "big.npz", "-o", tmp_path / "run", *options)
    assert result.returncode == 0, result.stderr
    assert "NaN" not in result.stdout
    assert (tmp_path / "run" / "overview.png").is_file()
