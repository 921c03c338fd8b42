"""Figures 18 and 19: what a divergence of sampled posteriors is worth, and LSI by the Riemannian Laplace approximation.

Two Gaussians whose divergence is known are sampled, densities are fitted to the samples (KDE), and the divergence is taken from
these: right at intermediate distances only. The Riemannian Laplace approximation (Bergamin et al. 2024) can only be sampled: a
tangent vector v ~ N(0, H⁻¹) at the optimum goes along the geodesic of the metric I + ∇L∇Lᵀ,

    c″ = −∇L(c) · c′ᵀ∇²L(c)c′ / (1 + ‖∇L(c)‖²),   c(0) = θ, c′(0) = v,

to c(1). Here on logistic regression of three groups of points in the plane, without each of some samples.
"""

from __future__ import annotations

import math
import time

import numpy as np
from matplotlib.figure import Figure
from scipy.integrate import solve_ivp
from scipy.special import expit
from scipy.stats import gaussian_kde

from experiments.base import Experiment, Numbers, Setup, main, number
from experiments.drawing import panels, ramp, scatter
from experiments.summaries import points, rank_correlation
from experiments.verdicts import Check, Verdict
from lapsi.plots.style import HIGH, INK, LOW, label_axes

DISTANCES = (0.01, 0.03, 0.1, 0.3, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0)  # of the means, in standard deviations
SIMILAR, BETWEEN, DISTANT = (0.0, 1e-2), (0.4, 5.0), (30.0, math.inf)  # nats
CENTRES, LABELS, VARIANCE = ((0.5, 0.5), (-0.5, -0.5), (-1.0, 0.0)), (0, 1, 0), 0.2
RIDGE = 0.15  # ½ of it times the squared norm joins the summed loss: weight decay 0.001 of the mean over 150
TOLERANCES = (1e-3, 1e-6)  # absolute and relative, of the solver, as published


def sampled_kl(first: np.ndarray, second: np.ndarray, n_draws: int, seed: int) -> float:
    """KL(p ‖ q) in nats of the densities that are fitted to samples (n, P) of each, by draws from the first."""
    p, q = gaussian_kde(first.T), gaussian_kde(second.T)
    draws = p.resample(n_draws, seed=seed)
    with np.errstate(divide="ignore"):
        log_q = np.log(q(draws))
    return float(np.mean(np.log(p(draws)) - np.maximum(log_q, math.log(np.finfo(float).tiny))))


def by_distance(n_samples: int, n_draws: int, n_repeats: int) -> list[dict[str, float]]:
    """Of two standard Gaussians in the plane: their divergence, and the sampled one, mean and deviation over repeats."""
    found = []
    for distance in DISTANCES:
        estimates = []
        for repeat in range(n_repeats):
            rng = np.random.default_rng([repeat, n_samples])
            first, second = rng.normal(size=(2, n_samples, 2))
            estimates.append(sampled_kl(first, second + np.array([distance, 0.0]), n_draws, repeat))
        found.append({"kl": distance**2 / 2, "mean": float(np.mean(estimates)), "std": float(np.std(estimates))})
    return found


def loss_terms(theta: np.ndarray, X: np.ndarray, signs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gradient (P,) and Hessian (P, P) of Σ ln(1 + exp(−s xᵀθ)) + (RIDGE/2)‖θ‖²."""
    share = expit(-signs * (X @ theta))
    gradient = -(X.T @ (signs * share)) + RIDGE * theta
    return gradient, (X.T * (share * (1 - share))) @ X + RIDGE * np.eye(len(theta))


def optimum(X: np.ndarray, signs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """θ (P,) and the Hessian (P, P) there, by Newton's method."""
    theta = np.zeros(X.shape[1])
    for _ in range(50):
        gradient, hessian = loss_terms(theta, X, signs)
        step = np.linalg.solve(hessian, gradient)
        theta = theta - step
        if np.abs(step).max() < 1e-12:
            break
    return theta, loss_terms(theta, X, signs)[1]


def gaussian_kl(first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray]) -> float:
    """KL in nats of two Gaussians, each a mean (P,) and a precision (P, P)."""
    (mean, precision), (other_mean, other_precision) = first, second
    ratio = np.linalg.solve(precision, other_precision)
    shift = other_mean - mean
    spread = np.trace(ratio) - len(mean) - np.linalg.slogdet(ratio)[1]
    return float(0.5 * (shift @ other_precision @ shift + spread))


def geodesic(
    theta: np.ndarray, velocity: np.ndarray, X: np.ndarray, signs: np.ndarray, tolerances: tuple[float, float] = TOLERANCES
) -> tuple[np.ndarray, np.ndarray]:
    """Place, which is the exponential map, and velocity (P,) at time 1 of the geodesic that starts at θ with a velocity."""
    n = len(theta)

    def slope(_: float, state: np.ndarray) -> np.ndarray:
        place, speed = state[:n], state[n:]
        gradient, hessian = loss_terms(place, X, signs)
        return np.concatenate([speed, -gradient * (speed @ hessian @ speed) / (1 + gradient @ gradient)])

    end = solve_ivp(slope, (0.0, 1.0), np.concatenate([theta, velocity]), atol=tolerances[0], rtol=tolerances[1]).y[:, -1]
    return end[:n], end[n:]


def tangents(precision: np.ndarray, n_samples: int, seed: int) -> np.ndarray:
    """(n, P) draws of N(0, precision⁻¹), from the same random numbers for every precision."""
    noise = np.random.default_rng(seed).normal(size=(n_samples, len(precision)))
    return np.asarray(np.linalg.solve(np.linalg.cholesky(precision).T, noise.T).T)


def left_out(n_scored: int, n_samples: int, n_draws: int) -> dict[str, np.ndarray]:
    """LSI of some samples: exact, by samples of the same Gaussians, and by those of the Riemannian posteriors."""
    rng = np.random.default_rng(42)
    X = np.concatenate([rng.normal(centre, math.sqrt(VARIANCE), (50, 2)) for centre in CENTRES])
    signs = np.repeat(np.array(LABELS) * 2.0 - 1, 50)
    rows = rng.permutation(len(X))[:n_scored]
    posteriors = {-1: optimum(X, signs)} | {int(row): optimum(np.delete(X, row, 0), np.delete(signs, row)) for row in rows}
    flat, curved = {}, {}
    for seed, (row, (theta, precision)) in enumerate(posteriors.items()):
        kept = np.arange(len(X)) != row
        moves = tangents(precision, n_samples, seed)
        flat[row] = theta + moves
        curved[row] = np.stack([geodesic(theta, move, X[kept], signs[kept])[0] for move in moves])
    return {
        "exact": np.array([gaussian_kl(posteriors[-1], posteriors[int(row)]) for row in rows]),
        "sampled": np.array([sampled_kl(flat[-1], flat[int(row)], n_draws, 0) for row in rows]),
        "riemannian": np.array([sampled_kl(curved[-1], curved[int(row)], n_draws, 0) for row in rows]),
    }


def measure(setup: Setup) -> Numbers:
    """The same at every scale, but for the numbers of samples."""
    sizes = setup.sized((10, 50, 100, 500), (10, 50, 100, 500), (10, 50))
    n_draws, n_repeats = setup.sized(10_000, 2_000, 200), setup.sized(20, 10, 2)
    found = {}
    for n_samples in sizes:
        setup.tell(f"two Gaussians, {n_samples} samples of each, {len(DISTANCES)} distances")
        found[str(n_samples)] = by_distance(n_samples, n_draws, n_repeats)
    n_scored, n_samples = setup.sized(50, 30, 4), setup.sized(500, 200, 8)
    setup.tell(f"Riemannian Laplace: {n_scored} left out, {n_samples} samples of each posterior")
    start = time.perf_counter()
    lsi = left_out(n_scored, n_samples, n_draws)
    seconds = (time.perf_counter() - start) / n_scored
    return {
        "data": f"Gaussians in the plane; logistic regression on 150 points, {n_scored} left out, {n_samples} samples each",
        "distances": found,
        "lsi": {name: points(lsi["exact"], lsi[name]) for name in ("sampled", "riemannian")},
        "spearman": {name: rank_correlation(lsi["exact"], lsi[name]) for name in ("sampled", "riemannian")},
        "median_times": {name: float(np.median(lsi[name]) / np.median(lsi["exact"])) for name in ("sampled", "riemannian")},
        "seconds_a_sample": seconds,
    }


def off(kept: list[dict[str, float]], between: tuple[float, float]) -> float:
    """The median relative error of the sampled divergence among distances within bounds; NaN where there is none."""
    errors = [abs(each["mean"] - each["kl"]) / each["kl"] for each in kept if between[0] <= each["kl"] <= between[1]]
    return float(np.median(errors)) if errors else math.nan


def judge(numbers: Numbers) -> tuple[Verdict, ...]:
    """Right: off by less than half; broken down: by more.

    LSI cannot be had where its order is lost, a correlation below 0.5, and its size, by more than a factor of 2.
    """
    most = list(numbers["distances"])[-1]
    kept, correlation = numbers["distances"][most], {name: number(each) for name, each in numbers["spearman"].items()}
    off_by = {name: number(each) for name, each in numbers["median_times"].items()}
    what = f"with {most} samples, relative error of the sampled divergence"
    return (
        Verdict(
            "a divergence of sampled posteriors is right at intermediate distances",
            "Figure 18",
            (Check(f"{what} between {BETWEEN[0]:g} and {BETWEEN[1]:g} nats", off(kept, BETWEEN), "<", 0.5),),
        ),
        Verdict(
            "it breaks down where the posteriors are very similar or very distant",
            "Figure 19",
            (
                Check(f"{what} below {SIMILAR[1]:g} nats", off(kept, SIMILAR), ">", 0.5),
                Check(f"{what} above {DISTANT[0]:g} nats", off(kept, DISTANT), ">", 0.5),
            ),
        ),
        Verdict(
            "so LSI cannot be had from samples of a posterior, Riemannian or not",
            "Appendix I: infeasible",
            tuple(Check(f"Spearman of exact and {name} LSI", value, "<", 0.5) for name, value in correlation.items())
            + tuple(Check(f"median of {name} over exact LSI", times, ">", 2.0) for name, times in off_by.items()),
        ),
    )


def draw(numbers: Numbers) -> Figure:
    """Sampled against true divergence on the left, LSI by samples against exact LSI on the right."""
    figure, (left, right) = panels(2, height=2.7)
    parts = numbers["distances"]
    for (name, kept), colour in zip(parts.items(), ramp(len(parts)), strict=True):
        x, mean = np.array([each["kl"] for each in kept]), np.array([each["mean"] for each in kept])
        left.plot(x, np.maximum(mean, 1e-5), marker="o", markersize=3, color=colour, label=f"{name} samples")
    left.plot(x, x, ":", color=INK, label="right")
    left.set(xscale="log", yscale="log")
    left.legend(loc="upper left")
    label_axes(left, "KL divergence (nats)", "of sampled densities (nats)")
    for name, colour, label in (("sampled", LOW, "the same Laplace posterior"), ("riemannian", HIGH, "Riemannian")):
        scatter(right, numbers["lsi"][name], "LSI, exact (nats)", "LSI by samples and KDE (nats)", colour=colour)
        right.collections[-1].set_label(f"{label}: Spearman {number(numbers['spearman'][name]):.2f}")
    low = min(*numbers["lsi"]["sampled"]["x"])
    high = max(*numbers["lsi"]["sampled"]["x"])
    right.plot([low, high], [low, high], ":", color=INK)
    right.legend(loc="lower left", bbox_to_anchor=(0, 1.0), borderaxespad=0.2)
    return figure


EXPERIMENT = Experiment("riemann", "Figures 18, 19", "Can LSI be had from samples of a posterior?", 1.5, measure, judge, draw)

if __name__ == "__main__":
    main(EXPERIMENT)
