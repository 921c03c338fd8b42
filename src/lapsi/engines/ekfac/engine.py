"""From a trained module to what its samples leave from: the basis, the sums over all samples, and the weight decay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from lapsi.curvature.basis import Basis, plain_basis, turned
from lapsi.curvature.diagonals import structure_of
from lapsi.curvature.ekfac import (
    FACTOR_SAMPLES,
    DenseCurvature,
    basis_curvature,
    dense_ggn,
    eigenbasis,
    sums_in,
)
from lapsi.engines.ekfac.fit import EkfacFit, Half
from lapsi.engines.ekfac.steps import DenseHessian, DiagonalHessian, Hessian
from lapsi.execution.progress import Stages
from lapsi.precision.divergence import of_order
from lapsi.precision.spectral import SpectralPrecision
from lapsi.problem.module import ModuleProblem
from lapsi.settings.network import Ekfac, NetworkSettings

UNCONVERGED = "unconverged"  # in the record of a fit, nats
PRODUCTS = 15  # with the whole GGN that conjugate gradients take, as seen
CHEAP_FLOP = 5e11  # some seconds on two cores
PRIORS = (-8.0, 4.0)  # decades of the prior precision, over the mean eigenvalue, among which the evidence is looked at


def ekfac_fit(problem: ModuleProblem, settings: NetworkSettings, n_units: int, stages: Stages) -> EkfacFit:
    """Two passes over the data: for the factors and for the eigenvalues; for curvature `full` one for the whole GGN.

    Where the weight decay of the settings is open, it is chosen by the marginal likelihood. `n_units`: samples that will leave.
    """
    n, kind = problem.n_samples, of_order(settings.order)
    if settings.curvature == "full":
        with stages.stage("curvature", n) as advance:
            ggn, gradient = dense_ggn(problem, advance)
            values, vectors = torch.linalg.eigh(ggn)
            values = values.clamp(min=0.0)
            problem = _decided(problem, settings, lambda: values)
            objective, total = problem.objective, problem.total
            curvature = DenseCurvature(problem, SpectralPrecision(values + objective.prior(total), vectors))
            dense = DenseHessian(values + objective.l2(total), vectors)
        basis = plain_basis(problem.layers)
        assert isinstance(settings.engine, Ekfac)
        recipe, seed = settings.engine.recipe, settings.execution.seed
        origin = _origin(problem, basis, gradient, dense)
        return EkfacFit(problem, basis, dense, curvature.by(kind), origin, recipe=recipe, seed=seed)
    with stages.stage("factors", min(n, FACTOR_SAMPLES)) as advance:
        basis = eigenbasis(problem, advance)
    structure = structure_of(settings.curvature, problem, basis)
    with stages.stage("curvature", n) as advance:
        sums = sums_in(problem, basis, structure, advance)
    problem = _decided(problem, settings, lambda: sums.squares)
    l2 = problem.objective.l2(problem.total)
    hessian = DiagonalHessian(sums.squares + l2)
    posterior = basis_curvature(problem, structure, sums.own, basis).by(kind)
    halves = tuple(
        Half(DiagonalHessian(squares + l2), basis_curvature(problem, structure, own, basis).by(kind))
        for squares, own in sums.halves
    )
    origin = _origin(problem, basis, sums.gradient, hessian)
    spec = settings.engine
    assert isinstance(spec, Ekfac)
    refined, seed = n_refined(problem, spec, n_units), settings.execution.seed
    return EkfacFit(problem, basis, hessian, posterior, origin, refined, spec.tolerance, spec.recipe, seed, halves)


def n_refined(problem: ModuleProblem, spec: Ekfac, n_units: int) -> int:
    """How many of some samples are refined: as asked, or all where that is cheap."""
    return spec.n_refined(n_units, cheap=n_units * solving_flop(problem) <= CHEAP_FLOP)


def solving_flop(problem: ModuleProblem) -> float:
    """Of conjugate gradients for a sample, about."""
    return PRODUCTS * 4.0 * problem.n_samples * problem.loss.n_directions * problem.n_params


def _decided(problem: ModuleProblem, settings: NetworkSettings, eigenvalues: Callable[[], Tensor]) -> ModuleProblem:
    """With the weight decay of the settings, or that of the largest evidence, of the GGN's eigenvalues (P,)."""
    if not settings.is_open:
        return problem
    norm = float(problem.params.square().sum())
    prior = best_prior(eigenvalues(), norm)
    return replace(problem, objective=replace(problem.objective, weight_decay=prior / problem.total))


def best_prior(eigenvalues: Tensor, squared_norm: float) -> float:
    """The prior precision δ of the largest log evidence P/2·ln δ − ½ Σ ln(s + δ) − ½ δ‖params‖² of the Laplace posterior.

    Only the part that depends on δ is looked at; MacKay (1992).
    """
    mean, n_params = float(eigenvalues.mean()), len(eigenvalues)

    def lost(decade: float) -> float:
        prior = mean * 10**decade
        return 0.5 * (float(torch.log(eigenvalues + prior).sum()) + prior * squared_norm - n_params * float(np.log(prior)))

    found = minimize_scalar(lost, bounds=PRIORS, method="bounded", options={"xatol": 1e-3})
    return mean * float(10**found.x)


def _origin(problem: ModuleProblem, basis: Basis, gradient: Tensor, hessian: Hessian) -> dict[str, Any]:
    """How far the weights are from an optimum: the gradient G of the mean objective, and ½ GᵀH⁻¹G, nats, of the Newton step
    to it, which a step that leaves takes for 0."""
    left = gradient + problem.objective.l2(problem.total) * turned(problem.layers, basis, problem.params)
    return {
        "dtype": str(problem.batches.dtype).removeprefix("torch."),
        "grad_norm": float(left.norm()) / problem.total,
        "n_iterations": 0,
        UNCONVERGED: 0.5 * float(left @ hessian.solve(left)),
    }
