"""A trained module, its curvature, and the samples that leave it one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from lapsi.curvature.ekfac import BasisCurvature, DenseCurvature
from lapsi.curvature.products import GgnProduct, ProductByPasses, ProductOfRoots
from lapsi.curvature.said import Basis, Said, said_by, turned
from lapsi.engines.base import Fit, Part, Units, again, parts_of, single_rows
from lapsi.engines.ekfac.steps import Hessian
from lapsi.execution.checkpoint import Arrays
from lapsi.execution.progress import Advance
from lapsi.linalg.conjugate_gradients import Solution, conjugate_gradients
from lapsi.problem.base import weight_of
from lapsi.problem.module import ModuleProblem
from lapsi.problem.removed import CLOSED_FORM, DRAW_ERROR, REFINED, TRAINED, Removed
from lapsi.results.verification import TRAINED_ON
from lapsi.settings.recipe import Recipe
from lapsi.training.module_optimum import in_float64, module_optimum, set_params
from lapsi.training.stacked import StackedTrainer

PART_UNITS = 512
MOST_PASSES = 400  # over the data, of training on
MOST_PRODUCTS = 50  # with the whole GGN, of each sample
SOLVED_BYTES = 2**30
ROOT_BYTES = 256 * 2**20  # of the roots of a chunk


@final
@dataclass(frozen=True, slots=True, eq=False)
class EkfacFit(Fit):
    """Where samples leave from.

    Attributes:
        module_problem: the module on all samples.
        basis: that the steps are taken in.
        hessian: there.
        curvature: of the posterior.
        origin: of the weights: the norm of the gradient of the mean loss there, and how far that is from an optimum.
        n_refined: samples of the highest LSI whose steps are taken by the whole GGN.
        tolerance: of the residual of those.
        recipe: by which samples that are checked are trained on; None: to the optimum.
        seed: of its batches.
    """

    module_problem: ModuleProblem
    basis: Basis
    hessian: Hessian
    curvature: BasisCurvature | DenseCurvature
    origin: dict[str, Any]
    n_refined: int = 0
    tolerance: float = 1e-3
    recipe: Recipe | None = None
    seed: int = 0

    @property
    def problem(self) -> ModuleProblem:
        return self.module_problem

    @property
    def reference_name(self) -> str:
        return TRAINED_ON

    def parts(self, n_units: int) -> list[Part]:
        return parts_of("seed0", np.arange(n_units), PART_UNITS)

    def further(self, done: Sequence[Part], found: Arrays, advance: Advance) -> list[Part]:
        """The samples of the highest LSI, by the whole GGN."""
        lsi = np.nan_to_num(found["lsi_mean"][-1] + found["lsi_curvature"][-1], nan=np.inf)
        count = min(self.n_refined, len(lsi))
        if count == 0 or done[-1].way == REFINED:
            return []
        chosen = np.sort(np.argsort(-lsi, kind="stable")[:count])
        return again(parts_of("refined", chosen, self._solved_at_once, REFINED))

    def mending(self, positions: np.ndarray) -> list[Part]:
        return []

    def later_steps(self, n_units: int) -> int:
        return min(self.n_refined, n_units)

    def remove(self, units: Units, part: Part, advance: Advance) -> Iterator[Removed]:
        rows, start = single_rows(part.units_of(units)), 0
        params = turned(self.problem.layers, self.basis, self.problem.params)
        solved = self._solved(rows, params) if part.way == REFINED else None
        for said in said_by(self.problem, rows, self._at_once):
            root = said.root(self.basis)
            step = self.hessian.step(*self._sides(said, root, params))
            positions = slice(start, start := start + len(said.rows))
            shift = step.shift if solved is None else solved.value[positions]
            left = (
                torch.full((len(said.rows),), torch.nan, dtype=torch.float64) if solved is None else solved.residual[positions]
            )
            change = said.output_change(turned(self.problem.layers, self.basis, shift, back=True))
            told = self.problem.loss.told(said.passed.outputs.detach().double() + change, said.targets)
            removed = Removed(
                said.rows[:, None],
                np.arange(len(rows))[positions],
                shift.new_empty(0),
                shift,
                told[:, None],
                CLOSED_FORM if solved is None else REFINED,
                left,
                {"leverage": step.leverage, "output_change": change.abs().flatten(1).amax(1)},
                own=self.curvature.own(said, root),
            )
            yield self._with_draw_error(removed, said, root) if self.problem.loss.is_sampled else removed
            advance(len(said.rows))

    def _with_draw_error(self, removed: Removed, said: Said, root: Tensor) -> Removed:
        """With the standard error of LSI, relative, of the mean of two halves of the drawn roots."""
        halves = [self.curvature.own(said.half(which), 2**0.5 * root[:, which::2]) for which in (0, 1)]
        first, second = (self.curvature.divergence(replace(removed, own=own)).total for own in halves)
        error = 0.5 * (first - second).abs() / self.curvature.divergence(removed).total
        return replace(removed, diagnostics={**removed.diagnostics, DRAW_ERROR: error})

    def _sides(self, said: Said, root: Tensor, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """g + Δl2·params (n, P), the roots (n, r, P), and Δl2 (n,) of a batch; params (P,) in the basis, as all of it."""
        drop = self.problem.objective.l2_drop(weight_of(self.problem, said.rows))
        return said.gradient(self.basis).double() + drop[:, None] * params, root, drop

    def _solved(self, rows: Tensor, params: Tensor) -> Solution:
        """(GGN + l2 − R Rᵀ) shift = g + Δl2·params of samples `rows` (n,), preconditioned by the step."""
        sides = [self._sides(said, said.root(self.basis), params) for said in said_by(self.problem, rows, self._at_once)]
        width = max(root.shape[1] for _, root, _ in sides)
        right, drop = torch.cat([each[0] for each in sides]), torch.cat([each[2] for each in sides])
        own = torch.cat([torch.nn.functional.pad(root, (0, 0, 0, width - root.shape[1])) for _, root, _ in sides])
        product, l2 = self._product(rows, own), self.problem.objective.l2(self.problem.total)

        def times(vectors: Tensor, active: Tensor) -> Tensor:
            return product(vectors, active) + (l2 - drop[active])[:, None] * vectors

        def precondition(vectors: Tensor, active: Tensor) -> Tensor:
            return self.hessian.step(vectors, own[active], drop[active]).shift

        start = self.hessian.step(right, own, drop).shift
        return conjugate_gradients(
            times, right, precondition, tolerance=self.tolerance, max_iterations=MOST_PRODUCTS, start=start
        )

    def _product(self, rows: Tensor, own: Tensor) -> GgnProduct:
        """Without samples `rows` (n,), of roots `own` (n, r, P)."""
        if self.problem.loss.is_sampled:
            return ProductByPasses(self.problem, self.basis, rows)
        return ProductOfRoots(self.problem, self.basis, own)

    def reference(self, units: Units) -> Iterator[Removed]:
        """Trained on from the given weights, in float64: with all samples, and without each."""
        moved, rows = in_float64(self.problem), single_rows(units)
        for position, (params, shift) in enumerate(self._trained_on(moved, rows)):
            row = rows[position]
            set_params(moved.layers, params + shift)
            outputs = moved.outputs(params + shift, row[None])
            set_params(moved.layers, params)
            ((_, own),) = ((said, self.curvature.own(said, said.root(self.basis))) for said in said_by(moved, row[None]))
            yield Removed(
                row[None, None],
                np.array([position]),
                params,
                turned(self.problem.layers, self.basis, shift[None]),
                outputs[:, None],
                TRAINED,
                torch.full((1,), torch.nan, dtype=torch.float64),
                own=own,
            )

    def _trained_on(self, moved: ModuleProblem, rows: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Params with all samples and the shift (P,) without each of `rows` (n,): by the recipe, or from the optimum to that
        without the sample."""
        if self.recipe is not None:
            trainer = StackedTrainer(moved, self.recipe, 1)
            for row in rows:
                (last,) = trainer(row[None], self.problem.params, self.seed, {self.recipe.epochs}, lambda _: None)
                yield last.params, last.shift[0]
            return
        whole = module_optimum(moved, self.problem.params, MOST_PASSES).params
        for row in rows:
            set_params(moved.layers, whole)
            yield whole, module_optimum(moved.remove(row[None]), whole, MOST_PASSES).params - whole

    def n_checks(self, verify: int, n_units: int) -> int:
        return min(verify, n_units)

    def record(self, params: Tensor) -> dict[str, Any]:
        return self.origin

    @property
    def _at_once(self) -> int:
        """Samples of which the roots are held together."""
        itemsize = self.problem.batches.dtype.itemsize
        per_sample = (3 * itemsize * self.problem.loss.n_roots + 6 * 8) * self.problem.n_params
        return max(1, min(self.problem.pass_size, ROOT_BYTES // per_sample))

    @property
    def _solved_at_once(self) -> int:
        """Samples whose vectors and roots are held while conjugate gradients go on."""
        per_sample = 8 * (8 + 2 * self.problem.loss.n_roots) * self.problem.n_params
        return max(1, min(PART_UNITS, SOLVED_BYTES // per_sample))
