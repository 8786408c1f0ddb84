"""One log for all processes: written by the supervisor, read by people and by ``verify``.

Each line is ``NAME | what the process wrote``. A file that has grown too large is renamed to
``gatepost.log.1`` and so on.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from gatepost.model import Home
from gatepost.run import rights
from gatepost.run.floods import Limits
from gatepost.run.log_reader import LogReader, newest_first

SEPARATOR = " | "
OWN_NAME = "gatepost"
"""The name under which the supervisor itself writes."""

_LARGEST = 20_000_000
_KEPT = 5
_REMEMBERED = 60
_COLOURS = ("\x1b[36m", "\x1b[33m", "\x1b[35m", "\x1b[32m", "\x1b[34m")
_PLAIN = "\x1b[0m"
_PAUSE = 0.1
"""Seconds between looks of `follow`."""
_CONTROL = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]")
"""Characters that a terminal obeys, in ASCII and UTF-8; a client's words may hold them."""


def path(home: Home) -> Path:
    """Return where the log is."""
    return home.logs / "gatepost.log"


class LogStream:
    """Takes what processes write, a block at a time, and puts the name before each line."""

    def __init__(self, file: Path | None, terminal: int | None = None) -> None:
        """Write to a file, to a descriptor such as standard output, or to both."""
        self._file = file
        self._terminal = terminal
        self._colour = terminal is not None and os.isatty(terminal)
        self._partial: dict[str, bytes] = {}
        self._last: dict[str, deque[bytes]] = {}
        self._limits: dict[str, Limits] = {}
        self._size = 0
        self._descriptor = -1
        if file:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._open(file)

    def limit(self, name: str, events: str) -> None:
        """Begin to limit a process's lines; `events` as in `Process`."""
        self._limits[name] = Limits(events)

    def feed(self, name: str, block: bytes) -> None:
        """Take a block of a process's output; an unfinished line waits for its end."""
        block = self._partial.pop(name, b"") + block
        lines, end, rest = block.rpartition(b"\n")
        if rest:
            self._partial[name] = rest
        if not end:
            return
        if limits := self._limits.get(name):
            admitted = limits.admitted(lines.split(b"\n"))
            for sentence in limits.left_out():
                self.say(f"{name}: {sentence}")
            if not admitted:
                return
            lines = b"\n".join(admitted)
        lines = _CONTROL.sub(_escaped, lines)
        self._last.setdefault(name, deque(maxlen=_REMEMBERED)).extend(
            lines.split(b"\n")[-_REMEMBERED:]
        )
        prefix = f"{name}{SEPARATOR}".encode()
        self._to_file(prefix + lines.replace(b"\n", b"\n" + prefix) + b"\n")
        if self._terminal is not None:
            if self._colour:
                colour = _COLOURS[sum(name.encode()) % len(_COLOURS)]
                prefix = f"{colour}{name}{SEPARATOR}{_PLAIN}".encode()
            _write(self._terminal, prefix + lines.replace(b"\n", b"\n" + prefix) + b"\n")

    def say(self, text: str) -> None:
        """Write a line of the supervisor's own."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self.feed(OWN_NAME, f"{stamp} {text}\n".encode())

    def finish(self, name: str) -> None:
        """Write the unfinished line of a process that has ended."""
        if self._partial.get(name):
            self.feed(name, b"\n")

    def last(self, name: str) -> list[str]:
        """Return the last lines of a process."""
        return [line.decode(errors="replace") for line in self._last.get(name, ())]

    def _open(self, file: Path) -> None:
        self._descriptor = rights.open_own(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        self._size = os.fstat(self._descriptor).st_size

    def _to_file(self, text: bytes) -> None:
        if self._file is None:
            return
        if self._size > _LARGEST:
            # A disk that is full has no room for another file: go on with this one.
            with contextlib.suppress(OSError):
                self._rotate()
        _write(self._descriptor, text)
        self._size += len(text)

    def _rotate(self) -> None:
        assert self._file  # noqa: S101
        old = self._descriptor
        fresh = self._file.with_name(f"{self._file.name}.new")
        # Made first: when that fails nothing has changed.
        self._open(fresh)
        for number in range(_KEPT - 1, 0, -1):
            older = self._file.with_name(f"{self._file.name}.{number}")
            if older.exists():
                older.rename(self._file.with_name(f"{self._file.name}.{number + 1}"))
        # An admin may have deleted it to make room.
        with contextlib.suppress(FileNotFoundError):
            self._file.rename(self._file.with_name(f"{self._file.name}.1"))
        fresh.rename(self._file)
        os.close(old)


def _escaped(control: re.Match[bytes]) -> bytes:
    return b"\\x%02x" % control[0][-1]


def _write(descriptor: int, text: bytes) -> None:
    try:
        while text:
            text = text[os.write(descriptor, text) :]
    except OSError as error:
        # A full disk or a closed terminal must not end the mail server; in the background nobody
        # reads standard error either.
        with contextlib.suppress(OSError):
            os.write(sys.stderr.fileno(), f"log: {error}\n".encode())


def tail(file: Path, count: int, name: str | None = None) -> list[str]:
    """Return the last lines of a log, oldest first; of one process when it is named.

    Looks into the file that was renamed last as well.
    """
    return list(islice(filter(_of(name), newest_first(file)), count))[::-1]


def follow(file: Path, name: str | None = None) -> Iterator[str]:
    """Yield lines as they are written, for ever; a renamed file is followed to its successor."""
    reader = LogReader(file)
    reader.skip()
    while True:
        yield from filter(_of(name), reader.read())
        time.sleep(_PAUSE)


def _of(name: str | None) -> Callable[[str], bool]:
    """Return whether a line is of one process; with None, of any."""
    prefix = f"{name}{SEPARATOR}" if name else ""
    return lambda line: line.startswith(prefix)
