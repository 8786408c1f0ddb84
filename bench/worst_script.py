"""A login, and a message to somebody else, beside the worst script that a user can have.

Run as ``python bench/worst_script.py [--runs N] [--json FOLDER]``, as root, on an installed
machine. Twenty messages of 0.9 MB come for a user whose script looks for 150,000 letters in each;
Sieve's limit of processor time does not end such a test.
"""

from __future__ import annotations

import functools
import sys
import time
from pathlib import Path

from table import Table, options, progress, timed

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))

from accounts import ALICE, BOB, PASSWORD
from clients import From, wait_for_mail
from instance import CLIENT, Instance, instance
from sieve_scripts import ENDLESS_TEST, active, busy, send, send_the_worst

PATIENCE_SECONDS = 30


def log_in(server: Instance) -> None:
    """Log in over IMAP."""
    with From(CLIENT).imap(server.public("imaps"), ALICE, implicit=True):
        pass


def deliver(server: Instance) -> None:
    """Send the other user a message and read it."""
    wait_for_mail(server.public("imap"), ALICE, send(server, ALICE[0]))


def measure(table: Table, server: Instance, when: str, runs: int) -> None:
    """Add how long both take."""
    for name, action in (("login", log_in), ("message", deliver)):
        progress(f"{name}, {when}")
        action(server)
        taken = []
        for _ in range(runs):
            server.forget_logins()
            taken.append(timed(functools.partial(action, server)))
        table.add(f"{name}, {when}", taken, "s")


def main() -> None:
    """Measure and print."""
    chosen = options(__doc__, runs=5)
    table = Table("worst_script")
    with instance({"REVERSE_PROXY": "none", "MESSAGE_SIZE_LIMIT": "1M"}) as server:
        server.call("domain", "add", "example.org")
        for address, _ in (ALICE, BOB):
            server.call("mailbox", "add", address, "--password-stdin", stdin=PASSWORD)
        measure(table, server, "nothing else", chosen.runs)
        with active(server, BOB, ENDLESS_TEST):
            send_the_worst(server, BOB[0])
            began = time.monotonic()
            while not busy(server):
                assert time.monotonic() - began < PATIENCE_SECONDS, "the script ran to its end"
                time.sleep(0.1)
            measure(table, server, "twenty such messages", chosen.runs)
            assert busy(server), "the script ran to its end"
    table.keep(chosen.json)


if __name__ == "__main__":
    main()
