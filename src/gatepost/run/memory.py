"""A list of what the supervisor has started: it outlives a supervisor that is killed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from gatepost.model import Home
from gatepost.run import rights


@dataclass(frozen=True, slots=True)
class Started:
    """A child process and the session that it leads."""

    pid: int
    created: float
    """Seconds since the epoch: another process may have the number by now."""

    def is_gone(self) -> bool:
        """Tell whether another program has the number; while the session lives, none gets it."""
        try:
            return abs(psutil.Process(self.pid).create_time() - self.created) > 1
        except psutil.NoSuchProcess:
            return False


def remember(home: Home, started: Iterable[Started]) -> None:
    """Write down the processes that run."""
    partial = _file(home).with_suffix(".new")
    descriptor = rights.open_own(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        json.dump([asdict(one) for one in started], stream)
    partial.replace(_file(home))


def recall(home: Home) -> tuple[Started, ...]:
    """Return the processes that ran when this was last written; none after an orderly end."""
    try:
        found = tuple(Started(**row) for row in json.loads(_file(home).read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return ()
    return tuple(one for one in found if not one.is_gone())


def forget(home: Home) -> None:
    """Remove the list: nothing runs any more."""
    _file(home).unlink(missing_ok=True)


def _file(home: Home) -> Path:
    return home.run / "processes.json"
