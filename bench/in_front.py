"""HAProxy in front of a server, beside the Traefik that Gatepost brings."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

Address = tuple[str, int]


@contextlib.contextmanager
def haproxy(folder: Path, host: str, ways: Mapping[str, Address]) -> Iterator[dict[str, Address]]:
    """Run HAProxy, which sends PROXY headers of version 2; lend its address for each way.

    `ways` are name → service address. It listens on the same ports of `host`.
    """
    lines = [
        *("global", " maxconn 4000", "defaults", " mode tcp"),
        *(" timeout connect 5s", " timeout client 1h", " timeout server 1h"),
    ]
    for name, (server, port) in ways.items():
        lines += [f"listen {name}", f" bind {host}:{port}"]
        lines += [f" server {name} {server}:{port} send-proxy-v2"]
    file = folder / "haproxy.cfg"
    file.write_text("\n".join([*lines, ""]))
    process = subprocess.Popen(["haproxy", "-db", "-q", "-f", str(file)])
    found = {name: (host, port) for name, (_, port) in ways.items()}
    try:
        for address in found.values():
            wait_for(address)
        yield found
    finally:
        process.terminate()
        process.wait()


def wait_for(address: Address, seconds: float = 10) -> None:
    """Wait until somebody listens."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(address, 1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
