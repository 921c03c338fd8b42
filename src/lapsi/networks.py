"""Any trained torch network: Laplace Sample Information of its training data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from lapsi.analysis.maps import principal_map
from lapsi.data.batches import IGNORED, Batches, batches_of
from lapsi.data.dataset import DIGEST, make_columns, make_ids, make_weights
from lapsi.data.handed_over import handed_over, predicts_next_token
from lapsi.data.items import content_of
from lapsi.data.samples import TEXT, Texts
from lapsi.engines.ekfac.engine import UNCONVERGED, ekfac_fit
from lapsi.engines.ekfac.fit import EkfacFit
from lapsi.engines.evaluate import PARAMS
from lapsi.engines.identity import model_identity
from lapsi.engines.leave_out import leave_out
from lapsi.engines.network_plan import plan_network
from lapsi.engines.retrain.module import NOISE_FLOOR, ModuleRetrainFit, module_retrain_fit
from lapsi.errors import InputError
from lapsi.execution.backend import Backend, open_backend
from lapsi.execution.checkpoint import Keep, open_checkpoint
from lapsi.execution.device import device_of
from lapsi.execution.progress import Stages
from lapsi.measures.lsi import observation
from lapsi.models.module.choose import layers_of
from lapsi.models.module.layers import Layer
from lapsi.problem.module import ModuleProblem
from lapsi.problem.of_module import Told, Trained, module_problem
from lapsi.results.evidence.choose import evidence_of
from lapsi.results.provenance import FEATURES, Provenance
from lapsi.results.scores import Scores
from lapsi.scoring import Known, Laid, assembled, check_indices, checked, require_free_names
from lapsi.settings.divergence import KL, required_order
from lapsi.settings.engine import Retrain
from lapsi.settings.execution import Execution
from lapsi.settings.network import (
    ALL,
    AUTO_LOSS,
    BINARY,
    CROSS_ENTROPY,
    DRAWS,
    LAST_LAYER,
    LOSSES,
    NETWORK_ENGINES,
    NEXT_TOKEN,
    SQUARED,
    SUM,
    Ekfac,
    NetworkSettings,
    NetworkSpec,
)
from lapsi.settings.objective import ObjectiveSpec

TORCH_LOSSES = {
    nn.CrossEntropyLoss: CROSS_ENTROPY,
    nn.NLLLoss: CROSS_ENTROPY,
    nn.BCEWithLogitsLoss: BINARY,
    nn.MSELoss: SQUARED,
}


def score_network(
    model: Any,
    dataset: Any = None,
    *,
    loss: str | nn.Module = AUTO_LOSS,
    params: str | Sequence[str] = ALL,
    engine: str | Ekfac | Retrain = "ekfac",
    curvature: str = "ekfac",
    objective: ObjectiveSpec | None = None,
    execution: Execution | None = None,
    divergence: str = KL,
    order: float | None = None,
    tokens: str = SUM,
    draws: int = DRAWS,
    pass_size: int | None = None,
    collate: Callable[[list[Any]], Any] | None = None,
    classes: Sequence[str] | None = None,
    ids: Any = None,
    columns: Mapping[str, Any] | pd.DataFrame | None = None,
    sample_weight: Any = None,
    indices: Any = None,
    checkpoint: str | Path | Keep | None = None,
    progress: bool = True,
) -> Scores:
    """Laplace Sample Information of the training data of a trained network.

    LSI(i) = KL(q ‖ q₋ᵢ) in nats between the Laplace posteriors over the chosen parameters, with and without sample i. The
    parameters without a sample are those after one Newton step from the trained weights, in the eigenbasis of the
    Kronecker-factored curvature; how far that is from really training on without the sample is measured on `verify` samples.
    It takes three passes over the data. The module is not changed.

    Args:
        model: the trained module; evaluation mode is taken, dropout is off, batch norm has its frozen statistics. Or a
            `transformers.Trainer`, a Lightning module or its trainer, after training: data and batches are theirs.
        dataset: its training data, map-style: an item is (input, …, target), or a mapping with the target under `labels`,
            `label`, `targets`, `target` or `y`, whose other entries are arguments of the module by name; or a `DataLoader` of
            them, or a Lightning data module. A sample may be a text, with a target for each token.
        loss: `"cross_entropy"`, `"next_token"`, `"bce"` or `"mse"`, or a loss module of torch of that kind; `"auto"`: next
            token for a causal language model of transformers, else cross entropy.
        params: what is in the posterior: `"all"` that requires a gradient, `"last_layer"`, or names of modules.
        engine: `"ekfac"`, or `"retrain"`: the module is trained without each sample, by a recipe, from the weights that it has
            (hand it over untrained to train it from its initial weights); or an `Ekfac` or `Retrain` with its options.
        curvature: structure of the posterior precision: `"ekfac"`, `"kfac"`, `"diag"` or `"full"` (few parameters: the whole
            matrix).
        objective: weight decay and prior, an `ObjectiveSpec`; of the mean of −ln p over the samples, which is torch's cross
            entropy, but K times its binary one and K/(2σ²) times its squared one (docs/howto/networks.md);
            `weight_decay="auto"`: where the marginal likelihood is largest.
        execution: device, limits, checks and seed, an `Execution`.
        divergence, order: of the posteriors: `"kl"`, or `"renyi"` of an order, as in `lapsi.score`.
        tokens: whether the loss of a text is the `"sum"` or the `"mean"` of those of its tokens.
        draws: of labels from what the module predicts, of which the curvature of a text is made; of very many outputs, of signs
            for what no few of them hold.
        pass_size: samples that go through the module at once; default: 64, fewer where outputs are large.
        collate: makes a batch of a list of items; default: that of torch, texts padded to the longest.
        classes: names of the outputs.
        ids: (N,) unique identifiers; default: the positions.
        columns: what else is known of the samples, (N,) each by name; it travels along to the scores.
        sample_weight: (N,) how often each sample counts.
        indices: positions of the samples to score; default: all.
        checkpoint: directory where finished parts are kept, or a `Keep` of it; the same call goes on from there.
        progress: draw progress bars on standard error.

    Returns:
        `Scores`, one row a scored sample.

    Raises:
        InputError: the module, the data or a setting cannot be used; layers that are not covered are named.
    """
    module, data, collate = handed_over(model, dataset, collate)
    spec = NetworkSpec(type(module).__name__, _names(params), _loss_name(loss, module), tokens, draws)
    run_by, stages = execution or Execution(), Stages(progress)
    order = required_order(divergence, order)
    settings = NetworkSettings(spec, objective or ObjectiveSpec(), _engine(engine), curvature, run_by, divergence, order)
    layers = layers_of(module, spec.params)
    batches = batches_of(data, collate, _first_parameter(layers), reads_ahead=spec.loss == NEXT_TOKEN)
    n = len(batches)
    _require_module_decides(run_by, batches)
    known = Known(make_ids(ids, n), _with_texts(make_columns(columns, n), data), check_indices(indices, n))
    weights = None if sample_weight is None else torch.from_numpy(make_weights(sample_weight, n)).to(batches.device)
    if pass_size is not None and (not isinstance(pass_size, int) or pass_size < 1):
        raise InputError(f"pass_size is {pass_size!r}; expected a whole number from 1, or None.")
    with torch.inference_mode(False), torch.enable_grad(), open_backend(run_by) as backend:
        with stages.stage("outputs", n) as advance:
            told = Told(weights, classes, pass_size and min(pass_size, n))
            trained = module_problem(module, layers, batches, settings, told, advance)
        keep = checkpoint if isinstance(checkpoint, Keep | None) else Keep(Path(checkpoint), {})
        return _scored(trained, known, keep, stages, backend)


def _scored(trained: Trained, known: Known, keep: Keep | None, stages: Stages, backend: Backend) -> Scores:
    """The scores of the samples that were asked for."""
    targets, batches, features = trained.targets, trained.problem.batches, trained.features
    require_free_names(known.columns, targets)
    plan_network(trained, len(known.rows)).tell(stages)
    units = torch.as_tensor(known.rows, device=batches.device)[:, None]
    digests = _digests(trained, known.ids)
    kept = open_checkpoint(keep, model_identity(digests, trained.settings, known.rows), {})
    try:
        fit = _fit(trained.problem, trained.settings, len(known.rows), stages)
        by_seed = leave_out(fit, units, observation, kept, stages, backend)
    finally:
        kept.release()
    decay = fit.problem.objective.weight_decay
    settings = replace(trained.settings, objective=replace(trained.settings.objective, weight_decay=decay))
    verification = checked(fit, settings.execution, units, by_seed[0], stages)
    record = fit.record(torch.from_numpy(by_seed[0][PARAMS]))
    plan, laid = {name: record.pop(name) for name in (UNCONVERGED, NOISE_FLOOR) if name in record}, Laid()
    if features is not None:
        plan[FEATURES] = features.record
        laid = Laid(principal_map(features.values)[known.rows], features.values[known.rows], keeps_inputs=True)
    agreement = evidence_of(targets.task).agreement(targets, trained.outputs)
    provenance = Provenance(
        version=version("lapsi"),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        settings=settings.to_dict(),
        engine=settings.engine.name,
        device=str(batches.device),
        source=type(batches.items.dataset).__name__,
        data_hash=_digest(digests.values()),
        n_samples=len(batches),
        n_source=len(batches),
        n_features=fit.problem.n_params,
        n_classes=targets.n_outputs,
        task=targets.task,
        seconds=dict(stages.seconds),
        verification=verification,
        plan=plan | trained.drawn | {"n_params": fit.problem.n_params},
        **({"train_accuracy": None} | agreement | record),
    )
    return assembled(fit, targets, known, by_seed, provenance, laid)


def _fit(problem: ModuleProblem, settings: NetworkSettings, n_units: int, stages: Stages) -> EkfacFit | ModuleRetrainFit:
    if isinstance(settings.engine, Retrain):
        return module_retrain_fit(problem, settings, stages)
    return ekfac_fit(problem, settings, n_units, stages)


def _with_texts(columns: pd.DataFrame, dataset: Any) -> pd.DataFrame:
    """With the texts of the samples, where they are texts."""
    content = None if TEXT in columns else content_of(dataset)
    return columns.assign(**{TEXT: np.array(list(content.values), dtype=object)}) if isinstance(content, Texts) else columns


def _names(params: Any) -> tuple[str, ...]:
    if isinstance(params, str):
        return (params,)
    if not isinstance(params, Sequence) or not all(isinstance(name, str) for name in params) or len(params) == 0:
        raise InputError(f"params is {params!r}; expected {ALL!r}, {LAST_LAYER!r}, or a list of names of modules.")
    return tuple(params)


def _engine(engine: str | Ekfac | Retrain) -> Ekfac | Retrain:
    if isinstance(engine, Ekfac | Retrain):
        return engine
    if engine not in NETWORK_ENGINES:
        names = ", ".join(map(repr, NETWORK_ENGINES))
        raise InputError(f"engine is {engine!r}; expected {names}, or lapsi.Ekfac(…), lapsi.Retrain(…).")
    return NETWORK_ENGINES[engine]()


def _require_module_decides(execution: Execution, batches: Batches) -> None:
    """Refuses a device or dtype that the module has not."""
    if execution.device is not None and device_of(execution.device).type != batches.device.type:
        raise InputError(f"device is {execution.device!r}, but the module is on {batches.device}; move it there first.")
    if execution.dtype is not None and getattr(torch, execution.dtype) != batches.dtype:
        raise InputError(
            f"dtype is {execution.dtype!r}, but the module is in {batches.dtype}; convert it first (model.double())."
        )


def _first_parameter(layers: Sequence[Layer]) -> Tensor:
    first = layers[0]
    return first.module.get_parameter(next(iter(first.split(first.params))))


def _loss_name(loss: str | nn.Module, module: nn.Module) -> str:
    if isinstance(loss, str):
        if loss != AUTO_LOSS:
            return loss
        return NEXT_TOKEN if predicts_next_token(module) else CROSS_ENTROPY
    name = TORCH_LOSSES.get(type(loss))
    if name is None:
        raise InputError(
            f"loss is a {type(loss).__name__}; expected {', '.join(map(repr, LOSSES))}, or the loss of torch of one."
        )
    if getattr(loss, "weight", None) is not None or getattr(loss, "label_smoothing", 0.0) > 0:
        raise InputError("The loss weighs its classes or smooths its labels, which is not covered; see sample_weight.")
    if getattr(loss, "reduction", "mean") != "mean":
        raise InputError(f"The loss has reduction {loss.reduction!r}; expected 'mean': see what weight_decay is of.")
    if getattr(loss, "pos_weight", None) is not None:
        raise InputError("The loss has a pos_weight, which is not covered; see sample_weight.")
    if name == CROSS_ENTROPY and getattr(loss, "ignore_index", IGNORED) != IGNORED:
        raise InputError(f"The loss ignores targets {loss.ignore_index}; leave those samples out of the data set.")
    return name


def _digests(trained: Trained, ids: np.ndarray) -> dict[str, str]:
    """Of the trained parameters, and of what the module makes of the data, targets, sample weights and ids: equal for equal
    runs."""
    weights = (layer.params.double().cpu().numpy().data for layer in trained.problem.layers)
    counts = [] if trained.problem.weights is None else [trained.problem.weights.numpy(force=True)]
    arrays = (np.ascontiguousarray(array).data for array in (trained.targets.values, trained.outputs, *counts))
    return {"weights": _digest(weights), "outputs": _digest([*arrays, json.dumps([*map(str, ids.tolist())])])}


def _digest(parts: Iterable[memoryview | str]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part.encode() if isinstance(part, str) else part)
    return DIGEST + digest.hexdigest()
