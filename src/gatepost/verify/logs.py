"""Where the daemons' words come from: the log file of this machine, or the logs of pods."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from gatepost.verify.history import newest_first

_MOST_BYTES_AT_ONCE = 1 << 20


@dataclass(frozen=True, slots=True)
class Absence:
    """Why there is nothing to read."""

    observed: str
    fix: str


class Log(Protocol):
    """What daemons write, line by line, from a moment on."""

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
    """``gatepost.log``, which all daemons of a machine write into.

    Rotation is followed: the rest of the old file is read first, then the new one from its
    beginning; a file that became shorter is read anew.
    """

    def __init__(self, path: Path) -> None:
        """Name the file, which need not exist."""
        self.path = path
        self._file: BinaryIO | None = None
        self._rest = b""
        self._existed = False

    def begin(self) -> None:
        """Open the file at its end."""
        self._existed = self._open(at_end=True)

    def read(self) -> Iterator[str]:
        """Yield whole lines."""
        if not self._file and not self._open(at_end=False):
            return
        while self._file:
            yield from self._read_rest(self._file)
            if not self._replaced(self._file):
                return
            self._file.close()
            self._file = None
            self._open(at_end=False)

    def earlier(self, *, most_bytes: int, deadline: float) -> Iterator[str]:
        """Yield lines of the file, and of the one that was renamed from it last."""
        return newest_first(self.path, most=most_bytes, deadline=deadline)

    def absence(self, daemon: str) -> Absence | None:  # noqa: ARG002  one file for all daemons
        """Say that the file was not there."""
        if self._existed:
            return None
        return Absence(
            f"no log to read at {self.path}",
            "Run verify on the machine of the server, where `gatepost up` writes its log.",
        )

    def close(self) -> None:
        """Close the file."""
        if self._file:
            self._file.close()

    def _read_rest(self, file: BinaryIO) -> Iterator[str]:
        if os.fstat(file.fileno()).st_size < file.tell():
            file.seek(0)
            self._rest = b""
        while more := file.read(_MOST_BYTES_AT_ONCE):
            *lines, self._rest = (self._rest + more).split(b"\n")
            for line in lines:
                yield line.decode(errors="replace")

    def _replaced(self, file: BinaryIO) -> bool:
        """Tell whether the path now leads to another file that can be read."""
        with suppress(OSError):
            return not os.path.samestat(os.fstat(file.fileno()), self.path.stat())
        return False

    def _open(self, *, at_end: bool) -> bool:
        try:
            self._file = self.path.open("rb")
        except OSError:
            return False
        self._rest = b""
        if at_end:
            self._file.seek(0, os.SEEK_END)
        return True
