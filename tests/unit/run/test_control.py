"""Talking to a supervisor."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gatepost.errors import OperationError
from gatepost.model import Home
from gatepost.run import control


@contextlib.contextmanager
def supervisor(home: Home, answer: Callable[[socket.socket], None]) -> Iterator[None]:
    """Take one connection as a supervisor would."""

    def serve() -> None:
        with listening.accept()[0] as connection:
            answer(connection)

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(control.path(home)))
        listening.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        yield
        thread.join(5)
    assert not thread.is_alive()


def test_the_answer_comes_back(home: Home) -> None:
    """`gatepost status` would say nothing, whatever runs."""

    def echo(connection: socket.socket) -> None:
        asked = json.loads(connection.recv(1000))
        connection.sendall(json.dumps({"asked": asked}).encode() + b"\n")

    with supervisor(home, echo):
        assert control.ask(home, "status") == {"asked": {"do": "status"}}


def test_nobody_there_is_no_error(home: Home) -> None:
    """`gatepost down` on a stopped server would fail in every script."""
    assert control.ask(home, "stop") is None


def test_a_stale_socket_is_nobody(home: Home) -> None:
    """After a crash of the machine neither `up` nor `status` would work."""
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(control.path(home)))
    assert control.path(home).exists()
    assert control.ask(home, "status") is None


def test_a_supervisor_that_ends_meanwhile_is_nobody(home: Home) -> None:
    """A stop at the same moment would end in a traceback."""
    with supervisor(home, lambda connection: None):  # noqa: ARG005
        assert control.ask(home, "status") is None


def test_a_supervisor_that_hangs_is_told(home: Home) -> None:
    """The command would wait for ever."""
    done = threading.Event()

    def hang(connection: socket.socket) -> None:
        connection.recv(1000)
        done.wait(5)

    with supervisor(home, hang):
        begun = time.monotonic()
        with pytest.raises(OperationError) as told:
            control.ask(home, "status", seconds=0.1)
        assert time.monotonic() - begun < 2
        done.set()
    assert str(told.value) == (
        'The supervisor does not answer "status" within 0.1 s. '
        "Look at its log: gatepost logs gatepost"
    )


def test_who_may_not_ask_is_told_to_be_root(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """An admin who forgot sudo would see a traceback."""

    class Refusing(socket.socket):
        def connect(self, _address: object) -> None:
            raise PermissionError

    monkeypatch.setattr(socket, "socket", Refusing)
    with pytest.raises(OperationError) as told:
        control.ask(home, "status")
    assert str(told.value) == (
        f'The supervisor of "{home.root}" answers nobody but root. '
        "Run the same command with sudo, or as root."
    )


OLD = {
    "ready": True,
    "stopping": False,
    "problems": [],
    "foreign": "",
    "services": [
        {"name": "mta", "state": "ready", "pid": 7, "restarts": 0, "since": "2026-01-01T00:00:00Z"}
    ],
    "jobs": [],
    "processes": [5, 7],
}
"""What a supervisor of the first version answers to ``status``."""


def answering(answer: object) -> Callable[[socket.socket], None]:
    def serve(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(json.dumps(answer).encode() + b"\n")

    return serve


def test_an_old_supervisor_is_understood(home: Home) -> None:
    """After an upgrade neither `status` nor `up` would work until the server is killed."""
    with supervisor(home, answering(OLD)):
        found = control.request(home, control.STATUS)
    assert found
    assert found.services == (control.ProcessState("mta", "ready", 7, 0, "2026-01-01T00:00:00Z"),)
    assert (found.ready, found.processes, found.protocol, found.versions) == (True, (5, 7), 1, {})


def test_a_newer_supervisor_is_understood(home: Home) -> None:
    """After a downgrade a field that only the newer version knows would end in a traceback."""
    with supervisor(home, answering({**OLD, "protocol": 9, "mood": "good"})):
        found = control.request(home, control.STATUS)
    assert found
    assert found.protocol == 9


@pytest.mark.parametrize("answer", [{}, {"error": "no request"}, [], {"ready": "perhaps"}])
def test_an_answer_that_is_none_is_told(home: Home, answer: object) -> None:
    """The control: anything would pass for an answer, or end in a traceback."""
    with (
        supervisor(home, answering(answer)),
        pytest.raises(OperationError, match="is not understood"),
    ):
        control.request(home, control.STATUS)


@pytest.mark.parametrize(
    "wanted", [control.APPLY, control.FORGET, control.OWNERS, control.WAIT, control.STATUS]
)
def test_a_refusal_is_no_answer(wanted: control.Request[Any]) -> None:
    """A command would believe that it is done."""
    refusal = control.written(control.Refused("this supervisor has no such request"))
    with pytest.raises(OperationError, match="no such request"):
        control.read(wanted, refusal)


def test_answers_go_over_the_wire_as_they_always_did() -> None:
    """A command of the version before would find no key, and end in a traceback."""
    old = control.read(control.STATUS, OLD)
    assert OLD.items() <= control.written(old).items()
    assert control.written(control.Applied()) == {"changed": []}
    assert control.written(control.Applied(("mta restarted",))) == {
        "changed": ["mta restarted"],
        "problem": None,
    }
    assert control.written(control.Started()) == {"problem": None}
    assert control.written(control.Ending(5)) == {"pid": 5}
