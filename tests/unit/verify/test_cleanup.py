"""The probe's mail is removed over IMAP, and a server that does not answer is no trouble."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from verify_cluster import topology

from gatepost.model import Address, Topology
from gatepost.verify.clients import cleanup
from gatepost.verify.clients.mailbox import Login

LOGIN = Login("probe-0@gatepost-probe.invalid", "a password")


@contextmanager
def imap(messages: str) -> Iterator[tuple[Topology, list[str]]]:
    """Run a server that takes every command, without TLS; yield where it is and what it heard."""
    heard: list[str] = []
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        stream, _ = listening.accept()
        with stream, stream.makefile("rw", newline="\r\n") as talk:
            talk.write("* OK ready\n")
            talk.flush()
            for line in talk:
                tag, _, command = line.strip().partition(" ")
                heard.append(command)
                if command == "UID SEARCH ALL":
                    talk.write(f"* SEARCH{messages}\n")
                talk.write(f"{tag} OK done\n")
                talk.flush()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    port = listening.getsockname()[1]
    table = topology()
    bound = replace(table.named("imap"), public=(Address("127.0.0.1", port),))
    try:
        yield replace(table, listeners=(bound,), clients={}), heard
    finally:
        listening.close()
        thread.join(3)


@pytest.fixture(autouse=True)
def no_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave TLS out: the toy speaks none."""
    monkeypatch.setattr("gatepost.verify.clients.sessions.begin_tls", lambda *_: None)


def test_messages_are_removed() -> None:
    """An hourly proof would fill the mail store."""
    with imap(" 1 2 3") as (table, heard):
        assert cleanup.empty(table, LOGIN)
    assert f'LOGIN "{LOGIN.address}" "{LOGIN.password}"' in heard
    assert heard[-4:] == [
        "UID SEARCH ALL",
        r"UID STORE 1:* +FLAGS.SILENT (\Deleted)",
        "EXPUNGE",
        "LOGOUT",
    ]


def test_an_empty_mailbox_is_left_alone() -> None:
    """A range over no messages is an error to some servers."""
    with imap("") as (table, heard):
        assert cleanup.empty(table, LOGIN)
    assert not [line for line in heard if "STORE" in line]


def test_a_server_that_is_away_is_no_trouble() -> None:
    """The report must come all the same."""
    table = topology()
    bound = replace(table.named("imap"), public=(Address("127.45.45.45", 1),))
    assert not cleanup.empty(replace(table, listeners=(bound,), clients={}), LOGIN)
