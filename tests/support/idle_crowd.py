"""Mail programs that wait for mail in IMAP IDLE (RFC 2177), all of them for as long as wanted."""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from clients import From

RENEWED = 25 * 60.0
"""Seconds after which a program says IDLE anew; a server may close after 30 minutes."""


@dataclass
class Idler:
    """One connection in IDLE."""

    user: str
    stream: socket.socket
    told: dict[int, float] = field(default_factory=dict)
    """Number of messages in the mailbox → when the server first told of it."""
    trouble: str = ""
    begun: float = 0.0
    _partial: bytes = b""
    _number: int = 0

    def begin(self) -> None:
        """Say IDLE."""
        self._number += 1
        self.begun = time.monotonic()
        self.stream.sendall(b"idle%d IDLE\r\n" % self._number)

    def renew(self) -> None:
        """Leave IDLE and say it again; the answers come one after the other."""
        self.stream.sendall(b"DONE\r\n")
        self.begin()

    def read(self) -> None:
        """Take what the server has said."""
        try:
            block = self.stream.recv(65536)
        except ssl.SSLWantReadError:
            return
        if not block:
            raise ConnectionError("the server closed the connection")
        *lines, self._partial = (self._partial + block).split(b"\r\n")
        for line in lines:
            self._hear(line.decode())

    def _hear(self, line: str) -> None:
        words = line.split()
        if words[:1] == ["*"] and words[2:] == ["EXISTS"]:
            self.told.setdefault(int(words[1]), time.monotonic())
        elif words[:2] == ["*", "BYE"] or (words[0].startswith("idle") and words[1] != "OK"):
            raise ConnectionError(line)


class IdleCrowd:
    """Connections in IDLE, heard by one thread."""

    def __init__(self) -> None:
        """Begin with none."""
        self.idlers: list[Idler] = []
        self._selector = selectors.DefaultSelector()
        self._stop = threading.Event()

    def add(self, user: str, stream: socket.socket) -> None:
        """Take a connection that has selected its mailbox."""
        idler = Idler(user, stream)
        idler.begin()
        stream.setblocking(False)  # noqa: FBT003
        self.idlers.append(idler)
        self._selector.register(stream, selectors.EVENT_READ, idler)

    @property
    def troubles(self) -> list[str]:
        """What ended connections before their time."""
        return [f"{idler.user}: {idler.trouble}" for idler in self.idlers if idler.trouble]

    def not_told(self, user: str, count: int) -> int:
        """Count a user's connections that have not heard of so many messages, or more.

        Two messages that arrive close together may be announced at once, as ``* 2 EXISTS``.
        """
        return sum(
            max(idler.told, default=0) < count for idler in self.idlers if idler.user == user
        )

    def hear(self) -> None:
        """Listen to all until `stop`; a connection that ends is noted, and heard no more."""
        while not self._stop.is_set():
            for key, _ in self._selector.select(timeout=0.2):
                self._attempt(key.data, Idler.read)
            for idler in self.idlers:
                if not idler.trouble and time.monotonic() - idler.begun > RENEWED:
                    self._attempt(idler, Idler.renew)

    def _attempt(self, idler: Idler, what: Callable[[Idler], None]) -> None:
        try:
            what(idler)
        except (OSError, IndexError, ValueError) as error:
            idler.trouble = repr(error)
            self._selector.unregister(idler.stream)

    def stop(self) -> None:
        """Have `hear` return."""
        self._stop.set()


@contextlib.contextmanager
def idle_crowd(
    address: tuple[str, int], logins: Sequence[tuple[str, str]], sources: Iterator[str]
) -> Iterator[IdleCrowd]:
    """Hold a connection in IDLE for each login given, until the block ends."""
    crowd = IdleCrowd()
    listener = threading.Thread(target=crowd.hear)
    with contextlib.ExitStack() as stack:
        for login in logins:
            imap = stack.enter_context(From(next(sources)).imap(address, login, implicit=True))
            imap.select("INBOX", readonly=True)
            crowd.add(login[0], imap.sock)
        listener.start()
        try:
            yield crowd
        finally:
            crowd.stop()
            listener.join()
            for idler in crowd.idlers:
                with contextlib.suppress(OSError):
                    idler.stream.settimeout(5)
                    idler.stream.sendall(b"DONE\r\n")
