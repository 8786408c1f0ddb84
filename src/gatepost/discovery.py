"""The places of plug-ins: folders of `gatepost.plugins`, and entry points of other distributions.

Another distribution adds a plug-in with an entry point of the group ``gatepost.plugins`` that leads
to its module ``plugin`` (https://packaging.python.org/en/latest/specifications/entry-points/)::

    [project.entry-points."gatepost.plugins"]
    toy = "gatepost_toy.plugin"

The modules of a plug-in have the same names in every package, so each room asks for its own:
``plugin`` for the registry, ``cli`` for the command line, ``checks`` for the proof. This module
imports next to nothing: ``gatepost --help`` must be quick.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from types import ModuleType

from gatepost import plugins as folder
from gatepost.errors import UsageError

GROUP = "gatepost.plugins"


@cache
def packages() -> tuple[str, ...]:
    """Return the package of every plug-in: ours in the order of their names, then the others."""
    ours = [f"{folder.__name__}.{module.name}" for module in pkgutil.iter_modules(folder.__path__)]
    others = []
    for entry in entry_points(group=GROUP):
        package, _, module = entry.module.rpartition(".")
        if not package or module != "plugin":
            raise UsageError(
                f'The entry point "{entry.name}" of the group {GROUP} leads to "{entry.value}", '
                'which is not the module "plugin" of a package. '
                "Remove the distribution that has it, or mend it."
            )
        others.append(package)
    return tuple(dict.fromkeys((*ours, *sorted(others))))


def modules(name: str) -> Iterator[ModuleType]:
    """Yield the module of this name of each plug-in that has one.

    Raises `UsageError` when the package of another distribution cannot be imported.
    """
    for package in packages():
        try:
            found = import_module(f"{package}.{name}") if find_spec(f"{package}.{name}") else None
        except Exception as error:
            if package.startswith(f"{folder.__name__}."):
                raise
            raise UsageError(
                f'The plug-in "{package}" cannot be used: {error!r}. '
                "Remove the distribution that has it, or mend it."
            ) from error
        if found:
            yield found
