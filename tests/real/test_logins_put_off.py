"""A login that cannot be checked now is put off: no mail program asks its user for a password."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from accounts import ALICE
from argon2 import PasswordHasher
from database_faults import away, damaged, locked, no_database, unreadable, written_to
from instance import Instance, instance
from logins import LOGINS, Ports, Verdict, public_ports, verdict

SLOW = "slow@example.org"
"""An account whose password takes longer to check than anybody waits."""
ENDLESS = "{ARGON2ID}$argon2id$v=19$m=65536,t=20000,p=1$c29tZXNhbHQ$" + "A" * 43


@dataclass
class Served:
    """A server of this module's own, and where it listens."""

    server: Instance
    ports: Ports

    @property
    def database(self) -> Path:
        """The file of its accounts."""
        return self.server.home / "accounts" / "accounts.sqlite3"

    def doveadm(self, *words: str) -> None:
        """Run ``doveadm``."""
        config = self.server.home / "config" / "current" / "dovecot" / "dovecot.conf"
        subprocess.run(["doveadm", "-c", str(config), *words], check=True, capture_output=True)

    def processes(self, name: str) -> list[psutil.Process]:
        """Return Dovecot's processes of a name: ``auth`` or ``auth-worker``."""
        found = []
        pid = next(r["pid"] for r in self.server.status()["services"] if r["name"] == "dovecot")
        for process in psutil.Process(pid).children():
            with contextlib.suppress(psutil.Error):
                worker = "-w" in process.cmdline()
                if process.name() == "auth" and name == ("auth-worker" if worker else "auth"):
                    found.append(process)
        return found

    def kill(self, name: str) -> None:
        """Kill the processes of a name."""
        for process in self.processes(name):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def log_in(self, password: str, user: str = ALICE[0]) -> dict[str, tuple[Verdict, str]]:
        """Log in every way at once, Dovecot knowing nobody from before; return the answers."""
        self.doveadm("auth", "cache", "flush")
        with ThreadPoolExecutor(len(LOGINS)) as pool:
            running = {
                name: pool.submit(verdict, login, self.ports, user, password)
                for name, login in LOGINS.items()
            }
            return {name: one.result() for name, one in running.items()}


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """Run a server that this module may hurt."""
    with instance({"REVERSE_PROXY": "none"}) as server:
        server.call("domain", "add", "example.org")
        server.call("mailbox", "add", ALICE[0], "--password-stdin", stdin=ALICE[1])
        server.accounts(f'type,address,password_hash\nmailbox,{SLOW},"{ENDLESS}"\n')
        yield Served(server, public_ports(server))


def only(answers: dict[str, tuple[Verdict, str]], wanted: Verdict) -> None:
    """Fail when an answer means anything else."""
    others = {name: answer for name, answer in answers.items() if answer[0] is not wanted}
    assert not others, others


TO_BE_RESTORED = {damaged, no_database}
"""Needs the server to be stopped: SQLite remembers pages that it has read, broken ones too."""


@pytest.mark.parametrize("fault", [away, locked, damaged, no_database, unreadable])
def test_a_database_in_trouble(
    served: Served, fault: Callable[[Path], contextlib.AbstractContextManager[None]]
) -> None:
    """Every mail program would ask for a password that is right.

    The control, before and after: a wrong password is refused.
    """
    only(served.log_in("wrong"), Verdict.REFUSED)
    # What was written lately is in the log beside the file, which no fault here touches.
    with contextlib.closing(sqlite3.connect(served.database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with contextlib.ExitStack() as stack, fault(served.database):
        # Those who had it open are joined by those who must open it.
        served.doveadm("reload")
        for password in (ALICE[1], "wrong"):
            only(served.log_in(password), Verdict.LATER)
        if fault in TO_BE_RESTORED:
            served.server.down()
            stack.callback(served.server.up)
    only(served.log_in(ALICE[1]), Verdict.IN)
    only(served.log_in("wrong"), Verdict.REFUSED)


def test_a_database_that_is_written_to(served: Served) -> None:
    """A large import would keep everybody out."""
    with written_to(served.database):
        only(served.log_in(ALICE[1]), Verdict.IN)
        only(served.log_in("wrong"), Verdict.REFUSED)


@pytest.mark.parametrize("victim", ["auth-worker", "auth"])
def test_a_process_that_is_killed(served: Served, victim: str) -> None:
    """It dies of a bug, or because the machine has no memory left, while it checks a password."""
    for password in (ALICE[1], "wrong"):
        since = served.server.mark()
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(served.log_in, password, SLOW)
            while not asked.done():
                served.kill(victim)
                time.sleep(0.2)
            # Those whom nobody waits for any more would go on for minutes.
            served.kill("auth-worker")
        answers = asked.result()
        if victim == "auth" and _dovecot_2_3():
            # Its login processes take the loss of auth for a refusal: docs/explanation/faults.md.
            answers = {name: answer for name, answer in answers.items() if name.startswith("SMTP")}
        only(answers, Verdict.LATER)
        served.server.wait_for_log("killed with signal 9", since=since)
    only(served.log_in(ALICE[1]), Verdict.IN)
    only(served.log_in("wrong"), Verdict.REFUSED)


def test_a_mail_folder_that_is_away(served: Served) -> None:
    """A disk that is not mounted is no reason to doubt a password; the session sees its error."""
    mail, elsewhere = served.server.home / "mail", served.server.home / "mail-away"
    mail.rename(elsewhere)
    try:
        right, wrong = served.log_in(ALICE[1]), served.log_in("wrong")
    finally:
        elsewhere.rename(mail)
    assert {meaning for meaning, _ in right.values()} <= {Verdict.IN, Verdict.CUT}, right
    only(wrong, Verdict.REFUSED)


def _dovecot_2_3() -> bool:
    version = subprocess.run(["dovecot", "--version"], check=True, capture_output=True)
    return version.stdout.startswith(b"2.3.")


def test_a_hash_that_needs_much_memory(served: Served) -> None:
    """Argon2 that is not given its memory says that the password is wrong."""
    user = "large@example.org"
    made = PasswordHasher(time_cost=1, memory_cost=1200 * 1024, parallelism=1).hash(ALICE[1])
    row = f'mailbox,{user},"{{ARGON2ID}}{made}"'
    served.server.accounts(f"type,address,password_hash\n{row}\n")
    for login in ("IMAP LOGIN", "SMTP AUTH PLAIN"):
        for password, wanted in ((ALICE[1], Verdict.IN), ("wrong", Verdict.REFUSED)):
            served.doveadm("auth", "cache", "flush")
            answer = verdict(LOGINS[login], served.ports, user, password)
            assert answer[0] is wanted, answer
