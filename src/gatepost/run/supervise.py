"""The supervisor: starts the processes of the plan, keeps them running, stops them in order.

It knows no daemon: everything it does is in ``plan.json`` of the configuration in use. Run as
``python -m gatepost.run.supervise HOME`` it is the background server of ``gatepost up --detach``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from gatepost.errors import GatepostError, StartError, printable
from gatepost.model import Address, Home, OnChange, Process
from gatepost.run import (
    changes,
    control,
    environment,
    locks,
    logs,
    memory,
    owners,
    programs,
    record,
    watches,
)
from gatepost.run.account_watch import AccountWatch
from gatepost.run.child import end_session
from gatepost.run.health import Health
from gatepost.run.jobs import Jobs
from gatepost.run.logs import LogStream
from gatepost.run.memory import Started
from gatepost.run.programs import ProgramWatch
from gatepost.run.record import Record
from gatepost.run.renewing import Renewing
from gatepost.run.servers import ServerWatch
from gatepost.run.service import Service, State

_LAST_LINES = 12
_REQUEST_SECONDS = 5.0
"""How long a program may take to say what it wants; ours say it at once."""
_UNREADABLE = (
    "The running supervisor is of another version of Gatepost and cannot read the new "
    "configuration. Start it anew: gatepost down, then gatepost up"
)

_STOPPING = "The mail server is being stopped. When it is down, start it again: gatepost up"


class Supervisor:
    """Runs the configuration in use of one home until it is told to stop."""

    def __init__(
        self, home: Home, log: LogStream, health: Health | None = None, lock: int | None = None
    ) -> None:
        """Take a home that has a configuration, and where to write what services say.

        `lock` is the supervisor's lock when the caller has taken it; see `gatepost.run.locks`.
        """
        self._home = home
        self._lock = lock
        self._log = log
        self._health = health or Health()
        self._services: dict[str, Service] = {}
        self._record: Record | None = None
        self._generation: Path | None = None
        """The folder of the configuration that the services were started or reloaded with."""
        self._behind: set[str] = set()
        """Services that could not go over to it."""
        self._stopping = asyncio.Event()
        self._started = asyncio.Event()
        self._problem: str | None = None
        self._changing = asyncio.Lock()
        self._startup: asyncio.Task[None] | None = None
        self._change_at_work: asyncio.Task[Any] | None = None
        self._programs = ProgramWatch(home, self._services, log.say)
        self._watches: list[asyncio.Task[None]] = []
        self._search: asyncio.Task[None] | None = None
        self._foreign = ""
        """What belongs to another user than the daemon that needs it."""
        self._elsewhere = ServerWatch(self._servers, log.say)
        self._accounts = AccountWatch(self._services.values, log.say, self._lost_accounts)
        self._jobs = Jobs(
            home, log, lambda: self._record.jobs if self._record else (), self._remember
        )
        self._renewing = Renewing(home, lambda: self._record, self._apply, log.say)

    async def run(self) -> None:
        """Start everything, serve requests until stopped, stop everything.

        Raises `StartError` when a service does not become ready; nothing is left running then.
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
            server = await self._listen()
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
        self._generation = record.generation(self._home)
        self._record = record.read(self._generation) if self._generation else None
        if self._record is None:
            self._problem = f"{self._home.root} has no configuration. Run: gatepost up"
            self._started.set()
            return
        for process in self._record.processes:
            self._services[process.name] = Service(process, self._log, self._remember)
        # Before anybody can log in, so that no change is too early to be seen.
        await self._accounts.look()
        self._watches.append(self._keep("changed accounts", self._accounts.run))
        problem = await self._start(self._record.processes)
        if problem:
            self._problem = problem
        else:
            self._log.say("ready: " + ", ".join(self._services))
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

    async def _start(self, processes: tuple[Process, ...]) -> str | None:
        """Start services in their order, each when those before it are ready."""
        for process in processes:
            service = self._services[process.name]
            if service.state is State.STOPPED:
                await service.start()
            if why := await self._await(process.name):
                return why
        return None

    async def _await(self, name: str) -> str | None:
        why = await self._services[name].wait_ready()
        if why is None:
            return None
        if reason := environment.unreadable(self._services[name].process):
            why = f"{why}, and {reason}"
        words = "\n".join(f"  {line}" for line in self._log.last(name)[-_LAST_LINES:])
        return f"{name} did not start: {why}. Its last words:\n{words or '  (none)'}"

    async def _start_no_more(self) -> None:
        """Give up what is being started or changed: it would start what has just been stopped."""
        self._stopping.set()
        own = (self._startup, self._change_at_work, self._search)
        tasks = [*(task for task in own if task), *self._watches]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _stop_all(self) -> None:
        processes = self._record.processes if self._record else ()
        order = [p.name for p in processes if p.name in self._services]
        # A change that was given up may leave some that are no longer in the plan.
        dropped = [name for name in self._services if name not in order]
        for name in (*dropped, *reversed(order)):
            await self._services[name].stop()
        memory.forget(self._home)
        self._log.say("stopped")

    # --- changes ---------------------------------------------------------------------------

    async def _apply(self) -> dict[str, Any]:
        """Go over to the configuration in use now; leave alone what has not changed."""
        async with self._changing:
            await self._started.wait()
            if self._stopping.is_set():
                return {"changed": [], "problem": _STOPPING}
            generation = record.generation(self._home)
            new, old = record.read(generation) if generation else None, self._record
            if new is None:
                return {"changed": [], "problem": _UNREADABLE}
            same = new == old
            moved, self._generation = generation != self._generation, generation
            if old is None or (same and not moved and not self._behind):
                return {"changed": []}
            # Another configuration has been in use meanwhile, and processes that a daemon has
            # started since then have read it.
            doubtful = set(self._services) if same and moved else set(self._behind)
            self._change_at_work = asyncio.current_task()
            changed: list[str] = []
            problems: list[str] = []
            self._record = new
            kept = {process.name for process in new.processes}
            for process in reversed(old.processes):
                if process.name not in kept:
                    await self._services[process.name].stop()
                    del self._services[process.name]
                    changed.append(f"{process.name} stopped")
            for process in new.processes:
                done, problem = await self._change(
                    process, old, new, doubtful=process.name in doubtful
                )
                self._behind.discard(process.name)
                if done:
                    changed.append(f"{process.name} {done}")
                    self._log.say(f"{process.name} {done}: its configuration has changed")
                if problem:
                    self._behind.add(process.name)
                    problems.append(problem)
            self._behind &= kept
            answers = [await self._await(process.name) for process in new.processes]
            problems.extend(why for why in answers if why)
            return {"changed": changed, "problem": "\n".join(problems) or None}

    async def _change(
        self, process: Process, old: Record, new: Record, *, doubtful: bool
    ) -> tuple[str | None, str | None]:
        """Bring one service up to date; return what was done and what went wrong.

        One that is `doubtful` may run with another configuration than `old`.
        """
        if process.name not in self._services:
            self._services[process.name] = Service(process, self._log, self._remember)
            await self._services[process.name].start()
            return "started", None
        service = self._services[process.name]
        effects = changes.effects(process.name, old, new) | (
            {OnChange.RELOAD} if doubtful else set()
        )
        same = changes.as_started(process) == changes.as_started(service.process)
        # A new version cannot have an old process read its files.
        outdated = service.child and programs.outdated(service.child.pid)
        if not same or outdated or OnChange.RESTART in effects:
            await service.restart(process)
            return "restarted", None
        if OnChange.RELOAD in effects and process.reload:
            said = await service.reload(process)
            return "reloaded", f"{process.name} could not reload: {said}" if said else None
        if OnChange.RELOAD in effects:
            await service.restart(process)
            return "restarted", None
        service.process = process
        return None, None

    def _keep(self, name: str, watch: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        return asyncio.create_task(watches.keep(name, watch, self._log.say))

    async def _watch_programs(self) -> None:
        await self._programs.run(lambda: self._record, self._changing, self._await)

    async def _watch_servers(self) -> None:
        """Have services ask a server again that was away, see `gatepost.run.servers`."""
        async for server in self._elsewhere.back():
            async with self._changing:
                for name, service in self._services.items():
                    if server in service.process.servers:
                        said = await service.reload(service.process)
                        self._log.say(
                            f"{name} could not reload: {said}" if said else f"{name} reloaded"
                        )

    async def _search_foreign(self) -> None:
        """Look at the owner of every file of mail and queue, once and at leisure."""
        assert self._record  # noqa: S101
        self._foreign = ""
        if path := await owners.first_foreign(self._record.directories):
            self._foreign = f'"{printable(path)}" belongs to another user'
            self._log.say(f"{self._foreign} than the daemon that needs it; run: gatepost up")

    def _lost_accounts(self, process: Process) -> None:
        for server in process.servers:
            self._elsewhere.missed(server)

    def _servers(self) -> set[Address]:
        return {s for service in self._services.values() for s in service.process.servers}

    # --- requests --------------------------------------------------------------------------

    async def _listen(self) -> asyncio.Server:
        path = control.path(self._home)
        path.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(self._serve, str(path))
        path.chmod(0o600)
        return server

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers = {
            "status": self._answer_status,
            "wait": self._answer_wait,
            "apply": self._apply,
            "forget": self._answer_forget,
            "owners": self._answer_owners,
            "stop": self._answer_stop,
        }
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                line = await reader.readline()
            request = json.loads(line)["do"]
            writer.write(json.dumps(await answers[request]()).encode() + b"\n")
            await writer.drain()
        except (OSError, ValueError, LookupError, TypeError) as error:
            self._log.say(f"a request could not be answered: {error!r}")
        finally:
            writer.close()

    async def _answer_status(self) -> dict[str, Any]:
        services = [
            {
                "name": name,
                "state": service.state,
                "pid": service.child.pid if service.child else None,
                "restarts": service.restarts,
                "since": service.since,
            }
            for name, service in self._services.items()
        ]
        return {
            "ready": self._obstacle() is None,
            "stopping": self._stopping.is_set(),
            "problems": self._problems(),
            "foreign": self._foreign,
            "services": services,
            "jobs": self._jobs.status,
            # This process too: it keeps listening sockets for its services.
            "processes": [os.getpid(), *(s["pid"] for s in services if s["pid"]), *self._retired()],
        }

    def _obstacle(self) -> str | None:
        """Return what is not ready; None when everything is."""
        if self._stopping.is_set():
            return "stopping"
        if not self._started.is_set() or not self._services:
            return "starting"
        waiting = [
            f"{name} is {service.state}"
            for name, service in list(self._services.items())
            if service.state is not State.READY
        ]
        return ", ".join(waiting) or None

    def _problems(self) -> list[str]:
        """Return in what the services differ from what `gatepost up` has written."""
        if not self._started.is_set() or self._changing.locked():
            return []
        found = []
        now, mine = record.generation(self._home), self._generation
        if now != mine:
            found.append(
                f"The services run configuration {mine.name if mine else 'none'}, and config/"
                f"current is {now.name if now else 'missing'}. Bring them together: gatepost up"
            )
        if self._behind:
            found.append(
                f"{', '.join(sorted(self._behind))} could not read the new configuration and may "
                "run with the one before. Look why with `gatepost logs`, then: gatepost up"
            )
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

    async def _beat(self) -> None:
        while True:
            self._health.beat()
            await asyncio.sleep(1)

    def _retired(self) -> list[int]:
        return [child.pid for s in self._services.values() for child in s.retiring]

    async def _answer_wait(self) -> dict[str, Any]:
        await self._started.wait()
        return {"problem": self._problem}

    async def _answer_forget(self) -> dict[str, Any]:
        """Act on changed accounts at once; who changed them waits for it, and hears what failed."""
        return {"problems": await self._accounts.look()}

    async def _answer_owners(self) -> dict[str, Any]:
        """Look at the owners anew: they have been mended."""
        if self._search:
            self._search.cancel()
            await asyncio.gather(self._search, return_exceptions=True)
        self._search = self._keep("owners of files", self._search_foreign)
        return {}

    async def _answer_stop(self) -> dict[str, Any]:
        self._stopping.set()
        return {"pid": os.getpid()}

    # --- memory of what runs ---------------------------------------------------------------

    def _remember(self) -> None:
        """Write down who runs, for the supervisor that comes after a crash of this one."""
        running = (
            Started(child.pid, child.created)
            for service in self._services.values()
            for child in (service.child, *service.retiring)
            if child
        )
        jobs = (Started(child.pid, child.created) for child in self._jobs.children.values())
        try:
            memory.remember(self._home, (*running, *jobs))
        except OSError as error:
            # A full disk must not keep a service down. What is not written down would only be
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

    `health` is told how it goes; `lock` as in `Supervisor`. Raises `StartError` when a
    service does not become ready.
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
