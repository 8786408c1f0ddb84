"""The live screen: what is on it, and that it fits."""

from __future__ import annotations

import io
import time
from datetime import UTC, datetime

from rich.console import Console

from gatepost.cli.watching import Screen
from gatepost.model import Finding, Status
from gatepost.verify.report import Report


def report(*findings: Finding) -> Report:
    began = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    return Report("mail.example.org", findings, began, 1.5, notes=("A note.",))


def finding(status: Status, listener: str = "smtp", check: str = "banner") -> Finding:
    return Finding(check, listener, "IPv4", status, "wanted", f"it is {status}", "", "do this")


def drawn(screen: Screen, *, height: int = 50, width: int = 100) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width, height=height, highlight=False).print(screen, height=height)
    return out.getvalue().splitlines()


def test_before_the_first_run_ends_its_progress_is_told() -> None:
    """Ten seconds of an empty screen look like a hang."""
    screen = Screen()
    screen.running()
    screen.progress(3, 62)
    text = "\n".join(drawn(screen))
    assert "probing 3 of 62" in text
    assert "First run" in text


def test_a_run_is_told_with_its_time_and_the_countdown() -> None:
    """Who looks up from other work must know how old it is."""
    screen = Screen()
    screen.show(report(finding(Status.PASS)), time.monotonic() + 42)
    text = "\n".join(drawn(screen))
    for words in (
        *("mail.example.org", "next run in 42 s", "Ctrl-C ends", "at 03:04:05", "took 1.5 s"),
        *("All is proven", "A note.", "it is pass"),
    ):
        assert words in text


def test_what_changed_is_told_newest_first() -> None:
    """A row that turned red in the middle of fifty is easily missed."""
    screen = Screen()
    for status in (Status.PASS, Status.FAIL, Status.PASS):
        screen.show(report(finding(status)), 0)
    lines = [line.strip() for line in drawn(screen)]
    first = lines.index("Changed:")
    assert lines[first + 1] == "03:04:05  banner smtp IPv4: fail → pass"
    assert lines[first + 2] == "03:04:05  banner smtp IPv4: pass → fail: it is fail"


def test_nothing_changed_is_told_as_well() -> None:
    """Otherwise one waits for it."""
    screen = Screen()
    screen.show(report(finding(Status.PASS)), 0)
    screen.show(report(finding(Status.PASS)), 0)
    assert "Nothing has changed in 2 runs." in "\n".join(drawn(screen))


def test_what_does_not_fit_is_told() -> None:
    """A row below the screen's edge would be hidden."""
    screen = Screen()
    screen.show(report(*(finding(Status.PASS, check=f"check-{n}") for n in range(80))), 0)
    lines = drawn(screen, height=20)
    assert len(lines) == 20
    assert lines[-1].startswith("… and ")
    assert "gatepost verify shows all" in lines[-1]
    assert max(map(len, lines)) <= 100
