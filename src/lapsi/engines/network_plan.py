"""What scoring the data of a network will cost, told after one pass over them and before the others."""

from __future__ import annotations

import time
from dataclasses import dataclass

from lapsi.curvature.ekfac import FACTOR_SAMPLES
from lapsi.engines.ekfac.engine import n_refined, solving_flop
from lapsi.engines.ekfac.fit import SHIFT_BYTES
from lapsi.engines.retrain.module import MODEL_BYTES, PART_MODELS, model_bytes
from lapsi.execution.cost import GIB, LIBRARIES_BYTES, TWO_CORES, Cost, duration, memory_limit
from lapsi.execution.progress import Stages
from lapsi.models.module.layers import EmbeddingLayer, ProductLayer
from lapsi.problem.module import ModuleProblem
from lapsi.problem.of_module import Trained
from lapsi.settings.engine import Retrain
from lapsi.settings.network import Ekfac

PASSES_TO_OPTIMUM = 100  # forwards and backwards in float64, of a sample that is verified, as seen


@dataclass(frozen=True, slots=True)
class NetworkPlan:
    """Cost of a run on a network.

    Attributes:
        cost: memory; without flop, which passes do not tell.
        seconds: wall time of each stage, from that of a batch forwards.
    """

    cost: Cost
    seconds: dict[str, float]

    def tell(self, stages: Stages) -> None:
        """In a line, where progress is shown."""
        slowest = max(self.seconds, key=lambda name: self.seconds[name])
        time = f"{duration(sum(self.seconds.values()))} ({slowest} {duration(self.seconds[slowest])})"
        stages.say(f"About {time}, {self.cost.peak_bytes / GIB:.1f} GiB at the peak.")


def forward_seconds(problem: ModuleProblem) -> float:
    """Of a pass forwards over all samples, from a batch in the middle of them."""
    size = min(problem.pass_size, problem.n_samples)
    first = (problem.n_samples - size) // 2
    start = time.perf_counter()
    for _ in problem.passes(problem.present[first : first + size]):
        pass
    return (time.perf_counter() - start) * problem.n_samples / size


def plan_network(trained: Trained, n_units: int) -> NetworkPlan:
    """Of `n_units` samples that leave.

    Raises:
        MemoryLimitError: when it does not fit.
    """
    problem, settings = trained.problem, trained.settings
    n, n_directions, recipe, forward = problem.n_samples, trained.n_directions, settings.engine.recipe, forward_seconds(problem)
    verify = min(settings.execution.verify, n_units)
    held = sum(value.numel() for value in problem.module.parameters())
    fixed = LIBRARIES_BYTES + (8 + problem.batches.dtype.itemsize) * held + trained.pass_bytes + problem.batches.items.n_bytes
    fixed += 0 if trained.features is None else trained.features.values.nbytes
    if isinstance(settings.engine, Ekfac):
        refined = n_refined(problem, settings.engine, n_units)
        seconds = {
            "factors": forward * min(1.0, FACTOR_SAMPLES / n) * (1 + n_directions),
            "curvature": forward * (2 + 2 * n_directions),
            "leave-one-out": forward * n_units / n * (5 + 3 * n_directions)
            + refined * solving_flop(problem) / TWO_CORES.float32,
        }
    else:
        assert recipe is not None
        epoch = 3 * forward * (2 if recipe.sam_radius > 0 else 1)
        seconds = {"leave-one-out": recipe.seeds * (n_units + 3) * recipe.epochs * epoch}
    if verify > 0:
        passes = PASSES_TO_OPTIMUM if recipe is None else recipe.epochs
        seconds["verify"] = 2 * verify * passes * 3 * forward
    posterior = _posterior_bytes(trained)
    cost = Cost(fixed + posterior, memory_limit(settings.execution), {})
    cost.require_memory(
        f"The {settings.curvature} curvature of {problem.n_params:,} parameters takes {posterior / GIB:.1f} GiB. "
        "Choose fewer of them (params='last_layer', names of modules, adapters), or raise the memory limit if the machine "
        "has more."
    )
    return NetworkPlan(cost, seconds)


def _posterior_bytes(trained: Trained) -> int:
    """Of curvature, basis and steps."""
    problem, settings = trained.problem, trained.settings
    if settings.curvature == "full":
        return 8 * 6 * problem.n_params**2
    shapes = [
        (*layer.shape[:2], 0 if isinstance(layer, EmbeddingLayer) else layer.shape[2])  # words are not turned
        for layer in problem.layers
        if isinstance(layer, ProductLayer)
    ]
    basis = sum(3 * 8 * groups * (out**2 + width**2) for groups, out, width in shapes)
    shifts = min(SHIFT_BYTES, 2 * 8 * problem.pass_size * problem.n_params)
    models = min(MODEL_BYTES, PART_MODELS * model_bytes(problem))
    sums = (12 if problem.loss.is_sampled else 8) * 8 * problem.n_params
    return basis + sums + (models if isinstance(settings.engine, Retrain) else 2 * shifts)
