"""Findings → order, counts and sentences. Nothing is decided here but order and words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gatepost.model import Finding, Status
from gatepost.model.words import Command, text

_ORDER = (Status.FAIL, Status.RISK, Status.NOT_PROVEN, Status.PASS)
WORDS = {
    Status.FAIL: "fail",
    Status.RISK: "risk",
    Status.NOT_PROVEN: "not proven",
    Status.PASS: "pass",
}
"""Words for people."""
START = Command("up", "--detach")


@dataclass(frozen=True, slots=True)
class Report:
    """One run, as every form of output takes it."""

    server: str
    """`MAILNAME`, or the host that was probed from outside."""
    findings: tuple[Finding, ...]
    began: datetime
    """With a time zone."""
    seconds: float
    """Seconds that the run took."""
    notes: tuple[str, ...] = ()
    """Notes for readers besides the findings."""


def ordered(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Put failures first, then risks, what is not proven, and passes; else keep the order."""
    return tuple(sorted(findings, key=lambda finding: _ORDER.index(finding.status)))


def summary(findings: Iterable[Finding]) -> dict[str, int]:
    """Count findings by status."""
    counted = Counter(finding.status for finding in findings)
    return {status.value: counted[status] for status in Status}


def exit_code(findings: Iterable[Finding], *, tolerant: bool = False) -> int:
    """Return 0 when all pass, 1 when something failed, 3 for a risk or something not proven.

    With `tolerant`, 0 for the latter too.
    """
    counts = summary(findings)
    if counts["fail"]:
        return 1
    return 3 if not tolerant and (counts["risk"] or counts["not_proven"]) else 0


def as_json(findings: Iterable[Finding]) -> Mapping[str, Any]:
    """Return the report as the contract has it."""
    findings = ordered(findings)
    return {
        "summary": summary(findings),
        "findings": [
            {
                "check": finding.check,
                "listener": finding.listener,
                "family": finding.family,
                "status": finding.status.value,
                "expected": str(finding.expected),
                "observed": str(finding.observed),
                "witness": finding.witness,
                "fix": str(finding.fix),
            }
            for finding in findings
        ],
    }


def counted(findings: Iterable[Finding]) -> str:
    """Say how many ended how, such as ``62 checks: 1 failed, 61 passed``."""
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
    noun = "check" if len(findings) == 1 else "checks"
    return f"{len(findings)} {noun}: {', '.join(parts)}"


def sentence(findings: Iterable[Finding]) -> str:
    """Sum the report up in one sentence, with the names of the checks that failed."""
    findings = tuple(findings)
    counts = summary(findings)
    summed = f"{counted(findings)}."
    failed = [finding for finding in findings if finding.status is Status.FAIL]
    if failed and not counts["pass"] and all(map(_is_not_running, failed)):
        return f"{summed} Nothing answers: start the server with {START}."
    if failed:
        names = ", ".join(dict.fromkeys(finding.check for finding in failed))
        return f"{summed} Something is wrong ({names}): begin with the first row."
    if counts["risk"] or counts["not_proven"]:
        return f"{summed} Nothing failed."
    return f"{summed} All is proven."


def _is_not_running(finding: Finding) -> bool:
    """Tell whether nothing listened where the server of this machine should."""
    return finding.kind == "refused" and START in text(finding.fix).steps


def evidence(finding: Finding) -> tuple[tuple[str, str], ...]:
    """Return the four texts of a finding, each with its name, empty ones left out."""
    parts = (
        ("expected", finding.expected),
        ("observed", finding.observed),
        ("witness", finding.witness),
        ("fix", finding.fix),
    )
    return tuple((name, str(words)) for name, words in parts if words)


# --- two runs -----------------------------------------------------------------------------------


def changes(before: Iterable[Finding], after: Iterable[Finding]) -> tuple[str, ...]:
    """Say which rows ended otherwise than in an earlier run, those that got worse first."""
    old, new = _by_row(before), _by_row(after)
    changed: list[tuple[int, str]] = []
    for row in dict.fromkeys((*new, *old)):
        was, now = old.get(row), new.get(row)
        if was and now and was.status is now.status:
            continue
        words = [WORDS[one.status] if one else "none" for one in (was, now)]
        reason = f": {now.observed}" if now and now.status is not Status.PASS else ""
        rank = _ORDER.index(now.status) if now else len(_ORDER)
        place = " ".join(part for part in row if part != "-")
        changed.append((rank, f"{place}: {words[0]} → {words[1]}{reason}"))
    return tuple(words for _, words in sorted(changed, key=lambda one: one[0]))


def _by_row(findings: Iterable[Finding]) -> dict[tuple[str, str, str], Finding]:
    """Map check, listener and family to the worst finding there is of them, in report order."""
    rows: dict[tuple[str, str, str], Finding] = {}
    for finding in ordered(findings):
        rows.setdefault((finding.check, finding.listener, finding.family), finding)
    return rows
