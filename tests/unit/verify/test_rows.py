"""Which findings may become one row, and what the row then says."""

from __future__ import annotations

import pytest

from gatepost.model import Finding, Status
from gatepost.verify.report.rows import Row, by_check, by_listener


def finding(
    observed: str, *, listener: str = "imap", family: str = "IPv4", status: Status = Status.PASS
) -> Finding:
    return Finding("banner", listener, family, status, "wanted", observed)


def both(four: str, six: str, status: Status = Status.PASS) -> tuple[Row, ...]:
    rows = [finding(four, status=status), finding(six, family="IPv6", status=status)]
    # Something else on another listener, whose name the words may hold.
    return by_listener([*rows, finding("other", listener="pop3s")])[:-1]


@pytest.mark.parametrize(
    ("four", "six", "told"),
    [
        ("greeting after 7 ms", "greeting after 29 ms", "greeting after 7\N{EN DASH}29 ms"),
        ("in 0.3 s, unchanged", "in 0.1 s, unchanged", "in 0.1\N{EN DASH}0.3 s, unchanged"),
        ("saw 127.0.0.1:99", "saw [2001:db8::1]:98", "saw 127.0.0.1:99"),
        ("saw 192.0.2.1", "saw 2001:db8::1", "saw 192.0.2.1"),
        ("by imap IPv4", "by pop3s IPv6", "by imap IPv4"),
    ],
)
def test_families_that_differ_in_addresses_and_times_only_are_one_row(
    four: str, six: str, told: str
) -> None:
    """Twice the rows, and none says more."""
    (row,) = both(four, six)
    assert row.family == "IPv4+6"
    assert row.observed == told


@pytest.mark.parametrize(
    ("four", "six"),
    [
        ("554 5.7.1 refused", "454 4.7.1 refused"),
        ("6 of 6 messages", "5 of 6 messages"),
        ("saw 127.0.0.1:99", "saw [2001:db8::1]:98 (one source address)"),
        ("after 7 ms", "after 10.0.0.1 ms"),
        ("12 days left", "13 days left"),
    ],
)
def test_families_that_say_different_things_stay_apart(four: str, six: str) -> None:
    """A reply code is no detail."""
    assert [row.family for row in both(four, six)] == ["IPv4", "IPv6"]


def test_another_status_is_another_row() -> None:
    """A failure over IPv6 must not hide behind IPv4's pass."""
    rows = by_listener([finding("x"), finding("x", family="IPv6", status=Status.FAIL)])
    assert [(row.first.status, row.family) for row in rows] == [
        (Status.FAIL, "IPv6"),
        (Status.PASS, "IPv4"),
    ]


def test_families_of_a_listener_stay_together() -> None:
    """Rows are read listener by listener."""
    rows = by_listener(
        [
            finding("a", listener="imap"),
            finding("b", listener="imap", family="IPv6"),
            finding("a", listener="pop3"),
            finding("a", listener="pop3", family="IPv6"),
        ]
    )
    assert [(row.listeners, row.family) for row in rows] == [
        (("imap",), "IPv4"),
        (("imap",), "IPv6"),
        (("pop3",), "IPv4+6"),
    ]


def test_listeners_are_one_row_only_over_the_same_families() -> None:
    """IPv4+6 for imap and sieve would be a lie when sieve's IPv4 failed."""
    rows = by_check(
        [
            finding("greeting after 1 ms", listener="imap"),
            finding("greeting after 2 ms", listener="imap", family="IPv6"),
            finding("greeting after 3 ms", listener="pop3"),
            finding("greeting after 4 ms", listener="pop3", family="IPv6"),
            finding("refused", listener="sieve", status=Status.FAIL),
            finding("greeting after 5 ms", listener="sieve", family="IPv6"),
        ]
    )
    assert [(row.listeners, row.family, row.observed) for row in rows] == [
        (("sieve",), "IPv4", "refused"),
        (("imap", "pop3"), "IPv4+6", "greeting after 1\N{EN DASH}4 ms"),
        (("sieve",), "IPv6", "greeting after 5 ms"),
    ]
