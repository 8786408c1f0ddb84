"""``gatepost verify --watch``: run after run on one screen, and what changed between them."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

import click
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from gatepost.actions.proof import ending_tidily
from gatepost.cli.output import console
from gatepost.verify.report import Report, changes, sentence
from gatepost.verify.report.table import compact
from gatepost.verify.runner import Tell

_FRAMES_PER_SECOND = 4
_CHANGES_SHOWN = 8


class Watch:
    """Runs a proof again and again, and shows the last one until Ctrl-C or SIGTERM."""

    def __init__(
        self,
        prove: Callable[[Tell], Report],
        seconds: int,
        *,
        after: Callable[[Report], None],
    ) -> None:
        """Run every so many seconds, and pass each report to `after`."""
        self._prove = prove
        self._seconds = seconds
        self._after = after
        self._screen = Screen()

    def run(self) -> Report:
        """Watch until Ctrl-C; return the last report.

        It is printed in one sentence on the normal screen. Raises `KeyboardInterrupt` when there
        was none yet.
        """
        last: Report | None = None
        try:
            with (
                ending_tidily(),
                Live(
                    self._screen,
                    console=console(),
                    screen=True,
                    refresh_per_second=_FRAMES_PER_SECOND,
                ),
            ):
                while True:
                    next_run = time.monotonic() + self._seconds
                    self._screen.running()
                    last = self._prove(self._screen.progress)
                    self._after(last)
                    self._screen.show(last, next_run)
                    time.sleep(max(0.0, next_run - time.monotonic()))
        except KeyboardInterrupt:
            if last is None:
                raise
        click.echo(f"Last run at {last.began:%H:%M:%S}. {sentence(last.findings)}")
        return last


class Screen:
    """The content of the screen: the run, the countdown, what changed, the rows that fit."""

    def __init__(self) -> None:
        """Begin with nothing to show."""
        self._last: Report | None = None
        self._next_run = 0.0
        self._done: tuple[int, int] | None = (0, 0)
        self._changed: list[str] = []
        self._runs = 0
        self._began = datetime.now().astimezone()

    def running(self) -> None:
        """Tell that a run has begun."""
        self._done = (0, 0)

    def progress(self, done: int, total: int) -> None:
        """Tell how far the run is."""
        self._done = (done, total)

    def show(self, report: Report, next_run: float) -> None:
        """Show a finished run; the next one begins at `next_run`, of `time.monotonic`."""
        if self._last:
            at = f"{report.began:%H:%M:%S}"
            fresh = changes(self._last.findings, report.findings)
            self._changed = [*(f"{at}  {words}" for words in fresh), *self._changed]
        self._last = report
        self._next_run = next_run
        self._done = None
        self._runs += 1

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw as much as fits, and say when something does not."""
        height = options.height or console.size.height
        lines = console.render_lines(self._drawn(), options.update(height=None), pad=False)
        if len(lines) > height:
            missing = len(lines) - height + 1
            more = Text(f"… and {missing} lines more: gatepost verify shows all", style="dim")
            lines = [*lines[: height - 1], *console.render_lines(more, options, pad=False)[:1]]
        for number, line in enumerate(lines):
            if number:
                yield Segment.line()
            yield from line

    def _drawn(self) -> RenderableType:
        head = Table.grid(expand=True)
        head.add_column(ratio=1)
        head.add_column(justify="right")
        server = self._last.server if self._last else ""
        head.add_row(Text(f"gatepost verify  {server}", style="bold"), Text(self._now()))
        parts: list[RenderableType] = [head, Text(self._summary())]
        if self._last:
            parts += [Text(note) for note in self._last.notes]
            parts += [Text(), *self._news(), Text(), compact(self._last.findings)]
        return Group(*parts)

    def _now(self) -> str:
        ends = "Ctrl-C ends"
        if self._done is not None:
            done, total = self._done
            return f"probing {done} of {total or '…'} · {ends}"
        left = max(0, round(self._next_run - time.monotonic()))
        return f"next run in {left} s · {ends}"

    def _summary(self) -> str:
        if not self._last:
            return f"First run, begun at {self._began:%H:%M:%S}: at most 10 s."
        last = self._last
        return (
            f"Run {self._runs}, at {last.began:%H:%M:%S}, took {last.seconds:.1f} s. "
            f"{sentence(last.findings)}"
        )

    def _news(self) -> list[Text]:
        if self._runs == 1:
            return [Text("Changes from now on are shown here.", style="dim")]
        if not self._changed:
            return [Text(f"Nothing has changed in {self._runs} runs.", style="dim")]
        shown = [Text(words) for words in self._changed[:_CHANGES_SHOWN]]
        older = len(self._changed) - len(shown)
        if older:
            shown.append(Text(f"… and {older} earlier changes", style="dim"))
        return [Text("Changed:", style="bold"), *shown]
