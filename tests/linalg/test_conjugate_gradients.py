import numpy as np
import pytest
import torch
from torch.testing import assert_close

from lapsi.linalg.conjugate_gradients import conjugate_gradients

SIZE, COUNT = 30, 5


@pytest.fixture
def systems():
    """Matrices (n, p, p), each its own, right-hand sides (n, p), and a preconditioner: their diagonals."""
    rng = np.random.default_rng(0)
    roots = rng.normal(size=(COUNT, SIZE, SIZE)) * np.logspace(0, 1, SIZE)
    matrices = torch.from_numpy(roots @ roots.transpose(0, 2, 1) + np.eye(SIZE))
    return matrices, torch.from_numpy(rng.normal(size=(COUNT, SIZE)))


def solve(systems, right=None, **options):
    matrices, given = systems
    diagonals = torch.diagonal(matrices, dim1=1, dim2=2)
    return conjugate_gradients(
        lambda vectors, rows: torch.einsum("npq,nq->np", matrices[rows], vectors),
        given if right is None else right,
        lambda vectors, rows: vectors / diagonals[rows],
        **{"tolerance": 1e-12, "max_iterations": 200, **options},
    )


def test_it_solves_each_system(systems):
    matrices, right = systems
    found = solve(systems)
    assert_close(found.value, torch.linalg.solve(matrices, right), rtol=1e-8, atol=1e-10)
    assert float(found.residual.max()) <= 1e-12


def test_the_residual_is_that_of_the_value(systems):
    matrices, right = systems
    found = solve(systems, max_iterations=7)
    assert found.n_iterations == 7
    left, diagonals = right - torch.einsum("npq,nq->np", matrices, found.value), torch.diagonal(matrices, dim1=1, dim2=2)
    expected = ((left.square() / diagonals).sum(1) / (right.square() / diagonals).sum(1)).sqrt()
    assert_close(found.residual, expected, rtol=1e-8, atol=0)
    assert float(found.residual.min()) > 1e-12


def test_what_is_solved_is_no_longer_multiplied(systems):
    matrices, right = systems
    exact = torch.linalg.solve(matrices, right)
    start = exact.clone()
    start[2] = 0.0
    counted = []

    def product(vectors, rows):
        counted.append(rows.tolist())
        return torch.einsum("npq,nq->np", matrices[rows], vectors)

    options = {"tolerance": 1e-9, "max_iterations": 200, "start": start}
    found = conjugate_gradients(product, right, lambda vectors, _: vectors, **options)
    assert counted[0] == list(range(COUNT))
    assert all(rows == [2] for rows in counted[1:])
    assert len(counted) > 2
    assert_close(found.value, exact, rtol=1e-7, atol=1e-9)


def test_nothing_to_solve_is_solved(systems):
    found = solve(systems, torch.zeros(COUNT, SIZE, dtype=torch.float64))
    assert found.n_iterations == 0
    assert float(found.value.abs().max()) == float(found.residual.max()) == 0.0
