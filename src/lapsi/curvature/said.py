"""What single samples say of the parameters of a module: their gradients, and roots R_i of their part of the GGN.

    g_i = a_i J_iᵀ r_i,   R_i = √a_i J_iᵀF_i,   GGN = Σ_i R_iR_iᵀ

In plain parameters or in a basis of each layer, U_out ⊗ U_in. Legend of the indices: n sample, r root, t place, g group,
o unit that comes out, k one that goes in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lapsi.linalg.matmul import matmul
from lapsi.models.likelihoods.base import weighted
from lapsi.models.module.capture import Passed
from lapsi.models.module.layers import Layer, ProductLayer, gradient
from lapsi.models.module.roots import fewest_roots
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
HELD_BYTES = 2**30


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
        outputs: (n, K) float64.
        inputs: of each layer (n, T, …).
        residual: δ of each layer (n, T, …) of a_i r_i.
        roots: the same of each column of √a_i F_i.
        passed: the batch with its graph.
    """

    layers: Sequence[Layer]
    rows: Tensor
    outputs: Tensor
    inputs: list[Tensor]
    residual: list[Tensor]
    roots: list[list[Tensor]]
    passed: Passed

    def gradient(self, basis: Basis) -> Tensor:
        """g (n, P)."""
        return torch.cat(list(self._by_layer(basis, [self.residual])), 2)[:, 0]

    def gradient_sum(self) -> Tensor:
        """Σ_n g (P,) float64, in plain parameters."""
        known = zip(self.layers, self.inputs, self.residual, strict=True)
        return torch.cat([gradient(layer, *_as_one(given, delta))[0] for layer, given, delta in known]).double()

    def root(self, basis: Basis) -> Tensor:
        """R (n, r, P)."""
        return torch.cat(list(self._by_layer(basis, self.roots)), 2)

    def square_sum(self, basis: Basis) -> Tensor:
        """Σ_n Σ_r R² (P,) float64."""
        return torch.cat([root.square_().sum((0, 1)).double() for root in self._by_layer(basis, self.roots)])

    def output_change(self, shift: Tensor) -> Tensor:
        """J_i shift_i (n, K) float64 of a shift (n, P) of plain parameters: by two passes backwards."""
        direction = torch.zeros_like(self.passed.outputs, requires_grad=True)
        moves = torch.zeros((), dtype=torch.float64, device=shift.device)
        parts = shift.split([layer.n_params for layer in self.layers], 1)
        for layer, inputs, delta, part in zip(
            self.layers, self.inputs, self.passed.deltas(direction, graph=True), parts, strict=True
        ):
            moves = moves + (gradient(layer, inputs, delta).double() * part.double()).sum()
        return torch.autograd.grad(moves, direction)[0].double()

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


class GgnProduct:
    """GGN·v = Σ_i R_i(R_iᵀv) of the samples that are there, in a basis: a pass over the data for many vectors at once.

    The roots are held between products as far as a gibibyte goes; else the next product makes them again.
    """

    def __init__(self, problem: ModuleProblem, basis: Basis) -> None:
        """Of a problem; nothing is computed yet."""
        self._problem, self._basis = problem, basis
        self._held: list[Tensor] | None = None

    def __call__(self, vectors: Tensor) -> Tensor:
        """Of vectors (m, P)."""
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
        per_sample = 8 * (2 + self._problem.likelihood.n_outputs) * self._problem.n_params
        at_once = max(1, min(self._problem.pass_size, HELD_BYTES // 4 // per_sample))
        for said in said_by(self._problem, self._problem.present, at_once):
            yield said.root(self._basis).flatten(0, 1)


def said_by(problem: ModuleProblem, rows: Tensor, size: int | None = None) -> Iterator[Said]:
    """Of samples `rows` (n,), `size` at a time."""
    likelihood = problem.likelihood
    for part, passed in problem.passes(rows, size):
        outputs, weights = passed.outputs.detach().double(), weight_of(problem, part)
        residual = likelihood.residual(likelihood.state(outputs), problem.targets[part])
        columns = weighted(fewest_roots(likelihood, outputs, problem.left_out), weights.sqrt())
        deltas = [passed.deltas(weighted(residual, weights))]
        deltas += [passed.deltas(column) for column in columns.unbind(2)]
        yield Said(problem.layers, part, outputs, passed.inputs(), deltas[0], deltas[1:], passed)
