"""Names of hosts → addresses, within a time."""

from __future__ import annotations

import queue
import socket
import threading
import time
from contextlib import suppress

from gatepost.model import Address
from gatepost.verify.clients.wire import ProbeError, Trouble
from gatepost.verify.targets import is_number


def resolved(address: Address, deadline: float) -> list[str]:
    """Ask the system for a name's addresses; raise `ProbeError` when it has none, or none in time.

    A name server that does not answer holds its client for longer than a complete proof may take.
    """
    if is_number(address.host):
        return [address.host]
    answer: queue.SimpleQueue[list[str] | OSError] = queue.SimpleQueue()

    def ask() -> None:
        try:
            rows = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
            answer.put(list(dict.fromkeys(str(row[4][0]) for row in rows)))
        except OSError as error:
            answer.put(error)
        except UnicodeError:  # a label of over 63 characters
            answer.put(OSError("not a host name"))

    threading.Thread(target=ask, daemon=True).start()
    reason: object = "no name server answered in time"
    with suppress(queue.Empty):
        found = answer.get(timeout=max(0.0, deadline - time.monotonic()))
        if isinstance(found, list):
            return found
        reason = found.strerror or found
    raise ProbeError(Trouble.UNREACHABLE, f"{address.host} does not resolve: {reason}")
