"""Clients that connect and then hold on to what they have: slow, silent, deaf."""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Self

from clients import connect, lenient
from logins import Ports

IMPLICIT = frozenset({"submissions", "imaps", "pop3s"})
SMTP = frozenset({"smtp", "submission", "submissions"})
LISTENERS = (*sorted(SMTP), "imap", "imaps", "pop3", "pop3s", "sieve")

_STARTTLS = {"imap": b"a STARTTLS\r\n", "pop3": b"STLS\r\n", "sieve": b"STARTTLS\r\n"}
_AUTH = {"imap": b"b AUTHENTICATE PLAIN\r\n", "pop3": b"AUTH PLAIN\r\n"}
_NOTHING = {"imap": b"c NOOP\r\n", "pop3": b"CAPA\r\n", "sieve": b"CAPABILITY\r\n"}
_SMALL = 2048
_AT_ONCE = 16


def _hello() -> bytes:
    """Return the first that a TLS client sends."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        lenient().wrap_bio(incoming, outgoing).do_handshake()
    return outgoing.read()


def _say(stream: socket.socket, words: bytes) -> None:
    stream.sendall(words)
    if not stream.recv(4096):
        raise ConnectionResetError("closed")


def _ask_for_tls(stream: socket.socket, listener: str) -> None:
    if listener in IMPLICIT:
        return
    stream.recv(4096)
    if listener in SMTP:
        _say(stream, b"EHLO client.test\r\n")
    _say(stream, _STARTTLS.get(listener, b"STARTTLS\r\n"))


def _with_tls(stream: socket.socket, listener: str) -> socket.socket:
    _ask_for_tls(stream, listener)
    stream = lenient().wrap_socket(stream)
    if listener in {*IMPLICIT, "sieve"}:
        stream.recv(4096)
    if listener in SMTP:
        _say(stream, b"EHLO client.test\r\n")
    return stream


def silent(stream: socket.socket, listener: str) -> socket.socket:  # noqa: ARG001
    """Say nothing at all."""
    return stream


def in_tls(stream: socket.socket, listener: str) -> socket.socket:
    """Stop in the middle of the TLS handshake."""
    _ask_for_tls(stream, listener)
    stream.sendall(_hello()[:100])
    return stream


def in_auth(stream: socket.socket, listener: str) -> socket.socket:
    """Begin to log in, and owe the password."""
    stream = _with_tls(stream, listener)
    protocol = listener.removesuffix("s")
    word = b'AUTHENTICATE "PLAIN"\r\n' if listener == "sieve" else b"AUTH PLAIN\r\n"
    _say(stream, _AUTH.get(protocol, word))
    return stream


def in_data(stream: socket.socket, listener: str) -> socket.socket:
    """Begin a message and do not end it."""
    assert listener == "smtp"
    stream.recv(4096)
    for words in (
        b"EHLO client.test\r\n",
        b"MAIL FROM:<friend@outside.test>\r\n",
        b"RCPT TO:<alice@example.org>\r\n",
        b"DATA\r\n",
    ):
        _say(stream, words)
    stream.sendall(b"Subject: never ended\r\n\r\nHel")
    return stream


def deaf(stream: socket.socket, listener: str) -> socket.socket:
    """Ask again and again and read no answer."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL)
    stream = _with_tls(stream, listener)
    stream.settimeout(0.5)
    protocol = listener.removesuffix("s")
    word = b"CAPABILITY\r\n" if listener == "sieve" else b"EHLO client.test\r\n"
    # Who is closed on for it is stuck no more.
    with contextlib.suppress(OSError):
        for _ in range(200):
            stream.sendall(_NOTHING.get(protocol, word) * 10)
    return stream


Stop = Callable[[socket.socket, str], socket.socket]

STOPS: tuple[Stop, ...] = (silent, in_tls, in_auth, in_data, deaf)


def stops_at(stop: Stop, listener: str) -> bool:
    """Tell whether a listener has this place to stop."""
    if stop is in_auth:
        return listener != "smtp"
    return listener == "smtp" if stop is in_data else True


@dataclass
class Crowd:
    """Many stuck connections; closed at the end."""

    streams: list[socket.socket] = field(default_factory=list)

    def __enter__(self) -> Self:
        """Begin with none."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close them all."""
        for stream in self.streams:
            stream.close()

    def join(
        self, ports: Ports, members: Iterable[tuple[Stop, str, str]], prefix: bytes = b""
    ) -> None:
        """Have clients come: where each stops, at which listener, from which address."""

        def come(member: tuple[Stop, str, str]) -> socket.socket:
            stop, listener, source = member
            stream = connect(ports[listener], source)
            stream.sendall(prefix)
            stuck = stop(stream, listener)
            self.streams.append(stuck)
            return stuck

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(come, members))

    def wait_until_dropped(self, seconds: float, *, drip: bytes = b"") -> list[socket.socket]:
        """Wait until all are closed by the server; return those that are not when time is over.

        With `drip` each of them sends that every now and then.
        """
        deadline = time.monotonic() + seconds
        left = list(self.streams)
        while left and time.monotonic() < deadline:
            with selectors.DefaultSelector() as selector:
                for stream in left:
                    stream.settimeout(0)
                    selector.register(stream, selectors.EVENT_READ)
                readable = {key.fileobj for key, _ in selector.select(0.2)}
            left = [s for s in left if not (s in readable and _is_closed(s))]
            for stream in left if drip else ():
                with contextlib.suppress(OSError):
                    # Past TLS: what is sent is no answer to anything, but it is sent.
                    socket.socket.send(stream, drip)
            time.sleep(0.1)
        return left


def _is_closed(stream: socket.socket) -> bool:
    try:
        while stream.recv(65536):
            pass
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True
    return True
