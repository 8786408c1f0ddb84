"""Findings that say the same become one row: IPv4 and IPv6, and on the live screen listeners.

Two findings say the same when they are of one kind and their words differ in values only:
addresses, times and listeners' names (`gatepost.model.words`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gatepost.model import Finding
from gatepost.model.words import blended, text
from gatepost.verify.report import ordered


@dataclass(frozen=True, slots=True)
class Row:
    """Findings of one check and one status that say the same, the first one first."""

    findings: tuple[Finding, ...]
    observed: str
    """The first one's words; times are the range of all."""

    @property
    def first(self) -> Finding:
        """The finding that speaks for all."""
        return self.findings[0]

    @property
    def listeners(self) -> tuple[str, ...]:
        """Names of the listeners."""
        return tuple(dict.fromkeys(finding.listener for finding in self.findings))

    @property
    def family(self) -> str:
        """``IPv4``, ``IPv6``, ``IPv4+6`` or ``-``."""
        families = sorted({finding.family for finding in self.findings})
        return families[0] + "".join(f"+{f.removeprefix('IPv')}" for f in families[1:])


def by_listener(findings: Iterable[Finding]) -> tuple[Row, ...]:
    """Return one row for each check and listener, or more where families say different things."""
    findings = ordered(findings)
    groups: dict[tuple[object, ...], list[Finding]] = {}
    for one in findings:
        groups.setdefault((one.status, one.check, one.listener, _pattern(one)), []).append(one)
    return tuple(_row(group) for group in _in_place(findings, groups.values()))


def by_check(findings: Iterable[Finding]) -> tuple[Row, ...]:
    """Return rows in which listeners that say the same over the same families are one as well."""
    findings = ordered(findings)
    groups: dict[tuple[object, ...], list[Finding]] = {}
    for row in by_listener(findings):
        one = row.first
        key = (one.status, one.check, row.family, _pattern(one))
        groups.setdefault(key, []).extend(row.findings)
    return tuple(_row(group) for group in _in_place(findings, groups.values()))


def _in_place(
    findings: tuple[Finding, ...], groups: Iterable[list[Finding]]
) -> Iterable[list[Finding]]:
    """Put each group where its first finding stood: families of a listener stay together."""
    place = {id(finding): number for number, finding in enumerate(findings)}
    return sorted(groups, key=lambda group: place[id(group[0])])


def _pattern(finding: Finding) -> tuple[object, ...]:
    """Return what two findings that say the same have in common."""
    words = (finding.observed, finding.expected, finding.fix)
    return (finding.kind, *(text(one).pattern for one in words))


def _row(findings: list[Finding]) -> Row:
    """Make a row of findings that say the same."""
    return Row(tuple(findings), str(blended(text(one.observed) for one in findings)))
