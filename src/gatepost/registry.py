"""The plug-ins that are there: a folder below `gatepost.plugins` each, and entry points.

Another distribution adds a plug-in with an entry point of the group ``gatepost.plugins`` that names
a `Plugin` (https://packaging.python.org/en/latest/specifications/entry-points/).
"""

from __future__ import annotations

import pkgutil
import socket
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

from gatepost import plugins as folder
from gatepost import settings
from gatepost.contracts import Plugin
from gatepost.errors import UsageError
from gatepost.settings import Settings
from gatepost.settings.concerns import Concern

GROUP = "gatepost.plugins"


@cache
def plugins() -> tuple[Plugin, ...]:
    """Return every plug-in, in the order of their names.

    Raises `UsageError` when an entry point leads to no plug-in, or two have the same name.
    """
    found = {plugin.name: plugin for plugin in _in_folder()}
    for entry in entry_points(group=GROUP):
        plugin = entry.load()
        if not isinstance(plugin, Plugin):
            raise UsageError(
                f'The entry point "{entry.name}" of the group {GROUP} leads to {entry.value}, '
                "which is no Plugin. Remove the package that has it, or mend it."
            )
        if plugin.name in found:
            raise UsageError(
                f'Two plug-ins have the name "{plugin.name}"; one of them is {entry.value}. '
                "Remove the package that has it, or rename its plug-in."
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


def _in_folder() -> tuple[Plugin, ...]:
    return tuple(
        import_module(f"{folder.__name__}.{module.name}.plugin").PLUGIN
        for module in pkgutil.iter_modules(folder.__path__)
    )
