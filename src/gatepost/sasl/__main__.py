"""The relay's process: ``python -m gatepost.sasl SERVER USER``.

SERVER is where the mail store checks logins: ``HOST:PORT``, or the path of a UNIX socket. Its
listening sockets come from whoever starts it (`gatepost.startup`). Started as root, it becomes USER
for good. SIGTERM and SIGINT end it at once: a login that is being checked is put off.
"""

from __future__ import annotations

import asyncio
import signal
import sys

from gatepost.journal import Journal
from gatepost.sasl.relay import Relay
from gatepost.startup import become, inherited, take_all_descriptors

_BACKLOG = 4096


async def main(server: str, user: str) -> None:
    """Serve until a signal ends it."""
    # Every process of Postfix keeps a connection, and a login is one more.
    take_all_descriptors()
    become(user)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    relay = Relay(server, Journal())
    for listening in (one for group in inherited("the login relay").values() for one in group):
        await asyncio.start_unix_server(relay.serve, sock=listening, backlog=_BACKLOG)
    await stopped.wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
