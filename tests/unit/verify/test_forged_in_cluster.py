"""A header from a pod that is not the proxy: refused, kept off, served as itself, or believed."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
from verify_cluster import Small, topology

from gatepost.contracts import Plugin
from gatepost.model import Address, BoundListener, Event, Observation, Status
from gatepost.plugins.kubernetes.checks.forged import forged
from gatepost.verify.check import Outcome, Proof
from gatepost.verify.clients.wire import ProbeError, Trouble
from gatepost.verify.evidence.witnesses import LogWitness
from gatepost.verify.targets import Approach, Target, targets

NOBODY = "127.45.45.45"


class Log:
    """The lines of the toy server, as the daemons' log."""

    def __init__(self, lines: list[str]) -> None:
        """Read lines as they are added."""
        self._lines = lines
        self._read = 0

    def begin(self) -> None:
        """Begin with nothing."""

    def read(self) -> Iterator[str]:
        """Yield what is new."""
        fresh = self._lines[self._read :]
        self._read += len(fresh)
        yield from fresh

    def earlier(self, **_: Any) -> Iterator[str]:
        """Yield nothing."""
        yield from ()

    def absence(self, _daemon: str) -> None:
        """Say that it can be read."""

    def close(self) -> None:
        """Do nothing."""


def observe(line: str) -> Observation:
    """Read a line of the toy's: ``EVENT HOST PORT``."""
    event, host, port = line.split()
    return Observation("dovecot", Event(event), host, int(port), None, line)


DOVECOT = Plugin(name="dovecot", observe=observe)


@dataclass
class World:
    """An IMAP server that does with headers what it is told to."""

    port: int
    lines: list[str]

    def outcome(self, small: Small, *, service: str = "127.0.0.1", down: bool = False) -> Outcome:
        """Make the check on it."""
        table = topology()
        bound = replace(
            table.named("imap"),
            public=(Address("127.0.0.1", self.port),),
            service=(Address(service, self.port),),
        )
        with LogWitness(Log(self.lines), (DOVECOT,)) as witness:
            run = small.run(topology=replace(table, listeners=(bound,)), witness=witness)
            if down:
                _take_down(run)
            return forged(run, _target(bound, self.port, service))


def _target(bound: BoundListener, port: int, service: str) -> Target:
    return Target(bound, Address(service, port), (), Approach.SERVICE)


def _take_down(run: Proof) -> None:
    for public in targets(run.topology, Approach.PUBLIC):
        run.unreached[public] = ProbeError(Trouble.CLOSED, "the connection was closed")


@contextmanager
def world(behaviour: str) -> Iterator[World]:
    listening = socket.create_server(("127.0.0.1", 0))
    lines: list[str] = []

    def serve() -> None:
        while True:
            try:
                stream, peer = listening.accept()
            except OSError:
                return
            with stream:
                stream.settimeout(1)
                try:
                    _answer(stream, peer, behaviour, lines)
                except OSError:
                    continue

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield World(listening.getsockname()[1], lines)
    finally:
        # An accept that waits is woken by this and not by a close.
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


def _answer(stream: socket.socket, peer: Any, behaviour: str, lines: list[str]) -> None:
    header = stream.recv(200)
    if not header:
        return
    if behaviour == "refuses":
        lines.append(f"{Event.REFUSED.value} {peer[0]} {peer[1]}")
        return
    claimed = ("127.0.0.1", header.split()[4].decode()) if header.startswith(b"PROXY") else None
    if claimed is None:
        claimed = ("127.0.0.1", str(int.from_bytes(header[24:26], "big")))
    if behaviour != "says nothing":
        who = claimed if behaviour == "believes" else peer
        lines.append(f"{Event.CONNECT.value} {who[0]} {who[1]}")
    stream.sendall(b"* OK toy ready\r\n")
    stream.recv(200)
    stream.sendall(b"g1 OK bye\r\n")


@pytest.mark.parametrize(
    ("behaviour", "status", "words"),
    [
        ("refuses", Status.PASS, "refused"),
        ("serves", Status.PASS, "served as itself"),
        ("believes", Status.FAIL, "as it claimed"),
        ("says nothing", Status.NOT_PROVEN, "neither refused nor named"),
    ],
)
def test_what_becomes_of_a_header(small: Small, behaviour: str, status: Status, words: str) -> None:
    """The daemon's own words decide, not what the port looks like."""
    with world(behaviour) as made:
        outcome = made.outcome(small)
    assert outcome.status is status, outcome
    assert words in outcome.observed
    if status is Status.FAIL:
        assert "NetworkPolicies" in outcome.fix


def test_a_port_that_is_kept_shut_passes(small: Small) -> None:
    """So does a NetworkPolicy; Traefik gets through."""
    with world("serves") as made:
        outcome = made.outcome(small, service=NOBODY)
    assert outcome.status is Status.PASS, outcome
    assert "kept off" in outcome.observed


def test_a_port_that_is_dead_proves_nothing(small: Small) -> None:
    """Else a server that is down would be praised for refusing."""
    with world("serves") as made:
        outcome = made.outcome(small, service=NOBODY, down=True)
    assert outcome.status is Status.NOT_PROVEN
    assert "banner" in outcome.fix


def test_a_service_that_is_not_there_proves_nothing(small: Small) -> None:
    """A name that does not resolve keeps everybody off, the proxy as well."""
    with world("serves") as made:
        outcome = made.outcome(small, service="mda")
    assert outcome.status is Status.NOT_PROVEN
