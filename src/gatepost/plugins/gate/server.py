"""The gate's one loop: accept, read the header, decide, hand over.

One thread: at thousands of connections a second every system call counts, so the usual case (a
trusted proxy whose header is already there) never waits in the loop.
"""

from __future__ import annotations

import errno
import resource
import select
import socket
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from gatepost.ip_addresses import plain
from gatepost.journal import Journal
from gatepost.model import Standing
from gatepost.plugins.gate.configuration import Configuration
from gatepost.plugins.gate.counters import Counters
from gatepost.plugins.gate.handoff import Endpoints, HandoffError, hand_over
from gatepost.plugins.gate.limits import ClientLimits, established
from gatepost.plugins.gate.trust import Trust
from gatepost.proxy_protocol import (
    SIGNATURE_1,
    SIGNATURE_2,
    Header,
    ProxyProtocolError,
    Transport,
    parse,
)

_MOST_WAITING = 20_000
"""Connections that wait for something; the oldest are closed to let new ones in."""
_SPARE_DESCRIPTORS = 64
"""For everything else that the process has open."""
_DIRECT_SECONDS = 0.1
"""Time in which a direct client may show a forged header, before Postfix greets it."""
_LINGER_SECONDS = 1.0
"""Time that a refused peer has to read the reason."""
_TAKEN_SECONDS = 30.0
"""Time that Postfix has to fetch a connection before the client is sent away.

A machine under load needs some seconds to start a hundred processes, and a client waits for its
greeting for five minutes (RFC 5321 section 4.5.3.2.1).
"""
_LOOK_SECONDS = 0.02
"""Time until a connection that Postfix has taken is released, if nothing else wakes the loop."""
_PEEK = 4096
"""Bytes read at once, and of the longest header; with all its extensions it is far shorter."""
_SIGNATURES = (SIGNATURE_1, SIGNATURE_2)
_BEGINNING = max(map(len, _SIGNATURES))
"""Bytes by which a forged header is known."""


@dataclass(slots=True, eq=False)
class _Stage:
    """Waiting connections by their reason, those that have waited longest first."""

    ready: Callable[[_Connection], None]
    """Called when there is something to read, and sometimes when there is not."""
    late: Callable[[_Connection], None]
    """Called when the time is over; the connection waits here no more when it returns."""
    seconds: float
    queue: OrderedDict[_Connection, None] = field(default_factory=OrderedDict)

    def oldest(self) -> _Connection:
        """Return who has waited longest."""
        return next(iter(self.queue))


@dataclass(slots=True, eq=False)
class _Connection:
    """An accepted connection until Postfix has it."""

    stream: socket.socket
    """Blocking, as Postfix wants it (one system call less there): each call of ours says
    MSG_DONTWAIT."""
    listener: str
    peer: tuple[str, int]
    trusted: bool
    stage: _Stage | None = None
    """The reason why it waits; None while it is being served."""
    since: float = 0.0
    seen: bytes = b""
    """Its first bytes, as far as they were needed."""
    client: str = ""
    """The client for which the proxy speaks; empty when it speaks for itself."""
    channel: socket.socket | None = None
    """The connection to Postfix; only while it is offered there."""


class Gate:
    """Accepts on listening sockets and hands connections over, until `stop` is called."""

    def __init__(
        self,
        configuration: Configuration,
        listeners: dict[str, list[socket.socket]],
        journal: Journal,
        counters: Counters,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take listening sockets by the name of their listener; they stay the caller's."""
        self._clock = clock
        self._journal = journal
        self._counters = counters
        self._epoll = select.epoll()
        # Wakes nobody: to be woken for each connection that Postfix has taken costs the session
        # as much as the hand-over itself, and nobody waits for it.
        self._channels = select.epoll()
        self._accepting: dict[int, tuple[str, socket.socket]] = {}
        self._waiting: dict[int, _Connection] = {}
        self._watched: dict[int, Callable[[], None]] = {}
        self._stopping = False

        self._header = _Stage(self._read_header, self._too_slow, configuration.header_seconds)
        self._direct = _Stage(self._listen_to_direct, self._offer, _DIRECT_SECONDS)
        self._offered = _Stage(self._taken, self._take_back, _TAKEN_SECONDS)
        self._refused = _Stage(self._linger, self._close, _LINGER_SECONDS)
        # In the order in which they are given up when too many wait.
        self._stages = (self._refused, self._direct, self._header, self._offered)
        # A connection that is offered has two descriptors.
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most_waiting = min(_MOST_WAITING, (soft - _SPARE_DESCRIPTORS) // 2)

        ports = {s.getsockname()[1] for group in listeners.values() for s in group}
        self._limits = ClientLimits(configuration.limits, lambda: established(ports), clock)
        self._names = set(listeners)
        self.configure(configuration)
        for name, group in listeners.items():
            for listening in group:
                listening.settimeout(0)
                self._accepting[listening.fileno()] = (name, listening)
                self._epoll.register(listening.fileno(), select.EPOLLIN)

    def configure(self, configuration: Configuration) -> None:
        """Take a configuration; who is already accepted stays trusted or not as before.

        Raise `ValueError` when it does not say where a listener's connections go.
        """
        ready = {name for name, to in configuration.handoffs.items() if Standing.NAMED in to}
        missing = self._names - ready
        if missing:
            raise ValueError(f"handoffs: nothing for {', '.join(sorted(missing))}")
        self._configuration = configuration
        self._trust = Trust(configuration.trusted)
        self._relaying = Trust(configuration.relaying)
        self._header.seconds = configuration.header_seconds
        self._limits.limits = configuration.limits

    def stop(self) -> None:
        """Accept no more; `run` returns when those already accepted have been dealt with."""
        self._stopping = True
        for descriptor in self._accepting:
            self._epoll.unregister(descriptor)
        self._accepting.clear()

    def watch(self, descriptor: int, readable: Callable[[], None]) -> None:
        """Call `readable` from the loop whenever a descriptor of the caller's can be read."""
        self._watched[descriptor] = readable
        self._epoll.register(descriptor, select.EPOLLIN)

    def run(self) -> None:
        """Serve until stopped."""
        while not (self._stopping and not self._waiting):
            for descriptor, _ in self._epoll.poll(self._patience()):
                accepting = self._accepting.get(descriptor)
                if accepting:
                    self._accept(*accepting)
                elif descriptor in self._watched:
                    self._watched[descriptor]()
                else:
                    # It may be gone since the poll, or its number be another's by now.
                    connection = self._waiting.get(descriptor)
                    if connection and connection.stage:
                        self._do(connection.stage.ready, connection)
            if self._offered.queue:
                self._let_go()
            self._expire()
            self._counters.waiting = len(self._waiting)
        self._epoll.close()
        self._channels.close()

    def _do(self, step: Callable[[_Connection], None], connection: _Connection) -> None:
        """Take a step with a connection; if it fails, that concerns nobody else."""
        try:
            step(connection)
        except OSError as error:
            self._drop(connection, "broken", error.strerror or str(error))

    # --- accepting -------------------------------------------------------------------------

    def _accept(self, listener: str, listening: socket.socket) -> None:
        """Accept one connection: if there are more, the loop comes back at once."""
        try:
            stream, address = listening.accept()
        except BlockingIOError:
            return
        except OSError as error:
            self._journal.limited("accept", f"accept on {listener}: {error}")
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self._make_room()
            return
        host = plain(address[0])
        connection = _Connection(stream, listener, (host, address[1]), host in self._trust)
        if connection.trusted:
            self._do(self._read_header, connection)
        elif self._configuration.accept_direct:
            self._do(self._listen_to_direct, connection)
        else:
            self._do(self._send_away, connection)

    # --- waiting ---------------------------------------------------------------------------

    def _wait(self, connection: _Connection, stage: _Stage) -> None:
        """Wait for more from a connection, for a limited time."""
        if connection.stage is stage:
            return  # already waiting: what it sends does not buy it more time
        descriptor = (connection.channel or connection.stream).fileno()
        if stage is self._offered:
            self._channels.register(descriptor, select.EPOLLIN)
        else:
            # A direct client's first bytes stay where they are, and are read when more arrive.
            left_unread = select.EPOLLET if stage is self._direct else 0
            self._epoll.register(descriptor, select.EPOLLIN | left_unread)
        self._waiting[descriptor] = connection
        stage.queue[connection] = None
        connection.stage, connection.since = stage, self._clock()
        if len(self._waiting) > self._most_waiting:
            self._make_room()

    def _wait_no_more(self, connection: _Connection) -> None:
        if connection.stage:
            descriptor = (connection.channel or connection.stream).fileno()
            if not connection.channel:
                # Closing is not enough: Postfix may come to have the same connection open.
                self._epoll.unregister(descriptor)
            del self._waiting[descriptor]
            del connection.stage.queue[connection]
            connection.stage = None
        if connection.channel:
            connection.channel.close()
            connection.channel = None

    def _make_room(self) -> None:
        """Close the connection that has kept us waiting longest."""
        for stage in self._stages:
            if stage.queue:
                end = self._close if stage is self._refused else self._flooded
                end(stage.oldest())
                return

    def _patience(self) -> float:
        """Return the seconds until the next time is over; -1 waits for ever."""
        if not self._waiting:
            return -1.0
        ends = [stage.oldest().since + stage.seconds for stage in self._stages if stage.queue]
        patience = max(0.0, min(ends) - self._clock())
        return min(patience, _LOOK_SECONDS) if self._offered.queue else patience

    def _expire(self) -> None:
        now = self._clock()
        for stage in self._stages:
            while stage.queue and stage.oldest().since + stage.seconds <= now:
                self._do(stage.late, stage.oldest())

    # --- trusted peers ---------------------------------------------------------------------

    def _read_header(self, connection: _Connection) -> None:
        """Read what belongs to the header and not one byte more."""
        try:
            seen = connection.stream.recv(_PEEK, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            self._wait(connection, self._header)
            return
        if not seen:
            self._drop(connection, "truncated" if connection.seen else "no-header")
            return
        try:
            header = parse(connection.seen + seen, _PEEK)
        except ProxyProtocolError as error:
            self._drop(connection, str(error.reason))
            return
        if header is None:
            # All of it belongs to the header; taking it keeps the loop from being woken again.
            connection.seen += connection.stream.recv(len(seen), socket.MSG_DONTWAIT)
            self._wait(connection, self._header)
            return
        connection.stream.recv(header.size - len(connection.seen), socket.MSG_DONTWAIT)
        self._offer(connection, header)

    def _too_slow(self, connection: _Connection) -> None:
        self._drop(connection, "slow" if connection.seen else "no-header")

    # --- everyone else ---------------------------------------------------------------------

    def _send_away(self, connection: _Connection) -> None:
        self._refuse(connection, "untrusted", "connect through the mail server's proxy")

    def _listen_to_direct(self, connection: _Connection) -> None:
        """Hand a direct client over, a forged header first being noticed and left in place."""
        try:
            seen = connection.stream.recv(_BEGINNING, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            self._wait(connection, self._direct)
            return
        if not seen:
            self._close(connection)
            return
        if seen not in _SIGNATURES and any(s.startswith(seen) for s in _SIGNATURES):
            self._wait(connection, self._direct)  # it may yet become one
            return
        self._note_beginning(connection, seen)
        self._offer(connection)

    def _note_beginning(self, connection: _Connection, seen: bytes) -> None:
        """Count a forged header, once, however many pieces it comes in."""
        before = connection.seen
        connection.seen = (before + seen)[:_BEGINNING]
        known = connection.trusted or before.startswith(_SIGNATURES)
        if not known and connection.seen.startswith(_SIGNATURES):
            self._counters.forged[connection.listener] += 1
            host, port = connection.peer
            self._journal.limited(
                "forged",
                f"{connection.listener}: forged PROXY header from [{host}]:{port}, "
                "which is not in TRUSTED_PROXIES",
            )

    # --- Postfix ---------------------------------------------------------------------------

    def _offer(self, connection: _Connection, header: Header | None = None) -> None:
        """Offer a connection to Postfix, under the address that counts."""
        self._wait_no_more(connection)
        named = _named(header)
        endpoints = named or _own(connection)
        if named or not connection.trusted:
            # The proxy itself may ask as often as it likes.
            connection.client = endpoints.client_host
            excess = self._limits.refusal(connection.client)
            if excess:
                self._refuse(connection, "limit", excess)
                return
        service = self._service(connection, header)
        try:
            connection.channel = hand_over(connection.stream.fileno(), endpoints, service)
        except HandoffError as error:
            self._refuse(connection, "unavailable", "try again later", str(error))
            return
        if connection.client:
            self._limits.opened(connection.client, connection.peer)
        self._wait(connection, self._offered)

    def _service(self, connection: _Connection, header: Header | None) -> str:
        """Choose the service of Postfix by what is known of the client."""
        services = self._configuration.handoffs[connection.listener]
        # An address that a header names is a proxy's word; a direct client's is TCP's.
        vouched = not connection.trusted or connection.peer[0] in self._relaying
        if vouched and Standing.RELAYING in services:
            return services[Standing.RELAYING]
        if Standing.ENCRYPTED in services and header and header.tlvs:
            tls = header.ssl
            if tls and tls.over_tls:
                return services[Standing.ENCRYPTED]
        return services[Standing.NAMED]

    def _taken(self, connection: _Connection) -> None:
        """Look whether Postfix has closed the channel: then the connection is no longer ours."""
        assert connection.channel  # noqa: S101  it is offered
        try:
            connection.channel.recv(1)
        except BlockingIOError:
            return
        except ConnectionResetError:
            detail = "Postfix ended before it took the connection"
            self._refuse(connection, "unavailable", "try again later", detail)
            return
        self._counters.handed_over[connection.listener] += 1
        self._close(connection)

    def _let_go(self) -> None:
        """Look which connections Postfix has taken by now."""
        for descriptor, _ in self._channels.poll(0):
            connection = self._waiting.get(descriptor)
            if connection and connection.channel:  # dropping another may have dropped it as well
                self._do(self._taken, connection)

    def _take_back(self, connection: _Connection) -> None:
        """Send a client away that Postfix has no process for, unless it was taken just now."""
        self._taken(connection)
        if connection.stage is self._offered:
            words = "all server ports are busy, try again later"
            self._refuse(connection, "unavailable", words)

    # --- refusing --------------------------------------------------------------------------

    def _refuse(
        self, connection: _Connection, reason: str, words: str, detail: str | None = None
    ) -> None:
        """Tell the peer why in one SMTP reply (421, RFC 5321), then close; `detail` is logged."""
        self._wait_no_more(connection)
        self._count_refusal(connection, reason, detail or words)
        code = "4.3.2" if reason == "unavailable" else "4.7.0"
        reply = f"421 {code} {self._configuration.hostname} {words}\r\n"
        try:
            connection.stream.send(reply.encode(), socket.MSG_DONTWAIT)
            connection.stream.shutdown(socket.SHUT_WR)
            # Closing with unread data resets the connection, and the peer never sees the reply.
            self._wait(connection, self._refused)
        except OSError:
            self._close(connection)

    def _linger(self, connection: _Connection) -> None:
        """Throw away what a refused peer sends, until it closes."""
        try:
            seen = connection.stream.recv(_PEEK, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            seen = b""
        if seen:
            self._note_beginning(connection, seen)
        else:
            self._close(connection)

    def _flooded(self, connection: _Connection) -> None:
        self._drop(connection, "flood")

    def _drop(self, connection: _Connection, reason: str, words: str = "closed") -> None:
        """Close without a word: whoever sends a broken header does not speak SMTP yet."""
        self._count_refusal(connection, reason, words)
        self._close(connection)

    def _count_refusal(self, connection: _Connection, reason: str, words: str) -> None:
        self._counters.refused[connection.listener, reason] += 1
        host, port = connection.peer
        client = connection.client
        about = f" for client [{client}]" if client and client != host else ""
        self._journal.limited(
            reason, f"{connection.listener}: [{host}]:{port}{about} refused, {reason}: {words}"
        )

    def _close(self, connection: _Connection) -> None:
        self._wait_no_more(connection)
        connection.stream.close()


def _named(header: Header | None) -> Endpoints | None:
    """Return the addresses of a TCP connection that a header names."""
    if not header or not header.source or not header.destination:
        return None
    if header.transport is not Transport.STREAM:
        return None
    (client, client_port), (server, server_port) = header.source, header.destination
    return Endpoints(plain(client), client_port, plain(server), server_port)


def _own(connection: _Connection) -> Endpoints:
    """Return the addresses that the connection itself has."""
    server, server_port = connection.stream.getsockname()[:2]
    return Endpoints(*connection.peer, plain(server), server_port)
