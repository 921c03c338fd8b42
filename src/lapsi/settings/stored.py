"""The settings of a run, of whatever kind, from what is stored with its scores."""

from __future__ import annotations

from typing import Any

from lapsi.settings.network import NetworkSettings, network_settings_from_dict
from lapsi.settings.pairs import PairSettings, pair_settings_from_dict
from lapsi.settings.settings import Settings, settings_from_dict


def stored_settings(values: dict[str, Any]) -> Settings | NetworkSettings | PairSettings:
    """Those of a probe, of a network, or of pairs.

    Raises:
        InputError: when a value is none that a setting can have.
    """
    if "network" in values:
        return network_settings_from_dict(values)
    return pair_settings_from_dict(values) if "pairs" in values else settings_from_dict(values)
