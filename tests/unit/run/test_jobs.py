"""Jobs: now and then, never twice at once, and their results kept."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from gatepost.model import Home, Job
from gatepost.run import jobs as room
from gatepost.run import reports
from gatepost.run.jobs import Jobs
from gatepost.run.logs import LogStream

NOW = dt.datetime(2026, 11, 30, 12, 0, tzinfo=dt.UTC)


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_LOOK_SECONDS", 0.01)


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return tmp_path / "trace"


def shell(script: str, **options: Any) -> Job:
    return Job("job", ("sh", "-c", script), **{"every": 3600.0, "after_start": True, **options})


def lines(trace: Path) -> list[str]:
    return trace.read_text().split() if trace.exists() else []


def ended(pid: str) -> bool:
    """Tell whether a process is gone; one that nobody has asked about may be left as a zombie."""
    try:
        return psutil.Process(int(pid)).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class World:
    """The jobs of a home."""

    def __init__(self, home: Home, *jobs: Job) -> None:
        """Have some."""
        home.state.mkdir(parents=True, exist_ok=True)
        self.home = home
        self.jobs = jobs
        self.remembered = 0
        self.log = home.logs / "log"
        self.made = Jobs(home, LogStream(self.log), lambda: self.jobs, self._remember)

    def _remember(self) -> None:
        self.remembered += 1

    def run(self, until: Callable[[], object], *, seconds: float = 10) -> None:
        """Run them until something is so."""

        async def main() -> None:
            running = asyncio.create_task(self.made.run())
            try:
                async with asyncio.timeout(seconds):
                    while not until():  # noqa: ASYNC110  it is another program that acts
                        await asyncio.sleep(0.01)
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)

        asyncio.run(main())

    @property
    def last(self) -> dict[str, Any] | None:
        """The job's last result."""
        found: dict[str, Any] | None = self.made.status[0]["last"]
        return found


def test_a_job_runs_after_the_start_and_its_result_is_kept(home: Home, trace: Path) -> None:
    """Nobody would know whether it ever ran."""
    world = World(home, shell(f"echo done >> {trace}; echo words"))
    world.run(lambda: world.made.status and world.last)
    assert lines(trace) == ["done"]
    assert world.last
    assert world.last["problem"] == ""
    assert "job | words" in world.log.read_text()
    assert json.loads((home.state / "jobs.json").read_text())["job"] == world.last
    assert world.remembered == 2, "who runs is noted down at its start and its end"


def test_after_a_restart_it_waits_for_the_rest_of_its_time(home: Home, trace: Path) -> None:
    """A weekly job would run at each restart, or never on a machine that restarts daily."""
    job = shell(f"echo done >> {trace}")
    world = World(home, job)
    world.run(lambda: world.made.status and world.last)
    later = World(home, replace(job, after_start=False))
    later.run(lambda: later.made.status)
    due = dt.datetime.fromisoformat(later.made.status[0]["next"])
    began = dt.datetime.fromisoformat(later.made.status[0]["last"]["began"])
    assert 0.89 * 3600 < (due - began).total_seconds() < 1.11 * 3600
    assert lines(trace) == ["done"]


def test_a_job_that_takes_long_is_not_started_again(home: Home, trace: Path) -> None:
    """Two at once would write over each other's files."""
    job = shell(f"echo began >> {trace}; sleep 0.3; echo ended >> {trace}", every=0.01)
    world = World(home, job)
    world.run(lambda: len(lines(trace)) >= 6)
    found = lines(trace)
    assert found[:6] == ["began", "ended"] * 3


def test_a_job_that_fails_says_so(home: Home) -> None:
    """Certificates would run out, and the only word about it would be in a log."""
    world = World(home, shell("echo no room; exit 3"))
    world.run(lambda: world.made.status and world.last)
    assert world.last
    assert world.last["problem"] == "it ended with exit code 3"
    assert "the job job failed: it ended with exit code 3" in world.log.read_text()


def test_a_job_that_hangs_is_ended_with_its_children(home: Home, trace: Path) -> None:
    """It would keep itself from running again for ever."""
    job = shell(f"sleep 60 & echo $! >> {trace}; wait", limit_seconds=0.3)
    world = World(home, job)
    world.run(lambda: world.made.status and world.last)
    assert world.last
    assert world.last["problem"] == "it took longer than 0.3 s and was ended"
    assert ended(lines(trace)[0])


def test_a_program_that_is_missing_is_named(home: Home) -> None:
    """The supervisor would end with a traceback."""
    world = World(home, Job("job", ("/no/such/program",), every=3600.0, after_start=True))
    world.run(lambda: world.made.status and world.last)
    assert world.last
    assert world.last["problem"]


def test_what_ends_with_the_server_has_not_run(home: Home, trace: Path) -> None:
    """A daily job that a restart has cut off would wait for another day."""
    world = World(home, shell(f"echo $$ >> {trace}; exec sleep 60"))
    world.run(lambda: lines(trace))
    assert ended(lines(trace)[0])
    assert world.last is None
    assert not (home.state / "jobs.json").exists()


def test_a_job_that_is_no_longer_there_ends(home: Home, trace: Path) -> None:
    """A plug-in that was switched off would go on."""
    world = World(home, shell(f"echo $$ >> {trace}; exec sleep 60"))

    def gone() -> bool:
        if lines(trace):
            world.jobs = ()
        return bool(lines(trace)) and ended(lines(trace)[0])

    world.run(gone)
    assert world.made.status == []


def test_a_job_whose_times_change_is_planned_anew(home: Home, trace: Path) -> None:
    """The change would take effect after the old time only."""
    job = shell(f"echo done >> {trace}", after_start=False, every=3600.0)
    world = World(home, job)

    def again() -> bool:
        if world.made.status:
            world.jobs = (replace(job, every=0.05),)
        return len(lines(trace)) >= 2

    world.run(again)


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Be in a zone two hours east of Greenwich."""
    import time  # noqa: PLC0415

    monkeypatch.setenv("TZ", "TST-2")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("zone")
@pytest.mark.parametrize(
    ("at", "hours"), [("14:30", 0.5), ("14:00", 24), ("03:00", 13), ("23:59", 10 - 1 / 60)]
)
def test_a_time_of_day_is_the_machines(at: str, hours: float) -> None:
    """Work for the night would be done when everybody is at work."""
    assert (room._time_of_day(at, NOW) - NOW).total_seconds() == pytest.approx(hours * 3600)


def test_jobs_of_many_servers_do_not_start_together(home: Home) -> None:
    """All of the world's servers would ask the same authority in the same second."""
    world = World(home)
    daily = Job("daily", ("true",), at="03:00")
    hourly = Job("hourly", ("true",), every=3600.0)
    for job in (daily, hourly):
        starts = {world.made._next(job, NOW) for _ in range(20)}
        assert len(starts) > 10
    night = room._time_of_day("03:00", NOW)
    assert all(
        dt.timedelta(0) <= world.made._next(daily, NOW) - night <= dt.timedelta(minutes=10)
        for _ in range(20)
    )


@pytest.mark.parametrize("content", ["", "{", "[]", '{"job": {"odd": 1}}', '{"job": 7}'])
def test_damaged_results_are_none(home: Home, trace: Path, content: str) -> None:
    """A full disk in the past would keep the server from starting."""
    home.state.mkdir(parents=True, exist_ok=True)
    (home.state / "jobs.json").write_text(content)
    world = World(home, shell(f"echo done >> {trace}"))
    world.run(lambda: lines(trace))


def test_a_full_disk_keeps_no_job_from_running(
    home: Home, trace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job that makes room would be the first not to run."""

    def full(_file: Path, _content: bytes) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(reports, "write", full)
    world = World(home, shell(f"echo done >> {trace}"))
    world.run(lambda: world.made.status and world.last)
    assert lines(trace) == ["done"]
