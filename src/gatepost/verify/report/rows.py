"""Findings that say the same become one row: IPv4 and IPv6, and on the live screen listeners.

Words count as the same when they differ in addresses, times and listeners' names only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from gatepost.model import Finding
from gatepost.verify.report import ordered

_TIME = r"\d+(?:\.\d+)?(?= (?:ms|s)\b)"
_VARIABLE = (
    r"\[[0-9a-fA-F]*:[0-9a-fA-F:.]*\](?::\d+)?"  # [2001:db8::1]:25
    r"|(?<![\w:.])[0-9a-fA-F]{0,4}(?::[0-9a-fA-F]{0,4}){2,7}(?![\w:])"  # 2001:db8::1, 10:20:30
    r"|\b\d+\.\d+\.\d+\.\d+(?::\d+)?\b"
    r"|\bIPv[46]\b"
)


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
    words = _Words(findings)
    groups: dict[tuple[object, ...], list[Finding]] = {}
    for one in findings:
        groups.setdefault((one.status, one.check, one.listener, words.of(one)), []).append(one)
    return tuple(words.row(group) for group in _in_place(findings, groups.values()))


def by_check(findings: Iterable[Finding]) -> tuple[Row, ...]:
    """Return rows in which listeners that say the same over the same families are one as well."""
    findings = ordered(findings)
    words = _Words(findings)
    groups: dict[tuple[object, ...], list[Finding]] = {}
    for row in by_listener(findings):
        one = row.first
        key = (one.status, one.check, row.family, words.of(one))
        groups.setdefault(key, []).extend(row.findings)
    return tuple(words.row(group) for group in _in_place(findings, groups.values()))


def _in_place(
    findings: tuple[Finding, ...], groups: Iterable[list[Finding]]
) -> Iterable[list[Finding]]:
    """Put each group where its first finding stood: families of a listener stay together."""
    place = {id(finding): number for number, finding in enumerate(findings)}
    return sorted(groups, key=lambda group: place[id(group[0])])


class _Words:
    """What may differ in words that count as the same."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        names = sorted({re.escape(one.listener) for one in findings}, key=len, reverse=True)
        self._variable = re.compile(f"({_TIME})|{_VARIABLE}|\\b(?:{'|'.join(names)})\\b")

    def of(self, finding: Finding) -> tuple[str, ...]:
        """Return a finding's words without what may differ."""
        told = (finding.observed, finding.expected, finding.fix)
        return tuple(self._variable.sub(lambda m: "#" if m[1] else "·", said) for said in told)

    def row(self, findings: list[Finding]) -> Row:
        """Make a row of findings that say the same."""
        times = [
            [match[1] for match in self._variable.finditer(finding.observed) if match[1]]
            for finding in findings
        ]
        ranges = iter([_range(column) for column in zip(*times, strict=True)])

        def blend(match: re.Match[str]) -> str:
            return next(ranges) if match[1] else match[0]

        return Row(tuple(findings), self._variable.sub(blend, findings[0].observed))


def _range(numbers: Iterable[str]) -> str:
    apart = sorted(set(numbers), key=float)
    return apart[0] if len(apart) == 1 else f"{apart[0]}\N{EN DASH}{apart[-1]}"
