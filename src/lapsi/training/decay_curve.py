"""The leave-one-out loss by weight decay, on a lattice of 24 weight decays to a decade."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from lapsi.data.dataset import Dataset
from lapsi.errors import ConvergenceError, InputError, LapsiError
from lapsi.problem.base import weight_of
from lapsi.problem.linear import LinearProblem
from lapsi.problem.of_dataset import Rows, linear_problem_on
from lapsi.results.regularization import Trial
from lapsi.settings.settings import Settings
from lapsi.training.leave_one_out import (
    average,
    copy_hessian,
    cross_validated_losses,
    leave_one_out_losses,
    log_evidence,
    with_prior_held,
)
from lapsi.training.newton import Spectrum, inverse_of, near_map, rough_map
from lapsi.training.search import is_less

A_DECADE = 24
FLOAT32_ABOVE = 256  # rows of a Hessian
HELD_TOLERANCE = 1e-4  # of a fit whose loss is wanted to a few digits
LEFT_OUT, FOLDED, HELD_OUT = "left out", "folded", "held out"


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Leave-one-out loss by weight decay, of one scaling and some of the samples; each is computed once.

    Attributes:
        dataset, settings: of all samples; the scaling is known, the weight decay not yet.
        with_noise: settings of a weight decay to those with their noise variance.
        rows: the samples that are looked at; of these `counted` (m,) have their losses averaged, those of several
            folds (m,) each where they are held out.
        inputs, span, spectrum: (n, D) of `rows`, in what they are coordinates (None where they are plain), and their spectrum.
        advance: called once a weight decay.
        way: how samples are unseen: each left out in closed form; fold by fold; or those that count, of one fit of the others.
        trials, params, failures: what was found by weight decay; params (F, d) to start from, from here or elsewhere, plain.
    """

    dataset: Dataset
    settings: Settings
    with_noise: Callable[[Settings], Settings]
    rows: Rows
    inputs: Tensor
    span: Tensor | None
    spectrum: Spectrum
    counted: tuple[Tensor, ...]
    advance: Callable[[], None]
    way: str
    trials: dict[float, Trial] = field(default_factory=dict)
    params: dict[float, Tensor] = field(default_factory=dict)
    failures: dict[float, LapsiError] = field(default_factory=dict)

    @property
    def n_losses(self) -> int:
        """How many losses are averaged."""
        return sum(len(rows) for rows in self.counted)

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
        chosen = self.with_noise(with_choice(self.settings, weight_decay))
        part = linear_problem_on(self.dataset, self.inputs, chosen, self.rows)
        whole = self.dataset.n_samples if self.dataset.weights is None else float(self.dataset.weights.sum())
        return replace(part, objective=replace(part.objective, weight_decay=weight_decay * whole / part.total))

    def _trial(self, weight_decay: float) -> Trial:
        problem = self.problem(weight_decay)
        params, losses, evidence = self._found(problem, self._start(weight_decay))
        found = average(losses, weight_of(problem, torch.cat(self.counted)))
        if not math.isfinite(found.mean):
            raise ConvergenceError("The leave-one-out loss is not finite; use a larger weight decay.")
        self.params[weight_decay] = params if self.span is None else params @ self.span
        return Trial(weight_decay, self.settings.model.standardize, found.mean, found.error, evidence, len(self.inputs))

    def _found(self, problem: LinearProblem, start: Tensor | None) -> tuple[Tensor, Tensor, float | None]:
        """Params, losses, and the evidence where it is known."""
        ways = {LEFT_OUT: self._exact, FOLDED: self._cross_validated, HELD_OUT: self._held_out}
        return ways[self.way](problem, start)

    def _exact(self, problem: LinearProblem, start: Tensor | None) -> tuple[Tensor, Tensor, float]:
        """Params, losses and evidence, by the whole Hessian."""
        fit, factor = near_map(problem, self.spectrum, start)
        inverse = inverse_of(copy_hessian(fit), None if len(factor) > FLOAT32_ABOVE else "float64")
        return fit.params, leave_one_out_losses(problem, fit.params, inverse, self.counted[0]), log_evidence(fit, factor)

    def _cross_validated(self, problem: LinearProblem, start: Tensor | None) -> tuple[Tensor, Tensor, None]:
        """Params and losses, by fits of the other folds."""

        def refit(part: LinearProblem, near: Tensor | None) -> Tensor:
            return rough_map(part, self.spectrum, near)

        params = refit(problem, start)
        return params, cross_validated_losses(problem, params, refit), None

    def _held_out(self, problem: LinearProblem, start: Tensor | None) -> tuple[Tensor, Tensor, None]:
        """Params of the last fold, and losses, each fold by a fit of all others."""
        held, fits, losses = with_prior_held(problem), [start], []
        for rows in self.counted:
            params = rough_map(held.remove(rows), self.spectrum, fits[-1], HELD_TOLERANCE)
            losses.append(problem.likelihood.loss(problem.outputs(params, rows), problem.targets[rows]))
            fits.append(params)
        return params, torch.cat(losses), None

    def _start(self, weight_decay: float) -> Tensor | None:
        nearest = min(self.params, key=lambda known: abs(math.log(known / weight_decay)), default=None)
        if nearest is None:
            return None
        return self.params[nearest] if self.span is None else self.params[nearest] @ self.span.T


def decay_at(step: int) -> float:
    """The weight decay of a lattice step, 0 for 1, in two digits."""
    return float(f"{10 ** (step / A_DECADE):.2g}")


def step_of(weight_decay: float) -> int:
    """The lattice step of `decay_at`."""
    return round(A_DECADE * math.log10(weight_decay))


def with_choice(settings: Settings, weight_decay: float | None = None, standardize: str | None = None) -> Settings:
    """The settings with a weight decay, a scaling, or both."""
    if weight_decay is not None:
        settings = replace(settings, objective=replace(settings.objective, weight_decay=weight_decay))
    return settings if standardize is None else replace(settings, model=replace(settings.model, standardize=standardize))


def _decay(trial: Trial) -> float:
    return trial.weight_decay
