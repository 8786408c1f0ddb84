"""Answers whether any of the mailboxes behind an alias can take a message.

Postfix asks about one recipient, and Dovecot answers for one mailbox. For an alias this process
asks Dovecot about one mailbox after another, until one has room. Both sides speak Postfix's policy
protocol (SMTPD_POLICY_README). Dovecot finds the mailboxes: `gatepost.accounts.lookups.taker` names
them by their number, so no database is needed here.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass

from gatepost.accounts.lookups import JUDGED, taker
from gatepost.journal import Journal
from gatepost.sasl import NOBODY
from gatepost.sasl.store import Streams, connect

ANSWER_SECONDS = 8.0
"""Seconds that all questions about one alias may take, waiting included; Postfix waits ten."""
AT_ONCE = 16
"""Aliases that are asked about at the same time. More wait, so a flood does not take all of
Dovecot's processes, which answer for single mailboxes as well."""
LINE_BYTES = 8192
"""The longest line of a question or an answer."""
_ATTRIBUTES = 100
"""The most attributes of a question; Postfix 3.10 has some thirty."""
_REQUEST_SECONDS = 10.0

TAKEN = b"DUNNO"
"""The message can be taken, or nobody knows: other restrictions of Postfix have their say."""
_REFUSAL = re.compile(rb"([45][0-9]{2}|DEFER|DEFER_IF_PERMIT|REJECT)( [ -~]{1,500})?")
_TEMPORARY = (b"4", b"DEFER")


@dataclass(frozen=True, slots=True)
class _Question:
    """A question of Postfix: whether the recipient can take a message of this size, in bytes."""

    recipient: str
    size: int

    def about(self, place: int) -> bytes:
        """Return the question to Dovecot about one mailbox behind the recipient."""
        # Only what was checked is passed on: a name of safe characters, and a number.
        return (
            "request=smtpd_access_policy\nprotocol_state=RCPT\n"
            f"recipient={taker(place, self.recipient)}\nsize={self.size}\n\n"
        ).encode()


class Takers:
    """Answers processes of Postfix by asking the mail store."""

    def __init__(self, server: str, journal: Journal, *, seconds: float = ANSWER_SECONDS) -> None:
        """Take where the mail store answers about quotas: ``HOST:PORT``, or a socket's path."""
        self._server = server
        self._journal = journal
        self._seconds = seconds
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one process of Postfix until it hangs up, or says what is no question."""
        try:
            while first := await reader.readline():
                async with asyncio.timeout(_REQUEST_SECONDS):
                    question = await _question(first, reader)
                writer.write(b"action=" + await self._answer(question) + b"\n\n")
                await writer.drain()
        except (OSError, ValueError):
            # Postfix hung up, or the other end is not Postfix. A time-out is an OSError too.
            pass
        finally:
            writer.close()

    async def _answer(self, question: _Question) -> bytes:
        try:
            async with asyncio.timeout(self._seconds), self._slots:
                streams = await connect(self._server)
                try:
                    return await _ask(question, streams)
                finally:
                    streams[1].close()
        except TimeoutError:
            problem = f"no answer within {self._seconds:g} s"
        except (OSError, ValueError) as error:
            problem = getattr(error, "strerror", None) or str(error)
        self._journal.limited(
            problem,
            f"mail for an alias is taken without a look at quotas: {self._server}: {problem}",
        )
        return TAKEN


async def _question(first: bytes, reader: asyncio.StreamReader) -> _Question:
    """Read the rest of a question. Raises `ValueError` when it is none, or has no end."""
    found: dict[bytes, bytes] = {}
    line = first
    for _ in range(_ATTRIBUTES):
        if line == b"\n":
            recipient = found.get(b"recipient", b"").decode("ascii")
            size = found.get(b"size", b"")
            return _Question(recipient, int(size) if re.fullmatch(rb"[0-9]{1,18}", size) else 0)
        name, equals, value = line.removesuffix(b"\n").partition(b"=")
        if not equals or not line.endswith(b"\n"):
            raise ValueError("not an attribute")
        found.setdefault(name, value)
        line = await reader.readline()
    raise ValueError("too many attributes")


async def _ask(question: _Question, streams: Streams) -> bytes:
    """Ask about one mailbox after another; return the refusal when all of them refuse.

    A temporary refusal wins over permanent ones: that mailbox may have room.
    """
    refusal = b""
    for place in range(1, JUDGED):
        action = await _action(question.about(place), streams)
        if action == NOBODY:
            break
        if not _REFUSAL.fullmatch(action):
            return TAKEN
        if not refusal or (action.startswith(_TEMPORARY) > refusal.startswith(_TEMPORARY)):
            refusal = action
    return refusal or TAKEN


async def _action(question: bytes, streams: Streams) -> bytes:
    reader, writer = streams
    writer.write(question)
    await writer.drain()
    line, end = await reader.readline(), await reader.readline()
    if not line.startswith(b"action=") or end != b"\n":
        raise ValueError("the answer is none")
    return line[len(b"action=") :].rstrip(b"\n")
