"""What tests of the run room share: a home, small plans, small servers, and nothing left behind."""

from __future__ import annotations

import contextlib
import socket
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from gatepost.model import (
    Address,
    BoundListener,
    Home,
    Listener,
    Plan,
    Process,
    Protocol,
    Readiness,
    RenderedFile,
    Tls,
    Topology,
)

SERVER = textwrap.dedent(
    """
    import contextlib, os, signal, socket, sys, threading, time

    def end(*_):
        print("bye", flush=True)
        sys.exit()

    def talk(connection):
        with contextlib.suppress(OSError):
            connection.sendall(b"220 hello\\n")
            while connection.recv(1):
                connection.sendall(b"!")

    signal.signal(signal.SIGTERM, end)
    print("up", flush=True)
    time.sleep(float(sys.argv[2]))
    with socket.create_server(("127.0.0.1", int(sys.argv[1])), reuse_port=True) as listening:
        print("listening", flush=True)
        while True:
            threading.Thread(target=talk, args=(listening.accept()[0],)).start()
    """
)
"""Greets, answers each byte; after SIGTERM it lasts as long as its connections, as Traefik does."""


def _children() -> set[int]:
    """Return the processes that this one has started; psutil would look at every process."""
    found: set[int] = set()
    for file in Path("/proc/self/task").glob("*/children"):  # proc(5)
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended
            found.update(map(int, file.read_text().split()))
    return found


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    """End and report what a test has left running; other tests may share a database's server."""
    before = _children()
    yield
    left = [psutil.Process(pid) for pid in _children() - before]
    told = [str(child) for child in left if child.status() != psutil.STATUS_ZOMBIE]
    for child in left:
        child.kill()
    assert told == []


@pytest.fixture
def home() -> Iterator[Home]:
    """Make a home whose sockets fit into the kernel's 107 bytes, wherever pytest works."""
    with tempfile.TemporaryDirectory(prefix="gp", dir="/tmp") as folder:
        home = Home(Path(folder))
        home.run.mkdir()
        yield home


@pytest.fixture
def free_port() -> Callable[[], int]:
    """Return loopback ports that nobody listens on."""

    def find() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
            return port

    return find


@pytest.fixture
def topology() -> Callable[..., Topology]:
    """Return a topology that listens on the given addresses."""

    def make(*public: Address) -> Topology:
        row = Listener("smtp", Protocol.SMTP, Tls.STARTTLS, 25, 3325, 31025, 32025)
        bound = BoundListener(
            row, "postfix", proxied=True, public=tuple(public), service=(), internal=()
        )
        return Topology((bound,), {}, {}, ())

    return make


@pytest.fixture
def plan(topology: Callable[..., Topology]) -> Callable[..., Plan]:
    """Return a plan of some files and processes that asks for nothing else."""

    def make(*parts: RenderedFile | Process) -> Plan:
        return Plan(
            topology=topology(),
            files=tuple(part for part in parts if isinstance(part, RenderedFile)),
            processes=tuple(part for part in parts if isinstance(part, Process)),
            directories=(),
            users=(),
            checks=(),
        )

    return make


@pytest.fixture
def server(free_port: Callable[[], int]) -> Callable[..., Process]:
    """Return a process that greets on a port of its own, after a delay."""

    def make(
        name: str,
        *,
        delay: float = 0,
        port: int | None = None,
        after: tuple[str, ...] = (),
        reload: tuple[str, ...] = (),
        overlaps: bool = False,
    ) -> Process:
        port = port or free_port()
        return Process(
            name,
            (sys.executable, "-I", "-S", "-c", SERVER, str(port), str(delay)),
            after=after,
            ready=(Readiness(Address("127.0.0.1", port), b"220 "),),
            reload=reload,
            overlaps=overlaps,
            stop_seconds=2,
        )

    return make
