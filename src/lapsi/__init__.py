"""lapsi: how much every training sample really teaches a model (Laplace Sample Information)."""

from importlib.metadata import version as _version

import lapsi.execution.environment  # noqa: F401  (before torch)
from lapsi.data.extractors.embedding import embed
from lapsi.engines.groups.engine import leave_group_out
from lapsi.errors import ConvergenceError, InputError, LapsiError, MemoryLimitError, RunExistsError
from lapsi.estimator import LaplaceSampleInformation
from lapsi.results.scores import Scores
from lapsi.scoring import score
from lapsi.settings.recipe import Recipe
from lapsi.settings.settings import Settings

__version__ = _version("lapsi")

__all__ = [
    "ConvergenceError",
    "InputError",
    "LaplaceSampleInformation",
    "LapsiError",
    "MemoryLimitError",
    "Recipe",
    "RunExistsError",
    "Scores",
    "Settings",
    "embed",
    "leave_group_out",
    "load_run",
    "score",
]


def load_run(path: str) -> Scores:
    """The scores of a run directory; the same as `Scores.load`."""
    return Scores.load(path)
