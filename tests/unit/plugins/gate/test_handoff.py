"""Handing over: the descriptor and the addresses arrive as Postfix reads them."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from gatepost.plugins.gate.handoff import Endpoints, HandoffError, hand_over


def test_the_receiver_gets_the_connection_and_the_addresses(tmp_path: Path) -> None:
    """Postfix would serve nobody, or believe in the wrong client."""
    path = str(tmp_path / "pass")
    with socket.socket(socket.AF_UNIX) as service:
        service.bind(path)
        service.listen()
        ours, theirs = socket.socketpair()
        endpoints = Endpoints("2001:db8::7", 1234, "2001:db8::1", 25)
        channel = hand_over(theirs.fileno(), endpoints, path)
        accepted, _ = service.accept()
        # As Postfix does it: one byte with the descriptor first, then the attributes.
        first, descriptors, _, _ = socket.recv_fds(accepted, 1, 1)
        assert first == b"\0"
        assert accepted.recv(1000).split(b"\0") == [
            *(b"client_address", b"2001:db8::7", b"client_port", b"1234"),
            *(b"server_address", b"2001:db8::1", b"server_port", b"25"),
            *(b"", b""),
        ]
        theirs.close()
        with socket.socket(fileno=descriptors[0]) as passed:
            passed.sendall(b"220 hello\r\n")
            assert ours.recv(100) == b"220 hello\r\n"
        accepted.close()
        assert channel.recv(1) == b""
        channel.close()
        ours.close()


def test_nobody_there_is_said_at_once(tmp_path: Path) -> None:
    """A client would hang while Postfix is down."""
    ours, theirs = socket.socketpair()
    with pytest.raises(HandoffError, match="nothing"):
        hand_over(theirs.fileno(), Endpoints("::1", 1, "::1", 2), str(tmp_path / "nothing"))
    ours.close()
    theirs.close()


def test_nothing_is_left_when_it_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without descriptors the gate would end, or lose one more with each client."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(HandoffError):
        hand_over(0, Endpoints("::1", 1, "::1", 2), str(tmp_path / "nothing"))
    assert len(list(Path("/proc/self/fd").iterdir())) == before

    def fail(*_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(socket, "socket", fail)
    with pytest.raises(HandoffError, match="Too many open files"):
        hand_over(0, Endpoints("::1", 1, "::1", 2), str(tmp_path / "nothing"))
