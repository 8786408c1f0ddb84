"""The report: order, exit codes, JSON, and what changed between two runs."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from gatepost.model import Finding, Status
from gatepost.model.words import Text
from gatepost.verify import report


def finding(status: Status, *, listener: str = "smtp", observed: str = "seen") -> Finding:
    return Finding("tls", listener, "IPv4", status, "wanted", observed, "witness said", "do this")


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
    findings = [finding(status) for status in statuses]
    assert report.exit_code(findings) == code
    assert report.exit_code(findings, tolerant=True) == (1 if code == 1 else 0)


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


def test_the_last_line_says_how_it_ended() -> None:
    """Who reads one line only must know whether to read on."""
    assert "All is proven" in report.sentence([finding(Status.PASS)])
    assert "Nothing failed" in report.sentence([finding(Status.RISK)])
    said = report.sentence([finding(Status.PASS), finding(Status.FAIL)])
    assert (
        said == "2 checks: 1 failed, 1 passed. Something is wrong (tls): begin with the first row."
    )


def test_nothing_that_answers_is_said_by_kind_and_remedy() -> None:
    """`make up` that failed would show a hundred rows and not the one command."""
    down = replace(finding(Status.FAIL), kind="refused", fix=Text("Start it: ", report.START))
    assert "start the server with gatepost up --detach" in report.sentence([down, down])
    for other in (
        replace(down, kind="silent"),
        replace(down, fix=f"Start it: {report.START}"),
        finding(Status.PASS),
    ):
        assert "Nothing answers" not in report.sentence([down, other])


def test_changes_tell_what_got_worse_first() -> None:
    """On a live screen nobody compares a hundred rows by eye."""
    before = [finding(Status.FAIL, listener="a"), finding(Status.PASS, listener="b")]
    after = [
        finding(Status.PASS, listener="a"),
        finding(Status.FAIL, listener="b", observed="nothing listens"),
        replace(finding(Status.PASS, listener="server"), family="-"),
    ]
    assert report.changes(before, after) == (
        "tls b IPv4: pass → fail: nothing listens",
        "tls a IPv4: fail → pass",
        "tls server: none → pass",
    )
    assert report.changes(after, after) == ()


def test_other_words_for_the_same_status_are_no_change() -> None:
    """Greeting times differ in every run."""
    before = [finding(Status.PASS, observed="greeting after 3 ms")]
    after = [finding(Status.PASS, observed="greeting after 4 ms")]
    assert report.changes(before, after) == ()
