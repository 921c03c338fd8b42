"""The settings of a run, of either kind, from what is stored with its scores."""

from __future__ import annotations

from typing import Any

from lapsi.settings.network import NetworkSettings, network_settings_from_dict
from lapsi.settings.settings import Settings, settings_from_dict


def stored_settings(values: dict[str, Any]) -> Settings | NetworkSettings:
    """Those of a probe, or of a network.

    Raises:
        InputError: when a value is none that a setting can have.
    """
    return network_settings_from_dict(values) if "network" in values else settings_from_dict(values)
