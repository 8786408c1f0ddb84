"""Plug-ins of a place, and the names under which units find each other."""

from __future__ import annotations

from collections.abc import Mapping

from gatepost import registry
from gatepost.assembly.listeners import from_here, table
from gatepost.contracts import Plugin
from gatepost.errors import SettingsError
from gatepost.settings import Settings
from gatepost.settings.loading import NO_PLUGIN


def units() -> tuple[str, ...]:
    """Return the names that ``gatepost run`` takes."""
    return tuple(sorted({plugin.unit for plugin in registry.plugins() if plugin.unit}))


def units_of() -> Mapping[str, str]:
    """Map each plug-in that has a unit of its own to it."""
    return {plugin.name: plugin.unit for plugin in of_unit(None)}


def of_unit(unit: str | None) -> tuple[Plugin, ...]:
    """Return the plug-ins of one unit, or of all units."""
    return tuple(p for p in registry.plugins() if p.unit and unit in {None, p.unit})


def internal_service(unit: str) -> str:
    """Return the name under which other units find a unit's internal listeners."""
    return f"{unit}-internal"


def client_settings() -> Mapping[str, str]:
    """Map each listener to the setting that says where Gatepost's own clients connect for it."""
    return {
        listener.name: listener.client_setting
        for plugin in registry.plugins()
        for listener in plugin.listeners
        if listener.client_setting
    }


def used(settings: Settings, unit: str | None = None) -> tuple[Plugin, ...]:
    """Return the plug-ins that these settings use in a place with all units, or with one.

    Raises `SettingsError` when a setting chooses a plug-in that is not there.
    """
    candidates = _candidates(settings, unit)
    listeners = table(candidates, from_here(settings))
    return tuple(plugin for plugin in candidates if plugin.used(settings, listeners))


def _candidates(settings: Settings, unit: str | None) -> tuple[Plugin, ...]:
    """Return the plug-ins of a place that the settings do not rule out by name."""
    chosen = {
        variable: _choice(settings, variable)
        for variable in sorted({plugin.chosen_by for plugin in registry.plugins()} - {""})
    }
    return tuple(
        plugin
        for plugin in registry.plugins()
        if (unit is None or not plugin.fronts)
        and (not plugin.unit or unit in {None, plugin.unit})
        and (not plugin.chosen_by or chosen[plugin.chosen_by] == plugin.name)
    )


def _choice(settings: Settings, variable: str) -> str:
    """Return the name of the plug-in that a setting chooses, or `NO_PLUGIN`."""
    value = str(settings.value(variable))
    known = {plugin.name for plugin in registry.plugins() if plugin.chosen_by == variable}
    if value not in known | {NO_PLUGIN}:
        raise SettingsError(
            f'{variable}: "{value}" is nothing that Gatepost can start. '
            f"Set it to one of: {', '.join(sorted(known | {NO_PLUGIN}))}."
        )
    return value
