"""The parts that experiments compute by themselves, against what they must equal."""

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal, kl_divergence
from torch.utils.data import TensorDataset

import lapsi
from experiments import probe_vs_network, riemann
from experiments.base import Setup
from experiments.data import cifar10, pictures, reviews, text_features
from experiments.nets import perceptron, resnet_9, resnet_18, three_convolutions
from experiments.summaries import auroc, described, points, rank_correlation, skewness
from experiments.text_corruption import KINDS, corrupted
from experiments.training import Schedule, curve

EXACT = {"rtol": 1e-10, "atol": 1e-12}


@pytest.fixture
def setup(tmp_path):
    return Setup(None, "tiny", tmp_path, lambda line: None)


@pytest.mark.slow
def test_lsi_of_the_network_is_that_of_the_package(tmp_path):
    generator = torch.Generator().manual_seed(0)
    data = TensorDataset(torch.randn(6, 3, 32, 32, generator=generator), torch.tensor([0, 1, 2, 0, 1, 2]))
    made = probe_vs_network.trained(data, 4, tmp_path)
    ours = probe_vs_network.divergences(made.problem, made.params, made.shifts)
    scores = lapsi.score_network(
        probe_vs_network.network(),
        data,
        engine=lapsi.Retrain(probe_vs_network.recipe_of(4)),
        curvature="diag",
        objective=probe_vs_network.OBJECTIVE,
        execution=lapsi.Execution(verify=0),
        progress=False,
    )
    np.testing.assert_allclose(ours["as-paper"]["whole network"], scores.lsi, rtol=1e-4)
    np.testing.assert_array_less(ours["as-paper"]["last layer"], ours["as-paper"]["whole network"])
    assert 0 < made.noise < 1e-3
    again = probe_vs_network.trained(data, 4, tmp_path)
    torch.testing.assert_close(again.shifts, made.shifts, rtol=0, atol=0)


@pytest.fixture
def plane():
    rng = np.random.default_rng(0)
    return rng.normal(size=(30, 2)), np.where(rng.random(30) < 0.5, -1.0, 1.0)


def test_the_optimum_has_no_gradient(plane):
    theta, hessian = riemann.optimum(*plane)
    np.testing.assert_allclose(riemann.loss_terms(theta, *plane)[0], 0, atol=1e-10)
    X, signs = plane

    def gradient(place):
        loss = torch.nn.functional.softplus(-torch.from_numpy(signs) * (torch.from_numpy(X) @ place)).sum()
        return loss + riemann.RIDGE / 2 * place.square().sum()

    slow = torch.autograd.functional.hessian(gradient, torch.from_numpy(theta))
    np.testing.assert_allclose(hessian, slow, **EXACT)


def test_divergence_of_gaussians():
    rng = np.random.default_rng(1)
    a, b = ((part @ part.T + np.eye(3)) for part in rng.normal(size=(2, 3, 3)))
    mean, other = rng.normal(size=(2, 3))
    p, q = (
        MultivariateNormal(torch.from_numpy(m), precision_matrix=torch.from_numpy(precision))
        for m, precision in ((mean, a), (other, b))
    )
    np.testing.assert_allclose(riemann.gaussian_kl((mean, a), (other, b)), float(kl_divergence(p, q)), **EXACT)


def test_a_geodesic_keeps_its_speed_and_goes_both_ways(plane):
    theta, _ = riemann.optimum(*plane)
    start = theta + np.array([0.5, -0.3])
    velocity = np.array([1.0, 2.0])

    def speed(place, along):
        gradient = riemann.loss_terms(place, *plane)[0]
        return along @ along + (gradient @ along) ** 2

    place, along = riemann.geodesic(start, velocity, *plane, tolerances=(1e-12, 1e-10))
    np.testing.assert_allclose(speed(place, along), speed(start, velocity), rtol=1e-8)
    assert np.linalg.norm(place - start - velocity) > 0.1  # not a straight line
    back, _ = riemann.geodesic(place, -along, *plane, tolerances=(1e-12, 1e-10))
    np.testing.assert_allclose(back, start, atol=1e-8)


def test_tangents_have_the_covariance_of_the_posterior():
    precision = np.array([[4.0, 1.0], [1.0, 2.0]])
    drawn = riemann.tangents(precision, 200_000, 0)
    np.testing.assert_allclose(np.cov(drawn.T), np.linalg.inv(precision), atol=5e-3)


def test_a_sampled_divergence_is_right_between():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 2000, 2))
    assert abs(riemann.sampled_kl(first, second + np.array([1.5, 0.0]), 2000, 0) - 1.125) < 0.3


def test_what_is_kept_of_values():
    values = 10 ** np.random.default_rng(0).uniform(-3, 1, 1000)
    kept = described(values)
    widths = np.diff(np.log10(kept["edges"]))
    np.testing.assert_allclose((kept["percent_a_decade"] * widths).sum(), 100, **EXACT)
    assert (kept["n"], kept["q50"]) == (1000, np.median(values))
    assert kept["edges"][0] <= values.min() < values.max() <= kept["edges"][-1]
    assert np.isnan(described(np.array([]))["q50"])
    assert skewness(values) > 1
    assert abs(skewness(np.arange(9.0))) < 1e-12
    assert np.isnan(rank_correlation(np.ones(3), np.arange(3.0)))
    assert auroc(np.array([False, True]), np.array([1.0, 2.0])) == 1
    assert np.isnan(auroc(np.array([False, False]), np.array([1.0, 2.0])))
    assert len(points(values, values)["x"]) == 1000


@pytest.mark.parametrize("kind", KINDS)
def test_a_tenth_of_texts_is_changed(setup, kind):
    texts, labels, _ = reviews(setup, 60)
    changed, y, touched = corrupted(kind, texts, labels)
    assert touched.sum() == 6
    np.testing.assert_array_equal(y[~touched], labels[~touched])
    same = np.array([a == b for a, b in zip(changed, texts, strict=True)])
    if kind == "lorem ipsum":
        np.testing.assert_array_equal(same, ~touched)
        assert y[touched].sum() == 3
    else:
        assert same.all()
        np.testing.assert_array_equal(y[touched], 1 - labels[touched])
    X, by = text_features(setup, changed)
    assert X.shape[0] == 60
    assert "tf-idf" in by


def test_data_that_are_built_in(setup):
    data = cifar10(setup, 50)
    assert data.stand_in
    assert data.X.shape == (50, 64)
    three = cifar10(setup).of_classes(("3", "8"), 5)
    assert sorted(np.bincount(three.y)) == [5, 5]
    shown = pictures(setup, 40)
    assert (shown.pixels.shape, len(shown.y_test)) == ((30, 32, 32, 3), 10)


def test_data_in_the_folder(tmp_path):
    rng = np.random.default_rng(0)
    held = {f"features_{part}": rng.integers(0, 255, (60, 4), dtype=np.uint8) for part in ("train", "test")}
    labels = {f"labels_{name}": np.arange(60, dtype=np.uint8) % 10 for name in ("train", "test", "aggre")}
    names = np.array([f"class {code}" for code in range(10)])
    path = tmp_path / "cifar10_squeezenet.npz"
    np.savez(path, **held, **labels, class_names=names, feature_scale=np.full(4, 0.5, np.float32))
    data = cifar10(Setup(tmp_path, "small", tmp_path, lambda line: None), 40)
    assert (data.X.shape, data.stand_in) == ((40, 4), False)
    assert data.X.max() <= 127.5
    np.testing.assert_array_equal(data.human, data.y)


@pytest.mark.parametrize("make", [perceptron, three_convolutions, resnet_9, resnet_18])
def test_networks(make):
    network = make(5) if make in (perceptron, three_convolutions) else make(5, 4)
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 5)


def test_training_follows_its_schedule():
    X = torch.eye(4).repeat(5, 1)
    y = torch.arange(4).repeat(5)
    torch.manual_seed(0)
    learnt = curve(torch.nn.Linear(4, 4), (X, y), (X, y), Schedule(60, 0.5, 0.0))
    assert (learnt["epoch"][0], learnt["epoch"][-1]) == (0, 60)
    assert learnt["train"][-1] == learnt["test"][-1] == 1
    torch.manual_seed(0)
    stopped = curve(torch.nn.Linear(4, 4), (X, y), (X, y), Schedule(60, 0.5, 0.0, step=1, factor=0.0))
    assert stopped["train"][-1] < 1
