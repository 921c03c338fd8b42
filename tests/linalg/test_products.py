import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from lapsi.linalg.columns import NO_OUTPUT, DenseColumns, LocalColumns
from lapsi.linalg.gram import Terms, product, squares, weighted_gram
from lapsi.linalg.matmul import WORTH_SHARING, matmul

EXACT = {"rtol": 1e-11, "atol": 1e-12}


@given(st.integers(1, 4), st.integers(1, 9), st.integers(0, 100))
def test_weighted_gram_is_the_plain_sum(m, d, seed):
    rng = np.random.default_rng(seed)
    inputs, weights = rng.normal(size=(6, d)), rng.normal(size=(6, m, m))
    weights = weights + weights.transpose(0, 2, 1)
    expected = sum(np.kron(w, np.outer(x, x)) for w, x in zip(weights, inputs, strict=True))
    tensors = torch.from_numpy(inputs), torch.from_numpy(weights)
    blocks = [tuple(part[:2] for part in tensors), tuple(part[2:] for part in tensors)]
    assert_close(weighted_gram(blocks), torch.from_numpy(expected), **EXACT)


def test_large_products_are_shared_out_and_equal_torch():
    size = int((WORTH_SHARING / 2) ** (1 / 3)) + 8
    left = torch.randn(size, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    right = torch.randn(size, size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    out = torch.empty(size, size, dtype=torch.float64)
    assert matmul(left, right.T, out=out) is out
    assert_close(out, left @ right.T, **EXACT)


def test_columns_multiply_what_their_supports_name_and_nothing_where_they_name_none():
    generator = torch.Generator().manual_seed(0)
    matrix, vectors = (torch.randn(*shape, generator=generator) for shape in ((4, 3, 4, 3), (5, 3, 3)))
    matrix = (matrix.view(12, 12) + matrix.view(12, 12).T).view(4, 3, 4, 3)
    support = torch.tensor([[0, 1, 2], [3, 0, NO_OUTPUT], [2, NO_OUTPUT, NO_OUTPUT], [1, 3, 0], [3, 2, NO_OUTPUT]])
    nearest = torch.tensor([[0, 2, 1, 3], [1, 0, 3, 2], [2, 1, 0, 3], [3, 0, 1, 2]])
    local = torch.stack([matrix[:, :, output][others] for output, others in enumerate(nearest)])
    expected = torch.zeros(5, 4, 3)
    for row, outputs in enumerate(support.tolist()):
        for place, output in enumerate(outputs):
            if output != NO_OUTPUT:
                expected[row] += torch.einsum("akl,l->ak", matrix[:, :, output], vectors[row, place])
    for columns in (DenseColumns(matrix), LocalColumns(nearest, local)):
        assert_close(columns.times(vectors, support), expected, rtol=1e-5, atol=1e-5)


@given(st.integers(1, 9), st.integers(1, 40), st.integers(0, 100))
def test_sums_of_squares_and_products_are_the_plain_ones_with_weights_of_either_sign(d, n, seed):
    rng = np.random.default_rng(seed)
    inputs = torch.from_numpy(rng.normal(size=(50, d)).astype(np.float32))
    sums = [Terms(torch.from_numpy(rng.permutation(50)[:size]), torch.from_numpy(rng.normal(size=size))) for size in (n, 0)]
    sums = [Terms(terms.rows, terms.weights.float()) for terms in sums]
    for terms, found in zip(sums, squares(inputs, sums), strict=True):
        some = inputs[terms.rows].double()
        weighted = terms.weights.double()[:, None] * some
        assert_close(found, (weighted.T @ some).float(), rtol=1e-5, atol=1e-5)
        made = product(inputs, terms, torch.square)
        assert_close(made, ((weighted * some).T @ some).float(), rtol=1e-5, atol=1e-5)
