"""Handing a connected socket to a ``pass`` service of Postfix (master(5), postscreen(8)).

The receiver takes one byte that carries the descriptor (SCM_RIGHTS, unix(7)), then attributes as
``name NUL value NUL``, ended by one more NUL; when it has them it closes its end.
"""

from __future__ import annotations

import array
import socket
from dataclasses import dataclass


class HandoffError(Exception):
    """Postfix does not take connections now: it is down, or its queue of them is full."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The two ends of a connection, as Postfix is to believe them."""

    client_host: str
    client_port: int
    server_host: str
    server_port: int

    def attributes(self) -> bytes:
        """Return them in Postfix's form."""
        return (
            f"client_address\0{self.client_host}\0client_port\0{self.client_port}\0"
            f"server_address\0{self.server_host}\0server_port\0{self.server_port}\0\0"
        ).encode()


def hand_over(client: int, endpoints: Endpoints, service: str) -> socket.socket:
    """Pass descriptor `client` to the service at a UNIX socket path.

    Return the connection to the service: it ends when the service has taken the client, and is
    reset when the service ended before it did. What was passed cannot be called back: a service
    that comes late finds the client still, and must find it shut down. Raise `HandoffError` when
    nobody is there to take it, or too many wait there already.
    """
    channel = None
    try:
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        channel.connect(service)
        # One message: the descriptor travels with the first byte, the attributes follow it.
        # An empty socket's buffer has room for all of it.
        channel.sendmsg(
            [b"\0", endpoints.attributes()],
            [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [client]))],
        )
    except OSError as error:
        if channel:
            channel.close()
        raise HandoffError(f"{service}: {error.strerror or error}") from error
    return channel
