"""Layers whose parameters enter linearly: from what goes in and what comes back to the gradient of each sample.

A layer maps h (with a constant 1, where it has a bias) to a = W h at T places of a sample: a place for a vector, the
positions of a convolution, the tokens of a text. With δ = ∂/∂a the gradient of a sample is Σ_t δ_t h_tᵀ; of a norm or another
layer that scales and shifts its entries one by one it is Σ_t δ_t ∘ h_t and Σ_t δ_t.

Legend of the indices: n sample, t place, g group of a convolution, o unit that comes out, k one that goes in.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor, nn
from torch.nn import functional

RMS_NORMS = ("RMSNorm", "T5LayerNorm")  # as transformers calls its own


@dataclass(frozen=True, slots=True, eq=False)
class Layer(ABC):
    """A module with parameters, each used in one place.

    Attributes:
        name: of the module.
        module: that holds the parameters.
        biased: whether its bias is among the chosen parameters.
    """

    name: str
    module: nn.Module
    biased: bool

    @property
    @abstractmethod
    def n_params(self) -> int:
        """P_l."""

    @property
    @abstractmethod
    def params(self) -> Tensor:
        """(P_l,) the parameters as they are now, in the order of gradients."""

    @abstractmethod
    def split(self, flat: Tensor) -> dict[str, Tensor]:
        """Entries (P_l,) as the parameters of the module by name, of their shapes."""

    @abstractmethod
    def join(self, named: Mapping[str, Tensor]) -> Tensor:
        """The inverse of `split`."""

    @abstractmethod
    def inputs(self, given: Tensor) -> Tensor:
        """What goes in (n, T, …), from what the module is given."""

    @abstractmethod
    def deltas(self, back: Tensor) -> Tensor:
        """δ (n, T, …), from the gradient with respect to what comes out of the module."""


@dataclass(frozen=True, slots=True, eq=False)
class ProductLayer(Layer, ABC):
    """A layer with matrices (o, k), one a group; the column of the bias is the last."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int, int]:
        """(g, o, k), the column of the bias included."""

    @property
    def n_params(self) -> int:
        groups, out, width = self.shape
        return groups * out * width

    @property
    @abstractmethod
    def n_offsets(self) -> int:
        """Places within a patch that goes in, the last of its axes: 1 where what goes in is no patch."""

    @abstractmethod
    def matrix(self, weight: Tensor) -> Tensor:
        """A weight as (g, o, k), without the bias."""

    @abstractmethod
    def weight_of(self, matrix: Tensor) -> Tensor:
        """The inverse of `matrix`."""

    @property
    def weight(self) -> Tensor:
        """Of the module, as it is now."""
        return self.module.get_parameter("weight").detach()

    @property
    def params(self) -> Tensor:
        names = ("weight", "bias") if self.biased else ("weight",)
        return self.join({name: self.module.get_parameter(name).detach() for name in names})

    def join(self, named: Mapping[str, Tensor]) -> Tensor:
        whole = self.matrix(named["weight"])
        if self.biased:
            whole = torch.cat([whole, named["bias"].view(*whole.shape[:2], 1)], 2)
        return whole.flatten()

    def split(self, flat: Tensor) -> dict[str, Tensor]:
        whole = flat.view(self.shape)
        if not self.biased:
            return {"weight": self.weight_of(whole)}
        return {"weight": self.weight_of(whole[..., :-1]), "bias": whole[..., -1].flatten()}

    def with_constant(self, inputs: Tensor) -> Tensor:
        """Inputs (n, T, g, k) and, where there is a bias, a 1 at their end."""
        return functional.pad(inputs, (0, 1), value=1.0) if self.biased else inputs


@final
@dataclass(frozen=True, slots=True, eq=False)
class LinearLayer(ProductLayer):
    """`torch.nn.Linear`, and the `Conv1D` of transformers, whose weight is the transpose (`turned`)."""

    turned: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        _, out, width = self.matrix(self.weight).shape
        return 1, out, width + self.biased

    @property
    def n_offsets(self) -> int:
        return 1

    def matrix(self, weight: Tensor) -> Tensor:
        return (weight.T if self.turned else weight)[None]

    def weight_of(self, matrix: Tensor) -> Tensor:
        return matrix[0].T if self.turned else matrix[0]

    def inputs(self, given: Tensor) -> Tensor:
        return self.with_constant(_places(given)[:, :, None])

    def deltas(self, back: Tensor) -> Tensor:
        return _places(back)[:, :, None]


@final
@dataclass(frozen=True, slots=True, eq=False)
class ConvLayer(ProductLayer):
    """`torch.nn.Conv1d` and `Conv2d`, with any stride, padding, dilation and groups."""

    @property
    def conv(self) -> nn.Conv1d | nn.Conv2d:
        """The module."""
        assert isinstance(self.module, nn.Conv1d | nn.Conv2d)
        return self.module

    @property
    def shape(self) -> tuple[int, int, int]:
        groups, out, width = self.matrix(self.weight).shape
        return groups, out, width + self.biased

    @property
    def n_offsets(self) -> int:
        """Of the kernel."""
        return self.conv.weight[0, 0].numel()

    def matrix(self, weight: Tensor) -> Tensor:
        return weight.reshape(self.conv.groups, len(weight) // self.conv.groups, -1)

    def weight_of(self, matrix: Tensor) -> Tensor:
        return matrix.reshape(self.conv.weight.shape)

    def inputs(self, given: Tensor) -> Tensor:
        """Patches (n, T, g, k), as the convolution pads them."""
        conv = self.conv
        padded, padding = given, conv.padding
        if conv.padding_mode != "zeros" or isinstance(padding, str):
            mode = "constant" if conv.padding_mode == "zeros" else conv.padding_mode
            padded, padding = functional.pad(given, conv._reversed_padding_repeated_twice, mode=mode), (0,) * len(conv.stride)
        kernel, stride, dilation = conv.kernel_size, conv.stride, conv.dilation
        if isinstance(conv, nn.Conv1d):
            padded, padding = padded[:, :, None], (0, *padding)
            kernel, stride, dilation = (1, *kernel), (1, *stride), (1, *dilation)
        patches = functional.unfold(padded, kernel, dilation=dilation, padding=padding, stride=stride)
        n, _, n_places = patches.shape
        return self.with_constant(patches.view(n, conv.groups, -1, n_places).permute(0, 3, 1, 2))

    def deltas(self, back: Tensor) -> Tensor:
        n, groups = len(back), self.conv.groups
        return back.flatten(2).view(n, groups, back.shape[1] // groups, -1).permute(0, 3, 1, 2)


@final
@dataclass(frozen=True, slots=True, eq=False)
class EmbeddingLayer(ProductLayer):
    """`torch.nn.Embedding`: what goes in is 1 at the word that stands in a place."""

    @property
    def shape(self) -> tuple[int, int, int]:
        words, size = self.weight.shape
        return 1, size, words

    @property
    def n_offsets(self) -> int:
        return 1

    def matrix(self, weight: Tensor) -> Tensor:
        return weight.T[None]

    def weight_of(self, matrix: Tensor) -> Tensor:
        return matrix[0].T

    def inputs(self, given: Tensor) -> Tensor:
        words = given.flatten(1) if given.ndim > 1 else given[:, None]
        found = functional.one_hot(words, len(self.weight)).to(self.weight.dtype)
        if isinstance(self.module.padding_idx, int):
            found[..., self.module.padding_idx] = 0  # which is never trained
        return found[:, :, None]

    def deltas(self, back: Tensor) -> Tensor:
        return _places(back)[:, :, None]


@final
@dataclass(frozen=True, slots=True, eq=False)
class ScaleLayer(Layer):
    """A norm with statistics of the sample alone, or frozen ones: each entry times a weight, plus a bias.

    `scaled`: whether its weight is among the chosen parameters.
    """

    COVERED: ClassVar = (nn.LayerNorm, nn.GroupNorm, nn.BatchNorm1d, nn.BatchNorm2d, nn.RMSNorm)

    scaled: bool

    @property
    def _shape(self) -> torch.Size:
        return self.module.get_parameter("weight" if self.scaled else "bias").shape

    @property
    def n_params(self) -> int:
        return self._shape.numel() * (self.biased + self.scaled)

    @property
    def _names(self) -> list[str]:
        return [name for name, chosen in (("weight", self.scaled), ("bias", self.biased)) if chosen]

    @property
    def params(self) -> Tensor:
        return self.join({name: self.module.get_parameter(name).detach() for name in self._names})

    def split(self, flat: Tensor) -> dict[str, Tensor]:
        parts = flat.view(len(self._names), *self._shape)
        return dict(zip(self._names, parts, strict=True))

    def join(self, named: Mapping[str, Tensor]) -> Tensor:
        return torch.cat([named[name].flatten() for name in self._names])

    def inputs(self, given: Tensor) -> Tensor:
        """The entries before they are scaled, (n, T, d)."""
        module = self.module
        match module:
            case nn.LayerNorm():
                plain = functional.layer_norm(given, module.normalized_shape, eps=module.eps)
            case nn.RMSNorm():
                plain = functional.rms_norm(given, module.normalized_shape, eps=module.eps)
            case _ if _is_rms_norm(module):
                eps = getattr(module, "variance_epsilon", getattr(module, "eps", None))
                plain = functional.rms_norm(given, self._shape, eps=eps)
            case nn.GroupNorm():
                plain = functional.group_norm(given, module.num_groups, eps=module.eps)
            case _:
                assert isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)
                plain = functional.batch_norm(given, module.running_mean, module.running_var, eps=module.eps)
        return self.deltas(plain)

    def deltas(self, back: Tensor) -> Tensor:
        if isinstance(self.module, nn.LayerNorm | nn.RMSNorm) or _is_rms_norm(self.module):
            return back.reshape(len(back), -1, self._shape.numel())
        return back.flatten(2).mT if back.ndim > 2 else back[:, None]


def gradient(layer: Layer, inputs: Tensor, deltas: Tensor) -> Tensor:
    """Of each sample (n, P_l), from `Layer.inputs` and `Layer.deltas`."""
    if isinstance(layer, ProductLayer):
        return torch.einsum("ntgo,ntgk->ngok", deltas, inputs).flatten(1)
    assert isinstance(layer, ScaleLayer)
    parts = [(deltas * inputs).sum(1)] if layer.scaled else []
    return torch.cat([*parts, deltas.sum(1)] if layer.biased else parts, 1)


def gradients(layer: Layer, inputs: Tensor, deltas: Tensor) -> Tensor:
    """Of each sample and root (n, r, P_l), from `Layer.inputs` and those of `Layer.deltas` (n, T, r, …); of some units alone
    where the δ are."""
    if isinstance(layer, ProductLayer):
        if inputs.shape[2] > 1:
            return torch.einsum("ntrgo,ntgk->nrgok", deltas, inputs).flatten(2)
        n, n_places, n_roots, _, out = deltas.shape
        product = deltas.reshape(n, n_places, n_roots * out).mT @ inputs[:, :, 0]
        return product.view(n, n_roots, -1)
    assert isinstance(layer, ScaleLayer)
    parts = [torch.einsum("ntrk,ntk->nrk", deltas, inputs)] if layer.scaled else []
    return torch.cat([*parts, deltas.sum(1)] if layer.biased else parts, 2)


def moved(layer: Layer, inputs: Tensor, shift: Tensor) -> Tensor:
    """What comes out (n, T, …) more when the parameters move, by (n, P_l) or all by (P_l,), for `Layer.inputs` (n, T, …)."""
    if isinstance(layer, ProductLayer):
        matrix = shift.unflatten(-1, layer.shape)  # (…, g, o, k)
        return (inputs.transpose(1, 2) @ matrix.mT).transpose(1, 2)
    assert isinstance(layer, ScaleLayer)
    parts = iter(shift.unflatten(-1, (-1, inputs.shape[-1]))[..., None, :, :].unbind(-2))
    scaled = inputs * next(parts) if layer.scaled else torch.zeros_like(inputs)
    return scaled + next(parts) if layer.biased else scaled


def covered(name: str, module: nn.Module, chosen: Sequence[str]) -> Layer | None:
    """The layer of a module of which the parameters `chosen` are taken; None where no kind of layer is its own."""
    biased, scaled = "bias" in chosen, "weight" in chosen
    match module:
        case nn.Linear() if scaled:
            return LinearLayer(name, module, biased)
        case nn.Conv1d() | nn.Conv2d() if scaled:
            return ConvLayer(name, module, biased)
        case nn.Embedding() if not module.sparse and module.max_norm is None and not module.scale_grad_by_freq:
            return EmbeddingLayer(name, module, False)
    if isinstance(module, ScaleLayer.COVERED) or _is_rms_norm(module):
        return ScaleLayer(name, module, biased, scaled)
    if type(module).__name__ == "Conv1D" and scaled and module.get_parameter("weight").ndim == 2:
        return LinearLayer(name, module, biased, turned=True)
    return None


def _is_rms_norm(module: nn.Module) -> bool:
    """Whether it is one of those that language models of transformers have of their own."""
    return type(module).__name__.endswith(RMS_NORMS) and [name for name, _ in module.named_parameters()] == ["weight"]


def _places(values: Tensor) -> Tensor:
    """(n, …, d) as (n, T, d)."""
    return values[:, None] if values.ndim == 2 else values.flatten(1, -2)
