"""lapsi: how much every training sample really teaches a model (Laplace Sample Information)."""

from importlib import import_module as _import
from importlib.metadata import version as _version
from typing import TYPE_CHECKING

import lapsi.execution.environment  # noqa: F401  (before torch)
from lapsi.errors import (
    BackendError,
    ConvergenceError,
    DiskFullError,
    InputError,
    LapsiError,
    MemoryLimitError,
    RunExistsError,
)

if TYPE_CHECKING:
    from lapsi.analysis.checks.told import findings
    from lapsi.checking import check
    from lapsi.data.extractors.embedding import embed
    from lapsi.estimator import LaplaceSampleInformation, LaplaceSampleInformationRegressor
    from lapsi.measures.group_lsi import leave_group_out
    from lapsi.measures.renyi import privacy
    from lapsi.measuring import measure
    from lapsi.networks import score_network
    from lapsi.objects import score_samples
    from lapsi.pairs import score_pairs
    from lapsi.results.published import publish, published
    from lapsi.results.scores import Scores
    from lapsi.scoring import score
    from lapsi.settings.engine import Local, Newton, Retrain
    from lapsi.settings.execution import Execution
    from lapsi.settings.extractor import ExtractorSettings
    from lapsi.settings.model import ModelSpec
    from lapsi.settings.network import Ekfac
    from lapsi.settings.objective import ObjectiveSpec
    from lapsi.settings.recipe import Recipe
    from lapsi.settings.settings import Settings, make_settings

__version__ = _version("lapsi")

__all__ = [
    "BackendError",
    "ConvergenceError",
    "DiskFullError",
    "Ekfac",
    "Execution",
    "ExtractorSettings",
    "InputError",
    "LaplaceSampleInformation",
    "LaplaceSampleInformationRegressor",
    "LapsiError",
    "Local",
    "MemoryLimitError",
    "ModelSpec",
    "Newton",
    "ObjectiveSpec",
    "Recipe",
    "Retrain",
    "RunExistsError",
    "Scores",
    "Settings",
    "check",
    "embed",
    "findings",
    "leave_group_out",
    "load_run",
    "make_settings",
    "measure",
    "privacy",
    "publish",
    "published",
    "score",
    "score_network",
    "score_pairs",
    "score_samples",
]

# imported on first use: who reads a run waits for no torch
_PLACES = {
    "Ekfac": "lapsi.settings.network",
    "Execution": "lapsi.settings.execution",
    "ExtractorSettings": "lapsi.settings.extractor",
    "LaplaceSampleInformation": "lapsi.estimator",
    "LaplaceSampleInformationRegressor": "lapsi.estimator",
    "ModelSpec": "lapsi.settings.model",
    "Local": "lapsi.settings.engine",
    "Newton": "lapsi.settings.engine",
    "ObjectiveSpec": "lapsi.settings.objective",
    "Recipe": "lapsi.settings.recipe",
    "Retrain": "lapsi.settings.engine",
    "Scores": "lapsi.results.scores",
    "Settings": "lapsi.settings.settings",
    "check": "lapsi.checking",
    "embed": "lapsi.data.extractors.embedding",
    "findings": "lapsi.analysis.checks.told",
    "leave_group_out": "lapsi.measures.group_lsi",
    "measure": "lapsi.measuring",
    "make_settings": "lapsi.settings.settings",
    "privacy": "lapsi.measures.renyi",
    "publish": "lapsi.results.published",
    "published": "lapsi.results.published",
    "score": "lapsi.scoring",
    "score_network": "lapsi.networks",
    "score_pairs": "lapsi.pairs",
    "score_samples": "lapsi.objects",
}


def load_run(path: str) -> "Scores":
    """The scores of a run directory; the same as `Scores.load`."""
    from lapsi.results.scores import Scores

    return Scores.load(path)


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module 'lapsi' has no attribute {name!r}")
    return getattr(_import(_PLACES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *_PLACES]
