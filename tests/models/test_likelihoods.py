"""What every likelihood says of some of its outputs is what it says of all."""

import pytest
import torch
from torch.testing import assert_close

from lapsi.models.likelihoods.base import hessian_among
from lapsi.models.likelihoods.bernoulli import bernoulli
from lapsi.models.likelihoods.gaussian import gaussian
from lapsi.models.likelihoods.softmax import softmax

N, K = 20, 7
CPU = torch.device("cpu")
LIKELIHOODS = {
    "softmax": softmax(K, CPU),
    "bernoulli": bernoulli(K, CPU),
    "gaussian": gaussian(torch.linspace(0.5, 2.0, K, dtype=torch.float64)),
}


@pytest.fixture(params=LIKELIHOODS.values(), ids=LIKELIHOODS)
def likelihood(request):
    return request.param


@pytest.fixture
def state(likelihood):
    return likelihood.state(3 * torch.randn(N, K, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))


def test_coupling_is_a_column_of_the_hessian(likelihood, state):
    outputs = torch.tensor([[2, 0, 5, 2]])
    for place, output in enumerate(outputs[0].tolist()):
        column = likelihood.coupling(state[:, outputs[0]], outputs, place)
        assert_close(column, likelihood.hessian(state)[:, outputs[0], output], rtol=1e-14, atol=1e-15)


def test_hessian_among_the_outputs_of_each_support(likelihood, state):
    generator = torch.Generator().manual_seed(1)
    support = torch.stack([torch.randperm(K, generator=generator)[:4] for _ in range(N)])
    own = torch.arange(N)[:, None, None], support[:, :, None], support[:, None, :]
    assert_close(hessian_among(likelihood, state, support), likelihood.hessian(state)[own], rtol=1e-14, atol=1e-15)
