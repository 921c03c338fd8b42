"""Scoring by retraining, from arrays to scores: seeds, snapshots, parts that survive."""

import itertools
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from filelock import FileLock
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_digits

import lapsi
import oracles
import torch_training
from lapsi import Recipe
from lapsi.curvature.ggn import GgnCurvature
from lapsi.data.dataset import make_dataset
from lapsi.engines.base import Work
from lapsi.engines.choose import make_engine
from lapsi.engines.retrain import engine as retraining
from lapsi.engines.retrain.engine import RetrainEngine
from lapsi.engines.retrain.steps import LeaveOneOutLoss
from lapsi.engines.retrain.trainer import Trainer
from lapsi.precision.base import Terms
from lapsi.settings.settings import make_settings

QUIET = {"progress": False, "verify": 0}
LSI_FLOAT32 = {"rtol": 1e-3}
GROUPS_OF_ONE = {"rtol": 3e-10}  # groups stop 1e-10 short of the shift, of which lsi is the square, and training 1e-11
N, D, C = 60, 4, 3


@pytest.fixture(scope="module")
def data():
    inputs, labels = oracles.make_data(N, D, C, seed=6)
    return inputs[:, :-1], labels


def brute_force(X, y, hidden, recipe, weight_decay, indices, seed):
    """(mean, curvature) (n, 2) with the diagonal posterior, every model trained alone by torch, Jacobians by autograd."""
    features = torch.from_numpy((X - X.mean(0)) / X.std(0))
    labels = torch.from_numpy(y)

    def steps(_):
        return [(range(N), None)]

    def forward_of(inputs):
        def forward(params):
            value = inputs
            for position, part in enumerate(params.split([out * width for out, width in shapes])):
                weights = part.view(shapes[position])
                value = torch.relu(value) if position > 0 else value
                value = value @ weights[:, :-1].T + weights[:, -1]
            return value

        return forward

    sizes = [D, *hidden, C]
    shapes = [(out, width + 1) for width, out in itertools.pairwise(sizes)]

    def train(without=None):
        return torch_training.train(features, labels, hidden, C, "relu", recipe, weight_decay, seed, steps, without)

    whole = train()
    before = oracles.network_precision("diag", forward_of(features), whole, N * weight_decay, None, None)
    terms = []
    for index in indices:
        moved, keep = train(index), np.arange(N) != index
        prior = (N - 1) * weight_decay
        after = oracles.network_precision("diag", forward_of(features[keep]), moved, prior, None, None)
        terms.append(oracles.kl((moved - whole).numpy(), before, after))
    return np.array(terms)


@pytest.mark.slow
@pytest.mark.parametrize("hidden", [(), (5,)], ids=["linear", "mlp"])
def test_scores_are_the_mean_over_seeds_of_models_trained_alone(data, hidden):
    recipe, indices = Recipe(epochs=40, seeds=2), [0, 20, 59]
    scores = lapsi.score(
        *data, engine="retrain", hidden=hidden, recipe=recipe, weight_decay=0.05, indices=indices, seed=3, **QUIET
    )
    by_seed = np.stack([brute_force(*data, hidden, recipe, 0.05, indices, seed) for seed in (3, 4)])
    assert_allclose(scores.table[["lsi_mean", "lsi_curvature"]], by_seed.mean(0), **LSI_FLOAT32)
    assert_allclose(scores.table["lsi_std"], by_seed.sum(2).std(0, ddof=1), rtol=1e-2)
    assert "leverage" not in scores.table


def test_probabilities_are_averaged_and_come_from_models_that_never_saw_the_sample(data):
    X, y = data
    recipe = Recipe(epochs=30, seeds=2)
    scores = lapsi.score(X, y, recipe=recipe, indices=[5, 6], dtype="float64", **QUIET)
    singles = [
        lapsi.score(X, y, recipe=Recipe(epochs=30, seeds=1), seed=s, indices=[5, 6], dtype="float64", **QUIET) for s in (0, 1)
    ]
    assert_allclose(scores.loo_proba, np.mean([single.loo_proba for single in singles], 0), rtol=1e-6)
    for name in ("train_probability", "shift_norm", "lsi"):
        assert_allclose(scores.table[name], np.mean([single.table[name] for single in singles], 0), rtol=1e-9)
    assert "lsi_std" not in singles[0].table


@pytest.mark.slow
def test_converged_retraining_agrees_with_the_closed_form(data):
    recipe = Recipe(learning_rate=0.4, epochs=600, seeds=1)
    retrained = lapsi.score(*data, engine="retrain", recipe=recipe, weight_decay=0.05, dtype="float64", **QUIET)
    closed = lapsi.score(*data, standardize="each", weight_decay=0.05, dtype="float64", refine=8, **QUIET)
    assert_allclose(retrained.lsi, closed.lsi, rtol=1e-5)
    assert_allclose(retrained.loo_proba, closed.loo_proba, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("structure", ["kfac", "full"])
def test_structures_agree_with_the_closed_form(data, structure):
    recipe = Recipe(learning_rate=0.4, epochs=600, seeds=1)
    options = {"weight_decay": 0.05, "curvature": structure, "dtype": "float64", **QUIET}
    retrained = lapsi.score(*data, recipe=recipe, **options)
    closed = lapsi.score(*data, standardize="each", refine=8, **options)
    assert_allclose(retrained.lsi, closed.lsi, rtol=1e-6)
    assert np.corrcoef(np.log(retrained.lsi), np.log(closed.lsi))[0, 1] > 0.999
    options = {"weight_decay": 0.05, "standardize": "each", "curvature": structure, "progress": False}
    groups_of_one = lapsi.leave_group_out(*data, np.arange(N), **options).sort_index()
    for part in ("lsi", "lsi_mean", "lsi_curvature"):
        assert_allclose(retrained.table[part], groups_of_one[part], **GROUPS_OF_ONE)


@pytest.mark.parametrize(
    ("recipe", "n_steps"),
    [
        (Recipe(epochs=4, seeds=2), 4),
        (Recipe(epochs=4, seeds=1, batching="sequential", batch_size=25), 12),
        (Recipe(epochs=4, seeds=1, batching="poisson", batch_size=25), 8),
    ],
    ids=["full", "sequential", "poisson"],
)
def test_steps_of_one_training_are_counted(data, recipe, n_steps):
    scores = lapsi.score(*data, recipe=recipe, indices=[0, 1], **QUIET)
    assert scores.provenance.n_iterations == n_steps


def test_the_gradient_that_is_left_is_that_of_the_whole_objective(data):
    """The weight decay belongs to it."""
    X, y = data
    model = lapsi.LaplaceSampleInformation(recipe=Recipe(epochs=4, seeds=1), weight_decay=0.3, verify=0).fit(X, y)
    inputs = np.c_[(X - X.mean(0)) / X.std(0), np.ones(N)]
    _, gradient, _ = oracles.objective(np.c_[model.coef_, model.intercept_].ravel(), inputs, y, 0.3)
    assert_allclose(model.scores_.provenance.grad_norm, np.linalg.norm(gradient), rtol=1e-9)


def test_accuracy_is_that_of_the_trained_model(data):
    X, y = data
    model = lapsi.LaplaceSampleInformation(recipe=Recipe(epochs=5, seeds=2), hidden=(4,), verify=0).fit(X, y)
    accuracy = model.scores_.provenance.train_accuracy
    assert accuracy == (model.predict(X) == y).mean()
    assert 0 < accuracy < 1


def test_time_is_told_from_what_each_piece_takes(monkeypatch):
    """A third of the rows is timed: 3 s an epoch of 20 models, 7 each of a divergence's two posteriors, 17 an epoch alone."""
    clock = SimpleNamespace(now=0.0, perf_counter=lambda: clock.now)

    def takes(seconds, owner, name):
        function = getattr(owner, name)

        def working(*arguments):
            clock.now += seconds
            return function(*arguments)

        monkeypatch.setattr(owner, name, working)

    takes(3, LeaveOneOutLoss, "__call__")
    takes(2 * 7, GgnCurvature, "divergence")
    takes(2 * 17, Trainer, "train_one")
    monkeypatch.setattr(retraining, "time", clock)
    monkeypatch.setattr(retraining, "CALIBRATION_ROWS", 20)
    X, y = oracles.make_data(60, D, C)
    engine = make_engine(make_settings(recipe=Recipe(epochs=100, seeds=2), every=50, memory_limit=2**40))
    n_snapshots, n_models_checked = 2 * 60 * 2, 1 + 3
    on_all_rows = 2 * 60 / 20 * 100 * 3 + n_snapshots * 7 + n_models_checked * 100 * 17
    work = Work(60, D + 1, C, C - 1, 60)
    seconds = engine.seconds(engine.plan(work), work, make_dataset(X[:, :-1], y))
    assert seconds == pytest.approx(3 * on_all_rows)


def test_snapshots_along_the_way_are_runs_that_stop_there(data):
    scores = lapsi.score(*data, recipe=Recipe(epochs=25, seeds=2), every=10, indices=[3, 4, 50], **QUIET)
    trajectory = scores.trajectory
    assert trajectory["epoch"].tolist() == [10, 20, 25] * 3
    assert trajectory["id"].tolist() == [3] * 3 + [4] * 3 + [50] * 3
    short = lapsi.score(*data, recipe=Recipe(epochs=20, seeds=2), indices=[3, 4, 50], **QUIET)
    at_20 = trajectory[trajectory["epoch"] == 20].reset_index(drop=True)
    for name in ("lsi", "lsi_mean", "lsi_curvature", "lsi_std"):
        assert_array_equal(at_20[name], short.table[name])
    assert_array_equal(trajectory[trajectory["epoch"] == 25]["lsi"], scores.lsi)


def test_no_epochs_give_the_distribution_at_initialisation(data):
    scores = lapsi.score(*data, recipe=Recipe(epochs=0, seeds=2), **QUIET)
    assert (scores.table["lsi_mean"] == 0).all()
    assert (scores.table["lsi_curvature"] > 0).all()
    assert_allclose(scores.table["loo_probability"], scores.table["train_probability"], rtol=1e-12)


def test_verification_measures_the_error_against_models_trained_alone(data, monkeypatch):
    options = {"recipe": Recipe(epochs=50, seeds=1), "progress": False}
    checked = lapsi.score(*data, verify=16, **options).provenance.verification
    assert checked["reference"] == "trained alone"
    assert len(checked["rows"]) == 3
    assert 0 < checked["max_relative_error"] < 1e-3
    divergence = GgnCurvature.divergence

    def scaled_in_chunks(self, removed):
        terms, factor = divergence(self, removed), 1.01 if len(removed.units) > 1 else 1.0
        return Terms(factor * terms.mean, factor * terms.curvature)

    monkeypatch.setattr(GgnCurvature, "divergence", scaled_in_chunks)
    assert_allclose(lapsi.score(*data, verify=16, **options).provenance.verification["median_relative_error"], 0.01, rtol=1e-2)


@pytest.mark.slow
def test_predictions_average_the_seeds(data):
    X, y = data
    model = lapsi.LaplaceSampleInformation(recipe=Recipe(epochs=60, seeds=2), hidden=(6,), verify=0).fit(X, y)
    assert model.predict_proba(X).shape == (N, C)
    assert_allclose(model.predict_proba(X)[np.arange(N), y], model.scores_.table["train_probability"], rtol=1e-5)
    assert not hasattr(model, "coef_")


def small_chunks(monkeypatch, n_models):
    monkeypatch.setattr("lapsi.engines.retrain.plan.MOST_MODELS", n_models)


@pytest.mark.slow
def test_chunks_give_the_same_scores(data, monkeypatch):
    options = {"recipe": Recipe(epochs=30, seeds=1), "hidden": (4,), "dtype": "float64", **QUIET}
    whole = lapsi.score(*data, **options)
    small_chunks(monkeypatch, 7)
    assert_allclose(lapsi.score(*data, **options).lsi, whole.lsi, rtol=1e-9)


@pytest.mark.slow
def test_work_goes_on_from_its_parts_bit_by_bit(data, monkeypatch, tmp_path):
    small_chunks(monkeypatch, 16)
    options = {"recipe": Recipe(epochs=20, seeds=2), "hidden": (4,), "every": 5, **QUIET}
    whole = lapsi.score(*data, **options)
    path, calls = tmp_path / "parts", []
    divergence = GgnCurvature.divergence

    def stop_in_the_third_part(*arguments):
        calls.append(arguments)
        if len(calls) == 10:  # four snapshots a part
            raise KeyboardInterrupt
        return divergence(*arguments)

    monkeypatch.setattr(GgnCurvature, "divergence", stop_in_the_third_part)
    with pytest.raises(KeyboardInterrupt):
        lapsi.score(*data, checkpoint=path, **options)
    assert sorted(file.name for file in path.iterdir()) == [
        ".lock",
        "progress.json",
        "seed0-part00000.npz",
        "seed0-part00001.npz",
    ]
    monkeypatch.setattr(GgnCurvature, "divergence", divergence)
    small_chunks(monkeypatch, 17)  # the size of the parts is the one the work began with
    again = lapsi.score(*data, checkpoint=path, **options)
    assert len(list(path.glob("*part*.npz"))) == 8
    pd.testing.assert_frame_equal(again.table, whole.table, check_exact=True)
    pd.testing.assert_frame_equal(again.trajectory, whole.trajectory, check_exact=True)
    assert_array_equal(again.loo_proba, whole.loo_proba)


def test_parts_of_other_settings_or_data_are_refused_with_the_difference(data, tmp_path):
    X, y = data
    path = tmp_path / "parts"
    lapsi.score(X, y, recipe=Recipe(epochs=3), checkpoint=path, **QUIET)
    with pytest.raises(lapsi.InputError, match=r"settings\.engine\.recipe\.learning_rate was 0\.04, now 0\.1"):
        lapsi.score(X, y, recipe=Recipe(epochs=3, learning_rate=0.1), checkpoint=path, **QUIET)
    with pytest.raises(lapsi.InputError, match="n_scored was 60, now 2.*other samples"):
        lapsi.score(X, y, recipe=Recipe(epochs=3), checkpoint=path, indices=[1, 2], **QUIET)
    with pytest.raises(lapsi.InputError, match="the data have changed"):
        lapsi.score(X + 1e-9, y, recipe=Recipe(epochs=3), checkpoint=path, **QUIET)
    lapsi.score(X, y, recipe=Recipe(epochs=3), checkpoint=path, progress=False, verify=1, memory_limit=2**40)
    with pytest.raises(lapsi.InputError, match=r"settings\.engine\.name was 'retrain', now 'newton'"):
        lapsi.score(X, y, checkpoint=path, **QUIET)
    (tmp_path / "photos").mkdir()
    shutil.copy(__file__, tmp_path / "photos")
    with pytest.raises(lapsi.InputError, match="holds other things"):
        lapsi.score(X, y, recipe=Recipe(epochs=3), checkpoint=tmp_path / "photos", **QUIET)


def test_damaged_parts_are_named(data, tmp_path):
    path = tmp_path / "parts"
    options = {"recipe": Recipe(epochs=3, seeds=1), "checkpoint": path, **QUIET}
    lapsi.score(*data, **options)
    (path / "seed0-part00000.npz").write_bytes(b"PK\x03\x04 half")
    with pytest.raises(lapsi.InputError, match=r"seed0-part00000\.npz is damaged .* delete it"):
        lapsi.score(*data, **options)
    (path / "progress.json").write_text('{"identity": ')
    with pytest.raises(lapsi.InputError, match="cannot be read"):
        lapsi.score(*data, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "newton", "hidden": (4,)}, "engine is 'newton' but hidden was given"),
        ({"engine": "newton", "recipe": Recipe(), "every": 2}, "recipe and every was given"),
        ({"engine": "retrain", "refine": 2}, "refine is 2 but belongs to engine 'newton'"),
        ({"engine": lapsi.Newton(), "recipe": Recipe()}, r"recipe was given beside engine=Newton.*engine=lapsi.Retrain"),
        ({"engine": lapsi.Newton(), "refine": 2}, r"refine was given beside engine, which holds it.*engine=lapsi.Newton"),
        ({"model": "mlp"}, "model is 'mlp'; expected a lapsi.ModelSpec"),
        ({"hidden": (0,)}, "hidden is 0"),
        ({"hidden": 64}, "hidden is 64; expected the units"),
        ({"hidden": (4,), "activation": "swish"}, "activation is 'swish'"),
        ({"recipe": "paper"}, "recipe is 'paper'; expected a lapsi.Recipe"),
        ({"every": 0}, "every is 0"),
        ({"every": 50, "recipe": Recipe(epochs=20)}, "every is 50 but training has 20 epochs"),
        ({"weight_decay": 0, "engine": "retrain"}, "weight_decay is 0.*number as prior_precision"),
    ],
)
def test_what_cannot_be_combined_is_refused(options, message):
    with pytest.raises(lapsi.InputError, match=message):
        make_settings(**options)


@pytest.mark.parametrize(
    ("recipe", "kept"),
    [
        (Recipe(epochs=2, seeds=1), "mean"),
        (Recipe(epochs=2, seeds=1, clip_norm=1.0), "sum"),
        (Recipe(epochs=2, seeds=1, batching="poisson", batch_size=20), "sum"),
    ],
)
def test_the_record_says_what_stays_fixed_when_a_sample_leaves(data, recipe, kept):
    """Sums over a public number keep the total regularisation, whatever was asked for."""
    scores = lapsi.score(*data, recipe=recipe, removal="mean", indices=[0, 1], **QUIET)
    assert scores.provenance.settings["objective"]["removal"] == kept
    asked = lapsi.score(*data, recipe=recipe, removal="sum", indices=[0, 1], **QUIET)
    assert (asked.lsi == scores.lsi).all() == (kept == "sum")


def test_training_without_weight_decay_needs_a_prior(data):
    scores = lapsi.score(*data, recipe=Recipe(epochs=5, seeds=1), weight_decay=0, prior_precision=1.0, **QUIET)
    assert (scores.lsi > 0).all()


def test_a_posterior_too_large_for_memory_is_refused_before_training(data, monkeypatch):
    monkeypatch.setattr(RetrainEngine, "fit", lambda *_: pytest.fail("training began"))
    with pytest.raises(lapsi.MemoryLimitError, match=r"the full posterior of 28,\d+ parameters .* GiB.*'diag'"):
        lapsi.score(*data, hidden=(3500,), curvature="full", memory_limit=2**33, **QUIET)
    with pytest.raises(lapsi.MemoryLimitError, match="the kfac posterior"):
        lapsi.score(*data, hidden=(20000,), curvature="kfac", memory_limit=2**33, **QUIET)


def test_less_memory_means_fewer_models_at_once():
    plenty, scarce, little = (
        make_engine(make_settings("retrain", memory_limit=limit)).plan(Work(50_000, 513, 10, 9, 5000))
        for limit in (2**40, 2 * 2**30, 1_035_000_000)
    )
    assert plenty.details == {"chunk_size": 64, "n_parts": 3 * 79}
    assert 1 <= little.details["chunk_size"] < 64
    assert little.cost.peak_bytes <= 1_035_000_000
    assert scarce.cost.flop["retrain"] == plenty.cost.flop["retrain"] == 3 * 5000 * 1000 * 4 * 50_000 * 513 * 10


def test_runs_by_retraining_are_saved_whole(data, tmp_path):
    scores = lapsi.score(*data, recipe=Recipe(epochs=4), every=2, indices=[1, 2], **QUIET)
    path = scores.save(tmp_path / "run")
    again = lapsi.load_run(path)
    pd.testing.assert_frame_equal(again.table, scores.table)
    pd.testing.assert_frame_equal(again.trajectory, scores.trajectory)
    assert again.provenance == scores.provenance
    assert again.provenance.settings == make_settings(recipe=Recipe(epochs=4), every=2, verify=0).to_dict()
    assert set(json.loads((path / "run.json").read_text())["columns"]) == set(scores.table)


def test_scores_that_are_no_divergence_are_refused_before_they_are_kept(data, tmp_path):
    options = {"recipe": Recipe(epochs=3, seeds=1), "hidden": (4,), "weight_decay": 0, "prior_precision": 1e-16, **QUIET}
    with pytest.raises(lapsi.ConvergenceError, match=r"not positive definite|no finite LSI"):
        lapsi.score(*data, curvature="full", checkpoint=tmp_path / "parts", **options)
    assert not list((tmp_path / "parts").glob("*.npz"))


def test_the_order_of_the_samples_belongs_to_a_run(data, tmp_path):
    options = {"recipe": Recipe(epochs=3, seeds=1), "checkpoint": tmp_path / "parts", **QUIET}
    lapsi.score(*data, indices=[3, 1, 2], **options)
    with pytest.raises(lapsi.InputError, match="other samples"):
        lapsi.score(*data, indices=[1, 2, 3], **options)


def test_a_part_that_is_missing_is_computed_again(data, tmp_path):
    options = {"recipe": Recipe(epochs=3, seeds=2), "checkpoint": tmp_path / "parts", **QUIET}
    whole = lapsi.score(*data, **options)
    (tmp_path / "parts" / "seed1-part00000.npz").unlink()
    (tmp_path / "parts" / ".progress.json.killed.tmp").mkdir()
    pd.testing.assert_frame_equal(lapsi.score(*data, **options).table, whole.table)


def test_a_kill_while_the_first_file_is_written_does_no_harm(data, tmp_path):
    (tmp_path / "parts" / ".progress.json.killed.tmp").mkdir(parents=True)
    lapsi.score(*data, recipe=Recipe(epochs=2, seeds=1), checkpoint=tmp_path / "parts", **QUIET)


def test_less_memory_than_the_run_was_begun_with_is_told(data, tmp_path, monkeypatch):
    options = {"recipe": Recipe(epochs=2, seeds=1), "checkpoint": tmp_path / "parts", **QUIET}
    lapsi.score(*data, **options)
    small_chunks(monkeypatch, 5)
    with pytest.raises(lapsi.MemoryLimitError, match="begun with 60 models at once.* now allows 5"):
        lapsi.score(*data, **options)


def test_raw_pixels_do_not_pass_for_diverging():
    """Unscaled features drive float32 probabilities to 0 and back; training is healthy all the same."""
    X, y = load_digits(return_X_y=True)
    recipe = Recipe(epochs=15, seeds=1)
    options = {"standardize": False, "recipe": recipe, "indices": np.arange(12), **QUIET}
    single, double = (lapsi.score(X[:150], y[:150], dtype=dtype, **options) for dtype in ("float32", "float64"))
    assert_allclose(single.lsi, double.lsi, rtol=1e-2)


def test_two_processes_do_not_share_a_checkpoint(data, tmp_path):
    options = {"recipe": Recipe(epochs=2, seeds=1), "checkpoint": tmp_path / "parts", **QUIET}
    (tmp_path / "parts").mkdir()
    with FileLock(tmp_path / "parts" / ".lock"), pytest.raises(lapsi.RunExistsError, match="Another process works on"):
        lapsi.score(*data, **options)
    lapsi.score(*data, **options)


def test_a_damaged_part_without_a_word_is_one_line(data, tmp_path, monkeypatch):
    options = {"recipe": Recipe(epochs=2, seeds=1), "checkpoint": tmp_path / "parts", **QUIET}
    lapsi.score(*data, **options)

    def end(*_, **__):
        raise EOFError

    monkeypatch.setattr(np, "load", end)
    with pytest.raises(lapsi.InputError, match=r"npz is damaged \(EOFError\); delete it"):
        lapsi.score(*data, **options)


def test_parts_that_were_tampered_with_are_refused(data, tmp_path):
    options = {"recipe": Recipe(epochs=2, seeds=1), "checkpoint": tmp_path / "parts", **QUIET}
    lapsi.score(*data, **options)
    part = tmp_path / "parts" / "seed0-part00000.npz"
    with np.load(part) as file:
        arrays = dict(file)
    for change in ({"lsi_mean": arrays["lsi_mean"][:, :5]}, {"shift_norm": np.full(N, np.nan)}):
        np.savez(part, **(arrays | change))
        with pytest.raises(lapsi.InputError, match=f"{next(iter(change))} is missing or not as it was written"):
            lapsi.score(*data, **options)
