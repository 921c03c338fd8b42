"""Laplace posterior of a model with any layers: GGN blocks, `diag`, `kfac` a layer or `full`, at any params.

Legend of the indices: j sample, o p unit of a layer, k input of a layer, c column of the root F of S = F Fᵀ. R_l = ∂z/∂a_l ᵀ F
(n, out, r) goes backwards through the layers like a gradient; the GGN block of layer l is Σ_j R_l R_lᵀ ⊗ h_l h_lᵀ.

Everything is float64 and two posteriors are compared at the end: rounding is 1e-16 of a precision whose change is 1/N of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self, final

import torch
from torch import Tensor

from lapsi.curvature.base import EXACT, Curvature, told_not_positive
from lapsi.models.likelihoods.base import weighted
from lapsi.models.passes import ForwardBackward
from lapsi.precision.base import Precision, Terms, joined
from lapsi.precision.block_diag import LaplacePosterior
from lapsi.precision.diag import DiagPrecision
from lapsi.precision.divergence import KULLBACK_LEIBLER, Divergence
from lapsi.precision.full import FullPrecision
from lapsi.precision.kron import kron_precision
from lapsi.problem.network import NetworkProblem, Rows, row_blocks
from lapsi.problem.removed import Removed

BLOCK_ENTRIES = 2**20


@final
@dataclass(frozen=True, slots=True, eq=False)
class GgnCurvature(Curvature):
    """Both posteriors summed at their own parameters: nothing is held or linearised.

    Attributes:
        problem: with all samples.
        structure: `"diag"`, `"kfac"` or `"full"`.
        kind: of the divergence.
    """

    problem: NetworkProblem
    structure: str
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
        with told_not_positive(self.structure):
            whole = laplace_posterior(self.problem, removed.params, self.structure)
            pairs = zip(removed.units, removed.shift.double(), strict=True)
            return joined([self._one(whole, unit, removed.params, shift) for unit, shift in pairs])

    def _one(self, whole: LaplacePosterior, unit: Tensor, params: Tensor, shift: Tensor) -> Terms:
        other = laplace_posterior(self.problem.remove(unit), params + shift, self.structure)
        return whole.divergence_from(shift, other, self.kind)


def laplace_posterior(problem: NetworkProblem, params: Tensor, structure: str) -> LaplacePosterior:
    """The posterior of the samples that are there, at params (P,) float64.

    kfac: Λ_l = W·B̄_l ⊗ Ā_l + δI with the weighted means B̄ of R Rᵀ and Ā of h hᵀ over the samples.
    """
    shapes, prior = problem.model.shapes, problem.objective.prior(problem.total)
    sums = _sums(problem, params, slice(0, len(problem.inputs)), structure)
    if problem.removed is not None:
        own = _sums(problem, params, problem.removed, structure)
        sums = [whole - part for whole, part in zip(sums, own, strict=True)]
    if structure == "kfac":
        pairs = zip(sums[: len(shapes)], sums[len(shapes) :], strict=True)
        blocks: list[Precision[Any]] = [kron_precision(output / problem.total, inputs, prior) for output, inputs in pairs]
        return LaplacePosterior(tuple(blocks), tuple(out * width for out, width in shapes))
    block: Precision[Any]
    if structure == "diag":
        block = DiagPrecision(sums[0] + prior)
    else:
        sums[0].diagonal().add_(prior)
        block = FullPrecision(sums[0], 0.0, 0.0)
    return LaplacePosterior((block,), (len(params),))


def _sums(problem: NetworkProblem, params: Tensor, rows: Rows, structure: str) -> list[Tensor]:
    """Sums over the samples `rows`: [diagonal], [output factors and input factors of all layers], or [GGN]."""
    model, likelihood = problem.model, problem.likelihood
    per_row = max(model.sizes[0], model.n_outputs * (model.n_params if structure == "full" else max(model.sizes[1:])))
    sums: list[Tensor] = []
    for part in row_blocks(rows, max(16, BLOCK_ENTRIES // per_row)):
        passes = problem.forward_backward(params, part)
        weights, top, roots = passes.weights, likelihood.hessian_root(passes.state), _hidden_roots(problem, params, passes)
        if weights is not None:
            top, roots = (weighted(top, weights.sqrt()), [weighted(root, weights.sqrt()) for root in roots])
        if structure == "diag":
            squares = [*(root.square().sum(2) for root in roots), weighted(likelihood.variance(passes.state), weights)]
            terms = [model.join(square.T @ h.square() for square, h in zip(squares, passes.hidden, strict=True))]
        elif structure == "kfac":
            outputs = [torch.einsum("joc,jpc->op", root, root) for root in roots]
            terms = [
                *outputs,
                likelihood.hessian_sum(passes.state, weights),
                *(weighted(h, weights).T @ h for h in passes.hidden),
            ]
        else:
            pairs = zip([*roots, top], passes.hidden, strict=True)
            jacobian = torch.cat([torch.einsum("joc,jk->jcok", root, h).flatten(2) for root, h in pairs], 2).flatten(0, 1)
            terms = [jacobian.T @ jacobian]
        sums = [total.add_(term) for total, term in zip(sums, terms, strict=True)] if sums else terms
    return sums


def _hidden_roots(problem: NetworkProblem, params: Tensor, passes: ForwardBackward) -> list[Tensor]:
    """R_l (n, out, r) of the hidden layers, the first layer first."""
    if not passes.slopes:
        return []
    root = problem.likelihood.hessian_root(passes.state)
    roots: list[Tensor] = []
    for weights, slope in zip(problem.model.layers(params)[:0:-1], passes.slopes[::-1], strict=True):
        root = slope[:, :, None] * (weights[:, :-1].T @ root)
        roots.insert(0, root)
    return roots
