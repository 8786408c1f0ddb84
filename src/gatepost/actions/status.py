"""The state of the server on this machine, its listeners and its log."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from gatepost.actions.session import Session
from gatepost.errors import UsageError
from gatepost.model import Address, BoundListener, Home
from gatepost.run import control, logs, record, versions
from gatepost.run.control import ProcessState, Running
from gatepost.run.versions import Older


def status(session: Session) -> dict[str, Any]:
    """Return what runs and where it listens, in the form of the contract."""
    session.require_folder()
    home = session.home
    running = session.ask(control.STATUS)
    known = record.current(home)
    states = running.services if running else ()
    if not running and known:
        states = tuple(ProcessState(p.name, "stopped", None, 0, None) for p in known.processes)
    return {
        "ready": bool(running and running.ready and not running.problems),
        "problems": list(running.problems) if running else [],
        "services": [asdict(state) for state in states],
        "jobs": [asdict(job) for job in running.jobs] if running else [],
        "listeners": [_listener(bound) for bound in known.topology.listeners] if known else [],
        "older": [asdict(one) for one in _older(running)] if running else [],
    }


def _older(running: Running) -> tuple[Older, ...]:
    """Return what was replaced since it was started; the supervisor itself comes first."""
    if logs.OWN_NAME in running.versions:
        return versions.older(running.versions)
    installed = versions.installed([versions.GATEPOST])[versions.GATEPOST]
    return (Older(logs.OWN_NAME, versions.GATEPOST, None, installed),)


def log_lines(session: Session, count: int, name: str | None) -> list[str]:
    """Return the last lines of the log, of all processes and jobs or of one.

    Raises `UsageError` for a name that there is not.
    """
    session.require_folder()
    _require_known(session.home, name)
    return logs.tail(logs.path(session.home), count, name)


def follow_log(session: Session, name: str | None) -> Iterator[str]:
    """Yield lines of the log as they are written."""
    return logs.follow(logs.path(session.home), name)


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


def _require_known(home: Home, name: str | None) -> None:
    known = record.current(home)
    names: list[str] = []
    if known:
        names += [process.name for process in known.processes]
        names += [job.name for job in known.jobs]
        names.append(logs.OWN_NAME)
    if name is not None and name not in names:
        raise UsageError(
            f'logs: "{name}" is not a service of this server. '
            + (f"Name one of: {', '.join(names)}." if names else "Start it first: gatepost up")
        ).about("unknown-process", object="process", value=name, expected=", ".join(names))
