"""The server on this machine: started, changed, stopped, looked at."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from gatepost.actions import configuration, inspection, starting
from gatepost.actions.starting import Tell
from gatepost.errors import GatepostError, PreflightError, StartError, UsageError
from gatepost.model import (
    DELIVERY,
    Directory,
    Home,
    KeyPair,
    Plan,
    Topology,
)
from gatepost.run import control, locks, logs, memory, preflight, record, rights
from gatepost.run.control import Running
from gatepost.settings import Place, Settings
from gatepost.settings.concerns import DatabaseDriver

if TYPE_CHECKING:
    from gatepost.accounts.store import Store
    from gatepost.contracts import Plugin
    from gatepost.run.health import Health

OpenAccounts = Callable[[Settings], "Store"]
"""Opens the database of accounts, made and migrated."""

_UMASK = 0o022
"""The caller's may leave what is made open to everybody, or closed to the daemons' users."""
_SETTLE_SECONDS = 4.0
_DATABASE_SECONDS = 2.0
"""How often a database that is away is tried again."""
_TOLD_AGAIN_SECONDS = 60.0
"""How often it is said that it is still away."""


def home_of(settings: Settings) -> Home:
    """Return the folders of the instance that these settings speak of.

    Raises `PreflightError` when there is something else than a folder.
    """
    home = Home(settings.storage.gatepost_home)
    preflight.require_folder(home)
    return home


def up(*, detach: bool, tell: Tell) -> None:
    """Start the server, or bring a running one up to date.

    Without `detach` a new server runs here until it is told to stop. Raises `UsageError` when the
    settings or the machine are not right (nothing is changed then), `CheckError` when a daemon
    refuses its configuration, `StartError` when a service does not become ready.
    """
    settings = configuration.current()
    preflight.require_root()
    os.umask(_UMASK)
    home = home_of(settings)
    for warning in settings.warnings:
        tell(f"Warning: {warning}")
    if settings.place is Place.CONTAINER and not detach:
        _run_in_container(settings, home, tell)
        return
    rights.require(home, in_container=settings.place is Place.CONTAINER)
    plan = _look(settings, home, tell)
    with locks.writing(home):
        lock = starting.lock_or_running(home, tell)
        if lock is None:
            _require_same_service(home, settings)
        _write(settings, home, plan, tell)
        # The daemons have what they need in files; the reverse proxy needs no database.
        settings.withhold_secrets(os.environ)
        if lock is None:
            if (left := starting.stop_older(home, tell)) is None:
                starting.apply_changes(home, tell)
            else:
                starting.in_background(home, tell, left)
        elif detach:
            starting.in_background(home, tell, lock)
    if lock is not None and not detach:
        _run_here(home, lock)


def run(service: str, tell: Tell) -> None:
    """Run the daemons of one service here until told to stop, as a container does.

    Raises as `up` does, and `UsageError` for a service that there is not.
    """
    from gatepost import assembly  # noqa: PLC0415

    if service not in assembly.units():
        raise UsageError(
            f'run: "{service}" is not a service. Name one of: {", ".join(assembly.units())}.'
        )
    settings = configuration.current(service)
    preflight.require_root()
    os.umask(_UMASK)
    for warning in settings.warnings:
        tell(f"Warning: {warning}")
    _run_in_container(settings, home_of(settings), tell, service)


def down(tell: Tell) -> bool:
    """Stop the server and wait until nothing of it is left; return False when none was running.

    A server that is just being started is stopped as well. Raises `StartError` when that takes too
    long.
    """
    home = home_of(configuration.current())
    deadline = time.monotonic() + starting.STOP_SECONDS
    waited_for = ""
    while (answer := control.request(home, control.STOP)) is None:
        # Looked at after asking: who is not at work now has not been when we asked either.
        busy = locks.at_work(home)
        if busy is None and control.request(home, control.STATUS) is None:
            return False
        if busy and busy != waited_for:
            tell(f"Waiting for {busy}")
            waited_for = busy
        if time.monotonic() > deadline:
            raise StartError(
                f"{waited_for} in {home.root} is still at work after {starting.STOP_SECONDS:g} s, "
                "and nothing was stopped. Look what it waits for, or end that process; then type "
                "this again."
            )
        time.sleep(0.05)
    tell("Stopping the mail server")
    starting.await_end(home, answer.pid, deadline)
    return True


def missing_packages(*, install: bool) -> tuple[Any, tuple[str, ...]]:
    """Return the packages that the server needs, and those that were installed just now."""
    from gatepost import assembly  # noqa: PLC0415
    from gatepost.run import packages  # noqa: PLC0415

    settings = configuration.current()
    plugins = assembly.used(settings)
    found = packages.survey(plugins, settings)
    return found, packages.install(found, plugins) if install else ()


# --- the steps of `up` ----------------------------------------------------------------------


def _open_accounts(settings: Settings) -> Store:
    from gatepost.accounts.database import database_of  # noqa: PLC0415
    from gatepost.accounts.store import open_store  # noqa: PLC0415  slow to import

    return open_store(database_of(settings), delimiter=settings.mail.recipient_delimiter)


def _look(settings: Settings, home: Home, tell: Tell, service: str | None = None) -> Plan:
    """Check everything that can be checked without writing; raise `UsageError`.

    Return the plan, in which keys that are made at the first start are missing yet.
    """
    from gatepost import assembly  # noqa: PLC0415
    from gatepost.run import certificates, packages, site  # noqa: PLC0415

    plugins = assembly.used(settings, service)
    packages.require(plugins, settings)
    # First what the settings say, then what this machine has, such as ports that are taken.
    plan = assembly.assemble(settings, site.survey(settings, service), service)
    problems = inspection.files(settings)
    if problems:
        raise UsageError(*problems)
    for warning in certificates.warnings(settings):
        tell(f"Warning: {warning}")
    check_machine(home, plan.topology)
    return plan


def _write(
    settings: Settings,
    home: Home,
    plan: Plan,
    tell: Tell,
    *,
    service: str | None = None,
    open_accounts: OpenAccounts = _open_accounts,
) -> None:
    """Write accounts, keys and configuration; the caller holds the home."""
    from gatepost import assembly  # noqa: PLC0415
    from gatepost.accounts import mail_folders  # noqa: PLC0415
    from gatepost.run import apply, files, site  # noqa: PLC0415

    # Before all else that is made: a database server may be away or refuse us.
    with open_accounts(settings) as store:
        store.refuse_ambiguous(changed_only=True)
    tell(f"Preparing {home.root}")
    files.make_users(plan.users)
    site.prepare(settings, service)
    plugins = assembly.used(settings, service)
    delivers = any(DELIVERY in plugin.offers for plugin in plugins)
    _introduce(settings, home, plugins)
    if delivers:
        _keep_mail_aside(settings, home)
    surveyed = site.survey(settings, service, copying=True)
    plan = site.with_versions(assembly.assemble(settings, surveyed, service), plugins, settings)
    tell("Checking the configuration with the daemons' own checkers")
    apply.apply(plan, home)
    if delivers:
        # Not earlier: a configuration that is refused would leave the one from before in use, which
        # has other names for them.
        mail_folders.escape_names(
            home.mail, home.state / "folder-names", lambda reason: tell(f"Warning: {reason}")
        )
    with _open_accounts(settings) as store:
        store.adopt_delimiter()
        for reason in store.unread_roles(settings.mail.mailname, settings.mail.postmaster):
            tell(f"Warning: {reason}")
    _give_to_owners(home, plan.directories, tell)


def _give_to_owners(home: Home, directories: tuple[Directory, ...], tell: Tell) -> None:
    """Mend the owners of mail and queue, where a look or the running server finds foreign ones."""
    from gatepost.run import owners  # noqa: PLC0415

    running = control.request(home, control.STATUS)
    found = owners.look(directories).foreign or (running and running.foreign)
    if not found:
        return
    tell(f"{found}: mending the owners of everything there")
    count = owners.mend(directories, tell)
    tell(f"{count:,} files and folders have their owner again")
    if running:
        control.request(home, control.OWNERS)


def _require_same_service(home: Home, settings: Settings) -> None:
    """Refuse to make a whole server of one that runs a single service, or the other way round."""
    from gatepost import assembly  # noqa: PLC0415

    known = record.current(home)
    running = {bound.daemon for bound in known.topology.listeners} if known else set()
    wanted = {bound.daemon for bound in assembly.topology(settings).listeners}
    if running < wanted:
        raise PreflightError(
            f"In {home.root} only {', '.join(sorted(running))} runs: `gatepost run` has started "
            "it. Nothing was changed. Stop that first, or give this server a home of its own with "
            "GATEPOST_HOME."
        )


def check_machine(home: Home, topology: Topology) -> None:
    """Look whether the plan can run here.

    A supervisor that an interrupted `up` has left may be starting daemons just now: their ports are
    seen a moment before they are, and a moment after we asked it for them. So it is looked again.
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


def _introduce(settings: Settings, home: Home, plugins: Iterable[Plugin]) -> None:
    """Let the MTA, which may be elsewhere, know the certificates of those that relay."""
    from gatepost.run import certificates  # noqa: PLC0415

    relaying = [
        secret
        for plugin in plugins
        for secret in plugin.secrets
        if isinstance(secret, KeyPair) and secret.relays
    ]
    host = socket.gethostname()
    for secret in relaying:
        certificate = certificates.files_of(secret, home).cert_file
        name = f"{host}/{secret.name}" if len(relaying) > 1 else host
        with _open_accounts(settings) as store:
            store.set_relay_client(name, certificates.fingerprint(certificate))


def _keep_mail_aside(settings: Settings, home: Home) -> None:
    """Let the database know the mail that lies here and belongs to no mailbox."""
    from gatepost.actions.accounts import mail_folders  # noqa: PLC0415

    with _open_accounts(settings) as store:
        store.keep_aside(mail_folders(home))


def _run_here(home: Home, lock: int) -> None:
    from gatepost.run.supervise import supervise  # noqa: PLC0415

    sys.stdout.flush()
    supervise(home, logs.LogStream(logs.path(home), sys.stdout.fileno()), lock=lock)


def _run_in_container(
    settings: Settings, home: Home, tell: Tell, service: str | None = None
) -> None:
    """Prepare and run, and tell a container's probes how it goes all the while."""
    from gatepost.run import container, site  # noqa: PLC0415
    from gatepost.run.health import Health, serving  # noqa: PLC0415
    from gatepost.verify.clients.mailbox import remove_mail  # noqa: PLC0415

    health = Health()
    ipv6 = site.has_ipv6()

    def open_patiently(settings: Settings) -> Store:
        return _open_patiently(settings, tell, health)

    _require_nobody(home)
    preflight.require_room(home)
    rights.require(home, in_container=True)
    with serving(health, ipv6=ipv6):
        plan = _look(settings, home, tell, service)
        with locks.writing(home):
            lock = locks.one_supervisor(home)
            _write(settings, home, plan, tell, service=service, open_accounts=open_patiently)
    # Nothing runs yet, no proof either.
    remove_mail(home)
    settings.withhold_secrets(os.environ)
    # The whole server proves itself from its log file; a service alone has its pod's log.
    container.become(
        home,
        lock,
        ipv6=ipv6,
        log_file=service is None,
        database_server=settings.database.db_driver is not DatabaseDriver.SQLITE,
    )


def _require_nobody(home: Home) -> None:
    """Refuse to run beside a supervisor that answers; one that does not holds its lock."""
    if control.request(home, control.STATUS) is not None:
        raise PreflightError(
            f"A mail server runs in {home.root} already. Nothing was changed. See it with "
            "`gatepost status`, stop it with `gatepost down`, or give this one a home of its own "
            "with GATEPOST_HOME."
        )


def _open_patiently(settings: Settings, tell: Tell, health: Health) -> Store:
    """Open the accounts; wait for a server that is away or refuses us, and say what it takes.

    In a cluster everything starts at once, and what is wrong may be mended at the server.
    """
    told, again = "", 0.0
    while True:
        try:
            return _open_accounts(settings)
        except GatepostError as error:
            reason = " ".join(str(error).split())
            if reason != told or time.monotonic() > again:
                tell(f"Waiting for the database of accounts. {reason}")
                told, again = reason, time.monotonic() + _TOLD_AGAIN_SECONDS
            health.wait_for(reason)
            time.sleep(_DATABASE_SECONDS)
