"""The whole way from features and labels to scores, on one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from lapsi.analysis.maps import centre_of, principal_axes
from lapsi.analysis.neighbours import nearest
from lapsi.data.arrays import are_uneven
from lapsi.data.dataset import Dataset
from lapsi.data.standardize import Standardizer
from lapsi.data.tables.column import TABLE, in_words
from lapsi.data.tables.dataset import labelled
from lapsi.data.targets import Targets
from lapsi.data.told_features import doubt_features
from lapsi.data.told_targets import alike, doubt
from lapsi.data.told_targets import in_words as in_words_of_targets
from lapsi.engines.base import Fit, single_rows, work_of
from lapsi.engines.choose import chosen_engine, make_engine
from lapsi.engines.evaluate import LSI_CURVATURE, LSI_MEAN, PARAMS, verify
from lapsi.engines.identity import identity
from lapsi.engines.leave_out import leave_samples_out
from lapsi.errors import InputError
from lapsi.execution.backend import HERE, Backend, open_backend
from lapsi.execution.checkpoint import Arrays, Keep, open_checkpoint
from lapsi.execution.device import require_device
from lapsi.execution.progress import Stages
from lapsi.measures.choose import LSI
from lapsi.measures.lsi import lsi_columns, lsi_described, lsi_trajectory, observation, rows_above
from lapsi.measuring import add_measures, required_measures
from lapsi.models.fitted import FittedModel
from lapsi.problem.base import ProbeProblem
from lapsi.problem.of_dataset import weighed
from lapsi.results.columns import find_column
from lapsi.results.evidence.base import Seen
from lapsi.results.evidence.choose import evidence_of
from lapsi.results.provenance import Provenance
from lapsi.results.scores import Scores
from lapsi.results.tables import build_table
from lapsi.results.verification import draw_rows
from lapsi.settings.engine import EngineSpec, Retrain
from lapsi.settings.execution import Execution
from lapsi.settings.model import ModelSpec
from lapsi.settings.objective import ObjectiveSpec
from lapsi.settings.settings import Settings, make_settings
from lapsi.settings.stored import stored_settings
from lapsi.settings.task import REGRESSION

BLOCK_ROWS = 8192
HELD_ENTRIES = 2**25  # of inputs that are held to look for neighbours
ROW_BYTES, EPOCH_BYTES, PICTURE_BYTES = 180, 40, 2**18  # on the disk: of a row, of one of its epochs, of what is drawn


def score(
    X: Any,
    y: Any,
    *,
    model: ModelSpec | None = None,
    objective: ObjectiveSpec | None = None,
    engine: str | EngineSpec = "auto",
    curvature: str = "diag",
    execution: Execution | None = None,
    ids: Any = None,
    columns: Mapping[str, Any] | pd.DataFrame | None = None,
    task: str = "auto",
    sample_weight: Any = None,
    indices: Any = None,
    measures: Sequence[str] = (LSI,),
    checkpoint: str | Path | None = None,
    progress: bool = True,
    **choices: Any,
) -> Scores:
    """Laplace Sample Information of every sample of a labelled data set, under a probe on its features.

    LSI(i) = KL(q ‖ q₋ᵢ) in nats: the divergence between the Laplace posterior over the probe's weights trained with
    sample i and the one trained without it (paper, Definition 2). By default not N models are trained but one: the
    leave-one-out optimum of the linear probe is an exact Newton step; its weight decay and the scaling of the features are
    those with the least leave-one-out loss. With hidden layers, or any training recipe, the probe is trained anew without each
    sample, many models at once. Accuracy is measured on `verify` samples and stored with the scores.

    Args:
        X: (N, d) numeric features: numpy array, torch tensor, pandas frame. Or a frame of pandas, polars or Arrow with
            categories, dates, texts and gaps (the extra `tables`), whose columns become features as `provenance.table` of the
            scores tells; or a sparse matrix of scipy, which goes through a truncated SVD.
        y: (N,) labels: integers, strings or booleans; or (N,) or (N, K) numbers to predict; or several labels a
            sample, as (N, K) indicators or lists. Or the name of a column of the frame.
        model: the probe, a `ModelSpec`.
        objective: what it minimises, an `ObjectiveSpec`.
        engine: `"newton"`, `"local"` (many classes), `"retrain"`, or a `Newton`, `Local` or `Retrain` with its options.
            `"auto"`: `"retrain"` with hidden layers or options of it; else `"newton"`, or `"local"` where that does not fit
            into memory or takes very much longer.
        curvature: structure of the posterior precision: `"diag"`, `"kfac"` or `"full"`.
        execution: device, limits, checks and seed, an `Execution`.
        ids: (N,) unique identifiers; default: the index of a pandas frame, else the row number.
        columns: what else is known of the samples, (N,) each by name; it travels along to the scores (usual names:
            `lapsi.results.columns.TRAVELLING`).
        task: `"classes"`, `"multilabel"` or `"regression"`; `"auto"` goes by the type of the labels
            (`lapsi.data.labels.task_of`).
        sample_weight: (N,) how often each sample counts; a sample leaves with all its weight.
        indices: positions of the samples to score (the others still train the model); default: all.
        measures: others beside `"lsi"`: `"el2n"`, `"grand"`, `"forgetting"`, `"psmi"`, `"sui"`, `"trak"`; see `lapsi.measure`.
        checkpoint: directory where finished parts are kept. The same call goes on from there after a kill, on either backend;
            it stays when all is done.
        progress: draw progress bars on standard error.
        choices: fields of the parts by their own names: hidden, activation, standardize (`ModelSpec`); weight_decay,
            prior_precision, removal, noise_variance, class_weight (`ObjectiveSpec`); refine, tolerance (`Newton`);
            coupled, converge (`Local`); recipe, every (`Retrain`); verify, device, dtype, seed, memory_limit, backend, address,
            worker_cpus (`Execution`); divergence and order: `"renyi"` of an order instead of `"kl"`, infinite where
            αΛ + (1 − α)Λ₋ᵢ is not positive definite.

    Returns:
        `Scores`, one row a scored sample.

    Raises:
        InputError: the data or a setting cannot be used.
        MemoryLimitError: the run would not fit; raised before it starts.
        DiskFullError: finished parts would not fit, which is raised before it starts, or found no room.
        ConvergenceError: the fit did not converge, or training diverged.
        BackendError: the machines that did the work are gone.
    """
    settings = make_settings(engine, curvature, model=model, objective=objective, execution=execution, **choices)
    dataset = labelled(X, y, task=task, weights=sample_weight, ids=ids, columns=columns)
    rows, stages = check_indices(indices, dataset.n_samples), Stages(progress)
    if TABLE in dataset.made_by:
        stages.say("\n".join(in_words(dataset.made_by[TABLE])))
    required_measures(measures, dataset, settings)
    keep = None if checkpoint is None else Keep(Path(checkpoint), {})
    with open_backend(settings.execution) as backend:
        scores, _ = score_dataset(dataset, settings, rows, stages, keep, backend)
    return add_measures(scores, dataset, measures, stages)


def score_dataset(
    dataset: Dataset,
    settings: Settings,
    rows: np.ndarray,
    stages: Stages,
    keep: Keep | None = None,
    backend: Backend = HERE,
) -> tuple[Scores, FittedModel]:
    """Scores samples `rows` (n,) of a data set; also returns the model that was trained on all of it.

    Args:
        dataset, settings, rows: what is scored, and how.
        stages: shows the progress.
        keep: where finished parts are kept, and those that are there are gone on from.
        backend: leaves the samples out; what the settings ask for is opened by the caller.
    """
    require_device(settings.execution.device)
    given, evidence = dataset, evidence_of(dataset.targets.task)
    require_free_names(dataset.columns, dataset.targets)
    _tell_data(dataset, stages)
    dataset = weighed(dataset, settings)
    work = work_of(dataset, len(rows))
    by_data = chosen_engine(settings, work)
    settings, engine = by_data.settings, make_engine(by_data.settings)
    plan = engine.plan(work)
    if keep is not None:
        keep.require_room(plan.kept_bytes, run_bytes(dataset, settings, len(rows)))
    checkpoint = open_checkpoint(keep, identity(dataset, settings, rows), engine.kept(plan))
    left = leave_samples_out(dataset, settings, rows, observation, checkpoint, stages, backend)
    settings, standardizer, fit, by_seed = left.chosen.settings, left.chosen.standardizer, left.fit, left.by_seed
    verification = checked(fit, settings.execution, left.units, by_seed[0], stages)
    model = _fitted(fit, standardizer, by_seed)
    details = {
        **fit.record(torch.from_numpy(by_seed[0][PARAMS])),
        "verification": verification,
        "train_accuracy": None,
        **evidence.agreement(dataset.targets, _outputs(model, fit)),
        "plan": plan.details | by_data.record() | rows_above(settings.engine, by_seed[0]),
        "regularization": None if left.chosen.record is None else left.chosen.record.to_dict(),
    }
    provenance = _provenance(given, settings, dict(stages.seconds), details)
    known = Known(dataset.ids, dataset.columns, rows, dataset.rows)
    laid = Laid(_map(dataset, fit, standardizer, rows), _inputs(fit, rows))
    return assembled(fit, dataset.targets, known, by_seed, provenance, laid), model


def require_free_names(columns: pd.DataFrame, targets: Targets) -> None:
    """Refuses what travels along under the name of a score.

    Raises:
        InputError: naming the first.
    """
    ours = evidence_of(targets.task).columns(targets.names)
    taken = [name for name in columns if name in ours]
    if taken:
        raise InputError(f"A column of the samples is named {taken[0]!r}, as one of the scores is; rename it.")


def _tell_data(dataset: Dataset, stages: Stages) -> None:
    """What the labels are, and what may be wrong with them and the features, before the work."""
    known = in_words_of_targets(dataset.targets)
    if known:
        stages.say(f"labels: {known}")
    for each in doubts(dataset):
        stages.say(f"Caution: {each}")


def doubts(dataset: Dataset, *, features: bool = True) -> list[str]:
    """Why its scores may not mean much, as far as that is seen before the work; `features`: whether these are its own."""
    told = (alike(dataset.targets), doubt(dataset.targets), doubt_features(dataset.survey) if features else "")
    return [each for each in told if each]


def run_bytes(dataset: Dataset, settings: Settings, n_scored: int) -> int:
    """Of the run directory of `n_scored` samples, about: predictions, table, trajectory, and what travelled along."""
    spec = settings.engine
    n_epochs = len(spec.recipe.snapshots(spec.every)) if isinstance(spec, Retrain) and spec.every is not None else 0
    carried = int(dataset.columns.memory_usage(index=False, deep=True).sum() / dataset.n_samples) + dataset.ids.itemsize
    a_number = 8 if dataset.targets.task == REGRESSION else 4
    return n_scored * (a_number * dataset.targets.n_outputs + ROW_BYTES + carried + EPOCH_BYTES * n_epochs) + PICTURE_BYTES


def checked(fit: Fit, execution: Execution, units: torch.Tensor, first: Arrays, stages: Stages) -> dict[str, Any] | None:
    """The verification of units (n, 1), of what was found of them under the first seed; None where it is turned off."""
    n_checks = fit.n_checks(execution.verify, len(units))
    if n_checks == 0:
        return None
    lsi = first[LSI_MEAN][-1] + first[LSI_CURVATURE][-1]
    drawn = draw_rows(lsi, first["lsi_error"], n_checks, execution.seed)
    with stages.stage("verify", n_checks) as advance:
        found = verify(fit, units, lsi, drawn, advance)
    return replace(found, rows=tuple(single_rows(units)[drawn.positions].tolist())).to_dict()


def _fitted(fit: Fit, standardizer: Standardizer, by_seed: list[Arrays]) -> FittedModel:
    problem = _probe(fit)
    device = problem.inputs.device
    params = [problem.plain_params(torch.from_numpy(arrays[PARAMS]).to(device)) for arrays in by_seed]
    weights = torch.stack(params).cpu().numpy()
    return FittedModel(standardizer, problem.plain_model, problem.likelihood, weights)


def _outputs(model: FittedModel, fit: Fit) -> np.ndarray:
    """Of the model trained on all samples, for all of them (N, K)."""
    problem = _probe(fit)
    outputs = np.empty((len(problem.inputs), problem.likelihood.n_outputs))
    for start in range(0, len(outputs), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        outputs[rows] = model.outputs_of(problem.plain_inputs(rows))
    return outputs


def _probe(fit: Fit) -> ProbeProblem:
    """Its problem, which is one on features."""
    assert isinstance(fit.problem, ProbeProblem)
    return fit.problem


def _provenance(dataset: Dataset, settings: Settings, seconds: dict[str, float], details: dict[str, Any]) -> Provenance:
    return Provenance(
        version=version("lapsi"),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        settings=settings.to_dict(),
        engine=settings.engine.name,
        device=settings.execution.device or "cpu",
        source=dataset.source,
        data_hash=dataset.digest(),
        n_samples=dataset.n_samples,
        n_source=dataset.n_source,
        n_features=dataset.n_features,
        n_classes=dataset.targets.n_outputs,
        task=dataset.targets.task,
        table=dataset.made_by.get(TABLE, {}),
        seconds=seconds,
        **details,
    )


def _combined(fit: Fit, outputs: list[np.ndarray]) -> np.ndarray:
    """(n, K) outputs that predict as the models of all seeds, (n, K) each, do together; written over those of the first."""
    combined = outputs[0]
    for start in range(0, len(combined), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        several = torch.from_numpy(np.stack([each[rows] for each in outputs]))
        combined[rows] = fit.problem.combine(several).numpy()
    return combined


def _map(dataset: Dataset, fit: Fit, standardizer: Standardizer, rows: np.ndarray) -> np.ndarray:
    """(n, 2) float32: where samples `rows` (n,) lie on the first two principal components of the inputs."""
    axes, centre = principal_axes(dataset.survey, standardizer), centre_of(dataset.survey, standardizer)
    parts = [torch.from_numpy(part) for part in np.array_split(rows, -(-len(rows) // BLOCK_ROWS))]
    blocks = [(_probe(fit).plain_inputs(part)[:, :-1].cpu().numpy() - centre) @ axes for part in parts]
    return np.concatenate(blocks).astype(np.float32)


def _inputs(fit: Fit, rows: np.ndarray) -> np.ndarray | None:
    """(n, d) float32 of samples `rows` (n,), as the model reads them; None where these are too many to hold."""
    problem = _probe(fit)
    if len(rows) * problem.inputs.shape[1] > HELD_ENTRIES:
        return None
    return np.asarray(problem.plain_inputs(torch.from_numpy(rows))[:, :-1].to(torch.float32).cpu().numpy())


def _neighbours(inputs: np.ndarray | None, table: pd.DataFrame) -> np.ndarray | None:
    """(n, 5) the `row` of those samples of a table whose inputs (n, d) lie nearest to each; None where there are no inputs.

    Where there is no time for all, the least trusted and the most informative have theirs.
    """
    if inputs is None or len(inputs) < 2:
        return None
    least_trusted, highest = (np.argsort(table[name].to_numpy(), kind="stable") for name in ("label_quality", "rank"))
    in_turn = np.stack([least_trusted, highest], axis=1).ravel()
    places, first = np.unique(in_turn, return_index=True)
    found = nearest(inputs, places[np.argsort(first)])
    return np.where(found < 0, found, table["row"].to_numpy(np.int32)[found])


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """What is known of N samples beside what the model takes.

    Attributes:
        ids, columns: of all of them.
        rows: (n,) which are scored.
        places: (N,) where each stands in its source; None: they are all of it.
    """

    ids: np.ndarray
    columns: pd.DataFrame
    rows: np.ndarray
    places: np.ndarray | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Laid:
    """Where n scored samples lie.

    Attributes:
        map: (n, 2) in the report, or None.
        inputs: (n, d) among which the nearest to each are looked for, or None.
        keeps_inputs: whether they are kept with the scores.
    """

    map: np.ndarray | None = None
    inputs: np.ndarray | None = None
    keeps_inputs: bool = False


NOWHERE = Laid()


def assembled(
    fit: Fit, targets: Targets, known: Known, by_seed: list[Arrays], provenance: Provenance, laid: Laid = NOWHERE
) -> Scores:
    """The scores of what was found of the samples; the outputs of `by_seed` are used up."""
    evidence, measures = evidence_of(targets.task), lsi_columns(by_seed, fit.curvature.form)
    settings, rows = stored_settings(provenance.settings), known.rows
    outputs = _combined(fit, [arrays.pop("outputs") for arrays in by_seed])
    train_loss = np.stack([arrays["train_loss"] for arrays in by_seed])
    seen = Seen(targets.take(rows), outputs, train_loss, measures.get("leverage"), settings.objective.noise)
    of_targets = evidence.columns(targets.names)
    samples = {"id": known.ids[rows], "row": rows if known.places is None else known.places[rows]}
    table = build_table(samples | measures | evidence.compute(seen), of_targets)
    table = table.join(known.columns.iloc[rows].reset_index(drop=True))
    ours = [of_targets[name] for name in table if name in of_targets]
    own = tuple(column for column in ours if not column.means(find_column(column.name)))
    trajectory = lsi_trajectory(by_seed) if provenance.settings["engine"].get("every") is not None else None
    if trajectory is not None:
        trajectory.insert(0, "id", known.ids[rows][trajectory.pop("position")])
    return Scores(
        table,
        evidence.prediction(seen),
        targets.names,
        provenance,
        trajectory,
        laid.map,
        (*lsi_described(settings.order, of_targets), *own),
        _neighbours(laid.inputs, table),
        laid.inputs if laid.keeps_inputs else None,
    )


def check_indices(indices: Any, n_samples: int) -> np.ndarray:
    """Positions (n,) int64, unique, in the order given; all for None.

    Raises:
        InputError: for anything but distinct integers in 0…N−1.
    """
    if indices is None:
        return np.arange(n_samples)
    if are_uneven(indices):
        raise InputError("indices are lists of different lengths; expected a non-empty list of integers.")
    rows = np.asarray(indices)
    if rows.ndim != 1 or len(rows) == 0 or rows.dtype.kind not in "iu":
        raise InputError(f"indices has shape {rows.shape} and dtype {rows.dtype}; expected a non-empty list of integers.")
    if rows.min() < 0 or rows.max() >= n_samples:
        raise InputError(f"indices runs from {rows.min()} to {rows.max()}; expected positions from 0 to {n_samples - 1}.")
    if len(np.unique(rows)) < len(rows):
        raise InputError("indices names a sample more than once; expected distinct positions.")
    return rows.astype(np.int64)
