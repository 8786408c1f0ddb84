"""The report: order, exit codes, width, and words that may hold anything."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from gatepost.model import Finding, Status
from gatepost.verify import report

LONG = "a very long observation that goes on and on " * 5


def finding(status: Status, *, listener: str = "smtp", observed: str = "seen") -> Finding:
    return Finding("tls", listener, "IPv4", status, "wanted", observed, "witness said", "do this")


def printed(*findings: Finding) -> str:
    out = io.StringIO()
    Console(file=out, width=100, highlight=False).print(report.table(findings))
    return out.getvalue()


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        ([Status.PASS], 0),
        ([Status.PASS, Status.RISK], 3),
        ([Status.PASS, Status.NOT_PROVEN], 3),
        ([Status.NOT_PROVEN, Status.FAIL, Status.PASS], 1),
    ],
)
def test_exit_codes(statuses: list[Status], code: int) -> None:
    """Monitoring and `make up` go by them."""
    assert report.exit_code([finding(status) for status in statuses]) == code


def test_failures_come_first_and_the_rest_keeps_its_order() -> None:
    """An admin reads the first rows."""
    rows = [
        finding(Status.PASS, listener="a"),
        finding(Status.NOT_PROVEN, listener="b"),
        finding(Status.FAIL, listener="c"),
        finding(Status.RISK, listener="d"),
        finding(Status.FAIL, listener="e"),
    ]
    assert "".join(row.listener for row in report.ordered(rows)) == "cedba"


def test_json_is_the_contract() -> None:
    """Scripts of users read these names."""
    said = json.loads(json.dumps(report.as_json([finding(Status.RISK), finding(Status.PASS)])))
    assert said == {
        "summary": {"pass": 1, "fail": 0, "risk": 1, "not_proven": 0},
        "findings": [
            {
                "check": "tls",
                "listener": "smtp",
                "family": "IPv4",
                "status": status,
                "expected": "wanted",
                "observed": "seen",
                "witness": "witness said",
                "fix": "do this",
            }
            for status in ("risk", "pass")
        ],
    }


def test_a_failure_is_told_whole_and_a_pass_in_one_line() -> None:
    """What was wanted, seen, by whom and what to do: all four, for rows that need them."""
    text = printed(finding(Status.FAIL, observed=LONG), finding(Status.PASS, observed=LONG))
    for words in ("expected: wanted", "observed: a very", "witness: witness said", "fix: do this"):
        assert text.count(words) == 1
    assert max(map(len, text.splitlines())) <= 100
    (line,) = (line for line in text.splitlines() if line.split()[:1] == ["pass"])
    assert "…" in line


def test_words_in_square_brackets_are_words() -> None:
    """A log line such as unknown[127.0.0.77] must not vanish as markup."""
    assert "unknown[127.0.0.77] [red]" in printed(
        finding(Status.FAIL, observed="unknown[127.0.0.77] [red]")
    )


def test_the_last_line_says_how_it_ended() -> None:
    """Who reads one line only must know whether to read on."""
    assert "All is proven" in report.sentence([finding(Status.PASS)])
    assert "1 failed, 1 passed" in report.sentence([finding(Status.PASS), finding(Status.FAIL)])
    assert "Nothing failed" in report.sentence([finding(Status.RISK)])
