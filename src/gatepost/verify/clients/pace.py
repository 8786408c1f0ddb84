"""Connections that lie apart in time."""

from __future__ import annotations

import threading
import time


class Pace:
    """Gives out moments with a gap between them, to whichever thread asks."""

    def __init__(self, gap_seconds: float) -> None:
        """Give the first moment at once."""
        self._gap_seconds = gap_seconds
        self._next = float("-inf")
        self._lock = threading.Lock()

    def wait(self, deadline: float) -> None:
        """Wait for the next moment, at most until the deadline (of `time.monotonic`)."""
        with self._lock:
            moment = max(time.monotonic(), self._next)
            self._next = moment + self._gap_seconds
        time.sleep(max(0.0, min(moment, deadline) - time.monotonic()))
