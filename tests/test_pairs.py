"""Pairs from features to scores: against one model at a time, kept on disk, gone on with, published to a report."""

import numpy as np
import pandas as pd
import pytest
import torch

import lapsi
from lapsi.data.pairs import make_pairs, shuffle_pairs
from lapsi.errors import InputError, MemoryLimitError
from lapsi.report.page import write_report
from lapsi.results.scores import Scores

N = 40
RECIPE = lapsi.Recipe(optimizer="adam", learning_rate=0.02, epochs=120, seeds=1)


def two_views(n=N, seed=0):
    """Two noisy linear views of the same hidden things."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(n, 4))
    first, second = (hidden @ rng.normal(size=(4, width)) + 0.1 * rng.normal(size=(n, width)) for width in (7, 6))
    return first, second


def scored(first, second, **options):
    options = {"dimensions": 5, "recipe": RECIPE, "progress": False, "execution": lapsi.Execution(verify=0)} | options
    return lapsi.score_pairs(first, second, **options)


@pytest.fixture(scope="module")
def scores():
    first, second = two_views()
    columns = {"text": [f"thing {row}" for row in range(N)]}
    return scored(first, second, columns=columns, execution=lapsi.Execution(verify=3))


def test_scores_are_those_of_models_trained_alone(scores):
    checked = scores.provenance.verification
    assert checked["reference"] == "trained alone"
    assert checked["max_relative_error"] < 1e-3  # changes in float32
    first, second = two_views()
    wide = scored(first, second, execution=lapsi.Execution(verify=3, dtype="float64"))
    assert wide.provenance.verification["max_relative_error"] < 1e-9
    np.testing.assert_allclose(scores.lsi, wide.lsi, rtol=1e-3)


def test_each_side_alone_and_both(scores):
    table = scores.table
    np.testing.assert_allclose(table["lsi"], table["lsi_image"] + table["lsi_text"], rtol=1e-10)  # of a block diagonal
    first, second = two_views(12)
    dense = scored(first[:, :3], second[:, :2], dimensions=2, curvature="full").table
    assert (dense["lsi"] > 0).all()
    assert not np.allclose(dense["lsi"], dense["lsi_image"] + dense["lsi_text"], rtol=1e-3)


def test_ranks_and_losses_are_of_a_model_that_never_saw_the_pair(scores):
    table = scores.table
    assert ((table[["rank_text", "rank_image"]] >= 1) & (table[["rank_text", "rank_image"]] <= N)).to_numpy().all()
    np.testing.assert_allclose(table["loo_label"], table[["rank_text", "rank_image"]].to_numpy().mean(1))
    np.testing.assert_allclose(table["memorised"], table["loo_loss"] - table["label"], atol=1e-12)
    np.testing.assert_allclose(table["label_quality"], np.exp(-table["loo_loss"]))
    assert table["memorised"].median() > 0
    assert table["loo_label"].median() < N / 4  # found better than by a guess, which is N/2
    assert scores.provenance.train_accuracy > 0.5


def test_shuffled_pairs_stand_out():
    first, second = two_views()
    pairs = shuffle_pairs(make_pairs(first, second, columns={"text": [str(row) for row in range(N)]}), 0.2, 3)
    moved = pairs.columns["corrupted"].to_numpy()
    assert moved.sum() == 8
    assert (pairs.columns["text"] != pairs.columns["original_text"]).to_numpy().tolist() == moved.tolist()
    source = pairs.columns["text"].astype(int).to_numpy()
    np.testing.assert_array_equal(pairs.second.read(slice(None)), second[source])
    found = scored(first, np.asarray(pairs.second), columns=pairs.columns)
    worst = found.table["loo_loss"].to_numpy().argsort()[::-1][:8]
    assert moved[worst].sum() >= 5  # one in five by chance


def test_two_seeds_and_the_course_of_training():
    first, second = two_views(15)
    recipe = lapsi.Recipe(optimizer="adam", learning_rate=0.02, epochs=20, seeds=2)
    found = scored(first, second, recipe=recipe, every=10)
    alone = [
        scored(first, second, recipe=lapsi.Recipe(optimizer="adam", learning_rate=0.02, epochs=20, seeds=1),
               execution=lapsi.Execution(verify=0, seed=seed))
        for seed in (0, 1)
    ]  # fmt: skip
    np.testing.assert_allclose(found.lsi, np.mean([each.lsi for each in alone], 0), rtol=1e-9)
    assert found.trajectory["epoch"].unique().tolist() == [10, 20]
    assert (found.table["lsi_std"] > 0).all()


def test_a_stopped_run_goes_on_and_gives_the_same(tmp_path, monkeypatch):
    first, second = two_views()
    monkeypatch.setattr("lapsi.engines.pairs.PART_MODELS", 16)
    whole = scored(first, second)
    from lapsi.curvature.contrastive import ContrastiveCurvature

    done, divergence = [], ContrastiveCurvature.divergence

    def stopping(self, removed):
        done.append(1)
        if len(done) == 2:
            raise KeyboardInterrupt
        return divergence(self, removed)

    monkeypatch.setattr(ContrastiveCurvature, "divergence", stopping)
    with pytest.raises(KeyboardInterrupt):
        scored(first, second, checkpoint=tmp_path / "parts")
    again = scored(first, second, checkpoint=tmp_path / "parts")
    assert len(done) == 2 + 2  # one of three parts was kept
    pd.testing.assert_frame_equal(again.table, whole.table)


def test_a_run_is_saved_loaded_reported_and_compared(scores, tmp_path):
    scores.save(tmp_path / "run")
    loaded = Scores.load(tmp_path / "run")
    pd.testing.assert_frame_equal(loaded.table, scores.table, check_dtype=False)
    summary = write_report(loaded, tmp_path / "run.html")
    assert summary.n_shown == N
    page = (tmp_path / "run.html").read_text()
    assert "thing 7" in page
    assert "leave-one-out rank" in page
    with pytest.raises(InputError, match="which have no probabilities"):
        _ = loaded.loo_proba


def test_wrong_pairs_are_ranked_by_trust(scores):
    from lapsi.analysis.label_issues import label_issues

    found = label_issues(scores)
    assert found.table["label_quality"].is_monotonic_increasing
    assert (found.table["flagged"] == (found.table["label_quality"] < 1 / N)).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"second": two_views()[1][:-1]}, r"40 rows on one side and 39 on the other"),
        ({"first": two_views()[0][:2], "second": two_views()[1][:2]}, "There are 2 pairs; expected at least 3"),
        ({"recipe": lapsi.Recipe(clip_norm=1.0)}, "none has a gradient of its own to clip"),
        ({"temperature": 0.0}, "temperature is 0.0; expected a finite number greater than 0"),
        ({"dimensions": 1}, "dimensions is 1; expected an integer of at least 2"),
        ({"recipe": lapsi.Recipe(batching="shuffled", batch_size=1)}, "batch_size is 1, but a pair is told from the others"),
        ({"second": np.where(np.eye(N, 5) > 0, np.nan, 1.0)}, "On the second side: The features contain 5 NaN"),
        ({"first": two_views()[0][:, 0]}, "On the first side: The features have shape"),
        ({"curvature": "ekfac"}, "curvature is 'ekfac'; expected one of 'diag', 'kfac', 'full'"),
        ({"columns": {"rank_text": np.arange(N)}}, "A column of the samples is named 'rank_text'"),
        ({"indices": [N]}, "expected positions from 0 to 39"),
    ],
)
def test_wrong_input_is_told_in_a_line(change, message):
    first, second = two_views()
    given = {"first": first, "second": second} | change
    with pytest.raises(InputError, match=message):
        scored(given.pop("first"), given.pop("second"), **given)


def test_a_side_that_tells_nothing_apart_is_told(capsys):
    first, _ = two_views()
    lapsi.score_pairs(first, np.ones((N, 4)), recipe=RECIPE, dimensions=3, execution=lapsi.Execution(verify=0))
    assert "All 40 rows of the second side are the same, so nothing tells the pairs apart." in capsys.readouterr().err


def test_what_does_not_fit_is_refused_before_it_starts():
    first, second = two_views()
    with pytest.raises(MemoryLimitError, match="All 40 pairs are compared with each other"):
        scored(first, second, execution=lapsi.Execution(verify=0, memory_limit=2**20))


def test_batches_bound_what_is_compared():
    first, second = two_views()
    recipe = lapsi.Recipe(optimizer="adam", learning_rate=0.02, epochs=5, seeds=1, batching="shuffled", batch_size=10)
    found = scored(first, second, recipe=recipe, execution=lapsi.Execution(verify=2, dtype="float64"))
    assert found.provenance.verification["max_relative_error"] < 1e-7
    assert torch.isfinite(torch.tensor(found.lsi)).all()


def test_the_map_is_of_where_both_sides_point(monkeypatch):
    from lapsi.pairs import joint_embeddings

    seen = {}

    def watched(problem, params):
        seen.update(problem=problem, params=params)
        return joint_embeddings(problem, params)

    monkeypatch.setattr("lapsi.pairs.joint_embeddings", watched)
    found = scored(*two_views(), indices=[5, 2, 9])
    sides = [getattr(seen["problem"], name).numpy() for name in ("first", "second")]
    first, second = (weights.numpy() for weights in seen["problem"].model.projections(seen["params"]))
    projected = np.hstack([side @ weights.T for side, weights in zip(sides, (first, second), strict=True)])
    for place in (slice(5), slice(5, None)):
        projected[:, place] /= np.linalg.norm(projected[:, place], axis=1, keepdims=True)
    left, scale, axes = np.linalg.svd(projected - projected.mean(0), full_matrices=False)
    expected = (left * scale)[:, :2] * np.sign(axes[:2, :][[0, 1], np.abs(axes[:2]).argmax(1)])
    np.testing.assert_allclose(found.map, expected[[5, 2, 9]], rtol=1e-5, atol=1e-6)
    assert found.map.dtype == np.float32
