"""Servers elsewhere that daemons ask, such as a database: noticed when they are back.

A daemon asks a server that failed less and less often: after an outage of some minutes Dovecot
waits ten more, and Postfix always waits one. So when such a server is back, they are told.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection

from gatepost.model import Address

EVERY = 2.0
"""Seconds between looks; an outage that fits in between is none to the daemons either."""
_PATIENCE = 5.0


async def back(
    servers: Callable[[], Collection[Address]], tell: Callable[[str], None]
) -> AsyncIterator[Address]:
    """Yield a server whenever it answers again after it did not; this never ends.

    `servers` tells which to look at now; `tell` gets a sentence when one is away or back.
    """
    away: set[Address] = set()
    while True:
        for server in servers():
            answers = await _answers(server)
            if not answers and server not in away:
                away.add(server)
                tell(f"{server} does not answer: mail and logins have to wait until it does")
            elif answers and server in away:
                away.remove(server)
                tell(f"{server} answers again")
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
