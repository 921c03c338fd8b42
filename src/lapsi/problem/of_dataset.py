"""The problems that engines solve, from a data set and what the user chose."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from lapsi.data.dataset import Dataset
from lapsi.data.standardize import Standardizer
from lapsi.errors import InputError
from lapsi.execution.device import device_of
from lapsi.linalg.span import row_span
from lapsi.models.activation import ACTIVATIONS
from lapsi.models.likelihoods.choose import likelihood_of
from lapsi.models.mlp import Mlp
from lapsi.problem.linear import LinearProblem
from lapsi.problem.network import NetworkProblem
from lapsi.problem.objective import Objective
from lapsi.settings.engine import Retrain
from lapsi.settings.model import ModelSpec
from lapsi.settings.objective import BALANCED
from lapsi.settings.settings import Settings

Rows = slice | np.ndarray
ALL = slice(None)
NARROW = 4  # bytes of a feature, which float32 holds nearly as well
LARGE_BYTES = 2**31


def linear_problem(dataset: Dataset, standardizer: Standardizer, settings: Settings) -> LinearProblem:
    """That of the linear model; of more features than samples in the span of their rows, in which nothing is lost."""
    inputs, span = in_span(inputs_of(dataset, standardizer).to(device_of(settings.execution.device)))
    return replace(linear_problem_on(dataset, inputs, settings), span=span)


def linear_problem_on(dataset: Dataset, inputs: torch.Tensor, settings: Settings, rows: Rows = ALL) -> LinearProblem:
    """That of the linear model on the samples `rows`, whose inputs (n, D) are at hand."""
    return LinearProblem(**_parts(dataset, inputs, settings, rows))


def inputs_of(dataset: Dataset, standardizer: Standardizer) -> torch.Tensor:
    """Inputs (N, D) of the linear model of all samples."""
    return torch.from_numpy(standardizer.all_inputs(dataset.features, np.float32 if is_large(dataset) else np.float64))


def is_large(dataset: Dataset) -> bool:
    """Whether inputs are held in float32, as the features are: where they have more rows than columns and would take much."""
    n_samples, n_features = dataset.features.shape
    narrow = dataset.features.dtype.itemsize <= NARROW
    return narrow and n_samples > n_features and 8 * n_samples * (n_features + 1) > LARGE_BYTES


def in_span(inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Inputs (N, D) of the linear model; where rows are fewer, their coordinates in the span of these, and the span."""
    return row_span(inputs) if inputs.shape[0] < inputs.shape[1] else (inputs, None)


def network_problem(
    dataset: Dataset, standardizer: Standardizer, settings: Settings, n_rows: int | None = None
) -> NetworkProblem:
    """That of a model with or without hidden layers; of the first `n_rows` samples where these are enough."""
    if n_rows is None:
        inputs = torch.from_numpy(standardizer.all_inputs(dataset.features))
    else:
        inputs = torch.from_numpy(standardizer.inputs(dataset.features.read(slice(0, n_rows))))
    model = model_of(inputs.shape[1], dataset.targets.n_outputs, settings.model)
    return NetworkProblem(model=model, **_parts(dataset, inputs, settings, slice(0, n_rows)))


def weighed(dataset: Dataset, settings: Settings) -> Dataset:
    """The data set with the weights that the settings ask for.

    Raises:
        InputError: when the recipe cannot weigh samples, or classes are to be balanced and there are none.
    """
    dataset = dataset.balanced() if settings.objective.class_weight == BALANCED else dataset
    if dataset.weights is not None and isinstance(settings.engine, Retrain) and settings.engine.recipe.public_divisor:
        raise InputError(
            "Samples have weights, but Poisson batches and clipped gradients divide their sums by a public number of samples; "
            "leave the weights out, or use another recipe."
        )
    return dataset


def model_of(n_features: int, n_outputs: int, spec: ModelSpec) -> Mlp:
    """The model that is trained on D features, the constant 1 included."""
    return Mlp((n_features, *spec.hidden, n_outputs), ACTIVATIONS[spec.activation])


def _parts(dataset: Dataset, inputs: torch.Tensor, settings: Settings, rows: Rows) -> dict[str, Any]:
    """What all problems have."""
    device, chosen = device_of(settings.execution.device), settings.objective
    weights = None if dataset.weights is None else torch.from_numpy(dataset.weights[rows]).to(device)
    return {
        "inputs": inputs.to(device),
        "targets": torch.from_numpy(dataset.targets.values[rows]).to(device),
        "likelihood": likelihood_of(dataset.targets, settings.objective.noise, device),
        "objective": Objective(chosen.decay, chosen.prior_precision, chosen.removal),
        "weights": weights,
    }
