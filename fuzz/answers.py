"""Fuzz what servers answer to the probes of ``gatepost verify``: SMTP, IMAP, POP3, ManageSieve.

The first byte of an input chooses the protocol, the rest is all that the server ever says. What
comes as a message is looked at as one that was sent, delivered and read again.
"""

from __future__ import annotations

import sys
import time
from typing import cast

import fuzzing

with fuzzing.instrumented("gatepost.verify"):
    from gatepost.verify.clients.messages import Message, difference, identify, received_from, write
    from gatepost.verify.clients.protocols import Imap, Pop3, Session, Sieve, Smtp
    from gatepost.verify.clients.wire import ProbeError, Wire, shown

from gatepost.model import Address
from gatepost.verify.targets import Target

PROTOCOLS: tuple[type[Session], ...] = (Smtp, Imap, Pop3, Sieve)
"""What is fuzzed; a test puts a broken one here, to see that it is found out."""

SECRET = "s3cr3t-K"  # noqa: S105  it guards nothing
HELO = "probe.example"
SENT = write(sender="a@example.org", recipient="b@example.org", identity="<1@example.org>")
LETTER = Message(
    cast("Target", None), Address("192.0.2.77", 25), HELO, "<1@example.org>", SENT, 0.0
)


class Server:
    """A socket whose other side says what it was given, a piece at a time, and hangs up."""

    def __init__(self, says: bytes, piece: int) -> None:
        """Keep what to say."""
        self._says = says
        self._piece = piece
        self.heard = bytearray()

    def settimeout(self, seconds: float) -> None:
        """Never wait."""

    def sendall(self, words: bytes) -> None:
        """Hear a command."""
        self.heard += words

    def recv(self, size: int) -> bytes:
        """Say the next piece."""
        size = min(size, self._piece)
        said, self._says = self._says[:size], self._says[size:]
        return said


class Spoken(Wire):
    """A connection to such a server."""

    def __init__(self, server: Server) -> None:
        """Be connected."""
        self._deadline = time.monotonic() + 3600
        self._buffer = bytearray()
        self._received = 0
        self._socket = server  # type: ignore[assignment]


def test_one_input(data: bytes) -> None:
    """Raise when a server's words stop a probe otherwise than as a finding, or are told badly."""
    attempt(data)
    a_message(data)
    if fuzzing.chosen(data):
        with fuzzing.in_time():
            long = data[:1] + fuzzing.stretched(data[1:])
            attempt(long)
            a_message(long)


def attempt(data: bytes) -> None:
    """Hold a conversation with a server that says these words, at once and in pieces."""
    if not data:
        return
    kind = PROTOCOLS[data[0] % len(PROTOCOLS)]
    at_once = conversation(kind, Server(data[1:], len(data)))
    assert conversation(kind, Server(data[1:], max(1, len(data) // 5))) == at_once


def conversation(kind: type[Session], server: Server) -> list[object]:
    """Say everything that probes say, to the first trouble; return what was made of the answers."""
    session = kind(Spoken(server), HELO)
    made: list[object] = []
    try:
        session.greet()
        fuzzing.told_well([session.greeting or "-"], longest=2_000_000, lines=2_000)
        offered = session.offer()
        fuzzing.told_well(offered, longest=9000)
        made.append(offered)
        session.login("anna@example.org", SECRET)
        match session:
            case Smtp():
                made += [session.extensions, session.envelope("a@example.org", "b@example.org")]
                made.append(session.send("a@example.org", "b@example.org", SENT))
            case Imap():
                session.empty()
                made.append(session.uids())
                assert all(0 <= uid < 10**10 for uid in session.uids())
                made.append(session.message(1))
            case Pop3():
                made += [session.count(), session.message(1)]
        session.leave()
    except ProbeError as error:
        fuzzing.told_well([str(error.observed)], longest=600)
        assert server.heard.count(b"\n") < 60, "it talks without end"
        made.append(error.trouble)
    return made


def a_message(data: bytes) -> None:
    """Look at an input as a message that was read."""
    assert identify(SENT + data, [LETTER]) is LETTER
    assert not difference(SENT, data[:40] + b"\r\n" + SENT)
    assert difference(SENT, data) or data.replace(b"\r\n", b"\n").endswith(
        SENT.replace(b"\r\n", b"\n")
    )
    fuzzing.told_well([difference(SENT, data) or "-"])
    address, header = received_from(HELO, data)
    assert bool(address) == bool(header)
    if address:
        assert set(address) <= set("0123456789abcdef.:")
        fuzzing.told_well([header], longest=1_100_000)
    fuzzing.told_well([shown(data) or "-"], longest=121)


def main(arguments: list[str]) -> None:
    """Run libFuzzer; it ends the process."""
    fuzzing.main("answers", test_one_input, arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
