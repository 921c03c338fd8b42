"""The chosen weight decay: leave-one-out losses and evidence by dense algebra and by refits, and the search for the least."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_breast_cancer, load_wine

import lapsi
import oracles
from lapsi.data.dataset import make_dataset
from lapsi.engines.base import Work, work_of
from lapsi.engines.choose import chosen_engine, make_engine
from lapsi.engines.local.plan import plan_local
from lapsi.execution.progress import Stages
from lapsi.models.likelihoods.bernoulli import bernoulli
from lapsi.models.likelihoods.gaussian import gaussian
from lapsi.models.likelihoods.softmax import softmax
from lapsi.problem.linear import LinearProblem
from lapsi.problem.objective import Objective
from lapsi.results.regularization import LARGEST, SMALLEST, Regularization, chosen_of
from lapsi.settings.settings import make_settings
from lapsi.training import regularization
from lapsi.training.decay_curve import HELD_OUT, LEFT_OUT, decay_at, step_of
from lapsi.training.leave_one_out import (
    FOLDS,
    average,
    copy_hessian,
    cross_validated_losses,
    leave_one_out_losses,
    log_evidence,
)
from lapsi.training.newton import fit_map, invert, near_map, spectrum_of
from lapsi.training.regularization import ENDS, SPANS, regularized
from lapsi.training.search import bracket, vertex, walk

N, D, DECAY = 40, 4, 0.05
NOISE = np.array([0.5, 2.0])
KINDS = {"softmax": 3, "bernoulli": 2, "gaussian": 2}
CASES = list(itertools.product(KINDS, ("once", "random", "counts"), ("mean", "sum")))
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def glm():
    """Builds the brute force of a likelihood, with weights or without."""
    rng = np.random.default_rng(5)
    inputs = np.c_[rng.normal(size=(N, D - 1)), np.ones(N)]
    numbers = inputs @ rng.normal(size=(D, 2)) + rng.normal(size=(N, 2)) * np.sqrt(NOISE)
    targets = {"softmax": rng.permutation(np.arange(N) % 3), "bernoulli": (numbers > 0).astype(float), "gaussian": numbers}
    weights = {"once": None, "random": rng.uniform(0.2, 1.0, N), "counts": rng.integers(0, 4, N).astype(float)}

    def build(kind, weighted="once", removal="mean", decay=DECAY):
        return oracles.Glm(kind, inputs, targets[kind], weights[weighted], decay, "map", removal, NOISE)

    return build


def problem_of(glm):
    likelihood = {
        "softmax": lambda: softmax(3, CPU),
        "bernoulli": lambda: bernoulli(2, CPU),
        "gaussian": lambda: gaussian(torch.from_numpy(NOISE)),
    }[glm.kind]()
    data = torch.from_numpy(glm.inputs), torch.from_numpy(glm.targets), likelihood
    return LinearProblem(*data, Objective(glm.decay, "map", glm.removal), torch.from_numpy(glm.weights))


def losses_of(glm):
    problem = problem_of(glm)
    fit = fit_map(problem)
    return leave_one_out_losses(problem, fit.params, invert(copy_hessian(fit)), torch.arange(len(glm.inputs))).numpy()


def newton_step_losses(glm):
    """The losses after one Newton step without a copy of each sample, from the dense Hessian and gradient without it.

    The Hessian keeps the weight decay that is left when a mean copy leaves.
    """
    k, total = KINDS[glm.kind], glm.weights.sum()
    params = glm.train(k)
    copy = np.minimum(glm.weights, 1)
    kept = glm.removal == "mean"
    mean_copy = (glm.weights * copy).sum() / total if kept else 0.0
    losses = []
    for row in range(N):
        left = oracles.Glm(glm.kind, glm.inputs, glm.targets, glm.weights - copy[row] * (np.arange(N) == row), noise=glm.noise)
        decay = (total - kept * copy[row]) * glm.decay
        slope = (left.residuals(glm.inputs @ params.T).T * left.weights) @ glm.inputs + decay * params
        hessian = left.ggn(params) + (total - mean_copy) * glm.decay * np.eye(params.size)
        without = params - np.linalg.solve(hessian, slope.ravel()).reshape(params.shape)
        losses.append(glm.losses(glm.inputs @ without.T)[row])
    return np.array(losses)


@pytest.mark.parametrize(("kind", "weighted", "removal"), CASES)
def test_losses_are_those_after_a_newton_step(glm, kind, weighted, removal):
    case = glm(kind, weighted, removal)
    assert_allclose(losses_of(case), newton_step_losses(case), rtol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_losses_are_close_to_those_of_refits(glm, kind):
    """Exact for numbers; of second order in what a sample weighs for the others."""
    case = glm(kind)
    refits = np.array([case.losses(case.inputs @ case.without([row]).train(KINDS[kind]).T)[row] for row in range(N)])
    found = losses_of(case)
    assert_allclose(found.mean(), refits.mean(), rtol=1e-9 if kind == "gaussian" else 1e-2)
    assert_allclose(found, refits, rtol=1e-9 if kind == "gaussian" else 0.1)
    assert np.abs(found - refits).max() < 0.2 * np.abs(found - case.losses(case.inputs @ case.train(KINDS[kind]).T)).max()


def test_losses_of_numbers_are_those_of_press(glm):
    """(y − z)/(1 − h), the residual that ridge regression leaves without a sample."""
    case = glm("gaussian", removal="sum")
    losses = np.zeros(N)
    for output, noise in enumerate(NOISE):
        ridge = case.inputs.T @ case.inputs + N * DECAY * noise * np.eye(D)
        hat = case.inputs @ np.linalg.solve(ridge, case.inputs.T)
        residual = (case.targets[:, output] - hat @ case.targets[:, output]) / (1 - np.diag(hat))
        losses += 0.5 * (residual**2 / noise + np.log(2 * np.pi * noise))
    assert_allclose(losses_of(case), losses, rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weighted", ["once", "random", "counts"])
def test_evidence_is_laplaces(glm, kind, weighted):
    """ln ∫ exp(−Σ a loss − (δ/2)‖θ‖²)(δ/2π)^(P/2) dθ about the optimum, all P weights counted."""
    case = glm(kind, weighted)
    params, prior = case.train(KINDS[kind]), case.prior()
    hessian = case.ggn(params) + prior * np.eye(params.size)
    value = case.weights @ case.losses(case.inputs @ params.T) + 0.5 * prior * np.square(params).sum()
    expected = 0.5 * params.size * np.log(prior) - 0.5 * np.linalg.slogdet(hessian)[1] - value
    fit = fit_map(problem_of(case))
    assert_allclose(log_evidence(fit, torch.linalg.cholesky(fit.hessian)), expected, rtol=1e-9)


def test_evidence_of_numbers_is_that_of_their_normal_distribution(glm):
    case = glm("gaussian")
    covariance = case.inputs @ case.inputs.T / case.prior()
    expected = 0.0
    for output, noise in enumerate(NOISE):
        whole, y = covariance + noise * np.eye(N), case.targets[:, output]
        expected -= 0.5 * (np.linalg.slogdet(2 * np.pi * whole)[1] + y @ np.linalg.solve(whole, y))
    fit = fit_map(problem_of(case))
    assert_allclose(log_evidence(fit, torch.linalg.cholesky(fit.hessian)), expected, rtol=1e-10)


def test_average_and_its_error():
    losses, weights = torch.tensor([1.0, 2.0, 6.0]), torch.tensor([1.0, 2.0, 1.0])
    found = average(losses, weights)
    assert found.mean == pytest.approx(11 / 4)
    assert found.error == pytest.approx(math.sqrt(1.75**2 + (2 * 0.75) ** 2 + 3.25**2) / 4)
    equal = average(torch.arange(10.0), torch.ones(10))
    assert equal.error == pytest.approx(np.arange(10).std() / np.sqrt(10))


@pytest.mark.parametrize("kind", KINDS)
def test_a_fit_that_is_near_gives_the_same_losses(glm, kind):
    problem = problem_of(glm(kind, decay=1e-3))
    exact, (near, _) = fit_map(problem), near_map(problem, spectrum_of(problem.inputs, problem.weights), None)
    rows = torch.arange(N)
    one, other = (leave_one_out_losses(problem, each.params, invert(copy_hessian(each)), rows) for each in (exact, near))
    assert_allclose(other, one, rtol=1e-3)


def test_losses_that_rounding_decides_are_refused(glm):
    """Numbers that are fitted exactly: the residual and what it is divided by are both nothing but rounding."""
    case = glm("gaussian", decay=1e-9)
    case.inputs = np.c_[case.inputs, np.eye(N)]
    with pytest.raises(lapsi.ConvergenceError, match="no digits left.*larger weight decay"):
        losses_of(case)


# the search


@pytest.mark.parametrize("least", [-140, -97, -48, -1, 0, 31, 48])
def test_the_search_ends_at_the_least_value(least):
    seen = []

    def loss(step):
        seen.append(step)
        return abs(step - least) ** 1.5 if step < least else 2.0 * (step - least) ** 2

    best = walk(loss, range(ENDS[1], ENDS[0] - 1, -24), 5, 2)
    for span in regularization.SPANS:
        best = bracket(loss, best, span, ENDS)
    assert abs(vertex(loss, best, regularization.SPANS[-1], ENDS) - least) <= 2
    assert len(set(seen)) < 25
    assert all(ENDS[0] <= step <= ENDS[1] for step in seen)


def test_the_walk_ends_where_it_rises_but_not_before_it_must():
    taken = []

    def loss(step):
        taken.append(step)
        return {0: 5.0, 1: 4.0, 2: 6.0, 3: 7.0, 4: 1.0, 5: 9.0, 6: 9.0, 7: 0.0}[step]

    assert walk(loss, range(8), 3, 2) == 1
    assert max(taken) == 3
    assert walk(loss, range(8), 5, 2) == 4


def test_every_weight_decay_of_the_lattice_is_another():
    steps = list(range(ENDS[0], ENDS[1] + 1))
    assert [step_of(decay_at(step)) for step in steps] == steps
    assert (decay_at(ENDS[0]), decay_at(-48), decay_at(0), decay_at(ENDS[1])) == (1e-6, 0.01, 1.0, 100.0)


# the choice


def chosen(X, y, weights=None, task=None, **choices):
    found = regularized(make_dataset(X, y, weights=weights, task=task), make_settings(**choices), Stages(False))
    assert found.record is not None
    return found


def loss_at(X, y, weight_decay, standardize):
    return chosen(X, y, weight_decay=weight_decay, standardize=standardize).record.chosen.loo_loss


@pytest.mark.slow
@pytest.mark.parametrize(("load", "scaling"), [(load_wine, "each"), (load_breast_cancer, "each"), (load_wine, "one")])
def test_no_weight_decay_of_a_fine_grid_is_better(load, scaling):
    X, y = load(return_X_y=True)
    dataset, settings = make_dataset(X, y), make_settings(standardize=scaling)
    record = regularized(dataset, settings, Stages(False)).record
    curve = regularization._curve(dataset, settings, np.arange(len(y)), lambda: None, LEFT_OUT)
    grid = [curve.at(step) for step in range(*ENDS, 8)]
    assert record.chosen.loo_loss <= min(grid) * 1.001


def test_the_better_scaling_is_taken():
    """Directions that say little are small ones; scaled by themselves they would count as much as the others."""
    rng = np.random.default_rng(0)
    y = np.arange(120) % 2
    signal = (2 * y - 1)[:, None] + 0.5 * rng.normal(size=(120, 1))
    noisy = np.c_[signal, 0.01 * rng.normal(size=(120, 60))]
    found = chosen(noisy, y)
    assert found.settings.model.standardize == found.record.chosen.standardize == "one"
    best = {name: min(trial.loo_loss for trial in found.record.curve(name)) for name in ("each", "one")}
    assert found.record.chosen.loo_loss == best["one"] < best["each"]
    assert "features scaled by one factor (each by itself: " in found.record.sentence()
    units = np.c_[signal, rng.normal(size=(120, 1)) + signal] * [1e-4, 1e4]
    assert chosen(units, y).settings.model.standardize == "each"


def test_columns_with_units_of_their_own_are_each_scaled_unless_something_else_is_asked_for():
    X, y = load_wine(return_X_y=True)
    dataset = replace(make_dataset(X, y), own_units=True)
    found = regularized(dataset, make_settings(weight_decay=0.05), Stages(False))
    assert (found.settings.model.standardize, found.record) == ("each", None)
    assert (
        regularized(dataset, make_settings(standardize="one", weight_decay=0.05), Stages(False)).standardizer.scale[0]
        == (
            regularized(
                make_dataset(X, y), make_settings(standardize="one", weight_decay=0.05), Stages(False)
            ).standardizer.scale[0]
        )
    )
    work = work_of(dataset, len(y))
    notes = make_engine(chosen_engine(make_settings(), work).settings).plan(work).notes
    assert [name for name, _ in notes if name in ("weight decay", "scaling of features")] == ["weight decay"]


def test_scaling_alone_is_chosen_at_a_given_weight_decay():
    X, y = load_wine(return_X_y=True)
    found = chosen(X, y, weight_decay=0.05)
    assert found.record.asked == ("standardize",)
    assert [trial.weight_decay for trial in found.record.trials] == [0.05, 0.05]
    assert found.settings.objective.weight_decay == 0.05
    assert found.record.sentence().startswith("leave-one-out loss 0.")


def test_what_is_given_is_taken():
    X, y = load_wine(return_X_y=True)
    dataset = make_dataset(X, y)
    settings = make_settings(weight_decay=0.05, standardize="none")
    found = regularized(dataset, settings, Stages(False))
    assert (found.record, found.settings) == (None, settings)
    assert_array_equal(found.standardizer.inputs(X)[:, :-1], X)


@pytest.mark.parametrize("task", ["classes", "regression", "multilabel"])
def test_weights_are_repeated_samples(task):
    rng = np.random.default_rng(2)
    X = rng.normal(size=(50, 3))
    signal = X @ [1.0, -1.0, 0.5] + rng.normal(size=50)
    y = {"classes": (signal > 0).astype(int), "regression": signal}.get(task, np.c_[signal > 0, X[:, 0] > 0.2].astype(int))
    weights = rng.integers(0, 4, 50)
    rows = np.repeat(np.arange(50), weights)
    one, other = chosen(X, y, weights.astype(float), task), chosen(X[rows], y[rows], None, task)
    assert [t.weight_decay for t in one.record.trials] == [t.weight_decay for t in other.record.trials]
    assert_allclose([t.loo_loss for t in one.record.trials], [t.loo_loss for t in other.record.trials], rtol=1e-6)
    assert_allclose([t.log_evidence for t in one.record.trials], [t.log_evidence for t in other.record.trials], rtol=1e-6)
    assert one.record.chosen.weight_decay == other.record.chosen.weight_decay
    assert_allclose(one.settings.objective.noise, other.settings.objective.noise, rtol=1e-8)


def test_the_noise_of_numbers_is_that_at_the_chosen_weight_decay():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(80, 5))
    y = X[:, 0] + 0.3 * rng.normal(size=80)
    found = chosen(X, y, task="regression")
    again = regularized(
        make_dataset(X, y, task="regression"),
        make_settings(weight_decay=found.record.chosen.weight_decay, standardize=found.record.chosen.standardize),
        Stages(False),
    )
    assert found.settings.objective == again.settings.objective
    assert found.settings.objective.noise[0] == pytest.approx(0.09, rel=0.5)


def test_the_ends_of_the_range_are_told(monkeypatch):
    rng = np.random.default_rng(1)
    X = rng.normal(size=(60, 20))
    hopeless = chosen(X, np.arange(60) % 2).record
    assert (hopeless.end, hopeless.chosen.weight_decay) == (LARGEST, 100.0)
    assert "the features say nothing of the targets" in hopeless.sentence()
    easy = np.c_[np.arange(60) % 2 - 0.5, 0.01 * X[:, :1]]
    separable = chosen(easy, np.arange(60) % 2).record
    assert (separable.end, separable.chosen.weight_decay) == (SMALLEST, 1e-6)
    assert "a smaller one may be better still" in separable.sentence()


def test_large_data_are_searched_on_some_of_the_samples(monkeypatch):
    rng = np.random.default_rng(4)
    X = rng.normal(size=(1200, 6))
    y = (X[:, 0] + rng.normal(size=1200) > 0).astype(int)
    whole = chosen(X, y, standardize="each")
    monkeypatch.setattr(regularization, "SOME_ROWS", 300)
    monkeypatch.setattr(regularization, "LOSS_ROWS", 500)
    monkeypatch.setattr(regularization, "AFFORDABLE_FLOP", 0)
    record = chosen(X, y, standardize="each").record
    assert record.n_losses == 500
    assert {trial.n_trained for trial in record.trials} == {300, 1200}
    assert record.chosen.n_trained == 1200
    assert record.at(0.01) is not None
    assert sum(trial.n_trained == 1200 for trial in record.trials) <= 6
    assert abs(step_of(record.chosen.weight_decay) - step_of(whole.record.chosen.weight_decay)) <= 12
    same = [trial for trial in record.trials if trial.n_trained == 300 and trial.weight_decay == 0.01]
    assert same[0].loo_loss == pytest.approx(record.at(0.01).loo_loss, rel=0.15)


def test_where_the_hessian_is_large_the_search_is_cross_validated(monkeypatch):
    """What it found is evaluated by leaving one out on all samples; it is near what the whole search finds."""
    rng = np.random.default_rng(4)
    X = rng.normal(size=(600, 6))
    y = np.argmax(X[:, :3] + rng.normal(size=(600, 3)), 1)
    whole = chosen(X, y, standardize="each")
    monkeypatch.setattr(regularization, "FOLDS_ABOVE", 0)
    record = chosen(X, y, standardize="each").record
    folds, exact = ([trial for trial in record.trials if trial.n_trained == n] for n in (300, 600))
    assert {trial.log_evidence is None for trial in folds} == {True}
    assert {trial.log_evidence is None for trial in exact} == {False}
    assert 0.01 in {trial.weight_decay for trial in exact}
    assert len(exact) <= 2
    assert abs(step_of(record.chosen.weight_decay) - step_of(whole.record.chosen.weight_decay)) <= 12
    same = whole.record.at(0.01)
    assert record.at(0.01).loo_loss == pytest.approx(same.loo_loss, rel=1e-6)


@pytest.fixture(scope="module")
def crowd():
    """1,500 samples of 12 classes, a tenth of the labels wrong, the first class five times as frequent as any other."""
    rng = np.random.default_rng(1)
    y = np.maximum(rng.integers(-4, 12, 1500), 0)
    X = 2 * rng.normal(size=(12, 6))[y] + rng.normal(size=(1500, 6))
    wrong = rng.random(1500) < 0.1
    y[wrong] = rng.integers(12, size=wrong.sum())
    return X, y


def test_many_outputs_are_held_out_and_agree_with_leaving_one_out(crowd, monkeypatch):
    """Within a step of the search, a sixth of a decade; and its leave-one-out loss is next to the least."""
    exact = chosen(*crowd, standardize="each").record
    monkeypatch.setattr(regularization, "AFFORDABLE_FLOP", 0)
    record = chosen(*crowd, standardize="each", engine="local").record
    assert abs(step_of(record.chosen.weight_decay) - step_of(exact.chosen.weight_decay)) <= SPANS[1]
    dataset, settings = make_dataset(*crowd), make_settings(standardize="each")
    curve = regularization._curve(dataset, settings, np.arange(1500), lambda: None, LEFT_OUT)
    assert curve.loss(record.chosen.weight_decay) < 1.002 * exact.chosen.loo_loss
    assert {trial.log_evidence for trial in record.trials} == {None}
    assert (record.chosen.n_trained, record.n_losses) == (1500, 1500)
    assert record.at(0.01) is not None
    assert "chosen by held-out loss" in record.sentence()
    assert chosen(*crowd, engine="local", weight_decay=0.02).record.asked == ("standardize",)


def test_small_data_of_many_outputs_are_left_out_as_by_newton():
    X, y = load_wine(return_X_y=True)
    assert chosen(X, y, engine="local").record == chosen(X, y).record


def test_held_out_losses_are_those_of_a_fit_of_the_others(crowd):
    X, y = crowd
    dataset, settings = make_dataset(X, y), make_settings("local", standardize="each")
    rows = np.arange(0, 1500, 3)
    curve = regularization._curve(dataset, settings, rows, lambda: None, HELD_OUT)
    held = curve.counted[0].numpy()
    kept = np.setdiff1d(np.arange(len(rows)), held)
    assert len(held) == 100
    assert np.abs(np.bincount(y[rows][held], minlength=12) - np.bincount(y[rows], minlength=12) / 5).max() <= 1
    inputs, labels = curve.inputs.numpy(), y[rows]
    other = oracles.Glm("softmax", inputs[kept], labels[kept], np.ones(len(kept)), 0.02 * 1500 / len(kept))
    unseen = oracles.Glm("softmax", inputs[held], labels[held])
    expected = unseen.losses(unseen.inputs @ other.train(12).T)
    curve.loss(0.02)
    assert_allclose(curve.trials[0.02].loo_loss, expected.mean(), rtol=1e-4)
    assert_allclose(curve.trials[0.02].error, expected.std() / 10, rtol=1e-2)


def test_the_plan_tells_that_samples_are_held_out():
    wide = Work(50_000, 513, 100, 99, 50_000)
    plan = plan_local(wide, make_settings("local", memory_limit=2**35))
    assert dict(plan.notes)["weight decay"] == "chosen by the loss of held-out samples, among 12,500"
    assert plan.cost.flop[regularization.STAGE] < 0.75 * plan.cost.flop["fit"]
    given = plan_local(wide, make_settings("local", memory_limit=2**35, weight_decay=0.01, standardize="each"))
    assert regularization.STAGE not in given.cost.flop


@pytest.mark.parametrize("kind", KINDS)
def test_cross_validated_losses_are_those_of_fits_of_the_other_folds(glm, kind):
    oracle = glm(kind, "random")
    problem = problem_of(oracle)
    params = fit_map(problem).params
    losses = cross_validated_losses(problem, params, lambda part, near: fit_map(part, near).params).numpy()
    for fold in range(FOLDS):
        rows = np.arange(fold, N, FOLDS)
        kept = np.setdiff1d(np.arange(N), rows)
        decay = DECAY * oracle.weights.sum() / oracle.weights[kept].sum()
        other = oracles.Glm(kind, oracle.inputs[kept], oracle.targets[kept], oracle.weights[kept], decay, noise=NOISE)
        held = oracles.Glm(kind, oracle.inputs[rows], oracle.targets[rows], noise=NOISE)
        expected = held.losses(held.inputs @ other.train(KINDS[kind]).T)
        assert_allclose(losses[rows], expected, rtol=1e-7)


def test_some_of_the_samples_stand_for_all():
    labels = np.repeat([0, 1, 2], [900, 90, 10])
    rows = regularization.spread(make_dataset(np.zeros((1000, 1)) + np.arange(1000)[:, None], labels).targets, 100)
    assert_array_equal(np.bincount(labels[rows]), [90, 9, 1])
    assert len(set(rows)) == 100


def test_the_choice_is_kept_with_the_scores(tmp_path):
    X, y = load_wine(return_X_y=True)
    scores = lapsi.score(X, y, verify=0, progress=False)
    kept = chosen_of(lapsi.load_run(scores.save(tmp_path / "run")).provenance.regularization)
    assert isinstance(kept, Regularization)
    settings = scores.provenance.settings
    assert settings["objective"]["weight_decay"] == kept.chosen.weight_decay
    assert settings["model"]["standardize"] == kept.chosen.standardize
    assert kept == chosen(X, y).record
    assert kept.chosen.loo_loss == pytest.approx(scores.table["loo_loss"].mean(), rel=0.1)
    given = lapsi.score(X, y, weight_decay=kept.chosen.weight_decay, standardize="each", verify=0, progress=False)
    assert given.provenance.regularization is None
    assert_array_equal(given.lsi, scores.lsi)


def test_retraining_takes_what_the_paper_took():
    settings = make_settings(recipe=lapsi.Recipe(epochs=1))
    assert (settings.objective.weight_decay, settings.model.standardize, settings.is_open) == (0.01, "each", False)
    assert make_settings(hidden=(3,), weight_decay=0.2).objective.weight_decay == 0.2
    assert make_settings().is_open
    assert replace(make_settings(), engine=lapsi.Retrain()) == make_settings("retrain")
