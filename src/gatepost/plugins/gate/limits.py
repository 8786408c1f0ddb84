"""Limits of one client, counted by the client's own address."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, field

from gatepost import tcp_table
from gatepost.plugins.gate.configuration import Limits

Connection = tuple[str, int]
"""The TCP peer of a connection that was handed over: the proxy's address and port."""

_NETWORKS = ((64, 1), (56, 4))
"""Bits of an IPv6 network that counts as one client, and how many times the limit it may take. A
customer has a /64 or a /56; a provider may also give each /64 of a /56 to another customer, so the
/56 may take more, and a customer who has all of it cannot take 256 times as much."""
_WINDOW = 60.0
_MOST_CLIENTS = 100_000
_FEW_CLIENTS = 1000
"""So many are remembered before the first look at which of them are gone."""
_LOOKING = 20
"""Looking at the kernel's table of connections takes at most one part in so many of the time."""
_LONGEST_BLIND = 0.25
"""Seconds for which nobody looks, however long it takes."""


@dataclass(slots=True)
class _Client:
    window: float = 0.0
    count: int = 0
    open: set[Connection] = field(default_factory=set)
    """Connections that were handed over and may still be open."""
    share: int = 1
    """Factor by which it may exceed the limit."""
    crowded: bool = False
    """True if it was at its limit at the last check."""


class ClientLimits:
    """Counts connections by client.

    The gate leaves the data path, so nobody tells it when a session ends. When a client reaches
    its limit, the kernel's own table says which of its connections are still there.
    """

    def __init__(
        self, limits: Limits, alive: Callable[[], set[Connection]], clock: Callable[[], float]
    ) -> None:
        """Count against `limits`; `alive` returns the peers of all established connections."""
        self.limits = limits
        self._alive = alive
        self._clock = clock
        self._clients: dict[str, _Client] = {}
        self._owners: dict[Connection, tuple[_Client, ...]] = {}
        self._crowd = _FEW_CLIENTS
        self._look_again = float("-inf")

    def refusal(self, host: str) -> str | None:
        """Count a connection of a client; return why it must be refused, or None."""
        now = self._clock()
        # A /64 that is refused takes nothing more of what its neighbours in the /56 may have.
        for key, share in _keys(host):
            if excess := self._excess(self._client(key, share, now), now):
                return excess
        return None

    def _excess(self, client: _Client, now: float) -> str | None:
        if now - client.window >= _WINDOW:
            client.window, client.count = now, 0
        client.count += 1
        most = self.limits.connections_per_minute * client.share
        if most and client.count > most:
            return f"more than {most} connections a minute"
        most = self.limits.open_connections * client.share
        if most and len(client.open) >= most:
            self._forget_closed(now)
            # Not at its limit when last seen: what it has opened since may be closed by now.
            if client.crowded:
                return f"more than {most} connections at the same time"
        return None

    def opened(self, host: str, connection: Connection) -> None:
        """Note that a connection of a client was handed over."""
        if not self.limits.open_connections:
            return
        for former in self._owners.get(connection, ()):
            former.open.discard(connection)  # the proxy uses its port again
        now = self._clock()
        # One may have been forgotten since, when there were too many.
        clients = tuple(self._client(key, share, now) for key, share in _keys(host))
        self._owners[connection] = clients
        for client in clients:
            client.open.add(connection)

    def _client(self, key: str, share: int, now: float) -> _Client:
        client = self._clients.get(key)
        if client is None:
            if len(self._clients) >= self._crowd:
                self._prune(now)
            client = self._clients[key] = _Client(window=now, share=share)
        return client

    def _forget_closed(self, now: float) -> None:
        if now < self._look_again:
            return
        alive = self._alive()
        for client in self._clients.values():
            client.open &= alive
            client.crowded = len(client.open) >= self.limits.open_connections * client.share
        self._owners = {key: owner for key, owner in self._owners.items() if key in alive}
        self._look_again = now + min(_LONGEST_BLIND, _LOOKING * (self._clock() - now))

    def _prune(self, now: float) -> None:
        self._look_again = now
        self._forget_closed(now)
        self._clients = {
            key: client
            for key, client in self._clients.items()
            if client.open or now - client.window < _WINDOW
        }
        if len(self._clients) >= _MOST_CLIENTS:
            # Still too many within one minute: start anew rather than grow.
            self._clients.clear()
            self._owners.clear()
        # The next look comes when there are twice as many, so that looking stays rare.
        self._crowd = min(_MOST_CLIENTS, max(_FEW_CLIENTS, 2 * len(self._clients)))


def _keys(host: str) -> tuple[tuple[str, int], ...]:
    """Return what a client is counted by, and the share of each: its IPv4 address or networks."""
    if ":" not in host:
        return ((host, 1),)
    number = int(ipaddress.IPv6Address(host))
    return tuple((f"{number >> 128 - bits:x}/{bits}", share) for bits, share in _NETWORKS)


_OPEN = {tcp_table.ESTABLISHED, tcp_table.CLOSE_WAIT}
"""A client that has stopped sending still has its process."""


def established(ports: set[int]) -> set[Connection]:
    """Return the peers of all TCP connections that we keep open on local `ports`."""
    return {
        row.remote for row in tcp_table.rows() if row.state in _OPEN and row.local_port in ports
    }
