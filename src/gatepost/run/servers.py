"""Servers elsewhere that daemons ask, such as a database: noticed when they are back.

A daemon asks a server that failed less and less often: after an outage of some minutes it may wait
ten more. After a short outage it learns that a connection is dead only when it asks over it, hours
later perhaps. So when such a server is back, the daemons reload.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection

from gatepost.model import Address

EVERY = 2.0
"""Seconds between looks."""
_PATIENCE = 5.0


class ServerWatch:
    """Looks whether servers answer."""

    def __init__(
        self, servers: Callable[[], Collection[Address]], tell: Callable[[str], None]
    ) -> None:
        """Take which servers to look at now, and who gets a sentence when one is away or back."""
        self._servers = servers
        self._tell = tell
        self._away: set[Address] = set()
        self._missed: set[Address] = set()

    def missed(self, server: Address) -> None:
        """Take note that a server was away between two looks: it ended a connection of ours."""
        self._missed.add(server)

    async def back(self) -> AsyncIterator[Address]:
        """Yield a server whenever it answers again after it did not; this never ends."""
        while True:
            for server in self._servers():
                answers = await _answers(server)
                if not answers and server not in self._away:
                    self._away.add(server)
                    self._tell(
                        f"{server} does not answer: mail and logins have to wait until it does"
                    )
                elif answers and server in self._away | self._missed:
                    self._away.discard(server)
                    self._missed.discard(server)
                    self._tell(f"{server} answers again")
                    yield server
            await asyncio.sleep(EVERY)


async def _answers(server: Address) -> bool:
    """Tell whether it takes a connection; a server makes nothing of one that says nothing."""
    try:
        async with asyncio.timeout(_PATIENCE):
            _, writer = await asyncio.open_connection(server.host, server.port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True
