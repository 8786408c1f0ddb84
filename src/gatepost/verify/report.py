"""Findings → what people and scripts read. Nothing is decided here but order and words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from gatepost.model import Finding, Status

if TYPE_CHECKING:
    from rich.table import Table

_ORDER = (Status.FAIL, Status.RISK, Status.NOT_PROVEN, Status.PASS)
_WORDS = {
    Status.FAIL: ("fail", "bold red"),
    Status.RISK: ("risk", "yellow"),
    Status.NOT_PROVEN: ("not proven", "cyan"),
    Status.PASS: ("pass", "green"),
}
_LONGEST_COMPACT = 55
"""Characters of the last column that fit 100 columns."""


def ordered(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Put failures first, then risks, what is not proven, and passes; else keep the order."""
    return tuple(sorted(findings, key=lambda finding: _ORDER.index(finding.status)))


def summary(findings: Iterable[Finding]) -> dict[str, int]:
    """Count findings by status."""
    counted = Counter(finding.status for finding in findings)
    return {status.value: counted[status] for status in Status}


def exit_code(findings: Iterable[Finding]) -> int:
    """Return 0 when all pass, 1 when something failed, 3 for a risk or something not proven."""
    counts = summary(findings)
    if counts["fail"]:
        return 1
    return 3 if counts["risk"] or counts["not_proven"] else 0


def as_json(findings: Iterable[Finding]) -> Mapping[str, Any]:
    """Return the report as the contract has it."""
    findings = ordered(findings)
    return {"summary": summary(findings), "findings": [asdict(finding) for finding in findings]}


def table(findings: Iterable[Finding]) -> Table:
    """Return the report as a table of at most 100 columns.

    What is not a pass says what was expected, what was seen, who said so and what to do.
    """
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415  0.1 s that --json does not need
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    drawn = Table(box=SIMPLE_HEAD, pad_edge=False, width=100)
    drawn.add_column("", no_wrap=True)
    drawn.add_column("check", no_wrap=True)
    drawn.add_column("listener", no_wrap=True)
    drawn.add_column("", no_wrap=True)
    drawn.add_column("what was seen", overflow="fold", ratio=1)
    above = ""
    for finding in ordered(findings):
        word, style = _WORDS[finding.status]
        evidence = _evidence(finding)
        repeated = finding.status is not Status.PASS and evidence == above
        drawn.add_row(
            Text(word, style=style),
            Text(finding.check),
            Text(finding.listener),
            Text(finding.family),
            Text("the same as above" if repeated else evidence),
        )
        above = evidence
    return drawn


def sentence(findings: Iterable[Finding]) -> str:
    """Sum the report up in one sentence."""
    findings = tuple(findings)
    counts = summary(findings)
    parts = [
        f"{counts[status.value]} {words}"
        for status, words in (
            (Status.FAIL, "failed"),
            (Status.RISK, "at risk"),
            (Status.NOT_PROVEN, "not proven"),
            (Status.PASS, "passed"),
        )
        if counts[status.value]
    ]
    said = f"{len(findings)} checks: {', '.join(parts)}."
    if findings and all("Start the server" in f.fix for f in findings if f.status is Status.FAIL):
        fails = [f for f in findings if f.status is Status.FAIL]
        if fails and not counts["pass"]:
            return f"{said} Nothing answers: start the server with gatepost up --detach."
    if counts["fail"]:
        return f"{said} Something is wrong: begin with the first row."
    if counts["risk"] or counts["not_proven"]:
        return f"{said} Nothing failed."
    return f"{said} All is proven."


def _evidence(finding: Finding) -> str:
    if finding.status is Status.PASS:
        if len(finding.observed) <= _LONGEST_COMPACT:
            return finding.observed
        return f"{finding.observed[: _LONGEST_COMPACT - 1]}…"
    parts = {
        "expected": finding.expected,
        "observed": finding.observed,
        "witness": finding.witness,
        "fix": finding.fix,
    }
    return "\n".join(f"{name}: {words}" for name, words in parts.items() if words)
