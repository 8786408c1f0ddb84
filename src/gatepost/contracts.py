"""What a daemon or a reverse proxy plug-in must offer.

A plug-in is a package below `gatepost.daemons` or `gatepost.proxies` with an attribute ``DAEMON``
or ``PROXY``. Nothing else in the program names it: assembly finds it by looking there. Plug-ins
are pure: values in, values out; what must be known about the machine arrives in `Site`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from gatepost.model import (
    Check,
    Directory,
    Handoff,
    Listener,
    Observation,
    Offer,
    Process,
    RenderedFile,
    Role,
    Site,
    SystemUser,
    Topology,
)
from gatepost.settings import Settings


@dataclass(frozen=True, slots=True)
class Context:
    """All that a plug-in may look at to decide what to write and start."""

    settings: Settings
    topology: Topology
    site: Site


class Plugin(Protocol):
    """What daemons and proxies have in common."""

    @property
    def name(self) -> str:
        """Name of the plug-in, of its folder and of its process."""

    def packages(self, settings: Settings) -> tuple[str, ...]:
        """Return the Debian packages it cannot run without."""

    @property
    def optional_packages(self) -> tuple[str, ...]:
        """Debian packages it makes use of where the release has them."""

    @property
    def version_command(self) -> tuple[str, ...]:
        """Command that prints the installed version; the first word is the program."""

    @property
    def feature_files(self) -> Mapping[str, str]:
        """Feature name → file whose presence shows that the feature is installed."""

    def files(self, context: Context) -> tuple[RenderedFile, ...]:
        """Return the configuration files."""

    def processes(self, context: Context) -> tuple[Process, ...]:
        """Return the processes; `Process.after` is filled in by assembly from the needs."""

    def directories(self, context: Context) -> tuple[Directory, ...]:
        """Return the folders that must exist before it starts."""

    def users(self, context: Context) -> tuple[SystemUser, ...]:
        """Return the system users that must exist, beyond those its packages bring."""

    def checks(self, context: Context) -> tuple[Check, ...]:
        """Return its own configuration checkers."""


class Daemon(Plugin, Protocol):
    """A mail daemon: it answers on listeners, and offers and needs roles."""

    @property
    def listeners(self) -> tuple[Listener, ...]:
        """Return its rows of the listener table."""

    @property
    def service(self) -> str:
        """Its service, ``mta`` or ``mda``: what ``gatepost run`` takes and Kubernetes names."""

    @property
    def offers(self) -> Mapping[Role, Offer]:
        """Role → its port and socket."""

    @property
    def needs(self) -> Mapping[Role, str]:
        """Role that it cannot work without → the system user as whom its programs ask for it."""

    @property
    def guarded(self) -> bool:
        """Whether the gate answers on its proxied service ports in its place.

        True for a daemon that would believe a PROXY header from whoever connects.
        """

    def handoffs(self, context: Context) -> tuple[Handoff, ...]:
        """Return where the gate hands over connections, for each listener that is guarded now."""

    def observe(self, line: str) -> Observation | None:
        """Read one log line of the daemon; None when it tells nothing about a client."""


class Proxy(Plugin, Protocol):
    """A reverse proxy that ``gatepost up`` can start in front of the daemons."""

    @property
    def fronts(self) -> bool:
        """Whether it listens on the public addresses; if not, clients reach the daemons."""
