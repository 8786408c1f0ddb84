"""Processor time by process, of a server's whole tree while it works.

Each process is looked at twenty times a second, so of one that ends the last twentieth of a second
is lost; the kernel counts nanoseconds (``schedstat``, proc(5)), not ticks.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

_PROC = Path("/proc")
_PAUSE_SECONDS = 0.05
_FAMILIES = {"master": "Postfix", "dovecot": "Dovecot"}
"""Name of the parent → whose process it is: both daemons have one named ``lmtp``."""


@dataclass(frozen=True)
class _Process:
    """One process, known by number and start."""

    pid: int
    start: str
    name: str
    parent: int


@dataclass
class ProcessorTime:
    """What a server's processes have used, by name."""

    roots: frozenset[int]
    """Process ids of the supervisors, whose descendants count."""
    _first: dict[_Process, int] = field(default_factory=dict)
    _last: dict[_Process, int] = field(default_factory=dict)

    def look(self, *, begin: bool = False) -> None:
        """Read what each process has used by now."""
        found = dict(_processes())
        tree = set(self.roots)
        for pid in sorted(found):
            with contextlib.suppress(KeyError):
                line = [pid]
                while line[-1] not in tree and line[-1] > 1:
                    line.append(found[line[-1]].parent)
                if line[-1] in tree:
                    tree.update(line)
        for pid in tree & found.keys():
            with contextlib.suppress(OSError):
                used = _used(pid)
                self._last[found[pid]] = used
                if begin:
                    self._first[found[pid]] = used

    def milliseconds(self) -> dict[str, float]:
        """Return what each name has used between the first look and the last, the most first."""
        by_pid = {one.pid: one for one in self._last}
        total: defaultdict[str, int] = defaultdict(int)
        for process, used in self._last.items():
            parent = by_pid.get(process.parent)
            family = _FAMILIES.get(parent.name, "") if parent else ""
            total[f"{family} {process.name}".strip()] += used - self._first.get(process, 0)
        return {
            name: used / 1e6
            for name, used in sorted(total.items(), key=lambda item: item[1], reverse=True)
        }


@contextlib.contextmanager
def measured(roots: Iterable[int]) -> Iterator[ProcessorTime]:
    """Measure for as long as the block lasts."""
    time = ProcessorTime(frozenset(roots))
    time.look(begin=True)
    done = threading.Event()

    def watch() -> None:
        while not done.wait(_PAUSE_SECONDS):
            time.look()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield time
    finally:
        done.set()
        watcher.join()
        time.look()


def _processes() -> Iterator[tuple[int, _Process]]:
    for folder in os.scandir(_PROC):
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                text = (_PROC / folder.name / "stat").read_text(errors="replace")
                name, _, rest = text.partition("(")[2].rpartition(")")
                words = rest.split()
                pid = int(folder.name)
                yield pid, _Process(pid, words[19], name, int(words[1]))


def _used(pid: int) -> int:
    """Return nanoseconds on a processor, of all threads that are left."""
    return sum(
        int((Path(task.path) / "schedstat").read_text().split()[0])
        for task in os.scandir(_PROC / str(pid) / "task")
    )
