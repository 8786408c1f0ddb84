"""One process of the plan: started, watched, restarted when it dies, stopped."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Mapping
from enum import StrEnum

from gatepost.model import Address, Process
from gatepost.run import readiness, versions
from gatepost.run.child import Child, end_session
from gatepost.run.logs import LogStream
from gatepost.run.sockets import Sockets

READY_SECONDS = 30.0
"""Seconds that a process may take from its start to its first answer."""
_BACK_OFF = (0.5, 30.0)
_STABLE_SECONDS = 5.0
"""A process that has run for so long and dies is started as if for the first time."""
_RETIRING_POLL = 0.05


class State(StrEnum):
    """The state of a supervised process."""

    STOPPED = "stopped"
    STARTING = "starting"
    READY = "ready"
    WAITING = "restarting"
    STOPPING = "stopping"


class Supervised:
    """A process of the plan that the supervisor keeps running."""

    def __init__(
        self, process: Process, log: LogStream, on_change: Callable[[], None] = lambda: None
    ) -> None:
        """Take a process; nothing is started yet. `on_change` is called when its child changes."""
        self._on_change = on_change
        self.process = process
        self.state = State.STOPPED
        self.restarts = 0
        self.since = _now()
        self.child: Child | None = None
        self.runs: Mapping[str, str] = {}
        """The versions with which the child was started (`Process.versions`)."""
        self._log = log
        self._watcher: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._sockets = Sockets()
        self._obstacle = ""
        self.retiring: list[Child] = []

    def note(self, installed: Mapping[str, str]) -> None:
        """Note the parts that the process has by now; those that it had keep their versions."""
        parts = self.process.versions
        self.runs = {part: self.runs.get(part, installed[part]) for part in parts}

    async def start(self) -> None:
        """Start it and return at once; `wait_ready` returns how that went."""
        self._ready.clear()
        self._log.limit(self.process.name, self.process.events)
        self._watcher = asyncio.create_task(self._keep_running())

    async def wait_ready(self, seconds: float = READY_SECONDS) -> str | None:
        """Wait until it answers; return None, or why it does not."""
        before = self.restarts
        deadline = asyncio.get_running_loop().time() + seconds
        while not self._ready.is_set():
            if self.restarts >= before + 3:
                return self._obstacle or "it ended three times while starting"
            if asyncio.get_running_loop().time() > deadline:
                return f"it did not answer within {seconds:g} seconds"
            await asyncio.sleep(0.02)
        return None

    async def stop(self, *, keep_sockets: bool = False) -> None:
        """Stop it, those that retire included; return when nothing of it is left.

        With `keep_sockets` its listening sockets stay open for the next start.
        """
        self._set(State.STOPPING)
        if self._watcher:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        running = [child for child in (self.child, *self.retiring) if child]
        await asyncio.gather(*(child.stop() for child in running))
        self.child = None
        self.retiring.clear()
        self._ready.clear()
        if not keep_sockets:
            self._sockets.close()
        self._set(State.STOPPED)

    async def restart(self, process: Process) -> None:
        """Run another version of the process in place of this one."""
        if process.overlaps and self.process.overlaps and self.child and self._ready.is_set():
            await self._replace(process)
            return
        await self.stop(keep_sockets=True)
        self.process = process
        await self.start()

    async def reload(self, process: Process) -> str | None:
        """Have it read its files again; return what its reload command said when it failed."""
        self.process = process
        if self.child is None:
            return None  # about to be started, with the new files
        return await self.child.tell(process.reload)

    async def _replace(self, process: Process) -> None:
        """Start the new one beside the old one, which then ends when its connections have."""
        assert self.child  # noqa: S101
        old, self.process = self.child, process
        # From now on `stop` finds it there, and so does the supervisor after a crash.
        self.child = None
        self.retiring.append(old)
        if self._watcher:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        self._set(State.STARTING)
        await self.start()
        addresses = {one.address for one in process.ready if isinstance(one.address, Address)}
        deadline = asyncio.get_running_loop().time() + READY_SECONDS
        # ASYNC110: the kernel has no event for "listens now".
        while asyncio.get_running_loop().time() < deadline and not self._listens_on(addresses):  # noqa: ASYNC110
            await asyncio.sleep(_RETIRING_POLL)
        self._log.say(f"{process.name}: process {old.pid} ends when its connections have")
        old.terminate()
        self._retirement = asyncio.create_task(self._see_off(old))

    def _listens_on(self, addresses: set[Address]) -> bool:
        return self.child is not None and self.child.listens_on(addresses)

    async def _see_off(self, old: Child) -> None:
        await old.wait()
        if old in self.retiring:
            self.retiring.remove(old)

    async def _keep_running(self) -> None:
        """Start the process again whenever it ends, later each time."""
        pause, longest = _BACK_OFF
        loop = asyncio.get_running_loop()
        while True:
            self._set(State.STARTING)
            started = loop.time()
            try:
                for left in self.process.leftovers:
                    left.unlink(missing_ok=True)
                self._sockets.open(self.process.sockets)
                # Before it starts: a part that is replaced meanwhile is taken for older, not newer.
                self.runs = await _installed(self.process)
                self.child = await Child.start(self.process, self._output, self._sockets)
            except OSError as error:
                ended = f"cannot be started: {error}"
                self._obstacle = f"it {ended}"
            else:
                self._obstacle = ""
                self._on_change()
                ended = await self._run(self.child)
            self._ready.clear()
            self._log.finish(self.process.name)
            if loop.time() - started > _STABLE_SECONDS:
                pause = _BACK_OFF[0]
            self.restarts += 1
            self._set(State.WAITING)
            self._log.say(f"{self.process.name} {ended}; restart {self.restarts} in {pause:g} s")
            await asyncio.sleep(pause)
            pause = min(pause * 2, longest)

    async def _run(self, child: Child) -> str:
        """Watch a child from start to end; return how it ended."""
        answered = asyncio.create_task(self._announce(child))
        try:
            code = await child.wait()
        finally:
            answered.cancel()
        # What it forked may still hold its ports, and the next one could not open them.
        await end_session(child.pid)
        self.child = None
        return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"

    async def _announce(self, child: Child) -> None:
        await readiness.wait(self.process.ready)
        if self.child is child:
            self._set(State.READY)
            self._ready.set()

    def _output(self, block: bytes) -> None:
        self._log.feed(self.process.name, block)

    def _set(self, state: State) -> None:
        if state is not self.state:
            self.state, self.since = state, _now()


async def _installed(process: Process) -> Mapping[str, str]:
    if not process.versions:
        return {}
    return await asyncio.to_thread(versions.installed, tuple(process.versions))


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
