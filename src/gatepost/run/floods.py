"""A flood of one kind of line leaves room for all others.

Lines are limited by their process and kind, as the gate's own are: a burst, and a few in a second
after that. Lines that are left out are counted and reported. Lines about clients and messages, of
which there are as many as there is traffic (`Process.events`), have a limit that no mail server
reaches.

A kind is the level and the first words of the message, without what a client said. A level has a
table of its own, so no flood of warnings leaves out the error that says why mail stopped.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

BURST = 50
"""Lines of one kind at once."""
PER_SECOND = 2.0
"""Lines of one kind a second after that: 26 MB a day."""
EVENTS_BURST = 50_000
EVENTS_PER_SECOND = 2_000.0
_TOLD_SECONDS = 10.0
"""Seconds between two reports of how many lines of a kind were left out."""
_LOOK_SECONDS = 1.0
"""Seconds between two searches through all kinds."""
_QUIET_SECONDS = 300.0
"""A kind that was quiet for so long is forgotten: it has its whole burst again anyway."""
_KINDS = 200
"""So many kinds of a level are told apart; those beyond are one, for words may be a stranger's."""
_WORDS = 6
_LONGEST = 300
"""Bytes of a message that are read."""
_HEAD = re.compile(
    # The date, and the host if a process with its number follows.
    rb"(?:[A-Z][a-z]{2} [ \d]\d [\d:]{8} (?:\S+ (?=\S+\[\d+\]: ))?|\d{4}-\d\d-\d\dT\S+ )?"
    # The process, with its user and session.
    rb"(?:[\w/.-]+(?:[(<\[][^:]*)?: (?=(?:[Ff]atal|[Pp]anic|[Ee]rror|[Ww]arning|Info|Debug): ))?"
    # The level, in words or in three letters.
    rb"(?:(fatal|panic|error|Fatal|Panic|Error|ERR|FTL)(?=:? ))?"
)
_SAID = re.compile(rb"[\"'<\[]")
"""The beginning of a quotation or an address: what follows may be a client's words."""
_NAMED = re.compile(rb"(?:hostname|[Mm]ailbox) \S+")
"""The name of a client's host, or of a mailbox."""
_PUNCTUATION = b",:;()"
_OTHERS = b""
_TRAFFIC = b"traffic"
"""The level of lines about clients and messages; no daemon has one of that name."""


@dataclass(slots=True)
class _Kind:
    tokens: float
    updated: float
    left_out: int = 0
    told: float = 0.0
    sample: bytes = b""


class Limits:
    """The limits of what one process may write."""

    def __init__(self, events: str = "", clock: Callable[[], float] = time.monotonic) -> None:
        """Take the pattern of lines about traffic, whose first group is their kind."""
        self._events = re.compile(events.encode()) if events else None
        self._clock = clock
        self._kinds: defaultdict[bytes, dict[bytes, _Kind]] = defaultdict(dict)
        self._look = self._clock() + _LOOK_SECONDS

    def admitted(self, lines: list[bytes]) -> list[bytes]:
        """Return the lines that may be written."""
        now = self._clock()
        return [line for line in lines if self._admits(line, now)]

    def left_out(self) -> list[str]:
        """Return how many lines were left out since the last report, a sentence for each kind."""
        now = self._clock()
        if now < self._look:
            return []
        self._look = now + _LOOK_SECONDS
        told = []
        for level, kinds in self._kinds.items():
            for kind in kinds.values():
                if kind.left_out and now - kind.told >= _TOLD_SECONDS:
                    sample = kind.sample.decode(errors="replace")[:120]
                    told.append(
                        f"{kind.left_out:,} more lines of this kind were left out: {sample}"
                    )
                    kind.left_out, kind.told = 0, now
            self._kinds[level] = {
                name: kind for name, kind in kinds.items() if now - kind.updated < _QUIET_SECONDS
            }
        return told

    def _admits(self, line: bytes, now: float) -> bool:
        event = self._events.match(line) if self._events else None
        if event:
            level, name, burst, rate = _TRAFFIC, event[1], EVENTS_BURST, EVENTS_PER_SECOND
        else:
            (level, name), burst, rate = _kind(line), BURST, PER_SECOND
        kinds = self._kinds[level]
        kind = kinds.get(name)
        if kind is None:
            if len(kinds) >= _KINDS:
                name = _OTHERS
            kind = kinds.setdefault(name, _Kind(burst, now, told=now))
        kind.tokens = min(burst, kind.tokens + (now - kind.updated) * rate)
        kind.updated = now
        if kind.tokens < 1:
            kind.left_out += 1
            kind.sample = line
            return False
        kind.tokens -= 1
        return True


def _kind(line: bytes) -> tuple[bytes, bytes]:
    """Return the level of trouble, empty for none, and the first words of the message."""
    head = _HEAD.match(line)
    assert head  # noqa: S101 - all of it is optional
    message = _SAID.split(line[head.end() : head.end() + _LONGEST], 1)[0]
    if b"hostname " in message or b"ailbox " in message:
        message = _NAMED.sub(b"", message)
    words = message.translate(None, _PUNCTUATION).split()
    # No numbers, times or addresses.
    return head[1] or b"", b" ".join([word for word in words if word.isalpha()][:_WORDS])
