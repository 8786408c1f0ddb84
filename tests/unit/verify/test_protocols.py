"""What servers answer to probes: whatever it is, it ends in a finding.

The same is fuzzed for longer by fuzz/answers.py.
"""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gatepost.verify.clients.protocols import Imap, Pop3, Session, Sieve, Smtp
from gatepost.verify.clients.wire import ProbeError, Trouble, Wire


class Server:
    """The other side of a connection: it says what it was given and hangs up."""

    def __init__(self, says: bytes) -> None:
        """Keep what to say."""
        self._says = says

    def settimeout(self, seconds: float) -> None:
        """Never wait."""

    def sendall(self, words: bytes) -> None:
        """Hear a command."""

    def recv(self, size: int) -> bytes:
        """Say what is left."""
        said, self._says = self._says[:size], self._says[size:]
        return said


class Spoken(Wire):
    """A connection to such a server."""

    def __init__(self, says: bytes) -> None:
        """Be connected."""
        self._deadline = time.monotonic() + 60
        self._buffer = bytearray()
        self._received = 0
        self._socket = Server(says)  # type: ignore[assignment]


def told_well(observed: str) -> None:
    assert observed.isprintable()
    assert len(observed) < 600
    assert "s3cr3t-K" not in observed


def converse(session: Session) -> None:
    """Say what every probe says, and fetch a message where there is one."""
    session.greet()
    for offered in session.offer():
        assert offered.isprintable()
    session.login("anna@example.org", "s3cr3t-K")
    match session:
        case Imap():
            session.message(next(iter(session.uids()), 1))
        case Pop3():
            session.message(session.count())
        case Smtp():
            session.envelope("a@example.org", "b@example.org")
    session.leave()


lines = st.sampled_from(
    [
        *(b"220 mx", b"250-SIZE", b"250 AUTH PLAIN", b"235", b"250", b"550 no", b"\x1b[2J"),
        *(b"* OK", b"* CAPABILITY AUTH=\x1b", b"* SEARCH 1", b"* 1 FETCH {3}", b"abc", b")"),
        *(
            b"g1 OK",
            b"g2 OK",
            b"g3 OK",
            b"g4 OK",
            b"g5 OK",
            b"g2 NO \x9b",
            b"+OK 1 2",
            b".",
            b"+OK",
        ),
        *(b'"SASL" "PLAIN"', b"OK", b"NO", b"-ERR \xff", b"USER", b"SASL \x00"),
    ]
) | st.binary(max_size=40)


@given(st.sampled_from([Smtp, Imap, Pop3, Sieve]), st.lists(lines, max_size=20).map(b"\r\n".join))
@example(Imap, b"* OK\r\n* CAPABILITY AUTH=\x1b[2J\r\ng1 OK\r\n")
def test_every_answer_ends_in_words_for_a_finding(kind: type[Session], says: bytes) -> None:
    """A server's odd word would end the whole proof in a traceback, or rewrite the screen."""
    try:
        converse(kind(Spoken(says + b"\r\n"), "probe.example"))
    except ProbeError as error:
        told_well(str(error.observed))


@pytest.mark.parametrize(
    "answer",
    [
        b"* 1 FETCH {" + b"9" * 5000 + b"}\r\n",
        b"* SEARCH " + b"9" * 5000 + b"\r\ng1 OK\r\ng2 OK\r\n",
        b"* SEARCH 1 " + b"9" * 11 + b"\r\ng1 OK\r\ng2 OK\r\n",
    ],
)
def test_a_number_without_end_is_no_number(answer: bytes) -> None:
    """Python refuses to read such a number, and the proof would end in its words."""
    session = Imap(Spoken(b"g1 OK\r\n" + answer), "probe.example")
    with pytest.raises(ProbeError) as stopped:
        session.uids()
    assert stopped.value.trouble in {Trouble.GARBAGE, Trouble.CLOSED}
