"""The weight decay and the scaling of the features with the least leave-one-out loss (docs/math.md, Weight decay).

Weight decays lie on a lattice of 24 to a decade, rounded to two digits, so that equal data choose the same one to the
last digit. On large data the search is made on some of the samples: what carries over between sizes is the prior precision W·w,
not w. Where the Hessian is large, the search goes by cross-validation, and only what it found is evaluated by
leaving one out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from lapsi.data.dataset import Dataset
from lapsi.data.standardize import Standardizer, standardizer_of
from lapsi.data.targets import Targets
from lapsi.errors import ConvergenceError, InputError, LapsiError
from lapsi.execution.device import device_of
from lapsi.execution.progress import Stages
from lapsi.models.likelihoods.choose import directions_of
from lapsi.problem.base import weight_of
from lapsi.problem.linear import LinearProblem
from lapsi.problem.of_dataset import Rows, linear_problem_on
from lapsi.results.regularization import LARGEST, SMALLEST, End, Regularization, Trial
from lapsi.settings.model import AUTO, SCALINGS
from lapsi.settings.settings import Settings
from lapsi.training.leave_one_out import (
    FOLDS,
    average,
    copy_hessian,
    cross_validated_losses,
    leave_one_out_losses,
    log_evidence,
)
from lapsi.training.newton import Spectrum, inverse_of, near_map, rough_map, spectrum_of
from lapsi.training.noise import noise_finder
from lapsi.training.search import bracket, is_less, vertex, walk

STAGE = "choose weight decay"
A_DECADE = 24
ENDS = (-6 * A_DECADE, 2 * A_DECADE)
PAPER = -2 * A_DECADE  # 0.01
SPANS = (12, 4)
NEAR_SPAN = 6  # on all samples, where the search was made on some
CLOSE = 0.05  # of the least loss: a scaling that is further off at half a decade is not looked at closer
RISING = 2  # decades in succession that are worse, after which no smaller weight decay is tried
EVALUATIONS = 11  # of one curve, about
ON_ALL = 5  # of them on all samples, where the search starts on some
FOLDS_ABOVE = 5e9  # flop of one evaluation on some samples, above which it goes by cross-validation
AFFORDABLE_FLOP = 1e10  # up to which it is all made on all samples
SOME_ROWS, LOSS_ROWS = 2048, 4096
NEAR_PASSES = 150  # evaluations of the objective, in the time of large products
FLOAT32_ABOVE = 256  # rows of a Hessian


@dataclass(frozen=True, slots=True, eq=False)
class Regularized:
    """Settings without anything left to choose.

    Attributes:
        settings: with numbers.
        standardizer: how features are scaled.
        record: how they were chosen; None where all was given.
    """

    settings: Settings
    standardizer: Standardizer
    record: Regularization | None = None


def regularized(dataset: Dataset, settings: Settings, stages: Stages) -> Regularized:
    """Chooses the weight decay and the scaling that are "auto" by the leave-one-out loss of the linear model; finds the noise.

    Raises:
        InputError: when the data cannot be used.
        ConvergenceError: when no weight decay gives an optimum.
    """
    record, chosen = None, settings
    if settings.is_open:
        with stages.stage(STAGE, EVALUATIONS * len(_scalings(settings))) as advance:
            record = _search(dataset, settings, lambda: advance(1))
        chosen = _with(settings, record.chosen.weight_decay, record.chosen.standardize)
    standardizer = standardizer_of(dataset.survey, chosen.model.standardize)
    return Regularized(noise_finder(dataset, standardizer, chosen)(chosen), standardizer, record)


def evaluation_flop(n_rows: int, n_features: int, n_outputs: int, n_directions: int) -> float:
    """Of one weight decay: fit, Hessian, factor and inverse, leave-one-out losses."""
    free = float(n_directions * n_features)
    fit = NEAR_PASSES * 4.0 * n_rows * n_features * n_outputs
    return fit + 0.625 * n_rows * free * (free + n_features) + 2.0 * free**3 + 2.0 * min(n_rows, LOSS_ROWS) * free**2


def choice_flop(n_rows: int, n_features: int, n_outputs: int, n_directions: int, settings: Settings) -> float:
    """Of the whole choice."""
    shape, curves = (n_features, n_outputs, n_directions), len(_scalings(settings))
    whole = evaluation_flop(n_rows, *shape)
    if _is_large(n_rows, *shape):
        some = min(SOME_ROWS, n_rows // 2)
        folds = (1 + FOLDS) * NEAR_PASSES * 4.0 * some * n_features * n_outputs
        return curves * EVALUATIONS * folds + 2 * whole
    if EVALUATIONS * whole <= AFFORDABLE_FLOP or n_rows <= SOME_ROWS:
        return curves * EVALUATIONS * whole
    return curves * EVALUATIONS * evaluation_flop(SOME_ROWS, *shape) + ON_ALL * whole


def _is_large(n_rows: int, n_features: int, n_outputs: int, n_directions: int) -> bool:
    """Whether one exact evaluation on some of the samples costs so much that the search goes by cross-validation."""
    return evaluation_flop(min(SOME_ROWS, n_rows), n_features, n_outputs, n_directions) > FOLDS_ABOVE


def choice_notes(settings: Settings) -> tuple[tuple[str, str], ...]:
    """What a plan says of it, (name, value)."""
    names = {"weight_decay": "weight decay", "standardize": "scaling of features"}
    return tuple((names[asked], "chosen by leave-one-out loss") for asked in _asked(settings))


def decay_at(step: int) -> float:
    """The weight decay of a lattice step, 0 for 1, in two digits."""
    return float(f"{10 ** (step / A_DECADE):.2g}")


def step_of(weight_decay: float) -> int:
    """The lattice step of `decay_at`."""
    return round(A_DECADE * math.log10(weight_decay))


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Leave-one-out loss by weight decay, of one scaling and some of the samples; each is computed once.

    Attributes:
        dataset, settings: of all samples; the scaling is known, the weight decay not yet.
        with_noise: settings of a weight decay to those with their noise variance.
        rows: the samples that are trained on; of these `counted` (m,) have their losses averaged.
        inputs, spectrum: (n, D) of `rows`, and its spectrum.
        advance: called once a weight decay.
        by_folds: whether losses are cross-validated.
        trials, params, failures: what was found by weight decay; params (F, D) to start from, from here or elsewhere.
    """

    dataset: Dataset
    settings: Settings
    with_noise: Callable[[Settings], Settings]
    rows: Rows
    inputs: Tensor
    spectrum: Spectrum
    counted: Tensor
    advance: Callable[[], None]
    by_folds: bool
    trials: dict[float, Trial] = field(default_factory=dict)
    params: dict[float, Tensor] = field(default_factory=dict)
    failures: dict[float, LapsiError] = field(default_factory=dict)

    def loss(self, weight_decay: float) -> float:
        """Leave-one-out loss; infinite where there is no optimum."""
        if weight_decay not in self.trials and weight_decay not in self.failures:
            self.advance()
            try:
                self.trials[weight_decay] = self._trial(weight_decay)
            except (ConvergenceError, InputError) as error:
                self.failures[weight_decay] = error
        return self.trials[weight_decay].loo_loss if weight_decay in self.trials else float("inf")

    def at(self, step: int) -> float:
        """The loss at a lattice step."""
        return self.loss(decay_at(step))

    def best(self) -> Trial:
        """The trial with the least loss; of several that have it the largest weight decay.

        Raises:
            ConvergenceError, InputError: what the first failed by, where all did.
        """
        if not self.trials:
            raise next(iter(self.failures.values()))
        least = min(trial.loo_loss for trial in self.trials.values())
        return max((trial for trial in self.trials.values() if not is_less(least, trial.loo_loss)), key=_decay)

    def problem(self, weight_decay: float) -> LinearProblem:
        """That of a weight decay of all samples: the prior precision is the same on some of them."""
        chosen = self.with_noise(_with(self.settings, weight_decay))
        part = linear_problem_on(self.dataset, self.inputs, chosen, self.rows)
        whole = self.dataset.n_samples if self.dataset.weights is None else float(self.dataset.weights.sum())
        return replace(part, objective=replace(part.objective, weight_decay=weight_decay * whole / part.total))

    def _trial(self, weight_decay: float) -> Trial:
        problem = self.problem(weight_decay)
        params, losses, evidence = self._found(problem, self._start(weight_decay))
        found = average(losses, weight_of(problem, self.counted))
        if not math.isfinite(found.mean):
            raise ConvergenceError("The leave-one-out loss is not finite; use a larger weight decay.")
        self.params[weight_decay] = params
        return Trial(weight_decay, self.settings.model.standardize, found.mean, found.error, evidence, len(self.inputs))

    def _found(self, problem: LinearProblem, start: Tensor | None) -> tuple[Tensor, Tensor, float | None]:
        """Params, losses, and the evidence where it is known."""
        return self._cross_validated(problem, start) if self.by_folds else self._exact(problem, start)

    def _exact(self, problem: LinearProblem, start: Tensor | None) -> tuple[Tensor, Tensor, float]:
        """Params, losses and evidence, by the whole Hessian."""
        fit, factor = near_map(problem, self.spectrum, start)
        inverse = inverse_of(copy_hessian(fit), None if len(factor) > FLOAT32_ABOVE else "float64")
        return fit.params, leave_one_out_losses(problem, fit.params, inverse, self.counted), log_evidence(fit, factor)

    def _cross_validated(self, problem: LinearProblem, start: Tensor | None) -> tuple[Tensor, Tensor, None]:
        """Params and losses, by fits of the other folds."""

        def refit(part: LinearProblem, near: Tensor | None) -> Tensor:
            return rough_map(part, self.spectrum, near)

        params = refit(problem, start)
        return params, cross_validated_losses(problem, params, refit), None

    def _start(self, weight_decay: float) -> Tensor | None:
        nearest = min(self.params, key=lambda known: abs(math.log(known / weight_decay)), default=None)
        return None if nearest is None else self.params[nearest]


def _search(dataset: Dataset, settings: Settings, advance: Callable[[], None]) -> Regularization:
    n_samples, targets = dataset.n_samples, dataset.targets
    shape = dataset.n_features + 1, targets.n_outputs, directions_of(targets)
    large = _is_large(n_samples, *shape)
    on_all = not large and (n_samples <= SOME_ROWS or EVALUATIONS * evaluation_flop(n_samples, *shape) <= AFFORDABLE_FLOP)
    some = np.arange(n_samples) if on_all else spread(targets, min(SOME_ROWS, n_samples // 2))
    curves = [_curve(dataset, _with(settings, standardize=name), some, advance, large) for name in _scalings(settings)]
    start = None
    for curve in curves:
        _coarse(curve, start)
        start = curve.best().weight_decay if curve.trials else None
    least = min(curve.best().loo_loss for curve in curves)
    for curve in curves:
        if curve.best().loo_loss <= least + CLOSE * abs(least):
            _fine(curve, SPANS[1:])
    curve = curves[0]
    for other in curves[1:]:
        curve = other if is_less(other.best().loo_loss, curve.best().loo_loss) else curve
    if isinstance(settings.objective.weight_decay, str):
        curve.at(PAPER)
    if not on_all:
        curve = _on_all(curve)
        curves.append(curve)
    trials = sorted((trial for each in curves for trial in each.trials.values()), key=_place)
    return Regularization(_asked(settings), curve.best(), tuple(trials), len(curve.counted), _end(curve))


def _coarse(curve: Curve, start: float | None) -> None:
    """Down from the largest weight decay, or onward from `start`, and between the best and its neighbours."""
    given = curve.settings.objective.weight_decay
    if not isinstance(given, str):
        curve.loss(given)
        return
    decades = range(ENDS[1], ENDS[0] - 1, -A_DECADE)
    if start is None:
        best = walk(curve.at, decades, decades.index(PAPER) + 1, RISING)
    else:
        best = bracket(curve.at, min(decades, key=lambda step: abs(step - step_of(start))), A_DECADE, ENDS)
    bracket(curve.at, best, SPANS[0], ENDS)


def _fine(curve: Curve, spans: tuple[int, ...]) -> None:
    """To the least loss from the best that is known."""
    if not isinstance(curve.settings.objective.weight_decay, str):
        return
    best = step_of(curve.best().weight_decay)
    for span in spans:
        best = bracket(curve.at, best, span, ENDS)
    vertex(curve.at, best, spans[-1], ENDS)


def _on_all(curve: Curve) -> Curve:
    """The curve of all samples, near the least loss of the one of some, and at 0.01."""
    whole = _curve(curve.dataset, curve.settings, np.arange(curve.dataset.n_samples), curve.advance, False)
    whole.params.update(curve.params)
    whole.loss(curve.best().weight_decay)
    if not curve.by_folds:
        _fine(whole, (NEAR_SPAN,))
    if isinstance(curve.settings.objective.weight_decay, str):
        whole.at(PAPER)
    return whole


def _curve(dataset: Dataset, settings: Settings, rows: np.ndarray, advance: Callable[[], None], by_folds: bool) -> Curve:
    standardizer = standardizer_of(dataset.survey, settings.model.standardize)
    everything = len(rows) == dataset.n_samples
    made = standardizer.all_inputs(dataset.features) if everything else standardizer.inputs(dataset.features.read(rows))
    device, part = device_of(settings.execution.device), slice(None) if everything else rows
    inputs = torch.from_numpy(made).to(device)
    weights = None if dataset.weights is None else torch.from_numpy(dataset.weights[part]).to(device)
    counted = spread(dataset.targets, LOSS_ROWS) if everything and len(rows) > LOSS_ROWS else np.arange(len(rows))
    return Curve(
        dataset,
        settings,
        noise_finder(dataset, standardizer, settings),
        part,
        inputs,
        spectrum_of(inputs, weights),
        torch.from_numpy(counted).to(device),
        advance,
        by_folds,
    )


def spread(targets: Targets, n_rows: int) -> np.ndarray:
    """Positions (n_rows,) of samples that stand for all: evenly spaced in the order of their targets, ties in random order."""
    values = targets.values.reshape(len(targets), -1)
    shuffled = np.random.default_rng(0).permutation(len(targets))
    ordered = shuffled[np.lexsort(values[shuffled].T[::-1])]
    return np.sort(ordered[((np.arange(n_rows) + 0.5) * len(targets) / n_rows).astype(np.int64)])


def _end(curve: Curve) -> End:
    """Which end of the range of weight decays has the least loss; below the smallest that has an optimum there is none."""
    if curve.settings.objective.weight_decay != AUTO:
        return ""
    best = curve.best().weight_decay
    below = [failed for failed in curve.failures if failed < best]
    if best == decay_at(ENDS[0]) or (below and best == min(curve.trials)):
        return SMALLEST
    return LARGEST if best == decay_at(ENDS[1]) else ""


def _asked(settings: Settings) -> tuple[str, ...]:
    asked = {"weight_decay": settings.objective.weight_decay, "standardize": settings.model.standardize}
    return tuple(name for name, value in asked.items() if value == AUTO)


def _scalings(settings: Settings) -> tuple[str, ...]:
    """Those that are tried."""
    return SCALINGS if settings.model.standardize == AUTO else (settings.model.standardize,)


def _with(settings: Settings, weight_decay: float | None = None, standardize: str | None = None) -> Settings:
    """The settings with a weight decay, a scaling, or both."""
    if weight_decay is not None:
        settings = replace(settings, objective=replace(settings.objective, weight_decay=weight_decay))
    return settings if standardize is None else replace(settings, model=replace(settings.model, standardize=standardize))


def _decay(trial: Trial) -> float:
    return trial.weight_decay


def _place(trial: Trial) -> tuple[str, int, float]:
    return trial.standardize, trial.n_trained, trial.weight_decay
