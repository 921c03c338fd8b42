"""Any trained torch network: Laplace Sample Information of its training data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from lapsi.data.batches import Batches, batches_of
from lapsi.data.dataset import DIGEST, make_columns, make_ids, make_weights
from lapsi.data.targets import ClassTargets, MultiLabelTargets, RealTargets, Targets
from lapsi.engines.ekfac.engine import UNCONVERGED, ekfac_fit
from lapsi.engines.ekfac.fit import EkfacFit
from lapsi.engines.evaluate import PARAMS
from lapsi.engines.identity import network_identity
from lapsi.engines.retrain.module import ModuleRetrainFit, module_retrain_fit
from lapsi.errors import InputError
from lapsi.execution.checkpoint import Arrays, Keep, open_checkpoint
from lapsi.execution.progress import Advance, Stages
from lapsi.measures.lsi import lsi_columns, lsi_trajectory
from lapsi.models.likelihoods.choose import likelihood_of
from lapsi.models.module.capture import pass_through
from lapsi.models.module.choose import layers_of
from lapsi.models.module.layers import Layer
from lapsi.problem.module import ModuleProblem
from lapsi.problem.objective import Objective
from lapsi.results.columns import find_column
from lapsi.results.evidence.base import Seen
from lapsi.results.evidence.choose import evidence_of
from lapsi.results.provenance import Provenance
from lapsi.results.scores import Scores
from lapsi.results.tables import build_table
from lapsi.scoring import check_indices, checked, left_out
from lapsi.settings.engine import Retrain
from lapsi.settings.execution import LOCAL, Execution
from lapsi.settings.network import (
    ALL,
    BINARY,
    CROSS_ENTROPY,
    LOSSES,
    NETWORK_ENGINES,
    SQUARED,
    Ekfac,
    NetworkSettings,
    NetworkSpec,
)
from lapsi.settings.objective import ObjectiveSpec

PASS_SIZE = 64
LEFT_OUT = 1e-3  # of the trace of a sample's S: less than what the eigenbasis leaves out
TORCH_LOSSES = {nn.CrossEntropyLoss: CROSS_ENTROPY, nn.BCEWithLogitsLoss: BINARY, nn.MSELoss: SQUARED}


def score_network(
    model: nn.Module,
    dataset: Any,
    *,
    loss: str | nn.Module = CROSS_ENTROPY,
    params: str | Sequence[str] = ALL,
    engine: str | Ekfac | Retrain = "ekfac",
    curvature: str = "ekfac",
    objective: ObjectiveSpec | None = None,
    execution: Execution | None = None,
    pass_size: int = PASS_SIZE,
    collate: Callable[[list[Any]], Any] | None = None,
    classes: Sequence[str] | None = None,
    ids: Any = None,
    columns: Mapping[str, Any] | pd.DataFrame | None = None,
    sample_weight: Any = None,
    indices: Any = None,
    checkpoint: str | Path | None = None,
    progress: bool = True,
) -> Scores:
    """Laplace Sample Information of the training data of a trained network.

    LSI(i) = KL(q ‖ q₋ᵢ) in nats between the Laplace posteriors over the chosen parameters, with and without sample i. The
    parameters without a sample are those after one Newton step from the trained weights, in the eigenbasis of the
    Kronecker-factored curvature; how far that is from really training on without the sample is measured on `verify` samples.
    It takes three passes over the data. The module is not changed.

    Args:
        model: the trained module; evaluation mode is taken, dropout is off, batch norm has its frozen statistics.
        dataset: its training data, map-style: an item is (input, …, target), or a mapping with the target under `labels`,
            `label`, `targets`, `target` or `y`, whose other entries are arguments of the module by name.
        loss: `"cross_entropy"`, `"bce"` or `"mse"`, or a loss module of torch of that kind.
        params: what is in the posterior: `"all"` that requires a gradient, `"last_layer"`, or names of modules.
        engine: `"ekfac"`, or `"retrain"`: the module is trained without each sample, by a recipe, from the weights that it has
            (hand it over untrained to train it from its initial weights); or an `Ekfac` or `Retrain` with its options.
        curvature: structure of the posterior precision: `"ekfac"`, `"diag"` or `"full"` (few parameters: the whole matrix).
        objective: weight decay and prior, an `ObjectiveSpec`; `weight_decay="auto"`: where the marginal likelihood is largest.
        execution: device, limits, checks and seed, an `Execution`.
        pass_size: samples that go through the module at once.
        collate: makes a batch of a list of items; default: that of torch.
        classes: names of the outputs.
        ids: (N,) unique identifiers; default: the positions.
        columns: what else is known of the samples, (N,) each by name; it travels along to the scores.
        sample_weight: (N,) how often each sample counts.
        indices: positions of the samples to score; default: all.
        checkpoint: directory where finished parts are kept; the same call goes on from there.
        progress: draw progress bars on standard error.

    Returns:
        `Scores`, one row a scored sample.

    Raises:
        InputError: the module, the data or a setting cannot be used; layers that are not covered are named.
    """
    spec = NetworkSpec(type(model).__name__, (params,) if isinstance(params, str) else tuple(params), _loss_name(loss))
    layers = layers_of(model, spec.params)
    batches, stages = batches_of(dataset, collate, _first_parameter(layers)), Stages(progress)
    n, run_by = len(batches), execution or Execution()
    _require_module_decides(run_by, batches)
    settings = NetworkSettings(spec, objective or ObjectiveSpec(), _engine(engine), curvature, run_by)
    known = _Samples(make_ids(ids, n), make_columns(columns, n), check_indices(indices, n))
    weights = None if sample_weight is None else torch.from_numpy(make_weights(sample_weight, n)).to(batches.device)
    with stages.stage("outputs", n) as advance:
        outputs, values = _through(model, batches, pass_size, advance)
    targets = _targets(spec.loss, values, outputs.shape[1], classes)
    settings = _with_noise(settings, targets, outputs, weights)
    problem = _problem(model, layers, batches, targets, settings, pass_size, weights)
    fit = _fit(problem, settings, len(known.rows), stages)
    settings = replace(settings, objective=replace(settings.objective, weight_decay=fit.problem.objective.weight_decay))
    units = torch.as_tensor(known.rows, device=batches.device)[:, None]
    digest = _digest(layers, targets, outputs, known.ids)
    keep = None if checkpoint is None else Keep(Path(checkpoint), {})
    kept = open_checkpoint(keep, network_identity(digest, settings, known.rows), {})
    try:
        by_seed = left_out(fit, units, kept, stages)
    finally:
        kept.release()
    verification = checked(fit, settings.execution, units, by_seed[0], stages)
    agreement = evidence_of(targets.task).agreement(targets, outputs)
    record = fit.record(torch.from_numpy(by_seed[0][PARAMS]))
    plan = {name: record.pop(name) for name in (UNCONVERGED,) if name in record}
    provenance = Provenance(
        version=version("lapsi"),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        settings=settings.to_dict(),
        engine=settings.engine.name,
        device=str(batches.device),
        source=type(dataset).__name__,
        data_hash=digest,
        n_samples=n,
        n_source=n,
        n_features=problem.n_params,
        n_classes=targets.n_outputs,
        task=targets.task,
        seconds=dict(stages.seconds),
        verification=verification,
        plan=plan | {"n_params": problem.n_params},
        **({"train_accuracy": None} | agreement | record),
    )
    return _scores(fit, targets, known, by_seed, provenance)


def _fit(problem: ModuleProblem, settings: NetworkSettings, n_units: int, stages: Stages) -> EkfacFit | ModuleRetrainFit:
    if isinstance(settings.engine, Retrain):
        return module_retrain_fit(problem, settings, stages)
    return ekfac_fit(problem, settings, n_units, stages)


@dataclass(frozen=True, slots=True, eq=False)
class _Samples:
    """What is known of N samples beside what the module takes: identifiers, columns, and which of them are scored."""

    ids: np.ndarray
    columns: pd.DataFrame
    rows: np.ndarray


def _engine(engine: str | Ekfac | Retrain) -> Ekfac | Retrain:
    if isinstance(engine, Ekfac | Retrain):
        return engine
    if engine not in NETWORK_ENGINES:
        names = ", ".join(map(repr, NETWORK_ENGINES))
        raise InputError(f"engine is {engine!r}; expected {names}, or lapsi.Ekfac(…), lapsi.Retrain(…).")
    return NETWORK_ENGINES[engine]()


def _require_module_decides(execution: Execution, batches: Batches) -> None:
    """Refuses a device or dtype that the module has not, and other machines."""
    if execution.device is not None and torch.device(execution.device).type != batches.device.type:
        raise InputError(f"device is {execution.device!r}, but the module is on {batches.device}; move it there first.")
    if execution.dtype is not None and getattr(torch, execution.dtype) != batches.dtype:
        raise InputError(
            f"dtype is {execution.dtype!r}, but the module is in {batches.dtype}; convert it first (model.double())."
        )
    if execution.backend != LOCAL:
        raise InputError(f"backend is {execution.backend!r}; networks are scored in this process: leave it out.")


def _first_parameter(layers: Sequence[Layer]) -> Tensor:
    first = layers[0]
    return first.module.get_parameter(next(iter(first.split(first.params))))


def _loss_name(loss: str | nn.Module) -> str:
    if isinstance(loss, str):
        return loss
    name = TORCH_LOSSES.get(type(loss))
    if name is None:
        raise InputError(
            f"loss is a {type(loss).__name__}; expected {', '.join(map(repr, LOSSES))}, or the loss of torch of one."
        )
    if getattr(loss, "weight", None) is not None or getattr(loss, "label_smoothing", 0.0) > 0:
        raise InputError("The loss weighs its classes or smooths its labels, which is not covered; see sample_weight.")
    return name


def _through(model: nn.Module, batches: Batches, size: int, advance: Advance) -> tuple[np.ndarray, np.ndarray]:
    """Outputs (N, K) float64 of the module for all samples, and their targets (N, …) as the data set holds them."""
    outputs, targets = [], []
    for rows in torch.arange(len(batches)).split(size):
        given = batches.take(rows)
        with torch.no_grad():
            found = pass_through(model, (), len(rows), *given.inputs, **given.named).outputs
        if found.ndim != 2 or len(found) != len(rows):
            raise InputError(
                f"The module gives outputs of shape {tuple(found.shape)} for {len(rows)} samples; expected (n, K)."
            )
        wrong = ~found.isfinite().all(1)
        if bool(wrong.any()):
            row = int(rows[wrong.cpu()][0])
            raise InputError(
                f"The module gives outputs that are not finite, first for the sample in row {row}: its input holds such "
                "numbers, or training diverged. Mend or leave out the sample, or train the module again."
            )
        outputs.append(found.double().cpu())
        targets.append(given.targets.cpu())
        advance(len(rows))
    return torch.cat(outputs).numpy(), torch.cat(targets).numpy()


def _targets(loss: str, values: np.ndarray, n_outputs: int, names: Sequence[str] | None) -> Targets:
    """The targets of the samples, as the loss reads them."""
    called = np.arange(n_outputs) if names is None else np.array(list(names))
    if len(called) != n_outputs:
        raise InputError(f"classes has {len(called)} names, but the module gives {n_outputs} outputs.")
    if loss == CROSS_ENTROPY:
        if values.ndim != 1 or values.dtype.kind not in "iu" or values.min() < 0 or values.max() >= n_outputs:
            raise InputError(
                f"The targets have shape {values.shape} and type {values.dtype}, from {values.min()} to {values.max()}; "
                f"expected (N,) integers from 0 to {n_outputs - 1} for cross entropy."
            )
        return ClassTargets(values.astype(np.int64), called)
    wide = values.reshape(len(values), -1).astype(np.float64)
    if wide.shape[1] != n_outputs:
        raise InputError(f"The targets have shape {values.shape}; expected (N, {n_outputs}), as the module has outputs.")
    text = called.astype(str) if names is not None else np.array([f"output {number}" for number in range(n_outputs)])
    if loss == BINARY:
        if not np.isin(wide, (0, 1)).all():
            raise InputError("The targets hold other numbers than 0 and 1; expected those for binary cross entropy.")
        return MultiLabelTargets(wide, text)
    if not np.isfinite(wide).all():
        raise InputError(f"A target in row {int((~np.isfinite(wide)).any(1).argmax())} is missing or infinite.")
    return RealTargets(wide, np.zeros(n_outputs), np.ones(n_outputs), text)


def _with_noise(settings: NetworkSettings, targets: Targets, outputs: np.ndarray, weights: Tensor | None) -> NetworkSettings:
    """With the noise variance of numbers: as given, or the mean square of what the trained module misses."""
    if not isinstance(targets, RealTargets):
        return settings
    if isinstance(settings.objective.noise_variance, str):
        missed = np.square(targets.given - outputs)
        found = np.average(missed, 0, None if weights is None else weights.cpu().numpy())
    else:
        found = np.broadcast_to(settings.objective.noise_variance, targets.n_outputs)
    noise = tuple(float(value) for value in np.maximum(found, np.finfo(np.float64).tiny))
    return replace(settings, objective=replace(settings.objective, noise_variance=noise))


def _problem(
    model: nn.Module,
    layers: tuple[Layer, ...],
    batches: Batches,
    targets: Targets,
    settings: NetworkSettings,
    pass_size: int,
    weights: Tensor | None,
) -> ModuleProblem:
    spec = settings.objective
    decay = 0.0 if settings.is_open else spec.decay
    likelihood = likelihood_of(targets, spec.noise, batches.device)
    values = torch.from_numpy(targets.values).to(batches.device)
    objective = Objective(decay, spec.prior_precision, spec.removal)
    left_out = 0.0 if settings.curvature == "full" else LEFT_OUT
    return ModuleProblem(model, layers, batches, values, likelihood, objective, pass_size, left_out, weights)


def _digest(layers: Sequence[Layer], targets: Targets, outputs: np.ndarray, ids: np.ndarray) -> str:
    """Hash of the trained parameters, what the module makes of the data, the targets and the ids: equal for equal runs."""
    digest = hashlib.blake2b(digest_size=16)
    for layer in layers:
        digest.update(layer.params.double().cpu().numpy().data)
    for array in (targets.values, outputs):
        digest.update(np.ascontiguousarray(array).data)
    digest.update(json.dumps([*map(str, ids.tolist())]).encode())
    return DIGEST + digest.hexdigest()


def _scores(
    fit: EkfacFit | ModuleRetrainFit, targets: Targets, known: _Samples, by_seed: list[Arrays], provenance: Provenance
) -> Scores:
    evidence, measures = evidence_of(targets.task), lsi_columns(by_seed, fit.curvature.form)
    noise = tuple(provenance.settings["objective"]["noise_variance"]) if isinstance(targets, RealTargets) else ()
    outputs = fit.problem.likelihood.combine(torch.from_numpy(np.stack([each["outputs"] for each in by_seed]))).numpy()
    train_loss = np.stack([each["train_loss"] for each in by_seed])
    seen = Seen(targets.take(known.rows), outputs, train_loss, measures.get("leverage"), noise)
    of_targets = evidence.columns(targets.names)
    table = build_table({"id": known.ids[known.rows], "row": known.rows} | measures | evidence.compute(seen), of_targets)
    table = table.join(known.columns.iloc[known.rows].reset_index(drop=True))
    ours = [of_targets[name] for name in table if name in of_targets]
    described = tuple(column for column in ours if not column.means(find_column(column.name)))
    trajectory = lsi_trajectory(by_seed) if provenance.settings["engine"].get("every") is not None else None
    if trajectory is not None:
        trajectory.insert(0, "id", known.ids[known.rows][trajectory.pop("position")])
    return Scores(table, evidence.prediction(seen), targets.names, provenance, trajectory, None, described)
