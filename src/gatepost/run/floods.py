"""A flood of one kind of line leaves room for all others.

Lines are limited by their process and kind, as the gate's own are: a burst, and a few in a second
after that. What is left out is counted and told. Lines about clients and messages, of which there
are as many as there is traffic (`Process.events`), have a limit that no mail server reaches.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

BURST = 50
"""Lines of one kind at once."""
PER_SECOND = 2.0
"""Lines of one kind a second after that: 26 MB a day."""
EVENTS_BURST = 50_000
EVENTS_PER_SECOND = 2_000.0
_TOLD_SECONDS = 10.0
"""So often it is told how many lines of a kind were left out."""
_KINDS = 200
"""So many kinds are told apart; those beyond are one: a stranger's words may make new ones."""
_WORDS = 6
_WORD = re.compile(rb"(?<![^\s(\[\"'])[A-Za-z][a-z]+(?=[\s,:;.)\]\"']|$)")
"""Whole words: no names, numbers, times or addresses."""
_OTHERS = b""


@dataclass(slots=True)
class _Kind:
    tokens: float
    updated: float
    left_out: int = 0
    told: float = 0.0
    sample: bytes = b""


class Limits:
    """What one process may write."""

    def __init__(self, events: str = "", clock: Callable[[], float] = time.monotonic) -> None:
        """Take the pattern of lines about traffic, whose first group is their kind."""
        self._events = re.compile(events.encode()) if events else None
        self._clock = clock
        self._kinds: dict[bytes, _Kind] = {}

    def admitted(self, lines: list[bytes]) -> list[bytes]:
        """Return the lines that may be written."""
        now = self._clock()
        return [line for line in lines if self._admits(line, now)]

    def left_out(self) -> list[str]:
        """Tell of the lines that were left out since it was last told, a sentence for each kind."""
        now = self._clock()
        told = []
        for kind in self._kinds.values():
            if kind.left_out and now - kind.told >= _TOLD_SECONDS:
                sample = kind.sample.decode(errors="replace")[:120]
                told.append(f"{kind.left_out:,} more lines of this kind were left out: {sample}")
                kind.left_out, kind.told = 0, now
        return told

    def _admits(self, line: bytes, now: float) -> bool:
        event = self._events.match(line) if self._events else None
        if event:
            name, burst, rate = event[1], EVENTS_BURST, EVENTS_PER_SECOND
        else:
            name, burst, rate = b" ".join(_WORD.findall(line)[:_WORDS]), BURST, PER_SECOND
        kind = self._kinds.get(name)
        if kind is None:
            if len(self._kinds) >= _KINDS:
                name = _OTHERS
            kind = self._kinds.setdefault(name, _Kind(burst, now, told=now))
        kind.tokens = min(burst, kind.tokens + (now - kind.updated) * rate)
        kind.updated = now
        if kind.tokens < 1:
            kind.left_out += 1
            kind.sample = line
            return False
        kind.tokens -= 1
        return True
