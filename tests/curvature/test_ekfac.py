"""The curvature of a module and the step of a sample that leaves it, against dense matrices by autograd."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torch.utils.data import TensorDataset

import oracles
from lapsi.curvature import ekfac
from lapsi.curvature.basis import plain_basis, turned
from lapsi.curvature.diagonals import FactorProducts, RootSquares, structure_of
from lapsi.curvature.said import said_by
from lapsi.data.batches import batches_of
from lapsi.engines.base import parts_of
from lapsi.engines.ekfac.engine import ekfac_fit
from lapsi.engines.ekfac.fit import EkfacFit
from lapsi.engines.ekfac.steps import DenseHessian, DiagonalHessian
from lapsi.execution.progress import Stages
from lapsi.models.likelihoods.base import weighted as times_weights
from lapsi.models.likelihoods.bernoulli import bernoulli
from lapsi.models.likelihoods.gaussian import gaussian
from lapsi.models.likelihoods.softmax import softmax
from lapsi.models.module.choose import layers_of
from lapsi.models.module.roots import FewestRoots, directions_needed, fewest_directions
from lapsi.models.module.sample_loss import OnePrediction
from lapsi.models.module.signed_roots import SignedRoots, outputs_needed
from lapsi.precision.divergence import KL, Renyi
from lapsi.precision.spectral import SpectralPrecision
from lapsi.problem.module import ModuleProblem
from lapsi.problem.objective import Objective
from lapsi.settings.network import NetworkSettings
from lapsi.settings.objective import ObjectiveSpec

EXACT = {"rtol": 1e-8, "atol": 1e-11}
N, OUTPUTS, WEIGHT_DECAY = 9, 3, 0.05
CPU = torch.device("cpu")


def nobody(_):
    """Is told nothing."""


def likelihood_and_targets(task):
    generator = torch.Generator().manual_seed(3)
    if task == "classes":
        return softmax(OUTPUTS, CPU), torch.randint(0, OUTPUTS, (N,), generator=generator)
    if task == "labels":
        return bernoulli(OUTPUTS, CPU), torch.randint(0, 2, (N, OUTPUTS), generator=generator).double()
    return gaussian(torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)), torch.randn(
        N, OUTPUTS, generator=generator, dtype=torch.float64
    )


def make_problem(task="classes", removal="mean", weighted=False, prior="map"):
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(2, 4, 3, groups=2), nn.GroupNorm(2, 4), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 4, OUTPUTS)
    ).double()
    likelihood, targets = likelihood_and_targets(task)
    inputs = torch.randn(N, 2, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    batches = batches_of(TensorDataset(inputs, targets), None, next(module.parameters()))
    weights = torch.linspace(0.5, 1.5, N, dtype=torch.float64) if weighted else None
    objective = Objective(WEIGHT_DECAY, prior, removal)
    loss = OnePrediction(likelihood, targets, FewestRoots(0.0))
    return ModuleProblem(module, layers_of(module), batches, loss, objective, 4, weights)


def dense(problem):
    """J (N, K, P), g (N, P) and the parts R_iR_iᵀ (N, P, P) of the GGN, by one backward pass an output and sample."""
    jacobian = []
    for row in range(N):
        inputs = problem.batches.take([row]).inputs[0]
        outputs = problem.module(inputs)[0]
        rows = []
        for output in outputs:
            grads = torch.autograd.grad(output, list(problem.module.parameters()), retain_graph=True)
            named = dict(zip([name for name, _ in problem.module.named_parameters()], grads, strict=True))
            rows.append(torch.cat([_in_order(layer, named) for layer in problem.layers]))
        jacobian.append(torch.stack(rows))
    jacobian = torch.stack(jacobian)
    outputs = problem.outputs(problem.params, torch.arange(N))
    state = problem.loss.likelihood.state(outputs)
    weights = torch.ones(N, dtype=torch.float64) if problem.weights is None else problem.weights
    residual = weights[:, None] * problem.loss.likelihood.residual(state, problem.loss.targets)
    hessian = weights[:, None, None] * problem.loss.likelihood.hessian(state)
    gradient = torch.einsum("nk,nkp->np", residual, jacobian)
    return jacobian, gradient, torch.einsum("nap,nab,nbq->npq", jacobian, hessian, jacobian)


def _in_order(layer, named):
    return layer.join({key: named[f"{layer.name}.{key}"] for key in layer.split(layer.params)})


@pytest.mark.parametrize("task", ["classes", "labels", "numbers"])
@pytest.mark.parametrize("weighted", [False, True])
def test_roots_and_gradients_are_those_of_the_jacobian(task, weighted):
    problem = make_problem(task, weighted=weighted)
    _, gradient, parts = dense(problem)
    plain, start = plain_basis(problem.layers), 0
    for said in said_by(problem, torch.arange(N)):
        rows = slice(start, start + len(said.rows))
        root = said.root(plain)
        along = torch.cat([each.directions()[:, 0] for each in said.in_basis(plain)], 1)
        assert_close(times_weights(along, said.residual_scale), gradient[rows], **EXACT)
        assert_close(torch.einsum("nap,naq->npq", root, root), parts[rows], **EXACT)
        start += len(said.rows)
    assert start == N


def test_the_eigenbasis_is_that_of_the_factors_and_the_squares_are_its_diagonal():
    problem = make_problem()
    _, gradient, parts = dense(problem)
    basis = ekfac.eigenbasis(problem, nobody)
    matrix = turned(problem.layers, basis, torch.eye(problem.n_params, dtype=torch.float64)).T  # Qᵀ
    assert_close(matrix @ matrix.T, torch.eye(problem.n_params, dtype=torch.float64), **EXACT)
    found = ekfac.sums_in(problem, basis, RootSquares(plain_basis(problem.layers)), nobody)
    ggn = parts.sum(0)
    assert_close(found.squares, (matrix @ ggn @ matrix.T).diagonal(), **EXACT)
    assert_close(found.gradient, matrix @ gradient.sum(0), **EXACT)
    assert_close(found.own, ggn.diagonal(), **EXACT)
    back = turned(problem.layers, basis, matrix.T.contiguous(), back=True)
    assert back.shape == matrix.shape
    # of the linear layer the factors are sums of products of what goes in and what comes back
    inputs = torch.cat([problem.module[:4](problem.batches.take([row]).inputs[0]) for row in range(N)]).detach()
    inputs = torch.cat([inputs, torch.ones(N, 1, dtype=torch.float64)], 1)
    outputs = problem.outputs(problem.params, torch.arange(N))
    outer = problem.loss.likelihood.hessian(problem.loss.likelihood.state(outputs)).sum(0)
    for factor, vectors in ((inputs.T @ inputs, basis[-1].inner.matrix[0]), (outer, basis[-1].outer.matrix[0])):
        turned_factor = vectors.T @ factor @ vectors
        assert_close(turned_factor, torch.diag(turned_factor.diagonal()), rtol=0, atol=1e-10 * float(factor.trace()))


def fit_of(problem, structure):
    """An `EkfacFit` whose steps are taken in the eigenbasis, or by the whole GGN for `full`."""
    layers, l2 = problem.layers, problem.objective.l2(problem.total)
    if structure == "full":
        ggn, _ = ekfac.dense_ggn(problem, nobody)
        values, vectors = torch.linalg.eigh(ggn)
        curvature = ekfac.DenseCurvature(problem, SpectralPrecision(values + problem.objective.prior(problem.total), vectors))
        return EkfacFit(problem, plain_basis(layers), DenseHessian(values + l2, vectors), curvature, {})
    basis = ekfac.eigenbasis(problem, nobody)
    own = structure_of(structure, problem, basis)
    sums = ekfac.sums_in(problem, basis, own, nobody)
    curvature = ekfac.basis_curvature(problem, own, sums.own, basis)
    return EkfacFit(problem, basis, DiagonalHessian(sums.squares + l2), curvature, {})


@pytest.mark.parametrize(("prior", "removal"), [("map", "mean"), ("map", "sum"), (0.7, "mean")])
def test_posterior_and_hessian_of_the_whole_curvature_are_those_of_the_sums(prior, removal):
    problem = make_problem(prior=prior, removal=removal)
    spec = ObjectiveSpec(weight_decay=WEIGHT_DECAY, prior_precision=prior, removal=removal)
    fit = ekfac_fit(problem, NetworkSettings(objective=spec, curvature="full"), N, Stages(show=False))
    _, _, parts = dense(problem)
    identity, ggn = torch.eye(problem.n_params, dtype=torch.float64), parts.sum(0)
    hessian = SpectralPrecision(fit.hessian.values, fit.hessian.vectors).to_dense()
    assert_close(hessian, ggn + N * WEIGHT_DECAY * identity, **EXACT)
    with_prior = N * WEIGHT_DECAY if prior == "map" else prior
    assert_close(fit.curvature.precision.to_dense(), ggn + with_prior * identity, **EXACT)


@pytest.fixture(params=[512, 0], ids=["eigenbasis", "by channels and offsets"])
def dense_width(request, monkeypatch):
    monkeypatch.setattr("lapsi.curvature.basis.DENSE_WIDTH", request.param)


@pytest.mark.usefixtures("dense_width")
@pytest.mark.parametrize("removal", ["mean", "sum"])
@pytest.mark.parametrize("prior", ["map", 0.7])
@pytest.mark.parametrize("structure", ["diag", "ekfac", "full"])
@pytest.mark.parametrize("weighted", [False, True], ids=["once", "weighted"])
def test_a_sample_that_leaves_is_the_dense_step_and_divergence(structure, removal, prior, weighted):
    problem = make_problem(removal=removal, prior=prior, weighted=weighted)
    jacobian, gradient, parts = dense(problem)
    fit = fit_of(problem, structure)
    identity, ggn = torch.eye(problem.n_params, dtype=torch.float64), parts.sum(0)
    turn = turned(problem.layers, fit.basis, identity).T
    total, weights = problem.total, torch.ones(N) if problem.weights is None else problem.weights
    units = torch.arange(N)[:, None]
    seen = []
    for removed in fit.remove(units, parts_of("seed0", np.arange(N), 512)[0], nobody):
        terms, fourth = (fit.curvature.by(kind).divergence(removed) for kind in (KL(), Renyi(4.0)))
        for position, row in enumerate(removed.units[:, 0].tolist()):
            drop = WEIGHT_DECAY * float(weights[row]) if removal == "mean" else 0.0
            with_prior, without_prior = (
                (total * WEIGHT_DECAY, total * WEIGHT_DECAY - drop) if prior == "map" else (prior, prior)
            )
            others = ggn - parts[row] + (total * WEIGHT_DECAY - drop) * identity
            if structure != "full":
                others = turn.T @ torch.diag((turn @ others @ turn.T).diagonal()) @ turn
            shift = torch.linalg.solve(others, gradient[row] + drop * problem.params)
            whole = others + parts[row]
            leverage = float(torch.einsum("pq,qp->", torch.linalg.inv(whole), parts[row]))
            assert float(removed.diagnostics["leverage"][position]) == pytest.approx(leverage, rel=1e-9)
            found = turned(problem.layers, fit.basis, removed.shift[position], back=True)
            assert_close(found, shift, rtol=0, atol=1e-9 * float(shift.abs().max()))
            assert_close(removed.outputs[position, 0], outputs_of(problem, row) + jacobian[row] @ found, **EXACT)
            before, after = ggn + with_prior * identity, ggn - parts[row] + without_prior * identity
            if structure == "diag":
                before, after = torch.diag(before.diagonal()), torch.diag(after.diagonal())
            elif structure == "ekfac":
                before, after = (turn.T @ torch.diag((turn @ each @ turn.T).diagonal()) @ turn for each in (before, after))
            mean, curvature = oracles.kl(found.numpy(), before.numpy(), after.numpy())
            assert float(terms.mean[position]) == pytest.approx(mean, rel=1e-8)
            assert float(terms.curvature[position]) == pytest.approx(curvature, rel=1e-7, abs=1e-11)
            mean, curvature = oracles.renyi(found.numpy(), before.numpy(), after.numpy(), 4.0)
            assert float(fourth.mean[position]) == pytest.approx(mean, rel=1e-8)
            assert float(fourth.curvature[position]) == pytest.approx(curvature, rel=1e-7, abs=1e-11)
            seen.append(row)
    assert seen == list(range(N))


def outputs_of(problem, row):
    return problem.outputs(problem.params, torch.tensor([row]))[0]


def squared(found):
    """S (n, K, K) of directions."""
    first, *others = found.vectors
    roots = torch.stack([found.root[:, None] * first, *others], 2)
    return roots @ roots.mT


@pytest.mark.parametrize("n_outputs", [5, 80])
def test_as_few_directions_are_taken_as_matter(n_outputs):
    likelihood, generator = softmax(n_outputs, CPU), torch.Generator().manual_seed(0)
    outputs = 3 * torch.randn(20, n_outputs, generator=generator, dtype=torch.float64)
    targets = torch.randint(0, n_outputs, (20,), generator=generator)
    hessian = likelihood.hessian(likelihood.state(outputs))
    few, all_of_them = (fewest_directions(likelihood, outputs, targets, left_out) for left_out in (0.1, 0.0))
    assert len(few.vectors) <= len(all_of_them.vectors) <= n_outputs - 1
    needed, every = (directions_needed(likelihood, outputs, targets, left_out) for left_out in (0.1, 0.0))
    assert int(needed.count.max()) == len(few.vectors)
    assert int(needed.count.sum()) < int(every.count.sum())
    left = hessian - squared(few)
    trace = left.diagonal(dim1=1, dim2=2).sum(1) / hessian.diagonal(dim1=1, dim2=2).sum(1)
    assert float(trace.max()) <= 0.1
    assert_close(needed.beyond, trace, rtol=1e-10, atol=1e-14)
    assert float(every.beyond.max()) <= 1e-12
    assert_close(squared(all_of_them), hessian, rtol=1e-12, atol=1e-14)
    if n_outputs <= 64:
        assert float(torch.linalg.eigvalsh(left).min()) >= -1e-14


def flat_and_steep(name, n_outputs):
    """A likelihood of many outputs, and predictions (6, K) from flat ones to steep ones."""
    likelihood = {
        "softmax": lambda: softmax(n_outputs, CPU),
        "bernoulli": lambda: bernoulli(n_outputs, CPU),
        "gaussian": lambda: gaussian(torch.logspace(-2, 2, n_outputs, dtype=torch.float64)),
    }[name]()
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(6, n_outputs, generator=generator, dtype=torch.float64)
    outputs *= torch.tensor([0.0, 0.5, 2.0, 4.0, 8.0, 16.0])[:, None]
    targets = torch.randint(2, (6,) if name == "softmax" else (6, n_outputs), generator=generator)
    return likelihood, outputs, targets if name == "softmax" else targets.double()


@pytest.mark.parametrize("name", ["softmax", "bernoulli", "gaussian"])
def test_roots_of_many_outputs_square_to_the_hessian_on_average_over_all_signs(name, monkeypatch):
    """Every combination of signs is as likely as another: the signs' second moment, the identity, stands for all of them."""
    n_outputs, rows = 80, torch.arange(6)
    likelihood, outputs, targets = flat_and_steep(name, n_outputs)
    roots, state = SignedRoots(0.01, n_outputs, 0, 64), likelihood.state(outputs)
    unit = n_outputs**0.5 * torch.eye(n_outputs, dtype=torch.float64)  # Σ over the drawings of ε εᵀ / draws is the identity
    monkeypatch.setattr(SignedRoots, "_signs", lambda _, rows, draw, k: unit[draw].expand(len(rows), k))
    found = roots.directions(likelihood, rows, outputs, targets)
    hessian = likelihood.hessian(state)
    assert_close(squared(found), hessian, rtol=1e-9, atol=1e-13 * float(hessian.abs().max()))
    assert_close(found.vectors[0], likelihood.residual(state, targets), rtol=0, atol=0)
    assert found.root.abs().max() == 0
    drawn = torch.stack(found.vectors[-found.n_drawn :], 2)
    needed = outputs_needed(likelihood, outputs, 0.01)
    trace = hessian.diagonal(dim1=1, dim2=2).sum(1)
    assert_close(needed.beyond, drawn.square().sum((1, 2)) / trace, rtol=1e-9, atol=1e-12)
    assert len(found.vectors) == 1 + int(needed.count.max()) + n_outputs
    if name == "softmax":
        assert float(needed.beyond[0]) > 0.9
        assert float(needed.beyond[-1]) < 0.02
        assert int(needed.count[0]) == 0 < int(needed.count[-1])


def test_signs_are_the_same_in_every_batch_and_differ_between_draws_and_seeds():
    likelihood, outputs, targets = flat_and_steep("softmax", 80)
    rows, roots = torch.arange(6), SignedRoots(0.01, 2, 0, 64)
    whole = roots.directions(likelihood, rows, outputs, targets).vectors[-2:]
    alone = roots.directions(likelihood, rows[3:4], outputs[3:4], targets[3:4]).vectors[-2:]
    other = SignedRoots(0.01, 2, 1, 64).directions(likelihood, rows, outputs, targets).vectors[-2:]
    for one, same in zip(whole, alone, strict=True):
        assert_close(one[3:4], same, rtol=1e-14, atol=1e-16)
    assert not torch.allclose(whole[0].abs(), whole[1].abs())
    assert not torch.allclose(whole[0].abs(), other[0].abs())


@pytest.mark.parametrize("task", ["classes", "labels", "numbers"])
def test_the_first_direction_is_the_residual_and_as_much_of_the_hessian_as_lies_along_it(task):
    likelihood, targets = likelihood_and_targets(task)
    outputs = 3 * torch.randn(N, OUTPUTS, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    state = likelihood.state(outputs)
    found = fewest_directions(likelihood, outputs, targets, 0.0)
    residual = likelihood.residual(state, targets)
    assert_close(found.residual[:, None] * found.vectors[0], residual, rtol=1e-14, atol=1e-15)
    assert_close(squared(found), likelihood.hessian(state), rtol=1e-12, atol=1e-14)
    assert bool((found.root > 0).all())
    assert len(found.vectors) == (OUTPUTS - 1 if task == "classes" else OUTPUTS)
    more = likelihood.residual_share(state, targets) * (1 + 1e-6)
    beyond = likelihood.hessian(state) - more[:, None, None] * residual[:, :, None] * residual[:, None]
    assert bool((torch.linalg.eigvalsh(beyond).amin(1) < 0).all())


@pytest.mark.parametrize("task", ["classes", "numbers"])
def test_directions_of_samples_without_a_residual(task):
    """What a model fits to the last digit still bends the loss of numbers; the loss of classes it bends no more."""
    likelihood, targets = likelihood_and_targets(task)
    outputs = targets.clone() if task == "numbers" else 800.0 * torch.nn.functional.one_hot(targets, OUTPUTS).double()
    found = fewest_directions(likelihood, outputs, targets, 0.0)
    assert found.residual.tolist() == found.root.tolist() == [0.0] * N
    assert_close(squared(found), likelihood.hessian(likelihood.state(outputs)), rtol=1e-14, atol=1e-300)


@pytest.mark.parametrize("weighted", [False, True])
def test_kfac_is_the_product_of_the_factors_over_the_places_and_falls_by_the_difference(weighted):
    problem = make_problem(weighted=weighted)
    basis = ekfac.eigenbasis(problem, nobody)
    structure = FactorProducts(basis)
    sums = ekfac.sums_in(problem, basis, structure, nobody).own
    weights = torch.ones(N, dtype=torch.float64) if problem.weights is None else problem.weights
    own = torch.cat([structure.of(problem, said) for said in said_by(problem, torch.arange(N))])
    assert_close(own.sum(0), sums, **EXACT)
    for without in range(N):
        expected = structure.diagonal(problem, sums) - structure.diagonal(problem, sums - own[without])
        assert_close(structure.taken(problem, sums, own[without : without + 1])[0], expected, rtol=1e-7, atol=1e-10)
    linear, size = problem.layers[-1], problem.layers[-1].n_params
    inputs = torch.cat([problem.module[:4](problem.batches.take([row]).inputs[0]) for row in range(N)]).detach()
    inputs = torch.cat([inputs, torch.ones(N, 1, dtype=torch.float64)], 1)
    outputs = problem.outputs(problem.params, torch.arange(N))
    outer = (weights[:, None, None] * problem.loss.likelihood.hessian(problem.loss.likelihood.state(outputs))).sum(0)
    inner = inputs.T @ (weights[:, None] * inputs)
    expected = torch.kron(torch.linalg.eigvalsh(outer), torch.linalg.eigvalsh(inner)) / weights.sum()
    found = structure.diagonal(problem, sums)[-size:]
    assert linear.shape == (1, OUTPUTS, inputs.shape[1])
    assert_close(found, expected, rtol=1e-8, atol=1e-10)
    assert float(structure.diagonal(problem, sums).min()) > -1e-12
