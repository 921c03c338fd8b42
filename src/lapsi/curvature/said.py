"""What single samples say of the parameters of a module: their gradients, and roots R_i of their part of the GGN.

    g_i = a_i J_iᵀ r_i,   R_i = √a_i J_iᵀF_i,   GGN = Σ_i R_iR_iᵀ

In plain parameters or in a basis of each layer, U_out ⊗ U_in. Legend of the indices: n sample, r root, t place, g group,
o unit that comes out, k one that goes in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lapsi.curvature.basis import Basis, LayerBasis
from lapsi.models.likelihoods.base import weighted
from lapsi.models.module.capture import Passed
from lapsi.models.module.layers import Layer, ProductLayer, gradient, gradients, moved
from lapsi.problem.base import weight_of
from lapsi.problem.module import ModuleProblem

CHUNK_ENTRIES = 2**18  # of gradients that stay in the cache


@dataclass(frozen=True, slots=True, eq=False)
class LayerSaid:
    """What n samples say of the parameters of a layer, in a basis of it.

    Attributes:
        layer: it.
        own: its basis.
        inputs: (n, T, …), in the basis where `is_turned`.
        deltas: (n, T, r, …) of each direction, likewise.
        is_turned: whether what goes in and comes back is turned already; else the gradients are, where that costs less.
    """

    layer: Layer
    own: LayerBasis
    inputs: Tensor
    deltas: Tensor
    is_turned: bool

    def directions(self) -> Tensor:
        """Of each direction (n, r, P_l)."""
        found = gradients(self.layer, self.inputs, self.deltas)
        return found if self.is_turned else self.own.into(self.layer, found)

    def pieces(self) -> Iterator[Tensor]:
        """Of each direction (n, r, p) of some parameters after the other, as many as stay in the cache."""
        if not self.is_turned or not isinstance(self.layer, ProductLayer) or self.layer.shape[0] > 1:
            yield self.directions()
            return
        _, out, width = self.layer.shape
        size = max(1, CHUNK_ENTRIES // (width * self.deltas.shape[0] * self.deltas.shape[2]))
        for start in range(0, out, size):
            yield gradients(self.layer, self.inputs, self.deltas[..., start : start + size])

    def moved(self, shift: Tensor) -> Tensor:
        """What comes out (n, T, …) of the layer more when its parameters move by a shift (n, P_l) in the basis."""
        if self.is_turned:
            return self.own.out_of_deltas(moved(self.layer, self.inputs, shift))
        return moved(self.layer, self.inputs, self.own.out_of(self.layer, shift))


def layer_said(layer: Layer, own: LayerBasis, inputs: Tensor, deltas: Sequence[Tensor]) -> LayerSaid:
    """Of what goes in (n, T, …) and comes back (n, T, …) of each direction, in plain coordinates."""
    if isinstance(layer, ProductLayer) and own.turns_inputs(layer, inputs.shape[1], len(deltas)):
        turned_deltas = torch.stack([own.deltas(delta) for delta in deltas], 2)
        return LayerSaid(layer, own, own.inputs(inputs), turned_deltas, True)
    return LayerSaid(layer, own, inputs, torch.stack(list(deltas), 2), not isinstance(layer, ProductLayer))


@dataclass(frozen=True, slots=True, eq=False)
class Said:
    """What a batch of samples says.

    Attributes:
        layers: of the parameters.
        rows: (n,) the samples.
        targets: (n, …) theirs.
        inputs: of each layer (n, T, …).
        deltas: of each direction of the outputs (`Directions`) δ of each layer (n, T, …); but of the first with √a_i.
        residual_scale: (n,) of a_i r_i, over the first direction.
        root_scale: (n,) of √a_i F_i, over it; 0 where it is no column of F_i.
        passed: the batch with its graph.
        is_padded: whether some places may only fill a text up.
        n_drawn: how many of the directions, the last ones, are drawn.
    """

    layers: Sequence[Layer]
    rows: Tensor
    targets: Tensor
    inputs: list[Tensor]
    deltas: list[list[Tensor]]
    residual_scale: Tensor
    root_scale: Tensor
    passed: Passed
    is_padded: bool
    n_drawn: int = 0

    @property
    def residual(self) -> list[Tensor]:
        """δ of each layer (n, T, …) of a_i r_i."""
        return [weighted(delta, self.residual_scale) for delta in self.deltas[0]]

    @property
    def roots(self) -> list[list[Tensor]]:
        """δ of each layer of each column of √a_i F_i."""
        first, *others = self.deltas
        if others and not bool(self.root_scale.any()):
            return others
        return [[weighted(delta, self.root_scale) for delta in first], *others]

    def in_basis(self, basis: Basis) -> Iterator[LayerSaid]:
        """Of each layer the directions, the first along the gradient of the loss."""
        for place, (layer, own, inputs) in enumerate(zip(self.layers, basis, self.inputs, strict=True)):
            yield layer_said(layer, own, inputs, [deltas[place] for deltas in self.deltas])

    def rooted(self, found: Tensor) -> Tensor:
        """R (n, r, p) of what the directions say of some parameters (n, r, p), written over it."""
        found[:, 0] *= self.root_scale.to(found.dtype)[:, None]
        return found

    def gradient_sum(self) -> Tensor:
        """Σ_n g (P,) float64, in plain parameters."""
        return self._summed(self.residual)

    def root(self, basis: Basis) -> Tensor:
        """R (n, r, P)."""
        return self.rooted(torch.cat([each.directions() for each in self.in_basis(basis)], 2))

    def square_sum(self, basis: Basis) -> Tensor:
        """Σ_n Σ_r R² (P,) float64."""
        total, roots = [], self.roots
        for place, (layer, own, inputs) in enumerate(zip(self.layers, basis, self.inputs, strict=True)):
            entries = max(layer.n_params, inputs[0].numel())
            size = max(1, CHUNK_ENTRIES // (entries * len(roots)))
            sums = inputs.new_zeros(layer.n_params)
            for start in range(0, len(inputs), size):
                part, at = slice(start, start + size), 0
                for root in layer_said(layer, own, inputs[part], [each[place][part] for each in roots]).pieces():
                    sums[at : (at := at + root.shape[2])] += root.square_().sum((0, 1))
            total.append(sums.double())
        return torch.cat(total)

    def output_change(self, shift: Tensor) -> Tensor:
        """J_i shift_i (n, …) float64, in the shape of the outputs, of a shift (n, P), or (P,) of all of them, of plain
        parameters."""
        parts = shift.split([layer.n_params for layer in self.layers], -1)
        known = zip(self.layers, self.inputs, parts, strict=True)
        return self.output_change_of([moved(layer, inputs, part.to(inputs.dtype)) for layer, inputs, part in known])

    def output_change_of(self, moves: Sequence[Tensor]) -> Tensor:
        """The same when what comes out of each layer is moved by (n, T, …): by two passes backwards."""
        direction = torch.zeros_like(self.passed.outputs, requires_grad=True)
        total = torch.zeros((), dtype=torch.float64, device=direction.device)
        for move, delta in zip(moves, self.passed.deltas(direction, graph=True), strict=True):
            total = total + (move * delta).sum(dtype=torch.float64)
        return torch.autograd.grad(total, direction)[0].double()

    def gradient_along(self, direction: Tensor) -> Tensor:
        """Σ direction · ∂z (n, P) of each sample, in plain parameters, for a direction in the shape of the outputs."""
        known = zip(self.layers, self.inputs, self.passed.deltas(direction), strict=True)
        return torch.cat([gradient(*each) for each in known], 1)

    def gradient_sum_along(self, direction: Tensor) -> Tensor:
        """The sum of `gradient_along` over the samples (P,) float64."""
        return self._summed(self.passed.deltas(direction))

    def _summed(self, deltas: list[Tensor]) -> Tensor:
        known = zip(self.layers, self.inputs, deltas, strict=True)
        return torch.cat([gradient(layer, *_as_one(given, delta))[0] for layer, given, delta in known]).double()

    def used(self, place: int) -> Tensor:
        """Which places (n, T) of the layer at a place count, float64: of texts those of which something depends, the others
        fill them up; else all."""
        inputs = self.inputs[place]
        if not self.is_padded:
            return torch.ones(inputs.shape[:2], dtype=torch.float64, device=inputs.device)
        return torch.stack([root[place].flatten(2).abs().amax(2) for root in self.roots]).amax(0).gt(0).double()

    @property
    def halves(self) -> tuple[Said, Said]:
        """The same with every second drawn root, the first or second of two, which stand for all."""
        fixed, drawn = self.deltas[: -self.n_drawn], self.deltas[-self.n_drawn :]

        def half(some: list[list[Tensor]]) -> Said:
            scale = (len(drawn) / len(some)) ** 0.5
            return replace(self, deltas=[*fixed, *([scale * delta for delta in root] for root in some)], n_drawn=len(some))

        return half(drawn[0::2]), half(drawn[1::2])

    @property
    def parts(self) -> tuple[Said, ...]:
        """Both halves where roots are drawn, else all as it is."""
        return self.halves if self.n_drawn > 0 else (self,)

    def split(self, size: int) -> Iterator[Said]:
        """Some samples at a time; the pass stays that of all."""
        for start in range(0, len(self.rows), size):
            part = slice(start, start + size)
            yield replace(
                self,
                rows=self.rows[part],
                targets=self.targets[part],
                inputs=[inputs[part] for inputs in self.inputs],
                deltas=[[delta[part] for delta in deltas] for deltas in self.deltas],
                residual_scale=self.residual_scale[part],
                root_scale=self.root_scale[part],
            )

    def turned_inputs(self, basis: Basis) -> list[Tensor]:
        """Inputs of each layer in the basis."""
        return [own.inputs(given) for own, given in zip(basis, self.inputs, strict=True)]


def _as_one(inputs: Tensor, deltas: Tensor) -> tuple[Tensor, Tensor]:
    """What samples (n, T, …) say together, as one sample of n·T places."""
    return inputs.flatten(0, 1)[None], deltas.flatten(0, 1)[None]


def said_by(problem: ModuleProblem, rows: Tensor, size: int | None = None, *, twice: bool = False) -> Iterator[Said]:
    """Of samples `rows` (n,), `size` at a time; `twice`: whether `Said.output_change` is to be told."""
    loss = problem.loss
    for part, passed, targets in problem.passes(rows, size, twice=twice):
        weights = weight_of(problem, part)
        found = loss.directions(part, passed.outputs.detach(), targets)
        first, *others = found.vectors
        deltas = [passed.deltas(first), *(passed.deltas(weighted(other, weights.sqrt())) for other in others)]
        scales = (weights * found.residual, weights.sqrt() * found.root)
        yield Said(problem.layers, part, targets, passed.inputs(), deltas, *scales, passed, loss.is_padded, found.n_drawn)
