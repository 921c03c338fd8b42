"""Rényi divergences of every structure against their dense definition with 60 digits."""

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_precision import CASES, C, D, N, exact, exact_kron, joint_case, positive, random, unit_columns
from torch.testing import assert_close

from lapsi.errors import InputError
from lapsi.precision.block_diag import LaplacePosterior
from lapsi.precision.diag import DiagPrecision
from lapsi.precision.divergence import KL, Renyi, Several, of_order
from lapsi.precision.full import FullChange, FullPrecision, full_precision
from lapsi.precision.kron import KronChange, kron_precision
from lapsi.precision.kron_joint import JointComparison

ORDERS = (0.5, 2.0, 10.0)
REACHED = {"rtol": 1e-9, "atol": 0}  # asked for: 1e-8


def renyi(shift, before, after, order):
    """(α/2) Δᵀ Σ⁻¹ Δ + ln(|Σ| / |Λ⁻¹|^(1−α) |Λ₋ᵢ⁻¹|^α) / (2 (1 − α)), Σ = αΛ₋ᵢ⁻¹ + (1 − α)Λ⁻¹: (mean, curvature).

    Of mpmath matrices, in the precision that is set; both are infinite where αΛ + (1 − α)Λ₋ᵢ is not positive definite.
    """
    order = mpmath.mpf(order)
    if min(mpmath.eigsy(order * before + (1 - order) * after, eigvals_only=True)) <= 0:
        return torch.inf, torch.inf
    first, second = mpmath.inverse(before), mpmath.inverse(after)
    mixed = order * second + (1 - order) * first
    mean = order / 2 * (shift.T * mpmath.inverse(mixed) * shift)[0]
    determinants = [mpmath.log(mpmath.det(each)) for each in (mixed, first, second)]
    curvature = determinants[0] - (1 - order) * determinants[1] - order * determinants[2]
    return float(mean), float(curvature / (2 * (1 - order)))


def assert_terms(terms, row, expected):
    assert_close(terms.mean[row].item(), expected[0], **REACHED)
    assert_close(terms.curvature[row].item(), expected[1], **REACHED)


@pytest.mark.slow
@pytest.mark.parametrize("structure", CASES)
@pytest.mark.parametrize("scale", [0.5, 1e-3])
@pytest.mark.parametrize("order", ORDERS)
def test_matches_the_definition(structure, scale, order):
    precision, change, dense_changes, shift = CASES[structure](3, scale)
    terms = Renyi(order).of(precision.compare(shift, change))
    with mpmath.workdps(60):
        before = exact(precision.to_dense())
        for row, dense_change in enumerate(dense_changes[:2]):
            assert_terms(terms, row, renyi(exact(shift[row]), before, before + exact(dense_change), order))


def exact_kron_after(output, inputs, prior, change, row):
    """Λ₋ᵢ of `KronChange`."""
    x = exact(change.removed[row])
    left = exact(inputs) - x * x.T
    return exact_kron(exact(output) + exact(change.output_change[row]), left, mpmath.mpf(prior) - mpmath.mpf(change.prior_drop))


@pytest.mark.slow
@pytest.mark.parametrize("scale", [0.1, 1e-5, 1e-9])
@pytest.mark.parametrize("order", ORDERS)
def test_changes_of_any_size_keep_their_digits_in_kron(scale, order):
    """At a change of 1e-9 the curvature part is of order 1e-18 and its three shares meet."""
    output, inputs, prior = positive(3, C), 10 * positive(4, D), 0.7
    root = random(6, N, C, C)
    change = KronChange(scale**0.5 * random(5, N, D), 0.1 * scale * (root + root.mT), 0.07 * scale)
    shift = random(7, N, C * D)
    terms = Renyi(order).of(kron_precision(output, inputs, prior).compare(shift, change))
    with mpmath.workdps(60):
        before = exact_kron(exact(output), exact(inputs), mpmath.mpf(prior))
        for row in range(2):
            after = exact_kron_after(output, inputs, prior, change, row)
            assert_terms(terms, row, renyi(exact(shift[row]), before, after, order))


def steep_case(growth):
    """One input direction holds nearly all; B grows, and x leaves along that direction. α = 10: t = −9."""
    output, inputs = (
        torch.diag(torch.tensor([1.0, 0.8, 0.5])).double(),
        torch.diag(torch.tensor([10.0, 0.02, 0.01, 0.01])).double(),
    )
    removed = torch.tensor([[3.0, 0.0, 0.01, 0.0]]).double()
    change = KronChange(removed, torch.diag(torch.tensor([growth, 0.01, 0.0])).double()[None], 0.01)
    return output, inputs, 0.7, change, random(8, 1, C * D)


@pytest.mark.parametrize(("growth", "is_finite"), [(0.05, True), (0.15, True), (0.2, True), (100.0, False)])
def test_what_leaves_makes_up_for_what_grows_in_kron(growth, is_finite):
    """From a growth of 0.12 on M_t is not positive definite, which Λ_t is by what x takes."""
    output, inputs, prior, change, shift = steep_case(growth)
    terms = Renyi(10.0).of(kron_precision(output, inputs, prior).compare(shift, change))
    with mpmath.workdps(60):
        before = exact_kron(exact(output), exact(inputs), mpmath.mpf(prior))
        expected = renyi(exact(shift[0]), before, exact_kron_after(output, inputs, prior, change, 0), 10.0)
    assert (expected[0] < torch.inf) == is_finite
    assert_terms(terms, 0, expected)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1e-2, 1e-9])
@pytest.mark.parametrize("order", ORDERS)
def test_tiny_removals_from_a_dense_precision_keep_their_digits(scale, order):
    p, ridge = C * D, scale
    reduced = positive(3, p)
    whole = reduced + ridge * torch.eye(p, dtype=torch.float64)
    roots = scale**0.5 * torch.linalg.cholesky(reduced) @ unit_columns(4, 1, p, 2)
    inverse, whole_inverse = torch.linalg.inv(reduced), torch.linalg.inv(whole)
    shift = random(5, 1, p)
    change = FullChange(
        roots.mT @ inverse @ roots,
        torch.einsum("npc,pq,nqc->n", roots, whole_inverse @ inverse, roots),
        torch.einsum("npc,np->nc", roots, shift),
        torch.ones(1, dtype=torch.float64),
        lambda matrix: roots.mT @ matrix,
    )
    terms = Renyi(order).of(full_precision(reduced, ridge, whole_inverse).compare(shift, change))
    with mpmath.workdps(60):
        left, taken = exact(reduced), exact(roots[0])
        before = left + mpmath.mpf(ridge) * mpmath.eye(p)
        assert_terms(terms, 0, renyi(exact(shift[0]), before, left - taken * taken.T, order))


@pytest.mark.slow
@pytest.mark.parametrize("size", [0.3, 1e-4])
@pytest.mark.parametrize("order", ORDERS)
def test_pairs_match_the_definition(size, order):
    """Of dense and of diagonal precisions, and of blocks of both, where what is infinite of one is so of all."""
    first, second = positive(1, 4), positive(2, 4)
    diagonal, shift = torch.linspace(0.5, 2, 3, dtype=torch.float64), random(3, 7)
    before = LaplacePosterior((FullPrecision(first, 0.0, 0.0), DiagPrecision(diagonal)), (4, 3))
    after = LaplacePosterior((FullPrecision(first + size * second, 0.0, 0.0), DiagPrecision((1 - size) * diagonal)), (4, 3))
    terms = before.divergence_from(shift, after, Renyi(order))
    with mpmath.workdps(60):
        matrices = [exact(torch.block_diag(*(block.to_dense() for block in each.blocks))) for each in (before, after)]
        assert_terms(terms, 0, renyi(exact(shift), *matrices, order))


def test_of_order_1_it_is_kl():
    assert of_order(1.0) == KL()
    assert of_order(2) == Renyi(2)


@pytest.mark.parametrize("structure", CASES)
@pytest.mark.parametrize("gap", [1e-9, -1e-9])
@given(seed=st.integers(0, 1000), scale=st.floats(0.001, 0.9))
def test_near_order_1_it_is_nearly_kl(structure, gap, seed, scale):
    precision, change, _, shift = CASES[structure](seed, scale)
    comparison = precision.compare(shift, change)
    near, kl = Renyi(1 + gap).of(comparison), KL().of(comparison)
    assert_close(near.mean, kl.mean, rtol=1e-8, atol=0)
    assert_close(near.curvature, kl.curvature, rtol=1e-8, atol=0)


@pytest.mark.parametrize("structure", CASES)
def test_it_grows_with_the_order(structure):
    precision, change, _, shift = CASES[structure](5, 0.5)
    orders = Several(tuple(map(of_order, (0.5, 1, 1.5, 4, 32))))
    terms = orders.of(precision.compare(shift, change))
    assert terms.total.shape == (5, N)
    assert bool((terms.total.diff(dim=0) > 0).all())
    assert_close(terms.total[1], KL().of(precision.compare(shift, change)).total, rtol=0, atol=0)


def test_it_is_infinite_where_the_mixture_is_no_precision():
    """A parameter whose precision grows by ε has D_α for ε < 1/(α − 1) alone."""
    precision, shift = DiagPrecision(torch.ones(2, dtype=torch.float64)), torch.zeros(3, 2, dtype=torch.float64)
    change = torch.tensor([[0.0, 0.24], [0.0, 0.25], [-0.5, 0.26]], dtype=torch.float64)
    terms = Renyi(5.0).of(precision.compare(shift, change))
    assert terms.curvature.isfinite().tolist() == terms.mean.isfinite().tolist() == [True, False, False]
    assert terms.total[1:].tolist() == [torch.inf, torch.inf]


def test_what_is_no_number_stays_none():
    precision, change, _, shift = CASES["diag"](0, 0.5)
    change[1, 0] = torch.nan
    assert Renyi(2.0).of(precision.compare(shift, change)).total.isnan().tolist() == [False, True, False, False, False]


def test_kron_precisions_of_other_factors_have_none():
    output, inputs, prior, change, shift = joint_case(0, 0.5)
    whole, other = kron_precision(output, inputs, prior), kron_precision(0.9 * output, inputs, prior)
    with pytest.raises(InputError, match="no Rényi divergence here"):
        Renyi(2.0).of(JointComparison(whole, shift, change))
    with pytest.raises(InputError, match="use KL, or curvature 'diag' or 'full'"):
        Renyi(2.0).of(whole.compare_to(shift[0], other))
