"""A trained torch module on its training data: what was minimised, and what its samples say of the parameters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor, nn

from lapsi.data.batches import Batches
from lapsi.models.module.capture import Passed, pass_through
from lapsi.models.module.layers import Layer
from lapsi.models.module.sample_loss import SampleLoss
from lapsi.problem.base import Problem, total_weight, weight_of
from lapsi.problem.objective import Objective


@final
@dataclass(frozen=True, slots=True, eq=False)
class ModuleProblem(Problem):
    """A module, the layers of whose parameters are in the posterior, on N samples; it holds its own parameters.

    Attributes:
        module, layers: what was trained, and which of it counts.
        batches: the data, as the module takes them.
        loss: of a sample, of what the module gives.
        objective: weight decay, prior and removal convention.
        pass_size: samples a pass.
        weights: a (N,) float64, or None where each sample counts once.
        removed: (r,) the samples that have left, or None.
    """

    module: nn.Module
    layers: tuple[Layer, ...]
    batches: Batches
    loss: SampleLoss
    objective: Objective
    pass_size: int
    weights: Tensor | None = None
    removed: Tensor | None = None

    @property
    def n_params(self) -> int:
        """P, of the layers that count."""
        return sum(layer.n_params for layer in self.layers)

    @property
    def params(self) -> Tensor:
        """(P,) float64, as they are now."""
        return torch.cat([layer.params for layer in self.layers]).double()

    @property
    def n_samples(self) -> int:
        """Samples that are there."""
        return len(self.batches) - (0 if self.removed is None else len(self.removed))

    @property
    def total(self) -> float:
        """W, the sum of their weights."""
        return total_weight(self.weights, len(self.batches), self.removed)

    def remove(self, rows: Tensor) -> ModuleProblem:
        """The problem of a training without the samples `rows` (g,): a mask, the data are shared."""
        removed = rows if self.removed is None else torch.cat([self.removed, rows])
        leaving = float(weight_of(self, rows).sum())
        return replace(self, removed=removed, objective=self.objective.without(self.total, leaving))

    def on(self, module: nn.Module, dtype: torch.dtype) -> ModuleProblem:
        """The same of a copy of its module, in a dtype."""
        layers = tuple(replace(layer, module=module.get_submodule(layer.name)) for layer in self.layers)
        return replace(self, module=module, layers=layers, batches=replace(self.batches, dtype=dtype))

    @property
    def present(self) -> Tensor:
        """Rows (n,) of the samples that are there, those together that cost alike."""
        rows = self.loss.alike(torch.arange(len(self.batches)))
        return rows if self.removed is None else rows[~torch.isin(rows, self.removed.cpu())]

    def passes(self, rows: Tensor, size: int | None = None, *, twice: bool = False) -> Iterator[tuple[Tensor, Passed, Tensor]]:
        """Samples `rows` (n,) through the module, `size` at a time: their rows, what the layers saw, and their targets.

        `twice`: as in `pass_through`.

        Raises:
            InputError: when the module gives outputs of another shape than its loss has.
        """
        for part in rows.split(size or self.pass_size):
            given = self.batches.take(part)
            passed = pass_through(self.module, self.layers, len(part), given, twice=twice)
            self.loss.require(passed.outputs, len(part))
            yield part, passed, self.loss.targets_of(part, given.targets)

    @property
    def n_outputs(self) -> int:
        return self.loss.n_told

    def outputs(self, params: Tensor, rows: Tensor) -> Tensor:
        """Of the parameters that the module holds."""
        return torch.cat([self.loss.told(passed.outputs.detach(), targets) for _, passed, targets in self.passes(rows)])

    def losses(self, outputs: Tensor, rows: Tensor) -> Tensor:
        return self.loss.losses_told(outputs, rows)

    def combine(self, outputs: Tensor) -> Tensor:
        return self.loss.combine(outputs)
