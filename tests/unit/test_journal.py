"""The journal: one line each, until it is a flood."""

from __future__ import annotations

import io

from gatepost.journal import Journal


def test_a_flood_does_not_fill_the_disk() -> None:
    """A thousand bad headers a second would be gigabytes a day."""
    now = [0.0]
    stream = io.StringIO()
    journal = Journal(stream, lambda: now[0])
    for number in range(10_000):
        now[0] = number / 1000
        journal.limited("malformed", "smtp: [192.0.2.7]:1 refused, malformed: closed")
    journal.limited("forged", "another kind is heard at once")
    lines = stream.getvalue().splitlines()
    assert 20 < len(lines) < 50
    assert "another kind" in lines[-1]
    assert any("more lines of this kind were left out" in line for line in lines)


def test_what_is_rare_is_written() -> None:
    """The one line that matters would be lost."""
    stream = io.StringIO()
    journal = Journal(stream)
    journal.limited("slow", "smtp: [192.0.2.7]:1 refused, slow: closed")
    assert stream.getvalue().endswith("Z smtp: [192.0.2.7]:1 refused, slow: closed\n")


def test_serving_goes_on_when_nobody_reads_the_log() -> None:
    """A supervisor that died would take the gate with it, and those who wait."""

    class Broken(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    Journal(Broken()).always("stopping: no new connections")
