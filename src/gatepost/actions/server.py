"""The server on this machine: started, changed, stopped, looked at."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gatepost.actions import configuration
from gatepost.errors import StartError, UsageError
from gatepost.model import Address, BoundListener, Home, Plan
from gatepost.run import control, logs, memory, preflight, record
from gatepost.settings import Place, Settings

Tell = Callable[[str], None]
"""Told what is being done, a line for each step."""

_STOP_SECONDS = 60.0


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


def run(service: str) -> None:
    """Run the daemons of one service here until told to stop, as a container does.

    Raises as `up` does, and `UsageError` for a service that there is not.
    """
    from gatepost import assembly  # noqa: PLC0415

    if service not in assembly.services():
        raise UsageError(
            f'run: "{service}" is not a service. Name one of: {", ".join(assembly.services())}.'
        )
    settings = configuration.current(Place.CONTAINER)
    preflight.require_root()
    home = home_of(settings)
    _prepare(settings, home, lambda _: None, service)
    settings.withhold_secrets(os.environ)
    _run_here(home, to_file=False)


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


def _prepare(settings: Settings, home: Home, tell: Tell, service: str | None = None) -> None:
    """Check everything, then write: accounts, keys, configuration."""
    from gatepost import assembly  # noqa: PLC0415
    from gatepost.run import apply, certificates, files, packages, site  # noqa: PLC0415

    plugins = assembly.plugins(settings, service)
    packages.require(plugins, settings)
    surveyed = site.survey(settings, service)
    topology = assembly.topology(settings, ipv6=surveyed.ipv6)
    problems = certificates.problems(settings)
    if problems:
        raise UsageError(*problems)
    running = control.ask(home, "status")
    # What a killed supervisor has left is ended by the next one.
    ours = running["processes"] if running else [left.pid for left in memory.recall(home)]
    preflight.check(home, topology, ours)
    plan = assembly.assemble(settings, surveyed, service)
    # Before all else that is made: a database server may be away or refuse us.
    _migrate(settings)
    with apply.lock(home):
        tell(f"Preparing {home.root}")
        files.make_users(plan.users)
        group = plan.users[0].name if plan.users else None
        site.prepare(settings, group)
        plan = assembly.assemble(settings, site.survey(settings, service), service)
        tell("Checking the configuration with the daemons' own checkers")
        _apply(plan, home)


def _apply(plan: Plan, home: Home) -> None:
    from gatepost.run import apply  # noqa: PLC0415

    apply.apply(plan, home)


def _migrate(settings: Settings) -> None:
    from gatepost.accounts.database import database_of  # noqa: PLC0415
    from gatepost.accounts.store import open_store  # noqa: PLC0415  slow to import

    open_store(database_of(settings)).close()


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


def _run_here(home: Home, *, to_file: bool = True) -> None:
    from gatepost.run.supervise import supervise  # noqa: PLC0415

    sys.stdout.flush()
    file = logs.path(home) if to_file else None
    supervise(home, logs.LogStream(file, sys.stdout.fileno()))


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
