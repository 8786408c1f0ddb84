"""Listening sockets that the supervisor keeps, so that a restart refuses nobody."""

from __future__ import annotations

import contextlib
import os
import pwd
import socket
from collections.abc import Sequence

from gatepost.model import Address, Endpoint, SocketPath
from gatepost.startup import SOCKETS

_BACKLOG = 4096
"""Connections that wait while a process starts; the kernel takes less if somaxconn is less."""


class Sockets:
    """Open listening sockets by name."""

    def __init__(self) -> None:
        """Begin with none."""
        self._wanted: tuple[tuple[str, Endpoint], ...] = ()
        self._open: list[tuple[str, socket.socket]] = []

    def open(self, wanted: Sequence[tuple[str, Endpoint]]) -> None:
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
        for _, address in self._wanted:
            if isinstance(address, SocketPath):
                address.path.unlink(missing_ok=True)
        self._open, self._wanted = [], ()

    @property
    def descriptors(self) -> tuple[int, ...]:
        """The descriptors that a child inherits."""
        return tuple(opened.fileno() for _, opened in self._open)

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which a child finds them."""
        if not self._open:
            return {}
        return {SOCKETS: ",".join(f"{name}:{opened.fileno()}" for name, opened in self._open)}


def _listen(address: Endpoint) -> socket.socket:
    return _local(address) if isinstance(address, SocketPath) else _tcp(address)


def _local(address: SocketPath) -> socket.socket:
    """Open a UNIX socket. One that a killed supervisor has left makes room.

    It stays root's, as all files beside it, and opens to the user by the user's group.
    """
    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        address.path.unlink(missing_ok=True)
        # Nobody else may open it in the moment before it gets its group.
        before = os.umask(0o117)
        try:
            opened.bind(str(address.path))
        finally:
            os.umask(before)
        try:
            os.chown(address.path, -1, pwd.getpwnam(address.user).pw_gid)
        except KeyError:
            raise OSError(0, f'there is no user "{address.user}" to open it') from None
        opened.listen(_BACKLOG)
        stack.pop_all()
    return opened


def _tcp(address: Address) -> socket.socket:
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
