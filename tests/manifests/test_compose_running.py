"""The containers of deploy/compose.yaml are a mail server that sees each client's own address."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import compose_project
import pytest
from accounts import ALICE, PASSWORD
from clients import From, message, wait_for_mail
from compose_project import Project
from network import DOOR, Host, network
from required import require

SETTINGS = "MAILNAME=mail.example.org\n"
ADDRESSES = ("203.0.113.77", "2001:db8:113::77")
FAMILIES = pytest.mark.parametrize("family", [4, 6])


@pytest.fixture(scope="module", autouse=True)
def _machine_runs_containers() -> None:
    """Say loudly what is missing; where CI counts on these tests they fail."""
    require("The tests of deploy/compose.yaml", compose_project.requirements())


@pytest.fixture(scope="module")
def server(_machine_runs_containers: None) -> Iterator[Project]:
    """Run the whole project, with one mailbox."""
    with compose_project.project(SETTINGS) as made:
        mda = made.container("mda")
        mda.call("gatepost", "domain", "add", "example.org")
        mda.call("gatepost", "mailbox", "add", ALICE[0], "--password-stdin", stdin=PASSWORD)
        yield made


@pytest.fixture(scope="module")
def laptop(server: Project) -> Host:
    """Connect a machine in the world to it."""
    return server.machine("laptop", *ADDRESSES)


@FAMILIES
def test_a_message_comes_and_is_read_with_the_clients_address(
    server: Project, laptop: Host, family: int
) -> None:
    """Accounts are not shared, a container does not find the other, or all clients are one."""
    own, door = ADDRESSES[family == 6], DOOR[family == 6]
    with laptop.inside():
        with From(own).smtp((door, 25)) as smtp:
            smtp.send_message(message(to=ALICE[0], subject=f"by IPv{family}"))
        wait_for_mail((door, 993), ALICE, f"by IPv{family}", source=own, implicit=True)
    server.container("mta").wait_for_log("/smtp/smtpd[", f" connect from unknown[{own}]:")
    server.container("mda").wait_for_log(f"Logged in: user=<{ALICE[0]}>", f"rip={own}")


@FAMILIES
def test_submission_knows_the_logins(server: Project, laptop: Host, family: int) -> None:
    """Nobody could send: the MTA asks the other container about logins."""
    own, door = ADDRESSES[family == 6], DOOR[family == 6]
    subject = f"to myself by IPv{family}"
    with laptop.inside():
        with From(own).submission((door, 587), ALICE) as smtp:
            smtp.send_message(message(to=ALICE[0], sender=ALICE[0], subject=subject))
        wait_for_mail((door, 143), ALICE, subject, source=own)
    server.container("mta").wait_for_log(f"client=unknown[{own}]", f"sasl_username={ALICE[0]}")


def test_mail_waits_for_a_mail_store_that_is_away(server: Project, laptop: Host) -> None:
    """Its name has no address then, and all that came meanwhile would bounce (5.4.4)."""
    subjects = [f"away{number:02}" for number in range(20)]
    queue = "/var/lib/gatepost/config/current/postfix"
    mta = server.container("mta")

    def send(subject: str) -> None:
        with laptop.inside(), From(ADDRESSES[0]).smtp((DOOR[0], 25)) as smtp:
            smtp.send_message(message(to=ALICE[0], subject=subject))

    assert server.compose("stop", "mda").returncode == 0
    try:
        for subject in subjects[:10]:
            send(subject)
        mta.wait_for_log("unable to look up the mail store")
    finally:
        assert server.compose("start", "mda").returncode == 0
    # Replaced while mail comes in: it has another address afterwards.
    replacing = threading.Thread(
        target=server.compose, args=("up", "--detach", "--force-recreate", "mda")
    )
    replacing.start()
    for subject in subjects[10:]:
        send(subject)
        time.sleep(0.1)
    replacing.join()
    deadline = time.monotonic() + 60
    while not server.healthy("mda"):
        assert time.monotonic() < deadline, server.container("mda").log()[-3000:]
        time.sleep(0.2)
    mta.call("postqueue", "-c", queue, "-f")
    with laptop.inside():
        for subject in subjects:
            wait_for_mail(
                (DOOR[0], 993), ALICE, subject, source=ADDRESSES[0], implicit=True, seconds=60
            )
    assert "status=bounced" not in mta.log()


def test_a_stranger_cannot_claim_an_address(server: Project, laptop: Host) -> None:
    """A PROXY header of the client's own would be believed."""
    with laptop.inside(), From(ADDRESSES[0]).raw((DOOR[0], 25)) as stream:
        stream.sendall(b"PROXY TCP4 198.51.100.66 198.51.100.1 4321 25\r\n")
        assert stream.recv(4096).startswith(b"220 ")
        port = stream.getsockname()[1]
        server.container("mta").wait_for_log(f" connect from unknown[{ADDRESSES[0]}]:{port}")
    assert "198.51.100.66]" not in server.container("mta").log()


def test_a_missing_name_is_named() -> None:
    """The server would greet by the name of a container, and others refuse its mail."""
    with (
        compose_project.files("# MAILNAME is missing\n") as folder,
        network() as net,
    ):
        done = Project("unnamed", folder, net).compose("config")
    assert done.returncode != 0
    assert "MAILNAME" in done.stderr
    assert "deploy/.env" in done.stderr
