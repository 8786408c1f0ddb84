"""The server on this machine: started, changed, stopped, looked at."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatepost.actions import configuration, inspection
from gatepost.errors import GatepostError, PreflightError, StartError, UsageError
from gatepost.model import Address, BoundListener, Home, Plan, Role, Topology
from gatepost.run import control, logs, memory, preflight, record
from gatepost.settings import Place, Settings

if TYPE_CHECKING:
    from gatepost.accounts.store import Store
    from gatepost.run.health import Health

Tell = Callable[[str], None]
"""Told what is being done, a line for each step."""

OpenAccounts = Callable[[Settings], "Store"]
"""Opens the database of accounts, made and migrated."""

_STOP_SECONDS = 60.0
_SETTLE_SECONDS = 4.0
_DATABASE_SECONDS = 2.0
"""How often a database that is away is tried again."""
_TOLD_AGAIN_SECONDS = 60.0
"""How often it is said that it is still away."""


def home_of(settings: Settings) -> Home:
    """Return the folders of the instance that these settings speak of."""
    return Home(settings.storage.gatepost_home)


def up(*, detach: bool, tell: Tell) -> None:
    """Start the server, or bring a running one up to date.

    Without `detach` a new server runs here until it is told to stop. Raises `UsageError` when the
    settings or the machine are not right (nothing is changed then), `CheckError` when a daemon
    refuses its configuration, `StartError` when a service does not become ready.
    """
    settings = configuration.current()
    preflight.require_root()
    home = home_of(settings)
    for warning in settings.warnings:
        tell(f"Warning: {warning}")
    if settings.place is Place.CONTAINER and not detach:
        _run_in_container(settings, home, tell)
        return
    _prepare(settings, home, tell)
    # The daemons have what they need in files; the reverse proxy needs no database.
    settings.withhold_secrets(os.environ)
    # Asked only now: an interrupted `up` may have left a supervisor that was just starting.
    if control.ask(home, "status") is not None:
        _tell_changes(home, tell)
    elif detach:
        _start_in_background(home, tell)
    else:
        _run_here(home)


def run(service: str, tell: Tell) -> None:
    """Run the daemons of one service here until told to stop, as a container does.

    Raises as `up` does, and `UsageError` for a service that there is not.
    """
    from gatepost import assembly  # noqa: PLC0415

    if service not in assembly.services():
        raise UsageError(
            f'run: "{service}" is not a service. Name one of: {", ".join(assembly.services())}.'
        )
    settings = configuration.current(service)
    preflight.require_root()
    for warning in settings.warnings:
        tell(f"Warning: {warning}")
    _run_in_container(settings, home_of(settings), tell, service)


def down(tell: Tell) -> bool:
    """Stop the server and wait until nothing of it is left; return False when none was running."""
    home = home_of(configuration.current())
    answer = control.ask(home, "stop")
    if answer is None:
        return False
    tell("Stopping the mail server")
    deadline = time.monotonic() + _STOP_SECONDS
    while Path(f"/proc/{answer['pid']}").exists() and not _is_zombie(answer["pid"]):
        if time.monotonic() > deadline:
            raise StartError(
                f"The supervisor (process {answer['pid']}) is still stopping after "
                f"{_STOP_SECONDS:g} s. Look at its log: gatepost logs gatepost"
            )
        time.sleep(0.02)
    return True


def status() -> dict[str, Any]:
    """Return what runs and where it listens, in the form of the contract."""
    home = home_of(configuration.settings())
    running = control.ask(home, "status")
    known = record.current(home)
    services = running["services"] if running else []
    if not running and known:
        services = [
            {"name": p.name, "state": "stopped", "pid": None, "restarts": 0, "since": None}
            for p in known.processes
        ]
    return {
        "ready": bool(running and running["ready"]),
        "services": services,
        "listeners": [_listener(bound) for bound in known.topology.listeners] if known else [],
    }


def log_lines(count: int, service: str | None) -> list[str]:
    """Return the last lines of the log; raise `UsageError` for a service that there is not."""
    home = home_of(configuration.settings())
    _known_service(home, service)
    return logs.tail(logs.path(home), count, service)


def follow_log(service: str | None) -> Iterator[str]:
    """Yield lines of the log as they are written."""
    return logs.follow(logs.path(home_of(configuration.settings())), service)


def missing_packages(*, install: bool) -> tuple[Any, tuple[str, ...]]:
    """Return the packages that the server needs, and those that were installed just now."""
    from gatepost import assembly  # noqa: PLC0415
    from gatepost.run import packages  # noqa: PLC0415

    settings = configuration.current()
    found = packages.survey(assembly.plugins(settings), settings)
    return found, packages.install(found) if install else ()


# --- the steps of `up` ----------------------------------------------------------------------


def _open_accounts(settings: Settings) -> Store:
    from gatepost.accounts.database import database_of  # noqa: PLC0415
    from gatepost.accounts.store import open_store  # noqa: PLC0415  slow to import

    return open_store(database_of(settings), delimiter=settings.mail.recipient_delimiter)


def _prepare(
    settings: Settings,
    home: Home,
    tell: Tell,
    service: str | None = None,
    open_accounts: OpenAccounts = _open_accounts,
) -> None:
    """Check everything, then write: accounts, keys, configuration."""
    from gatepost import assembly  # noqa: PLC0415
    from gatepost.run import apply, certificates, files, packages, site  # noqa: PLC0415

    plugins = assembly.plugins(settings, service)
    packages.require(plugins, settings)
    surveyed = site.survey(settings, service)
    topology = assembly.topology(settings, ipv6=surveyed.ipv6, service=service)
    problems = inspection.files(settings)
    if problems:
        raise UsageError(*problems)
    for warning in certificates.warnings(settings):
        tell(f"Warning: {warning}")
    check_machine(home, topology)
    plan = assembly.assemble(settings, surveyed, service)
    # Before all else that is made: a database server may be away or refuse us.
    with open_accounts(settings) as store:
        store.refuse_ambiguous(changed_only=True)
    with apply.lock(home):
        tell(f"Preparing {home.root}")
        files.make_users(plan.users)
        group = plan.users[0].name if plan.users else None
        site.prepare(settings, group)
        if any(Role.DELIVERY in daemon.offers for daemon in assembly.daemons_of(service)):
            _introduce_mail_store(settings, home)
        surveyed = site.survey(settings, service, copying=True)
        plan = assembly.assemble(settings, surveyed, service)
        tell("Checking the configuration with the daemons' own checkers")
        _apply(plan, home)
        with _open_accounts(settings) as store:
            store.adopt_delimiter()


def check_machine(home: Home, topology: Topology) -> None:
    """Look whether the plan can run here.

    A supervisor that an interrupted `up` has left may be starting daemons just now: their ports are
    seen a moment before they are, and a moment after we asked it for them. So it is looked again.
    """
    deadline = time.monotonic() + _SETTLE_SECONDS
    while True:
        running = control.ask(home, "status")
        ours = processes_of(home, running)
        try:
            preflight.check(home, topology, ours)
        except PreflightError as error:
            unsettled = isinstance(error, preflight.UnseenOwnerError) or (
                running is not None and not running["ready"]
            )
            if not unsettled or time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return


def processes_of(home: Home, running: Any) -> list[int]:
    """Return the processes of a server; what a killed supervisor has left, the next one ends."""
    return running["processes"] if running else [left.pid for left in memory.recall(home)]


def _apply(plan: Plan, home: Home) -> None:
    from gatepost.run import apply  # noqa: PLC0415

    apply.apply(plan, home)


def _introduce_mail_store(settings: Settings, home: Home) -> None:
    """Let the MTA, which may be elsewhere, know the mail store's client certificate."""
    from gatepost.run import certificates  # noqa: PLC0415

    certificate = certificates.relay_client(home).cert_file
    with _open_accounts(settings) as store:
        store.set_relay_client(socket.gethostname(), certificates.fingerprint(certificate))


def _tell_changes(home: Home, tell: Tell) -> None:
    answer = control.ask(home, "apply")
    if answer is None:
        raise StartError("The supervisor has ended meanwhile. Start it again: gatepost up")
    for change in answer["changed"]:
        tell(change)
    if answer.get("problem"):
        raise StartError(answer["problem"])
    tell("The mail server is up to date" if answer["changed"] else "Nothing has changed")


def _start_in_background(home: Home, tell: Tell) -> None:
    tell("Starting the services")
    child = subprocess.Popen(
        [sys.executable, "-m", "gatepost.run.supervise", str(home.root)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd="/",
        start_new_session=True,
    )
    while (answer := control.ask(home, "wait")) is None:
        if child.poll() is not None:
            raise StartError(child.communicate()[1].decode().strip())
        time.sleep(0.02)
    if answer["problem"]:
        child.wait()
        raise StartError(answer["problem"])
    tell("The mail server is ready")


def _run_here(home: Home) -> None:
    from gatepost.run.supervise import supervise  # noqa: PLC0415

    sys.stdout.flush()
    supervise(home, logs.LogStream(logs.path(home), sys.stdout.fileno()))


def _run_in_container(
    settings: Settings, home: Home, tell: Tell, service: str | None = None
) -> None:
    """Prepare and run, and tell a container's probes how it goes all the while."""
    from gatepost.run import container, site  # noqa: PLC0415
    from gatepost.run.health import Health, serving  # noqa: PLC0415
    from gatepost.verify.mailbox import remove_mail  # noqa: PLC0415

    health = Health()
    ipv6 = site.has_ipv6()

    def open_patiently(settings: Settings) -> Store:
        return _open_patiently(settings, tell, health)

    with serving(health, ipv6=ipv6):
        _prepare(settings, home, tell, service, open_patiently)
    # Nothing runs yet, no proof either.
    remove_mail(home)
    settings.withhold_secrets(os.environ)
    # The whole server proves itself from its log file; a service alone has its pod's log.
    container.become(home, ipv6=ipv6, log_file=service is None)


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


# --- small answers --------------------------------------------------------------------------


def _listener(bound: BoundListener) -> dict[str, Any]:
    kinds = {"public": bound.public, "service": bound.service, "internal": bound.internal}
    return {
        "name": bound.name,
        "protocol": bound.listener.protocol,
        "tls": bound.listener.tls,
        **{kind: _first(addresses) for kind, addresses in kinds.items()},
        "addresses": {kind: [str(a) for a in addresses] for kind, addresses in kinds.items()},
    }


def _first(addresses: tuple[Address, ...]) -> str | None:
    return str(addresses[0]) if addresses else None


def _known_service(home: Home, service: str | None) -> None:
    known = record.current(home)
    names = [*(p.name for p in known.processes), logs.OWN_NAME] if known else []
    if service is not None and service not in names:
        raise UsageError(
            f'logs: "{service}" is not a service of this server. '
            + (f"Name one of: {', '.join(names)}." if names else "Start it first: gatepost up")
        )


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
