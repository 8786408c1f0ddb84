"""Which findings may become one row, and what the row then says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gatepost.model import Finding, Status
from gatepost.model.words import Detail, Duration, Text, Words
from gatepost.verify.report.rows import Row, by_check, by_listener


def finding(
    observed: Words, *, listener: str = "imap", family: str = "IPv4", status: Status = Status.PASS
) -> Finding:
    return Finding("banner", listener, family, status, "wanted", observed)


def both(four: Words, six: Words, status: Status = Status.PASS) -> tuple[Row, ...]:
    return by_listener([finding(four, status=status), finding(six, family="IPv6", status=status)])


def after(milliseconds: float) -> Text:
    return Text("greeting after ", Duration(milliseconds / 1000, "ms"))


def saw(client: str, more: str = "") -> Text:
    return Text("saw ", Detail(client), more)


@pytest.mark.parametrize(
    ("four", "six", "told"),
    [
        (after(7), after(29), "greeting after 7\N{EN DASH}29 ms"),
        (after(29), after(7), "greeting after 7\N{EN DASH}29 ms"),
        (after(7), after(7.2), "greeting after 7 ms"),
        (
            Text("in ", Duration(0.3), ", unchanged"),
            Text("in ", Duration(0.1), ", ", "unchanged"),
            "in 0.1\N{EN DASH}0.3 s, unchanged",
        ),
        (saw("127.0.0.1:99"), saw("[2001:db8::1]:98"), "saw 127.0.0.1:99"),
        (Text("by ", Detail("imap")), Text("by ", Detail("pop3s")), "by imap"),
        ("the same", Text("the same"), "the same"),
    ],
)
def test_families_that_differ_in_addresses_and_times_only_are_one_row(
    four: Words, six: Words, told: str
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
        (saw("127.0.0.1:99"), saw("[2001:db8::1]:98", " (one source address)")),
        (after(7), Text("greeting after ", Detail("10.0.0.1"))),
        ("12 days left", "13 days left"),
        # What looks like a value in plain words is not one: no sentence is parsed.
        ("saw 127.0.0.1:99", "saw [2001:db8::1]:98"),
    ],
)
def test_families_that_say_different_things_stay_apart(four: Words, six: Words) -> None:
    """A reply code is no detail."""
    assert [row.family for row in both(four, six)] == ["IPv4", "IPv6"]


def test_another_status_is_another_row() -> None:
    """A failure over IPv6 must not hide behind IPv4's pass."""
    rows = by_listener([finding("x"), finding("x", family="IPv6", status=Status.FAIL)])
    assert [(row.first.status, row.family) for row in rows] == [
        (Status.FAIL, "IPv6"),
        (Status.PASS, "IPv4"),
    ]


def test_another_kind_is_another_row() -> None:
    """What is wrong is told by the kind, whatever the words are."""
    one = replace(finding("x", status=Status.FAIL), kind="silent")
    other = replace(one, family="IPv6", kind="refused")
    assert len(by_listener([one, other])) == 2
    assert len(by_listener([one, replace(other, kind="silent")])) == 1


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
            finding(after(1), listener="imap"),
            finding(after(2), listener="imap", family="IPv6"),
            finding(after(3), listener="pop3"),
            finding(after(4), listener="pop3", family="IPv6"),
            finding("refused", listener="sieve", status=Status.FAIL),
            finding(after(5), listener="sieve", family="IPv6"),
        ]
    )
    assert [(row.listeners, row.family, row.observed) for row in rows] == [
        (("sieve",), "IPv4", "refused"),
        (("imap", "pop3"), "IPv4+6", "greeting after 1\N{EN DASH}4 ms"),
        (("sieve",), "IPv6", "greeting after 5 ms"),
    ]
