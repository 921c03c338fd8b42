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

from lapsi.models.likelihoods.base import weighted
from lapsi.models.module.capture import Passed
from lapsi.models.module.layers import Layer, ProductLayer, gradient
from lapsi.problem.base import weight_of
from lapsi.problem.module import ModuleProblem


@dataclass(frozen=True, slots=True, eq=False)
class LayerBasis:
    """Where the gradients of a layer are taken; None is the plain one.

    Attributes:
        outer: U_out (g, o, o).
        inner: U_in (g, k, k).
    """

    outer: Tensor | None = None
    inner: Tensor | None = None

    def inputs(self, inputs: Tensor) -> Tensor:
        """What goes in (n, T, g, k), in the basis."""
        return inputs if self.inner is None else torch.einsum("ntgk,gkl->ntgl", inputs, self.inner.to(inputs.dtype))

    def deltas(self, deltas: Tensor) -> Tensor:
        """δ (n, T, g, o), in the basis."""
        return deltas if self.outer is None else torch.einsum("ntgo,gop->ntgp", deltas, self.outer.to(deltas.dtype))

    def into(self, layer: Layer, flat: Tensor) -> Tensor:
        """Vectors (…, P_l) of plain parameters, in the basis."""
        return self._turned(layer, flat, self.outer, self.inner)

    def out_of(self, layer: Layer, flat: Tensor) -> Tensor:
        """The inverse of `into`."""
        outer, inner = (None if side is None else side.mT for side in (self.outer, self.inner))
        return self._turned(layer, flat, outer, inner)

    @staticmethod
    def _turned(layer: Layer, flat: Tensor, outer: Tensor | None, inner: Tensor | None) -> Tensor:
        if not isinstance(layer, ProductLayer):
            return flat
        found = flat.unflatten(-1, layer.shape)
        if inner is not None:
            found = found @ inner.to(found.dtype)
        if outer is not None:
            found = outer.to(found.dtype).mT @ found
        return found.flatten(-3)


Basis = tuple[LayerBasis, ...]


def plain_basis(layers: Sequence[Layer]) -> Basis:
    """That of the parameters themselves."""
    return (LayerBasis(),) * len(layers)


def turned(layers: Sequence[Layer], basis: Basis, vectors: Tensor, *, back: bool = False) -> Tensor:
    """Vectors (…, P) of plain parameters in a basis, or `back` from there."""
    parts = vectors.split([layer.n_params for layer in layers], -1)
    pairs = zip(layers, basis, parts, strict=True)
    return torch.cat([own.out_of(layer, part) if back else own.into(layer, part) for layer, own, part in pairs], -1)


@dataclass(frozen=True, slots=True, eq=False)
class Said:
    """What a batch of samples says.

    Attributes:
        layers: of the parameters.
        rows: (n,) the samples.
        targets: (n, …) theirs.
        inputs: of each layer (n, T, …).
        residual: δ of each layer (n, T, …) of a_i r_i.
        roots: the same of each column of √a_i F_i.
        passed: the batch with its graph.
        is_padded: whether some places may only fill a text up.
    """

    layers: Sequence[Layer]
    rows: Tensor
    targets: Tensor
    inputs: list[Tensor]
    residual: list[Tensor]
    roots: list[list[Tensor]]
    passed: Passed
    is_padded: bool

    def gradient(self, basis: Basis) -> Tensor:
        """g (n, P)."""
        return torch.cat(list(self._by_layer(basis, [self.residual])), 2)[:, 0]

    def gradient_sum(self) -> Tensor:
        """Σ_n g (P,) float64, in plain parameters."""
        return self._summed(self.residual)

    def root(self, basis: Basis) -> Tensor:
        """R (n, r, P)."""
        return torch.cat(list(self._by_layer(basis, self.roots)), 2)

    def square_sum(self, basis: Basis) -> Tensor:
        """Σ_n Σ_r R² (P,) float64."""
        return torch.cat([root.square_().sum((0, 1)).double() for root in self._by_layer(basis, self.roots)])

    def output_change(self, shift: Tensor) -> Tensor:
        """J_i shift_i (n, …) float64, in the shape of the outputs, of a shift (n, P), or (P,) of all of them, of plain
        parameters: by two passes backwards."""
        direction = torch.zeros_like(self.passed.outputs, requires_grad=True)
        moves = torch.zeros((), dtype=torch.float64, device=shift.device)
        parts = shift.split([layer.n_params for layer in self.layers], -1)
        for layer, inputs, delta, part in zip(
            self.layers, self.inputs, self.passed.deltas(direction, graph=True), parts, strict=True
        ):
            own = (inputs, delta) if part.ndim == 2 else _as_one(inputs, delta)
            moves = moves + (gradient(layer, *own).double() * part.double()).sum()
        return torch.autograd.grad(moves, direction)[0].double()

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

    def half(self, which: int) -> Said:
        """The same with every second root, the first (0) or second (1) of two, each for two."""
        return replace(self, roots=[[2**0.5 * delta for delta in root] for root in self.roots[which::2]])

    def turned_inputs(self, basis: Basis) -> list[Tensor]:
        """Inputs of each layer in the basis."""
        return [own.inputs(given) for own, given in zip(basis, self.inputs, strict=True)]

    def _by_layer(self, basis: Basis, directions: Sequence[list[Tensor]]) -> Iterator[Tensor]:
        """(n, r, P_l) of each layer, of r directions, δ of each layer."""
        for each in zip(self.layers, basis, self.inputs, zip(*directions, strict=True), strict=True):
            yield _turned_gradients(*each)


def _as_one(inputs: Tensor, deltas: Tensor) -> tuple[Tensor, Tensor]:
    """What samples (n, T, …) say together, as one sample of n·T places."""
    return inputs.flatten(0, 1)[None], deltas.flatten(0, 1)[None]


def _turned_gradients(layer: Layer, own: LayerBasis, inputs: Tensor, deltas: Sequence[Tensor]) -> Tensor:
    """(n, r, P_l) in the basis: what goes in and comes back is turned, or the gradients are, whichever costs less."""
    if isinstance(layer, ProductLayer):
        _, out, width = layer.shape
        n_places = inputs.shape[1]
        if n_places * (width**2 / len(deltas) + out**2) <= out * width * (out + width):
            given = own.inputs(inputs)
            return torch.stack([gradient(layer, given, own.deltas(delta)) for delta in deltas], 1)
    return own.into(layer, torch.stack([gradient(layer, inputs, delta) for delta in deltas], 1))


def said_by(problem: ModuleProblem, rows: Tensor, size: int | None = None) -> Iterator[Said]:
    """Of samples `rows` (n,), `size` at a time."""
    loss = problem.loss
    for part, passed, targets in problem.passes(rows, size):
        outputs, weights = passed.outputs.detach(), weight_of(problem, part)
        roots = loss.roots(part, outputs, targets)
        deltas = [passed.deltas(weighted(loss.residual(outputs, targets), weights))]
        deltas += [passed.deltas(weighted(root, weights.sqrt())) for root in roots]
        yield Said(problem.layers, part, targets, passed.inputs(), deltas[0], deltas[1:], passed, loss.is_sampled)
