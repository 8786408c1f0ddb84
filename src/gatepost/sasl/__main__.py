"""The relay's process: ``python -m gatepost.sasl LOGINS QUOTAS USER``.

LOGINS is where the mail store checks logins, QUOTAS where it answers about quotas: ``HOST:PORT``,
or the path of a UNIX socket. The listening sockets come from whoever starts it
(`gatepost.startup`). Started as root, it becomes USER for good. SIGTERM and SIGINT end it at once:
a login that is being checked is put off.
"""

from __future__ import annotations

import asyncio
import signal
import sys

from gatepost.journal import Journal
from gatepost.sasl import NAME, TAKERS, takers
from gatepost.sasl.relay import Relay
from gatepost.startup import become, inherited, take_all_descriptors

_BACKLOG = 4096
_LINE_BYTES = 65536
"""The longest line about a login, which holds the password."""


async def main(logins: str, quotas: str, user: str) -> None:
    """Serve until a signal ends it."""
    # Every process of Postfix keeps a connection, and a login is one more.
    take_all_descriptors()
    become(user)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    journal = Journal()
    serve = {
        NAME: (Relay(logins, journal).serve, _LINE_BYTES),
        TAKERS: (takers.Takers(quotas, journal).serve, takers.LINE_BYTES),
    }
    for name, listening in inherited("the login relay").items():
        answer, longest = serve[name]
        for one in listening:
            await asyncio.start_unix_server(answer, sock=one, backlog=_BACKLOG, limit=longest)
    await stopped.wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
