"""Clients have addresses of their own, and not all the same one."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterable

from gatepost import ip_addresses
from gatepost.accounts.records import PROBE_DOMAIN
from gatepost.model import Event, IPAddress, IPNetwork, Observation, Status
from gatepost.verify.check import Outcome, Proof
from gatepost.verify.targets import addresses_of_this_machine

_EXPECTED = "clients seen lately come from more than one address"
_MOST_BYTES = 4_000_000
_READING_SECONDS = 2.0
_FEWEST = 20
"""So many sessions from one address are no chance."""
_LATELY = 200
"""The latest sessions are judged, so that a change for the worse is seen behind better days."""
_FIX = (
    "Something in front of the reverse proxy puts its own address in place of the clients' (NAT). "
    "A cluster: set externalTrafficPolicy: Local on the proxy's Service. Docker: publish the "
    "proxy's ports in host mode (network_mode: host; Swarm: mode: host). Rootless Podman: "
    "--network=pasta. A load balancer: turn its PROXY protocol on, and have the reverse proxy "
    "trust it."
)

_LOGINS = frozenset({Event.LOGIN, Event.LOGIN_FAILED})
_CAME = _LOGINS | {Event.CONNECT, Event.DISCONNECT}

Session = tuple[str, str, int | None]
"""Daemon, client's address, client's port."""


def shared_address(proof: Proof) -> Outcome:
    """Ask the end of the log who came.

    At most the latest 200 sessions in the last 4 MB count. This machine's own are left out, those
    of internal listeners, the probes, and what a trusted proxy does in its own name without a login
    (health checks). Fewer than 20 prove nothing. A family of addresses is judged by itself only
    where a private address stands for all of it.
    """
    silent = [proof.witness.absence(bound.daemon) for bound in proof.topology.mail]
    absence = silent[0] if silent else None
    if absence and all(silent):
        return Outcome(
            Status.NOT_PROVEN, _EXPECTED, absence.observed, fix=absence.fix, kind="no-log"
        )
    observations = proof.witness.earlier(
        most_bytes=_MOST_BYTES, deadline=proof.within(_READING_SECONDS)
    )
    here = frozenset(map(ipaddress.ip_address, addresses_of_this_machine()))
    return judged(observations, proof.topology.trusted_proxies, here)


def judged(
    observations: Iterable[Observation], trusted: tuple[IPNetwork, ...], here: frozenset[IPAddress]
) -> Outcome:
    """Judge observations of clients, the latest first; `here` is this machine."""
    sessions = _sessions(observations, trusted, here)
    counted = Counter(ipaddress.ip_address(observation.client) for observation in sessions)
    counts = _counts(counted)
    if len(sessions) < _FEWEST:
        return Outcome(
            Status.NOT_PROVEN,
            _EXPECTED,
            f"only {counts} lately"
            if sessions
            else "no clients but this machine's own came lately",
            fix=f"Run verify again when mail has come: it takes {_FEWEST} sessions to tell.",
            kind="too-few",
        )
    if all(ip_addresses.within(address, trusted) for address in counted):
        names = ", ".join(map(str, counted))
        return Outcome(
            Status.FAIL,
            _EXPECTED,
            f"{counts}: {names}, which TRUSTED_PROXIES holds: the clients' own addresses are lost",
            sessions[0].line,
            fix=f"{_FIX} Or the proxy's headers name no client (LOCAL, UNKNOWN): see its settings.",
            kind="proxy",
        )
    if shared := _shared(counted):
        return Outcome(
            Status.RISK,
            _EXPECTED,
            f"{_counts(shared)}: {next(iter(shared))}",
            next(o.line for o in sessions if ipaddress.ip_address(o.client) in shared),
            fix=f"{_FIX} If it really is one client or household, this is fine.",
            kind="one-address",
        )
    return Outcome(Status.PASS, _EXPECTED, counts, sessions[0].line)


def _sessions(
    observations: Iterable[Observation], trusted: tuple[IPNetwork, ...], here: frozenset[IPAddress]
) -> list[Observation]:
    """Return one line of each session that counts, the latest first.

    An address from which probes logged in, and nobody else did, was this machine's: machines change
    their addresses, the IPv6 ones every day.
    """
    latest: dict[Session, Observation] = {}
    proxies: dict[Session, Observation] = {}
    """Sessions of a trusted address in its own name."""
    logged_in: set[Session] = set()
    probes: set[Session] = set()
    probed: set[str] = set()
    used: set[str] = set()
    for one in observations:
        address = _address(one)
        if one.event not in _CAME or one.internal or address is None:
            continue
        if address.is_loopback or address in here:
            continue
        session = (one.daemon, one.client, one.port)
        (proxies if ip_addresses.within(address, trusted) else latest).setdefault(session, one)
        if one.event in _LOGINS:
            logged_in.add(session)
        if one.user and one.user.endswith(f"@{PROBE_DOMAIN}"):
            probes.add(session)
            probed.add(one.client)
        elif one.event is Event.LOGIN:
            used.add(one.client)
        if len(latest) >= _LATELY:
            latest = _without(latest, probes, probed - used)
            if len(latest) >= _LATELY:
                break
    counted = {**latest, **{s: one for s, one in proxies.items() if s in logged_in}}
    return list(_without(counted, probes, probed - used).values())


def _without(
    sessions: dict[Session, Observation], probes: set[Session], own: set[str]
) -> dict[Session, Observation]:
    return {s: o for s, o in sessions.items() if s not in probes and o.client not in own}


def _address(observation: Observation) -> IPAddress | None:
    try:
        return ipaddress.ip_address(observation.client)
    except ValueError:
        return None


def _shared(counted: Counter[IPAddress]) -> Counter[IPAddress] | None:
    """Return the address that stands for everyone, with its count; None when there is none.

    A private one may stand for everyone of its family only: Docker's proxy for IPv6 leaves IPv4
    clients as they are.
    """
    if len(counted) == 1:
        return counted
    for version in (4, 6):
        family = Counter({a: n for a, n in counted.items() if a.version == version})
        if len(family) == 1 and family.total() >= _FEWEST and not next(iter(family)).is_global:
            return family
    return None


def _counts(counted: Counter[IPAddress]) -> str:
    addresses = f"{len(counted)} addresses" if len(counted) != 1 else "one address"
    sessions = f"{counted.total()} sessions" if counted.total() != 1 else "1 session"
    return f"{sessions} from {addresses}"
