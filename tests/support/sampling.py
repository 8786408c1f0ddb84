"""What a server takes of its machine: memory, descriptors, processes and files, again and again."""

from __future__ import annotations

import contextlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from trend import Tolerance, grows

OURS = {
    "gatepost.run.supervise": "supervisor",
    "gatepost.plugins.gate": "gate",
    "gatepost.sasl": "sasl",
}
"""Module that Python runs → what it is."""


@dataclass(frozen=True)
class Allowed:
    """How much each sort of figure may grow from the first half of a soak to the second."""

    memory: Tolerance
    descriptors: Tolerance
    processes: Tolerance
    files: Tolerance
    sorts: Mapping[str, Tolerance] = field(default_factory=dict)
    """Sort of process that may take more memory → how much."""

    def of(self, what: str, sort: str) -> Tolerance:
        """Return how much a figure of a sort of process, or of a folder, may grow."""
        general: Tolerance = getattr(self, what)
        return self.sorts.get(sort, general) if what == "memory" else general


# OpenSSL keeps the last 20,480 TLS sessions of a login process, some 1.1 kB for each login: 24 MB
# at most, which an hour's load is far from. Dovecot has no setting for it.
KEEPS_SESSIONS = dict.fromkeys(
    (f"dovecot {protocol}-login" for protocol in ("imap", "pop3", "managesieve")),
    Tolerance(3_500_000, 0.05),
)

FINE = Allowed(
    memory=Tolerance(1_000_000, 0.05),
    descriptors=Tolerance(4, 0.1),
    processes=Tolerance(2, 0.1),
    files=Tolerance(6, 0.05),
    sorts=KEEPS_SESSIONS,
)
"""For half an hour and more: a few hundred bytes lost with each session of an hour's load are over
it."""
COARSE = Allowed(
    memory=Tolerance(2_000_000, 0.25),
    descriptors=Tolerance(12, 0.25),
    processes=Tolerance(5, 0.25),
    files=Tolerance(12, 0.1),
)
"""For a minute, in which buffers still fill and each sort of process has few sessions."""


@dataclass(frozen=True)
class Sample:
    """One look: figures by sort of process, and files by folder."""

    memory: Mapping[str, float]
    """Bytes of heap and stacks of a process of the sort, on average (``RssAnon`` in proc(5)).

    Pages of files would let the figure change when another server on the machine, which shares
    them, comes or goes.
    """
    descriptors: Mapping[str, float]
    """On average, as well: how many processes there are is told for itself."""
    processes: Mapping[str, float]
    files: Mapping[str, float]
    total_memory: float
    total_descriptors: float
    zombies: frozenset[tuple[int, float]]
    """Process id and time of start of those whose parent has not looked after them."""


def sort_of(process: psutil.Process) -> str:
    """Name what a process is: its daemon and its part in it."""
    words = process.cmdline()
    for module, name in OURS.items():
        if module in words:
            return name
    name = process.name()
    folder = Path(process.exe()).parts
    for daemon in ("postfix", "dovecot"):
        if daemon in folder:
            return f"{daemon} {name}{' worker' if name == 'auth' and '-w' in words else ''}"
    return name


def take(root: int, folders: Mapping[str, Iterable[Path]]) -> Sample:
    """Look at a process and all that descend from it, and count the files below folders."""
    memory: defaultdict[str, float] = defaultdict(float)
    descriptors: Counter[str] = Counter()
    count: Counter[str] = Counter()
    zombies = set()
    for process in family(root):
        # A process may end while it is looked at; then it counts for nothing at all.
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.status() == psutil.STATUS_ZOMBIE:
                zombies.add((process.pid, process.create_time()))
                continue
            sort = sort_of(process)
            resident, held = process.memory_info(), process.num_fds()
            memory[sort] += resident.rss - resident.shared
            descriptors[sort] += held
            count[sort] += 1
    return Sample(
        memory={sort: memory[sort] / count[sort] for sort in count},
        descriptors={sort: descriptors[sort] / count[sort] for sort in count},
        processes=count,
        files={name: sum(map(files_below, below)) for name, below in folders.items()},
        total_memory=sum(memory.values()),
        total_descriptors=sum(descriptors.values()),
        zombies=frozenset(zombies),
    )


def family(root: int) -> list[psutil.Process]:
    """Return a process and all that descend from it, having looked once at all there are.

    `Process.info` has the name of each, also of those that have ended since.
    """
    everyone = list(psutil.process_iter(["name", "ppid"]))
    children: defaultdict[int, list[psutil.Process]] = defaultdict(list)
    for process in everyone:
        children[process.info["ppid"]].append(process)
    found = [process for process in everyone if process.pid == root]
    for process in found:
        found += children[process.pid]
    return found


def files_below(folder: Path) -> int:
    """Count files of all kinds below a folder, from which others are deleted meanwhile."""
    return sum(len(files) for _, _, files in os.walk(folder))


@dataclass
class Figures:
    """All samples of a soak, and what they say."""

    samples: list[Sample] = field(default_factory=list)

    def row(self, figure: Callable[[Sample], float]) -> list[float]:
        """Return one figure of every sample."""
        return [figure(sample) for sample in self.samples]

    def growing(self, allowed: Allowed) -> list[str]:
        """Name each figure that grows, and how."""
        found = []
        for what in ("memory", "descriptors", "processes", "files"):
            for sort in sorted({name for sample in self.samples for name in getattr(sample, what)}):
                row = [
                    getattr(sample, what)[sort]
                    for sample in self.samples
                    if sort in getattr(sample, what) or what == "processes"
                ]
                # A sort that comes and goes is told by its number alone.
                if len(row) * 2 < len(self.samples):
                    continue
                if growth := grows(row, allowed.of(what, sort)):
                    found.append(f"{what} of {sort}: {growth}")
        # A leak of processes may be one of each sort.
        if growth := grows(
            self.row(lambda sample: sum(sample.processes.values())), allowed.processes
        ):
            found.append(f"processes altogether: {growth}")
        return found

    def neglected(self) -> set[tuple[int, float]]:
        """Return zombies that two samples in a row have met: any process is one for a moment."""
        pairs = zip(self.samples, self.samples[1:], strict=False)
        return {zombie for one, next_one in pairs for zombie in one.zombies & next_one.zombies}
