"""Structures of a module's curvature that are diagonal in a basis: what they sum over samples, and the diagonal made of it.

Legend of the indices: n sample, r root, t place, g group, o unit that comes out, k one that goes in.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from lapsi.curvature.basis import Basis, plain_basis
from lapsi.curvature.said import Said
from lapsi.models.module.layers import Layer, ProductLayer, gradient
from lapsi.problem.base import weight_of
from lapsi.problem.module import ModuleProblem


class Diagonal(ABC):
    """A curvature that is diagonal in a basis.

    Attributes:
        basis: where it is.
    """

    basis: Basis

    @abstractmethod
    def of(self, problem: ModuleProblem, said: Said) -> Tensor:
        """(n, S) float64 what each sample adds to the sums."""

    @abstractmethod
    def summed(self, problem: ModuleProblem, said: Said) -> Tensor:
        """(S,) what all of them add."""

    @abstractmethod
    def diagonal(self, problem: ModuleProblem, sums: Tensor) -> Tensor:
        """(P,) of sums (S,)."""

    @abstractmethod
    def taken(self, problem: ModuleProblem, sums: Tensor, own: Tensor) -> Tensor:
        """(n, P) by how much the diagonal of sums (S,) falls without what samples add to them (n, S), in difference form."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class RootSquares(Diagonal):
    """The diagonal of the GGN itself: Σ_i Σ_r R_ir². In plain parameters that is `diag`, in the eigenbasis `ekfac`."""

    basis: Basis

    def of(self, problem: ModuleProblem, said: Said) -> Tensor:
        return said.root(self.basis).square_().sum(1).double()

    def summed(self, problem: ModuleProblem, said: Said) -> Tensor:
        return said.square_sum(self.basis)

    def diagonal(self, problem: ModuleProblem, sums: Tensor) -> Tensor:
        return sums

    def taken(self, problem: ModuleProblem, sums: Tensor, own: Tensor) -> Tensor:
        return own


@final
@dataclass(frozen=True, slots=True, eq=False)
class FactorProducts(Diagonal):
    """`kfac`: the eigenvalues of the factors, multiplied: b_o a_k / m, with the sums b of δ², a of h² and m of the places.

    (Martens and Grosse 2015; over places as KFC "expands" them, Grosse and Martens 2016.) Of norms the diagonal itself.
    """

    basis: Basis

    def of(self, problem: ModuleProblem, said: Said) -> Tensor:
        weights, roots = weight_of(problem, said.rows), said.roots
        found = []
        for place, (layer, own, given) in enumerate(zip(said.layers, self.basis, said.turned_inputs(self.basis), strict=True)):
            deltas = [own.deltas(each[place]) for each in roots]
            if isinstance(layer, ProductLayer):
                outer = torch.stack([each.double().square().sum(1) for each in deltas]).sum(0)
                used = weights[:, None] * said.used(place)
                inner = torch.einsum("ntgk,nt->ngk", given.double().square(), used)
                found += [outer.flatten(1), inner.flatten(1), used.sum(1, keepdim=True)]
            else:
                found.append(torch.stack([gradient(layer, given, each).double().square() for each in deltas]).sum(0))
        return torch.cat(found, 1)

    def summed(self, problem: ModuleProblem, said: Said) -> Tensor:
        return self.of(problem, said).sum(0)

    def diagonal(self, problem: ModuleProblem, sums: Tensor) -> Tensor:
        return torch.cat([_product(*parts) for parts in _by_layer(problem.layers, sums)], -1)

    def taken(self, problem: ModuleProblem, sums: Tensor, own: Tensor) -> Tensor:
        """(m (b′a + b a′ − b′a′) − m′ b a) / (m (m − m′)), what a sample adds with a dash."""
        pairs = zip(_by_layer(problem.layers, sums), _by_layer(problem.layers, own), strict=True)
        return torch.cat([_taken(whole, part) for whole, part in pairs], -1)


def _by_layer(layers: tuple[Layer, ...], sums: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Of sums (…, S) for each layer b (…, g, o, 1), a (…, g, 1, k) and m (…, 1, 1, 1); of norms (…, P_l) alone."""
    start = 0
    for layer in layers:
        if isinstance(layer, ProductLayer):
            groups, out, width = layer.shape
            sizes = [groups * out, groups * width, 1]
            outer, inner, places = sums[..., start : start + sum(sizes)].split(sizes, -1)
            start += sum(sizes)
            yield (
                outer.unflatten(-1, (groups, out))[..., None],
                inner.unflatten(-1, (groups, width))[..., None, :],
                places[..., None, None],
            )
        else:
            yield (sums[..., start : start + layer.n_params],)
            start += layer.n_params


def _product(outer: Tensor, inner: Tensor | None = None, places: Tensor | None = None) -> Tensor:
    return outer if inner is None or places is None else (outer * inner / places).flatten(-3)


def _taken(whole: tuple[Tensor, ...], own: tuple[Tensor, ...]) -> Tensor:
    if len(whole) == 1:
        return own[0]
    (b, a, m), (b_own, a_own, m_own) = whole, own
    return ((m * (b_own * a + b * a_own - b_own * a_own) - m_own * b * a) / (m * (m - m_own))).flatten(-3)


def are_root_squares(structure: Diagonal, basis: Basis) -> bool:
    """Whether a structure is the diagonal of the GGN in this very basis."""
    return isinstance(structure, RootSquares) and structure.basis is basis


def structure_of(name: str, problem: ModuleProblem, basis: Basis) -> Diagonal:
    """`diag`, `kfac` or `ekfac`, of an eigenbasis."""
    if name == "kfac":
        return FactorProducts(basis)
    return RootSquares(plain_basis(problem.layers) if name == "diag" else basis)
