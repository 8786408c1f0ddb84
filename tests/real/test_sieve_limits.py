"""One user's worst script: everybody else's mail comes as ever, before and after a restart."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Iterator

import pytest
from accounts import ALICE, BOB, PASSWORD
from clients import From, message, wait_for_mail
from instance import CLIENT, Instance, instance
from sieve_scripts import ENDLESS_TEST, HAYSTACK, active, busy, send, send_the_worst

from gatepost.plugins.dovecot.files import DELIVERIES_OF_A_MAILBOX

MANY_TESTS = 'require "body";' + 'if body :contains ["xay", "aax", "axa"] { discard; }' * 700
"""Tests that take minutes together."""


@pytest.fixture
def small() -> Iterator[Instance]:
    """Run a server whose only users are the one with the script and the one who waits."""
    with instance({"REVERSE_PROXY": "none", "MESSAGE_SIZE_LIMIT": "1M"}) as server:
        server.call("domain", "add", "example.org")
        for address, _ in (ALICE, BOB):
            server.call("mailbox", "add", address, "--password-stdin", stdin=PASSWORD)
        yield server


def seconds_until_alice_has_mail(server: Instance) -> float:
    """Return how long a message to the other user takes: the median of five."""
    times = []
    for _ in range(5):
        began = time.monotonic()
        subject = send(server, ALICE[0])
        server.wait_for_log("to=<alice@example.org>", "status=sent")
        assert wait_for_mail(server.public("imap"), ALICE, subject)
        times.append(time.monotonic() - began)
    return statistics.median(times)


def test_a_script_without_end_holds_up_nobody_else(small: Instance) -> None:
    """Twenty messages to one mailbox would stop the delivery of all mail, again at each start."""
    # Seconds that are promised; on a machine that is busy already, a multiple of what is usual.
    bound = max(2, 4 * seconds_until_alice_has_mail(small))
    with active(small, BOB, ENDLESS_TEST):
        mark = small.mark()
        send_the_worst(small, BOB[0])
        deadline = time.monotonic() + 20
        while not busy(small):
            assert time.monotonic() < deadline, "the script is not bad enough to show anything"
            time.sleep(0.2)
        assert seconds_until_alice_has_mail(small) < bound
        assert busy(small) <= DELIVERIES_OF_A_MAILBOX
        small.down()
        small.up()
        assert seconds_until_alice_has_mail(small) < bound
        assert "to=<bob@example.org>" not in small.log(mark), "the script is not bad enough"


def test_a_script_of_many_tests_costs_its_owner_no_mail(small: Instance) -> None:
    """Dovecot 2.4 ends such a script; 2.3, told to, would crash, so it goes on to its end."""
    version = subprocess.run(["dovecot", "--version"], check=True, capture_output=True, text=True)
    with active(small, BOB, MANY_TESTS):
        subject = send(small, BOB[0], body=HAYSTACK)
        assert wait_for_mail(small.public("imap"), BOB, subject, seconds=120)
    ended = "excessive resource usage" in small.log()
    assert ended != version.stdout.startswith("2.3.")
    assert "Panic" not in small.log()


def test_regular_expressions_are_refused(small: Instance) -> None:
    """One test with back references takes hours."""
    with (
        From(CLIENT).sieve(small.public("sieve"), BOB) as sieve,
        pytest.raises(AssertionError, match="NO "),
    ):
        sieve.put("test", 'require "regex"; if header :regex "x" "(a*)*\\\\1" { discard; }')


def test_many_messages_to_one_mailbox_all_arrive(small: Instance) -> None:
    """A burst for one mailbox would be put off by the limit that keeps scripts in bounds."""
    mark = small.mark()
    with From(CLIENT).smtp(small.public("smtp")) as smtp:
        for number in range(50):
            to = f"bob+{number % 10}@example.org"
            smtp.send_message(message(to=to), "friend@outside.test", [to])
    deadline = time.monotonic() + 15
    while small.log(mark).count("status=sent") < 50:
        assert time.monotonic() < deadline, small.log(mark)[-3000:]
        time.sleep(0.1)
