"""The plug-ins that are there: a folder below `gatepost.plugins` each, and entry points.

Another distribution adds a plug-in with an entry point of the group ``gatepost.plugins`` that names
a `Plugin` (https://packaging.python.org/en/latest/specifications/entry-points/).
"""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points

from gatepost import plugins as folder
from gatepost.contracts import Plugin
from gatepost.errors import UsageError

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


def _in_folder() -> tuple[Plugin, ...]:
    return tuple(
        import_module(f"{folder.__name__}.{module.name}.plugin").PLUGIN
        for module in pkgutil.iter_modules(folder.__path__)
    )
