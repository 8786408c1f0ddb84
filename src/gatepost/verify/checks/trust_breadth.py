"""Only the proxies may name clients."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress

from gatepost import ip_addresses
from gatepost.model import BoundListener, IPAddress, IPNetwork, Status
from gatepost.model.words import Text
from gatepost.verify.check import Outcome, Proof
from gatepost.verify.clients.sessions import greeted
from gatepost.verify.clients.wire import ProbeError
from gatepost.verify.evidence.peers import Connection, connected
from gatepost.verify.remedies import UP
from gatepost.verify.targets import Approach, addresses_of_this_machine, targets

_EXPECTED = "TRUSTED_PROXIES holds the proxies that are seen, and nobody else"
_GREETING_SECONDS = 2.0
_COUNTABLE = 10**9


def trust_breadth(proof: Proof) -> Outcome:
    """Be a client of each daemon, and see in the kernel's table who connects for it.

    The other clients of the moment show their proxies as well. This machine's own addresses count
    as one, for whoever may connect from one of them may choose another.
    """
    proxied = tuple(bound for bound in proof.topology.mail if bound.proxied)
    if not proxied:
        return _without_proxy(proof)
    with ExitStack() as stack:
        _connect(proof, proxied, stack)
        connections = connected(address for bound in proxied for address in bound.service)
    return judged(proof.topology.trusted_proxies, connections, _here(), proxied)


def _without_proxy(proof: Proof) -> Outcome:
    expected = "nobody may send a PROXY header"
    if proof.nobody_answers(targets(proof.topology, Approach.PUBLIC)):
        return Outcome(
            Status.NOT_PROVEN, expected, "nobody answers", fix="See the banner rows first."
        )
    return Outcome(Status.PASS, expected, "no port takes a PROXY header")


def _connect(proof: Proof, proxied: tuple[BoundListener, ...], stack: ExitStack) -> None:
    """Hold a connection to each daemon through the proxy, where we know the way."""
    reached: set[str] = set()
    for target in targets(proof.topology, Approach.PUBLIC):
        daemon = target.bound.daemon
        if target.bound not in proxied or daemon in reached or target in proof.unreached:
            continue
        with suppress(ProbeError):  # which is a finding of the banner check
            stack.enter_context(greeted(target, deadline=proof.within(_GREETING_SECONDS)))
            reached.add(daemon)


def _here() -> frozenset[IPAddress]:
    return frozenset(map(ipaddress.ip_address, addresses_of_this_machine()))


def judged(
    trusted: tuple[IPNetwork, ...],
    connections: Iterable[Connection],
    here: frozenset[IPAddress],
    proxied: tuple[BoundListener, ...],
) -> Outcome:
    """Compare who is trusted with who connects; `here` are the addresses of this machine."""
    by_peer = {ipaddress.ip_address(one.peer.host): one for one in sorted(connections)}
    seen = [peer for peer in by_peer if ip_addresses.within(peer, trusted)]
    strangers = [str(peer) for peer in by_peer if peer not in seen]
    apart = f"; connected and not trusted: {', '.join(strangers)}" if strangers else ""
    witness = "; ".join(f"{by_peer[p].peer} → {by_peer[p].local}" for p in seen or by_peer)
    witness = f"the kernel's table of connections: {witness}" if witness else ""
    near = [peer for peer in seen if peer.is_loopback or peer in here]
    accounted = frozenset([*seen, *(here if near else ())])
    others = list(_others(trusted, accounted))
    wide = ", ".join(f"{network} ({_count(count)})" for network, count in others)
    if not seen:
        ports = " or ".join(f"sport = :{bound.listener.service_port}" for bound in proxied)
        return Outcome(
            Status.NOT_PROVEN,
            _EXPECTED,
            f"no proxy is connected now, and these may be one: {wide or 'nobody'}{apart}",
            witness,
            fix=(
                "Run verify again, on the machine or in the container of the daemons, while a mail "
                "program is connected through the proxy; or see yourself who connects: "
                f"ss -Htn state established '( {ports} )'. Name these and no others in "
                "TRUSTED_PROXIES."
            ),
            kind="no-proxy",
        )
    names = ", ".join(f"{p} (this machine)" if p in near else str(p) for p in seen)
    if not others:
        return Outcome(
            Status.PASS, _EXPECTED, f"seen: {names}; nobody else is trusted{apart}", witness
        )
    return Outcome(
        Status.RISK,
        _EXPECTED,
        f"proxies seen: {names}; trusted and not seen: {wide}{apart}",
        witness,
        fix=Text(
            "Whoever has one of the other addresses may claim to be any client. Put into .env: "
            f"TRUSTED_PROXIES={_line(trusted, seen, accounted)} and then: ",
            UP,
            ". A proxy that had no client just now belongs into that line as well. Where a proxy "
            "changes its address (a cluster, containers), name the smallest network that it stays "
            "in, and keep everybody else off the service ports (NetworkPolicy, firewall).",
        ),
        kind="too-wide",
    )


def _others(
    trusted: tuple[IPNetwork, ...], accounted: frozenset[IPAddress]
) -> Iterator[tuple[IPNetwork, int]]:
    """Yield trusted networks with the number of their addresses that are not accounted for."""
    for network in dict.fromkeys(trusted):
        count = network.num_addresses - sum(address in network for address in accounted)
        if count:
            yield network, count


def _count(count: int) -> str:
    if count == 1:
        return "1 address"
    if count < _COUNTABLE:
        return f"{count:,} addresses"
    return f"about 2^{round(math.log2(count))} addresses"


def _line(
    trusted: tuple[IPNetwork, ...], seen: list[IPAddress], accounted: frozenset[IPAddress]
) -> str:
    """Return the value that trusts whom was seen, and of this machine what was named before."""
    named = [n.network_address for n in trusted if n.num_addresses == 1]
    kept = [address for address in named if address in accounted]
    return ",".join(map(str, dict.fromkeys([*kept, *seen])))
