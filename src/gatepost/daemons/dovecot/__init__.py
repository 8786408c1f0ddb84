"""Dovecot: keeps the mail, lets users read it, and knows who may log in.

An instance of its own below ``GATEPOST_HOME``; the machine's own Dovecot is not touched. Dovecot
2.3 and 2.4 read two languages, so there are two folders of templates with the same file names.
All of this package is pure: values in, values out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gatepost.contracts import Context
from gatepost.daemons.dovecot.files import files
from gatepost.daemons.dovecot.listeners import LISTENERS, OFFERS
from gatepost.daemons.dovecot.process import USER, checks, directories, processes
from gatepost.daemons.dovecot.witness import observe
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
    SystemUser,
)
from gatepost.settings import Settings


@dataclass(frozen=True, slots=True)
class Dovecot:
    """What Gatepost must know about Dovecot; see `gatepost.contracts.Daemon`."""

    name: str = "dovecot"
    service: str = "mda"
    # Debian 13 has it, Debian 12 does not.
    optional_packages: tuple[str, ...] = ("dovecot-flatcurve",)
    version_command: tuple[str, ...] = ("dovecot", "--version")
    listeners: tuple[Listener, ...] = LISTENERS

    # It takes a PROXY header from haproxy_trusted_networks only.
    guarded: bool = False

    def packages(self, settings: Settings) -> tuple[str, ...]:
        """Return Dovecot's parts, among them its client for the database in use."""
        return (
            "dovecot-core",
            "dovecot-imapd",
            "dovecot-pop3d",
            "dovecot-lmtpd",
            "dovecot-managesieved",
            "dovecot-sieve",
            f"dovecot-{settings.database.db_driver}",
        )

    @property
    def feature_files(self) -> Mapping[str, str]:
        """Return the plug-in of full-text search."""
        return {"flatcurve": "/usr/lib/dovecot/modules/lib21_fts_flatcurve_plugin.so"}

    @property
    def needs(self) -> Mapping[Role, str]:
        """Return nothing: Dovecot works alone."""
        return {}

    @property
    def offers(self) -> Mapping[Role, Offer]:
        """Return what Postfix and others ask of the mail store."""
        return OFFERS

    def files(self, context: Context) -> tuple[RenderedFile, ...]:
        """Return the configuration in the dialect of the installed version.

        Raises `UsageError` when there is no dialect for it, or ``GATEPOST_HOME`` is too long.
        """
        return files(context)

    def processes(self, context: Context) -> tuple[Process, ...]:
        """Return Dovecot's master, which starts all its other processes."""
        return processes(context)

    def directories(self, context: Context) -> tuple[Directory, ...]:
        """Return the folders for mail, sockets and state."""
        return directories(context)

    def users(self, context: Context) -> tuple[SystemUser, ...]:  # noqa: ARG002
        """Return the owner of all mail; the package brings ``dovecot`` and ``dovenull``."""
        return (USER,)

    def checks(self, context: Context) -> tuple[Check, ...]:
        """Return the check of a staged configuration."""
        return checks(context)

    def handoffs(self, context: Context) -> tuple[Handoff, ...]:  # noqa: ARG002
        """Return nothing: no gate stands before Dovecot."""
        return ()

    def observe(self, line: str) -> Observation | None:
        """Read one log line; None when it tells nothing about a client."""
        return observe(line)


DAEMON = Dovecot()
