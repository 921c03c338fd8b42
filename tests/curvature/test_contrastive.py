"""The GGN of a contrastive loss against autograd: Jacobians of the similarities, and the Hessian of the losses in them."""

import pytest
import torch
from torch.testing import assert_close

from lapsi.curvature.contrastive import ContrastiveCurvature, contrastive_posterior
from lapsi.models.towers import Towers
from lapsi.problem.contrastive import ContrastiveProblem
from lapsi.problem.objective import Objective
from lapsi.problem.removed import LSI_IMAGE, LSI_TEXT, TRAINED, Removed

N, WIDTHS, E, TEMPERATURE, DECAY = 12, (5, 4), 3, 0.5, 0.02
CLOSE = {"rtol": 1e-10, "atol": 1e-12}


@pytest.fixture(scope="module")
def problem():
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(N, width, dtype=torch.float64, generator=generator) for width in WIDTHS)
    first[:, -1] = second[:, -1] = 1
    return ContrastiveProblem(first, second, Towers(WIDTHS, E), TEMPERATURE, Objective(DECAY, "map", "mean"))


@pytest.fixture(scope="module")
def params(problem):
    return problem.initial(0) + 0.1 * torch.randn(problem.model.n_params, generator=torch.Generator().manual_seed(1)).double()


def similarities(problem, params, rows):
    first, second = problem.model.projections(params)
    u, v = problem.first[rows] @ first.T, problem.second[rows] @ second.T
    return (u / u.norm(dim=1, keepdim=True)) @ (v / v.norm(dim=1, keepdim=True)).T / TEMPERATURE


def loss_of(matrix):
    own = torch.arange(len(matrix))
    rows, columns = torch.nn.functional.cross_entropy(matrix, own), torch.nn.functional.cross_entropy(matrix.T, own)
    return len(matrix) * (rows + columns) / 2


def dense_ggn(problem, params, rows):
    """Jᵀ H J with the Hessian of the sum of the losses in the similarities, both by autograd."""
    jacobian = torch.func.jacfwd(lambda given: similarities(problem, given, rows).flatten())(params)
    matrix = similarities(problem, params, rows)
    hessian = torch.func.hessian(lambda flat: loss_of(flat.view_as(matrix)))(matrix.flatten())
    return jacobian.T @ hessian @ jacobian


def own_blocks(problem, params, rows, tower):
    """(n, E, E): Jᵀ H J of each sample's own projection, the others held."""
    features, others = (problem.first, problem.second) if tower == 0 else (problem.second, problem.first)
    one, two = problem.model.projections(params) if tower == 0 else problem.model.projections(params)[::-1]
    projected, v = features[rows] @ one.T, others[rows] @ two.T
    v = v / v.norm(dim=1, keepdim=True)

    def matrix_of(u):
        return (u / u.norm(dim=1, keepdim=True)) @ v.T / TEMPERATURE

    jacobian = torch.func.jacfwd(lambda u: matrix_of(u).flatten())(projected)
    matrix = matrix_of(projected)
    hessian = torch.func.hessian(lambda flat: loss_of(flat.view_as(matrix)))(matrix.flatten())
    return torch.stack([jacobian[:, j].T @ hessian @ jacobian[:, j] for j in range(len(rows))])


def test_gradient_is_that_of_torch(problem, params):
    wanted = torch.func.grad(lambda given: loss_of(similarities(problem, given, torch.arange(N))))(params)
    assert_close(problem.gradient_sum(params, slice(0, N), None), wanted, **CLOSE)
    rows = torch.tensor([1, 4, 5, 9])
    wanted = torch.func.grad(lambda given: loss_of(similarities(problem, given, rows)))(params)
    assert_close(problem.gradient_sum(params, rows, None), wanted, **CLOSE)


@pytest.mark.parametrize("left", [None, 4])
@pytest.mark.parametrize("structure", ["diag", "kfac", "full"])
def test_ggn_is_that_of_autograd(problem, params, structure, left):
    seen = problem if left is None else problem.remove(torch.tensor([left]))
    rows, prior = seen.there, seen.objective.prior(seen.total)
    posterior = contrastive_posterior(seen, params, structure)
    eye = torch.eye(problem.model.n_params, dtype=torch.float64)
    if structure == "kfac":
        for tower, block in enumerate(posterior.blocks):
            features = (seen.first, seen.second)[tower][rows]
            wanted = torch.kron(own_blocks(seen, params, rows, tower).mean(0), features.T @ features)
            assert_close(block.to_dense(), wanted + prior * eye[: len(wanted), : len(wanted)], **CLOSE)
        return
    wanted = dense_ggn(seen, params, rows) + prior * eye
    if structure == "diag":
        assert_close(torch.cat([block.diagonal for block in posterior.blocks]), wanted.diagonal(), **CLOSE)
    else:
        assert_close(posterior.blocks[0].to_dense(), wanted, **CLOSE)


@pytest.mark.parametrize("structure", ["diag", "kfac", "full"])
def test_divergence_is_that_of_dense_posteriors(problem, params, structure):
    shift = 0.01 * torch.randn(problem.model.n_params, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    unit = torch.tensor([[4]])
    removed = Removed(unit, torch.arange(1).numpy(), params, shift[None], torch.zeros(1, 1, 5), TRAINED, torch.zeros(1))
    found = ContrastiveCurvature(problem, structure).divergence(removed)
    dense = [
        torch.block_diag(*(block.to_dense() for block in contrastive_posterior(seen, at, structure).blocks))
        for seen, at in ((problem, params), (problem.remove(unit[0]), params + shift))
    ]

    def kl(part):
        before, after = (whole[part, part] for whole in dense)
        ratio = torch.linalg.solve(before, after)
        whole = ratio.trace() - len(before) - torch.linalg.slogdet(ratio).logabsdet + shift[part] @ after @ shift[part]
        return whole[None] / 2

    first = problem.model.sizes[0]
    assert_close(found.total, kl(slice(None)), rtol=1e-9, atol=1e-13)
    assert_close(found.alone[LSI_IMAGE], kl(slice(0, first)), rtol=1e-9, atol=1e-13)
    assert_close(found.alone[LSI_TEXT], kl(slice(first, None)), rtol=1e-9, atol=1e-13)


def test_outputs_tell_a_pair_from_all_that_are_there(problem, params):
    without = problem.remove(torch.tensor([4]))
    rows = torch.tensor([2, 4])
    found = without.outputs(params, rows)
    assert_close(found, without.own_outputs(params.expand(2, -1), rows), **CLOSE)
    for place, row in enumerate(rows.tolist()):
        seen = torch.arange(N) if row == 4 else without.there
        matrix, own = similarities(problem, params, seen), int((seen == row).nonzero())
        logs = matrix.log_softmax(1)[own, own], matrix.log_softmax(0)[own, own]
        ranks = [1 + int((line > matrix[own, own]).sum()) for line in (matrix[own], matrix[:, own])]
        assert_close(found[place], torch.tensor([*logs, *ranks, matrix[own, own] * TEMPERATURE], dtype=torch.float64), **CLOSE)
    assert_close(problem.losses(found, rows), -(found[:, 0] + found[:, 1]) / 2)
