"""Messages of a run: what counts as unchanged, and whose `Received:` header is believed."""

from __future__ import annotations

import threading
import time

from gatepost.model import Address, BoundListener, Listener, Protocol, Tls
from gatepost.verify.clients.messages import (
    Copy,
    Message,
    Messages,
    difference,
    identify,
    received_from,
    write,
)
from gatepost.verify.targets import Target

SENT = write(sender="a@x.invalid", recipient="b@x.invalid", identity="<1@x>")
HELO = "probe-1.invalid"


def letter(identity: str = "<1@x>") -> Message:
    row = Listener("smtp", Protocol.SMTP, Tls.STARTTLS, 25, 3325, 31025, 32025)
    bound = BoundListener(row, "toy", proxied=True, public=(), service=(), internal=())
    target = Target(bound, Address("127.0.45.1", 25), ())
    return Message(target, Address("127.0.0.77", 4000), HELO, identity, SENT, 0.0)


def test_headers_that_servers_put_before_a_message_are_no_change() -> None:
    """Every server adds some; each run would fail."""
    assert difference(SENT, b"Return-Path: <>\r\nReceived: from x\r\n\tby y\r\n" + SENT) == ""


def test_line_ends_of_the_mail_store_are_no_change() -> None:
    """Maildirs keep bare line feeds; some clients are given them."""
    assert difference(SENT, SENT.replace(b"\r\n", b"\n")) == ""


def test_a_change_of_one_byte_in_the_body_is_found() -> None:
    """A filter that rewrites messages breaks signatures."""
    assert "body" in difference(SENT, SENT.replace(b"The end.", b"The end!"))


def test_a_changed_header_is_named() -> None:
    """The admin must know what to look for."""
    changed = SENT.replace(b"Subject: gatepost", b"Subject: [list] gatepost")
    assert difference(SENT, changed) == "the header was changed: Subject"


def test_a_message_holds_what_transport_likes_to_damage() -> None:
    """A round trip of harmless text would not notice broken dot-stuffing or 8-bit handling."""
    lines = SENT.split(b"\r\n")
    assert b"." in lines
    assert any(line.startswith(b"..") for line in lines)
    assert any(byte > 127 for byte in SENT)
    assert max(map(len, lines)) == 998


def test_the_received_header_of_our_own_session_is_found() -> None:
    """Folded, IPv4 and IPv6: the address is what the check is about."""
    four = b"Received: from probe-1.invalid (unknown [127.0.0.77])\r\n\tby mail; now\r\n" + SENT
    assert received_from(HELO, four)[0] == "127.0.0.77"
    six = b"Received: from probe-1.invalid (x.y [IPv6:FD00::77])\r\n\tby mail; now\r\n" + SENT
    assert received_from(HELO, six)[0] == "fd00::77"


def test_another_sessions_received_header_is_not_believed() -> None:
    """LMTP adds one of its own with the server's address, above ours."""
    lmtp = b"Received: from mail.example.org ([127.0.0.1])\r\n\tby mda with LMTP; now\r\n"
    assert received_from(HELO, lmtp + SENT) == ("", "")
    body = SENT + b"Received: from probe-1.invalid (unknown [9.9.9.9])\r\n"
    assert received_from(HELO, body) == ("", ""), "a body is not evidence"


def test_a_message_is_known_by_its_identity_in_the_header_only() -> None:
    """A message that quotes ours is not ours."""
    assert identify(SENT, [letter("<2@x>"), letter()]) == letter()
    assert identify(b"Subject: x\r\n\r\n<1@x>\r\n", [letter()]) is None


def test_readers_wait_for_senders_and_senders_for_readers() -> None:
    """Whoever does not wait reports a loss that is none."""
    letters, one = Messages(senders=1, readers=1), letter()
    deadline = time.monotonic() + 5

    def read() -> None:
        (got,) = letters.posted(deadline=deadline)
        letters.found(got, Copy(SENT, "imap", 1.0))
        letters.reader_done()

    reader = threading.Thread(target=read)
    reader.start()
    letters.post(one)
    letters.sender_done()
    copy = letters.copy(one, deadline=deadline)
    reader.join()
    assert copy is not None
    assert copy.by == "imap"


def test_a_sender_gives_up_when_no_reader_is_left() -> None:
    """Otherwise a mail store that is down costs the whole time limit."""
    letters = Messages(senders=1, readers=1)
    letters.reader_done()
    began = time.monotonic()
    assert letters.copy(letter(), deadline=began + 5) is None
    assert time.monotonic() - began < 1
