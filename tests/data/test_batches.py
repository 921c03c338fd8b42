"""Samples of a data set as a module takes them: what is dropped, and what cannot be read is told in one line."""

from types import SimpleNamespace

import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from torch import nn
from torch.utils.data import (
    DataLoader,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

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
        (
            [(X[row : row + 1 + row % 2], Y[row]) for row in range(N)],
            "Samples 0, 1, …, 11 of the data set cannot be made a batch",
        ),
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


class Reads(nn.Module):
    """Texts, with a mask or without."""

    def __init__(self, masked):
        super().__init__()
        torch.manual_seed(0)
        self.words, self.head, self.masked = nn.Embedding(9, 4), nn.Linear(4, 9), masked
        self.config = SimpleNamespace(pad_token_id=8)

    def forward(self, input_ids):
        return self.head(torch.tanh(self.words(input_ids)))


class ReadsMasked(Reads):
    def forward(self, input_ids, attention_mask=None):
        found = super().forward(input_ids)
        return found if attention_mask is None else found * attention_mask[:, :, None]


TEXTS = [{"input_ids": [1 + place % 6 for place in range(length)]} for length in (5, 3, 7, 4, 6, 5)]


@pytest.mark.parametrize("kind", [Reads, ReadsMasked])
def test_texts_are_padded_with_the_word_of_the_model_and_masked_where_it_takes_a_mask(kind):
    module, data, collate = handed_over(kind(True), TEXTS, None)
    given = batches_of(data, collate, torch.zeros(1), reads_ahead=True).take([0, 1])
    assert_array_equal(given.named["input_ids"], [[1, 2, 3, 4, 5], [1, 2, 3, 8, 8]])
    assert_array_equal(given.targets, [[1, 2, 3, 4, 5], [1, 2, 3, -100, -100]])
    assert ("attention_mask" in given.named) == (kind is ReadsMasked)
    together = lapsi.score_network(module, TEXTS, loss="next_token", pass_size=3, **HOW)
    alone = lapsi.score_network(module, TEXTS, loss="next_token", pass_size=1, **HOW)
    assert_allclose(together.lsi, alone.lsi, rtol=1e-4)


DATA = TensorDataset(X, Y)


@pytest.mark.parametrize(
    "sampler",
    [SubsetRandomSampler(range(6)), WeightedRandomSampler([1.0] * N, N), RandomSampler(DATA, replacement=True)],
)
def test_loaders_that_draw_other_samples_than_all_are_refused(sampler):
    with pytest.raises(InputError, match=f"draws by a {type(sampler).__name__}, so its data set holds others"):
        lapsi.score_network(network(), DataLoader(DATA, batch_size=4, sampler=sampler), **HOW)


@pytest.mark.parametrize("sampler", [SequentialSampler(DATA), RandomSampler(DATA)])
def test_loaders_of_all_samples_are_taken(sampler):
    found = lapsi.score_network(network(), DataLoader(DATA, batch_size=4, sampler=sampler), **HOW)
    assert_array_equal(found.lsi, lapsi.score_network(network(), DATA, **HOW).lsi)


@pytest.mark.parametrize("wrapped", [lambda made: torch.compile(made, backend="eager"), nn.DataParallel])
def test_a_module_within_another_is_scored_as_it_is(wrapped):
    found = lapsi.score_network(wrapped(network()), DATA, params=["0"], **HOW)
    assert_array_equal(found.lsi, lapsi.score_network(network(), DATA, params=["0"], **HOW).lsi)


class Trainer:
    """As transformers has it."""

    def __init__(self, smoothing=0.0, loss=None):
        self.model, self.train_dataset = network(), DATA
        self.args, self.compute_loss_func = SimpleNamespace(label_smoothing_factor=smoothing), loss


class Weighted(Trainer):
    def compute_loss(self, model, inputs):
        return model(inputs)


@pytest.mark.parametrize(
    ("trainer", "message"),
    [
        (Trainer(smoothing=0.1), r"The Trainer smooths its labels \(0.1\)"),
        (Trainer(loss=nn.functional.cross_entropy), r"has a loss of its own \(compute_loss_func\)"),
        (Weighted(), r"The Weighted has a loss of its own \(compute_loss\)"),
    ],
)
def test_trainers_of_another_loss_are_refused(trainer, message):
    with pytest.raises(InputError, match=message):
        lapsi.score_network(trainer, **HOW)
    assert_array_equal(lapsi.score_network(Trainer(), **HOW).lsi, lapsi.score_network(trainer.model, DATA, **HOW).lsi)
