"""The loss of texts: a sum or mean over the tokens that count, its Hessian, and roots of drawn labels."""

import itertools

import pytest
import torch
from torch.testing import assert_close

from lapsi.data.batches import IGNORED
from lapsi.models.likelihoods.softmax import softmax
from lapsi.models.module.sample_loss import TokenPredictions

N, T, K = 3, 4, 3
TARGETS = torch.tensor([[0, 2, 1, 0], [1, IGNORED, 2, IGNORED], [IGNORED, 0, IGNORED, IGNORED]])
EXACT = {"rtol": 1e-13, "atol": 1e-14}


@pytest.fixture
def outputs():
    return 2 * torch.randn(N, T, K, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def loss_of(*, ahead=False, mean=False, draws=2, seed=0):
    return TokenPredictions(softmax(K, torch.device("cpu")), ahead, mean, draws, seed)


@pytest.mark.parametrize("mean", [False, True])
def test_losses_count_the_tokens_that_count(outputs, mean):
    wanted = [
        torch.nn.functional.cross_entropy(z, y, reduction="mean" if mean else "sum")
        for z, y in zip(outputs, TARGETS, strict=True)
    ]
    assert_close(loss_of(mean=mean).losses(outputs, TARGETS), torch.stack(wanted), **EXACT)


def test_what_is_told_is_the_mean_over_the_tokens(outputs):
    for mean in (False, True):
        assert_close(loss_of(mean=mean).told(outputs, TARGETS)[:, 0], loss_of(mean=True).losses(outputs, TARGETS), **EXACT)


@pytest.mark.parametrize("mean", [False, True])
def test_residual_and_hessian_are_derivatives_of_the_loss(outputs, mean):
    loss = loss_of(mean=mean)
    direction = torch.randn(N, T, K, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def summed(z):
        return loss.losses(z, TARGETS).sum()

    assert_close(loss.residual(outputs, TARGETS), torch.func.grad(summed)(outputs), **EXACT)
    _, wanted = torch.func.jvp(torch.func.grad(summed), (outputs,), (direction,))
    assert_close(loss.hessian_times(outputs, TARGETS, direction), wanted, **EXACT)


def test_outputs_predict_the_next_token():
    words = torch.tensor([[5, 6, 7], [8, 9, IGNORED]])
    wanted = [[6, 7, IGNORED], [9, IGNORED, IGNORED]]
    assert loss_of(ahead=True).targets_of(torch.arange(2), words).tolist() == wanted
    assert loss_of().targets_of(torch.arange(2), words) is words


@pytest.mark.parametrize("mean", [False, True])
def test_roots_square_to_the_hessian_on_average_over_all_labels(outputs, mean, monkeypatch):
    """Every combination of labels, each as often as the module predicts it: the expectation itself."""
    loss, z, targets = loss_of(mean=mean, draws=1), outputs[:1, :2], TARGETS[:1, :2]
    p = torch.softmax(z, 2)[0]
    total = torch.zeros(2 * K, 2 * K, dtype=torch.float64)
    for labels in itertools.product(range(K), repeat=2):
        middle = torch.stack([p[t, :a].sum() + 0.5 * p[t, a] for t, a in enumerate(labels)])
        monkeypatch.setattr(TokenPredictions, "_uniform", lambda *_, middle=middle: middle[None])
        (root,) = loss.directions(torch.arange(1), z, targets).vectors[1:]
        total += p[0, labels[0]] * p[1, labels[1]] * torch.outer(root.flatten(), root.flatten())
    unit = torch.eye(2 * K, dtype=torch.float64).view(2 * K, 1, 2, K)
    wanted = torch.stack([loss.hessian_times(z, targets, each).flatten() for each in unit])
    assert_close(total, wanted, **EXACT)


def test_drawn_labels_are_the_same_in_every_batch_and_differ_between_draws(outputs):
    loss = loss_of(draws=3)
    whole = loss.directions(torch.arange(N), outputs, TARGETS).vectors[1:]
    padded = torch.nn.functional.pad(outputs[1:2], (0, 0, 0, 40))
    alone = loss.directions(torch.tensor([1]), padded, torch.nn.functional.pad(TARGETS[1:2], (0, 40), value=IGNORED)).vectors[
        1:
    ]
    for one, other in zip(whole, alone, strict=True):
        assert_close(one[1:2], other[:, :T], rtol=0, atol=0)
        assert other[:, T:].abs().max() == 0
    assert not torch.equal(whole[0], whole[1])
    assert not torch.equal(whole[0], loss_of(draws=3, seed=1).directions(torch.arange(N), outputs, TARGETS).vectors[1])
