"""Listening sockets that the supervisor keeps, so that a restart refuses nobody."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence

from gatepost.model import Address

VARIABLE = "GATEPOST_SOCKETS"
"""Where a process finds its sockets: ``NAME:DESCRIPTOR`` for each, joined by commas."""

_BACKLOG = 4096
"""Connections that wait while a process starts; the kernel takes less if somaxconn is less."""


class Sockets:
    """Open listening sockets by name."""

    def __init__(self) -> None:
        """Begin with none."""
        self._wanted: tuple[tuple[str, Address], ...] = ()
        self._open: list[tuple[str, socket.socket]] = []

    def open(self, wanted: Sequence[tuple[str, Address]]) -> None:
        """Open what is wanted; what is open already stays as it is.

        Raises `OSError` that names the address; nothing is open then.
        """
        if tuple(wanted) == self._wanted:
            return
        self.close()
        try:
            for name, address in wanted:
                self._open.append((name, _listen(address)))
        except OSError as error:
            self.close()
            raise OSError(error.errno, f"{error.strerror}: {address}") from None
        self._wanted = tuple(wanted)

    def close(self) -> None:
        """Close them all: connections that nobody has accepted are reset."""
        for _, opened in self._open:
            opened.close()
        self._open, self._wanted = [], ()

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What a child inherits."""
        return tuple(opened.fileno() for _, opened in self._open)

    @property
    def environment(self) -> dict[str, str]:
        """How a child knows them."""
        if not self._open:
            return {}
        return {VARIABLE: ",".join(f"{name}:{opened.fileno()}" for name, opened in self._open)}


def _listen(address: Address) -> socket.socket:
    family = socket.AF_INET6 if address.is_ipv6 else socket.AF_INET
    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if address.is_ipv6:
            # IPv4 has a socket of its own.
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.bind((address.host, address.port))
        opened.listen(_BACKLOG)
        stack.pop_all()
    return opened
