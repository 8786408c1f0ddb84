"""Traefik's log has no errors about the routes to the server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from gatepost.model import Status
from gatepost.plugins.traefik.checks.objects import LABEL, PROXY, Traefik, traefik
from gatepost.verify.check import Outcome, Proof
from gatepost.verify.vantage.cluster import Object, Unreadable, container

_EXPECTED = "Traefik's log has no error about the routes, services and entry points of the server"
_READING_SECONDS = 2.5
_LATEST_LINES = 20_000
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_ERROR = re.compile(r"\bERR\b|\blevel=error\b|\"level\": ?\"(?:error|fatal|panic)\"|\bFTL\b")
"""As Traefik 3 writes it for people, as Traefik 2 did, and as JSON."""


@dataclass(frozen=True, slots=True)
class _Error:
    moment: str
    """RFC 3339, in UTC: such times can be compared as text."""
    line: str


def proxy_log(proof: Proof) -> Outcome:
    """Read the logs of Traefik's pods.

    An error from before the last change of what it names may be mended: it is counted and reported,
    and is no failure. One about a listener whose own row has failed already is that row's.
    """
    proxy = traefik(proof)
    cluster = proxy.cluster
    listeners = {
        bound.name: cluster.services.get(bound.daemon, "") for bound in proof.topology.mail
    }
    names = _names(proxy, listeners)
    errors, unread = _errors(proof, proxy, names)
    since = _last_change(proxy)
    present = [error for error in errors if error.moment >= since]
    if unread and not present:
        raise unread
    if not present:
        older = f"; {len(errors)} from before the last change" if errors else ""
        return Outcome(Status.PASS, _EXPECTED, f"no error about them{older}")
    last = present[-1].line
    about = sorted({name for error in present for name in names if _names_it(name, error.line)})
    known = {cause for cause in proof.causes.values() if cause in proof.selected}
    explained = {n for n in about for listener in proof.causes if _belongs(n, listener, listeners)}
    observed = f"{len(present)} errors about {', '.join(about)}"
    if known and set(about) <= explained | _shared(listeners):
        see = " and ".join(sorted(known))
        return Outcome(
            Status.NOT_PROVEN,
            _EXPECTED,
            observed,
            last,
            fix=f"See the {see} rows first.",
            kind="explained",
        )
    return Outcome(
        Status.FAIL,
        _EXPECTED,
        observed,
        last,
        fix=f"Correct what it names, then look again: kubectl logs -n {proxy.namespace} -l {LABEL}",
        kind="errors",
    )


def _names(proxy: Traefik, listeners: dict[str, str]) -> frozenset[str]:
    """Return the names by which Traefik may speak of ours."""
    routes = {
        str(route["metadata"]["name"])
        for route in proxy.routes()
        if any(
            service.get("name") in listeners.values()
            for rule in route.get("spec", {}).get("routes") or ()
            for service in rule.get("services") or ()
        )
    }
    return frozenset({*routes, *listeners, *listeners.values()})


def _shared(listeners: dict[str, str]) -> set[str]:
    """Return the names that belong to more than one listener."""
    return set(listeners.values())


def _belongs(name: str, listener: str, listeners: dict[str, str]) -> bool:
    """Tell whether a name stands for a listener: its own, its Service's, or a route called so."""
    return name in {listener, listeners[listener]} or name.endswith(f"-{listener}")


def _names_it(name: str, line: str) -> bool:
    return re.search(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", line) is not None


def _errors(
    proof: Proof, proxy: Traefik, names: frozenset[str]
) -> tuple[list[_Error], Unreadable | None]:
    """Return the errors that the pods have logged, and why a log could not be read, if one."""
    found: list[_Error] = []
    unread: Unreadable | None = None
    for pod in proxy.pods():
        deadline = proof.within(_READING_SECONDS)
        lines = proxy.cluster.tail(
            pod, container(pod, PROXY), lines=_LATEST_LINES, deadline=deadline
        )
        try:
            for moment, coloured in lines:
                line = _COLOUR.sub("", coloured)
                if _ERROR.search(line) and any(_names_it(name, line) for name in names):
                    found.append(_Error(_as_utc(moment), line.strip()))
        except Unreadable as error:
            unread = error
    return sorted(found, key=lambda error: error.moment), unread


def _last_change(proxy: Traefik) -> str:
    """Return when the youngest object about our listeners was made or changed."""
    moments = [
        moment
        for item in (
            *proxy.routes(),
            *proxy.transports(),
            *proxy.cluster.published(),
            *proxy.cluster.endpoint_slices(),
        )
        for moment in _changes(item)
    ]
    return max(moments, default="")


def _changes(item: Object) -> Iterator[str]:
    meta = item["metadata"]
    for moment in (
        meta.get("creationTimestamp"),
        *(entry.get("time") for entry in meta.get("managedFields") or ()),
    ):
        if moment:
            yield _as_utc(str(moment))


def _as_utc(moment: str) -> str:
    """Write a time so that it can be compared: UTC, whole seconds, as objects carry it."""
    text = re.sub(r"\.\d+", "", moment)
    try:
        return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except ValueError:
        return text
