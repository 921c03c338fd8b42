"""The GGN of a module in the eigenbasis of its Kronecker factors (George et al. 2018), and the posteriors made from it.

    A_l = Σ_n Σ_t h hᵀ,   B_l = Σ_n Σ_c Σ_t δ_c δ_cᵀ,   Q = ⊕_l (U_B ⊗ U_A),   s = the diagonal of QᵀGGN Q

The structures that are diagonal there, or in plain parameters, are those of `lapsi.curvature.diagonals`: λ is their diagonal
and the prior, and a sample that leaves takes its own part out of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, final

import torch
from torch import Tensor

from lapsi.curvature.base import EXACT, REMOVAL_FORM, Curvature
from lapsi.curvature.basis import Basis, Factors, LayerBasis, plain_basis, turned
from lapsi.curvature.diagonals import Diagonal, are_root_squares
from lapsi.curvature.said import Said, said_by
from lapsi.execution.progress import Advance
from lapsi.models.module.layers import ProductLayer
from lapsi.precision.base import Terms, joined, summed
from lapsi.precision.diag import DiagPrecision
from lapsi.precision.divergence import KULLBACK_LEIBLER, Divergence
from lapsi.precision.full import FullPrecision
from lapsi.precision.spectral import SpectralChange, SpectralPrecision
from lapsi.problem.base import weight_of
from lapsi.problem.module import ModuleProblem
from lapsi.problem.removed import Removed
from lapsi.training.module_optimum import in_float64, set_params

ROOT_BYTES = 2**28  # of the roots of some samples
CACHE = 2**15  # entries whose float64 temporaries stay in the cache
FACTOR_SAMPLES, FACTOR_PLACES = 1024, 64  # from which the basis is taken, at most


def eigenbasis(problem: ModuleProblem, advance: Advance) -> Basis:
    """Q of some of the samples that are there, and some places of each; by a pass over them.

    Whatever basis it is, s is the diagonal there; so a part of the data does. Sums are in float64.
    """
    rows, generator = problem.present, torch.Generator().manual_seed(0)
    rows = rows[torch.randperm(len(rows), generator=generator)[:FACTOR_SAMPLES].sort().values]
    factors = [Factors(layer) if isinstance(layer, ProductLayer) else None for layer in problem.layers]
    for said in said_by(problem, rows):
        weights, roots = weight_of(problem, said.rows), said.roots
        for place, (own, inputs) in enumerate(zip(factors, said.inputs, strict=True)):
            if own is not None:
                some = torch.randperm(inputs.shape[1], generator=generator)[:FACTOR_PLACES]
                counted = weights[:, None] * said.used(place)[:, some]
                own.add(inputs[:, some], counted, [root[place][:, some] for root in roots])
        advance(len(said.rows))
    return tuple(LayerBasis() if own is None else own.basis() for own in factors)


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """Sums over all samples.

    Attributes:
        squares: s (P,) float64, of the roots in the eigenbasis.
        gradient: Σ g (P,) float64, there.
        own: (S,) of the structure of the posterior.
        halves: where roots are drawn, `squares` and `own` by each half of the draws; else empty.
    """

    squares: Tensor
    gradient: Tensor
    own: Tensor
    halves: tuple[tuple[Tensor, Tensor], ...] = ()


def sums_in(problem: ModuleProblem, basis: Basis, structure: Diagonal, advance: Advance) -> Sums:
    """By one pass over the samples that are there."""
    gradient = torch.zeros(1, dtype=torch.float64, device=problem.batches.device)
    squares, own, same = DrawnSum(), DrawnSum(), are_root_squares(structure, basis)
    for said in said_by(problem, problem.present):
        parts = said.parts
        squares.add(parts, [part.square_sum(basis) for part in parts])
        if not same:
            own.add(parts, [structure.summed(problem, part) for part in parts])
        gradient = gradient + said.gradient_sum()
        advance(len(said.rows))
    own = squares if same else own
    halves = tuple(zip(squares.halves, own.halves, strict=True))
    return Sums(squares.whole, turned(problem.layers, basis, gradient), own.whole, halves)


@final
class DrawnSum:
    """A sum over samples, by each half of the draws where roots are drawn."""

    def __init__(self) -> None:
        """Of no samples."""
        self._parts: list[Tensor] = []
        self._draws: list[int] = []

    def add(self, parts: Sequence[Said], found: list[Tensor]) -> None:
        """What `Said.parts` of some samples add, each of them one of `found` (S,)."""
        self._parts = [held + more for held, more in zip(self._parts, found, strict=True)] if self._parts else found
        self._draws = [max(1, part.n_drawn) for part in parts]

    @property
    def whole(self) -> Tensor:
        """By all of the draws (S,)."""
        pairs = zip(self._draws, self._parts, strict=True)
        return torch.stack([draws * part for draws, part in pairs]).sum(0) / sum(self._draws)

    @property
    def halves(self) -> tuple[Tensor, ...]:
        """By each half; empty where no roots are drawn."""
        return tuple(self._parts) if len(self._parts) > 1 else ()


def paired_mean(first: Tensor, second: Tensor, own: Tensor) -> Tensor:
    """The geometric mean of what two halves of the draws say, and no more than what all of them do; with its sign."""
    return torch.minimum(torch.sign(first + second) * (first * second).clamp(min=0.0).sqrt(), own)


@final
@dataclass(frozen=True, slots=True, eq=False)
class BasisCurvature(Curvature):
    """A posterior that is diagonal in a basis; the curvature of the samples that stay is held where they are.

    Attributes:
        problem: the module on all samples.
        structure: the diagonal.
        sums: (S,) what it is made of.
        shifted: the basis that shifts are told in.
        precision: λ (P,).
        kind: of the divergence.
    """

    problem: ModuleProblem
    structure: Diagonal
    sums: Tensor
    shifted: Basis
    precision: DiagPrecision
    kind: Divergence = KULLBACK_LEIBLER

    @property
    def form(self) -> str:
        return REMOVAL_FORM

    def own(self, said: Said, squares: Tensor | None = None) -> Tensor:
        """(n, P) what samples say of λ; `squares` (n, P) of their roots in the basis of the shifts, where they are known."""
        if squares is None or not are_root_squares(self.structure, self.shifted):
            squares = self.structure.of(self.problem, said)
        return self.structure.taken(self.problem, self.sums, squares)

    def paired(self, said: Said, own: Tensor) -> Tensor:
        """`Removed.own_paired` (n, P) of samples some of whose roots are drawn, all of which say `own` (n, P).

        No more than `own` of all draws, which λ holds.
        """
        first, second = map(self.own, said.halves)
        return paired_mean(first, second, own)

    def divergence(self, removed: Removed) -> Terms:
        """Where roots are drawn, the change of the width goes with the square of what they say."""
        assert removed.own is not None
        shift, basis = removed.shift, self.structure.basis
        if basis is not self.shifted:
            layers = self.problem.layers
            shift = turned(layers, basis, turned(layers, self.shifted, shift, back=True))
        drop = self.problem.objective.prior_drop(weight_of(self.problem, removed.units).sum(1))[:, None]
        terms = self._terms(shift, removed.own, drop)
        if removed.own_paired is None:
            return terms
        return Terms(terms.mean, self._terms(shift, removed.own_paired, drop).curvature)

    def _terms(self, shift: Tensor, own: Tensor, drop: Tensor) -> Terms:
        size = max(1, CACHE // len(shift))
        columns = zip(self.precision.diagonal.split(size), shift.split(size, 1), own.split(size, 1), strict=True)
        parts = (DiagPrecision(part).compare(moved.double(), -said.double() - drop) for part, moved, said in columns)
        return summed([self.kind.of(part) for part in parts])

    def by(self, kind: Divergence) -> Self:
        return replace(self, kind=kind)

    def reference(self) -> Curvature:
        return self

    def exact(self, n_units: int) -> Curvature:
        return ExactCurvature(self.problem, self.structure, self.shifted, self.kind)


@final
@dataclass(frozen=True, slots=True, eq=False)
class DenseCurvature(Curvature):
    """The whole GGN of few parameters; the curvature of the samples that stay is held where they are.

    Attributes:
        problem: the module on all samples.
        precision: Λ.
        kind: of the divergence.
    """

    problem: ModuleProblem
    precision: SpectralPrecision
    kind: Divergence = KULLBACK_LEIBLER

    @property
    def form(self) -> str:
        return REMOVAL_FORM

    def own(self, said: Said, squares: Tensor | None = None) -> Tensor:
        """R (n, r, P)."""
        return said.root(plain_basis(self.problem.layers))

    def divergence(self, removed: Removed) -> Terms:
        assert removed.own is not None
        leaving = weight_of(self.problem, removed.units).sum(1)
        drop = self.problem.objective.prior_drop(leaving)
        change = SpectralChange(removed.own.double() @ self.precision.vectors, drop)
        return self.kind.of(self.precision.compare(removed.shift, change))

    def by(self, kind: Divergence) -> Self:
        return replace(self, kind=kind)

    def reference(self) -> Curvature:
        return self

    def exact(self, n_units: int) -> Curvature:
        return ExactCurvature(self.problem, None, plain_basis(self.problem.layers), self.kind)


@dataclass(frozen=True, slots=True, eq=False)
class Posterior:
    """At some parameters.

    Attributes:
        precision: of it.
        prior: its share in that.
        halves: where roots are drawn, the diagonal (P,) without the prior by each half of the draws; else empty.
    """

    precision: Any
    prior: float
    halves: tuple[Tensor, ...] = ()


@final
@dataclass(frozen=True, slots=True, eq=False)
class ExactCurvature(Curvature):
    """Both posteriors summed at their own parameters: a pass over the data for each, with a copy of the module in float64.

    Attributes:
        problem: the module on all samples.
        structure: the diagonal; None: the whole GGN.
        shifted: the basis that shifts are told in.
        kind: of the divergence.
    """

    problem: ModuleProblem
    structure: Diagonal | None
    shifted: Basis
    kind: Divergence = KULLBACK_LEIBLER

    @property
    def form(self) -> str:
        return EXACT

    def by(self, kind: Divergence) -> Self:
        return replace(self, kind=kind)

    def reference(self) -> Curvature:
        return self

    def exact(self, n_units: int) -> Curvature:
        return self

    def divergence(self, removed: Removed) -> Terms:
        """Of removals that tell the params that all of them start from."""
        moved = in_float64(self.problem)
        before = self._posterior(moved, removed.params)
        shifts = turned(self.problem.layers, self.shifted, removed.shift.double(), back=True)
        terms = []
        for unit, shift in zip(removed.units, shifts, strict=True):
            after = self._posterior(moved.remove(unit), removed.params + shift)
            terms.append(self._compared(before, after, shift))
        return joined(terms)

    def between(self, params: Tensor, shift: Tensor) -> float:
        """The divergence in nats of the posterior at `params` (P,) from that at params + shift, with all samples."""
        moved = in_float64(self.problem)
        before, after = (self._posterior(moved, at) for at in (params, params + shift))
        return float(self._compared(before, after, shift).total)

    def _compared(self, before: Posterior, after: Posterior, shift: Tensor) -> Terms:
        """Of the shift (P,) of plain parameters; where roots are drawn, the change of the width by both halves of the draws."""
        own = shift if self.structure is None else turned(self.problem.layers, self.structure.basis, shift)
        terms = self.kind.of(before.precision.compare_to(own, after.precision))
        if not before.halves:
            return terms
        first, second = (held - left for held, left in zip(before.halves, after.halves, strict=True))
        drop = before.prior - after.prior
        fall = before.precision.diagonal - after.precision.diagonal - drop
        change = -paired_mean(first, second, fall) - drop
        return Terms(terms.mean, self.kind.of(before.precision.compare(own[None], change[None])).curvature)

    def _posterior(self, problem: ModuleProblem, params: Tensor) -> Posterior:
        set_params(problem.layers, params)
        prior = problem.objective.prior(problem.total)
        if self.structure is None:
            ggn, _ = dense_ggn(problem)
            ggn.diagonal().add_(prior)
            return Posterior(FullPrecision(ggn, 0.0, 0.0), prior)
        structure, sums = self.structure, DrawnSum()
        for said in said_by(problem, problem.present):
            parts = said.parts
            sums.add(parts, [structure.summed(problem, part) for part in parts])
        whole = structure.diagonal(problem, sums.whole)
        halves = tuple(structure.diagonal(problem, each) for each in sums.halves)
        return Posterior(DiagPrecision(whole + prior), prior, halves)


def dense_ggn(problem: ModuleProblem, advance: Advance = lambda _: None) -> tuple[Tensor, Tensor]:
    """GGN (P, P) and Σ g (P,) of the samples that are there, float64; by one pass over them."""
    n_params, basis = problem.n_params, plain_basis(problem.layers)
    ggn = torch.zeros(n_params, n_params, dtype=torch.float64, device=problem.batches.device)
    gradient = torch.zeros_like(ggn[0])
    at_once = max(1, min(problem.pass_size, ROOT_BYTES // (8 * problem.n_outputs * n_params)))
    for said in said_by(problem, problem.present, at_once):
        root = said.root(basis).double().flatten(0, 1)
        ggn.addmm_(root.T, root)
        gradient += said.gradient_sum()
        advance(len(said.rows))
    return ggn, gradient


def basis_curvature(problem: ModuleProblem, structure: Diagonal, sums: Tensor, shifted: Basis) -> BasisCurvature:
    """The posterior of the sums (S,) of a structure over all samples."""
    precision = DiagPrecision(structure.diagonal(problem, sums) + problem.objective.prior(problem.total))
    return BasisCurvature(problem, structure, sums, shifted, precision)
