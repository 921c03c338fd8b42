"""The GGN of a module in the eigenbasis of its Kronecker factors (George et al. 2018), and the posteriors made from it.

    A_l = Σ_n Σ_t h hᵀ,   B_l = Σ_n Σ_c Σ_t δ_c δ_cᵀ,   Q = ⊕_l (U_B ⊗ U_A),   s = the diagonal of QᵀGGN Q

`ekfac` is diagonal there: λ = s + δ, and a sample that leaves takes the squares of its own roots out of it. `kfac` has the
eigenvalues of A_l ⊗ B_l over the number of places instead of s, and `diag` the squares in plain parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from lapsi.curvature.base import EXACT, REMOVAL_FORM, Curvature
from lapsi.curvature.said import Basis, LayerBasis, Said, plain_basis, said_by, turned
from lapsi.models.module.layers import EmbeddingLayer, ProductLayer
from lapsi.precision.base import KLTerms, joined
from lapsi.precision.diag import DiagPrecision
from lapsi.precision.full import FullChange, FullPrecision, full_precision
from lapsi.problem.base import mean_weight, weight_of
from lapsi.problem.module import ModuleProblem
from lapsi.problem.removed import Removed
from lapsi.training.module_optimum import in_float64, set_params

Advance = Callable[[int], None]


def eigenbasis(problem: ModuleProblem, advance: Advance) -> Basis:
    """Q of the samples that are there, in float64; by one pass over them. The inputs of embeddings are words, and stay so."""
    inner: list[Tensor | float] = [0.0] * len(problem.layers)
    outer: list[Tensor | float] = [0.0] * len(problem.layers)
    for said in said_by(problem, problem.present):
        weights = weight_of(problem, said.rows)
        for place, (layer, inputs) in enumerate(zip(problem.layers, said.inputs, strict=True)):
            if not isinstance(layer, ProductLayer):
                continue
            for deltas in said.roots:
                outer[place] = outer[place] + _gram(deltas[place])
            if not isinstance(layer, EmbeddingLayer):
                inner[place] = inner[place] + _gram(inputs, weights)
        advance(len(said.rows))
    vectors = (tuple(_vectors(side) for side in pair) for pair in zip(outer, inner, strict=True))
    return tuple(LayerBasis(*pair) for pair in vectors)


def _gram(values: Tensor, weights: Tensor | None = None) -> Tensor:
    """Σ_n Σ_t v vᵀ (g, d, d) float64 of values (n, T, g, d)."""
    wide = values.double()
    left = wide if weights is None else wide * weights[:, None, None, None]
    return torch.einsum("ntgk,ntgl->gkl", left, wide)


def _vectors(matrix: Tensor | float) -> Tensor | None:
    return torch.linalg.eigh(matrix)[1] if isinstance(matrix, Tensor) else None


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """Sums over all samples.

    Attributes:
        squares: s (P,) float64, of the roots in the basis.
        gradient: Σ g (P,) float64, in the basis.
        plain_squares: (P,) of the roots in plain parameters, where asked for.
    """

    squares: Tensor
    gradient: Tensor
    plain_squares: Tensor | None


def sums_in(problem: ModuleProblem, basis: Basis, advance: Advance, *, plain: bool = False) -> Sums:
    """By one pass over the samples that are there."""
    squares, gradient = (torch.zeros(problem.n_params, dtype=torch.float64, device=problem.targets.device) for _ in range(2))
    in_plain = torch.zeros_like(squares) if plain else None
    for said in said_by(problem, problem.present):
        squares += said.root(basis).double().square().sum((0, 1))
        gradient += said.gradient(basis).double().sum(0)
        if in_plain is not None:
            in_plain += said.root(plain_basis(problem.layers)).double().square().sum((0, 1))
        advance(len(said.rows))
    return Sums(squares, gradient, in_plain)


@final
@dataclass(frozen=True, slots=True, eq=False)
class BasisCurvature(Curvature):
    """A posterior that is diagonal in a basis; the curvature of the samples that stay is held where they are.

    Attributes:
        problem: the module on all samples.
        basis: where it is diagonal.
        shifted: the basis that shifts are told in.
        precision: λ (P,).
    """

    problem: ModuleProblem
    basis: Basis
    shifted: Basis
    precision: DiagPrecision

    @property
    def form(self) -> str:
        return REMOVAL_FORM

    def own(self, said: Said, root: Tensor) -> Tensor:
        """(n, P) what samples say of λ, given their roots (n, r, P) in the basis of the shifts."""
        return (root if self.basis is self.shifted else said.root(self.basis)).square().sum(1)

    def divergence(self, removed: Removed) -> KLTerms:
        assert removed.own is not None
        shift = removed.shift.double()
        if self.basis is not self.shifted:
            layers = self.problem.layers
            shift = turned(layers, self.basis, turned(layers, self.shifted, shift, back=True))
        leaving = weight_of(self.problem, removed.units).sum(1)
        change = -removed.own.double() - self.problem.objective.prior_drop(leaving)[:, None]
        return self.precision.kl_terms(shift, change)

    def reference(self) -> Curvature:
        return self

    def exact(self, n_units: int) -> Curvature:
        return ExactCurvature(self.problem, self.basis, self.shifted)


@final
@dataclass(frozen=True, slots=True, eq=False)
class DenseCurvature(Curvature):
    """The whole GGN of few parameters; the curvature of the samples that stay is held where they are.

    Attributes:
        problem: the module on all samples.
        precision: Λ (P, P).
        inverse: of Λ less what the prior loses when a sample of mean weight leaves.
        whole_inverse: of Λ.
    """

    problem: ModuleProblem
    precision: FullPrecision
    inverse: Tensor
    whole_inverse: Tensor

    @property
    def form(self) -> str:
        return REMOVAL_FORM

    def own(self, said: Said, root: Tensor) -> Tensor:
        """R (n, r, P) itself."""
        return root

    def divergence(self, removed: Removed) -> KLTerms:
        assert removed.own is not None
        root, shift = removed.own.double(), removed.shift.double()
        solved = root @ self.inverse
        gram = torch.einsum("nap,nbp->nab", root, solved)
        trace = torch.einsum("nap,nap->n", root @ self.whole_inverse, solved)
        leaving = weight_of(self.problem, removed.units).sum(1)
        ridge = self.precision.ridge
        share = torch.ones_like(trace) if ridge == 0 else self.problem.objective.prior_drop(leaving) / ridge
        change = FullChange(gram, trace if ridge else torch.zeros_like(trace), torch.einsum("nap,np->na", root, shift), share)
        return self.precision.kl_terms(shift, change)

    def reference(self) -> Curvature:
        return self

    def exact(self, n_units: int) -> Curvature:
        return ExactCurvature(self.problem, None, plain_basis(self.problem.layers))


@final
@dataclass(frozen=True, slots=True, eq=False)
class ExactCurvature(Curvature):
    """Both posteriors summed at their own parameters: a pass over the data for each, with a copy of the module in float64.

    Attributes:
        problem: the module on all samples.
        basis: where the posterior is diagonal; None: the whole GGN.
        shifted: the basis that shifts are told in.
    """

    problem: ModuleProblem
    basis: Basis | None
    shifted: Basis

    @property
    def form(self) -> str:
        return EXACT

    def reference(self) -> Curvature:
        return self

    def exact(self, n_units: int) -> Curvature:
        return self

    def divergence(self, removed: Removed) -> KLTerms:
        """Of removals that tell the params that all of them start from."""
        moved = in_float64(self.problem)
        before = self._precision(moved, removed.params)
        shifts = turned(self.problem.layers, self.shifted, removed.shift.double(), back=True)
        terms = []
        for unit, shift in zip(removed.units, shifts, strict=True):
            after = self._precision(moved.remove(unit), removed.params + shift)
            own = shift if self.basis is None else turned(self.problem.layers, self.basis, shift)
            terms.append(before.kl_to(own, after))
        return joined(terms)

    def _precision(self, problem: ModuleProblem, params: Tensor) -> Any:
        set_params(problem.layers, params)
        prior = problem.objective.prior(problem.total)
        if self.basis is None:
            ggn, _ = dense_ggn(problem, _nobody)
            ggn.diagonal().add_(prior)
            return FullPrecision(ggn, 0.0, 0.0)
        return DiagPrecision(sums_in(problem, self.basis, _nobody).squares + prior)


def _nobody(_: int) -> None:
    """Is told nothing."""


def dense_ggn(problem: ModuleProblem, advance: Advance) -> tuple[Tensor, Tensor]:
    """GGN (P, P) and Σ g (P,) of the samples that are there, float64; by one pass over them."""
    n_params, basis = problem.n_params, plain_basis(problem.layers)
    ggn = torch.zeros(n_params, n_params, dtype=torch.float64, device=problem.targets.device)
    gradient = torch.zeros_like(ggn[0])
    for said in said_by(problem, problem.present):
        root = said.root(basis).double().flatten(0, 1)
        ggn.addmm_(root.T, root)
        gradient += said.gradient(basis).double().sum(0)
        advance(len(said.rows))
    return ggn, gradient


def dense_curvature(problem: ModuleProblem, ggn: Tensor) -> DenseCurvature:
    """The posterior of a GGN (P, P)."""
    prior = problem.objective.prior(problem.total)
    ridge = float(problem.objective.prior_drop(mean_weight(problem)))
    reduced = ggn.clone()
    reduced.diagonal().add_(prior - ridge)
    whole = reduced.clone()
    whole.diagonal().add_(ridge)
    inverse, whole_inverse = (torch.cholesky_inverse(torch.linalg.cholesky(matrix)) for matrix in (reduced, whole))
    return DenseCurvature(problem, full_precision(reduced, ridge, whole_inverse), inverse, whole_inverse)


def basis_curvature(problem: ModuleProblem, basis: Basis, shifted: Basis, squares: Tensor) -> BasisCurvature:
    """The posterior that is diagonal in a basis, of the squares (P,) of all roots there."""
    precision = DiagPrecision(squares + problem.objective.prior(problem.total))
    return BasisCurvature(problem, basis, shifted, precision)
