"""Measures pairs; each part ends with one JSON line of its figures.

    python benchmarks/pairs.py agreement PAIRS.npz [--pairs 10]     batched leave-one-out against one model at a time, float64
    python benchmarks/pairs.py speed PAIRS.npz [--models 32]        a step of many models against the bare matrix products
    python benchmarks/pairs.py shuffled PAIRS.npz [--scored 100] [--epochs 1000] [--work FOLDER]
                                                                    all trained, some scored: time, memory, lowest and highest
                                                                    pairs, and how well shuffled captions are found; what is
                                                                    done is kept in FOLDER and not done again

PAIRS.npz holds `image_embeddings`, `text_embeddings` and `captions`. Run it as `OMP_WAIT_POLICY=PASSIVE python …`.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from lapsi.data.pairs import Pairs, make_pairs, shuffle_pairs
from lapsi.engines.pairs import PART_MODELS, plan_pairs
from lapsi.engines.retrain.pairs import pair_trainer
from lapsi.execution.checkpoint import Keep, has_parts
from lapsi.execution.cost import GIB
from lapsi.execution.progress import Stages
from lapsi.linalg.matmul import matmul
from lapsi.models.towers import Towers
from lapsi.pairs import score_pair_set
from lapsi.problem.contrastive import ContrastiveProblem
from lapsi.problem.objective import Objective
from lapsi.settings.engine import Retrain
from lapsi.settings.execution import Execution
from lapsi.settings.pairs import PAIR_RECIPE, PairSettings, PairSpec
from lapsi.training.pair import Pair
from lapsi.training.sampling import Batch

SHUFFLED = 0.1


def read(path: Path, n_pairs: int | None = None) -> Pairs:
    with np.load(path) as arrays:
        first, second, captions = (arrays[name][:n_pairs] for name in ("image_embeddings", "text_embeddings", "captions"))
    return make_pairs(first.astype(np.float32), second.astype(np.float32), columns={"text": captions})


def make_problem(pairs: Pairs, dimensions: int) -> ContrastiveProblem:
    first, second = map(torch.from_numpy, pairs.inputs("none"))
    towers = Towers((first.shape[1], second.shape[1]), dimensions)
    return ContrastiveProblem(first, second, towers, PairSpec().temperature, Objective(0.0, 1.0, "mean"))


def agreement(arguments: argparse.Namespace) -> dict[str, object]:
    """Params of models trained together and alone, and LSI with changes in float32."""
    pairs = read(arguments.data, arguments.pairs)
    problem, recipe = make_problem(pairs, arguments.dimensions), replace(PAIR_RECIPE, epochs=arguments.epochs)
    trainer = pair_trainer(problem, torch.float64, recipe)
    (last,) = trainer(torch.arange(len(pairs)), 0, {recipe.epochs}, lambda _: None)
    whole = trainer.train_one(None, 0)
    alone = [trainer.train_one(index, 0) for index in range(len(pairs))]
    together = list(zip(last.shift, alone, strict=True))
    apart = [float((last.params + shift - each).norm() / each.norm()) for shift, each in together]
    of_shift = [float((shift + whole - each).norm() / (each - whole).norm()) for shift, each in together]
    settings = PairSettings(
        PairSpec(arguments.dimensions), engine=Retrain(recipe), execution=Execution(verify=0), curvature="diag"
    )
    wide = replace(settings, execution=Execution(verify=0, dtype="float64"))
    rows = np.arange(len(pairs))
    narrow_lsi, lsi = (score_pair_set(pairs, each, rows, Stages(False)).lsi for each in (settings, wide))
    return {
        "largest_of_params": max(apart),
        "largest_of_shift": max(of_shift),
        "largest_of_lsi_in_float32": float(np.abs(narrow_lsi / lsi - 1).max()),
    }


def speed(arguments: argparse.Namespace) -> dict[str, object]:
    """Seconds of a step of one model and of its products alone, in float32, interleaved."""
    pairs = read(arguments.data, arguments.pairs)
    problem = make_problem(pairs, arguments.dimensions)
    trainer, indices = pair_trainer(problem, torch.float32, PAIR_RECIPE), torch.arange(arguments.models)
    params = problem.initial(0)
    change = 1e-3 * torch.randn(len(indices), len(params), generator=torch.Generator().manual_seed(0))
    loss, batch, n = trainer.losses.without_each(indices), Batch(slice(0, len(pairs)), len(pairs), True), len(pairs)
    step, bare, base = [], [], []
    for _ in range(arguments.repeats):
        step.append(timed(lambda: loss(Pair(params, change), batch)))
        base.append(timed(lambda: problem.gradient_sum(params, slice(0, n), None)))
        bare.append(len(indices) * bare_seconds(n, problem.model))
    flop = 12 * n**2 * arguments.dimensions + 4 * n * arguments.dimensions * sum(problem.model.widths)
    return {
        "flop_a_model": flop,
        "step_seconds": min(step),
        "of_all_pairs_seconds": min(base),
        "bare_seconds": min(bare),
        "share_of_floor": min(bare) / min(step),
        "gflops": flop * len(indices) / min(step) / 1e9,
    }


def bare_seconds(n: int, model: Towers) -> float:
    """Of the products of one model."""
    dimensions = model.n_dimensions
    twice, square, units = torch.ones(n, 2 * dimensions), torch.ones(n, n), torch.ones(n, dimensions)
    sides = [(torch.ones(n, width), torch.ones(dimensions, width)) for width in model.widths]

    def products() -> None:
        matmul(twice, twice.T)
        for _ in range(2):
            matmul(square, units)
            matmul(square.T, units)
        for features, weights in sides:
            matmul(features, weights.T)
            matmul(units.T, features)

    return timed(products)


def timed(work: object) -> float:
    assert callable(work)
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def shuffled(arguments: argparse.Namespace) -> dict[str, object]:
    """All pairs trained, some scored, a tenth of the captions shuffled."""
    pairs = read(arguments.data, arguments.pairs)
    engine, execution = Retrain(replace(PAIR_RECIPE, epochs=arguments.epochs)), Execution(verify=arguments.verify)
    settings = PairSettings(PairSpec(arguments.dimensions), engine=engine, execution=execution)
    rows = np.linspace(0, len(pairs) - 1, arguments.scored).astype(np.int64)
    plan = plan_pairs(len(pairs), (pairs.widths[0] + 1, pairs.widths[1] + 1), settings, len(rows))
    work = arguments.work
    keeps = (None, None) if work is None else tuple(Keep(work / name, {}) for name in ("clean", "shuffled"))
    begun = work is not None and has_parts(work / "clean")
    start = time.perf_counter()
    clean = score_pair_set(pairs, settings, rows, Stages(True), keeps[0])
    seconds = None if begun else time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "stages": clean.provenance.seconds}), flush=True)
    ranking = clean.ranking()
    changed = shuffle_pairs(pairs, SHUFFLED, 0)
    marked = np.flatnonzero(changed.columns["corrupted"])
    some = np.union1d(rows[::2], marked[: max(1, len(rows) // 2)])
    found = score_pair_set(changed, settings, some, Stages(True), keeps[1])
    truth = found.table["corrupted"].to_numpy()
    return {
        "seconds": seconds,
        "stages": clean.provenance.seconds,
        "models_at_once": min(PART_MODELS, len(rows)),
        "peak_gib": peak / GIB,
        "told_gib": plan.cost.peak_bytes / GIB,
        "verification": clean.provenance.verification,
        "highest": ranking["text"].head(5).tolist(),
        "lowest": ranking["text"].tail(5)[::-1].tolist(),
        "n_shuffled": int(truth.sum()),
        "auroc_lsi": float(roc_auc_score(truth, found.lsi)),
        "auroc_loo_loss": float(roc_auc_score(truth, found.table["loo_loss"])),
        "loo_rank_median": float(clean.table["loo_label"].median()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("agreement", "speed", "shuffled"))
    parser.add_argument("data", type=Path)
    parser.add_argument("--pairs", type=int)
    parser.add_argument("--dimensions", type=int, default=PairSpec().dimensions)
    parser.add_argument("--epochs", type=int, default=PAIR_RECIPE.epochs)
    parser.add_argument("--scored", type=int, default=100)
    parser.add_argument("--models", type=int, default=PART_MODELS)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--verify", type=int, default=0)
    parser.add_argument("--work", type=Path)
    arguments = parser.parse_args()
    if arguments.part == "agreement" and arguments.pairs is None:
        arguments.pairs = 10
    measured = {"agreement": agreement, "speed": speed, "shuffled": shuffled}[arguments.part](arguments)
    print(json.dumps({"part": arguments.part, "data": arguments.data.name, **measured}))


if __name__ == "__main__":
    main()
