"""Reads the log of all processes: what comes, and what came before, newest first.

The log is renamed when it has grown too large (`gatepost.run.logs`). What was written just before
that is read first, then the new file from its beginning.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_MOST_AT_ONCE = 1 << 20
_BLOCK = 1 << 16


class LogReader:
    """Follows a log, through renamings and when it is made shorter."""

    def __init__(self, path: Path) -> None:
        """Name the file, which need not exist; what is in it is read until `skip`."""
        self.path = path
        self._stream: BinaryIO | None = None
        self._partial = b""

    def skip(self) -> bool:
        """Go to the present end, to read only what follows; tell whether there is a file."""
        self.close()
        try:
            self._stream = self.path.open("rb")
        except OSError:
            return False
        self._stream.seek(0, os.SEEK_END)
        return True

    def read(self) -> Iterator[str]:
        """Yield the complete lines that have come since, and wait for none.

        Raises `OSError` when the file is there and cannot be read.
        """
        while True:
            # Asked before reading: what was written until the renaming is read first.
            renamed = self._renamed()
            if self._stream:
                yield from self._lines(self._stream)
            if not renamed:
                return
            self.close()
            try:
                self._stream = self.path.open("rb")
            except FileNotFoundError:  # renamed again at this moment
                return

    def close(self) -> None:
        """Close the file."""
        if self._stream:
            self._stream.close()
        self._stream, self._partial = None, b""

    def _lines(self, stream: BinaryIO) -> Iterator[str]:
        if os.fstat(stream.fileno()).st_size < stream.tell():
            stream.seek(0)
            self._partial = b""
        while more := stream.read(_MOST_AT_ONCE):
            *lines, self._partial = (self._partial + more).split(b"\n")
            for line in lines:
                yield line.decode(errors="replace")

    def _renamed(self) -> bool:
        """Tell whether the path leads to another file than the open one."""
        try:
            there = self.path.stat()
        except FileNotFoundError:
            return False
        return self._stream is None or not os.path.samestat(os.fstat(self._stream.fileno()), there)


def newest_first(
    path: Path, *, most: int | None = None, deadline: float | None = None
) -> Iterator[str]:
    """Yield the lines of a log and of the file that was renamed from it last (``PATH.1``).

    Reads at most so many bytes, and ends at the deadline (of `time.monotonic`); a line cut off by
    the limit is left out. A file that cannot be read is passed over.
    """
    for file in (path, path.with_name(f"{path.name}.1")):
        try:
            with file.open("rb") as stream:
                size = stream.seek(0, os.SEEK_END)
                begin = 0 if most is None else max(0, size - most)
                for line in _backwards(stream.fileno(), size, begin):
                    if deadline is not None and time.monotonic() > deadline:
                        return
                    yield line.decode(errors="replace")
        except OSError:
            continue
        if most is not None:
            most -= size
            if most <= 0:
                return


def _backwards(descriptor: int, end: int, begin: int) -> Iterator[bytes]:
    """Yield the complete lines between two places of a file, the last one first."""
    rest = b""
    while end > begin:
        start = max(begin, end - _BLOCK)
        block = os.pread(descriptor, end - start, start) + rest
        end = start
        # Not `splitlines`: a process's own words may hold a carriage return.
        rest, *lines = block.split(b"\n")
        yield from (line for line in reversed(lines) if line)
    if rest and begin == 0:
        yield rest
