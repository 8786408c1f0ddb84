"""The gate dies, restarts and reloads while mail comes in."""

from __future__ import annotations

import contextlib
import os
import signal
import smtplib
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import psutil
import pytest
from accounts import ALICE, populate
from clients import From, message
from instance import CLIENT, Instance, instance

SENDERS = 4
TIMES = 2
APART = 6.0
"""Seconds; a service that dies sooner again waits longer for its next start."""


@pytest.fixture(scope="module")
def server() -> Iterator[Instance]:
    """Run a server that this module may hurt; the load is one client's."""
    settings = {"MTA_CLIENT_CONNECTIONS_PER_MINUTE": "0"}
    with instance(settings) as made:
        populate(made)
        yield made


@dataclass
class Load:
    """Mail that comes in all the time: what was accepted, and what went wrong."""

    address: tuple[str, int]
    accepted: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Send for as long as the block lasts."""
        stop = threading.Event()
        threads = [threading.Thread(target=self._send, args=(stop,)) for _ in range(SENDERS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    def _send(self, stop: threading.Event) -> None:
        while not stop.is_set():
            subject = uuid.uuid4().hex
            try:
                with From(CLIENT).smtp(self.address) as smtp:
                    smtp.send_message(message(to=ALICE[0], subject=subject))
            except (OSError, smtplib.SMTPException) as error:
                self.failed.append(repr(error))
            else:
                self.accepted.append(subject)


def gate(server: Instance) -> int:
    """Return the gate's process id, once it is ready."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        (row,) = (s for s in server.status()["services"] if s["name"] == "gate")
        if row["state"] == "ready":
            return int(row["pid"])
        time.sleep(0.1)
    raise AssertionError(server.status())


def kill(server: Instance) -> None:
    os.kill(gate(server), signal.SIGKILL)


def restart(server: Instance) -> None:
    os.kill(gate(server), signal.SIGTERM)


def reload(server: Instance) -> None:
    before = gate(server)
    server.settings["MTA_PROXY_HEADER_SECONDS"] = str(time.time_ns() % 40 + 5)
    server.up()
    assert gate(server) == before, "it was restarted"


@pytest.mark.parametrize("disturb", [kill, restart, reload])
def test_no_accepted_message_is_lost(server: Instance, disturb: Callable[[Instance], None]) -> None:
    """Mail would bounce, or vanish, whenever the gate is restarted or its settings change."""
    load = Load(server.public("smtp"))
    with From(CLIENT).smtp(server.public("smtp")) as open_before:
        assert open_before.mail("friend@outside.test")[0] == 250
        mark = server.mark()
        with load.running():
            for _ in range(TIMES):
                time.sleep(APART)
                disturb(server)
            time.sleep(2)
        assert open_before.rcpt(ALICE[0])[0] == 250, "an open session was cut"
    assert len(load.accepted) > SENDERS
    # Whoever is in a killed gate's hands at that moment is cut, and comes back as mail servers do.
    most = TIMES * SENDERS if disturb is kill else 0
    assert len(load.failed) <= most, load.failed
    assert_all_arrive(server, load.accepted)
    if disturb is not reload:
        server.wait_for_log("gatepost |", "gate", "restart", since=mark)


def assert_all_arrive(server: Instance, subjects: list[str]) -> None:
    """Wait until every message is in the mailbox."""
    missing, deadline = set(subjects), time.monotonic() + 30
    while missing and time.monotonic() < deadline:
        with From(CLIENT).imap(server.public("imap"), ALICE) as imap:
            imap.select("INBOX", readonly=True)
            _, found = imap.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
        text = b"".join(part[1] for part in found if isinstance(part, tuple)).decode()
        missing = {subject for subject in missing if subject not in text}
        time.sleep(0.2)
    assert not missing, f"{len(missing)} of {len(subjects)} accepted messages are lost"


def test_the_ports_stay_open_while_there_is_no_gate(server: Instance) -> None:
    """The control: it is the supervisor that listens, so a connection waits and is then served."""
    time.sleep(APART)
    process = psutil.Process(gate(server))
    process.suspend()
    try:
        waiting = threading.Timer(1.0, process.kill)
        waiting.start()
        begun = time.monotonic()
        with From(CLIENT).smtp(server.public("smtp")) as smtp:
            assert smtp.noop()[0] == 250
        assert time.monotonic() - begun > 1.0
    finally:
        waiting.join()


def test_changed_trust_is_taken_without_a_restart(server: Instance) -> None:
    """Trust would be withdrawn in the settings, and go on in the gate until the next restart."""
    before = gate(server)
    own = server.settings.get("TRUSTED_PROXIES")
    server.settings["TRUSTED_PROXIES"] = "127.0.0.9/32"
    try:
        server.up()
        with pytest.raises(smtplib.SMTPException), From(CLIENT).smtp(server.public("smtp")):
            pass
    finally:
        del server.settings["TRUSTED_PROXIES"]
        if own:
            server.settings["TRUSTED_PROXIES"] = own
        server.up()
    with From(CLIENT).smtp(server.public("smtp")) as smtp:
        assert smtp.noop()[0] == 250
    assert gate(server) == before
