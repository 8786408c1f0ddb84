"""One way to print and keep what benchmarks measure."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path


def timed(action: Callable[[], object]) -> float:
    """Return the seconds that an action takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def options(description: str | None, *, runs: int) -> argparse.Namespace:
    """Read ``--runs`` and ``--json`` from the command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--runs", type=int, default=runs, help="how often each thing is measured")
    parser.add_argument("--json", type=Path, metavar="FOLDER", help="keep the figures here as well")
    return parser.parse_args()


def progress(doing: str) -> None:
    """Say on standard error what is going on, where somebody looks; the next line replaces it."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K… {doing}", end="\r", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Row:
    """A figure: median, fastest and slowest of its runs, and what was aimed at."""

    name: str
    median: float
    least: float
    most: float
    unit: str
    aim: str


@dataclass
class Table:
    """Rows, printed as they are added."""

    name: str
    rows: list[Row] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Print the heading."""
        print(f"{self.name:50} {'median':>9} {'least':>9} {'most':>9}", flush=True)

    def add(
        self,
        name: str,
        values: Sequence[float],
        unit: str,
        *,
        at_most: float | None = None,
        at_least: float | None = None,
    ) -> None:
        """Add the figures of one thing; `at_most` or `at_least` is the aim for their median."""
        median = statistics.median(values)
        aim = ""
        if at_most is not None:
            aim = f"<= {at_most:g}  {'met' if median <= at_most else 'MISSED'}"
        if at_least is not None:
            aim = f">= {at_least:g}  {'met' if median >= at_least else 'MISSED'}"
        row = Row(name, median, min(values), max(values), unit, aim)
        self.rows.append(row)
        print(
            f"{name:50} {row.median:9.3f} {row.least:9.3f} {row.most:9.3f} {unit:5} {aim}",
            flush=True,
        )

    def keep(self, folder: Path | None) -> None:
        """Write the rows as JSON below a folder, when there is one."""
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
            rows = [asdict(row) for row in self.rows]
            (folder / f"{self.name}.json").write_text(json.dumps(rows, indent=2))
