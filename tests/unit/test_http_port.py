"""The small HTTP server: no peer keeps others from an answer."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from http import HTTPStatus

import pytest

from gatepost import http_port
from gatepost.http_port import Answer, Request

BIG = bytes(30_000_000)
"""More than the kernel keeps for a peer that does not read."""


def respond(request: Request) -> Answer:
    if request.path == "/big":
        return Answer(HTTPStatus.OK, BIG)
    if request.path == "/":
        return Answer(HTTPStatus.OK, b"hello\n")
    return Answer(HTTPStatus.NOT_FOUND, b"no\n")


@contextlib.contextmanager
def server(host: str = "127.0.0.1") -> Iterator[tuple[str, int]]:
    listening = http_port.listen(host, 0)
    address = listening.getsockname()[:2]
    with http_port.serving([listening], respond, name="test"):
        yield address


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each peer half a second."""
    monkeypatch.setattr(http_port, "_REQUEST_SECONDS", 0.5)


def ask(address: tuple[str, int], said: bytes = b"GET / HTTP/1.1\r\n\r\n") -> bytes:
    with socket.create_connection(address, 5) as stream:
        stream.sendall(said)
        return rest(stream)


def rest(stream: socket.socket) -> bytes:
    heard = b""
    with contextlib.suppress(ConnectionResetError):
        while block := stream.recv(65536):
            heard += block
    return heard


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"200 OK"),
        (b"GET / HTTP/1.0\r\n\r\n", b"200 OK"),
        (b"GET /?a=b HTTP/1.1\r\n\r\n", b"200 OK"),
        (b"HEAD / HTTP/1.1\r\n\r\n", b"200 OK"),
        (b"GET /no HTTP/1.1\r\n\r\n", b"404 Not Found"),
        (b"POST / HTTP/1.1\r\n\r\n", b"405 Method Not Allowed"),
        (b"GET /\r\n\r\n", b"400 Bad Request"),
        (b"\x16\x03\x01\r\n\r\n", b"400 Bad Request"),
        (b"GET / SMTP\r\n\r\n", b"400 Bad Request"),
        (b"GET /" + b"x" * 9000, b"431 Request Header Fields Too Large"),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 3000, b"431 Request Header Fields Too Large"),
    ],
)
def test_each_request_has_an_answer(said: bytes, status: bytes) -> None:
    """A prober would take silence for death."""
    with server() as address:
        heard = ask(address, said)
    assert heard.startswith(b"HTTP/1.1 " + status + b"\r\n"), heard
    assert heard.endswith(b"hello\n") is (status == b"200 OK" and not said.startswith(b"HEAD"))


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("said", [b"", b"G", b"GET / HTTP/1.1\r\n", b"GET /" + b"x" * 5000])
def test_half_a_request_is_hung_up_on(said: bytes) -> None:
    """A scanner that says half a word would hold a descriptor for ever."""
    with server() as address, socket.create_connection(address, 5) as stream:
        began = time.monotonic()
        stream.sendall(said)
        assert rest(stream) == b""
        assert 0.4 < time.monotonic() - began < 4
        assert ask(address).endswith(b"hello\n")


@pytest.mark.usefixtures("quick")
def test_a_byte_now_and_then_buys_no_time() -> None:
    """A time-out for each read would never come."""
    with server() as address, socket.create_connection(address, 5) as stream:
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - began < 5:
                stream.sendall(b"x")
                time.sleep(0.1)
        assert time.monotonic() - began < 4


@pytest.mark.usefixtures("quick")
def test_a_peer_that_does_not_read_is_hung_up_on() -> None:
    """Its answer would be kept in memory for ever."""
    with server() as address, socket.create_connection(address, 5) as stream:
        stream.sendall(b"GET /big HTTP/1.1\r\n\r\n")
        time.sleep(1)
        assert len(rest(stream)) < len(BIG)


def test_a_crowd_of_silent_peers_keeps_nobody_out() -> None:
    """Whoever opens connections and says nothing would blind monitoring."""
    with server() as address, contextlib.ExitStack() as stack:
        for _ in range(3 * http_port._MOST_PEERS):
            stack.enter_context(socket.create_connection(address, 5))
        began = time.monotonic()
        assert ask(address).endswith(b"hello\n")
        assert time.monotonic() - began < 4


def test_it_asks_no_name_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """A start would wait half a minute for silent name servers."""

    def asked(*_: object) -> str:
        raise AssertionError("a name server was asked")

    for name in ("getfqdn", "gethostbyaddr", "gethostbyname"):
        monkeypatch.setattr(socket, name, asked)
    with server() as address:
        assert ask(address).endswith(b"hello\n")


@pytest.mark.parametrize(("host", "peers"), [("::", ("127.0.0.1", "::1")), ("::1", ("::1",))])
def test_the_ipv6_wildcard_takes_both_families(host: str, peers: tuple[str, ...]) -> None:
    """Half of the probers would find nobody."""
    with server(host) as (_, port):
        for peer in peers:
            assert ask((peer, port)).endswith(b"hello\n")


def test_nothing_is_left_behind() -> None:
    """Each test, and each start that fails, would leave a thread and a port."""
    before = threading.active_count()
    with server() as address:
        idle = socket.create_connection(address, 5)
        host, port = address
        assert urllib.request.urlopen(f"http://{host}:{port}/", timeout=5).read() == b"hello\n"
    assert threading.active_count() == before
    assert rest(idle) == b""
    idle.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, 5)
