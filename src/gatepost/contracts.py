"""A plug-in: one value that declares everything of one addition.

A plug-in is a package below `gatepost.plugins` whose module ``plugin`` has the attribute
``PLUGIN``, or ``PLUGINS`` with several instances of it. Other distributions add theirs as entry
points of the group ``gatepost.plugins``. Nothing else in the program names a plug-in:
`gatepost.registry` finds it. Every field but the name has a default, so a plug-in says only what it
has. Plug-ins are pure: values in, values out. All facts about the machine arrive in `Site`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from gatepost.model import (
    BoundListener,
    Check,
    Directory,
    Home,
    Job,
    Listener,
    Observation,
    Offer,
    Part,
    Process,
    RenderedFile,
    Role,
    Secret,
    Site,
    SystemUser,
    Tables,
    Topology,
)
from gatepost.settings import Settings
from gatepost.settings.concerns import Concern

Contribution = TypeVar("Contribution")


@dataclass(frozen=True, slots=True)
class Context:
    """Everything that a plug-in may look at to decide what to write and start."""

    settings: Settings
    topology: Topology
    site: Site
    contributions: tuple[object, ...] = ()
    """The contributions of the plug-ins in use (`gatepost.model.contributions`). It is empty while
    they are asked for them."""

    def given(self, kind: type[Contribution]) -> tuple[Contribution, ...]:
        """Return the contributions of one kind, in the order of the plug-ins' names."""
        return tuple(one for one in self.contributions if isinstance(one, kind))


def _nothing(_about: Any) -> tuple[()]:
    return ()


def _no_roles(_settings: Settings) -> Mapping[Role, str]:
    return {}


def _no_files(_settings: Settings) -> Mapping[str, tuple[Part, Path]]:
    return {}


def _never(_settings: Settings) -> bool:
    return False


def _always(_settings: Settings, _listeners: tuple[BoundListener, ...]) -> bool:
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """One addition, such as a daemon or a proxy."""

    name: str
    """Name of the plug-in, of its folder, and of its process when it has one."""
    unit: str = ""
    """The container or pod in which it runs when each has its own, such as ``mta``: the word after
    ``gatepost run``, and the name under which others reach it. Empty: beside those it serves."""

    settings: tuple[type[Concern], ...] = ()
    """Its own variables, a class for each group; ``context.settings.of(CLASS)`` returns them."""
    chosen_by: str = ""
    """The setting that must have the plug-in's name as its value, such as ``REVERSE_PROXY``. Empty:
    no setting decides."""
    preferred: bool = False
    """True for the one plug-in that an unset setting chooses on a machine."""
    used: Callable[[Settings, tuple[BoundListener, ...]], bool] = _always
    """Tell whether it is used, from the settings and the listeners of the same place."""
    fronts: bool = False
    """True if it listens on the public addresses. It then starts after all others, and only where
    all units run together: in front of containers stands a proxy of somebody else's."""

    listeners: tuple[Listener, ...] = ()
    """Its rows of the listener table."""
    proxied: Callable[[Settings], bool] = _never
    """Tell whether its service ports demand a PROXY header."""
    offers: Mapping[Role, Offer] = field(default_factory=dict)
    """Role → where it answers."""
    needs: Mapping[Role, str] = field(default_factory=dict)
    """Role that it cannot work without → the system user whose programs ask."""
    chooses: Mapping[Role, str] = field(default_factory=dict)
    """Role that it needs → setting that names the plug-in whose instance it uses. Where there is no
    such setting, or its value is empty, the only instance is used."""
    opens: Callable[[Settings], Mapping[Role, str]] = _no_roles
    """Return the roles that it offers to programs other than plug-ins, each with the system user
    whose programs ask. An instance that nobody asks is not offered."""
    contributes: Callable[[Context], tuple[object, ...]] = _nothing
    """Return what it gives to other plug-ins (`gatepost.model.contributions`)."""
    consumes: tuple[type, ...] = ()
    """Kinds of contributions that it uses. It starts after the plug-ins that give them."""

    packages: Callable[[Settings], tuple[str, ...]] = _nothing
    """Return the Debian packages that it cannot run without."""
    optional_packages: tuple[str, ...] = ()
    """Debian packages that it uses where the release has them."""
    system_services: tuple[str, ...] = ()
    """systemd services that the packages bring. They stay off: Gatepost starts the daemon."""
    version_command: tuple[str, ...] = ()
    """Command that prints the installed version; the first word is the program. Empty: the program
    is Gatepost itself."""
    feature_files: Mapping[str, str] = field(default_factory=dict)
    """Feature name → file whose presence shows that the feature is installed."""

    secrets: tuple[Secret, ...] = ()
    """Keys and words that are made for it at the first start and kept; `Site` has them."""
    copies: Callable[[Settings], Mapping[str, tuple[Part, Path]]] = _no_files
    """Return the files that settings name and a daemon is given a copy of: a name for `Site`, the
    kind, and the path."""
    files: Callable[[Context], tuple[RenderedFile, ...]] = _nothing
    """Return the configuration files."""
    processes: Callable[[Context], tuple[Process, ...]] = _nothing
    """Return the processes; assembly adds the other plug-ins' to `Process.after`."""
    jobs: Callable[[Context], tuple[Job, ...]] = _nothing
    """Return the programs that run now and then."""
    directories: Callable[[Context], tuple[Directory, ...]] = _nothing
    """Return the folders that must exist before it starts."""
    sockets: Callable[[Home], tuple[Path, ...]] = _nothing
    """Return the UNIX sockets with the longest paths that its programs make by themselves."""
    tables: Tables | None = None
    """Its tables in the database of accounts."""
    users: tuple[SystemUser, ...] = ()
    """System users that must exist, beyond those that its packages bring."""
    checks: Callable[[Context], tuple[Check, ...]] = _nothing
    """Return the checkers of a staged configuration."""

    believe_nobody: str = ""
    """For a proxy: how its administrator has it believe no PROXY header of clients."""

    observe: Callable[[str], Observation | None] | None = None
    """Read one line of its log; None when the line says nothing about a client. None instead of a
    function: its log is no evidence."""
