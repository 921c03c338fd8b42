"""Products of the whole GGN of a module with many vectors at once, each without what one sample says.

    GGN₋ᵢ v_i = Σ_{j≠i} J_jᵀ a_j S_j J_j v_i

Legend of the indices: i the sample that a vector lacks, j sample, r root.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import final

import torch
from torch import Tensor

from lapsi.curvature.basis import Basis, turned
from lapsi.curvature.said import Said, said_by
from lapsi.linalg.matmul import matmul
from lapsi.models.likelihoods.base import weighted
from lapsi.problem.base import weight_of
from lapsi.problem.module import ModuleProblem

HELD_BYTES = 2**30


class GgnProduct(ABC):
    """In a basis, of the samples of a problem that are there, for vectors that each lack a sample."""

    @abstractmethod
    def __call__(self, vectors: Tensor, active: Tensor) -> Tensor:
        """Of vectors (m, P), the samples that they lack being those at the positions `active` (m,)."""


@final
class ProductOfRoots(GgnProduct):
    """By the roots R_j (r, P) of all samples, which are held as far as a gibibyte goes, else made again."""

    def __init__(self, problem: ModuleProblem, basis: Basis, own: Tensor) -> None:
        """With the roots `own` (n, r, P) of the samples that vectors lack; nothing is computed yet."""
        self._problem, self._basis, self._own = problem, basis, own
        self._held: list[Tensor] | None = None

    def __call__(self, vectors: Tensor, active: Tensor) -> Tensor:
        own = self._own[active]
        alone = (own.mT @ (own @ vectors.to(own.dtype)[:, :, None]))[:, :, 0]
        return self._whole(vectors) - alone

    def _whole(self, vectors: Tensor) -> Tensor:
        total, held, size = torch.zeros_like(vectors), [], 0
        for root in self._roots() if self._held is None else self._held:
            own = vectors.to(root.dtype)
            total += matmul(matmul(own, root.T), root)
            size += root.numel() * root.element_size()
            if size <= HELD_BYTES:
                held.append(root)
            else:
                held.clear()
        if held:
            self._held = held
        return total

    def _roots(self) -> Iterator[Tensor]:
        per_sample = 8 * (2 + self._problem.loss.likelihood.n_outputs) * self._problem.n_params
        at_once = max(1, min(self._problem.pass_size, HELD_BYTES // 4 // per_sample))
        for said in said_by(self._problem, self._problem.present, at_once):
            yield said.root(self._basis).flatten(0, 1)


@final
class ProductByPasses(GgnProduct):
    """By passes forwards and backwards, where the roots of a sample are drawn or too many: exact whatever S is."""

    def __init__(self, problem: ModuleProblem, basis: Basis, rows: Tensor) -> None:
        """With the samples `rows` (n,) that vectors lack."""
        self._problem, self._basis, self._rows = problem, basis, rows

    def __call__(self, vectors: Tensor, active: Tensor) -> Tensor:
        problem = self._problem
        plain = turned(problem.layers, self._basis, vectors, back=True)
        total = torch.zeros_like(plain)
        for said in passed_by(problem, problem.present):
            total += torch.stack([said.gradient_sum_along(self._bent(said, vector)) for vector in plain])
        start = 0
        for said in passed_by(problem, self._rows[active]):
            positions = slice(start, start := start + len(said.rows))
            total[positions] -= said.gradient_along(self._bent(said, plain[positions]))
        return turned(problem.layers, self._basis, total)

    def _bent(self, said: Said, shift: Tensor) -> Tensor:
        """a S J shift, a direction of the outputs."""
        bent = self._problem.loss.hessian_times(said.passed.outputs.detach(), said.targets, said.output_change(shift))
        return weighted(bent, weight_of(self._problem, said.rows))


def passed_by(problem: ModuleProblem, rows: Tensor) -> Iterator[Said]:
    """Of samples `rows` (n,) what passes, without directions."""
    for part, passed, targets in problem.passes(rows, twice=True):
        none = passed.outputs.new_zeros(len(part))
        yield Said(problem.layers, part, targets, passed.inputs(), [], none, none, passed, problem.loss.is_padded)
