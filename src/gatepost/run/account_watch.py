"""Notices changed accounts in their database, and has daemons act on them within a second.

The command that changes an account may run on another machine, or in another container, than the
daemons whose sessions it ends. So every supervisor looks for itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gatepost.accounts.changes import Change, Changes, UnavailableError, open_changes
from gatepost.model import Process
from gatepost.run.child import Child
from gatepost.run.supervised import State, Supervised

EVERY = 0.25
"""Seconds between looks."""


@dataclass(slots=True)
class _Pending:
    """The work that a process has still to do about changed accounts."""

    accounts: dict[str, None] = field(default_factory=dict)
    """Whose sessions end: a line for each, as the process's command reads them."""
    forgotten: bool = False
    ended: bool = False


class AccountWatch:
    """Watches the databases of accounts that processes name."""

    def __init__(
        self,
        processes: Callable[[], Iterable[Supervised]],
        say: Callable[[str], None],
        lost: Callable[[Process], None],
    ) -> None:
        """Take who runs now, where to complain, and who is to hear that a connection has ended.

        `lost` is called once for each connection, with the process whose accounts it was about.
        """
        self._processes = processes
        self._say = say
        self._lost = lost
        self._connected: set[str] = set()
        self._open: dict[str, tuple[str, Changes]] = {}
        self._pending: dict[str, _Pending] = {}
        self._problems: dict[str, str] = {}
        self._looking = asyncio.Lock()

    async def run(self) -> None:
        """Look again and again; this never ends."""
        try:
            while True:
                await self.look()
                await asyncio.sleep(EVERY)
        finally:
            for _, changes in self._open.values():
                changes.close()

    @property
    def problems(self) -> list[str]:
        """The reasons why changed accounts have no effect yet, a sentence for each process."""
        return list(self._problems.values())

    async def look(self) -> list[str]:
        """Look once and act; return what could not be done, which each later look tries again."""
        async with self._looking:
            processes = {s.process.name: s for s in self._processes() if s.process.accounts}
            for gone in self._pending.keys() - processes.keys():
                self._settle(gone)
            found = [await self._see(one) for one in processes.values()]
            return [said for said in found if said]

    async def _see(self, one: Supervised) -> str | None:
        name, said = one.process.name, None
        try:
            changes = await self._poll(one.process)
        except (UnavailableError, OSError) as error:
            # A database that stays away is noticed elsewhere, and nothing of it gets lost.
            if name in self._connected:
                self._connected.remove(name)
                self._lost(one.process)
            said = f"{name} cannot be informed of changed accounts: {' '.join(str(error).split())}"
        else:
            self._connected.add(name)
            if changes:
                pending = self._pending.setdefault(name, _Pending())
                pending.forgotten = pending.ended = False
                pending.accounts |= dict.fromkeys(
                    f"{change.address}\t{change.folder}\n" for change in changes if change.address
                )
        return await self._act(one) or said

    async def _poll(self, process: Process) -> Sequence[Change]:
        place = (await asyncio.to_thread(Path(process.accounts).read_text)).strip()
        known = self._open.get(process.name)
        if known is None or known[0] != place:
            if known:
                known[1].close()
            known = self._open[process.name] = (place, open_changes(place))
        return await asyncio.to_thread(known[1].poll)

    async def _act(self, one: Supervised) -> str | None:
        """Do what is pending for a process; return what has failed of it."""
        name, child = one.process.name, one.child
        pending = self._pending.get(name)
        # A process that is being started anew has no sessions, and remembers nothing.
        if pending is None or child is None:
            self._settle(name)
            return None
        failed = await _done(pending, one.process, child)
        if failed is None:
            if self._problems.get(name):
                self._say(f"{name} has acted on changed accounts now")
            self._settle(name)
        # One that has just been started may not take commands yet.
        elif one.state is not State.READY:
            return None
        elif self._problems.get(name) != failed:
            self._problems[name] = failed
            self._say(failed)
        return failed

    def _settle(self, name: str) -> None:
        self._pending.pop(name, None)
        self._problems.pop(name, None)


async def _done(pending: _Pending, process: Process, child: Child) -> str | None:
    """Have a running process do what is pending; return what has failed."""
    failed = []
    # First what it remembers: nobody shall log in by it after the sessions have ended.
    if not pending.forgotten:
        said = await child.tell(process.forget) if process.forget else None
        if said:
            failed.append(f"{process.name} could not be informed of changed accounts: {said}")
        else:
            pending.forgotten, pending.ended = True, False
    # Until it has forgotten, sessions are ended once: a new password may have begun others.
    if not pending.ended:
        said = None
        if pending.accounts and process.end_sessions:
            said = await child.tell(process.end_sessions, "".join(pending.accounts))
        if said:
            failed.append(f"{process.name} could not end sessions of changed accounts: {said}")
        else:
            pending.ended = True
    return "; ".join(failed) or None
