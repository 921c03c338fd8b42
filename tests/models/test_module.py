"""Gradients of single samples through every kind of layer against the Jacobian that autograd gives."""

import importlib

import pytest
import torch
from torch import nn
from torch.func import functional_call, jacrev
from torch.nn import functional
from torch.testing import assert_close

from lapsi.data.batches import Arguments
from lapsi.errors import InputError
from lapsi.models.module.capture import pass_through
from lapsi.models.module.choose import layers_of
from lapsi.models.module.layers import gradient

EXACT = {"rtol": 1e-10, "atol": 1e-12}
N, OUTPUTS = 4, 3


class Attention(nn.Module):
    """One head by its linears, over words; and the mean over places."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(7, 6, padding_idx=0)
        self.query, self.key, self.value, self.out = (nn.Linear(6, 6, bias=bias) for bias in (True, True, False, True))
        self.norm, self.root_norm, self.head = nn.LayerNorm(6), nn.RMSNorm(6), nn.Linear(6, OUTPUTS)

    def forward(self, words):
        h = self.norm(self.words(words))
        weights = (self.query(h) @ self.key(h).mT / 6**0.5).softmax(-1)
        return self.head(self.root_norm(h + self.out(weights @ self.value(h))).mean(1))


class Conv1D(nn.Module):
    """As transformers has it: the weight is (in, out)."""

    def __init__(self, out, width):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(width, out)), nn.Parameter(torch.randn(out))

    def forward(self, x):
        return x @ self.weight + self.bias


def arguments(inputs):
    return Arguments((inputs,), {}, torch.zeros(len(inputs)))


def case(kind):
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    torch.manual_seed(1)
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * 4, OUTPUTS))
    line = nn.Sequential(nn.AdaptiveAvgPool1d(2), nn.Flatten(), nn.Linear(4 * 2, OUTPUTS))
    images, series = normal(N, 4, 6, 5), normal(N, 4, 9)
    cases = {
        "linear": (nn.Sequential(nn.Linear(5, 4), nn.ReLU(inplace=True), nn.Linear(4, OUTPUTS, bias=False)), normal(N, 5)),
        "conv2d": (nn.Sequential(nn.Conv2d(4, 4, 3, stride=2, padding=1), nn.Tanh(), pool), images),
        "dilated": (nn.Sequential(nn.Conv2d(4, 4, (3, 2), dilation=(1, 2), bias=False), nn.Tanh(), pool), images),
        "same": (nn.Sequential(nn.Conv2d(4, 4, (2, 3), padding="same"), nn.Tanh(), pool), images),
        "reflected": (nn.Sequential(nn.Conv2d(4, 4, 3, padding=(1, 2), padding_mode="reflect"), nn.Tanh(), pool), images),
        "groups": (nn.Sequential(nn.Conv2d(4, 8, 3, groups=2), nn.Tanh(), nn.Conv2d(8, 4, 1, groups=4), pool), images),
        "conv1d": (nn.Sequential(nn.Conv1d(4, 4, 3, stride=2, padding=1, groups=2), nn.Tanh(), line), series),
        "batch norm": (nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), pool), images),
        "group norm": (nn.Sequential(nn.Conv2d(4, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), pool), images),
        "batch norm of vectors": (nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, OUTPUTS)), normal(N, 5)),
        "attention": (Attention(), torch.randint(0, 7, (N, 5), generator=generator)),
        "turned": (nn.Sequential(Conv1D(4, 5), nn.GELU(), Conv1D(OUTPUTS, 4)), normal(N, 5)),
    }
    module, inputs = cases[kind]
    module = module.double()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            part.running_mean.normal_(generator=generator)
            part.running_var.uniform_(0.5, 2.0, generator=generator)
        for name, value in part.named_parameters(recurse=False):
            if "Norm" in type(part).__name__:
                nn.init.normal_(value) if name == "bias" else nn.init.uniform_(value, 0.5, 2.0)
    return module, inputs


KINDS = [
    "linear", "conv2d", "dilated", "same", "reflected", "groups", "conv1d", "batch norm", "group norm",
    "batch norm of vectors", "attention", "turned",
]  # fmt: skip


def jacobian(module, layers, inputs):
    """(n, K, P) in the order of the layers, by autograd through each sample alone."""
    module.eval()
    names = [f"{layer.name}.{key}" for layer in layers for key in layer.split(layer.params)]
    known = {name: module.get_parameter(name).detach() for name in names}

    def alone(params, sample):
        return functional_call(module, params, (sample[None],))[0]

    found = []
    for sample in inputs:
        by_name = jacrev(alone)(known, sample)
        rows = []
        for output in range(OUTPUTS):
            flat = []
            for layer in layers:
                own = {key: by_name[f"{layer.name}.{key}"][output] for key in layer.split(layer.params)}
                flat.append(layer.join(own))
            rows.append(torch.cat(flat))
        found.append(torch.stack(rows))
    return torch.stack(found)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_single_samples_are_those_of_autograd(kind):
    module, inputs = case(kind)
    layers = layers_of(module)
    expected = jacobian(module, layers, inputs)
    module.train()
    passed = pass_through(module, layers, N, arguments(inputs))
    given = passed.inputs()
    for output in range(OUTPUTS):
        direction = torch.zeros(N, OUTPUTS, dtype=torch.float64)
        direction[:, output] = 1.0
        known = zip(layers, given, passed.deltas(direction), strict=True)
        found = torch.cat([gradient(*each) for each in known], 1)
        assert_close(found, expected[:, output], **EXACT)
    assert module.training
    assert sum(layer.n_params for layer in layers) == sum(value.numel() for value in module.parameters())


@pytest.mark.parametrize(
    "kind", ["llama.modeling_llama.LlamaRMSNorm", "gemma.modeling_gemma.GemmaRMSNorm", "t5.modeling_t5.T5LayerNorm"]
)
def test_norms_of_language_models_are_those_of_autograd(kind):
    pytest.importorskip("transformers")
    place, _, name = kind.rpartition(".")
    made = getattr(importlib.import_module(f"transformers.models.{place}"), name)
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(5, 6), made(6, eps=0.1), nn.Linear(6, OUTPUTS)).double()
    nn.init.uniform_(module[1].weight, 0.5, 2.0)
    inputs, layers = torch.randn(N, 5).double(), layers_of(module)
    passed, expected = pass_through(module, layers, N, arguments(inputs)), jacobian(module, layers, inputs)
    for output in range(OUTPUTS):
        deltas = passed.deltas(functional.one_hot(torch.full((N,), output), OUTPUTS).double())
        found = torch.cat([gradient(*each) for each in zip(layers, passed.inputs(), deltas, strict=True)], 1)
        assert_close(found, expected[:, output], rtol=1e-6, atol=1e-7)  # these norms compute in float32


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_are_split_as_the_module_holds_them(kind):
    module, _ = case(kind)
    for layer in layers_of(module):
        named = layer.split(layer.params)
        for key, value in named.items():
            assert_close(value, layer.module.get_parameter(key).detach(), rtol=0, atol=0)
        entries = torch.arange(layer.n_params)
        assert_close(layer.join(layer.split(entries)), entries)


def test_some_layers_are_chosen_by_name_by_gradient_or_as_the_last():
    module, _ = case("conv2d")
    assert [layer.name for layer in layers_of(module)] == ["0", "2.2"]
    assert [layer.name for layer in layers_of(module, ["last_layer"])] == ["2.2"]
    assert [layer.name for layer in layers_of(module, ["2"])] == ["2.2"]
    module[0].weight.requires_grad_(False)
    with pytest.raises(InputError, match="'0' is a Conv2d with parameters bias, which is not covered"):
        layers_of(module)
    module[0].bias.requires_grad_(False)
    assert [layer.name for layer in layers_of(module)] == ["2.2"]
    with pytest.raises(InputError, match="names the module 'head', which there is not; the module has '0', '1'"):
        layers_of(module, ["head"])
    module.requires_grad_(False)
    with pytest.raises(InputError, match="No parameter of the module is chosen"):
        layers_of(module)


def test_what_is_not_covered_is_refused_by_name():
    with pytest.raises(InputError, match="'0' is a LSTM .*Leave it out"):
        layers_of(nn.Sequential(nn.LSTM(3, 4)))
    module = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    module[1].weight = module[0].weight
    with pytest.raises(InputError, match="The parameter 'weight' of '0' is tied to that of '1'"):
        layers_of(module)
    with pytest.raises(InputError, match="The parameter 'weight' of '1' is tied to that of '0'"):
        layers_of(module, ["last_layer"])


def test_what_is_covered_is_named_where_some_is_not():
    body = nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.Linear(3, 3), nn.Tanh()), nn.PReLU())
    module = nn.Sequential(body, nn.ReLU(), nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3)), nn.Linear(3, 2))
    with pytest.raises(InputError, match=r"'0.2' is a PReLU .* All that is covered: params=\['0.0', '0.1', '2', '3'\].$"):
        layers_of(module)
    assert [layer.name for layer in layers_of(module, ["0.0", "0.1", "2", "3"])] == ["0.0", "0.1.0", "2.0", "2.1", "3"]
    with pytest.raises(InputError, match="counts as fixed.$"):
        layers_of(nn.Sequential(nn.PReLU()))


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.never = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x):
        return self.first(self.first(x))


def test_what_is_used_twice_or_never_is_refused_by_name():
    module, samples = Twice(), torch.zeros(2, 3)
    with pytest.raises(InputError, match="'first' is used more than once"):
        pass_through(module, layers_of(module, ["first"]), 2, arguments(samples))
    assert not module.first._forward_hooks
    with pytest.raises(InputError, match="'never' was not called"):
        pass_through(module, layers_of(module, ["never"]), 2, arguments(samples))
    turned = nn.Sequential(nn.Flatten(0, 1), nn.Linear(3, 3))
    with pytest.raises(InputError, match="gives 8 rows for 2 samples"):
        pass_through(turned, layers_of(turned), 2, arguments(torch.zeros(2, 4, 3)))


def test_the_module_is_afterwards_as_it_was():
    module, inputs = case("batch norm")
    module.train()
    module[1].eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    pass_through(module, layers_of(module), N, arguments(inputs))
    assert [part.training for part in module] == [True, False, True, True]
    assert all(not part._forward_hooks for part in module.modules())
    for name, value in module.state_dict().items():
        assert_close(value, before[name], rtol=0, atol=0)


class Wrapped(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.head, self.how = nn.Linear(3, OUTPUTS), how

    def forward(self, x):
        return self.how(self.head(x))


def test_outputs_are_found_in_what_modules_of_transformers_return():
    samples = torch.zeros(2, 3)
    for how in (lambda z: {"logits": z}, lambda z: (z, None), lambda z: type("Output", (), {"logits": z})()):
        module = Wrapped(how)
        assert pass_through(module, layers_of(module), 2, arguments(samples)).outputs.shape == (2, OUTPUTS)
    module = Wrapped(lambda z: 3)
    with pytest.raises(InputError, match="returns a int; expected a tensor"):
        pass_through(module, layers_of(module), 2, arguments(samples))
