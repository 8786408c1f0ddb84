"""The messages of one run: those that were accepted, and the copies that were read back."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass
from email.utils import formatdate

from gatepost.errors import printable
from gatepost.model import Address
from gatepost.model.words import Words
from gatepost.verify.targets import Target


@dataclass(frozen=True, slots=True)
class Message:
    """A message that a listener has accepted."""

    target: Target
    client: Address
    """The address that it was sent from."""
    helo: str
    """The name that its sender gave; `Received:` headers repeat it."""
    identity: str
    """Its Message-ID, which nobody else's message has."""
    content: bytes
    """As it was sent, lines ending in CRLF."""
    accepted: float
    """When the server took it, in seconds of `time.monotonic`."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A message as it came out again."""

    content: bytes
    by: Words
    """Name of the listener that it was read from."""
    read: float
    """In seconds of `time.monotonic`."""


def write(*, sender: str, recipient: str, identity: str) -> bytes:
    """Write a message that transport likes to damage: dots, 8-bit text, long and blank lines."""
    lines = (
        f"From: Gatepost verify <{sender}>",
        f"To: <{recipient}>",
        "Subject: gatepost verify",
        f"Date: {formatdate()}",
        f"Message-ID: {identity}",
        "Auto-Submitted: auto-generated",
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=utf-8",
        "Content-Transfer-Encoding: 8bit",
        "",
        "This message was made by `gatepost verify` and is removed by it.",
        ".",
        ".. dots at the beginning of a line; 8-bit text: Grüße, 你好, привет",
        "From here on: a line as long as RFC 5322 allows, and blanks at an end.   ",
        "x" * 998,
        "",
        "The end.",
    )
    return "".join(f"{line}\r\n" for line in lines).encode()


def difference(sent: bytes, read: bytes) -> str:
    """Say how a message was changed; empty when servers only put headers of theirs before it."""
    sent, read = _with_crlf(sent), _with_crlf(read)
    if read.endswith(sent):
        return ""
    sent_head, _, sent_body = sent.partition(b"\r\n\r\n")
    read_head, _, read_body = read.partition(b"\r\n\r\n")
    if sent_body != read_body:
        return f"the body was changed: {len(sent_body)} bytes sent, {len(read_body)} read"
    lost = [line for line in sent_head.split(b"\r\n") if line not in read_head.split(b"\r\n")]
    name = lost[0].partition(b":")[0].decode() if lost else "order of headers"
    return f"the header was changed: {name}"


def received_from(helo: str, content: bytes) -> tuple[str, str]:
    """Return the address in the `Received:` header of our session, and the header; or two "".

    The header is written by the server; the name that the client gave finds it.
    """
    head = _with_crlf(content).partition(b"\r\n\r\n")[0].decode("ascii", "replace")
    for header in re.sub(r"\r\n[ \t]+", " ", head).split("\r\n"):
        found = re.match(
            rf"(?i)Received: from {re.escape(helo)} \([^\[\]]*\[(?:IPv6:)?([0-9a-f.:]+)\]", header
        )
        if found:
            return found[1].lower(), printable(header)
    return "", ""


def _with_crlf(content: bytes) -> bytes:
    return re.sub(rb"\r?\n", b"\r\n", content)


class Messages:
    """All messages of a run, shared by those who send and those who read."""

    def __init__(self, senders: int, readers: int) -> None:
        """Expect so many senders and readers."""
        self._news = threading.Condition()
        self._senders = senders
        self._readers = readers
        self.anyone_reads = readers > 0
        """True if there was a reader at the beginning."""
        self._posted: list[Message] = []
        self._copies: dict[str, Copy] = {}

    def post(self, message: Message) -> None:
        """Record that a message was accepted."""
        with self._news:
            self._posted.append(message)
            self._news.notify_all()

    def sender_done(self) -> None:
        """Record that a sender is through, whether it could send or not."""
        with self._news:
            self._senders -= 1
            self._news.notify_all()

    def reader_done(self) -> None:
        """Record that a reader is through."""
        with self._news:
            self._readers -= 1
            self._news.notify_all()

    def posted(self, *, deadline: float) -> tuple[Message, ...]:
        """Wait until every sender is through; return what was accepted."""
        with self._news:
            self._news.wait_for(lambda: self._senders <= 0, max(0.0, deadline - time.monotonic()))
            return tuple(self._posted)

    def found(self, message: Message, copy: Copy) -> None:
        """Record that a message was read; the first copy counts."""
        with self._news:
            self._copies.setdefault(message.identity, copy)
            self._news.notify_all()

    def copy(self, message: Message, *, deadline: float) -> Copy | None:
        """Wait until a message was read by anyone; None when nobody will."""
        with self._news:
            self._news.wait_for(
                lambda: message.identity in self._copies or self._readers <= 0,
                max(0.0, deadline - time.monotonic()),
            )
            return self._copies.get(message.identity)


def identify(content: bytes, messages: Collection[Message]) -> Message | None:
    """Find out which message this is, by its Message-ID."""
    head = _with_crlf(content).partition(b"\r\n\r\n")[0]
    return next((one for one in messages if one.identity.encode() in head), None)
