"""Reports for other programs: JUnit XML for CI systems, metrics for Prometheus."""

from __future__ import annotations

import io
import re
from importlib.metadata import version
from typing import TYPE_CHECKING

from gatepost.model import Finding, Status
from gatepost.verify.report import WORDS, Report, evidence, ordered, summary

if TYPE_CHECKING:
    from junitparser import Failure, Skipped

SUITE = "gatepost verify"
_NOT_IN_XML = re.compile(r"[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold, even escaped."""


def junit(report: Report) -> bytes:
    """Return a report as JUnit XML: one suite, one case for each finding.

    The case's class is the check, its name the listener and the family. A failure is a failure.
    A risk and what is not proven are *skipped*, with type and message: JUnit knows nothing between
    passed and failed, and a pass would hide them.
    """
    from junitparser import JUnitXml, TestCase, TestSuite  # noqa: PLC0415  only when asked for

    suite = TestSuite(SUITE)
    suite.hostname = _xml(report.server)
    suite.timestamp = report.began.isoformat(timespec="seconds")
    suite.add_property("server", _xml(report.server))
    suite.add_property("gatepost.version", version("gatepost"))
    for note in report.notes:
        suite.add_property("note", _xml(note))
    for finding in ordered(report.findings):
        case = TestCase(_case(finding), classname=finding.check, time=round(finding.seconds, 3))
        details = _xml("\n".join(f"{name}: {words}" for name, words in evidence(finding)))
        if finding.status is Status.PASS:
            case.system_out = details
        else:
            case.result = [_result(finding, details)]
        suite.add_testcase(case)
    document = JUnitXml(SUITE)
    document.add_testsuite(suite)
    document.update_statistics()
    # Checks run beside each other: the sum of their times is not how long it took.
    suite.time = document.time = round(report.seconds, 3)
    written = io.BytesIO()
    document.write(written)
    return written.getvalue()


def _result(finding: Finding, details: str) -> Failure | Skipped:
    from junitparser import Failure, Skipped  # noqa: PLC0415

    result: Failure | Skipped
    if finding.status is Status.FAIL:
        result = Failure(_xml(str(finding.observed)), finding.status.value)
    else:
        words = f"{WORDS[finding.status]}: {finding.observed}"
        result = Skipped(_xml(words), finding.status.value)
    result.text = details
    return result


def _case(finding: Finding) -> str:
    return " ".join(part for part in (finding.listener, finding.family) if part != "-")


def _xml(words: str) -> str:
    return _NOT_IN_XML.sub("\ufffd", words)


# --- Prometheus ---------------------------------------------------------------------------------


def prometheus(report: Report) -> bytes:
    """Return a report as metrics in Prometheus's text format, for node_exporter's textfile folder.

    Every metric names the server, so that files about several servers may lie in one folder.
    """
    from prometheus_client import CollectorRegistry, Gauge, generate_latest  # noqa: PLC0415

    registry = CollectorRegistry(auto_describe=False)

    def gauge(name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(f"gatepost_verify_{name}", meaning, ["server", *labels], registry=registry)

    each = gauge(
        "finding",
        "1 for each row of the last run, with how it ended.",
        *("check", "listener", "family", "status"),
    )
    for finding in ordered(report.findings):
        row = (finding.check, finding.listener, finding.family, finding.status.value)
        each.labels(report.server, *row).set(1)
    counts = gauge("findings", "How many rows of the last run ended so.", "status")
    for status, count in summary(report.findings).items():
        counts.labels(report.server, status).set(count)
    took = gauge("duration_seconds", "How long the last run took.")
    took.labels(report.server).set(round(report.seconds, 3))
    when = gauge("last_run_timestamp_seconds", "When the last run ended, as seconds since 1970.")
    when.labels(report.server).set(round(report.began.timestamp() + report.seconds, 3))
    return generate_latest(registry)
