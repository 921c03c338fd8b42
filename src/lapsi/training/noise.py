"""The noise variance of numbers to predict, by the linear model that has it (docs/math.md, Likelihoods).

With noise variance σ² the objective Σ a_j (z_j − y_j)²/2σ² + (W·w/2)‖θ‖² is a ridge regression of strength λ = W·w·σ². In the
eigenbasis of XᵀAX (values s, c = Qᵀ XᵀA y): residuals RSS = RSS₀ + Σ c²λ²/(s(s + λ)²), degrees of freedom Σ s/(s + λ).
The fixed point σ² = RSS/(W − degrees of freedom) is where the marginal likelihood is largest (MacKay, Bayesian interpolation,
1992). Numbers that the model fits exactly have no noise to find: it is taken as a millionth of their variance at least.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import brentq

from lapsi.data.dataset import Dataset
from lapsi.data.standardize import Standardizer
from lapsi.data.targets import RealTargets
from lapsi.errors import InputError
from lapsi.settings.objective import ANEW, RESIDUALS
from lapsi.settings.settings import Settings

LEAST, MOST = 1e-6, 1e2  # of the variance of the numbers
RANK = 1e-12
SAME = 1e-6


def with_noise(dataset: Dataset, standardizer: Standardizer, settings: Settings) -> Settings:
    """The settings with the noise variance of each output, where the targets are numbers.

    Raises:
        InputError: when it was given for other targets, or another number of them than there are outputs.
    """
    return noise_finder(dataset, standardizer, settings)(settings)


def noise_finder(dataset: Dataset, standardizer: Standardizer, settings: Settings) -> Callable[[Settings], Settings]:
    """`with_noise` of settings that differ from these in their weight decay alone: they share one eigenbasis.

    Raises:
        InputError: as `with_noise`.
    """
    targets, rule = dataset.targets, settings.objective.noise_variance
    anew = settings.objective.noise_removal == ANEW
    if not isinstance(targets, RealTargets):
        if rule != RESIDUALS or anew:
            name = "noise_removal" if anew else "noise_variance"
            raise InputError(f"{name} was given, but the targets are those of task {targets.task!r}; leave it out.")
        return lambda chosen: chosen
    if not isinstance(rule, str) and not anew:
        if len(rule) not in (1, targets.n_outputs):
            raise InputError(
                f"noise_variance has {len(rule)} values for {targets.n_outputs} outputs; give one, or one for each."
            )
        given = rule * (targets.n_outputs // len(rule))
        return lambda chosen: _with(chosen, given)
    ridges = ridges_of(standardizer.all_inputs(dataset.features), targets.values, dataset.weights)

    def found(chosen: Settings) -> Settings:
        noise = _estimates(ridges, targets, chosen.objective.decay)
        if not isinstance(rule, str) and (len(rule) != len(noise) or not np.allclose(rule, noise, rtol=SAME)):
            raise InputError("noise_removal is 'anew', so noise_variance is that of the residuals; leave it at 'residuals'.")
        return _with(chosen, noise)

    return found


def _with(settings: Settings, noise: tuple[float, ...]) -> Settings:
    return replace(settings, objective=replace(settings.objective, noise_variance=noise))


@dataclass(frozen=True, slots=True)
class Ridge:
    """Ridge regression of one output.

    Attributes:
        values: s (r,) those eigenvalues of XᵀAX that are not 0.
        loadings: c² (r,).
        residual: RSS₀ of least squares.
        total: W.
    """

    values: np.ndarray
    loadings: np.ndarray
    residual: float
    total: float

    def unbiased(self, strength: float) -> float:
        """RSS over what the degrees of freedom leave of W."""
        rss = self.residual + float((self.loadings / self.values * (strength / (self.values + strength)) ** 2).sum())
        return rss / (self.total - float((self.values / (self.values + strength)).sum()))


def _estimates(ridges: list[Ridge], targets: RealTargets, weight_decay: float) -> tuple[float, ...]:
    """In the units of the numbers, squared."""
    found = [residual_noise(ridge, weight_decay) for ridge in ridges]
    return tuple(float(noise * scale**2) for noise, scale in zip(found, targets.scale, strict=True))


def ridges_of(inputs: np.ndarray, targets: np.ndarray, weights: np.ndarray | None) -> list[Ridge]:
    """One for each column of the targets (N, K), on inputs (N, D)."""
    counted = inputs if weights is None else inputs * weights[:, None]
    values, vectors = np.linalg.eigh(counted.T @ inputs)
    kept = values > RANK * values[-1]
    values, vectors = values[kept], vectors[:, kept]
    loadings = vectors.T @ (counted.T @ targets)
    errors = np.square(targets - inputs @ (vectors @ (loadings / values[:, None])))
    total = float(len(inputs) if weights is None else weights.sum())
    residuals = errors.sum(0) if weights is None else weights @ errors
    return [Ridge(values, loading**2, float(rest), total) for loading, rest in zip(loadings.T, residuals, strict=True)]


def residual_noise(ridge: Ridge, weight_decay: float) -> float:
    """σ² = RSS/(W − degrees of freedom) at the strength that it gives."""

    def gap(log_noise: float) -> float:
        noise = float(np.exp(log_noise))
        return float(np.log(ridge.unbiased(ridge.total * weight_decay * noise)) - log_noise)

    low, high = np.log(LEAST), np.log(MOST)
    with np.errstate(divide="ignore"):
        return float(np.exp(brentq(gap, low, high, xtol=1e-13))) if gap(low) > 0 else LEAST
