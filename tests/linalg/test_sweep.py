"""The inverse in its own place."""

import pytest
import torch
from torch.testing import assert_close

from lapsi.linalg.sweep import invert_in_place


def definite(n, dtype):
    root = torch.randn(n, 2 * n, dtype=torch.float64, generator=torch.Generator().manual_seed(n))
    return (root @ root.T / n + torch.eye(n, dtype=torch.float64)).to(dtype)


@pytest.mark.parametrize("n", [1, 5, 16, 53])
@pytest.mark.parametrize("block", [1, 7, 16, 100])
def test_the_lower_triangle_becomes_the_whole_inverse(n, block):
    given = definite(n, torch.float64)
    matrix = given.tril()
    assert invert_in_place(matrix, block)
    assert_close(matrix, torch.linalg.inv(given), rtol=0, atol=1e-12)
    assert torch.equal(matrix, matrix.T)


def test_float32_is_as_exact_as_it_can_be():
    given = definite(300, torch.float32)
    matrix = given.clone()
    assert invert_in_place(matrix, 64)
    expected = torch.linalg.inv(given.double())
    assert float((matrix - expected).norm() / expected.norm()) < 2e-6


@pytest.mark.parametrize("row", [0, 12, 29])
def test_what_is_not_positive_definite_is_told(row):
    matrix = definite(30, torch.float64)
    matrix[row, row] = -1.0
    assert not invert_in_place(matrix, 8)
