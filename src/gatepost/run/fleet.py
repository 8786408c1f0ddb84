"""The processes of the configuration in use: started in order, changed, stopped in reverse."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

from gatepost.model import Home, OnChange, Process
from gatepost.run import changes, environment, programs, record, versions
from gatepost.run.control import Applied
from gatepost.run.logs import LogStream
from gatepost.run.record import Record
from gatepost.run.supervised import State, Supervised

_LAST_LINES = 12
_UNREADABLE = (
    "The running supervisor is of another version of Gatepost and cannot read the new "
    "configuration. Start it anew: gatepost down, then gatepost up"
)


class Fleet:
    """Runs the processes of one home, and goes over to the next configuration."""

    def __init__(self, home: Home, log: LogStream, on_change: Callable[[], None]) -> None:
        """Take a home, its log, and who is called when a child starts or ends."""
        self._home = home
        self._log = log
        self._on_change = on_change
        self.members: dict[str, Supervised] = {}
        """Every process that is supervised now, by name."""
        self.record: Record | None = None
        """The record of the configuration in use; None before the start."""
        self.changing = asyncio.Lock()
        """Held while processes are changed, so that two changes never mix."""
        self._generation: Path | None = None
        """The folder of the configuration that the processes were started or reloaded with."""
        self._behind: set[str] = set()
        """Processes that could not go over to it."""

    # --- the whole -------------------------------------------------------------------------

    def load(self) -> bool:
        """Take the configuration in use; return False when there is none."""
        self._generation = record.generation(self._home)
        self.record = record.read(self._generation) if self._generation else None
        for process in self.record.processes if self.record else ():
            self.members[process.name] = self._new(process)
        return self.record is not None

    async def start(self) -> str | None:
        """Start the processes in their order, each when those before it are ready.

        Return why one is not; the others are not started then.
        """
        for process in self.record.processes if self.record else ():
            member = self.members[process.name]
            if member.state is State.STOPPED:
                await member.start()
            if why := await self.ready(process.name):
                return why
        return None

    async def ready(self, name: str) -> str | None:
        """Wait until a process answers; return None, or why it does not, with its last words."""
        why = await self.members[name].wait_ready()
        if why is None:
            return None
        if reason := environment.unreadable(self.members[name].process):
            why = f"{why}, and {reason}"
        words = "\n".join(f"  {line}" for line in self._log.last(name)[-_LAST_LINES:])
        return f"{name} did not start: {why}. Its last words:\n{words or '  (none)'}"

    async def stop(self) -> None:
        """Stop all processes, the last started first."""
        processes = self.record.processes if self.record else ()
        order = [process.name for process in processes if process.name in self.members]
        # A change that was given up may leave some that are no longer in the plan.
        dropped = [name for name in self.members if name not in order]
        for name in (*dropped, *reversed(order)):
            await self.members[name].stop()

    def _new(self, process: Process) -> Supervised:
        return Supervised(process, self._log, self._on_change)

    # --- what is not as it should be ---------------------------------------------------------

    def unready(self) -> str | None:
        """Return which processes are not ready, in one line; None when all are."""
        waiting = [
            f"{name} is {member.state}"
            for name, member in list(self.members.items())
            if member.state is not State.READY
        ]
        return ", ".join(waiting) or None

    def differences(self) -> list[str]:
        """Return in what the processes differ from the configuration in use, a sentence each."""
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
        return found

    # --- changes ---------------------------------------------------------------------------

    async def apply(self) -> Applied:
        """Go over to the configuration in use now; leave alone what has not changed.

        The caller holds `changing`.
        """
        generation = record.generation(self._home)
        new, old = record.read(generation) if generation else None, self.record
        if new is None:
            return Applied(problem=_UNREADABLE)
        # First, because it asks the disk and may fail: a change that has begun must be ended.
        parts = dict.fromkeys(part for one in new.processes for part in one.versions)
        installed = await asyncio.to_thread(versions.installed, parts) if parts else {}
        outdated = {
            process.name
            for process in new.processes
            if (member := self.members.get(process.name)) and _is_older(member, process, installed)
        }
        same = new == old
        moved, self._generation = generation != self._generation, generation
        if old is None or (same and not moved and not self._behind and not outdated):
            return Applied()
        # Another configuration has been in use meanwhile, and processes that a daemon has started
        # since then have read it.
        doubtful = set(self.members) if same and moved else set(self._behind)
        self.record = new
        kept = {process.name for process in new.processes}
        # Whatever ends this too early, the next change brings them up to date.
        self._behind |= kept
        changed = await self._drop(old, kept)
        problems: list[str] = []
        for process in new.processes:
            older = process.name in outdated
            done, problem = await self._change(
                process, old, new, doubtful=process.name in doubtful, older=older
            )
            self._behind.discard(process.name)
            self.members[process.name].note(installed)
            if done:
                changed.append(f"{process.name} {done}")
                why = "it ran an older version" if older else "its configuration has changed"
                self._log.say(f"{process.name} {done}: {why}")
            if problem:
                self._behind.add(process.name)
                problems.append(problem)
        self._behind &= kept
        answers = [await self.ready(process.name) for process in new.processes]
        problems.extend(why for why in answers if why)
        return Applied(tuple(changed), "\n".join(problems) or None)

    async def _drop(self, old: Record, kept: set[str]) -> list[str]:
        """Stop the processes that the new configuration has no more; return what was done."""
        gone = [process.name for process in reversed(old.processes) if process.name not in kept]
        for name in gone:
            if member := self.members.get(name):
                await member.stop()
                del self.members[name]
        return [f"{name} stopped" for name in gone]

    async def _change(
        self, process: Process, old: Record, new: Record, *, doubtful: bool, older: bool
    ) -> tuple[str | None, str | None]:
        """Bring one process up to date; return what was done and what went wrong.

        One that is `doubtful` may run with another configuration than `old`. One that is `older`
        than the installed version may not understand the new files.
        """
        if process.name not in self.members:
            self.members[process.name] = self._new(process)
            await self.members[process.name].start()
            return "started", None
        member = self.members[process.name]
        effects = changes.effects(process.name, old, new) | (
            {OnChange.RELOAD} if doubtful else set()
        )
        same = changes.as_started(process) == changes.as_started(member.process)
        if not same or older or OnChange.RESTART in effects:
            await member.restart(process)
            return "restarted", None
        if OnChange.RELOAD in effects and process.reload:
            said = await member.reload(process)
            return "reloaded", f"{process.name} could not reload: {said}" if said else None
        if OnChange.RELOAD in effects:
            await member.restart(process)
            return "restarted", None
        member.process = process
        return None, None


def _is_older(member: Supervised, process: Process, installed: Mapping[str, str]) -> bool:
    """Tell whether a process runs something that was replaced since it was started.

    The record does not tell: a process that ended meanwhile was started with what is installed.
    """
    if member.child is None:
        return False
    common = member.runs.keys() & process.versions.keys()
    if process.versions and not common:
        return True
    # A part that it has no more, or newly, such as another database's client, is no other version;
    # the configuration decides what that changes.
    if any(member.runs[part] not in {"", installed[part]} for part in common):
        return True
    return programs.outdated(member.child.pid) is not None
