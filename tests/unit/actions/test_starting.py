"""A supervisor that is older than the program that asks it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatepost.actions import starting
from gatepost.model import Home
from gatepost.run import control, versions

SUPERVISOR = textwrap.dedent(
    """
    import fcntl, json, os, socket, sys

    place, known, _ = sys.argv[1:]
    lock = open(f"{place}/supervisor.lock", "w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    status = {"ready": True, "stopping": False, "processes": [os.getpid()], "services": []}
    answers = {"status": {**status, **json.loads(known)}, "stop": {"pid": os.getpid()}}
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{place}/control.sock")
        listening.listen()
        while True:
            connection, _ = listening.accept()
            asked = json.loads(connection.recv(1000))["do"]
            connection.sendall(json.dumps(answers[asked]).encode() + b"\\n")
            connection.close()
            if asked == "stop":
                sys.exit()
    """
)
"""A program that answers as a supervisor does, and ends when it is told to."""


@pytest.fixture
def home() -> Iterator[Home]:
    """Make a home with a short path."""
    with tempfile.TemporaryDirectory(prefix="gp", dir="/tmp") as folder:
        home = Home(Path(folder))
        home.run.mkdir()
        yield home


def stopped(home: Home, known: object, last_word: str) -> tuple[bool, list[str], bool]:
    """Run such a program; return whether its lock was taken, what was told, whether it ended."""
    told: list[str] = []
    words = [sys.executable, "-c", SUPERVISOR, str(home.run), json.dumps(known), last_word]
    with subprocess.Popen(words) as supervisor:
        try:
            while control.ask(home, "status") is None:
                assert supervisor.poll() is None
                time.sleep(0.02)
            lock = starting.stop_older(home, told.append)
            time.sleep(0.1)
            return lock is not None, told, supervisor.poll() is not None
        finally:
            supervisor.kill()


def test_one_of_before_is_stopped(home: Home) -> None:
    """Jobs would never run after an upgrade: a supervisor of before ignores them."""
    taken, (line,), ended = stopped(home, {}, starting._BACKGROUND)
    assert taken
    assert ended
    assert "is of an earlier version of Gatepost: all services are restarted" in line


def test_one_of_other_source_is_stopped(home: Home) -> None:
    """A mended supervisor would only be at work after the next boot."""
    known = {"protocol": 2, "versions": {"gatepost": {"gatepost": "0.0.1+0"}}}
    taken, (line,), ended = stopped(home, known, starting._BACKGROUND)
    installed = versions.installed(["gatepost"])["gatepost"]
    assert taken
    assert ended
    assert f"runs gatepost 0.0.1+0, and {installed} is installed" in line


def test_one_of_the_same_source_is_left_alone(home: Home) -> None:
    """The control: each `gatepost up` would restart the whole server."""
    known = {"protocol": 2, "versions": {"gatepost": versions.installed(versions.own())}}
    assert stopped(home, known, starting._BACKGROUND) == (False, [], False)


def test_one_in_the_foreground_is_left_to_what_started_it(home: Home) -> None:
    """Under systemd the unit would end, and start a second server, or none at the next boot."""
    taken, (line,), ended = stopped(home, {}, "gatepost up")
    assert not taken
    assert not ended
    assert line.startswith("Warning: The supervisor (process ")
    assert "restart it where it was started" in line


def test_none_is_no_older_one(home: Home) -> None:
    """A supervisor that ends by itself meanwhile would be waited for."""
    assert starting.stop_older(home, print) is None


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_a_replacement_is_not_interrupted(number: signal.Signals) -> None:
    """A dropped session would leave the mail server stopped, and nobody to start it."""
    heard: list[int] = []
    before = signal.signal(number, lambda got, _frame: heard.append(got))
    try:
        with starting.uninterrupted():
            os.kill(os.getpid(), number)
            child = subprocess.run(["sleep", "0"], check=False)
            assert child.returncode == 0
        assert heard == []
        os.kill(os.getpid(), number)
        assert heard == [number], "the control"
    finally:
        signal.signal(number, before)


def test_a_child_of_a_replacement_can_be_ended() -> None:
    """What a supervisor starts would ignore SIGTERM for ever."""
    with starting.uninterrupted():
        child = subprocess.Popen(["sleep", "60"])
        child.terminate()
        assert child.wait(timeout=30) == -signal.SIGTERM


def test_nothing_ends_a_command_between_the_two_supervisors(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old supervisor would be stopped, and the new one never started."""
    heard: list[int] = []
    begun: list[int] = []

    def stopped(_home: Home, _tell: starting.Tell) -> int:
        os.kill(os.getpid(), signal.SIGHUP)
        return 7

    monkeypatch.setattr(starting, "stop_older", stopped)
    monkeypatch.setattr(starting, "in_background", lambda _home, _tell, lock: begun.append(lock))
    before = signal.signal(signal.SIGHUP, lambda got, _frame: heard.append(got))
    try:
        assert starting.replace_older(home, print)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert (heard, begun) == ([], [7])
    monkeypatch.setattr(starting, "stop_older", lambda _home, _tell: None)
    assert not starting.replace_older(home, print)
    assert begun == [7], "the control: nothing was older"
