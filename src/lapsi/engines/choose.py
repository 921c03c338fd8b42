"""The engine of each choice."""

from __future__ import annotations

from lapsi.engines.base import Engine
from lapsi.engines.local.engine import LocalEngine
from lapsi.engines.newton.engine import NewtonEngine
from lapsi.engines.retrain.engine import RetrainEngine
from lapsi.settings.engine import Local, Newton, Retrain
from lapsi.settings.settings import Settings

ENGINES: dict[type, type[NewtonEngine] | type[LocalEngine] | type[RetrainEngine]] = {
    Newton: NewtonEngine,
    Local: LocalEngine,
    Retrain: RetrainEngine,
}


def make_engine(settings: Settings) -> Engine:
    """The engine that the settings ask for."""
    return ENGINES[type(settings.engine)](settings)
