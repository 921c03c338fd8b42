"""The weight decay and the scaling of the features with the least leave-one-out loss (docs/math.md, Weight decay).

Weight decays lie on a lattice of 24 to a decade, rounded to two digits, so that equal data choose the same one to the
last digit. On large data the search is made on some of the samples: what carries over between sizes is the prior precision W·w,
not w. Where the Hessian is large, the search goes by cross-validation, and only what it found is evaluated by
leaving one out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from lapsi.data.dataset import Dataset
from lapsi.data.standardize import Standardizer, standardizer_of
from lapsi.data.targets import Targets
from lapsi.execution.device import device_of
from lapsi.execution.progress import Stages
from lapsi.models.likelihoods.choose import directions_of
from lapsi.problem.of_dataset import in_span, inputs_of
from lapsi.results.regularization import LARGEST, SMALLEST, End, Regularization, Trial
from lapsi.settings.model import AUTO, SCALINGS
from lapsi.settings.settings import Settings
from lapsi.training.decay_curve import A_DECADE, Curve, decay_at, step_of, with_choice
from lapsi.training.leave_one_out import FOLDS
from lapsi.training.newton import spectrum_of
from lapsi.training.noise import noise_finder
from lapsi.training.search import bracket, is_less, vertex, walk

STAGE = "choose weight decay"
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
        chosen = with_choice(settings, record.chosen.weight_decay, record.chosen.standardize)
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


def _search(dataset: Dataset, settings: Settings, advance: Callable[[], None]) -> Regularization:
    n_samples, targets = dataset.n_samples, dataset.targets
    shape = dataset.n_features + 1, targets.n_outputs, directions_of(targets)
    large = _is_large(n_samples, *shape)
    on_all = not large and (n_samples <= SOME_ROWS or EVALUATIONS * evaluation_flop(n_samples, *shape) <= AFFORDABLE_FLOP)
    some = np.arange(n_samples) if on_all else spread(targets, min(SOME_ROWS, n_samples // 2))
    curves = [_curve(dataset, with_choice(settings, standardize=name), some, advance, large) for name in _scalings(settings)]
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
    if everything:
        made = inputs_of(dataset, standardizer)
    else:
        made = torch.from_numpy(standardizer.inputs(dataset.features.read(rows)))
    device, part = device_of(settings.execution.device), slice(None) if everything else rows
    inputs, span = in_span(made.to(device))
    weights = None if dataset.weights is None else torch.from_numpy(dataset.weights[part]).to(device)
    counted = spread(dataset.targets, LOSS_ROWS) if everything and len(rows) > LOSS_ROWS else np.arange(len(rows))
    return Curve(
        dataset,
        settings,
        noise_finder(dataset, standardizer, settings),
        part,
        inputs,
        span,
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


def _place(trial: Trial) -> tuple[str, int, float]:
    return trial.standardize, trial.n_trained, trial.weight_decay
