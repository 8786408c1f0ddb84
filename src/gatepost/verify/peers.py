"""Who is connected to some ports at this moment, from the kernel's own table of connections."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from gatepost.gate.limits import decode
from gatepost.model import Address

_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")
_ESTABLISHED = "01"
_BETWEEN_LOOKS_SECONDS = 0.03
_WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104


class Connection(NamedTuple):
    """An established connection, as the side that answers sees it."""

    local: Address
    peer: Address


def connected(ports: Iterable[Address]) -> frozenset[Connection]:
    """Return the connections that other programs keep open to these addresses.

    Those of this program are left out, and those that do not last a moment: what knocks and is
    turned away is no peer.
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
    for table in _TABLES:
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue  # a kernel without IPv6 has no tcp6
        # Listed anew: a probe may have begun while the table was read.
        own |= _own_sockets()
        for line in lines:
            _, local, remote, state, *_, inode = line.split(maxsplit=10)[:10]
            if inode in own:
                ours.add(decode(local))
            if state != _ESTABLISHED or int(local.rpartition(":")[2], 16) not in numbers:
                continue
            host, port = decode(local)
            if hosts[port] & {host, *_WILDCARDS}:
                found.append(Connection(Address(host, port), Address(*decode(remote))))
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
