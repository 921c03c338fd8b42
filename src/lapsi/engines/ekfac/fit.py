"""A trained module, its curvature, and the samples that leave it one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from lapsi.curvature.basis import Basis, turned
from lapsi.curvature.ekfac import BasisCurvature, DenseCurvature
from lapsi.curvature.products import GgnProduct, ProductByPasses, ProductOfRoots
from lapsi.curvature.said import LayerSaid, Said, said_by
from lapsi.engines.base import Fit, Part, Units, again, parts_of, single_rows
from lapsi.engines.ekfac.steps import Hessian, Sides
from lapsi.execution.checkpoint import Arrays
from lapsi.execution.progress import Advance
from lapsi.linalg.conjugate_gradients import Solution, conjugate_gradients
from lapsi.models.likelihoods.base import weighted
from lapsi.problem.base import weight_of
from lapsi.problem.module import ModuleProblem
from lapsi.problem.removed import AT_OPTIMUM, CLOSED_FORM, DRAW_ERROR, REFINED, TRAINED, Removed
from lapsi.results.verification import TRAINED_ON
from lapsi.settings.recipe import Recipe
from lapsi.training.module_optimum import in_float64, module_optimum, set_params
from lapsi.training.stacked import StackedTrainer

PART_UNITS = 512
MOST_PASSES = 400  # over the data, of training on
MOST_PRODUCTS = 50  # with the whole GGN, of each sample
SOLVED_BYTES = 2**30
ROOT_ENTRIES = 2**20  # of the roots of some samples
SHIFT_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True, eq=False)
class Half:
    """What a half of the draws makes of all samples: `hessian` and `curvature` as of `EkfacFit`."""

    hessian: Hessian
    curvature: BasisCurvature


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
        halves: the same by each half of the draws, where roots are drawn.
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
    halves: tuple[Half, ...] = ()

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
        order = self.problem.loss.alike(rows)
        for said in said_by(self.problem, rows[order], self._held, twice=True):
            positions = order[start : (start := start + len(said.rows))]
            shifts = None if solved is None else solved.value[positions]
            remaining = torch.full((len(said.rows),), torch.nan) if solved is None else solved.residual[positions]
            left = self._left(said, params, shifts)
            yield Removed(
                said.rows[:, None],
                positions.numpy(),
                params.new_empty(0),
                left.shift,
                left.outputs[:, None],
                CLOSED_FORM if solved is None else REFINED,
                remaining.double(),
                left.diagnostics,
                own=left.own,
                own_paired=left.own_paired,
            )
            advance(len(said.rows))

    def _left(self, said: Said, params: Tensor, shifts: Tensor | None) -> _Left:
        """What samples leave behind, by the step or by shifts (n, P) that are known; params (P,) in the basis, as all of it."""
        sizes = [layer.n_params for layer in said.layers]
        found: list[tuple[Tensor, Tensor, Tensor | None, dict[str, Tensor]]] = []
        moves: list[list[Tensor]] = [[] for _ in sizes]
        start = 0
        for some in said.split(self._at_once):
            layers, drop = list(some.in_basis(self.basis)), self._drop(some)
            step = self.hessian.step(_sides(some, layers, params, drop), drop)
            shift = step.shift if shifts is None else shifts[start : start + len(some.rows)]
            start += len(some.rows)
            own, paired = self.curvature.own(some, step.squares), None
            diagnostics = {"leverage": step.leverage}
            if some.n_drawn > 0:
                assert isinstance(self.curvature, BasisCurvature)
                paired = self.curvature.paired(some, own)
                lsi = self._lsi(self.curvature, some.rows, shift, own, paired)
                diagnostics[DRAW_ERROR] = self._draw_error(some, params, None if shifts is None else shift, lsi)
            found.append((shift, own, paired, diagnostics))
            for move, each, of_layer in zip(moves, layers, shift.split(sizes, 1), strict=True):
                move.append(each.moved(of_layer.to(each.inputs.dtype)))
        change = said.output_change_of([torch.cat(move) for move in moves])
        told = self.problem.loss.told(said.passed.outputs.detach().double() + change, said.targets)
        moved, owns, pairs, told_of = zip(*found, strict=True)
        together = {name: torch.cat([each[name] for each in told_of]) for name in told_of[0]}
        together["output_change"] = change.abs().flatten(1).amax(1)
        paired = None if pairs[0] is None else torch.cat(pairs)
        return _Left(torch.cat(moved), _padded(owns), paired, told, together)

    def _drop(self, said: Said) -> Tensor:
        """What leaves of the L2 strength (n,)."""
        return self.problem.objective.l2_drop(weight_of(self.problem, said.rows))

    def _draw_error(self, said: Said, params: Tensor, shift: Tensor | None, lsi: Tensor) -> Tensor:
        """The standard error (n,) of LSI (n,), relative: of the mean of two halves of all draws, of the other samples too.

        `shift` (n, P) where no step is taken with the halves; params (P,) in the basis.
        """
        drop, found = self._drop(said), []
        for half, own in zip(self.halves, said.halves, strict=True):
            step = half.hessian.step(_sides(own, list(own.in_basis(self.basis)), params, drop), drop)
            taken = step.shift if shift is None else shift
            found.append(self._lsi(half.curvature, said.rows, taken, half.curvature.own(own, step.squares)))
        return 0.5 * (found[0] - found[1]).abs() / lsi

    def _lsi(self, curvature: BasisCurvature, rows: Tensor, shift: Tensor, own: Tensor, paired: Tensor | None = None) -> Tensor:
        unknown, positions = torch.full((len(rows),), torch.nan), np.arange(len(rows))
        return curvature.divergence(
            Removed(rows[:, None], positions, shift, shift, shift, CLOSED_FORM, unknown, own=own, own_paired=paired)
        ).total

    def _solved(self, rows: Tensor, params: Tensor) -> Solution:
        """(GGN + l2 − R Rᵀ) shift = g + Δl2·params of samples `rows` (n,), preconditioned by the step."""
        sides, drops = [], []
        for said in said_by(self.problem, rows, self._solved_at_once):
            drop = self._drop(said)
            parts = list(_sides(said, list(said.in_basis(self.basis)), params, drop))
            sides.append(Sides(torch.cat([each.right for each in parts], 1), torch.cat([each.root for each in parts], 2)))
            drops.append(drop)
        right, own, drop = (
            torch.cat([each.right for each in sides]).double(),
            _padded([each.root for each in sides]),
            torch.cat(drops),
        )
        product, l2 = self._product(rows, own), self.problem.objective.l2(self.problem.total)

        def times(vectors: Tensor, active: Tensor) -> Tensor:
            return product(vectors, active) + (l2 - drop[active])[:, None] * vectors

        def precondition(vectors: Tensor, active: Tensor) -> Tensor:
            return self.hessian.step([Sides(vectors, own[active])], drop[active]).shift.double()

        start = self.hessian.step([Sides(right, own)], drop).shift.double()
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
        for position, (params, shift, at_optimum) in enumerate(self._trained_on(moved, rows)):
            row = rows[position]
            set_params(moved.layers, params + shift)
            outputs = moved.outputs(params + shift, row[None])
            set_params(moved.layers, self.problem.params)  # of which the sums of the curvature are
            (said,) = said_by(moved, row[None])
            own, paired = self.curvature.own(said), None
            if isinstance(self.curvature, BasisCurvature) and said.n_drawn > 0:
                paired = self.curvature.paired(said, own)
            yield Removed(
                row[None, None],
                np.array([position]),
                params,
                turned(self.problem.layers, self.basis, shift[None]),
                outputs[:, None],
                TRAINED,
                torch.full((1,), torch.nan, dtype=torch.float64),
                {} if at_optimum is None else {AT_OPTIMUM: torch.tensor([at_optimum])},
                own=own,
                own_paired=paired,
            )

    def _trained_on(self, moved: ModuleProblem, rows: Tensor) -> Iterator[tuple[Tensor, Tensor, bool | None]]:
        """Params with all samples, the shift (P,) without each of `rows` (n,), and whether both are optima: by the recipe
        (None), or from the optimum to that without the sample."""
        if self.recipe is not None:
            trainer = StackedTrainer(moved, self.recipe, 1)
            for row in rows:
                (last,) = trainer(row[None], self.problem.params, self.seed, {self.recipe.epochs}, lambda _: None)
                yield last.params, last.shift[0], None
            return
        whole = module_optimum(moved, self.problem.params, MOST_PASSES)
        for row in rows:
            set_params(moved.layers, whole.params)
            found = module_optimum(moved.remove(row[None]), whole.params, MOST_PASSES)
            yield whole.params, found.params - whole.params, whole.is_converged and found.is_converged

    def n_checks(self, verify: int, n_units: int) -> int:
        return min(verify, n_units)

    def record(self, params: Tensor) -> dict[str, Any]:
        return self.origin

    @property
    def _at_once(self) -> int:
        """Samples of which the roots are held together, so that they stay in the cache."""
        return max(1, ROOT_ENTRIES // (self.problem.loss.n_directions * self.problem.n_params))

    @property
    def _held(self) -> int:
        """Samples of which the shifts are held together."""
        kept = 3 if self.problem.loss.is_sampled else 2
        per_sample = kept * self.problem.batches.dtype.itemsize * self.problem.n_params
        return max(1, min(self.problem.pass_size, SHIFT_BYTES // per_sample))

    @property
    def _solved_at_once(self) -> int:
        """Samples whose vectors and roots are held while conjugate gradients go on."""
        per_sample = 8 * (8 + 2 * self.problem.loss.n_directions) * self.problem.n_params
        return max(1, min(PART_UNITS, SOLVED_BYTES // per_sample))


@dataclass(frozen=True, slots=True, eq=False)
class _Left:
    """Of n samples that left: as in `Removed`."""

    shift: Tensor
    own: Tensor
    own_paired: Tensor | None
    outputs: Tensor
    diagnostics: dict[str, Tensor]


def _sides(said: Said, layers: Sequence[LayerSaid], params: Tensor, drop: Tensor) -> Iterator[Sides]:
    """g + Δl2·params (n, p) and the roots (n, r, p) of some parameters after the other; params (P,) in the basis."""
    start = 0
    for layer in layers:
        for piece in layer.pieces():
            own = params[start : (start := start + piece.shape[2])]
            right = weighted(piece[:, 0], said.residual_scale) + (drop[:, None] * own).to(piece.dtype)
            yield Sides(right, said.rooted(piece))


def _padded(parts: Sequence[Tensor]) -> Tensor:
    """Of parts (n, …, P), those with fewer roots filled up with 0."""
    if parts[0].ndim == 2:  # what has no roots
        return torch.cat(list(parts))
    width = max(part.shape[1] for part in parts)
    return torch.cat([torch.nn.functional.pad(part, (0, 0, 0, width - part.shape[1])) for part in parts])
