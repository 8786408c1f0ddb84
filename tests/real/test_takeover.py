"""A server that the version before has started is taken over by this one."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from accounts import ALICE, PASSWORD
from clients import From, message, wait_for_mail
from instance import CLIENT, PROGRAM, Instance, instance
from required import require

REPOSITORY = Path(__file__).parents[2]
BEFORE = "55409a06b8f475423570ba2ef7e468795d4ffec4"
"""The last commit before plug-ins became values."""


@pytest.fixture(scope="module")
def before() -> Iterator[Path]:
    """Install the version before from the history of this repository; return its program."""
    known = subprocess.run(
        ["git", "-C", REPOSITORY, "cat-file", "-e", f"{BEFORE}^{{commit}}"],
        capture_output=True,
        check=False,
    )
    require(
        "The version before",
        "This clone has no history: git fetch --unshallow" if known.returncode else None,
    )
    with tempfile.TemporaryDirectory(prefix="gp-before-") as folder:
        archive = subprocess.run(
            ["git", "-C", REPOSITORY, "archive", BEFORE], capture_output=True, check=True
        )
        subprocess.run(["tar", "-xC", folder], input=archive.stdout, check=True)
        made = subprocess.run(
            ["make", ".venv/ready"], cwd=folder, capture_output=True, text=True, check=False
        )
        assert made.returncode == 0, made.stdout + made.stderr
        yield Path(folder) / ".venv" / "bin" / "gatepost"


@pytest.fixture
def old_server(before: Path) -> Iterator[Instance]:
    """Run a server of the version before, with a mailbox and a message in it."""
    with instance(start=False) as server:
        server.program = before
        server.up()
        server.call("domain", "add", "example.org")
        server.call("mailbox", "add", ALICE[0], "--password-stdin", stdin=PASSWORD)
        yield server


def send(server: Instance, subject: str) -> None:
    """Send a message from outside."""
    with From(CLIENT).smtp(server.public("smtp")) as smtp:
        smtp.send_message(message(to=ALICE[0], subject=subject), to_addrs=[ALICE[0]])


def supervisor(server: Instance) -> str:
    """Return the Python with which the supervisor runs."""
    (words,) = (
        process.cmdline()
        for process in server.processes()
        if "gatepost.run.supervise" in process.cmdline()
    )
    return words[0]


def test_up_takes_it_over(old_server: Instance, before: Path) -> None:
    """An upgrade would lose mail, or leave half of the server to the version before."""
    send(old_server, "before")
    wait_for_mail(old_server.internal("imap"), ALICE, "before")
    assert supervisor(old_server).startswith(str(before.parent))

    old_server.program = PROGRAM
    old_server.up()

    assert supervisor(old_server).startswith(str(PROGRAM.parent))
    status = old_server.status()
    assert status["ready"], status
    assert {service["state"] for service in status["services"]} == {"ready"}, status
    send(old_server, "after")
    for subject in ("before", "after"):
        wait_for_mail(old_server.internal("imap"), ALICE, subject)
    proof = old_server.run("verify", "--json")
    assert proof.returncode in {0, 3}, proof.stdout
    again = old_server.mark()
    old_server.up()
    assert "started" not in old_server.log(again)
