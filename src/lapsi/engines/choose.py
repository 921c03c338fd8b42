"""The engine of each choice, and the choice where it is left to the data."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lapsi.engines.base import Engine, Plan, Work
from lapsi.engines.local.engine import LocalEngine
from lapsi.engines.local.plan import local_seconds
from lapsi.engines.newton.engine import NewtonEngine
from lapsi.engines.newton.plan import newton_seconds
from lapsi.engines.retrain.engine import RetrainEngine
from lapsi.errors import MemoryLimitError
from lapsi.execution.cost import TWO_CORES
from lapsi.settings.engine import Auto, Local, Newton, Retrain
from lapsi.settings.objective import ANEW
from lapsi.settings.settings import Settings
from lapsi.training.regularization import for_units

ENGINES: dict[type, type[NewtonEngine] | type[LocalEngine] | type[RetrainEngine]] = {
    Newton: NewtonEngine,
    Local: LocalEngine,
    Retrain: RetrainEngine,
}
PATIENCE = 1200.0  # seconds on two cores that the exact step may take
WORTH_IT = 4.0  # times as long as the local one, at least, where it is not taken


@dataclass(frozen=True, slots=True)
class Chosen:
    """An engine for the data at hand.

    Attributes:
        settings: that name it.
        reason: why it and no other; "" where it was asked for.
    """

    settings: Settings
    reason: str = ""

    def record(self) -> dict[str, str]:
        """What is kept of it with the scores."""
        return {"why": self.reason} if self.reason else {}


def make_engine(settings: Settings) -> Engine:
    """The engine that the settings ask for."""
    return ENGINES[type(settings.engine)](settings)


def chosen_engine(settings: Settings, work: Work) -> Chosen:
    """`Newton`, or `Local` where that does not fit into memory, or takes very much longer; the scaling settled by `for_units`.

    Raises:
        MemoryLimitError: when neither fits.
    """
    settings = for_units(settings, work.own_units)
    if not isinstance(settings.engine, Auto):
        return Chosen(settings)
    newton = replace(settings, engine=Newton(tolerance=settings.engine.tolerance))
    if settings.curvature == "full" or settings.execution.dtype == "float64" or settings.objective.noise_removal == ANEW:
        return Chosen(newton)
    local = replace(settings, engine=Local(tolerance=settings.engine.tolerance))
    try:
        exact = newton_seconds(_plan(newton, work), TWO_CORES)
    except MemoryLimitError as error:
        _plan(local, work)
        return Chosen(local, f"engine newton does not fit: {str(error).partition('. ')[0]}")
    if exact <= PATIENCE:
        return Chosen(newton)
    near = local_seconds(_plan(local, work), TWO_CORES)
    if exact <= WORTH_IT * near:
        return Chosen(newton)
    return Chosen(local, f"engine newton would take {exact / near:.0f} times as long")


def _plan(settings: Settings, work: Work) -> Plan:
    return make_engine(settings).plan(work)
