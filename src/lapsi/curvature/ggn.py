"""Laplace posterior of a probe with any layers: GGN blocks, `diag`, `kfac` a layer or `full`, at any params.

Legend of the indices: j sample, o p unit of a layer, k input of a layer, c column of the root F of S = F Fᵀ. R_l = ∂z/∂a_l ᵀ F
(n, out, C) goes backwards through the layers like a gradient; the GGN block of layer l is Σ_j R_l R_lᵀ ⊗ h_l h_lᵀ.

Everything is float64 and two posteriors are compared at the end: rounding is 1e-16 of a precision whose change is 1/N of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lapsi.models.likelihoods.softmax import logit_hessian_root
from lapsi.models.mlp import Trace
from lapsi.precision.base import KLTerms, Precision
from lapsi.precision.diag import DiagPrecision
from lapsi.precision.full import FullPrecision
from lapsi.precision.kron import kron_precision
from lapsi.problem.network import NetworkProblem, Rows, row_blocks

BLOCK_ENTRIES = 2**20


@dataclass(frozen=True, slots=True)
class LaplacePosterior:
    """N(params, Λ⁻¹) with Λ block diagonal: one block for `diag` and `full`, one a layer for `kfac`.

    Attributes:
        blocks: the precisions, in the order of the params.
        sizes: how many params each block has.
    """

    blocks: tuple[Precision, ...]
    sizes: tuple[int, ...]

    def kl_to(self, shift: Tensor, other: LaplacePosterior) -> KLTerms:
        """KL from this posterior to `other`, whose params are those of this one plus `shift` (P,) float64; terms (1,)."""
        parts = zip(self.blocks, shift.split(list(self.sizes)), other.blocks, strict=True)
        terms = [block.kl_to(part, after) for block, part, after in parts]
        return KLTerms(
            torch.stack([term.mean for term in terms]).sum(0), torch.stack([term.curvature for term in terms]).sum(0)
        )


def laplace_posterior(
    problem: NetworkProblem, params: Tensor, structure: str, without: Tensor | None = None
) -> LaplacePosterior:
    """The posterior at params (P,) float64 of all samples, or of all but the samples `without` (g,).

    kfac: Λ_l = N·B̄_l ⊗ Ā_l + δI with the means B̄ of R Rᵀ and Ā of h hᵀ over the samples that are left (MATH §2).
    """
    n_samples, shapes = problem.n_samples, problem.probe.shapes
    n_removed = 0 if without is None else len(without)
    prior, n_left = problem.objective.prior(n_samples) - problem.objective.prior_drop(n_removed), n_samples - n_removed
    sums = _sums(problem, params, slice(0, n_samples), structure)
    if without is not None:
        own = _sums(problem, params, without, structure)
        sums = [whole - part for whole, part in zip(sums, own, strict=True)]
    if structure == "kfac":
        pairs = zip(sums[: len(shapes)], sums[len(shapes) :], strict=True)
        blocks: list[Precision] = [kron_precision(output / n_left, inputs, prior) for output, inputs in pairs]
        return LaplacePosterior(tuple(blocks), tuple(out * width for out, width in shapes))
    block: Precision
    if structure == "diag":
        block = DiagPrecision(sums[0] + prior)
    else:
        sums[0].diagonal().add_(prior)
        block = FullPrecision(sums[0], 0.0, 0.0)
    return LaplacePosterior((block,), (len(params),))


def _sums(problem: NetworkProblem, params: Tensor, rows: Rows, structure: str) -> list[Tensor]:
    """Sums over the samples `rows`: [diagonal], [output factors and input factors of all layers], or [GGN]."""
    probe = problem.probe
    per_row = max(probe.sizes[0], probe.n_classes * (probe.n_params if structure == "full" else max(probe.sizes[1:])))
    sums: list[Tensor] = []
    for part in row_blocks(rows, max(16, BLOCK_ENTRIES // per_row)):
        trace = problem.trace(params, part)
        p, roots = trace.probabilities, _hidden_roots(problem, params, trace)
        if structure == "diag":
            squares = [*(root.square().sum(2) for root in roots), p * (1 - p)]
            terms = [probe.join(square.T @ h.square() for square, h in zip(squares, trace.hidden, strict=True))]
        elif structure == "kfac":
            outputs = [torch.einsum("joc,jpc->op", root, root) for root in roots]
            terms = [*outputs, torch.diag(p.sum(0)) - p.T @ p, *(h.T @ h for h in trace.hidden)]
        else:
            pairs = zip([*roots, logit_hessian_root(p)], trace.hidden, strict=True)
            jacobian = torch.cat([torch.einsum("joc,jk->jcok", root, h).flatten(2) for root, h in pairs], 2).flatten(0, 1)
            terms = [jacobian.T @ jacobian]
        sums = [total.add_(term) for total, term in zip(sums, terms, strict=True)] if sums else terms
    return sums


def _hidden_roots(problem: NetworkProblem, params: Tensor, trace: Trace) -> list[Tensor]:
    """R_l (n, out, C) of the hidden layers, the first layer first."""
    if not trace.slopes:
        return []
    root = logit_hessian_root(trace.probabilities)
    roots: list[Tensor] = []
    for weights, slope in zip(problem.probe.layers(params)[:0:-1], trace.slopes[::-1], strict=True):
        root = slope[:, :, None] * (weights[:, :-1].T @ root)
        roots.insert(0, root)
    return roots
