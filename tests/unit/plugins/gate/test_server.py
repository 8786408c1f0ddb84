"""The gate before a stub of Postfix's ``pass`` service; the real one is met in ``tests/real``.

Promises come with their controls: what must work beside what must not.
"""

from __future__ import annotations

import contextlib
import io
import ipaddress
import os
import queue
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from gatepost.journal import Journal
from gatepost.model import Address, Standing
from gatepost.plugins.gate import server as room
from gatepost.plugins.gate.configuration import Configuration, Limits
from gatepost.plugins.gate.counters import Counters
from gatepost.plugins.gate.handoff import HandoffError
from gatepost.plugins.gate.server import Gate
from gatepost.proxy_protocol import (
    LONGEST_1,
    Command,
    Tlv,
    TlvType,
    Transport,
    build_1,
    build_2,
)

PROXY, STRANGER = "127.71.0.1", "127.72.0.1"
CLIENT, SERVER = ("192.0.2.7", 54321), ("198.51.100.1", 25)
ONE, TWO = build_1(CLIENT, SERVER), build_2(CLIENT, SERVER)
EARLY = b"EHLO early.example\r\n"
MARGIN = 1.0
"""Seconds that a busy machine may add; every limit under test is far from it."""


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "it did not happen within 10 s"
        time.sleep(0.002)


class PassService:
    """A stub of Postfix's ``pass`` service: takes connections and keeps them for the test."""

    def __init__(self, path: Path) -> None:
        """Listen at a path."""
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen(500)
        self._taken: queue.Queue[tuple[dict[str, str], socket.socket]] = queue.Queue()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                channel, _ = self._listening.accept()
                with channel:
                    _, descriptors, _, _ = socket.recv_fds(channel, 1, 1)
                    text = b""
                    while not text.endswith(b"\0\0"):
                        text += channel.recv(4096)
                stream = socket.socket(fileno=descriptors[0])
                stream.settimeout(3)
                words = text.decode().split("\0")
                self._taken.put((dict(zip(words[:-2:2], words[1:-2:2], strict=True)), stream))

    def take(self) -> tuple[dict[str, str], socket.socket]:
        """Return the next connection: attributes and socket."""
        return self._taken.get(timeout=3)

    def client(self) -> tuple[str, int]:
        """Take a connection and close it; return who it is said to be from."""
        told, stream = self.take()
        stream.close()
        return told["client_address"], int(told["client_port"])

    @property
    def idle(self) -> bool:
        """Whether no connection is there to take."""
        return self._taken.empty()

    def close(self) -> None:
        """Listen no more, and forget what nobody took."""
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join(3)
        self._listening.close()
        while not self.idle:
            self._taken.get()[1].close()


class Front:
    """A gate that runs in a thread, with what it counts and writes, and its clients."""

    def __init__(self, folder: Path, listening: socket.socket, settings: Mapping[str, Any]) -> None:
        """Start it; `settings` differ from `configuration`."""
        self.configuration = replace(configuration(folder), **settings)
        self.address = listening.getsockname()[:2]
        self.counters = Counters()
        self._log = io.StringIO()
        self._clients: list[socket.socket] = []
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._awake, self._wake = socket.socketpair()
        self.gate = Gate(
            self.configuration, {"smtp": [listening]}, Journal(self._log), self.counters
        )
        self.gate.watch(self._awake.fileno(), self._call)
        self._thread = threading.Thread(target=self.gate.run)
        self._thread.start()

    def _call(self) -> None:
        self._awake.recv(1)
        self._calls.get()()

    def do(self, call: Callable[[], None]) -> None:
        """Call something where the gate runs, as its signals do."""
        done = threading.Event()
        self._calls.put(lambda: (call(), done.set())[0])  # type: ignore[func-returns-value]
        self._wake.send(b"!")
        assert done.wait(3)

    def connect(self, source: str = PROXY, data: bytes = b"") -> socket.socket:
        """Return a connection from a source address that has sent some bytes."""
        stream = socket.create_connection(self.address, 3, source_address=(source, 0))
        self._clients.append(stream)
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream.sendall(data)
        return stream

    @property
    def lines(self) -> list[str]:
        """What was logged, without the times."""
        return [line.partition(" ")[2] for line in self._log.getvalue().splitlines()]

    @property
    def refused(self) -> dict[str, int]:
        """What was refused, by reason."""
        return {reason: count for (_, reason), count in self.counters.refused.items()}

    def settle(self) -> None:
        """Close all clients and wait until the gate waits for nobody."""
        for client in self._clients:
            client.close()
        self._clients.clear()
        # A connection may be between two of its steps, or not accepted yet.
        for _ in range(2):
            self.do(lambda: None)
        until(lambda: not self.gate._waiting)

    def close(self) -> None:
        """End it."""
        self.settle()
        self.do(self.gate.stop)
        self._thread.join(3)
        assert not self._thread.is_alive()
        self._awake.close()
        self._wake.close()


def configuration(folder: Path) -> Configuration:
    return Configuration(
        hostname="mail.example.org",
        trusted=(ipaddress.ip_network("127.71.0.0/16"), ipaddress.ip_network("::1/128")),
        relaying=(),
        accept_direct=False,
        header_seconds=0.25,
        limits=Limits(0, 0),
        handoffs={"smtp": {Standing.NAMED: str(folder / "pass")}},
        metrics=(Address("127.0.0.1", 1),),
    )


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Front]]:
    """Return what starts a gate, before which a `PassService` may stand."""
    with contextlib.ExitStack() as stack:

        def begin(host: str = "127.73.0.1", family: int = socket.AF_INET, **settings: Any) -> Front:
            listening = stack.enter_context(socket.socket(family))
            if family == socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            try:
                listening.bind((host, 0))
            except OSError:
                pytest.skip(f"{host} is no address of this machine")
            listening.listen(500)
            front = Front(tmp_path, listening, settings)
            stack.callback(front.close)
            return front

        yield begin


@pytest.fixture
def service(tmp_path: Path) -> Iterator[PassService]:
    """Start a stub of Postfix."""
    with contextlib.closing(PassService(tmp_path / "pass")) as service:
        yield service


def ending(stream: socket.socket) -> bytes:
    """Return what is read until the connection ends, however it does."""
    said = b""
    with contextlib.suppress(ConnectionResetError):
        while block := stream.recv(4096):
            said += block
    return said


# --- trusted --------------------------------------------------------------------------------


@pytest.mark.parametrize("build", [build_1, build_2])
@pytest.mark.parametrize(
    ("named", "told"),
    [
        ((CLIENT, SERVER), ["192.0.2.7", "54321", "198.51.100.1", "25"]),
        ((("2001:db8::7", 9), ("2001:db8::1", 25)), ["2001:db8::7", "9", "2001:db8::1", "25"]),
        (
            (("::ffff:192.0.2.7", 9), ("::ffff:198.51.100.1", 25)),
            ["192.0.2.7", "9", "198.51.100.1", "25"],
        ),
    ],
)
def test_a_trusted_proxys_word_counts(
    start: Callable[..., Front],
    service: PassService,
    build: Callable[..., bytes],
    named: tuple[tuple[str, int], tuple[str, int]],
    told: list[str],
) -> None:
    """Everybody would be the proxy: SPF, block lists and limits would hit all or nobody."""
    front = start()
    stream = front.connect(PROXY, build(*named))
    attributes, passed = service.take()
    assert list(attributes.items()) == list(
        zip(["client_address", "client_port", "server_address", "server_port"], told, strict=True)
    )
    passed.sendall(b"220 hello\r\n")
    passed.close()
    assert ending(stream) == b"220 hello\r\n"
    assert front.lines == []


BY_TLS = Tlv(TlvType.SSL, b"\x01\0\0\0\0")
IN_CLEAR = Tlv(TlvType.SSL, b"\0\0\0\0\0")


@pytest.mark.parametrize(
    ("source", "header", "standing"),
    [
        (PROXY, ONE, Standing.NAMED),
        (PROXY, TWO, Standing.NAMED),
        (PROXY, build_2(command=Command.LOCAL), Standing.NAMED),
        (PROXY, build_2(CLIENT, SERVER, tlvs=[BY_TLS]), Standing.ENCRYPTED),
        (PROXY, build_2(CLIENT, SERVER, tlvs=[IN_CLEAR]), Standing.NAMED),
        (STRANGER, b"", Standing.RELAYING),
        (STRANGER, build_2(CLIENT, SERVER, tlvs=[BY_TLS]), Standing.RELAYING),
        ("127.71.0.7", TWO, Standing.RELAYING),
    ],
    ids=["v1", "v2", "local", "tls", "clear", "direct", "forged", "relaying-proxy"],
)
def test_each_kind_of_client_has_its_service(
    start: Callable[..., Front], tmp_path: Path, source: str, header: bytes, standing: Standing
) -> None:
    """A claimed address would relay, or a direct one would not."""
    services = {kind: PassService(tmp_path / kind) for kind in Standing}
    try:
        front = start(
            handoffs={"smtp": {kind: str(tmp_path / kind) for kind in Standing}},
            relaying=(ipaddress.ip_network("127.71.0.7"),),
            accept_direct=True,
        )
        front.connect(source, header)
        assert services[standing].client()
        # Where a listener has one service only, it takes them all.
        front.do(lambda: front.gate.configure(_with_one_service(front, tmp_path)))
        front.connect(source, header)
        assert services[Standing.NAMED].client()
    finally:
        for service in services.values():
            service.close()


def _with_one_service(front: Front, folder: Path) -> Configuration:
    only = {"smtp": {Standing.NAMED: str(folder / Standing.NAMED)}}
    return replace(front.configuration, handoffs=only)


@pytest.mark.parametrize("header", [ONE, TWO, build_2(CLIENT, SERVER, checksum=True)])
def test_a_header_may_come_byte_by_byte(
    start: Callable[..., Front], service: PassService, header: bytes
) -> None:
    """Mail would be lost at random on a network that splits packets."""
    front = start(header_seconds=3.0)
    stream = front.connect()
    for byte in header + EARLY:
        stream.sendall(bytes([byte]))
        time.sleep(0.0005)
    told, passed = service.take()
    assert told["client_address"] == CLIENT[0]
    stream.shutdown(socket.SHUT_WR)
    assert ending(passed) == EARLY
    passed.close()


@pytest.mark.parametrize("header", [ONE, TWO])
@pytest.mark.parametrize("early", [EARLY, b"\0" * 20_000, TWO, b"\n"])
@pytest.mark.parametrize("first", [0, 1, 20])
def test_what_follows_the_header_is_left_to_postfix(
    start: Callable[..., Front], service: PassService, header: bytes, early: bytes, first: int
) -> None:
    """A TLS hello or an EHLO that travels with the header would lose bytes: a hang, or garbage."""
    front = start(header_seconds=3.0)
    stream = front.connect(PROXY, header[:first])
    if first:
        until(lambda: any(c.seen for c in front.gate._waiting.values()))
    stream.sendall(header[first:] + early)
    stream.shutdown(socket.SHUT_WR)
    _, passed = service.take()
    assert ending(passed) == early
    passed.close()


@pytest.mark.parametrize(
    "header",
    [
        build_2(command=Command.LOCAL),
        build_2(CLIENT, SERVER, command=Command.LOCAL),
        build_1(),
        b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n",
        build_2(),
        build_2(CLIENT, SERVER, transport=Transport.DGRAM),
        build_2(CLIENT, SERVER, transport=Transport.UNSPEC),
        build_2()[:12] + b"\x21\x31\0\xd8" + b"/client".ljust(108, b"\0") * 2,
    ],
    ids=["local", "local-named", "unknown", "unknown-named", "unspec", "dgram", "inet", "unix"],
)
def test_a_proxy_that_names_no_client_speaks_for_itself(
    start: Callable[..., Front], service: PassService, header: bytes
) -> None:
    """Health checks would fail and fill the log, or an address that is none would reach Postfix.

    A UNIX path is no address; a datagram's is not that of an SMTP client (2.2 leaves it to us).
    """
    # The limits are for clients.
    front = start(limits=Limits(1, 1))
    for _ in range(3):
        own = front.connect(PROXY, header).getsockname()
        assert service.client() == own
    assert (front.lines, front.refused) == ([], {})


BROKEN = {
    "smtp": (EARLY, "malformed"),
    "tls": (b"\x16\x03\x01\x02\0\x01\0", "malformed"),
    "family": (ONE.replace(b"TCP4", b"TCP5"), "malformed"),
    "address": (ONE.replace(b"192", b"392"), "malformed"),
    "version": (TWO[:12] + b"\x31" + TWO[13:], "malformed"),
    "tlv": (TWO[:14] + b"\0\x0d" + TWO[16:] + b"\x04", "malformed"),
    "checksum": (build_2(CLIENT, SERVER, checksum=True)[:-1] + b"\0", "checksum"),
    "line": (b"PROXY TCP4 ".ljust(LONGEST_1, b"1"), "oversized"),
    "length": (TWO[:14] + b"\xff\xff", "oversized"),
}


@pytest.mark.parametrize(("data", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_broken_header_is_closed_counted_and_told(
    start: Callable[..., Front], service: PassService, data: bytes, reason: str
) -> None:
    """Who set the proxy up wrong would search for days; the next connection must still work."""
    front = start(header_seconds=3.0)
    begun = time.monotonic()
    stream = front.connect(PROXY, data)
    port = stream.getsockname()[1]
    assert ending(stream) == b""
    assert time.monotonic() - begun < MARGIN
    assert front.refused == {reason: 1}
    assert front.lines == [f"smtp: [{PROXY}]:{port} refused, {reason}: closed"]
    front.connect(PROXY, TWO)
    assert service.client() == CLIENT
    assert front.counters.forged == {}


def test_a_header_that_is_cut_off_is_closed_at_once(
    start: Callable[..., Front], service: PassService
) -> None:
    """Every aborted connection would cost a descriptor for seconds."""
    front = start(header_seconds=60.0)
    for data, reason in ((TWO[:20], "truncated"), (b"", "no-header")):
        stream = front.connect(PROXY, data)
        stream.shutdown(socket.SHUT_WR)
        assert ending(stream) == b""
        assert front.refused[reason] == 1
    assert len(front.lines) == 2
    # Control: all of a header, then the end.
    front.connect(PROXY, TWO).shutdown(socket.SHUT_WR)
    assert service.client() == CLIENT


@pytest.mark.parametrize(
    ("first", "drips", "reason"), [(0, 0, "no-header"), (1, 0, "slow"), (1, 40, "slow")]
)
def test_time_is_limited_and_drops_do_not_buy_more(
    start: Callable[..., Front], first: int, drips: int, reason: str
) -> None:
    """A byte now and then would hold a descriptor for ever, a thousand of them all."""
    front = start()
    begun = time.monotonic()
    stream = front.connect(PROXY, TWO[:first])
    stream.settimeout(0.05)
    sent = first
    while True:
        try:
            assert stream.recv(1) == b""
        except TimeoutError:
            assert time.monotonic() - begun < 0.25 + MARGIN
        except ConnectionResetError:
            break
        else:
            break
        if drips:
            with contextlib.suppress(OSError):
                # Of a header that would take longer than the test.
                sent += stream.send(TWO[sent : sent + 1])
    assert time.monotonic() - begun >= 0.25
    assert front.refused == {reason: 1}
    assert len(front.lines) == 1
    assert f"[{PROXY}]:" in front.lines[0]


# --- strangers ------------------------------------------------------------------------------


@pytest.mark.parametrize("header", [ONE, TWO, b""])
def test_a_stranger_is_refused_and_can_read_why(
    start: Callable[..., Front], service: PassService, header: bytes
) -> None:
    """An admin would see a reset; or worse, anybody could pose as anybody."""
    front = start()
    stream = front.connect(STRANGER, header + b"QUIT\r\n" * 20_000 if header else b"")
    if not header:
        stream.shutdown(socket.SHUT_WR)
    said = b""
    while block := stream.recv(4096):  # a reset would end the test here
        said += block
    assert said == b"421 4.7.0 mail.example.org connect through the mail server's proxy\r\n"
    host, port = stream.getsockname()
    stream.close()
    front.settle()
    told = [f"smtp: [{host}]:{port} refused, untrusted: connect through the mail server's proxy"]
    if header:
        told.append(
            f"smtp: forged PROXY header from [{host}]:{port}, which is not in TRUSTED_PROXIES"
        )
    assert front.lines == told
    assert front.refused == {"untrusted": 1}
    assert front.counters.forged == ({"smtp": 1} if header else {})
    assert service.idle


@pytest.mark.parametrize("data", [ONE, TWO, EARLY, b""])
def test_a_direct_client_is_served_under_its_own_address(
    start: Callable[..., Front], service: PassService, data: bytes
) -> None:
    """A header would make a direct client whoever it likes; or a greeting would come late."""
    front = start(accept_direct=True, header_seconds=60.0)
    begun = time.monotonic()
    stream = front.connect(STRANGER, data)
    told, passed = service.take()
    assert time.monotonic() - begun < 0.1 + MARGIN
    assert (told["client_address"], int(told["client_port"])) == stream.getsockname()
    stream.shutdown(socket.SHUT_WR)
    assert ending(passed) == data
    passed.close()
    forged = data in (ONE, TWO)
    assert front.counters.forged == ({"smtp": 1} if forged else {})
    assert len(front.lines) == int(forged)


def test_a_direct_client_that_half_closes_is_served(
    start: Callable[..., Front], service: PassService
) -> None:
    """A script that sends all and then waits would get nothing; one that is gone needs nothing."""
    front = start(accept_direct=True)
    stream = front.connect(STRANGER, b"QUIT\r\n")
    stream.shutdown(socket.SHUT_WR)
    assert service.client() == stream.getsockname()
    front.connect(STRANGER).close()
    front.settle()
    time.sleep(0.02)
    assert service.idle


def test_a_forged_header_is_counted_once(start: Callable[..., Front], tmp_path: Path) -> None:
    """The number of attacks would be wrong while Postfix is down."""
    front = start(accept_direct=True)
    assert not (tmp_path / "pass").exists()
    stream = front.connect(STRANGER, TWO + EARLY)
    assert ending(stream).startswith(b"421 4.3.2 ")
    front.settle()
    assert front.counters.forged == {"smtp": 1}


@pytest.mark.parametrize("accept", [True, False])
def test_a_forged_header_in_pieces_is_counted_once(
    start: Callable[..., Front], service: PassService, *, accept: bool
) -> None:
    """Whoever forges slowly would not be noticed."""
    front = start(accept_direct=accept)
    stream = front.connect(STRANGER, b"")
    for start_ in range(0, len(TWO), 4):
        stream.sendall(TWO[start_ : start_ + 4])
        time.sleep(0.005)
    if accept:
        told, passed = service.take()
        assert (told["client_address"], int(told["client_port"])) == stream.getsockname()
        passed.close()
    stream.close()
    front.settle()
    assert front.counters.forged == {"smtp": 1}


# --- Postfix is not there -------------------------------------------------------------------


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[socket.socket]:
    """Listen where Postfix would, with room for one that waits."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "pass"))
        listening.listen(0)
        listening.settimeout(3)
        yield listening


def test_without_postfix_a_client_is_told_at_once(start: Callable[..., Front]) -> None:
    """A sender would hang until its timeout, and the admin would not know what is missing."""
    front = start()
    begun = time.monotonic()
    said = ending(front.connect(PROXY, TWO))
    assert said == b"421 4.3.2 mail.example.org try again later\r\n"
    assert time.monotonic() - begun < MARGIN
    assert front.refused == {"unavailable": 1}
    (line,) = front.lines
    assert line.startswith(f"smtp: [{PROXY}]:")
    assert line.endswith("pass: No such file or directory")
    assert "for client [192.0.2.7] refused, unavailable: " in line


@pytest.mark.usefixtures("busy")
def test_when_postfix_is_full_the_rest_is_told_at_once(start: Callable[..., Front]) -> None:
    """One connection too many would stop the loop, and with it everybody."""
    front = start()
    front.connect(PROXY, TWO)
    until(lambda: len(front.gate._offered.queue) == 1)
    begun = time.monotonic()
    assert ending(front.connect(PROXY, TWO)).startswith(b"421 4.3.2 ")
    assert time.monotonic() - begun < MARGIN
    front.gate._offered.seconds = 0


def test_postfix_may_take_its_time_but_not_for_ever(
    start: Callable[..., Front], busy: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When all its processes are taken, a client would hang; a short wait must not turn it away."""
    monkeypatch.setattr(room, "_TAKEN_SECONDS", 0.2)
    front = start()
    begun = time.monotonic()
    said = ending(front.connect(PROXY, TWO))
    assert said == b"421 4.3.2 mail.example.org all server ports are busy, try again later\r\n"
    assert 0.2 <= time.monotonic() - begun < 0.2 + MARGIN
    # Who comes late finds a connection that has ended.
    late, _ = busy.accept()
    _, (descriptor,), _, _ = socket.recv_fds(late, 4096, 1)
    with socket.socket(fileno=descriptor) as found, pytest.raises(BrokenPipeError):
        found.sendall(b"220 hello\r\n")
    late.close()

    front.gate._offered.seconds = 3
    stream = front.connect(PROXY, TWO)
    channel, _ = busy.accept()
    time.sleep(0.05)
    assert front.counters.handed_over == {}
    _, (descriptor,), _, _ = socket.recv_fds(channel, 4096, 1)
    channel.close()
    with socket.socket(fileno=descriptor) as passed:
        passed.sendall(b"220 hello\r\n")
    assert ending(stream) == b"220 hello\r\n"
    until(lambda: front.counters.handed_over == {"smtp": 1})


def test_a_postfix_that_ends_leaves_nobody_without_an_answer(
    start: Callable[..., Front], busy: socket.socket
) -> None:
    """A restart of Postfix would cut whoever just connected, and count them as served."""
    front = start()
    stream = front.connect(PROXY, TWO)
    until(lambda: len(front.gate._offered.queue) == 1)
    busy.close()
    assert ending(stream) == b"421 4.3.2 mail.example.org try again later\r\n"
    assert front.counters.handed_over == {}
    assert "Postfix ended before it took the connection" in front.lines[0]


# --- limits ---------------------------------------------------------------------------------


def test_connections_per_minute_count_on_the_client(
    start: Callable[..., Front], service: PassService
) -> None:
    """One guesser would lock everybody out behind the same proxy, or nobody be limited."""
    front = start(limits=Limits(0, 2))

    def served(host: str) -> bytes:
        server = "2001:db8::1" if ":" in host else "198.51.100.1"
        stream = front.connect(PROXY, build_2((host, 1), (server, 25)))
        if b"421" in (said := stream.recv(100) if host in refused else b""):
            return said
        assert service.client() == (host, 1)
        return b""

    refused: set[str] = set()
    for host in ("192.0.2.7", "192.0.2.7", "2001:db8::1", "2001:db8::2"):
        assert served(host) == b""
    refused = {"192.0.2.7", "2001:db8::3"}
    for host in refused:
        assert served(host) == (b"421 4.7.0 mail.example.org more than 2 connections a minute\r\n")
    assert f"for client [{host}] refused, limit: more than 2 connections" in front.lines[-1]
    assert served("192.0.2.8") == served("2001:db8:0:1::1") == b""
    assert front.refused == {"limit": 2}


def test_open_connections_count_on_the_client(
    start: Callable[..., Front], service: PassService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One client would hold all of Postfix's processes; or one that hung up stay locked out."""
    monkeypatch.setattr("gatepost.plugins.gate.limits._LOOKING", 0)
    front = start(limits=Limits(2, 0))
    held = []
    for _ in range(2):
        # Half-closed is still open: Postfix's process is still there.
        front.connect(PROXY, TWO).shutdown(socket.SHUT_WR)
        held.append(service.take()[1])
    assert ending(front.connect(PROXY, TWO)) == (
        b"421 4.7.0 mail.example.org more than 2 connections at the same time\r\n"
    )
    front.connect(PROXY, build_2(("192.0.2.8", 1), SERVER))
    assert service.client() == ("192.0.2.8", 1)
    held.pop().close()
    # Until then the gate has it open too.
    until(lambda: front.counters.handed_over == {"smtp": 3})
    front.do(lambda: None)
    front.connect(PROXY, TWO)
    assert service.client() == CLIENT
    held.pop().close()


def test_ipv4_in_ipv6_is_ipv4(start: Callable[..., Front], service: PassService) -> None:
    """On a socket for both, no proxy would be trusted, and a client count under two names."""
    front = start("::ffff:127.73.0.2", socket.AF_INET6, accept_direct=True, limits=Limits(1, 0))
    front.address = ("127.73.0.2", front.address[1])
    front.connect(PROXY, TWO)
    assert service.client() == CLIENT
    stream = front.connect(STRANGER)
    told, passed = service.take()
    assert (told["client_address"], told["server_address"]) == (STRANGER, "127.73.0.2")
    assert ending(front.connect(STRANGER)).startswith(b"421 4.7.0 "), "it counts as one client"
    passed.close()
    stream.close()


def test_ipv6_peers(start: Callable[..., Front], service: PassService) -> None:
    """IPv6 would work for clients and not for the proxy itself."""
    front = start("::1", socket.AF_INET6)
    front.connect("::1", TWO)
    assert service.client() == CLIENT
    own = front.connect("::1", build_1()).getsockname()[:2]
    assert service.client() == own


# --- time goes by ---------------------------------------------------------------------------


def test_settings_change_without_a_restart(
    start: Callable[..., Front], service: PassService
) -> None:
    """An address taken from TRUSTED_PROXIES would go on to pose as anybody, or mail be cut off."""
    front = start(header_seconds=60.0)
    session = front.connect(PROXY, TWO)
    _, passed = service.take()
    waiting = front.connect(PROXY, TWO[:5])
    until(lambda: any(c.seen for c in front.gate._waiting.values()))

    trusted = (ipaddress.ip_network("127.72.0.0/16"),)
    front.do(lambda: front.gate.configure(replace(front.configuration, trusted=trusted)))
    front.connect(STRANGER, TWO)
    assert service.client() == CLIENT
    assert ending(front.connect(PROXY, TWO)).startswith(b"421 4.7.0 ")
    waiting.sendall(TWO[5:])
    assert service.client() == CLIENT
    passed.sendall(b"250 ok\r\n")
    assert session.recv(100) == b"250 ok\r\n"
    passed.close()

    slow = front.connect(STRANGER, TWO[:5])
    until(lambda: any(c.seen for c in front.gate._waiting.values()))
    front.do(
        lambda: front.gate.configure(
            replace(front.configuration, trusted=trusted, header_seconds=0.1)
        )
    )
    assert ending(slow) == b"", "a shorter time counts for those who wait already"


def test_a_listener_that_leads_nowhere_is_not_taken(start: Callable[..., Front]) -> None:
    """The first connection to it would end the gate."""
    front = start()
    with pytest.raises(ValueError, match="handoffs: nothing for smtp"):
        front.gate.configure(replace(front.configuration, handoffs={}))
    only = {"smtp": {Standing.RELAYING: "/nowhere"}}
    with pytest.raises(ValueError, match="handoffs: nothing for smtp"):
        front.gate.configure(replace(front.configuration, handoffs=only))
    assert front.gate._configuration == front.configuration


def test_a_flood_makes_room_for_the_newest(
    start: Callable[..., Front], service: PassService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silent connections would use up all descriptors, and nobody else get in."""
    monkeypatch.setattr(room, "_MOST_WAITING", 10)
    front = start(header_seconds=60.0)
    silent = [front.connect() for _ in range(30)]
    until(lambda: front.refused == {"flood": 20})
    assert [ending(stream) for stream in silent[:20]] == [b""] * 20
    front.connect(PROXY, TWO)
    assert service.client() == CLIENT
    for stream in silent[21:]:
        stream.sendall(TWO)
        assert service.client() == CLIENT
    assert front.refused == {"flood": 21}


@pytest.mark.parametrize("error", [HandoffError("full"), OSError(24, "Too many open files")])
def test_what_fails_for_one_concerns_nobody_else(
    start: Callable[..., Front],
    service: PassService,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    """One connection at the wrong moment would end the gate for all."""
    front = start()
    with monkeypatch.context() as patched:

        def fail(*_: object) -> None:
            raise error

        patched.setattr(room, "hand_over", fail)
        ending(front.connect(PROXY, TWO))
        assert len(front.lines) == 1
        assert str(error.args[-1]) in front.lines[0]
    front.connect(PROXY, TWO)
    assert service.client() == CLIENT


def test_the_loop_sleeps_when_there_is_nothing_to_do(
    start: Callable[..., Front], service: PassService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One open session whose data Postfix has yet to read would cost a whole processor."""
    front = start(accept_direct=True, header_seconds=60.0)
    rounds = 0
    patience = front.gate._patience

    def counted() -> float:
        nonlocal rounds
        rounds += 1
        return patience()

    monkeypatch.setattr(front.gate, "_patience", counted)
    half, whole, direct = front.connect(PROXY, TWO[:9]), front.connect(), front.connect(STRANGER)
    _, first = service.take()
    whole.sendall(TWO)
    _, second = service.take()
    until(lambda: front.counters.handed_over == {"smtp": 2})
    for stream in (direct, whole):
        stream.sendall(EARLY)
    half.sendall(TWO[9:12])
    time.sleep(0.02)
    rounds = 0
    time.sleep(0.1)
    assert rounds < 5
    for stream in (first, second):
        assert stream.recv(100) == EARLY
        stream.close()


def test_no_descriptor_is_left(start: Callable[..., Front], service: PassService) -> None:
    """After a week no client would get in any more."""
    front = start(header_seconds=0.05)

    def open_descriptors() -> int:
        """Close what Postfix's stub was handed, then count what this process has open."""
        while not service.idle:
            service.client()
        return len(list(Path("/proc/self/fd").iterdir()))

    def everything(*, accept_direct: bool) -> None:
        """Come in every way there is."""
        changed = replace(front.configuration, accept_direct=accept_direct)
        front.do(lambda: front.gate.configure(changed))
        for _ in range(10):
            for data in (TWO, ONE, build_1(), TWO[:9], EARLY, b"", TWO + EARLY):
                for source in (PROXY, STRANGER):
                    front.connect(source, data)
        front.settle()

    idle = open_descriptors()
    for accept_direct in (True, False, True):
        everything(accept_direct=accept_direct)
        until(lambda: open_descriptors() == idle)
    service.close()
    everything(accept_direct=True)
    until(lambda: open_descriptors() == idle - 1)
    assert front.refused["unavailable"] > 0
    assert all(not stage.queue for stage in front.gate._stages)


# --- the process ----------------------------------------------------------------------------


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """Keep a listening socket, as the supervisor does."""
    with socket.create_server(("127.73.0.1", 0), backlog=4096) as listening:
        yield listening


@contextlib.contextmanager
def process(folder: Path, listening: socket.socket) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Run the gate's process; yield it and its configuration file, ready and waiting."""
    with socket.create_server(("127.73.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    file = folder / "gate.json"
    file.write_text(
        replace(
            configuration(folder), header_seconds=2.0, metrics=(Address("127.73.0.1", port),)
        ).dump()
    )
    user = psutil.Process().username()
    with subprocess.Popen(
        [sys.executable, "-I", "-m", "gatepost.plugins.gate", str(file), user],
        env={**os.environ, "GATEPOST_SOCKETS": f"smtp:{listening.fileno()}"},
        pass_fds=[listening.fileno()],
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        try:
            assert running.stderr
            assert running.stderr.readline().endswith(" ready: smtp (1); 2 trusted networks\n")
            yield running, file
        finally:
            running.kill()


def connect(listening: socket.socket, source: str, data: bytes = b"") -> socket.socket:
    stream = socket.create_connection(listening.getsockname(), 3, source_address=(source, 0))
    stream.sendall(data)
    return stream


def test_signals(tmp_path: Path, listening: socket.socket, service: PassService) -> None:
    """A typing mistake, a new setting or a restart would cost mail."""
    with process(tmp_path, listening) as (gate, file), contextlib.ExitStack() as streams:
        assert gate.stderr
        good = file.read_text()
        for bad in ("{", good.replace('"smtp"', '"smpt"')):
            file.write_text(bad)
            gate.send_signal(signal.SIGHUP)
            assert f"{file}: not taken, the settings before it stay: " in gate.stderr.readline()
        with connect(listening, PROXY, TWO):
            assert service.client() == CLIENT
        with connect(listening, STRANGER) as stream:
            assert ending(stream).startswith(b"421 4.7.0 ")
            gate.stderr.readline()

        file.write_text(good.replace("127.71.0.0/16", "127.72.0.0/16"))
        gate.send_signal(signal.SIGHUP)
        assert gate.stderr.readline().endswith(" configuration read anew\n")
        with connect(listening, STRANGER, TWO):
            assert service.client() == CLIENT
        file.write_text(good)
        gate.send_signal(signal.SIGHUP)
        gate.stderr.readline()

        waiting = streams.enter_context(connect(listening, PROXY, TWO[:5]))
        time.sleep(0.02)
        gate.send_signal(signal.SIGTERM)
        assert gate.stderr.readline().endswith(" stopping: no new connections\n")
        late = streams.enter_context(connect(listening, PROXY, TWO))
        waiting.sendall(TWO[5:])
        assert service.client() == CLIENT
        assert gate.wait(3) == 0
        assert service.idle, "it still took new connections"
        with process(tmp_path, listening):
            assert service.client() == CLIENT, "who came meanwhile was lost"
        late.close()


def test_silent_peers_keep_nobody_waiting(
    tmp_path: Path, listening: socket.socket, service: PassService
) -> None:
    """Anybody with a few thousand sockets would stop the mail; how fast it is, bench measures."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    try:
        with process(tmp_path, listening), contextlib.ExitStack() as streams:
            for number in range(2000):
                data = TWO[:1] if number % 2 else b""
                streams.enter_context(connect(listening, PROXY, data))
            begun = time.monotonic()
            with connect(listening, PROXY, TWO):
                assert service.client() == CLIENT
            assert time.monotonic() - begun < 2
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_it_says_when_it_has_no_sockets(tmp_path: Path) -> None:
    """Somebody who starts it by hand would see a traceback, or a process that does nothing."""
    file = tmp_path / "gate.json"
    file.write_text(configuration(tmp_path).dump())
    done = subprocess.run(
        [
            sys.executable,
            "-I",
            "-m",
            "gatepost.plugins.gate",
            str(file),
            psutil.Process().username(),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=5,
    )
    assert done.returncode == 1
    assert done.stderr == (
        "GATEPOST_SOCKETS is empty: the gate is started by `gatepost up`, which opens its ports.\n"
    )
