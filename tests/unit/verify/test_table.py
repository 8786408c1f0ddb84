"""The table: its width, one line for each listener and check, and nothing hidden."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from gatepost.model import Finding, Status
from gatepost.model.words import Detail, Text, Words
from gatepost.verify.report import table

LONG = "a very long observation that goes on and on " * 5


def finding(
    status: Status, *, listener: str = "smtp", family: str = "IPv4", observed: Words = "seen"
) -> Finding:
    return Finding("tls", listener, family, status, "wanted", observed, "witness said", "do this")


def printed(*findings: Finding, width: int = 100, compact: bool = False) -> str:
    out = io.StringIO()
    drawn = (table.compact if compact else table.table)(findings)
    Console(file=out, width=width, highlight=False).print(drawn)
    return out.getvalue()


def lines_of(text: str, status: str) -> list[str]:
    return [line for line in text.splitlines() if line.split()[:1] == [status]]


@pytest.mark.parametrize("width", [100, 80])
def test_a_failure_is_told_whole_and_a_pass_in_one_line(width: int) -> None:
    """What was wanted, seen, by whom and what to do: all four, for rows that need them."""
    text = printed(
        finding(Status.FAIL, observed=LONG), finding(Status.PASS, observed=LONG), width=width
    )
    for words in ("expected  wanted", "witness   witness said", "fix       do this"):
        assert text.count(words) == 1
    assert "observed" in text.splitlines()[0]
    assert text.count("goes on") >= 5
    assert max(map(len, text.splitlines())) <= width
    (line,) = lines_of(text, "pass")
    assert line.rstrip().endswith("…")


def test_one_line_for_each_listener_and_check() -> None:
    """A hundred rows are read by their first words."""
    text = printed(
        *(
            finding(Status.PASS, listener=listener, family=family)
            for listener in ("imap", "smtp")
            for family in ("IPv4", "IPv6")
        )
    )
    assert [line.split() for line in lines_of(text, "pass")] == [
        ["pass", "tls", "imap", "IPv4+6", "seen"],
        ["pass", "tls", "smtp", "IPv4+6", "seen"],
    ]


def test_what_differs_between_families_is_told_of_both() -> None:
    """IPv6's log line is evidence as well."""
    four = replace(
        finding(Status.FAIL, observed=Text(Detail("127.0.0.1:25"), ": refused")),
        witness="line of 127.0.0.1",
    )
    six = replace(
        finding(Status.FAIL, family="IPv6", observed=Text(Detail("[::1]:25"), ": refused")),
        witness="line of ::1",
    )
    text = printed(four, six)
    assert len(lines_of(text, "fail")) == 1
    for words in ("127.0.0.1:25: refused", "[::1]:25: refused", "line of 127.0.0.1", "line of ::1"):
        assert words in text


def test_what_was_just_said_is_not_said_again() -> None:
    """Eight times the same remedy pushes the next trouble off the screen."""
    text = printed(
        *(finding(Status.RISK, listener=name) for name in ("imap", "imaps")),
        finding(Status.RISK, listener="pop3", observed="other"),
        replace(finding(Status.RISK, listener="smtp", observed="other"), fix="do that"),
    )
    assert text.count("do this") == 1
    first, second, third, fourth = lines_of(text, "risk")
    assert first.split()[-1] == "seen"
    assert second.rstrip().endswith("the same as above")
    assert third.rstrip().endswith("other (else as above)")
    assert fourth.rstrip().endswith("other")
    assert "do that" in text


def test_words_in_square_brackets_are_words() -> None:
    """A log line such as unknown[127.0.0.77] must not vanish as markup."""
    observed = "unknown[127.0.0.77] [red]"
    assert observed in printed(finding(Status.FAIL, observed=observed))
    assert observed in printed(finding(Status.PASS, observed=observed))


def test_the_compact_form_names_the_listeners_or_says_all() -> None:
    """A live screen has fifty lines."""
    passes = [finding(Status.PASS, listener=name) for name in ("imap", "pop3", "smtp")]
    assert "all 3" in printed(*passes, compact=True)
    failed = finding(Status.FAIL, listener="sieve", observed="refused")
    (line,) = lines_of(printed(*passes, failed, compact=True), "pass")
    assert "imap pop3 smtp" in line
