"""One conformance suite over all structures, against their dense form."""

import itertools
from dataclasses import replace

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

import oracles
from lapsi.precision.base import excess
from lapsi.precision.diag import DiagPrecision
from lapsi.precision.divergence import KL
from lapsi.precision.full import FullChange, full_precision
from lapsi.precision.kron import KronChange, kron_precision
from lapsi.precision.kron_joint import JointChange, JointComparison

C, D, N = 3, 4, 5
ALGEBRA = {"rtol": 1e-10, "atol": 1e-12}
PLAIN_KL = {"rtol": 1e-7, "atol": 1e-12}  # the plain formula subtracts nearly equal numbers


def random(seed, *shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def positive(seed, size):
    root = random(seed, size, size)
    return root @ root.T / size + 0.1 * torch.eye(size, dtype=torch.float64)


def unit_columns(seed, *shape):
    """Orthonormal columns, so that what is removed is always less than what is there."""
    return torch.linalg.qr(random(seed, *shape)).Q


def diag_case(seed, scale):
    diagonal = 1 + random(seed, C * D).square()
    change = -scale * diagonal * torch.rand(N, C * D, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return DiagPrecision(diagonal), change, [torch.diag(row) for row in change], random(seed + 1, N, C * D)


def kron_case(seed, scale):
    output, inputs = positive(seed, C), 10 * positive(seed + 1, D)
    removed = scale * unit_columns(seed + 2, N, D, 1)[:, :, 0] @ torch.linalg.cholesky(inputs).T
    root = torch.linalg.cholesky(output) @ unit_columns(seed + 3, N, C, 2)
    output_change = -scale * root @ root.mT
    prior, drop = 0.7, 0.07 * scale
    dense = torch.kron(output, inputs) + prior * torch.eye(C * D, dtype=torch.float64)
    changes = []
    for x, change in zip(removed, output_change, strict=True):
        after = torch.kron(output + change, inputs - torch.outer(x, x)) + (prior - drop) * torch.eye(C * D, dtype=torch.float64)
        changes.append(after - dense)
    return kron_precision(output, inputs, prior), KronChange(removed, output_change, drop), changes, random(seed + 4, N, C * D)


def full_case(seed, scale):
    p = C * D
    whole = positive(seed, p) + 0.3 * torch.eye(p, dtype=torch.float64)
    ridge = 0.05 * scale
    reduced = whole - ridge * torch.eye(p, dtype=torch.float64)
    roots = scale * torch.linalg.cholesky(reduced) @ unit_columns(seed + 1, N, p, 2)
    shift = random(seed + 2, N, p)
    inverse, whole_inverse = torch.linalg.inv(reduced), torch.linalg.inv(whole)
    change = FullChange(
        roots.mT @ inverse @ roots,
        torch.einsum("npc,pq,nqc->n", roots, whole_inverse @ inverse, roots),
        torch.einsum("npc,np->nc", roots, shift),
        torch.ones(N, dtype=torch.float64),
        lambda matrix: roots.mT @ matrix,
    )
    eye = torch.eye(p, dtype=torch.float64)
    return full_precision(reduced, ridge, whole_inverse), change, [-r @ r.T - ridge * eye for r in roots], shift


ONE = torch.ones(1, dtype=torch.float64)
CASES = {"diag": diag_case, "kron": kron_case, "full": full_case}


@pytest.mark.parametrize("structure", CASES)
def test_algebra_matches_the_dense_form(structure):
    precision, _, _, vectors = CASES[structure](0, 0.5)
    dense = precision.to_dense()
    assert_close(dense, dense.T, **ALGEBRA)
    assert_close(precision.quad(vectors), torch.einsum("np,pq,nq->n", vectors, dense, vectors), **ALGEBRA)


@pytest.mark.parametrize("structure", CASES)
@given(seed=st.integers(0, 1000), scale=st.floats(0.05, 0.9))
def test_kl_matches_the_plain_formula(structure, seed, scale):
    precision, change, dense_changes, shift = CASES[structure](seed, scale)
    terms = KL().of(precision.compare(shift, change))
    dense = precision.to_dense().numpy()
    for row, dense_change in enumerate(dense_changes):
        mean, curvature = oracles.kl(shift[row].numpy(), dense, dense + dense_change.numpy())
        assert_close(terms.mean[row].item(), mean, **PLAIN_KL)
        assert_close(terms.curvature[row].item(), curvature, rtol=1e-6, atol=1e-11)
    assert bool((terms.total >= 0).all())


def joint_case(seed, scale, n_gone=3, width=9):
    """`kron_case` with several inputs that leave together, and a drop of the prior for each unit."""
    output, inputs = positive(seed, C), 10 * positive(seed + 1, width)
    removed = (scale**0.5 * torch.linalg.cholesky(inputs) @ unit_columns(seed + 2, N, width, n_gone)).mT
    root = torch.linalg.cholesky(output) @ unit_columns(seed + 3, N, C, 2)
    output_change, drop = -scale * root @ root.mT, torch.linspace(0, 0.07, N, dtype=torch.float64) * scale
    return output, inputs, 0.7, JointChange(removed, output_change, drop), random(seed + 4, N, C * width)


def joint_after(output, inputs, prior, change, row):
    """What is left of the factors and of the prior."""
    gone = change.removed[row]
    return output + change.output_change[row], inputs - gone.T @ gone, prior - float(change.prior_drop[row])


@given(seed=st.integers(0, 1000), scale=st.floats(0.005, 0.9), n_gone=st.integers(1, 5))
def test_several_that_leave_together_match_the_plain_formula(seed, scale, n_gone):
    output, inputs, prior, change, shift = joint_case(seed, scale, n_gone)
    terms = KL().of(JointComparison(kron_precision(output, inputs, prior), shift, change))
    before = kron_precision(output, inputs, prior).to_dense().numpy()
    for row in range(N):
        after = kron_precision(*joint_after(output, inputs, prior, change, row)).to_dense().numpy()
        mean, curvature = oracles.kl(shift[row].numpy(), before, after)
        assert_close(terms.mean[row].item(), mean, **PLAIN_KL)
        assert_close(terms.curvature[row].item(), curvature, rtol=1e-6, atol=1e-11)


@pytest.mark.parametrize("scale", [1e-9, 1e-6, 1e-3, 0.02, 0.3])
def test_several_that_leave_together_keep_their_digits(scale):
    """Against the way by the eigenvalues of what is left, where rounding moves a change of that scale by 1e-15 of the whole."""
    output, inputs, prior, change, shift = joint_case(5, scale)
    whole = kron_precision(output, inputs, prior)
    terms = KL().of(JointComparison(whole, shift, change))
    for row in range(N):
        expected = KL().of(whole.compare_to(shift[row], kron_precision(*joint_after(output, inputs, prior, change, row))))
        assert_close(terms.mean[row], expected.mean[0], rtol=1e-11, atol=0)
        assert_close(terms.curvature[row], expected.curvature[0], rtol=max(1e-10, 1e-15 / scale), atol=0)


def test_one_that_leaves_is_a_group_of_one():
    output, inputs, prior, change, shift = joint_case(2, 0.4, 1)
    whole, drop = kron_precision(output, inputs, prior), 0.02
    joint = KL().of(JointComparison(whole, shift, replace(change, prior_drop=torch.full((N,), drop, dtype=torch.float64))))
    single = KL().of(whole.compare(shift, KronChange(change.removed[:, 0], change.output_change, drop)))
    assert_close(joint.mean, single.mean, rtol=1e-12, atol=0)
    assert_close(joint.curvature, single.curvature, rtol=1e-11, atol=0)


def test_more_than_there_is_is_no_number():
    output, inputs, prior, change, shift = joint_case(2, 0.4)
    terms = KL().of(JointComparison(kron_precision(output, inputs, prior), shift, replace(change, removed=4 * change.removed)))
    assert bool(terms.curvature.isnan().all())


@pytest.mark.parametrize("structure", CASES)
def test_no_change_means_no_divergence(structure):
    precision, change, _, shift = CASES[structure](0, 0.0)
    terms = KL().of(precision.compare(torch.zeros_like(shift), change))
    assert_close(terms.total, torch.zeros(N, dtype=torch.float64), rtol=0, atol=1e-15)


def exact_curvature(before, after):
    """½[tr(Λ′Λ⁻¹) − P − ln det(Λ′Λ⁻¹)] of mpmath matrices, in the precision that is set."""
    size = before.rows
    ratio = mpmath.inverse(before) * after
    trace = sum(ratio[row, row] for row in range(size))
    return (trace - size - mpmath.log(mpmath.det(after)) + mpmath.log(mpmath.det(before))) / 2


def exact_kron(output, inner, ridge):
    """output ⊗ inner + ridge·I of mpmath matrices."""
    width = inner.rows
    total = ridge * mpmath.eye(output.rows * width)
    for row, column in itertools.product(range(len(total)), repeat=2):
        total[row, column] += output[row // width, column // width] * inner[row % width, column % width]
    return total


def exact(tensor):
    return mpmath.matrix(tensor.tolist())


@pytest.mark.parametrize("scale", [1e-3, 1e-6, 1e-9])
def test_tiny_changes_of_a_diagonal_keep_their_digits(scale):
    precision, change, _, shift = diag_case(3, scale)
    with mpmath.workdps(50):
        before = exact(torch.diag(precision.diagonal))
        expected = exact_curvature(before, before + exact(torch.diag(change[0])))
    assert_close(KL().of(precision.compare(0 * shift, change)).curvature[0].item(), float(expected), rtol=1e-12, atol=0)


@pytest.mark.parametrize("ridge", [0.0, 1.0])
@pytest.mark.parametrize("scale", [1e-2, 1e-5, 1e-9])
def test_tiny_removals_from_a_dense_precision_keep_their_digits(scale, ridge):
    """The removal and the ridge each make a share that covers the other's, so both are looked at alone and together."""
    p, ridge = C * D, ridge * scale
    reduced = positive(3, p)
    whole = reduced + ridge * torch.eye(p, dtype=torch.float64)
    root = scale**0.5 * torch.linalg.cholesky(reduced) @ unit_columns(4, p, 2)
    inverse, whole_inverse = torch.linalg.inv(reduced), torch.linalg.inv(whole)
    gram, cross = (root.T @ matrix @ root for matrix in (inverse, whole_inverse @ inverse))
    nothing = FullChange(
        0 * gram[None],
        torch.zeros(1, dtype=torch.float64),
        torch.zeros(1, 2, dtype=torch.float64),
        ONE,
        lambda matrix: root.T[None] @ matrix,
    )
    change = replace(nothing, gram=gram[None], ridge_trace=torch.trace(cross)[None])
    precision, shift = full_precision(reduced, ridge, whole_inverse), torch.zeros(1, p, dtype=torch.float64)
    with mpmath.workdps(60):
        left, taken = exact(reduced), exact(root)
        before = left + mpmath.mpf(ridge) * mpmath.eye(p)
        expected, ridge_alone = exact_curvature(before, left - taken * taken.T), exact_curvature(before, left)
    assert_close(KL().of(precision.compare(shift, change)).curvature.item(), float(expected), rtol=1e-12, atol=0)
    assert_close(KL().of(precision.compare(shift, nothing)).curvature.item(), float(ridge_alone), rtol=1e-12, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("n_samples", [1, 1e8])
@pytest.mark.parametrize("scale", [0.3, 0.1, 0.03, 1e-2, 1e-3, 1e-5, 1e-6, 1e-7, 1e-9])
def test_changes_of_any_size_keep_their_digits_in_kron(scale, n_samples):
    """At a change of 1e-6 the divergence is of order 1e-12: the plain formula has no digit left, mpmath has all."""
    output, inputs = positive(3, C), 10 * n_samples * positive(4, D)
    contrast = torch.eye(C, dtype=torch.float64) - 1 / C  # the classes see no common shift of their logits
    output = contrast @ output @ contrast
    prior, drop = 0.7 * n_samples, 0.07 * scale * n_samples
    removed = (scale * n_samples) ** 0.5 * random(5, N, D)
    change = contrast @ random(6, N, C, C) @ contrast
    change = 0.1 * scale * (change + change.mT)
    shift = torch.zeros(N, C * D, dtype=torch.float64)
    got = KL().of(kron_precision(output, inputs, prior).compare(shift, KronChange(removed, change, drop)))
    with mpmath.workdps(60):
        before = exact_kron(exact(output), exact(inputs), mpmath.mpf(prior))
        for row in range(N):
            x = exact(removed[row])
            left = exact(inputs) - x * x.T
            after = exact_kron(exact(output) + exact(change[row]), left, mpmath.mpf(prior) - mpmath.mpf(drop))
            assert_close(got.curvature[row].item(), float(exact_curvature(before, after)), rtol=2e-12, atol=0)


def test_changes_that_are_no_numbers_give_none():
    precision, change, _, shift = kron_case(0, 0.5)
    change.output_change[1, 0, 1] = torch.nan
    change.output_change[3] = torch.inf
    assert KL().of(precision.compare(shift, change)).curvature.isnan().tolist() == [False, True, False, True, False]


def test_a_tiny_removal_keeps_its_digits_in_full():
    """Without a ridge nothing covers what the removal alone does: 1e-24 at roots of 1e-6."""
    reduced = positive(3, C * D) + 0.3 * torch.eye(C * D, dtype=torch.float64)
    roots = 1e-6 * torch.linalg.cholesky(reduced) @ unit_columns(4, N, C * D, 2)
    inverse = torch.linalg.inv(reduced)
    nothing = torch.zeros(N, 2, dtype=torch.float64)
    change = FullChange(roots.mT @ inverse @ roots, nothing[:, 0], nothing, ONE.expand(N), lambda matrix: roots.mT @ matrix)
    terms = KL().of(full_precision(reduced, 0.0, inverse).compare(torch.zeros(N, C * D, dtype=torch.float64), change))
    with mpmath.workdps(60):
        exact_inverse = mpmath.inverse(mpmath.matrix(reduced.tolist()))
        for row in range(N):
            root = mpmath.matrix(roots[row].tolist())
            removed = mpmath.eigsy(root.T * exact_inverse * root, eigvals_only=True)
            expected = sum(-each - mpmath.log(1 - each) for each in removed) / 2
            assert abs(terms.curvature[row].item() / expected - 1) < 2e-15


@given(st.floats(-0.999, 1e3).filter(lambda ratio: abs(ratio) > 1e-40))
def test_excess_has_full_relative_precision(ratio):
    with mpmath.workdps(120):
        expected = mpmath.mpf(ratio) - mpmath.log(1 + mpmath.mpf(ratio))
        value = excess(torch.tensor([ratio, 2.0], dtype=torch.float64))[0].item()
        assert value == expected == 0 or abs(value / expected - 1) < 1e-9


@pytest.mark.parametrize("prior", [1.0, 1e4])
@pytest.mark.parametrize("size", [1e-6, 1e-2, 0.5])
def test_kron_divergence_keeps_its_digits_for_many_samples(size, prior):
    """Sums over 10⁶ samples with ill-conditioned inputs, against 60 digits; without its care the relative error is 27."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(1000, 6)) * np.geomspace(1, 1e-3, 6)
    inputs[:, -1] = 0.0
    outputs = rng.normal(size=(1000, 3))
    outputs -= outputs.mean(1, keepdims=True)
    g, b = 1000 * inputs.T @ inputs, outputs.T @ outputs / 1000
    x, y = inputs[0] * 1.3, outputs[0]
    g_new, b_new = g - size * np.outer(x, x), b - 1e-6 * size * np.outer(y, y)
    before = kron_precision(torch.from_numpy(b), torch.from_numpy(g), prior)
    after = kron_precision(torch.from_numpy(b_new), torch.from_numpy(g_new), prior - 1e-3 * size)
    with mpmath.workdps(60):
        first = exact_kron(exact(b), exact(g), mpmath.mpf(prior))
        second = exact_kron(exact(b_new), exact(g_new), mpmath.mpf(prior - 1e-3 * size))
        expected = float(exact_curvature(first, second))
    got = KL().of(before.compare_to(torch.zeros(18, dtype=torch.float64), after)).curvature.item()
    assert_close(got, expected, rtol=1e-8, atol=0)
