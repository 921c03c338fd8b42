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
    with pytest.raises(InputError, match=f"The parameters of '{layer}' act elsewhere in the module too"):
        require_all_uses(module, layers_of(module), batches(dtype))
    others = [name for name in ("words", "body", "norm", "head") if name != layer]
    require_all_uses(module, layers_of(module, others), batches(dtype))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_layers_that_see_all_are_taken(dtype):
    module = Again("").to(dtype)
    require_all_uses(module, layers_of(module), batches(dtype))
