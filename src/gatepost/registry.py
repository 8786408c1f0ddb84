"""The plug-ins that are there, and what they declare, together."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType

from gatepost import discovery, settings
from gatepost.contracts import Plugin
from gatepost.errors import UsageError
from gatepost.model import Tables
from gatepost.settings import Settings
from gatepost.settings.concerns import Concern
from gatepost.settings.loading import NO_PLUGIN


@cache
def plugins() -> tuple[Plugin, ...]:
    """Return every plug-in, in the order of their names.

    A module ``plugin`` declares one as ``PLUGIN``, or several instances of it, each with a name of
    its own, as ``PLUGINS``. Raises `UsageError` when it declares none, or when two plug-ins, or
    their listeners, have the same name.
    """
    found: dict[str, Plugin] = {}
    tables: dict[str, Tables] = {}
    listeners: dict[str, str] = {}
    for module in discovery.modules("plugin"):
        for plugin in _of(module):
            if plugin.name in found:
                raise UsageError(
                    f'Two plug-ins have the name "{plugin.name}"; one of them is '
                    f"{module.__name__}. Remove the package that has it, or rename its plug-in."
                )
            if plugin.listeners and not plugin.unit:
                raise UsageError(
                    f'The plug-in "{plugin.name}" has listeners and no unit: give it one in '
                    f"{module.__name__}, the name under which others reach it."
                )
            for listener in plugin.listeners:
                if listeners.setdefault(listener.name, plugin.name) != plugin.name:
                    raise UsageError(
                        f'The plug-ins "{listeners[listener.name]}" and "{plugin.name}" both have '
                        f'a listener "{listener.name}". Rename the one in {module.__name__}.'
                    )
            made = plugin.tables
            if made and tables.setdefault(made.name, made) != made:
                raise UsageError(
                    f'The tables "{made.name}" of the plug-in "{plugin.name}" have the name of '
                    f"another plug-in's tables. Rename those in {module.__name__}."
                )
            found[plugin.name] = plugin
    return tuple(found[name] for name in sorted(found))


def _of(module: ModuleType) -> tuple[Plugin, ...]:
    """Return the plug-in of a module, or the instances that it makes of one."""
    one, several = getattr(module, "PLUGIN", None), getattr(module, "PLUGINS", ())
    declared = (*(() if one is None else (one,)), *several)
    if not declared or not all(isinstance(plugin, Plugin) for plugin in declared):
        raise UsageError(
            f'The module "{module.__name__}" has no plug-in: its PLUGIN is none. '
            "Remove the package that has it, or mend it."
        )
    return declared


def concerns() -> tuple[type[Concern], ...]:
    """Return the settings of all plug-ins, used or not, in the order of the plug-ins' names."""
    every = (concern for plugin in plugins() for concern in plugin.settings)
    # Instances of one plug-in share their settings.
    return tuple(dict.fromkeys(every))


def preferred_proxy() -> str:
    """Return the name of the plug-in that stands in front of a machine by default, or ``none``."""
    return next((plugin.name for plugin in plugins() if plugin.preferred), NO_PLUGIN)


def load(
    environ: Mapping[str, str],
    *,
    dotenv: Path | None = None,
    hostname: Callable[[], str] = socket.getfqdn,
) -> Settings:
    """Read and check every variable, those of plug-ins too; see `gatepost.settings.load`."""
    return settings.load(
        environ, dotenv=dotenv, hostname=hostname, plugins=concerns(), proxy=preferred_proxy()
    )
