"""Reads a server's log as it grows, and picks out what sounds like trouble."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

TROUBLE = re.compile(r"warning|error|fatal|panic|traceback| WRN | ERR ", re.IGNORECASE)


@dataclass
class LogWatch:
    """What a log has said since it was opened."""

    file: Path
    expected: Mapping[str, str]
    """Pattern of a line that sounds like trouble and is none → why it is there."""
    counted: Mapping[str, str]
    """Name → pattern of lines to count."""
    reasons: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    unexpected: list[str] = field(default_factory=list)
    _stream: BinaryIO | None = None
    _partial: bytes = b""

    def start(self) -> None:
        """Look from the log's present end on."""
        self._stream = self.file.open("rb")
        self._stream.seek(0, 2)

    def read(self) -> None:
        """Take all that is new; call it more often than the log is renamed."""
        assert self._stream, "it was not started"
        self._take(self._stream.read())
        renamed = self.file.exists() and not self.file.samefile(
            f"/proc/self/fd/{self._stream.fileno()}"
        )
        if renamed:
            # Lines may have come between the reading and the renaming.
            self._take(self._stream.read())
            self._stream.close()
            self._stream = self.file.open("rb")
            self._take(self._stream.read())

    def close(self) -> None:
        """Look no more."""
        if self._stream:
            self._stream.close()

    def _take(self, block: bytes) -> None:
        *lines, self._partial = (self._partial + block).split(b"\n")
        for line in lines:
            self._judge(line.decode(errors="replace"))

    def _judge(self, line: str) -> None:
        for name, pattern in self.counted.items():
            if re.search(pattern, line):
                self.counts[name] += 1
        if not TROUBLE.search(line):
            return
        for pattern, reason in self.expected.items():
            if re.search(pattern, line):
                self.reasons[reason] += 1
                return
        self.unexpected.append(line)
