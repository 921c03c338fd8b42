"""Every benchmark runs to its end on a tiny input and prints figures that can be true."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn import datasets

from documents import one_thread
from tiny_models import save_bert, save_vision

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
N = 150


@pytest.fixture
def figures(monkeypatch, capsys):
    """Runs a benchmark as a script in this process and returns its last line, which must be strict JSON."""

    def run(name, *arguments):
        monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])  # as for a script
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        with one_thread():
            runpy.run_path(str(BENCHMARKS / f"{name}.py"), run_name="__main__")
        *_, last = capsys.readouterr().out.splitlines()
        return json.loads(last, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))

    return run


@pytest.fixture
def few_digits(monkeypatch):
    whole = datasets.load_digits()
    few = type(whole)(data=whole.data[:N], target=whole.target[:N])
    monkeypatch.setattr(datasets, "load_digits", lambda return_X_y=False: (few.data, few.target) if return_X_y else few)


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """A file of 150 samples in 3 classes, and what annotators took 15 of them for."""
    rng = np.random.default_rng(0)
    truth = np.arange(N) % 3
    given = truth.copy()
    given[::10] = (truth[::10] + 1) % 3
    path = tmp_path_factory.mktemp("benchmarks") / "features.npz"
    np.savez(path, features=rng.normal(size=(N, 5)) + 3 * np.eye(3, 5)[truth], labels=truth, given=given)
    return path


def test_every_benchmark_has_a_test():
    tests = [name for name in globals() if name.startswith("test_")]
    for path in BENCHMARKS.glob("*.py"):
        assert any(name.startswith(f"test_{path.stem}") for name in tests), path.name


@pytest.mark.slow
def test_digits_accuracy(figures, few_digits):
    record = figures("digits_accuracy", "--limit", 4)
    by_refinement = pd.DataFrame(record["records"]).groupby("refine")["max"].agg(["size", "max"])
    assert by_refinement["size"].tolist() == [6] * 4
    assert by_refinement["max"]["auto"] < 1e-4
    assert by_refinement["max"][2] < by_refinement["max"][1] < by_refinement["max"][0] < 1
    assert all(0 <= each["median"] <= each["max"] for each in record["records"])


def test_retrain_digits(figures, few_digits):
    records = figures("retrain", "digits", "--models", 2, "--epochs", 5)["records"]
    assert [(each["against"], each["hidden"]) for each in records] == [
        (name, hidden) for hidden in ([], [32]) for name in ("sgd", "adam", "opacus")
    ]
    assert all(0 < each["max_shift_error_float64"] < 1e-10 for each in records)
    assert all(0 < each["max_lsi_error_float32"] < 1e-3 for each in records)


def test_retrain_speed(figures, features):
    record = figures("retrain", "speed", features, "--models", 3, "--epochs", 2, "--rounds", 1)
    assert min(record["ratio_to_plain"], record["share_of_bare_flop_rate"]) > 0
    assert record["models"] == 3


@pytest.mark.slow
def test_retrain_agreement(figures, features):
    record = figures("retrain", "agreement", features, "--models", 6, "--epochs", 1000, "--seeds", 1, "--verify", 1)
    assert (record["samples"], record["epochs"], record["seeds"]) == (6, 1000, 1)
    assert record["spearman"] > 0.9
    assert 0 < record["median_relative_difference"] <= record["max_relative_difference"] < 0.1
    assert record["verification"]["max_relative_error"] < 1e-3


@pytest.mark.slow
def test_retrain_resume(figures, few_digits):
    record = figures("retrain", "resume", "--models", 5, "--epochs", 150)
    assert record["bit_identical"] is True
    assert record["exit_status_of_the_killed"] == -9
    assert 4 <= record["parts_kept"] < 16


@pytest.mark.slow
def test_stacked(figures):
    record = figures("stacked", "digits", "--samples", 30, "--models", 2, "--epochs", 3)
    for name in ("sgd", "adam"):
        assert record[name]["of_params"] < 1e-12
        assert record[name]["of_shifts"] < 1e-10
        assert record[name]["smallest_shift"] > 1e-4


@pytest.mark.slow
def test_ray_workers(figures):
    shape = ("--samples", 200, "--features", 6, "--classes", 3, "--scored", 128, "--epochs", 60)
    record = figures("ray_workers", *shape)
    assert (record["shape"], record["scored"], record["workers"]) == ([200, 6, 3], 128, 2)
    assert min(record["seconds_one_process"], record["seconds_workers"]) > 0
    assert (record["killed"], record["equal"], record["equal_after_a_kill"]) == (1, True, True)


@pytest.mark.slow
def test_memory(figures):
    record = figures("memory", "--classes", 5, "--features", 4, "--samples", 60, "--scored", 20)
    assert record["plan"]["n_refined"] == 20
    assert 0.1 < record["peak_of_planned"] < 1


@pytest.mark.parametrize("curvature", ["diag", "kfac"])
def test_groups(figures, curvature):
    shape = ("--samples", 120, "--features", 12, "--groups", 40, "--checks", 5, "--curvature", curvature)
    record = figures("groups", *shape)
    assert (record["n_groups"], record["curvature"]) == (40, curvature)
    assert 0 < record["max_relative_difference"] < 1e-8
    assert min(record["seconds_a_group"], record["seconds_a_group_slow"], record["seconds_planned"]) > 0


def test_linear_probe(figures, features):
    record = figures("linear_probe", features, "--checks", 5, "--epochs", 2, "--samples", 90)
    assert (record["n_samples"], record["n_features"], record["n_classes"]) == (90, 5, 3)
    assert 0 < record["median_relative_error"] <= record["max_relative_error"] < 1e-3
    assert 0 < record["seconds_without_checks"] <= record["seconds_whole"]
    assert record["peak_gib"] > 0.1


def test_many_classes(figures, features):
    record = figures("many_classes", features, "--classes", 8, "--coupled", 4, "--converge", 3, "--checks", 6)
    assert record["shape"] == [150, 5, 8]
    assert 0 < record["median_error"] <= record["max_error"] < 1
    assert record["worst"][0]["error"] == record["max_error"]
    assert record["spearman"] > 0.9
    assert 0 < record["max_error_of_highest"] <= 1e-3
    assert min(record["peak_gib"], record["planned_gib"], record["seconds_whole"]) > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("container", ["npy", "parquet", "safetensors"])
def test_many_rows(figures, features, tmp_path, container):
    shape = ("--rows", 700, "--dimensions", 4, "--dtype", "float16", "--shards", 3, "--folder", tmp_path)
    options = ("--verify", 0, "--weight-decay", 0.01)
    record = figures("many_rows", features, *shape, "--container", container, "--", *options)
    assert (record["shape"], record["shards"], record["data"]) == ([700, 4, 3], 3, "features.npz")
    assert min(record["peak_resident_gib"], record["planned_gib"], record["seconds_whole"]) > 0.1
    assert record["options"] == ["--verify", "0", "--weight-decay", "0.01"]
    assert list(tmp_path.iterdir()) == []


def test_refinement(figures, monkeypatch):
    monkeypatch.setattr("lapsi.engines.newton.plan.REFINE_FLOOR", 0)
    record = figures("refinement", "heavy", "--samples", 150, "--features", 4, "--classes", 3)
    assert record["shape"] == [150, 4, 3]
    assert sum(record["refinement"].values()) == 150
    assert record["refinement"]["converged"] > 0
    assert 0 < record["median_error"] < record["max_error"] < 1e-3
    assert (record["marked_above"], record["max_error_of_unmarked"]) == (0, record["max_error"])
    assert record["verification"]["max_relative_error"] <= record["max_error"] * (1 + 1e-6)


@pytest.mark.parametrize("options", [(), ("--labels", "given", "--truth", "labels")], ids=["flipped", "given"])
def test_label_errors(figures, features, options):
    record = figures("label_errors", features, "--folds", 3, *options)
    assert record["n_errors"] == 15
    for name in ("lapsi", "loo_proba_in_cleanlab", "cleanlab_cross_validated"):
        assert 0.9 < record[name]["auroc"] <= 1
        assert 0.5 < record[name]["precision"] <= 1
    assert 0.9 < record["lsi_itself"]["auroc"] <= 1


@pytest.mark.slow
def test_check(figures, few_digits):
    record = figures("check", "--planted", 8, "--seed", 1)
    assert (record["n_samples"], record["n_planted"]) == (N + 16, 8)
    for name in ("duplicates", "leaks", "outliers_first"):
        assert 0.7 < record[name]["precision"] <= 1
        assert 0.7 < record[name]["recall"] <= 1
    assert 0.7 < record["outliers"]["recall"] <= 1


def test_text_corruption(figures, tmp_path, monkeypatch):
    monkeypatch.setenv("LAPSI_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    words = np.array([["good", "fine", "film"], ["bad", "dull", "film"]])
    texts = [" ".join(rng.choice(words[label], 4)) for label in labels]
    pd.DataFrame({"text": texts, "label": labels}).to_parquet(tmp_path / "reviews.parquet")
    record = figures("text_corruption", tmp_path / "reviews.parquet", save_bert(tmp_path / "bert"), "--share", 0.2)
    for name in ("flip_labels", "lorem_ipsum"):
        assert (record[name]["clean"]["n"], record[name]["corrupted"]["n"]) == (48, 12)
        for part in ("clean", "corrupted"):
            assert 0 < record[name][part]["q25"] <= record[name][part]["median"] <= record[name][part]["q75"]
    assert 0.8 < record["flip_labels"]["auroc_lsi"] <= 1


def test_embedding(figures, tmp_path):
    rng = np.random.default_rng(0)
    for row in range(12):
        path = tmp_path / "photos" / "ab"[row % 2] / f"{row}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(path)
    model = save_vision("resnet", tmp_path / "resnet")
    record = figures("embedding", tmp_path / "photos", model, "--batch-size", 5, "--rounds", 2)
    assert record["n_images"] == 12
    assert len(record["rounds"]) == 2
    assert all(min(each.values()) > 0 for each in record["rounds"])


@pytest.mark.browser
def test_report(figures):
    record = figures("report", "--samples", 300, "--classes", 3, "--images", "--texts", "--repeat", 2)
    assert (record["samples"], record["pictures"]) == (300, 300)
    assert min(record[f"{name}_ms"] for name in ("ready", "ready_cold", "filter", "sort", "search", "brush", "scroll")) > 0
    assert record["megabytes"] > 0.1


@pytest.mark.slow
def test_startup(figures):
    record = figures("startup", "--rows", 90, "--rounds", 1)
    assert record["rows"] == 90
    assert all(0 < seconds < 60 for seconds in record["user_seconds"].values())
    assert {"version", "help", "wrong_option", "show"} <= set(record["user_seconds"])


@pytest.mark.slow
def test_regularization_of_a_table(figures):
    record = figures("regularization", "wine", "--skip-cleanlab")
    assert (record["n"], record["classes"], record["n_errors"]) == (178, 3, 18)
    assert record["fixed"]["weight_decay"] == 0.01
    assert record["auto"]["loo_loss"] < record["fixed"]["loo_loss"]
    assert record["auto"]["told"].startswith("weight decay ")
    assert all(0.9 < record[name]["auroc"] <= 1 for name in ("auto", "fixed"))


@pytest.mark.slow
def test_regularization_of_human_labels(figures, features):
    record = figures("regularization", features, "--labels", "given", "--truth", "labels", "--strengths", 2, "--unscaled")
    assert (record["n"], record["n_errors"]) == (N, 15)
    for name in ("auto", "fixed", "cleanlab_standardized", "cleanlab_unscaled"):
        assert 0.9 < record[name]["auroc"] <= 1


def test_targets(figures, few_digits):
    records = figures("targets", "--limit", 6)["records"]
    assert len(records) == 21
    for record in records:
        exact = "diabetes" in record["case"]
        assert record["max"] < (1e-7 if exact else 1e-4), record


@pytest.mark.parametrize("kind", ["cnn", "text"])
def test_networks(figures, tmp_path, kind):
    rng = np.random.default_rng(0)
    if kind == "cnn":
        for name in ("cat", "dog"):
            (tmp_path / name).mkdir()
            for number in range(6):
                Image.fromarray(rng.integers(256, size=(32, 32, 3), dtype=np.uint8)).save(tmp_path / name / f"{number}.png")
        data = tmp_path
    else:
        data = tmp_path / "reviews.parquet"
        texts = [" ".join(rng.choice(["good", "bad", "film", "plot"], 8)) for _ in range(12)]
        pd.DataFrame({"text": texts, "label": np.arange(12) % 2}).to_parquet(data)
    checks = ("--checks", 4, "--check-epochs", 1, "--refine")
    found = figures("networks", kind, data, "--samples", 12, "--width", 8, "--epochs", 2, *checks)
    assert (found["n_samples"], found["checks"], found["check_epochs"]) == (12, 4, 1)
    assert min(found["factor"], found["median_lsi"], found["samples_per_second"], found["peak_gib"]) > 0
    assert found["n_params"] > 1000
    assert found["step"] != found["refined"]
    for name in ("step", "refined"):
        assert -1 <= found[name]["spearman"] <= 1
        assert found[name]["median_ratio"] > 0


def test_small_network(figures):
    found = figures("small_network", "--samples", 40, "--hidden", 2, "--weight-decay", 0.1, "--checks", 4)
    assert found["gradient_norm"] < 1e-4
    for name in ("ekfac", "ekfac refined", "full", "diag", "diag refined"):
        assert -1 <= found[name]["spearman"] <= 1
        assert found[name]["n_unfinished"] <= 4
        assert 0 <= found[name]["auroc_of_wrong_labels"] <= 1


def test_language_model(figures, tmp_path):
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(["good", "bad", "film", "plot", "it", "is"], 10)) for _ in range(30)]
    pd.DataFrame({"text": texts}).to_parquet(tmp_path / "reviews.parquet")
    small = ("--sequences", 20, "--length", 8, "--epochs", 1, "--tuning", 2, "--width", 8, "--rank", 1, "--verify", 0)
    found = figures("language_model", tmp_path / "reviews.parquet", *small, "--save", tmp_path / "run")
    assert found["n_sequences"] == 20
    assert found["n_params"] == 4 * (8 + 24)
    assert 0 <= found["auroc"]["lsi"] <= 1
    assert found["train_perplexity"] > 1
    assert (tmp_path / "run" / "scores.parquet").is_file()


@pytest.mark.parametrize("part", ["agreement", "speed", "shuffled"])
def test_pairs(figures, tmp_path, part):
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(40, 4))
    sides = {name: hidden @ rng.normal(size=(4, width)) for name, width in (("image_embeddings", 7), ("text_embeddings", 6))}
    np.savez(tmp_path / "pairs.npz", captions=[f"thing {row}" for row in range(40)], **sides)
    options = ("--dimensions", 4, "--epochs", 20, "--scored", 20, "--models", 4, "--repeats", 2, "--work", tmp_path)
    found = figures("pairs", part, tmp_path / "pairs.npz", *options)
    if part == "agreement":
        assert found["largest_of_params"] < 1e-8
        assert found["largest_of_lsi_in_float32"] < 1e-3
    elif part == "speed":
        assert found["flop_a_model"] == 12 * 40**2 * 4 + 4 * 40 * 4 * 15
        assert found["share_of_floor"] > 0
    else:
        assert found["n_shuffled"] == 4
        again = figures("pairs", part, tmp_path / "pairs.npz", *options)
        assert (again["seconds"], again["auroc_lsi"]) == (None, found["auroc_lsi"])
        assert found["seconds"] > 0
        assert 0 <= found["auroc_loo_loss"] <= 1
        assert len(found["highest"]) == len(found["lowest"]) == 5


def test_tables(figures):
    record = figures("tables", "--rows", 400)
    assert record["rows"] == 400
    assert record["columns"]["PassengerId"].startswith("names the samples")
    assert record["columns"]["household"].startswith("group of the samples")
    assert record["columns"]["occupation"].startswith("one-hot, 6 categories, ")
    assert record["columns"]["hired"].startswith("date: year")
    assert record["columns"]["remarks"].startswith("text, 400 different, SVD of ")
    assert record["columns"]["native-country"].startswith("left out")
    assert 0 < record["seconds_scoring"] < record["seconds_whole"]
    assert 0.7 < record["loo_accuracy"] < 1
    assert 0.8 < record["auroc_of_wrong"] <= 1
