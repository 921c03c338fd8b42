"""Where scores come from: data, settings, machine, and how exact the scores are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where scores come from and how exact they are.

    Attributes:
        version: of lapsi.
        created: UTC time, ISO 8601.
        settings: of the run, as given.
        engine, dtype, device: what was used in the end.
        source, data_hash: the data.
        n_samples, n_features, n_classes: of the data set (n_features without the constant).
        train_accuracy: share of samples that the probe trained on all of them classifies as labelled.
        grad_norm, n_iterations: of the fit with all samples (gradient of the mean-form objective at its end).
        seconds: wall time by stage.
        verification: measured accuracy (fields of `Verification`), or None when it was turned off.
        extractor: what made the features (model, revision, settings), where lapsi did.
        corruption: what was changed on purpose first, and how many samples that touched; empty for nothing.
        licence: what the source says of its terms.
        call: options of the command line that opened the data, to open them again; empty from Python.
    """

    version: str
    created: str
    settings: dict[str, Any]
    engine: str
    dtype: str
    device: str
    source: str
    data_hash: str
    n_samples: int
    n_features: int
    n_classes: int
    train_accuracy: float
    grad_norm: float
    n_iterations: int
    seconds: dict[str, float]
    verification: dict[str, Any] | None
    extractor: dict[str, Any] | None = None
    corruption: dict[str, Any] = field(default_factory=dict)
    licence: str = ""
    call: dict[str, Any] = field(default_factory=dict)
