"""What another user of the machine reaches of a server: every socket and port, tried as that user.

`ways_in` lists what there is to try, and `reached_by` tries it in a process of that user::

    ways = ways_in(server)
    assert not reached_by("nobody", ways)
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import pwd
import socket
import stat
import subprocess
import sys
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil
from instance import Instance

QUESTIONS = {
    "lmtp": (b"LHLO nobody.test\r\n", b"\n250"),
    "sasl": (b"VERSION\t1\t1\nCPID\t1\n", b"MECH\tPLAIN"),
    "quota-status": (b"request=smtpd_access_policy\nrecipient=x@example.org\n\n", b"action="),
    "http": (b"GET /doveadm/v1 HTTP/1.0\r\n\r\n", b"WWW-Authenticate: X-Dovecot-API"),
}
"""Role's socket → what its users say, and what only it answers."""
_SECONDS = 1.0
"""How long an answer may take; what waits for a PROXY header stays silent."""


@dataclass(frozen=True)
class Ways:
    """What there is to try."""

    sockets: tuple[Path, ...]
    """UNIX sockets and named pipes."""
    ports: tuple[tuple[str, int], ...]


def ways_in(server: Instance) -> Ways:
    """Return every socket, named pipe and listening port of a server's processes."""
    files = {file for file in server.home.rglob("*") if _is_way(file)}
    pids = {process.pid for process in server.processes()}
    for found in psutil.net_connections("unix"):
        path = str(found.laddr or "")
        if found.pid in pids and path:
            # Postfix binds names below its queue.
            absolute = path if path.startswith("/") else f"{server.home}/queue/{path}"
            assert Path(absolute) in files, f"a socket outside {server.home}: {path}"
    ports = {
        (found.laddr.ip, found.laddr.port)
        for found in psutil.net_connections("tcp")
        if found.pid in pids and found.status == psutil.CONN_LISTEN and found.laddr
    }
    return Ways(tuple(sorted(files)), tuple(sorted(ports)))


def _is_way(file: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        mode = file.lstat().st_mode
        return stat.S_ISSOCK(mode) or stat.S_ISFIFO(mode)
    return False


def reached_by(user: str, ways: Ways) -> set[str]:
    """Return the sockets that a user may open, and ``PORT: ROLE`` for ports that serve a role."""
    # A program of its own, which becomes that user: it may lie where that user cannot read it.
    done = subprocess.run(
        [sys.executable, __file__, user],
        input=json.dumps({"sockets": [str(path) for path in ways.sockets], "ports": ways.ports}),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return set(json.loads(done.stdout))


def _try_as(user: str, ways: Ways) -> set[str]:
    entry = pwd.getpwnam(user)
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    opened = {str(path) for path in ways.sockets if _may_open(path)}
    asked = list(itertools.product(ways.ports, QUESTIONS))
    with ThreadPoolExecutor(len(asked)) as pool:
        served = pool.map(lambda pair: answers(*pair), asked)
        return opened | {
            f"{host}:{port}: {role}"
            for ((host, port), role), yes in zip(asked, served, strict=True)
            if yes
        }


def _may_open(path: Path) -> bool:
    """Tell whether the kernel lets this user in; whether anybody answers does not matter."""
    try:
        if path.is_fifo():
            os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        else:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
    except PermissionError:
        return False
    except OSError:
        return True
    return True


def answers(where: Path | tuple[str, int], role: str) -> bool:
    """Tell whether a role is served there, by its own words."""
    question, wanted = QUESTIONS[role]
    said = b""
    with contextlib.suppress(OSError), _connected(where) as client:
        client.sendall(question)
        while wanted not in said and (part := client.recv(4096)):
            said += part
    return wanted in said


def _connected(where: Path | tuple[str, int]) -> socket.socket:
    if not isinstance(where, Path):
        return socket.create_connection(where, _SECONDS)
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(_SECONDS)
    client.connect(str(where))
    return client


def listed(server: Instance) -> Collection[tuple[str, int]]:
    """Return the ports that ``status`` lists."""
    rows = server.status()["listeners"]
    texts = [text for row in rows for kind in row["addresses"].values() for text in kind]
    ends = [text.rpartition(":") for text in texts]
    return {(host.strip("[]"), int(port)) for host, _, port in ends}


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    tried = Ways(
        tuple(map(Path, asked["sockets"])), tuple((host, port) for host, port in asked["ports"])
    )
    json.dump(sorted(_try_as(sys.argv[1], tried)), sys.stdout)
