"""Clients that hold on to a connection and do nothing with it, on every listener.

Nobody else may notice them, and each is dropped in the end.
"""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import psutil
import pytest
from accounts import ALICE, PASSWORD
from breaking import ask_no_name_server, postfix_with
from clients import From, connect
from instance import STRANGER, Instance, instance
from logins import Ports, public_ports
from sampling import OURS
from stuck_clients import (
    LISTENERS,
    SMTP,
    STOPS,
    Crowd,
    deaf,
    in_auth,
    in_data,
    in_tls,
    silent,
    stops_at,
)

from gatepost.proxy_protocol import build_1, build_2

EACH = 8
"""So many clients stop at each place of each listener."""
HEADER_SECONDS = 2
DOVECOT_HEADER_SECONDS = 3
"""Dovecot has it built in."""
SHORT_SECONDS = 3
"""What Postfix's five minutes are for a test that shall end."""
HONEST_SECONDS = 2.0
TRUSTED = "127.0.0.1"
HONEST = "127.0.0.77"

MEMORY = {"gate": 5e6, "traefik": 40e6, "imap-login": 20e6, "pop3-login": 20e6}
"""Bytes by which hundreds of stuck clients may make a process larger."""


@dataclass(frozen=True)
class Served:
    """A server behind Traefik, and where its listeners are."""

    server: Instance
    ports: Ports
    service: Ports

    def honest(self) -> dict[str, float]:
        """Visit every listener, three times; return how long each took, in seconds."""
        took: dict[str, float] = {}
        for listener in LISTENERS:
            times = []
            for _ in range(3):
                begun = time.monotonic()
                From(HONEST).visit(self.ports[listener], listener, (ALICE[0], PASSWORD))
                times.append(time.monotonic() - begun)
            took[listener] = statistics.median(times)
        return took

    def processes(self) -> Iterator[psutil.Process]:
        """Yield every process of the server."""
        pid = next(row["pid"] for row in self.server.status()["services"])
        supervisor = psutil.Process(pid).parent()
        assert supervisor
        yield from supervisor.children(recursive=True)

    def usage(self) -> tuple[Counter[str], Counter[str]]:
        """Return bytes of memory and open descriptors, by the name of the process."""
        memory: Counter[str] = Counter()
        descriptors: Counter[str] = Counter()
        for process in self.processes():
            try:
                ours = [name for module, name in OURS.items() if module in process.cmdline()]
                name = ours[0] if ours else process.name()
                memory[name] += process.memory_full_info().uss
                descriptors[name] += process.num_fds()
            except psutil.Error:
                continue  # ended meanwhile
        return memory, descriptors


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """Run a server behind Traefik, with the time-outs that it has but for the gate's."""
    settings = {"MTA_PROXY_HEADER_SECONDS": str(HEADER_SECONDS)}
    with instance(settings) as server:
        server.call("domain", "add", "example.org")
        server.call("mailbox", "add", ALICE[0], "--password-stdin", stdin=PASSWORD)
        ask_no_name_server(server)
        host = server.addresses.service
        service = {
            row["name"]: (host, int(row["service"].rpartition(":")[2]))
            for row in server.status()["listeners"]
        }
        yield Served(server, public_ports(server), service)


def test_nobody_notices_hundreds_of_stuck_clients(served: Served) -> None:
    """One computer with a script of ten lines would keep a whole company from its mail."""
    alone = served.honest()
    memory, descriptors = served.usage()
    places = [(stop, name) for stop in STOPS for name in LISTENERS if stops_at(stop, name)]
    members = [
        (stop, listener, f"127.0.3.{number + 1}")
        for number, (stop, listener) in enumerate(places)
        for _ in range(EACH)
    ]
    assert len(members) > 200
    with Crowd() as crowd:
        crowd.join(served.ports, members)
        beside = served.honest()
        more_memory, more_descriptors = served.usage()
    late = {n: (t, alone[n]) for n, t in beside.items() if t > HONEST_SECONDS + 2 * alone[n]}
    assert not late
    grown = {name: more_memory[name] - memory[name] for name in MEMORY}
    assert {name: by for name, by in grown.items() if by > MEMORY[name]} == {}
    # Whom it has handed over the gate knows no more; Traefik has two sockets for each.
    assert more_descriptors["gate"] - descriptors["gate"] < 20
    assert more_descriptors["traefik"] - descriptors["traefik"] < 2 * len(members) + 100
    assert all(row["restarts"] == 0 for row in served.server.status()["services"])


def test_a_header_must_come_in_time(served: Served) -> None:
    """A proxy that hangs, or a program that found the port, would use up all connections."""
    client, server = ("127.0.8.8", 4711), ("127.0.8.1", 25)
    beginnings = (b"", build_1(client, server)[:20], build_2(client, server)[:16])
    for drip in (b"", b"A"):
        with Crowd() as crowd:
            for beginning in beginnings:
                members = [(silent, listener, TRUSTED) for listener in LISTENERS] * 4
                crowd.join(served.service, members, beginning)
            begun = time.monotonic()
            # Through the same ports comes everybody else.
            From(HONEST).visit(served.ports["smtp"], "smtp", (ALICE[0], PASSWORD))
            assert time.monotonic() - begun < HONEST_SECONDS
            longest = max(HEADER_SECONDS, DOVECOT_HEADER_SECONDS) + 2
            assert crowd.wait_until_dropped(longest, drip=drip) == []


def test_a_stranger_holds_nothing(served: Served) -> None:
    """Who is not the proxy could hold the service ports' connections as long as it likes."""
    with Crowd() as crowd:
        members = [(silent, listener, STRANGER) for listener in LISTENERS] * 4
        crowd.join(served.service, members)
        assert crowd.wait_until_dropped(DOVECOT_HEADER_SECONDS + 2) == []


def test_postfix_drops_who_is_stuck(served: Served) -> None:
    """Each would keep a process of the 600 for ever."""
    with (
        postfix_with(served.server, short(), {}),
        Crowd() as crowd,
    ):
        members = [
            (stop, listener, f"127.0.4.{number + 1}")
            for number, stop in enumerate((silent, in_tls, in_auth, in_data, deaf))
            for listener in sorted(SMTP)
            if stops_at(stop, listener)
            for _ in range(2)
        ]
        crowd.join(served.ports, members)
        assert crowd.wait_until_dropped(4 * SHORT_SECONDS) == []


@pytest.mark.parametrize("deadline", ["yes", "no"])
def test_a_byte_now_and_then_buys_no_time(served: Served, deadline: str) -> None:
    """Who types a letter a minute would never be dropped; the control is Postfix's default."""
    changes = short() | ({} if deadline == "yes" else {"smtpd_per_request_deadline": "no"})
    with postfix_with(served.server, changes, {}), Crowd() as crowd:
        crowd.join(
            served.ports, [(silent, "smtp", "127.0.5.1"), (silent, "submission", "127.0.5.2")]
        )
        left = crowd.wait_until_dropped(3 * SHORT_SECONDS, drip=b"A")
        assert len(left) == (0 if deadline == "yes" else 2)


def short() -> dict[str, str]:
    return dict.fromkeys(("smtpd_timeout", "smtpd_starttls_timeout"), f"{SHORT_SECONDS}s")


def test_the_time_outs_are_as_the_docs_say(served: Served) -> None:
    """The tests above shorten what nobody waits for; it must be there at all."""
    folder = served.server.home / "config" / "current" / "postfix"
    names = ("smtpd_timeout", "smtpd_per_request_deadline", "smtpd_min_data_rate")
    done = subprocess.run(
        ["postconf", "-c", str(folder), "-hx", *names], check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == ["300s", "yes", "500"]


@pytest.mark.skipif("PATIENCE" not in os.environ, reason="takes nine minutes: make patience")
def test_all_are_dropped_in_the_end(served: Served) -> None:
    """What the daemons have built in cannot be shortened: it is waited for."""
    for seconds, names in ((180, set(LISTENERS) - SMTP), (300, SMTP)):
        with Crowd() as crowd:
            members = [
                (stop, listener, f"127.0.6.{number + 1}")
                for number, stop in enumerate((silent, in_tls, in_auth))
                for listener in sorted(names)
                if stops_at(stop, listener)
            ]
            crowd.join(served.ports, members)
            assert crowd.wait_until_dropped(seconds - 20) != []
            assert crowd.wait_until_dropped(60) == []


def test_a_reader_that_reads_nothing_holds_only_itself(served: Served) -> None:
    """A deaf mail program would hold a process that others wait for."""
    with From(HONEST).smtp(served.ports["smtp"]) as smtp:
        smtp.sendmail(
            "friend@outside.test", ALICE[0], "Subject: large\r\n\r\n" + ("x" * 70 + "\r\n") * 5000
        )
    address = served.ports["imaps"]
    with From(HONEST).imap(address, (ALICE[0], PASSWORD), implicit=True) as honest:
        deadline = time.monotonic() + 20
        while honest.select("INBOX")[1] == [b"0"]:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        with From("127.0.3.200").imap(address, (ALICE[0], PASSWORD), implicit=True) as stuck:
            stuck.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            stuck.select("INBOX")
            for number in range(50):
                stuck.send(b"x%d FETCH 1 BODY.PEEK[]\r\n" % number)
            begun = time.monotonic()
            assert honest.noop()[0] == "OK"
            assert honest.fetch("1", "(BODY.PEEK[])")[0] == "OK"
            assert time.monotonic() - begun < HONEST_SECONDS
            stuck.sock.close()
    connect(address, HONEST).close()
