"""What runs on this machine, where it listens, and what it writes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from gatepost.actions import configuration
from gatepost.actions.server import home_of
from gatepost.errors import UsageError
from gatepost.model import Address, BoundListener, Home
from gatepost.run import control, logs, record, versions
from gatepost.run.control import ProcessState, Running
from gatepost.run.versions import Older


def status() -> dict[str, Any]:
    """Return what runs and where it listens, in the form of the contract."""
    home = home_of(configuration.settings())
    running = control.request(home, control.STATUS)
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


def log_lines(count: int, service: str | None) -> list[str]:
    """Return the last lines of the log; raise `UsageError` for a service that there is not."""
    home = home_of(configuration.settings())
    _known_service(home, service)
    return logs.tail(logs.path(home), count, service)


def follow_log(service: str | None) -> Iterator[str]:
    """Yield lines of the log as they are written."""
    return logs.follow(logs.path(home_of(configuration.settings())), service)


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
    names: list[str] = []
    if known:
        names += [process.name for process in known.processes]
        names += [job.name for job in known.jobs]
        names.append(logs.OWN_NAME)
    if service is not None and service not in names:
        raise UsageError(
            f'logs: "{service}" is not a service of this server. '
            + (f"Name one of: {', '.join(names)}." if names else "Start it first: gatepost up")
        )
