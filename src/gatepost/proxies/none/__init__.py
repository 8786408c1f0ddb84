"""No proxy of our own in front: clients, or somebody else's proxy, reach the daemons directly.

This is the control case, and what a container uses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gatepost.contracts import Context
from gatepost.model import Check, Directory, Process, RenderedFile, SystemUser
from gatepost.settings import Settings


@dataclass(frozen=True, slots=True)
class NoProxy:
    """Nothing to write and nothing to start."""

    name: str = "none"
    optional_packages: tuple[str, ...] = ()
    version_command: tuple[str, ...] = ()
    feature_files: Mapping[str, str] = field(default_factory=dict)
    fronts: bool = False

    def packages(self, settings: Settings) -> tuple[str, ...]:  # noqa: ARG002
        """Return nothing: there is no program."""
        return ()

    def files(self, context: Context) -> tuple[RenderedFile, ...]:  # noqa: ARG002
        """Return no files."""
        return ()

    def processes(self, context: Context) -> tuple[Process, ...]:  # noqa: ARG002
        """Return no processes."""
        return ()

    def directories(self, context: Context) -> tuple[Directory, ...]:  # noqa: ARG002
        """Return no folders."""
        return ()

    def users(self, context: Context) -> tuple[SystemUser, ...]:  # noqa: ARG002
        """Return no users."""
        return ()

    def checks(self, context: Context) -> tuple[Check, ...]:  # noqa: ARG002
        """Return no checks."""
        return ()


PROXY = NoProxy()
