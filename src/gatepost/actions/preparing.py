"""The steps of `gatepost up` before anything starts: look, then write."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from gatepost.actions import inspection
from gatepost.actions.accounts import mail_folders as folders_of_mail
from gatepost.actions.planning import Draft, draft
from gatepost.actions.session import Session
from gatepost.actions.starting import Tell
from gatepost.errors import PreflightError, UsageError
from gatepost.model import DELIVERY, Directory, Home, KeyPair, Topology
from gatepost.run import (
    apply,
    certificates,
    control,
    files,
    memory,
    owners,
    preflight,
    record,
    site,
)
from gatepost.run.control import Running

if TYPE_CHECKING:
    from gatepost.contracts import Plugin

_SETTLE_SECONDS = 4.0


def look(session: Session, tell: Tell, unit: str | None = None) -> Draft:
    """Check everything that can be checked without writing; raise `UsageError`."""
    # First what the settings say, then what this machine has, such as ports that are taken.
    found = draft(session.settings, unit)
    if problems := inspection.files(session.settings):
        raise UsageError(*problems)
    for warning in certificates.warnings(session.settings):
        tell(f"Warning: {warning}")
    check_machine(session.home, found.plan.topology)
    return found


def write(session: Session, found: Draft, tell: Tell) -> None:
    """Write accounts, keys and configuration; the caller holds the home."""
    from gatepost.accounts import mail_folders  # noqa: PLC0415

    settings, home = session.settings, session.home
    # Before all else that is made: a database server may be away or refuse us.
    session.store.refuse_ambiguous(changed_only=True)
    tell(f"Preparing {home.root}")
    files.make_users(found.plan.users)
    site.prepare(settings, found.plugins)
    delivers = any(DELIVERY in plugin.offers for plugin in found.plugins)
    _introduce(session, found.plugins)
    if delivers:
        _keep_mail_aside(session)
    plan = found.completed()
    tell("Checking the configuration with the daemons' own checkers")
    apply.apply(plan, home)
    if delivers:
        # Not earlier: a configuration that is refused would leave the one from before in use, which
        # has other names for them.
        mail_folders.escape_names(
            home.mail, home.state / "folder-names", lambda reason: tell(f"Warning: {reason}")
        )
    session.store.adopt_delimiter()
    for reason in session.store.unread_roles(settings.mail.mailname, settings.mail.postmaster):
        tell(f"Warning: {reason}")
    _give_to_owners(home, plan.directories, tell)


def _give_to_owners(home: Home, directories: tuple[Directory, ...], tell: Tell) -> None:
    """Mend the owners of mail and queue, where a look or the running server finds foreign ones."""
    running = control.request(home, control.STATUS)
    found = owners.look(directories).foreign or (running and running.foreign)
    if not found:
        return
    tell(f"{found}: mending the owners of everything there")
    count = owners.mend(directories, tell)
    tell(f"{count:,} files and folders have their owner again")
    if running:
        control.request(home, control.OWNERS)


def require_same_units(home: Home, wanted: Topology) -> None:
    """Refuse to add units to a server that runs a single one.

    Raises `PreflightError` that names what runs.
    """
    from gatepost import assembly  # noqa: PLC0415

    known = record.current(home)
    running = {bound.daemon for bound in known.topology.listeners} if known else set()
    units = assembly.units_of()
    of = {units.get(daemon, daemon) for daemon in running}
    if len(of) == 1 and of < {units.get(bound.daemon, bound.daemon) for bound in wanted.listeners}:
        raise PreflightError(
            f"In {home.root} only {', '.join(sorted(running))} runs: `gatepost run` has started "
            "it. Nothing was changed. Stop that first, or give this server a home of its own with "
            "GATEPOST_HOME."
        ).about("one-unit-runs", object=str(home.root), value=", ".join(sorted(running)))


def check_machine(home: Home, topology: Topology) -> None:
    """Look whether the plan can run here.

    A supervisor that an interrupted `up` has left may be starting daemons just now: their ports are
    seen a moment before they are, and a moment after we asked it for them. So it is checked again.
    """
    deadline = time.monotonic() + _SETTLE_SECONDS
    while True:
        running = control.request(home, control.STATUS)
        ours = processes_of(home, running)
        try:
            preflight.check(home, topology, ours)
        except PreflightError as error:
            unsettled = isinstance(error, preflight.UnseenOwnerError) or (
                running is not None and not running.ready
            )
            if not unsettled or time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return


def processes_of(home: Home, running: Running | None) -> list[int]:
    """Return the processes of a server; what a killed supervisor has left, the next one ends."""
    return list(running.processes) if running else [left.pid for left in memory.recall(home)]


def _introduce(session: Session, plugins: Iterable[Plugin]) -> None:
    """Let the MTA, which may be elsewhere, know the certificates of those that relay."""
    relaying = [
        secret
        for plugin in plugins
        for secret in plugin.secrets
        if isinstance(secret, KeyPair) and secret.relays
    ]
    host = socket.gethostname()
    for secret in relaying:
        certificate = certificates.files_of(secret, session.home).cert_file
        name = f"{host}/{secret.name}" if len(relaying) > 1 else host
        session.store.set_relay_client(name, certificates.fingerprint(certificate))


def _keep_mail_aside(session: Session) -> None:
    """Let the database know the mail that lies here and belongs to no mailbox."""
    session.store.keep_aside(folders_of_mail(session.home))
