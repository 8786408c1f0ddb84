"""The plug-ins that are there, and what they declare, together."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

from gatepost import discovery, settings
from gatepost.contracts import Plugin
from gatepost.errors import UsageError
from gatepost.settings import Settings
from gatepost.settings.concerns import Concern


@cache
def plugins() -> tuple[Plugin, ...]:
    """Return every plug-in, in the order of their names.

    Raises `UsageError` when a module ``plugin`` has none, or two have the same name.
    """
    found: dict[str, Plugin] = {}
    for module in discovery.modules("plugin"):
        plugin = getattr(module, "PLUGIN", None)
        if not isinstance(plugin, Plugin):
            raise UsageError(
                f'The module "{module.__name__}" has no plug-in: its PLUGIN is none. '
                "Remove the package that has it, or mend it."
            )
        if plugin.name in found:
            raise UsageError(
                f'Two plug-ins have the name "{plugin.name}"; one of them is {module.__name__}. '
                "Remove the package that has it, or rename its plug-in."
            )
        if plugin.listeners and not plugin.unit:
            raise UsageError(
                f'The plug-in "{plugin.name}" has listeners and no unit: give it one in '
                f"{module.__name__}, the name under which others reach it."
            )
        found[plugin.name] = plugin
    return tuple(found[name] for name in sorted(found))


def concerns() -> tuple[type[Concern], ...]:
    """Return the settings of all plug-ins, used or not, in the order of the plug-ins' names."""
    return tuple(concern for plugin in plugins() for concern in plugin.settings)


def load(
    environ: Mapping[str, str],
    *,
    dotenv: Path | None = None,
    hostname: Callable[[], str] = socket.getfqdn,
) -> Settings:
    """Read and check every variable, those of plug-ins too; see `gatepost.settings.load`."""
    return settings.load(environ, dotenv=dotenv, hostname=hostname, plugins=concerns())
