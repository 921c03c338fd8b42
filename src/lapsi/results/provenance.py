"""Where scores come from: data, settings, machine, and how exact the scores are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import Field

from lapsi.settings.task import CLASSES

FEATURES = "features"  # of the plan of a network
Text = Annotated[str, Field(strict=True)]
Count = Annotated[int, Field(strict=True, ge=0, le=2**53)]
Share = Annotated[float, Field(strict=True, ge=0, le=1)]
Seconds = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
Real = Annotated[float, Field(strict=True)]


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where scores come from and how exact they are. The types are those that are checked when a run is loaded.

    Attributes:
        version: of lapsi.
        created: UTC time, ISO 8601.
        settings: of the run, the engine and curvature chosen.
        engine, dtype, device: what was used in the end.
        source, data_hash: the data.
        n_samples, n_features, n_classes: of the data set (n_features without the constant; n_classes: outputs of the model, be
            they classes, labels or numbers).
        train_accuracy: share of samples that the probe trained on all of them classifies as labelled (with several labels: of
            samples and labels); None for numbers.
        grad_norm, n_iterations: of the fit with all samples (gradient of the mean-form objective at its end).
        seconds: wall time by stage.
        verification: measured accuracy (fields of `Verification`), or None when it was turned off.
        extractor: what made the features (model, revision, settings), where lapsi did.
        corruption: what was changed on purpose first, and how many samples that touched; empty for nothing.
        licence: what the source says of its terms.
        plan: what the engine planned to do, e.g. how many samples are refined.
        n_source: samples of the source, those that could not be read among them; None where that was not kept.
        data: what opened the data, to open them again; empty from Python. source; columns (fields of
            `lapsi.data.readers.columns.Columns`); split; data_dir; extractor (fields of `ExtractorSettings`); corruption
            (fields of `Corruption`, human labels by their file); cache; skip_bad. Of pairs: source; pairs (fields of
            `lapsi.settings.pair_source.PairSource`).
        regularization: how the weight decay and the scaling in `settings` were chosen (fields of
            `lapsi.results.regularization.Regularization`), or None where both were given.
        measures: of each measure that was added to the run, where it comes from.
        task: what the targets are, one of `lapsi.settings.task.TASKS`.
        train_perplexity: of the tokens of all texts, under the model with all of them; None for other targets.
        factory: the function that made the network and its data, where the command line called one; "" else.
        table: how the columns of a table became features (what `lapsi.data.tables.column.record_of` gives, and as `shown` the
            columns of the scores that hold them as they were); empty where the features were numbers.
        train_r2: share of the variance of numbers that the probe trained on all samples explains; None for other targets.
    """

    version: Text
    created: Text
    settings: dict[str, Any]
    engine: Text
    dtype: Text
    device: Text
    source: Text
    data_hash: Text
    n_samples: Count
    n_features: Count
    n_classes: Count
    train_accuracy: Share | None
    grad_norm: Real
    n_iterations: Count
    seconds: dict[str, Seconds]
    verification: dict[str, Any] | None
    extractor: dict[str, Any] | None = None
    corruption: dict[str, Any] = field(default_factory=dict)
    licence: Text = ""
    plan: dict[str, Any] = field(default_factory=dict)
    n_source: Count | None = None
    data: dict[str, Any] = field(default_factory=dict)
    regularization: dict[str, Any] | None = None
    measures: dict[str, dict[str, Any]] = field(default_factory=dict)
    task: Text = CLASSES
    train_r2: Real | None = None
    train_perplexity: Real | None = None
    factory: Text = ""
    table: dict[str, Any] = field(default_factory=dict)

    @property
    def group_name(self) -> str:
        """How the source calls what the column `group` holds."""
        named = self.data.get("columns", {}).get("group")
        found = next((each["name"] for each in self.table.get("columns", []) if each["role"] == "group"), "group")
        return str(named or found)

    @property
    def features_in_words(self) -> str:
        """Which numbers of a network stand for a sample; "" where there are none."""
        found = self.plan.get(FEATURES)
        if not isinstance(found, dict) or not {"layer", "width", "kept"} <= found.keys():
            return ""
        projected = "" if found["kept"] == found["width"] else f", projected at random to {found['kept']}"
        layer = f", {found['layer']!r}" if found["layer"] else ""
        return f"the {found['width']} numbers that go into the last linear layer of the network{layer}{projected}"

    @property
    def noise_floor(self) -> dict[str, float]:
        """LSI in nats of training a network again with nothing removed, by what else differed; empty where not measured."""
        found = self.plan.get("noise_floor")
        return found if isinstance(found, dict) else {}
