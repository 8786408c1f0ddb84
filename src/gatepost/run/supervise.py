"""The supervisor: starts the processes of the plan, keeps them running, stops them in order.

It knows no daemon: everything it does is in ``plan.json`` of the configuration in use. Run as
``python -m gatepost.run.supervise HOME`` it is the background server of ``gatepost up --detach``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from gatepost.errors import GatepostError, StartError, printable
from gatepost.model import Address, Home, Process
from gatepost.run import control, locks, logs, memory, owners, versions, watches
from gatepost.run.account_watch import AccountWatch
from gatepost.run.answering import Answering
from gatepost.run.child import end_session
from gatepost.run.control import (
    Applied,
    Ending,
    Forgotten,
    ProcessState,
    Running,
    Searching,
    Started,
)
from gatepost.run.fleet import Fleet
from gatepost.run.health import Health
from gatepost.run.jobs import Jobs
from gatepost.run.logs import LogStream
from gatepost.run.programs import ProgramWatch
from gatepost.run.renewing import Renewing
from gatepost.run.servers import ServerWatch

_STOPPING = "The mail server is being stopped. When it is down, start it again: gatepost up"


class Supervisor:
    """Runs the configuration in use of one home until a signal or a request ends it."""

    def __init__(
        self, home: Home, log: LogStream, health: Health | None = None, lock: int | None = None
    ) -> None:
        """Take a home that has a configuration, and where to write what processes say.

        `lock` is the supervisor's lock when the caller has taken it; see `gatepost.run.locks`.
        """
        self._home = home
        self._lock = lock
        self._versions = versions.installed(versions.own())
        """The versions with which this process itself was started."""
        self._log = log
        self._health = health or Health()
        self._fleet = Fleet(home, log, self._remember)
        self._stopping = asyncio.Event()
        self._started = asyncio.Event()
        self._problem: str | None = None
        self._startup: asyncio.Task[None] | None = None
        self._change_at_work: asyncio.Task[Any] | None = None
        self._programs = ProgramWatch(home, self._fleet.members, log.say)
        self._watches: list[asyncio.Task[None]] = []
        self._search: asyncio.Task[None] | None = None
        self._foreign = ""
        """A file that belongs to another user than the daemon that needs it."""
        self._elsewhere = ServerWatch(self._servers, log.say)
        self._accounts = AccountWatch(self._fleet.members.values, log.say, self._lost_accounts)
        self._jobs = Jobs(
            home,
            log,
            lambda: self._fleet.record.jobs if self._fleet.record else (),
            self._remember,
        )
        self._renewing = Renewing(home, lambda: self._fleet.record, self._apply, log.say)
        self._answering = Answering(
            {
                control.STATUS: self._answer_status,
                control.WAIT: self._answer_wait,
                control.APPLY: self._apply,
                control.FORGET: self._answer_forget,
                control.OWNERS: self._answer_owners,
                control.STOP: self._answer_stop,
            },
            log.say,
        )

    async def run(self) -> None:
        """Start everything, serve requests until stopped, stop everything.

        Raises `StartError` when a process does not become ready; nothing is left running then.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        self._health.obstacle = self._obstacle
        beating = asyncio.create_task(self._beat())
        lock = locks.one_supervisor(self._home) if self._lock is None else self._lock
        os.set_inheritable(lock, False)  # noqa: FBT003  its signature
        try:
            await _end_leftovers(self._home, self._log)
            server = await self._answering.listen(self._home)
            try:
                self._startup = asyncio.create_task(self._start_all())
                stopped = asyncio.create_task(self._stopping.wait())
                await asyncio.wait({self._startup, stopped}, return_when="FIRST_COMPLETED")
                if self._startup.done():
                    self._startup.result()
                if not self._problem:
                    await stopped
            finally:
                await self._start_no_more()
                await self._stop_all()
                server.close()
                control.path(self._home).unlink(missing_ok=True)
        finally:
            beating.cancel()
            os.close(lock)
        if self._problem:
            raise StartError(self._problem)

    # --- the whole -------------------------------------------------------------------------

    async def _start_all(self) -> None:
        if not self._fleet.load():
            self._problem = f"{self._home.root} has no configuration. Run: gatepost up"
            self._started.set()
            return
        # Before anybody can log in, so that no change is too early to be seen.
        await self._accounts.look()
        self._watches.append(self._keep("changed accounts", self._accounts.run))
        problem = await self._fleet.start()
        if problem:
            self._problem = problem
        else:
            self._log.say("ready: " + ", ".join(self._fleet.members))
            self._watches += [
                self._keep("servers elsewhere", self._watch_servers),
                self._keep("certificates and passwords", self._renewing.run),
                self._keep("updated programs", self._watch_programs),
                self._keep("jobs", self._jobs.run),
            ]
            self._search = self._keep("owners of files", self._search_foreign)
        self._started.set()
        # Whoever waits for the answer must get it before everything ends.
        await asyncio.sleep(0.05 if problem else 0)

    async def _start_no_more(self) -> None:
        """Give up what is being started or changed: it would start what has just been stopped."""
        self._stopping.set()
        own = (self._startup, self._change_at_work, self._search)
        tasks = [*(task for task in own if task), *self._watches]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _stop_all(self) -> None:
        await self._fleet.stop()
        memory.forget(self._home)
        self._log.say("stopped")

    async def _apply(self) -> Applied:
        """Go over to the configuration in use now; leave alone what has not changed."""
        async with self._fleet.changing:
            await self._started.wait()
            if self._stopping.is_set():
                return Applied(problem=_STOPPING)
            self._change_at_work = asyncio.current_task()
            try:
                return await self._fleet.apply()
            finally:
                self._change_at_work = None

    # --- watches ---------------------------------------------------------------------------

    def _keep(self, name: str, watch: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        return asyncio.create_task(watches.keep(name, watch, self._log.say))

    async def _watch_programs(self) -> None:
        fleet = self._fleet
        await self._programs.run(lambda: fleet.record, fleet.changing, fleet.ready)

    async def _watch_servers(self) -> None:
        """Have processes ask a server again that was away, see `gatepost.run.servers`."""
        async for server in self._elsewhere.back():
            async with self._fleet.changing:
                for name, member in self._fleet.members.items():
                    if server in member.process.servers:
                        said = await member.reload(member.process)
                        self._log.say(
                            f"{name} could not reload: {said}" if said else f"{name} reloaded"
                        )

    async def _search_foreign(self) -> None:
        """Look at the owner of every file of mail and queue, once and at leisure."""
        assert self._fleet.record  # noqa: S101
        self._foreign = ""
        if path := await owners.first_foreign(self._fleet.record.directories):
            self._foreign = f'"{printable(path)}" belongs to another user'
            self._log.say(f"{self._foreign} than the daemon that needs it; run: gatepost up")

    def _lost_accounts(self, process: Process) -> None:
        for server in process.servers:
            self._elsewhere.missed(server)

    def _servers(self) -> set[Address]:
        members = self._fleet.members.values()
        return {server for member in members for server in member.process.servers}

    async def _beat(self) -> None:
        while True:
            self._health.beat()
            await asyncio.sleep(1)

    # --- answers ---------------------------------------------------------------------------

    async def _answer_status(self) -> Running:
        states = tuple(
            ProcessState(
                name,
                member.state,
                member.child.pid if member.child else None,
                member.restarts,
                member.since,
            )
            for name, member in self._fleet.members.items()
        )
        return Running(
            ready=self._obstacle() is None,
            stopping=self._stopping.is_set(),
            problems=tuple(self._problems()),
            foreign=self._foreign,
            services=states,
            jobs=self._jobs.status,
            # This process too: it keeps listening sockets for the others.
            processes=(os.getpid(), *(s.pid for s in states if s.pid), *self._retired()),
            protocol=control.PROTOCOL,
            versions={
                logs.OWN_NAME: self._versions,
                **{
                    name: member.runs
                    for name, member in self._fleet.members.items()
                    if member.child and member.runs
                },
            },
        )

    def _obstacle(self) -> str | None:
        """Return what is not ready; None when everything is."""
        if self._stopping.is_set():
            return "stopping"
        if not self._started.is_set() or not self._fleet.members:
            return "starting"
        return self._fleet.unready()

    def _problems(self) -> list[str]:
        """Return in what the server differs from what `gatepost up` has written."""
        if not self._started.is_set() or self._fleet.changing.locked():
            return []
        found = self._fleet.differences()
        found += [why for why in (self._programs.problem, self._renewing.problem) if why]
        found += [
            f"{said}. It is tried again all the time. Look why: gatepost logs"
            for said in self._accounts.problems
        ]
        if self._foreign:
            found.append(
                f"{self._foreign} than the daemon that needs it. Mend that and all of its kind: "
                "gatepost up"
            )
        return found

    def _retired(self) -> list[int]:
        return [child.pid for m in self._fleet.members.values() for child in m.retiring]

    async def _answer_wait(self) -> Started:
        await self._started.wait()
        return Started(self._problem)

    async def _answer_forget(self) -> Forgotten:
        """Act on changed accounts at once; who changed them waits for it, and hears what failed."""
        return Forgotten(tuple(await self._accounts.look()))

    async def _answer_owners(self) -> Searching:
        """Look at the owners anew: they have been mended."""
        if self._search:
            self._search.cancel()
            await asyncio.gather(self._search, return_exceptions=True)
        self._search = self._keep("owners of files", self._search_foreign)
        return Searching()

    async def _answer_stop(self) -> Ending:
        self._stopping.set()
        return Ending(os.getpid())

    # --- memory of what runs ---------------------------------------------------------------

    def _remember(self) -> None:
        """Write down who runs, for the supervisor that comes after a crash of this one."""
        running = (
            memory.Started(child.pid, child.created)
            for member in self._fleet.members.values()
            for child in (member.child, *member.retiring)
            if child
        )
        jobs = (memory.Started(child.pid, child.created) for child in self._jobs.children.values())
        try:
            memory.remember(self._home, (*running, *jobs))
        except OSError as error:
            # A full disk must not keep a process down. What is not written down would only be
            # missed if this supervisor were killed before the next time.
            self._log.say(f"who runs could not be written down: {error}")


async def _end_leftovers(home: Home, log: LogStream) -> None:
    """End what a supervisor that was killed has left running."""
    for left in memory.recall(home):
        log.say(f"ending what is left of process {left.pid} from before a crash")
        await end_session(left.pid)
    memory.forget(home)


def keep_accounts_readable(home: Home) -> contextlib.AbstractContextManager[None]:
    """Keep the accounts database open for its read-only users while the server runs."""
    from gatepost.accounts import sqlite  # noqa: PLC0415

    return sqlite.hold_open(home.database) if home.database.exists() else contextlib.nullcontext()


def supervise(
    home: Home, log: LogStream, health: Health | None = None, lock: int | None = None
) -> None:
    """Run the configuration in use of a home until a signal or a request ends it.

    `health` shows how it goes; `lock` as in `Supervisor`. Raises `StartError` when a
    process does not become ready.
    """

    async def main() -> None:
        await Supervisor(home, log, health, lock).run()

    with keep_accounts_readable(home):
        asyncio.run(main())


if __name__ == "__main__":
    _home = Home(Path(sys.argv[1]))
    _lock = int(sys.argv[2]) if len(sys.argv) > 2 else None  # noqa: PLR2004  an argument
    try:
        supervise(_home, LogStream(logs.path(_home)), lock=_lock)
    except GatepostError as error:
        sys.exit(str(error))
