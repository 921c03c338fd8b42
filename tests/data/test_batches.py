"""Samples of a data set as a module takes them: what is dropped, and what cannot be read is told in one line."""

import pytest
import torch
from numpy.testing import assert_array_equal
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader

import lapsi
from lapsi.data.batches import batches_of
from lapsi.data.handed_over import handed_over
from lapsi.errors import InputError

N, FEATURES, CLASSES = 12, 4, 3
HOW = {"objective": lapsi.ObjectiveSpec(weight_decay=0.05), "execution": lapsi.Execution(verify=0), "progress": False}


def values():
    return torch.randn(N, FEATURES, generator=torch.Generator().manual_seed(0)), torch.arange(N) % CLASSES


def network(n_outputs=CLASSES):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(FEATURES, 3), nn.Tanh(), nn.Linear(3, n_outputs))


class Holes(list):
    """Reading one of them fails."""

    def __getitem__(self, row):
        if row == 7:
            raise KeyError("no file of sample 7")
        return super().__getitem__(row)


X, Y = values()
PICTURES = [(Image.new("RGB", (4, 4)), int(label)) for label in Y]


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ({"x": X, "label": Y}, "dataset is a dict; expected one with a length and an item by its position"),
        (Holes(zip(X, Y, strict=True)), r"Sample 7 of the data set cannot be read \(KeyError: 'no file of sample 7'\)"),
        (PICTURES, "Sample 0 of the data set cannot be made a batch .*PIL.Image.Image.* transforms of the data set"),
        ([(X[row : row + 1 + row % 2], Y[row]) for row in range(N)], "Samples 0 to 3 of the data set cannot be made a batch"),
        ([(values, "abc"[label]) for values, label in zip(X, Y, strict=True)], "targets are of type str, such as 'a'"),
        ([{"input": values, "label": "a"} for values in X], "targets are of type str, such as 'a'"),
    ],
)
def test_what_cannot_be_read_is_told(dataset, message):
    with pytest.raises(InputError, match=message) as told:
        lapsi.score_network(network(), dataset, **HOW)
    assert str(told.value).count("\n") == 0


class Named(nn.Module):
    """Takes its input by name, and the others that it is given, where it may."""

    def __init__(self):
        super().__init__()
        self.inner = network()

    def forward(self, values, scale=None):
        return self.inner(values if scale is None else values * scale[:, None])


class Open(Named):
    """Takes anything."""

    def forward(self, values, **others):
        return super().forward(values, others.get("scale"))


SAMPLES = [
    {"values": X[row], "scale": 1.0 + row, "label": int(Y[row]), "text": "some words", "id": f"s{row}"} for row in range(N)
]


@pytest.mark.parametrize("kind", [Named, Open])
@pytest.mark.parametrize("loaded", [False, True])
def test_texts_and_ids_beside_the_arguments_are_dropped(kind, loaded):
    module, data, collate = handed_over(kind(), DataLoader(SAMPLES, batch_size=4) if loaded else SAMPLES, None)
    given = batches_of(data, collate, torch.zeros(1)).take([2, 5])
    assert set(given.named) == {"values", "scale"}
    assert_array_equal(given.named["scale"], [3.0, 6.0])
    assert_array_equal(given.targets, Y[[2, 5]])
    scores = lapsi.score_network(module, SAMPLES, **HOW)
    again = lapsi.score_network(network(), [(X[row] * (1.0 + row), int(Y[row])) for row in range(N)], **HOW)
    assert_array_equal(scores.lsi, again.lsi)


def test_samples_of_which_the_module_takes_nothing_are_told_whole():
    with pytest.raises(InputError, match=r"does not take sample 0 .*\(inputs .*, size .*\): .*inputs"):
        lapsi.score_network(Named(), [{"inputs": X[row], "size": 1.0, "label": int(Y[row])} for row in range(N)], **HOW)


class OneNumber(nn.Module):
    """Without an axis for it."""

    def __init__(self, squeezed):
        super().__init__()
        self.inner, self.squeezed = network(1), squeezed

    def forward(self, values):
        found = self.inner(values)
        return found.squeeze(1) if self.squeezed else found


@pytest.mark.parametrize("loss", ["mse", "bce"])
@pytest.mark.parametrize("engine", ["ekfac", "retrain"])
def test_one_number_a_sample_needs_no_axis(loss, engine):
    data = [(values, float(label > 0)) for values, label in zip(X, Y, strict=True)]
    recipe = lapsi.Retrain(lapsi.Recipe(optimizer="sgd", learning_rate=0.1, epochs=2, seeds=1))
    how = HOW | {"loss": loss, "curvature": "diag", "engine": recipe if engine == "retrain" else engine}
    squeezed, plain = (lapsi.score_network(OneNumber(each), data, **how) for each in (True, False))
    assert_array_equal(squeezed.lsi, plain.lsi)
