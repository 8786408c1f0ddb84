"""The daemons' observations of clients, read from their log while probes run."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Self

from gatepost import ip_addresses
from gatepost.contracts import Plugin
from gatepost.model import Address, Observation
from gatepost.verify.evidence.logs import Absence, Log

_PREFIX = re.compile(r"^[\w.-]+ \| ")
_POLL_SECONDS = 0.05


def is_about(observation: Observation, client: Address) -> bool:
    """Tell whether an observation names exactly this address and port."""
    if observation.port != client.port:
        return False
    with suppress(ValueError):
        return ip_addresses.address(observation.client) == ip_addresses.address(client.host)
    return False


class LogWitness:
    """Follows a log from its present end and has the plug-ins read it."""

    def __init__(self, log: Log, plugins: Iterable[Plugin]) -> None:
        """Take the log's end now, so that all that follows is seen."""
        self._log = log
        self._readers = tuple(plugin.observe for plugin in plugins if plugin.observe)
        self._observations: list[Observation] = []
        self._news = threading.Condition()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="witness", daemon=True)
        log.begin()

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
        self._log.close()

    def absence(self, daemon: str) -> Absence | None:
        """Return why a daemon's log cannot be read; None when it can."""
        return self._log.absence(daemon)

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
        """Yield earlier observations, the latest first, from so many bytes of log at most."""
        for line in self._log.earlier(most_bytes=most_bytes, deadline=deadline):
            if observation := self._understood(line):
                yield observation

    def _follow(self) -> None:
        while not self._stop.wait(_POLL_SECONDS):
            # The folder is being removed, or rights changed: nothing to read.
            with suppress(OSError):
                for line in self._log.read():
                    self._keep(line)

    def _keep(self, line: str) -> None:
        if observation := self._understood(line):
            with self._news:
                self._observations.append(observation)
                self._news.notify_all()

    def _understood(self, line: str) -> Observation | None:
        words = _PREFIX.sub("", line, count=1)
        for observe in self._readers:
            try:
                observation = observe(words)
            except ValueError:  # a plug-in that stumbles over a stranger's words is no witness
                continue
            if observation:
                return observation
        return None
