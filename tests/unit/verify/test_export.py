"""What CI systems and Prometheus are told, read back by parsers of theirs."""

from __future__ import annotations

from datetime import UTC, datetime
from xml.etree import ElementTree as ET

import pytest
from junitparser import JUnitXml
from prometheus_client.parser import text_string_to_metric_families

from gatepost.model import Finding, Status
from gatepost.verify.report import Report, export

BEGAN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def finding(status: Status, *, listener: str = "smtp", observed: str = "seen") -> Finding:
    return Finding(
        *("tls", listener, "IPv4", status, "wanted", observed, "witness said", "do this"),
        seconds=0.25,
    )


REPORT = Report(
    "mail.example.org",
    (
        finding(Status.PASS, listener="imap"),
        finding(Status.FAIL, listener="smtp"),
        finding(Status.RISK, listener="pop3"),
        finding(Status.NOT_PROVEN, listener="sieve"),
        Finding("trust", "server", "-", Status.PASS, "wanted", "seen"),
    ),
    BEGAN,
    1.5,
    notes=("Seen from outside: mail.example.org.",),
)


@pytest.fixture
def suite() -> ET.Element:
    whole = ET.fromstring(export.junit(REPORT))  # noqa: S314  our own
    (found,) = whole.findall("testsuite")
    return found


def cases(suite: ET.Element) -> dict[str, ET.Element]:
    return {case.attrib["name"]: case for case in suite.findall("testcase")}


def test_junit_counts_and_says_when_and_where(suite: ET.Element) -> None:
    """A CI system's summary is all that many look at."""
    assert suite.attrib["tests"] == "5"
    assert suite.attrib["failures"] == "1"
    assert suite.attrib["skipped"] == "2"
    assert suite.attrib["errors"] == "0"
    assert float(suite.attrib["time"]) == 1.5
    assert datetime.fromisoformat(suite.attrib["timestamp"]) == BEGAN
    properties = {p.attrib["name"]: p.attrib["value"] for p in suite.iter("property")}
    assert properties["server"] == "mail.example.org"
    assert properties["gatepost.version"]
    assert "from outside" in properties["note"]


def test_junit_fails_what_failed_and_hides_no_risk(suite: ET.Element) -> None:
    """A risk that counts as passed is never seen again."""
    found = cases(suite)
    assert set(found) == {"imap IPv4", "smtp IPv4", "pop3 IPv4", "sieve IPv4", "server"}
    assert {case.attrib["classname"] for case in found.values()} == {"tls", "trust"}
    assert found["imap IPv4"].find("failure") is None
    assert float(found["imap IPv4"].attrib["time"]) == 0.25
    (failure,) = found["smtp IPv4"].findall("failure")
    assert failure.attrib == {"message": "seen", "type": "fail"}
    for words in ("expected: wanted", "observed: seen", "witness: witness said", "fix: do this"):
        assert words in str(failure.text)
    (risk,) = found["pop3 IPv4"].findall("skipped")
    assert risk.attrib == {"message": "risk: seen", "type": "risk"}
    (unproven,) = found["sieve IPv4"].findall("skipped")
    assert unproven.attrib == {"message": "not proven: seen", "type": "not_proven"}


def test_junit_holds_whatever_a_server_says() -> None:
    """One control character, and the CI system throws the whole file away."""
    observed = "\x1b[31m\x00 <b> & \ud800 Grüße ]]>"
    report = Report("mail", (finding(Status.FAIL, observed=observed),), BEGAN, 1)
    (suite,) = JUnitXml.fromstring(export.junit(report))
    (case,) = suite
    assert "Grüße" in case.result[0].message
    assert "<b> &" in case.result[0].message


def metrics(report: Report) -> dict[str, dict[tuple[str, ...], float]]:
    families = text_string_to_metric_families(export.prometheus(report).decode())
    return {
        family.name: {
            tuple(sample.labels[name] for name in sorted(sample.labels)): sample.value
            for sample in family.samples
        }
        for family in families
    }


def test_prometheus_tells_each_row_the_counts_and_when() -> None:
    """Alerts on a failure, and on a run that no longer comes, need no more."""
    told = metrics(REPORT)
    server = "mail.example.org"
    assert told["gatepost_verify_finding"][("tls", "IPv4", "smtp", server, "fail")] == 1
    assert told["gatepost_verify_finding"][("trust", "-", "server", server, "pass")] == 1
    assert len(told["gatepost_verify_finding"]) == 5
    assert told["gatepost_verify_findings"] == {
        (server, "pass"): 2,
        (server, "fail"): 1,
        (server, "risk"): 1,
        (server, "not_proven"): 1,
    }
    assert told["gatepost_verify_duration_seconds"] == {(server,): 1.5}
    ended = told["gatepost_verify_last_run_timestamp_seconds"][(server,)]
    assert ended == BEGAN.timestamp() + 1.5


def test_prometheus_has_no_series_twice() -> None:
    """One duplicate, and node_exporter drops the file: two IPv4 addresses of one listener."""
    report = Report("mail", (finding(Status.PASS), finding(Status.PASS)), BEGAN, 1)
    lines = export.prometheus(report).decode().splitlines()
    series = [line.rpartition(" ")[0] for line in lines if not line.startswith("#")]
    assert len(series) == len(set(series))
