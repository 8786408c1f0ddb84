"""Programs that were replaced under a running server, as security updates do.

A daemon's first process goes on with the old program, starts new processes from the new one, and
the two no longer fit: "undefined symbol" in each new session. So every
few seconds the supervisor checks whether a process still maps program files that are gone from the
disk. It reads ``/proc/PID/maps``: psutil reads ``smaps`` for that, which takes ten times as long.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from gatepost.errors import CheckError
from gatepost.model import Home
from gatepost.run.apply import run_check
from gatepost.run.logs import OWN_NAME
from gatepost.run.record import Record
from gatepost.run.supervised import Supervised

EVERY = 15.0
"""Seconds between looks."""
_CHILDREN = 40
"""Children of a daemon that are checked: all but the sessions of users."""
_DELETED = " (deleted)"
_DPKG = (Path("/var/lib/dpkg/lock-frontend"), Path("/var/lib/dpkg/lock"))
_FLOCK = "hhqqi4x"
"""The structure of fcntl(2) with 64-bit offsets."""


class ProgramWatch:
    """Restarts in good order what an update has replaced."""

    def __init__(
        self, home: Home, supervised: Mapping[str, Supervised], say: Callable[[str], None]
    ) -> None:
        """Watch the processes of a home; `say` writes into the log."""
        self.problem = ""
        """The reason why an update has no effect yet; empty when there is none."""
        self._home = home
        self._supervised = supervised
        self._say = say

    async def run(
        self,
        record: Callable[[], Record | None],
        changing: asyncio.Lock,
        ready: Callable[[str], Awaitable[str | None]],
    ) -> None:
        """Look for ever. `record` is what runs; `ready` waits for a process, or says why not."""
        async for outdated in replaced(self._running):
            async with changing:
                if now := record():
                    await self._renew(now, outdated, ready)

    async def _renew(
        self,
        record: Record,
        outdated: Mapping[str, str],
        ready: Callable[[str], Awaitable[str | None]],
    ) -> None:
        if file := outdated.get(OWN_NAME):
            self._say(
                f"an update has replaced {file}, which this supervisor goes on with; when it "
                "suits you: gatepost down, then gatepost up"
            )
        before, self.problem = self.problem, await self._obstacle(record, outdated)
        if self.problem:
            if self.problem != before:
                self._say(self.problem)
            return
        for process in record.processes:
            if file := outdated.get(process.name):
                await self._supervised[process.name].restart(process)
                why = await ready(process.name)
                self._say(why or f"{process.name} restarted: an update has replaced {file}")

    async def _obstacle(self, record: Record, outdated: Mapping[str, str]) -> str:
        """Return why the new programs cannot run with the configuration in use.

        A new version may read another language. Empty when they can.
        """
        folder = self._home.config.resolve()
        for check in record.checks:
            if check.process in outdated:
                try:
                    await asyncio.to_thread(run_check, check, folder)
                except CheckError as error:
                    return (
                        f"An update has replaced {outdated[check.process]}, and the new program "
                        f"does not take the configuration in use: {' '.join(str(error).split())} "
                        "Write it anew: gatepost up"
                    )
        return ""

    def _running(self) -> dict[str, int]:
        running = {name: one.child.pid for name, one in self._supervised.items() if one.child}
        return running | {OWN_NAME: os.getpid()}


async def replaced(
    processes: Callable[[], Mapping[str, int]],
) -> AsyncIterator[Mapping[str, str]]:
    """Yield the processes whose programs have been replaced, each with one of the files.

    `processes` returns the process id of each name now. A look is repeated before it counts,
    and not while dpkg(1) is at work: half of an update is no better than none. When none are left,
    an empty mapping is yielded once. This never ends.
    """
    before: Mapping[str, str] = {}
    own, told = "", False
    while True:
        await asyncio.sleep(EVERY)
        now = {
            name: file for name, pid in processes().items() if (file := outdated(pid)) is not None
        }
        # This process cannot be restarted, so it is reported once.
        if now.get(OWN_NAME) == own:
            now.pop(OWN_NAME, None)
        settled = {name: file for name, file in now.items() if before.get(name) == file}
        before = now
        if (settled and not installing()) or (told and not now):
            yield settled
            before, own, told = {}, settled.get(OWN_NAME, own), bool(settled)


def outdated(pid: int) -> str | None:
    """Return a program file that a process or one of its children runs and that is gone."""
    # Those of this process are the supervised ones, which are checked themselves.
    for process in (pid, *(_children(pid) if pid != os.getpid() else ())):
        with suppress(OSError):
            maps = Path(f"/proc/{process}/maps").read_text(errors="replace")
            if file := _gone(maps.splitlines()):
                return file
    return None


def _children(pid: int) -> list[int]:
    """Return the first children of a process; see proc_pid_task(5)."""
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return found[:_CHILDREN]


def _gone(maps: Iterable[str]) -> str | None:
    """Find code in a process's memory whose file is gone; see proc_pid_maps(5)."""
    for line in maps:
        _, rights, _, device, _, *path = line.split(None, 5)
        # Device 0 is memory without a file on a disk: memfd, shared memory.
        if path and "x" in rights and path[0].endswith(_DELETED) and device != "00:00":
            file = path[0].removesuffix(_DELETED)
            # One that is gone for good cannot be started anew: the package was removed.
            if file.startswith("/") and Path(file).exists():
                return file
    return None


def installing(files: Iterable[Path] | None = None) -> bool:
    """Tell whether somebody installs packages now: dpkg(1) holds a lock of fcntl(2) meanwhile."""
    for file in _DPKG if files is None else files:
        with suppress(OSError), file.open("rb") as stream:
            asked = struct.pack(_FLOCK, fcntl.F_WRLCK, 0, 0, 0, 0)
            answer = fcntl.fcntl(stream, fcntl.F_GETLK, asked)
            if struct.unpack(_FLOCK, answer)[0] != fcntl.F_UNLCK:
                return True
    return False
