"""One log line for each connection that was refused, and no more than a disk can bear."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TextIO

_BURST = 20
"""Lines of one kind at once."""
_PER_SECOND = 2.0
"""Lines of one kind a second after that."""


@dataclass(slots=True)
class _Kind:
    tokens: float
    updated: float
    suppressed: int = 0


class Journal:
    """Writes log lines, rate-limited by their kind."""

    def __init__(
        self, stream: TextIO = sys.stderr, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Write to a stream; every line carries the time of day in UTC."""
        self._stream = stream
        self._clock = clock
        self._kinds: dict[str, _Kind] = {}

    def always(self, text: str) -> None:
        """Write a line that is never suppressed."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        # When nobody reads the log any more, clients are still to be served.
        with contextlib.suppress(OSError):
            self._stream.write(f"{stamp} {text}\n")
            self._stream.flush()

    def limited(self, kind: str, text: str) -> None:
        """Write a line of a kind that a flood may bring by the thousand."""
        now = self._clock()
        seen = self._kinds.setdefault(kind, _Kind(_BURST, now))
        seen.tokens = min(_BURST, seen.tokens + (now - seen.updated) * _PER_SECOND)
        seen.updated = now
        if seen.tokens < 1:
            seen.suppressed += 1
            return
        seen.tokens -= 1
        if seen.suppressed:
            text = f"{text} ({seen.suppressed} more lines of this kind were left out)"
            seen.suppressed = 0
        self.always(text)
