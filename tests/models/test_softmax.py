import pytest
import torch
from torch.autograd.functional import hessian, jacobian
from torch.testing import assert_close

from lapsi.models.likelihoods import softmax as sm

EXACT = {"rtol": 1e-12, "atol": 1e-14}


@pytest.fixture
def logits():
    return torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("n_classes", [2, 3, 10])
def test_contrast_basis_is_orthonormal_and_sums_to_zero(n_classes):
    basis = sm.contrast_basis(n_classes)
    assert basis.shape == (n_classes, n_classes - 1)
    assert_close(basis.T @ basis, torch.eye(n_classes - 1, dtype=torch.float64), **EXACT)
    assert_close(basis.sum(0), torch.zeros(n_classes - 1, dtype=torch.float64), **EXACT)


def test_residual_and_hessian_are_derivatives_of_the_loss(logits):
    labels = torch.tensor([0, 1, 2, 3, 0])
    p = torch.softmax(logits, 1)
    for row, label in enumerate(labels):

        def loss(z, label=label):
            return -torch.log_softmax(z, 0)[label]

        assert_close(sm.residual(p, labels)[row], jacobian(loss, logits[row]), **EXACT)
        assert_close(sm.logit_hessian(p)[row], hessian(loss, logits[row]), **EXACT)


def test_root_squares_to_the_hessian(logits):
    p = torch.softmax(logits, 1)
    root = sm.logit_hessian_root(p)
    assert_close(root @ root.mT, sm.logit_hessian(p), **EXACT)


def test_changes_equal_plain_differences(logits):
    change = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    p, moved = torch.softmax(logits, 1), torch.softmax(logits + change, 1)
    delta = sm.probability_change(p, change)
    assert_close(delta, moved - p, **EXACT)
    assert_close(sm.variance_change(p, delta), moved * (1 - moved) - p * (1 - p), **EXACT)
    assert_close(sm.logit_hessian_change(p, delta), sm.logit_hessian(moved) - sm.logit_hessian(p), **EXACT)


def test_probability_change_keeps_its_digits_and_never_overflows(logits):
    p = torch.softmax(logits, 1)
    tiny = 1e-12 * torch.ones_like(logits).cumsum(1)
    assert_close(sm.probability_change(p, tiny), sm.probability_derivative(p, tiny), rtol=1e-10, atol=0)
    far = torch.tensor([[-60.0, 0, 0, 0]], dtype=torch.float64)
    sure = torch.softmax(-far, 1)
    assert_close(sm.probability_change(sure, 2 * far), torch.softmax(far, 1) - sure, rtol=1e-12, atol=0)
    huge = torch.tensor([[900.0, 0, 0, -900.0]], dtype=torch.float64)
    assert_close(p[:1] + sm.probability_change(p[:1], huge), torch.eye(4, dtype=torch.float64)[:1], **EXACT)


def test_derivatives_match_autograd(logits):
    direction = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    p = torch.softmax(logits, 1)
    _, dot = torch.func.jvp(lambda z: torch.softmax(z, 1), (logits,), (direction,))
    assert_close(sm.probability_derivative(p, direction), dot, **EXACT)
    _, hessian_dot = torch.func.jvp(lambda z: sm.logit_hessian(torch.softmax(z, 1)), (logits,), (direction,))
    assert_close(sm.logit_hessian_derivative(p, dot), hessian_dot, **EXACT)


@pytest.mark.parametrize("size", [1e-6, 0.1, 3.0, 500.0])
def test_the_last_class_may_stay_as_it_is(logits, size):
    change = size * torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    p = torch.softmax(logits, 1)
    whole = sm.probability_change(p, torch.cat([change, torch.zeros(5, 1, dtype=torch.float64)], 1))
    assert_close(sm.probability_change(p, change), whole[:, :-1], **EXACT)
    out = change.clone()
    assert sm.probability_change(p, out, out=out) is out
    assert_close(out, whole[:, :-1], **EXACT)


def test_predictions_beyond_what_probabilities_hold_can_turn_over():
    """In float32 a class 104 below the other has probability 0; its logit still counts."""
    for gap, step in ((104.0, 103.0), (110.0, 109.0), (300.0, 300.0)):
        before = torch.tensor([[-gap, 0.0]])
        change = torch.tensor([[step, 0.0]])
        logs = torch.log_softmax(before, 1)
        got = sm.probability_change(logs.exp(), change, logits=logs)
        expected = torch.softmax(before.double() + change.double(), 1) - torch.softmax(before.double(), 1)
        assert_close(got.double(), expected, rtol=1e-5, atol=1e-7)
