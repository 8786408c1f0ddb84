"""The newcomer's path: clone, `make up`, a mailbox, mail in and out, `make down`.

What a person types comes from the README itself, so the README cannot drift from what works. The
Debian 13 that the newcomer leaves behind then runs what depends most on the daemons' versions.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clients import From, message, wait_for_mail
from instance import CLIENT, Addresses, Instance, free_addresses
from machines import Machine, bare_debian, processes_inside, this_machine

REPOSITORY = Path(__file__).parents[2]
README = REPOSITORY / "README.md"
LOGIN = ("you@example.org", "a long password that only tests use")


DEPENDS_ON_VERSIONS = ("test_receiving.py", "test_submission.py", "test_sieve.py")
"""What runs at each change."""
WHOLE = (
    *DEPENDS_ON_VERSIONS,
    *("test_reading.py", "test_gate.py", "test_client_address.py", "test_proxy_senders.py"),
    *("test_postgresql.py", "test_silent_name_servers.py"),
    *("test_no_backscatter.py", "test_delimiters.py", "test_sieve_limits.py"),
    *("test_sieve_senders.py", "test_sleeping_sessions.py", "test_sessions.py"),
)
"""What `make test-debian-13` runs: the daemons' versions change seldom."""


@pytest.fixture(scope="module")
def progress(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Show what happens while it happens: these tests take minutes."""
    terminal = request.config.pluginmanager.getplugin("terminalreporter")
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def show(line: str) -> None:
        if not terminal:  # one of several processes that run tests side by side
            return
        with capture.global_and_fixture_disabled():
            terminal.ensure_newline()
            terminal.write_line(line, flush=True)

    return show


@pytest.fixture(scope="module")
def debian_13(progress: Callable[[str], None]) -> Iterator[Machine]:
    """Lend a Debian 13 that has nothing but apt, git and make."""
    with bare_debian("trixie", REPOSITORY, progress) as found:
        yield found


@pytest.fixture(scope="module")
def here(progress: Callable[[str], None]) -> Iterator[Machine]:
    """Lend this machine with a fresh clone."""
    with this_machine(REPOSITORY, progress) as found:
        yield found


@pytest.fixture(params=["here", "debian_13"])
def machine(request: pytest.FixtureRequest) -> Machine:
    """Lend one machine after the other."""
    lent: Machine = request.getfixturevalue(request.param)
    return lent


def first_mailbox() -> list[str]:
    """Return the lines by which the README makes a first mailbox."""
    section = README.read_text().partition("## A first mailbox\n")[2]
    block = re.search(r"```sh\n(.*?)```", section, re.DOTALL)
    assert block, "README.md has no shell lines under '## A first mailbox'"
    return block[1].strip().splitlines()


@contextlib.contextmanager
def served(machine: Machine, addresses: Addresses) -> Iterator[Instance]:
    """Describe the newcomer's server; stop it in any case."""
    home = Path("/srv/gp-newcomer") if machine.enter else machine.checkout.parents[1] / "home"
    server = Instance(home, addresses)
    settings = {
        name: server.environment[name]
        for name in ("GATEPOST_HOME", "PUBLIC_BIND_ADDRESS", "SERVICE_BIND_ADDRESS", "MAILNAME")
    }
    server.settings.update(settings)
    try:
        yield server
    finally:
        with contextlib.suppress(AssertionError):
            machine.run(".venv/bin/gatepost down", settings=settings, seconds=60)


def test_newcomer(machine: Machine, progress: Callable[[str], None]) -> None:
    """A newcomer who follows the README ends up without working mail."""
    with free_addresses() as addresses, served(machine, addresses) as server:
        given = " ".join(f"{name}='{value}'" for name, value in server.settings.items())
        first = machine.run(f"make up {given}", seconds=1500)
        assert "→ Making a virtual environment" in first

        assert_release(machine)

        for line in first_mailbox():
            machine.run(line, settings=server.settings, answers=[LOGIN[1], LOGIN[1]])
        progress("a message goes in over SMTP and out over IMAP, IMAPS, POP3 and POP3S")
        log = machine.outside(server.log_file)
        send_and_read(server.addresses, log)

        again = machine.run(f"make up {given}", seconds=120)
        assert not re.search("^→", again, re.MULTILINE), "a second `make up` installs again"
        assert_mail_is_kept(server.addresses)

        machine.run(f"make down {given}")
        left = processes_inside(machine) if machine.enter else server.processes()
        assert not [process for process in left if "gp-newcomer" in str(process)], left


def test_daemons_of_debian_13(debian_13: Machine) -> None:
    """What Postfix 3.10 and Dovecot 2.4 do with what is written for them would be a guess."""
    debian_13.run("make test-packages", seconds=900)
    names = WHOLE if os.environ.get("DEBIAN_13") == "whole" else DEPENDS_ON_VERSIONS
    files = " ".join(f"tests/real/{name}" for name in names)
    said = debian_13.run(f".venv/bin/pytest -p no:cacheprovider {files}", seconds=3600)
    assert re.search(r"\d{3} passed", said)
    assert not re.search(r"skipped|deselected", said)
    left = processes_inside(debian_13)
    assert not [process for process in left if "gp-" in str(process)], left


def test_units_on_debian_13(debian_13: Machine) -> None:
    """A newer SQLite or Python would do something else than the tests have seen."""
    debian_13.run("make test-packages", seconds=900)
    said = debian_13.run("make test-unit", seconds=900)
    assert re.search(r"\d{4} passed", said)
    assert "failed" not in said


def assert_release(machine: Machine) -> None:
    """See that the Debian root runs the daemons it is there for: a newer Postfix and Dovecot."""
    if machine.enter:
        assert "mail_version = 3.10" in machine.run("postconf -d mail_version")
        assert machine.run("dovecot --version").startswith("2.4")


def entry_point(addresses: Addresses, listener: str) -> tuple[str, int]:
    """Return where a mail program connects, as the README tells."""
    ports = {"smtp": 3325, "submission": 33587, "imap": 33143, "imaps": 33993}
    ports |= {"pop3": 33110, "pop3s": 33995}
    return addresses.public, ports[listener]


def send_and_read(addresses: Addresses, log: Path) -> None:
    """Send as a stranger's server does, read by all four, and look who the daemons saw."""
    with From(CLIENT).smtp(entry_point(addresses, "smtp")) as smtp:
        smtp.send_message(message(to=LOGIN[0], subject="welcome"))
    login = LOGIN
    read = wait_for_mail(entry_point(addresses, "imap"), login, "welcome", source=CLIENT).decode()
    assert re.search(rf"^Received: from [^;]*\[{re.escape(CLIENT)}\]", read, re.MULTILINE), read
    wait_for_mail(entry_point(addresses, "imaps"), login, "welcome", source=CLIENT, implicit=True)
    for listener, implicit in (("pop3", False), ("pop3s", True)):
        with From(CLIENT).pop3(entry_point(addresses, listener), login, implicit=implicit) as pop3:
            assert b"Subject: welcome" in pop3.retr(1)[1]
    with From(CLIENT).submission(entry_point(addresses, "submission"), login) as submission:
        submission.send_message(message(to=LOGIN[0], sender=LOGIN[0], subject="to myself"))
    wait_for_mail(entry_point(addresses, "imap"), login, "to myself")
    lines = log.read_text().splitlines()
    logins = [line for line in lines if re.search("-login: Info: Log(in|ged in): ", line)]
    for protocol in ("imap-login", "pop3-login"):
        seen = [line for line in logins if protocol in line and f"rip={CLIENT}," in line]
        assert len(seen) >= 2, f"{protocol}: {logins}"


def assert_mail_is_kept(addresses: Addresses) -> None:
    """Read again what was there before."""
    wait_for_mail(entry_point(addresses, "imap"), LOGIN, "welcome", seconds=0)
