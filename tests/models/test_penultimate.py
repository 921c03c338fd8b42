"""The features of a network are what goes into the linear layer that is called last."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.distance import pdist
from torch import nn
from torch.utils.data import TensorDataset

import lapsi
from lapsi.data.batches import batches_of
from lapsi.models.module import penultimate as made
from lapsi.models.module.penultimate import penultimate

N, FEATURES, WIDTH, CLASSES = 20, 5, 4, 3
HOW = {"objective": lapsi.ObjectiveSpec(weight_decay=0.05), "execution": lapsi.Execution(verify=0), "progress": False}


class Late(nn.Module):
    """Calls the layer last that was made first."""

    def __init__(self):
        super().__init__()
        self.head, self.body = nn.Linear(WIDTH, CLASSES), nn.Linear(FEATURES, WIDTH)

    def forward(self, inputs):
        return self.head(torch.relu(self.body(inputs)))


class Named(nn.Module):
    """Hands over what goes into its head by name, and calls it twice."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(FEATURES, WIDTH), nn.Linear(WIDTH, CLASSES).requires_grad_(False)

    def forward(self, inputs):
        hidden = self.body(inputs)
        return self.head(input=2 * hidden) + self.head(input=torch.tanh(hidden))


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.head = nn.Embedding(9, WIDTH).requires_grad_(False), nn.Linear(WIDTH, 9)

    def forward(self, input_ids, attention_mask=None):
        return self.head(torch.tanh(self.words(input_ids)))


def samples():
    rng = np.random.default_rng(0)
    labels = rng.integers(CLASSES, size=N)
    return torch.from_numpy(rng.normal(size=(N, FEATURES)) + 2 * np.eye(CLASSES, FEATURES)[labels]), torch.from_numpy(labels)


def module_of(kind):
    torch.manual_seed(0)
    return kind().double()


def hooked(module, layer, inputs):
    """By a plain hook of torch, of all samples at once."""
    seen = []
    handle = layer.register_forward_pre_hook(lambda _, given, named: seen.append(given or (named["input"],)), with_kwargs=True)
    module.eval()(inputs)
    handle.remove()
    return seen[-1][0].detach().numpy()


def score(module, data, **choices):
    return lapsi.score_network(module, data, **{**HOW, **choices})


@pytest.mark.parametrize("pass_size", [7, 64])
def test_features_are_what_a_hook_sees_in_the_layer_that_is_called_last(pass_size):
    X, y = samples()
    module = module_of(Late)
    scores = score(module, TensorDataset(X, y), pass_size=pass_size)
    assert scores.features.dtype == np.float32
    assert_allclose(scores.features, hooked(module, module.head, X), rtol=1e-6, atol=1e-7)
    assert scores.provenance.plan["features"] == {"layer": "head", "width": WIDTH, "kept": WIDTH}
    some = score(module, TensorDataset(X, y), indices=[11, 3])
    assert_array_equal(some.features, scores.features[[11, 3]])
    assert_array_equal(some.map, scores.map[[11, 3]])
    assert not module.head._forward_pre_hooks


def test_arguments_by_name_and_layers_that_are_called_twice():
    X, y = samples()
    module = module_of(Named)
    found = penultimate(module, batches_of(TensorDataset(X, y), None, X))
    assert (found.name, found.width, found.projection) == ("head", WIDTH, None)
    scores = score(module, TensorDataset(X, y), params="body")
    assert_allclose(scores.features, hooked(module, module.head, X), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("pass_size", [1, 64])
def test_features_of_texts_are_means_over_the_tokens_that_are_no_padding(pass_size):
    rng = np.random.default_rng(0)
    words = [rng.integers(9, size=rng.integers(3, 8)) for _ in range(8)]
    module = module_of(Tagger)
    table = torch.tanh(module.words.weight).numpy()
    expected = np.stack([table[text].mean(0) for text in words])
    masked = [{"input_ids": text.tolist()} for text in words]
    scores = score(module, masked, loss="next_token", pass_size=pass_size)
    assert_allclose(scores.features, expected, rtol=1e-6, atol=1e-7)
    assert scores.map.shape == (8, 2)
    assert scores.neighbours.shape == (8, 5)
    by_targets = [(torch.tensor(text), torch.tensor(text)) for text in words]
    assert_allclose(score(module, by_targets, pass_size=pass_size).features, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("name", "value"), [("WIDEST", 30), ("MOST_ENTRIES", 30 * N + 7)])
def test_too_many_are_projected_at_random(monkeypatch, name, value):
    X, y = samples()
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(FEATURES, 300), nn.Tanh(), nn.Linear(300, CLASSES)).double()
    whole = score(module, TensorDataset(X, y), params="last_layer")
    assert whole.features.shape == (N, 300)
    assert "projected" not in whole.provenance.features_in_words
    monkeypatch.setattr(made, name, value)
    few = score(module, TensorDataset(X, y), params="last_layer", pass_size=7)
    again = score(module, TensorDataset(X, y), params="last_layer")
    assert few.features.shape == (N, 30)
    assert_allclose(few.features, again.features, rtol=1e-5, atol=1e-5)
    assert few.provenance.plan["features"] == {"layer": "2", "width": 300, "kept": 30}
    assert few.provenance.features_in_words.endswith("of the network, '2', projected at random to 30")
    ratios = pdist(few.features, "sqeuclidean") / pdist(whole.features, "sqeuclidean")
    assert 0.7 < ratios.mean() < 1.3  # 30 squares of a normal number, of which the deviation of the mean is 0.26
    assert_allclose(few.lsi, whole.lsi, rtol=1e-9)


@pytest.mark.parametrize("kind", ["no linear layer", "not finite", "not by samples"])
def test_networks_without_features_have_no_map(kind):
    X, y = samples()
    if kind == "no linear layer":
        module = nn.Sequential(nn.Unflatten(1, (1, FEATURES)), nn.Conv1d(1, CLASSES, FEATURES), nn.Flatten()).double()
    else:

        class Odd(nn.Module):
            def __init__(self):
                super().__init__()
                self.body, self.last = nn.Linear(FEATURES, CLASSES), nn.Linear(2, 1).requires_grad_(False)

            def forward(self, inputs):
                outputs = self.body(inputs)
                given = torch.full((len(inputs), 2), torch.inf) if kind == "not finite" else torch.ones(3, 2)
                self.last(given.double())
                return outputs

        module = module_of(Odd)
    scores = score(module, TensorDataset(X, y))
    assert scores.features is None
    assert scores.map is None
    assert scores.neighbours is None
    assert "features" not in scores.provenance.plan
    assert scores.provenance.features_in_words == ""
