"""Notices changed accounts in their database, and has daemons act on them within a second.

The command that changes an account may run on another machine, or in another container, than the
daemons whose sessions it ends. So every supervisor looks for itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path

from gatepost.accounts.changes import Change, Changes, UnavailableError, open_changes
from gatepost.model import Process
from gatepost.run.service import Service

EVERY = 0.25
"""Seconds between looks."""


class AccountWatch:
    """Watches the databases of accounts that services name in their processes."""

    def __init__(
        self, services: Callable[[], Iterable[Service]], say: Callable[[str], None]
    ) -> None:
        """Take who runs now, and where to complain."""
        self._services = services
        self._say = say
        self._open: dict[str, tuple[str, Changes]] = {}
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

    async def look(self) -> None:
        """Look once; return when everything has been done about what was found."""
        async with self._looking:
            for service in list(self._services()):
                if service.process.accounts:
                    # A database that is away is noticed elsewhere, and nothing of it gets lost.
                    with contextlib.suppress(UnavailableError, OSError):
                        await self._act(service, await self._poll(service.process))

    async def _poll(self, process: Process) -> Iterable[Change]:
        place = (await asyncio.to_thread(Path(process.accounts).read_text)).strip()
        known = self._open.get(process.name)
        if known is None or known[0] != place:
            if known:
                known[1].close()
            known = self._open[process.name] = (place, open_changes(place))
        return await asyncio.to_thread(known[1].poll)

    async def _act(self, service: Service, changes: Iterable[Change]) -> None:
        found = list(changes)
        child, process = service.child, service.process
        # A service that is being started anew has no sessions, and remembers nothing.
        if not found or child is None:
            return
        # First what it remembers: nobody shall log in by it after the sessions have ended.
        if process.forget and (said := await child.tell(process.forget)):
            self._say(f"{process.name} could not be told of changed accounts: {said}")
        ended = dict.fromkeys(f"{c.address}\t{c.folder}\n" for c in found if c.address)
        if ended and process.end_sessions:
            said = await child.tell(process.end_sessions, "".join(ended))
            if said:
                self._say(f"{process.name} could not end sessions of changed accounts: {said}")
