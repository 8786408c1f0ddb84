"""Sources of the daemons' log lines: the file of this machine, or the logs of pods."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gatepost.model.words import Command, Text, Words
from gatepost.run.log_reader import LogReader, newest_first


@dataclass(frozen=True, slots=True)
class Absence:
    """The reason why there is nothing to read."""

    observed: str
    fix: Words


class Log(Protocol):
    """The daemons' log, line by line, from a moment on."""

    def begin(self) -> None:
        """Take the log's end now, so that all that follows is read."""

    def read(self) -> Iterator[str]:
        """Yield the lines that have come since it was last read, and wait for none.

        May raise `OSError`, which passes.
        """

    def earlier(self, *, most_bytes: int, deadline: float) -> Iterator[str]:
        """Yield the lines before the beginning, the latest first, so many bytes at most."""

    def absence(self, daemon: str) -> Absence | None:
        """Say why a daemon's words could not be read at the beginning; None when they could."""

    def close(self) -> None:
        """Read no more."""


class LogFile:
    """``gatepost.log``, which all daemons of a machine write into."""

    def __init__(self, path: Path) -> None:
        """Name the file, which need not exist."""
        self.path = path
        self._reader = LogReader(path)
        self._existed = False

    def begin(self) -> None:
        """Go to its end."""
        self._existed = self._reader.skip()

    def read(self) -> Iterator[str]:
        """Yield complete lines, through renamings."""
        return self._reader.read()

    def earlier(self, *, most_bytes: int, deadline: float) -> Iterator[str]:
        """Yield lines of the file, and of the one that was renamed from it last."""
        return newest_first(self.path, most=most_bytes, deadline=deadline)

    def absence(self, daemon: str) -> Absence | None:  # noqa: ARG002  one file for all daemons
        """Say that the file was not there."""
        if self._existed:
            return None
        return Absence(
            f"no log to read at {self.path}",
            Text(
                "Run verify on the machine of the server, where `",
                Command("up"),
                "` writes its log.",
            ),
        )

    def close(self) -> None:
        """Close the file."""
        self._reader.close()
