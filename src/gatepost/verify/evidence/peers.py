"""Connections to some ports at this moment, from the kernel's own table."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from gatepost import tcp_table
from gatepost.model import Address

_BETWEEN_LOOKS_SECONDS = 0.03
_WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104


class Connection(NamedTuple):
    """An established connection, as the side that answers sees it."""

    local: Address
    peer: Address


def connected(ports: Iterable[Address]) -> frozenset[Connection]:
    """Return the connections that other programs keep open to these addresses.

    Those of this program are left out, and those that do not last a moment: a client that connects
    and is turned away is no peer.
    """
    wanted = tuple(ports)
    first = _look(wanted)
    if not first:
        return first
    time.sleep(_BETWEEN_LOOKS_SECONDS)
    return first & _look(wanted)


def _look(ports: tuple[Address, ...]) -> frozenset[Connection]:
    numbers = {address.port for address in ports}
    hosts = {address.port: {a.host for a in ports if a.port == address.port} for address in ports}
    own = _own_sockets()
    found: list[Connection] = []
    ours: set[tuple[str, int]] = set()
    table = tuple(tcp_table.rows())
    # Listed anew: a probe may have begun while the table was read.
    own |= _own_sockets()
    for row in table:
        if row.inode in own:
            ours.add(row.local)
        if row.state != tcp_table.ESTABLISHED or row.local_port not in numbers:
            continue
        host, port = row.local
        if hosts[port] & {host, *_WILDCARDS}:
            found.append(Connection(Address(host, port), Address(*row.remote)))
    # Of a connection within this machine the table has both ends.
    return frozenset(one for one in found if (one.peer.host, one.peer.port) not in ours)


def _own_sockets() -> set[str]:
    """Return the inode numbers of this program's sockets."""
    found: set[str] = set()
    with suppress(OSError):
        for descriptor in Path("/proc/self/fd").iterdir():
            with suppress(OSError):  # closed meanwhile
                kind, _, number = str(descriptor.readlink()).partition(":")
                if kind == "socket":
                    found.add(number.strip("[]"))
    return found
