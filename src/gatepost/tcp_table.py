"""The kernel's own table of TCP connections (proc(5), ``/proc/net/tcp``).

psutil reads it too, but looks into the folder of every process for it: twice as long on an idle
machine, and longer with each process. The gate, which looks often, does without the library.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from gatepost.ip_addresses import plain

ESTABLISHED = "01"
CLOSE_WAIT = "08"
"""The other side has stopped sending; the program here still has the connection."""

_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")

End = tuple[str, int]
"""Address in its one form (`gatepost.ip_addresses.plain`), and port."""


class Row(NamedTuple):
    """One connection, decoded only as far as somebody asks."""

    local_text: str
    remote_text: str
    state: str
    """As the kernel numbers them, such as `ESTABLISHED`."""
    inode: str
    """Number of the socket, as in ``/proc/PID/fd``."""

    @property
    def local(self) -> End:
        """Our end."""
        return decoded(self.local_text)

    @property
    def local_port(self) -> int:
        """Port of our end."""
        return int(self.local_text.rpartition(":")[2], 16)

    @property
    def remote(self) -> End:
        """The other end."""
        return decoded(self.remote_text)


def rows() -> Iterator[Row]:
    """Yield the connections of this network namespace, IPv4 first."""
    for table in _TABLES:
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue  # a kernel without IPv6 has no tcp6
        for line in lines:
            fields = line.split(maxsplit=10)
            yield Row(fields[1], fields[2], fields[3], fields[9])


def decoded(text: str) -> End:
    """Decode ``0100007F:1F90``: words in the machine's byte order, then the port."""
    host, _, port = text.partition(":")
    words = [int(host[start : start + 8], 16) for start in range(0, len(host), 8)]
    packed = struct.pack(f"={len(words)}I", *words)
    family = socket.AF_INET if len(words) == 1 else socket.AF_INET6
    return plain(socket.inet_ntop(family, packed)), int(port, 16)
