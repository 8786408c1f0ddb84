"""Postfix: mail in on port 25, and out of users' mail programs on submission and submissions.

An instance of its own below ``GATEPOST_HOME``; the machine's own Postfix is not touched. All of
this package is pure: values in, values out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gatepost.contracts import Context
from gatepost.daemons.postfix.files import files
from gatepost.daemons.postfix.listeners import LISTENERS
from gatepost.daemons.postfix.process import checks, directories, handoffs, processes
from gatepost.daemons.postfix.witness import observe
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
class Postfix:
    """What Gatepost must know about Postfix; see `gatepost.contracts.Daemon`."""

    name: str = "postfix"
    service: str = "mta"
    optional_packages: tuple[str, ...] = ()
    # -d: the compiled-in value, so that a broken /etc/postfix/main.cf does not matter.
    version_command: tuple[str, ...] = ("postconf", "-dh", "mail_version")
    listeners: tuple[Listener, ...] = LISTENERS

    # It has no notion of who may send a PROXY header.
    guarded: bool = True

    def packages(self, settings: Settings) -> tuple[str, ...]:
        """Return Postfix and its client for the database in use."""
        return ("postfix", f"postfix-{settings.database.db_driver}")

    @property
    def feature_files(self) -> Mapping[str, str]:
        """Return nothing: all that is needed comes with `packages`."""
        return {}

    @property
    def needs(self) -> Mapping[Role, str]:
        """Return what ``lmtp`` and ``smtpd`` ask for, as Postfix's own user (mail_owner)."""
        return dict.fromkeys((Role.DELIVERY, Role.SASL, Role.QUOTA_STATUS), "postfix")

    @property
    def offers(self) -> Mapping[Role, Offer]:
        """Return nothing: others reach Postfix as SMTP clients do."""
        return {}

    def files(self, context: Context) -> tuple[RenderedFile, ...]:
        """Return the configuration folder."""
        return files(context)

    def processes(self, context: Context) -> tuple[Process, ...]:
        """Return Postfix's ``master``, which starts all its other processes."""
        return processes(context)

    def directories(self, context: Context) -> tuple[Directory, ...]:
        """Return the queue's folder and the one for caches."""
        return directories(context)

    def users(self, context: Context) -> tuple[SystemUser, ...]:  # noqa: ARG002
        """Return nobody: the package brings ``postfix`` and the group ``postdrop``."""
        return ()

    def checks(self, context: Context) -> tuple[Check, ...]:
        """Return the check of a staged configuration."""
        return checks(context)

    def handoffs(self, context: Context) -> tuple[Handoff, ...]:
        """Return the ``pass`` service of each proxied listener."""
        return handoffs(context)

    def observe(self, line: str) -> Observation | None:
        """Read one log line; None when it tells nothing about a client."""
        return observe(line)


DAEMON = Postfix()
