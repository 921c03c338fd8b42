"""The weight decay and the scaling of the features with the least leave-one-out loss (docs/math.md, Weight decay).

Weight decays lie on a lattice of 24 to a decade, rounded to two digits, so that equal data choose the same one to the
last digit. On large data the search is made on some of the samples: what carries over between sizes is the prior precision W·w,
not w. Where the Hessian is large, the search goes by cross-validation, and only what it found is evaluated by
leaving one out. Where no Hessian is made at all (engine `local`), some of the samples are held out of a fit of others.
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
from lapsi.settings.engine import Local
from lapsi.settings.model import AUTO, EACH, SCALINGS
from lapsi.settings.settings import Settings
from lapsi.training.decay_curve import A_DECADE, FOLDED, HELD_OUT, LEFT_OUT, Curve, decay_at, step_of, with_choice
from lapsi.training.leave_one_out import FOLDS
from lapsi.training.newton import spectrum_of
from lapsi.training.noise import noise_finder
from lapsi.training.search import bracket, is_less, vertex, walk

Notes = tuple[tuple[str, str], ...]
STAGE = "choose weight decay"
ENDS = (-6 * A_DECADE, 2 * A_DECADE)
PAPER = -2 * A_DECADE  # 0.01
SPANS = (12, 4)
NEAR_SPAN = 6  # on all samples, where the search was made on some
CLOSE = 0.05  # of the least loss: a scaling that is further off at half a decade is not looked at closer
RISING = 2  # decades in succession that are worse, after which no smaller weight decay is tried
EVALUATIONS = 11  # of one curve, about
ON_MORE = 6  # of them on more samples, where the search starts on few and samples are held out
ON_ALL = 5  # of them on all samples, where the search starts on some
FOLDS_ABOVE = 5e9  # flop of one evaluation on some samples, above which it goes by cross-validation
AFFORDABLE_FLOP = 1e10  # up to which it is all made on all samples
SOME_ROWS, LOSS_ROWS = 2048, 4096
FEW_SHARE, MORE_SHARE = 16, 4  # one sample in so many is looked at, first and last, where samples are held out
FEW_ROWS, MORE_ROWS = 1024, 2048  # at least
HELD_ROWS = 2048  # losses that the last look averages, fold by fold where that takes several
HELD_PASSES = 25  # gradients of a fit that starts at that of a weight decay nearby, as seen
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
    settings = for_units(settings, dataset.own_units)
    record, chosen = None, settings
    if settings.is_open:
        with stages.stage(STAGE, EVALUATIONS * len(_scalings(settings))) as advance:
            record = _search(dataset, settings, lambda: advance(1))
        chosen = with_choice(settings, record.chosen.weight_decay, record.chosen.standardize)
    standardizer = standardizer_of(dataset.survey, chosen.model.standardize)
    return Regularized(noise_finder(dataset, standardizer, chosen)(chosen), standardizer, record)


def for_units(settings: Settings, own_units: bool) -> Settings:
    """The settings with features each scaled by itself, where these have units of their own and the scaling is left open.

    By one factor the feature of the largest unit would decide alone.
    """
    return with_choice(settings, standardize=EACH) if own_units and settings.model.standardize == AUTO else settings


def evaluation_flop(n_rows: int, n_features: int, n_outputs: int, n_directions: int) -> float:
    """Of one weight decay: fit, Hessian, factor and inverse, leave-one-out losses."""
    free = float(n_directions * n_features)
    fit = NEAR_PASSES * 4.0 * n_rows * n_features * n_outputs
    return fit + 0.625 * n_rows * free * (free + n_features) + 2.0 * free**3 + 2.0 * min(n_rows, LOSS_ROWS) * free**2


def choice_flop(n_rows: int, n_features: int, n_outputs: int, n_directions: int, settings: Settings) -> float:
    """Of the whole choice."""
    shape, curves = (n_features, n_outputs, n_directions), len(_scalings(settings))
    whole = evaluation_flop(n_rows, *shape)
    if _holds_out(n_rows, shape, settings):
        few, more = _looked_at(n_rows)
        seen = curves * EVALUATIONS * few + ON_MORE * _folds_of(more) * more
        return HELD_PASSES * 4.0 * seen * n_features * n_outputs
    if _is_large(n_rows, *shape):
        some = min(SOME_ROWS, n_rows // 2)
        folds = (1 + FOLDS) * NEAR_PASSES * 4.0 * some * n_features * n_outputs
        return curves * EVALUATIONS * folds + 2 * whole
    if EVALUATIONS * whole <= AFFORDABLE_FLOP or n_rows <= SOME_ROWS:
        return curves * EVALUATIONS * whole
    return curves * EVALUATIONS * evaluation_flop(SOME_ROWS, *shape) + ON_ALL * whole


def _holds_out(n_rows: int, shape: tuple[int, int, int], settings: Settings) -> bool:
    """Whether the engine makes no Hessian and the search cannot afford that of all samples either."""
    return isinstance(settings.engine, Local) and EVALUATIONS * evaluation_flop(n_rows, *shape) > AFFORDABLE_FLOP


def _looked_at(n_rows: int) -> tuple[int, int]:
    """How many samples are fitted or held out, first and last."""
    return min(n_rows // 2, max(FEW_ROWS, n_rows // FEW_SHARE)), min(n_rows, max(MORE_ROWS, n_rows // MORE_SHARE))


def _folds_of(n_rows: int) -> int:
    """How many fifths of samples are held out, each in its turn."""
    return min(FOLDS, -(-FOLDS * HELD_ROWS // n_rows))


def _is_large(n_rows: int, n_features: int, n_outputs: int, n_directions: int) -> bool:
    """Whether one exact evaluation on some of the samples costs so much that the search goes by cross-validation."""
    return evaluation_flop(min(SOME_ROWS, n_rows), n_features, n_outputs, n_directions) > FOLDS_ABOVE


def choice_notes(n_rows: int, n_features: int, n_outputs: int, n_directions: int, settings: Settings) -> Notes:
    """What a plan says of it, (name, value)."""
    held = _holds_out(n_rows, (n_features, n_outputs, n_directions), settings)
    how = f"by the loss of held-out samples, among {_looked_at(n_rows)[1]:,}" if held else "by leave-one-out loss"
    names = {"weight_decay": "weight decay", "standardize": "scaling of features"}
    return tuple((names[asked], f"chosen {how}") for asked in _asked(settings))


def _search(dataset: Dataset, settings: Settings, advance: Callable[[], None]) -> Regularization:
    n_samples, targets = dataset.n_samples, dataset.targets
    shape = min(dataset.n_features + 1, n_samples), targets.n_outputs, directions_of(targets)
    if _holds_out(n_samples, shape, settings):
        few, more = _looked_at(n_samples)
        way, last, some = HELD_OUT, spread(targets, more), spread(targets, few)
    else:
        way = FOLDED if _is_large(n_samples, *shape) else LEFT_OUT
        affordable = n_samples <= SOME_ROWS or EVALUATIONS * evaluation_flop(n_samples, *shape) <= AFFORDABLE_FLOP
        last, some = np.arange(n_samples), spread(targets, min(SOME_ROWS, n_samples // 2))
        some = last if way == LEFT_OUT and affordable else some
    curves = [_curve(dataset, with_choice(settings, standardize=name), some, advance, way) for name in _scalings(settings)]
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
    if len(some) < len(last):
        curve = _on_more(curve, last)
        curves.append(curve)
    trials = sorted((trial for each in curves for trial in each.trials.values()), key=_place)
    return Regularization(_asked(settings), curve.best(), tuple(trials), curve.n_losses, _end(curve))


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


def _on_more(curve: Curve, rows: np.ndarray) -> Curve:
    """The curve of more samples, near the least loss of the one of some, and at 0.01."""
    way = HELD_OUT if curve.way == HELD_OUT else LEFT_OUT
    whole = _curve(curve.dataset, curve.settings, rows, curve.advance, way, _folds_of(len(rows)))
    whole.params.update(curve.params)
    whole.loss(curve.best().weight_decay)
    if curve.way != FOLDED:
        _fine(whole, (NEAR_SPAN,))
    if isinstance(curve.settings.objective.weight_decay, str):
        whole.at(PAPER)
    return whole


def _curve(
    dataset: Dataset, settings: Settings, rows: np.ndarray, advance: Callable[[], None], way: str, n_folds: int = 1
) -> Curve:
    """The curve of samples `rows`; where they are held out, of `n_folds` fifths, each in its turn."""
    standardizer = standardizer_of(dataset.survey, settings.model.standardize)
    everything = len(rows) == dataset.n_samples
    if everything:
        made = inputs_of(dataset, standardizer)
    else:
        made = torch.from_numpy(standardizer.inputs(dataset.features.read(rows)))
    device, part = device_of(settings.execution.device), slice(None) if everything else rows
    inputs, span = in_span(made.to(device))
    weights = None if dataset.weights is None else torch.from_numpy(dataset.weights[part]).to(device)
    counted = [np.arange(len(rows))]
    if way == HELD_OUT:
        order = _ordered(dataset.targets.take(rows))
        counted = [np.sort(order[fold::FOLDS]) for fold in range(n_folds)]
    elif everything and len(rows) > LOSS_ROWS:
        counted = [spread(dataset.targets, LOSS_ROWS)]
    return Curve(
        dataset,
        settings,
        noise_finder(dataset, standardizer, settings),
        part,
        inputs,
        span,
        spectrum_of(inputs, weights),
        tuple(torch.from_numpy(each).to(device) for each in counted),
        advance,
        way,
    )


def spread(targets: Targets, n_rows: int) -> np.ndarray:
    """Positions (n_rows,) of samples that stand for all: evenly spaced in the order of their targets, ties in random order."""
    return np.sort(_ordered(targets)[((np.arange(n_rows) + 0.5) * len(targets) / n_rows).astype(np.int64)])


def _ordered(targets: Targets) -> np.ndarray:
    """Positions (N,) in the order of the targets, ties in random order."""
    values = targets.values.reshape(len(targets), -1)
    shuffled = np.random.default_rng(0).permutation(len(targets))
    return shuffled[np.lexsort(values[shuffled].T[::-1])]


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
