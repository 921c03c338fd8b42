"""Smooth unique information of a sample (Harutyunyan et al. 2021), of the linear probe under squared error at its optimum.

A linear probe is its own linearisation: with one-hot targets Y and A = XᵀX + N w I its weights are W = A⁻¹XᵀY, and without
sample i, the penalty N w as it was, they move by

    W₋ᵢ − W = −A⁻¹xᵢ eᵢᵀ / (1 − hᵢ),   eᵢ = yᵢ − Wᵀxᵢ,   hᵢ = xᵢᵀA⁻¹xᵢ

Legend of the indices: n sample, k l feature, c class.
"""

from __future__ import annotations

from typing import ClassVar, final

import numpy as np
import torch

from lapsi.execution.progress import Advance
from lapsi.measures.base import Labelled, Measure
from lapsi.results.columns import Column


@final
class Sui(Measure):
    """How far the weights move without a sample, and how far the outputs of all samples do, in the mean."""

    name: ClassVar[str] = "sui"
    needs_linear: ClassVar[bool] = True
    columns: ClassVar[tuple[Column, ...]] = (
        Column(
            "sui",
            "SUI",
            "smooth unique information in the weights: squared norm of their change without the sample, under squared error",
            "sui",
            ".2e",
            direction="high",
        ),
        Column(
            "sui_outputs",
            "SUI, outputs",
            "the same in the function: squared change of the outputs of all samples, in the mean",
            "sui",
            ".2e",
            direction="high",
        ),
    )

    def n_steps(self, data: Labelled) -> int:
        return 1

    def compute(self, data: Labelled, advance: Advance) -> dict[str, np.ndarray]:
        inputs, problem = data.inputs, data.problem
        gram = inputs.T @ inputs
        ridge = gram.clone()
        ridge.diagonal().add_(problem.objective.l2(problem.total))
        factor = torch.linalg.cholesky(ridge)
        solved = torch.cholesky_solve(inputs.T, factor).T  # (N, D) A⁻¹x
        leverage = (inputs * solved).sum(1)
        missed = data.one_hot - inputs @ torch.cholesky_solve(inputs.T @ data.one_hot, factor)
        size = missed.square().sum(1) / (1 - leverage).square()
        moved = ((solved @ gram) * solved).sum(1) / len(inputs)
        advance(1)
        return {
            "sui": (solved.square().sum(1) * size).numpy(force=True),
            "sui_outputs": (moved * size).numpy(force=True),
        }
