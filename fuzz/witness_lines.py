"""Fuzz the log and those who read it as witnesses: a client's words must not become evidence.

An input is what clients have said, up to three texts ended by zeros; they stand in lines as
Postfix's and Dovecot's, or are lines of their own.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import fuzzing

with fuzzing.instrumented(
    "gatepost.plugins", "gatepost.run.logs", "gatepost.run.log_reader", "gatepost.verify"
):
    from gatepost.plugins.dovecot import witness as dovecot
    from gatepost.plugins.postfix import witness as postfix
    from gatepost.run.log_reader import newest_first
    from gatepost.run.logs import LogStream, tail
    from gatepost.verify.evidence.witnesses import is_about

from gatepost.model import Address, Event, Observation

observe_postfix = postfix.observe
observe_dovecot = dovecot.observe
"""Fuzzed; a test puts broken ones here, to see that they are found out."""

CLIENT = Address("192.0.2.77", 50503)
AT = f"{CLIENT.host}]:{CLIENT.port}"
SMTPD = "Nov 25 10:20:30 mx postfix/smtp/smtpd[123]: "
DOVECOT = "Nov 25 10:20:30 "
ENDS = f"rip={CLIENT.host}, rport={CLIENT.port}, lip=192.0.2.1, lport=31143"

SAID: tuple[tuple[str, Event | None], ...] = (
    (
        (
            "NOQUEUE: reject: RCPT from unknown[{at}: 554 5.7.1 <{0}>: no; "
            "from=<{1}> to=<{0}> proto=ESMTP helo=<{2}>"
        ),
        None,
    ),
    ("warning: non-SMTP command from unknown[{at}: {0}", None),
    ("improper command pipelining after {0} from unknown[{at}: {1}", None),
    ("connect from unknown[{at}", Event.CONNECT),
    ("disconnect from unknown[{at} ehlo=1 quit=1 commands=2", Event.DISCONNECT),
    (
        "4jYd: client=unknown[{at}, sasl_method=PLAIN, sasl_username=anna, sasl_sender={0}",
        Event.LOGIN,
    ),
    (
        "warning: unknown[{at}: SASL PLAIN authentication failed: {0}, sasl_username={1}",
        Event.LOGIN_FAILED,
    ),
)
"""What smtpd writes with a client's words in it, and what it is evidence of."""

LOGINS: tuple[tuple[str, Event | None], ...] = (
    (
        (
            "imap-login: Info: Login: user=<{0}>, method=PLAIN, {ends}, mpid=1, TLS, "
            "session=<wPpp2QJhR8V/AABO>"
        ),
        Event.LOGIN,
    ),
    (
        (
            "pop3-login: Info: Disconnected: Connection closed (auth failed, 1 attempts in 2 s): "
            "user=<{0}>, method=PLAIN, {ends}, session=<x>"
        ),
        Event.LOGIN_FAILED,
    ),
    ("managesieve-login: Info: Aborted login: user=<{0}>, {ends}, session=<x>", Event.DISCONNECT),
    ("auth: Info: sql({0},192.0.2.77,<x>): unknown user {1}", None),
    ("imap({0})<1><x>: Info: Logged out in={1} out={2}", None),
    ("lmtp({0})<1><x>: Info: msgid=<{1}>: saved mail to {2}", None),
)
"""The same for Dovecot."""

_FOLDER = Path(tempfile.mkdtemp(prefix="fuzz-"))


def test_one_input(data: bytes) -> None:
    """Raise when a client's words are believed, or a line is lost or made up on its way."""
    attempt(data)
    if fuzzing.chosen(data, 4):
        through_the_log(data)
    if fuzzing.chosen(data):
        with fuzzing.in_time():
            long = fuzzing.stretched(data)
            attempt(long)
            through_the_log(long)


def attempt(data: bytes) -> None:
    """Try words in every line that daemons write, and as lines of their own."""
    first, second, third = [*data.split(b"\0", 2), b"", b""][:3]
    words = (printed(first), printed(second), printed(third))
    for said, event in SAID:
        line = SMTPD + said.format(*words, at=AT)
        seen(observe_postfix, line, event)
        assert observe_dovecot(line) is None
    for said, event in LOGINS:
        line = DOVECOT + said.format(*words, ends=ENDS)
        seen(observe_dovecot, line, event)
        assert observe_postfix(line) is None
    for observe in (observe_postfix, observe_dovecot):
        for line in (data.decode(errors="replace"), SMTPD + words[0], DOVECOT + words[0]):
            well_read(observe(line), line)
            assert observe(f"{line}\n") == observe(line)


def printed(words: bytes) -> str:
    """Write words as daemons do, one line without control characters."""
    return "".join(c if c.isprintable() else "?" for c in words.decode(errors="replace"))


def seen(observe: Callable[[str], Observation | None], line: str, event: Event | None) -> None:
    """See that a line is evidence of what happened, of the client itself, or of nothing."""
    found = observe(line)
    if event is None:
        assert found is None, f"{found} by {line!r}"
        return
    assert found is not None, f"nothing by {line!r}"
    assert found.event is event, f"{found.event} by {line!r}"
    assert is_about(found, CLIENT), f"{found.client} {found.port} by {line!r}"
    if "sasl_sender" in line:
        assert found.user == "anna", f"{found.user} by {line!r}"
    assert observe(f"service | {line}") == observe(f"service | {line}\n")


def well_read(found: Observation | None, line: str) -> None:
    """See that whatever is taken for evidence has the form of it."""
    if found is None:
        return
    assert found.line == line.rstrip("\n")
    assert found.client
    assert found.client in line
    assert set(found.client) <= set("0123456789abcdefABCDEF.:")
    assert found.port is None or 0 <= found.port < 100_000
    assert found.user is None or found.user in line


def through_the_log(data: bytes) -> None:
    """See that lines come out of the log whole, each under the name of its service."""
    at_once, in_pieces = _FOLDER / "at-once.log", _FOLDER / "in-pieces.log"
    for file in (at_once, in_pieces):
        file.unlink(missing_ok=True)
    whole, piecewise = LogStream(at_once), LogStream(in_pieces)
    whole.feed("one", data + b"\n")
    step = max(1, len(data) // 3)
    for begin in range(0, len(data), step):
        piecewise.feed("one", data[begin : begin + step])
        piecewise.feed("two", b"between\n")
    piecewise.feed("one", b"\n")
    for stream in (whole, piecewise):
        os.close(stream._descriptor)  # noqa: SLF001  it ends with its process
    lines = at_once.read_bytes().split(b"\n")[:-1]
    assert len(lines) == data.count(b"\n") + 1
    assert all(line.startswith(b"one | ") for line in lines), "a line without its service"
    assert not any(byte < 32 and byte != 9 for line in lines for byte in line)
    own = [line for line in in_pieces.read_bytes().split(b"\n") if line.startswith(b"one | ")]
    assert own == lines, "pieces make other lines"
    told = [line.decode(errors="replace") for line in lines]
    assert tail(in_pieces, len(lines) + 5, "one") == told
    assert tail(at_once, 2) == told[-2:]
    backwards = list(newest_first(at_once, most=10_000_000, deadline=float("inf")))
    assert backwards[::-1] == told


def main(arguments: list[str]) -> None:
    """Run libFuzzer; it ends the process."""
    fuzzing.main("witness_lines", test_one_input, arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
