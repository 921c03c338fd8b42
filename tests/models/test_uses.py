"""Parameters that act elsewhere than in the call of their layer are found by their gradient."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from lapsi.data.batches import batches_of
from lapsi.errors import InputError
from lapsi.models.module.choose import layers_of
from lapsi.models.module.uses import require_all_uses

WIDTH, CLASSES = 5, 3


class Again(nn.Module):
    """Uses the weight, or the bias, of a layer in a function too."""

    def __init__(self, how):
        super().__init__()
        torch.manual_seed(0)
        self.how = how
        self.words = nn.Embedding(7, WIDTH)
        self.body, self.norm, self.head = nn.Linear(WIDTH, WIDTH), nn.LayerNorm(WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, words):
        h = self.norm(torch.tanh(self.body(self.words(words)))).mean(1)
        match self.how:
            case "weight":
                h = functional.linear(h, self.body.weight)
            case "bias":
                h = h * self.head.bias.sum()
            case "words":
                return self.head(h) + (h @ self.words.weight.T)[:, :CLASSES]
            case "norm":
                h = h * self.norm.weight
        return self.head(h)


def batches(dtype):
    generator = torch.Generator().manual_seed(1)
    words = torch.randint(7, (6, 4), generator=generator)
    return batches_of(list(zip(words, words[:, 0] % CLASSES, strict=True)), None, torch.zeros(1, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("how", "layer"), [("weight", "body"), ("bias", "head"), ("words", "words"), ("norm", "norm")])
def test_a_parameter_that_acts_twice_is_refused_by_name(how, layer, dtype):
    module = Again(how).to(dtype)
    with pytest.raises(InputError, match=f"says of the parameters of '{layer}' is not seen in that layer alone"):
        require_all_uses(module, layers_of(module), batches(dtype))
    others = [name for name in ("words", "body", "norm", "head") if name != layer]
    require_all_uses(module, layers_of(module, others), batches(dtype))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_layers_that_see_all_are_taken(dtype):
    module = Again("").to(dtype)
    require_all_uses(module, layers_of(module), batches(dtype))


class Rows(nn.Module):
    """In which the samples stand otherwise within a layer than outside."""

    def __init__(self, how):
        super().__init__()
        torch.manual_seed(0)
        self.how, self.body, self.head = how, nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, x):
        match self.how:
            case "one set":
                h = self.body(x[None])[0]
            case "sorted":
                order = x[:, 0].argsort(descending=True)
                h = self.body(x[order])[order.argsort()]
            case "of some":  # as gates do that look at the input
                h = self.body(x)
                h = torch.where(x[:, :1] > 0, functional.linear(h, self.body.weight), h)
            case _:
                h = self.body(input=x)
        return self.head(torch.tanh(h))


@pytest.mark.parametrize("how", ["one set", "sorted", "of some"])
def test_samples_that_stand_otherwise_within_a_layer_are_found(how):
    x = torch.linspace(-1, 1, 6)[:, None] + torch.randn(6, WIDTH, generator=torch.Generator().manual_seed(0)) / 10
    data, module = batches_of(list(zip(x, [0, 1, 2] * 2, strict=True)), None, torch.zeros(1)), Rows(how)
    with pytest.raises(InputError, match="'body' is not seen in that layer alone"):
        require_all_uses(module, layers_of(module), data)
    require_all_uses(module, layers_of(module, ["head"]), data)


def test_layers_may_be_called_by_the_name_of_their_argument():
    data = batches_of(list(zip(torch.randn(6, WIDTH), [0, 1, 2] * 2, strict=True)), None, torch.zeros(1))
    module = Rows("named")
    require_all_uses(module, layers_of(module), data)
