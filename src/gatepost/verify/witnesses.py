"""What the daemons say they saw, read from the server's log while probes run."""

from __future__ import annotations

import ipaddress
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from gatepost.contracts import Daemon
from gatepost.model import Address, Observation
from gatepost.verify.history import newest_first

_PREFIX = re.compile(r"^[\w.-]+ \| ")
_POLL_SECONDS = 0.05
_MOST_BYTES_AT_ONCE = 1 << 20


def is_about(observation: Observation, client: Address) -> bool:
    """Tell whether an observation names exactly this address and port."""
    if observation.port != client.port:
        return False
    with suppress(ValueError):
        seen, own = ipaddress.ip_address(observation.client), ipaddress.ip_address(client.host)
        return getattr(seen, "ipv4_mapped", None) == own or seen == own
    return False


class LogWitness:
    """Follows ``gatepost.log`` from its present end and has the daemons' plug-ins read it.

    Rotation is followed: the rest of the old file is read first, then the new one from its
    beginning; a file that became shorter is read anew.
    """

    def __init__(self, path: Path, daemons: Iterable[Daemon]) -> None:
        """Take the log's end now, so that all that follows is seen."""
        self.path = path
        self._daemons = tuple(daemons)
        self._file: BinaryIO | None = None
        self._rest = b""
        self._observations: list[Observation] = []
        self._news = threading.Condition()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="witness", daemon=True)
        self.exists = self._open(at_end=True)
        """Whether there was a log at the beginning."""

    def __enter__(self) -> Self:
        """Follow the log until the block ends."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop following."""
        self._stop.set()
        self._thread.join(timeout=2)
        if self._file:
            self._file.close()

    def find(self, wanted: Callable[[Observation], bool], *, deadline: float) -> Observation | None:
        """Wait for an observation; None when there was none before the deadline."""
        read = 0
        with self._news:
            while True:
                for observation in self._observations[read:]:
                    if wanted(observation):
                        return observation
                read = len(self._observations)
                left = deadline - time.monotonic()
                if left <= 0 or not self._news.wait(left):
                    return None

    def all(self) -> tuple[Observation, ...]:
        """Return everything seen so far."""
        with self._news:
            return tuple(self._observations)

    def earlier(self, *, most_bytes: int, deadline: float) -> Iterator[Observation]:
        """Yield what was said before, the latest first, from so many bytes of log at most."""
        for line in newest_first(self.path, most=most_bytes, deadline=deadline):
            if observation := self._understood(line):
                yield observation

    # --- following the file ----------------------------------------------------------------------

    def _follow(self) -> None:
        while not self._stop.wait(_POLL_SECONDS):
            try:
                self._read()
            except OSError:  # the folder is being removed, or rights changed: nothing to read
                continue

    def _read(self) -> None:
        if not self._file and not self._open(at_end=False):
            return
        while self._file and self._read_rest(self._file):
            if not self._replaced(self._file):
                return
            self._file.close()
            self._file = None
            self._open(at_end=False)

    def _read_rest(self, file: BinaryIO) -> bool:
        if os.fstat(file.fileno()).st_size < file.tell():
            file.seek(0)
            self._rest = b""
        while more := file.read(_MOST_BYTES_AT_ONCE):
            *lines, self._rest = (self._rest + more).split(b"\n")
            for line in lines:
                self._hear(line.decode(errors="replace"))
        return True

    def _replaced(self, file: BinaryIO) -> bool:
        """Tell whether the path now leads to another file that can be read."""
        try:
            return not os.path.samestat(os.fstat(file.fileno()), self.path.stat())
        except OSError:
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

    def _hear(self, line: str) -> None:
        if observation := self._understood(line):
            with self._news:
                self._observations.append(observation)
                self._news.notify_all()

    def _understood(self, line: str) -> Observation | None:
        said = _PREFIX.sub("", line, count=1)
        for daemon in self._daemons:
            try:
                observation = daemon.observe(said)
            except ValueError:  # a plug-in that stumbles over a stranger's words is no witness
                continue
            if observation:
                return observation
        return None
