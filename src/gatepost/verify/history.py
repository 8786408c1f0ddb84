"""What stands at the end of a log, newest line first."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

_BLOCK = 1 << 16


def newest_first(path: Path, *, most: int, deadline: float) -> Iterator[str]:
    """Yield the lines of a log and of the file that was renamed from it last (``PATH.1``).

    Reads at most so many bytes, and ends at the deadline; a line cut off by the limit is left out.
    """
    for file in (path, path.with_name(f"{path.name}.1")):
        try:
            with file.open("rb") as stream:
                size = stream.seek(0, os.SEEK_END)
                for line in _backwards(stream.fileno(), size, max(0, size - most)):
                    if time.monotonic() > deadline:
                        return
                    yield line.decode(errors="replace")
        except OSError:
            continue
        most -= size
        if most <= 0:
            return


def _backwards(descriptor: int, end: int, begin: int) -> Iterator[bytes]:
    """Yield the whole lines between two places of a file, the last one first."""
    rest = b""
    while end > begin:
        start = max(begin, end - _BLOCK)
        block = os.pread(descriptor, end - start, start) + rest
        end = start
        rest, *lines = block.split(b"\n")
        yield from (line for line in reversed(lines) if line)
    if rest and begin == 0:
        yield rest
