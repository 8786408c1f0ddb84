"""Health over HTTP: what a kubelet is told, and that it costs nothing."""

from __future__ import annotations

import socket
import time
import urllib.error
import urllib.request

import pytest

from gatepost.errors import PreflightError
from gatepost.run.health import Health, serving


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("0.0.0.0", 0))
        port: int = probe.getsockname()[1]
    return port


def ask(port: int, path: str, host: str = "127.0.0.1") -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_not_ready_says_why(capfd: pytest.CaptureFixture[str]) -> None:
    """A pod would get clients before it can serve them, or nobody could see what it waits for."""
    told, port = Health(), free_port()
    with serving(told, ipv6=False, port=port):
        assert ask(port, "/ready") == (503, "starting\n")
        told.wait_for("DB_HOST: nobody answers at db:5432.")
        assert ask(port, "/ready") == (503, "DB_HOST: nobody answers at db:5432.\n")
        told.obstacle = lambda: None
        assert ask(port, "/ready") == (200, "ready\n")
        assert ask(port, "/live") == (200, "alive\n")
        assert ask(port, "/")[0] == 404
    assert capfd.readouterr() == ("", ""), "each probe would write a line into the mail log"
    with pytest.raises(urllib.error.URLError):
        ask(port, "/live")


def test_a_supervisor_that_hangs_is_not_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would hang for ever: nobody restarts a container that says that it lives."""
    told = Health()
    assert told.answer("/live")[0] == 200
    later = time.monotonic() + 61
    monkeypatch.setattr(time, "monotonic", lambda: later)
    status, text = told.answer("/live")
    assert (status, text) == (503, "no sign of life for 61 s")
    told.beat()
    assert told.answer("/live")[0] == 200


def test_both_families_are_answered() -> None:
    """In a cluster of one family the kubelet would find nobody."""
    port = free_port()
    with serving(Health(), ipv6=True, port=port):
        assert ask(port, "/live")[0] == 200
        assert ask(port, "/live", "[::1]")[0] == 200


def test_a_port_that_is_taken_is_told() -> None:
    """The server would run, and its pod would be killed as dead."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(PreflightError, match="where health is reported, cannot be opened"),
            serving(Health(), ipv6=False, port=port),
        ):
            pass
