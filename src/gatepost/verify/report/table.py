"""The report as a table for people: failures first, at most as wide as the screen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatepost.model import Finding, Status
from gatepost.verify.report import WORDS
from gatepost.verify.report.rows import Row, by_check, by_listener

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

_STYLES = {
    Status.FAIL: "bold red",
    Status.RISK: "yellow",
    Status.NOT_PROVEN: "cyan",
    Status.PASS: "green",
}
_HEADINGS = ("", "check", "listener", "over", "observed")
_SAME = "the same as above"
_SAME_ELSE = "(else as above)"
_INDENT = 4
_WIDEST_LISTENERS = 32


def table(findings: Iterable[Finding]) -> RenderableType:
    """Return one line for each listener and check, IPv4 and IPv6 together when they agree.

    What is not a pass says below its line what was expected, who was the witness and what to do;
    a line that says the same as the one above says so. A pass is one line, cut where it ends.
    """
    return _drawn(by_listener(findings), {})


def compact(findings: Iterable[Finding]) -> RenderableType:
    """Return the same with one line for all listeners of a check that agree."""
    findings = tuple(findings)
    everywhere: dict[str, set[str]] = {}
    for finding in findings:
        everywhere.setdefault(finding.check, set()).add(finding.listener)
    return _drawn(by_check(findings), everywhere)


def _drawn(rows: tuple[Row, ...], everywhere: Mapping[str, set[str]]) -> RenderableType:
    """Draw rows; `everywhere` names the listeners of checks, to say "all" for."""
    from rich.console import Group  # noqa: PLC0415  0.1 s that --json does not need
    from rich.rule import Rule  # noqa: PLC0415

    cells = [_Cells.of(row, everywhere) for row in rows]
    widths = [
        min(_WIDEST_LISTENERS, max([len(heading), *(len(cell) for cell in column)]))
        for heading, column in zip(
            _HEADINGS, zip(*(one.short for one in cells), strict=True), strict=False
        )
    ]
    lines: list[RenderableType] = [_line(widths, _HEADINGS, "bold"), Rule(style="dim")]
    above: Row | None = None
    for row, one in zip(rows, cells, strict=True):
        lines.extend(_told(widths, row, one, above))
        above = row
    return Group(*lines)


@dataclass(frozen=True, slots=True)
class _Cells:
    """The short words of a row, and its long ones."""

    short: tuple[str, str, str, str]
    observed: str

    @classmethod
    def of(cls, row: Row, everywhere: Mapping[str, set[str]]) -> _Cells:
        first = row.first
        listeners = " ".join(row.listeners)
        if len(row.listeners) > 1 and set(row.listeners) == everywhere.get(first.check):
            listeners = f"all {len(row.listeners)}"
        return cls((WORDS[first.status], first.check, listeners, row.family), row.observed)


def _told(
    widths: list[int], row: Row, cells: _Cells, above: Row | None
) -> Iterator[RenderableType]:
    status = row.first.status
    if status is Status.PASS:
        yield _line(widths, (*cells.short, cells.observed), _STYLES[status], cut=True)
        return
    details = list(_details(row))
    if above and (above.first.status, above.first.check) == (status, row.first.check):
        known = set(_details(above))
        fresh = [detail for detail in details if detail not in known]
        if not fresh:
            same = cells.observed == above.observed
            observed = _SAME if same else f"{cells.observed} {_SAME_ELSE}"
            yield _line(widths, (*cells.short, observed), _STYLES[status])
            return
        details = fresh
    yield _line(widths, (*cells.short, cells.observed), _STYLES[status])
    yield _block(details)


def _details(row: Row) -> Iterator[tuple[str, str]]:
    """Yield what stands below a row's line; where families differ, the words of each."""
    first = row.first
    yield "expected", str(first.expected)
    for name, words in (
        ("observed", [one.observed for one in row.findings]),
        ("witness", [one.witness for one in row.findings]),
        ("fix", [one.fix for one in row.findings]),
    ):
        different = list(dict.fromkeys(str(one) for one in words if one))
        if name == "observed":  # the first stands in the line itself
            different = different[1:]
        yield from ((name, one) for one in different)


def _line(
    widths: list[int], cells: tuple[str, ...], style: str, *, cut: bool = False
) -> RenderableType:
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    grid = Table.grid(padding=(0, 2, 0, 0), expand=True)
    for width in widths:
        grid.add_column(width=width)
    grid.add_column(ratio=1, no_wrap=cut, overflow="ellipsis" if cut else "fold")
    *short, observed = cells
    heading = cells is _HEADINGS
    grid.add_row(
        Text(short[0], style=style),
        *(Text(cell, style=style if heading else "") for cell in (*short[1:], observed)),
    )
    return grid


def _block(details: list[tuple[str, str]]) -> RenderableType:
    from rich.padding import Padding  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    grid: Table = Table.grid(padding=(0, 2, 0, 0), expand=True)
    grid.add_column(width=8, no_wrap=True, style="dim")
    grid.add_column(ratio=1, overflow="fold")
    for name, words in details:
        grid.add_row(Text(name), Text(words))
    return Padding(grid, (0, 0, 0, _INDENT))
