"""The server on this machine: started, changed, stopped."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

from gatepost.actions import configuration, starting
from gatepost.actions.session import Session
from gatepost.actions.starting import Tell
from gatepost.errors import StartError, UsageError
from gatepost.model import Home
from gatepost.run import control, locks, logs, preflight, rights
from gatepost.settings import Place, Settings

if TYPE_CHECKING:
    from gatepost.run.packages import Package

_UMASK = 0o022
"""The caller's may leave what is made open to everybody, or closed to the daemons' users."""


def up(*, detach: bool, tell: Tell) -> None:
    """Start the server, or bring a running one up to date.

    Without `detach` a new server runs here until a signal or `down` stops it. Raises `UsageError`
    when the settings or the machine are not right (nothing is changed then), `CheckError` when a
    daemon refuses its configuration, `StartError` when a process does not become ready.
    """
    from gatepost.actions import in_container, preparing  # noqa: PLC0415  slow to import

    settings = configuration.current()
    home = _ready_to_run(settings, tell)
    if settings.place is Place.CONTAINER and not detach:
        in_container.run(settings, home, tell)
        return
    rights.require(home, in_container=settings.place is Place.CONTAINER)
    session = Session(settings)
    draft = preparing.look(session, tell)
    with locks.writing(home):
        lock = starting.lock_or_running(home, tell)
        if lock is None:
            preparing.require_same_units(home, draft.plan.topology)
        with session:
            preparing.write(session, draft, tell)
        # The daemons have what they need in files; the reverse proxy needs no database.
        settings.withhold_secrets(os.environ)
        if lock is None:
            if not starting.replace_older(home, tell):
                starting.apply_changes(home, tell)
        elif detach:
            starting.in_background(home, tell, lock)
    if lock is not None and not detach:
        _run_here(home, lock)


def run(unit: str, tell: Tell) -> None:
    """Run the daemons of one unit here until a signal stops them, as a container does.

    Raises as `up` does, and `UsageError` for a unit that there is not.
    """
    from gatepost import assembly  # noqa: PLC0415
    from gatepost.actions import in_container  # noqa: PLC0415  slow to import

    if unit not in assembly.units():
        raise UsageError(
            f'run: "{unit}" is not a service. Name one of: {", ".join(assembly.units())}.'
        ).about("unknown-unit", object="unit", value=unit, expected=", ".join(assembly.units()))
    settings = configuration.current(unit)
    in_container.run(settings, _ready_to_run(settings, tell), tell, unit)


def _ready_to_run(settings: Settings, tell: Tell) -> Home:
    """Be root, with files that others may read; return the home, and print the warnings."""
    preflight.require_root()
    os.umask(_UMASK)
    session = Session(settings)
    session.require_folder()
    for warning in settings.warnings:
        tell(f"Warning: {warning}")
    return session.home


def down(tell: Tell) -> bool:
    """Stop the server and wait until nothing of it is left; return False when none was running.

    A server that is just being started is stopped as well. Raises `StartError` when that takes too
    long.
    """
    session = Session(configuration.current())
    session.require_folder()
    home = session.home
    deadline = time.monotonic() + starting.STOP_SECONDS
    waited_for = ""
    while (answer := session.ask(control.STOP)) is None:
        # Read after asking: a command that is not at work now was not when we asked either.
        busy = locks.at_work(home)
        if busy is None and session.ask(control.STATUS) is None:
            return False
        if busy and busy != waited_for:
            tell(f"Waiting for {busy}")
            waited_for = busy
        if time.monotonic() > deadline:
            raise StartError(
                f"{waited_for} in {home.root} is still at work after {starting.STOP_SECONDS:g} s, "
                "and nothing was stopped. Look what it waits for, or end that process; then type "
                "this again."
            ).about("still-at-work", object=str(home.root), value=waited_for)
        time.sleep(0.05)
    tell("Stopping the mail server")
    starting.await_end(home, answer.pid, deadline)
    return True


def missing_packages(*, install: bool) -> tuple[tuple[Package, ...], tuple[str, ...]]:
    """Return the packages that the server needs, and those that were installed just now."""
    from gatepost import assembly  # noqa: PLC0415
    from gatepost.run import packages  # noqa: PLC0415

    settings = configuration.current()
    plugins = assembly.used(settings)
    found = packages.survey(plugins, settings)
    return found, packages.install(found, plugins) if install else ()


def _run_here(home: Home, lock: int) -> None:
    from gatepost.run.supervise import supervise  # noqa: PLC0415

    sys.stdout.flush()
    supervise(home, logs.LogStream(logs.path(home), sys.stdout.fileno()), lock=lock)
