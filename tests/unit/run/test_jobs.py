"""Jobs: now and then, never twice at once, and their results kept."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from gatepost.model import Home, Job
from gatepost.run import jobs as room
from gatepost.run import reports
from gatepost.run.control import JobResult
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
    def rows(self) -> list[dict[str, Any]]:
        """What the supervisor tells of each job."""
        return [asdict(row) for row in self.made.status]

    @property
    def last(self) -> dict[str, Any] | None:
        """The job's last result."""
        found: dict[str, Any] | None = self.rows[0]["last"]
        return found


def test_a_job_runs_after_the_start_and_its_result_is_kept(home: Home, trace: Path) -> None:
    """Nobody would know whether it ever ran."""
    world = World(home, shell(f"echo done >> {trace}; echo words"))
    world.run(lambda: world.rows and world.last)
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
    world.run(lambda: world.rows and world.last)
    later = World(home, replace(job, after_start=False))
    later.run(lambda: later.rows)
    due = dt.datetime.fromisoformat(later.rows[0]["next"])
    began = dt.datetime.fromisoformat(later.rows[0]["last"]["began"])
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
    world.run(lambda: world.rows and world.last)
    assert world.last
    assert world.last["problem"] == "it ended with exit code 3"
    assert "the job job failed: it ended with exit code 3" in world.log.read_text()


def test_a_job_without_its_program_says_so(home: Home) -> None:
    """Whoever mistypes a program would have to know what exit code 127 means."""
    world = World(home, shell("echoo"))
    world.run(lambda: world.rows and world.last)
    assert world.last
    assert world.last["problem"] == "it ended with exit code 127 (no such program)"


def test_a_job_that_hangs_is_ended_with_its_children(home: Home, trace: Path) -> None:
    """It would keep itself from running again for ever."""
    job = shell(f"sleep 60 & echo $! >> {trace}; wait", limit_seconds=0.3)
    world = World(home, job)
    world.run(lambda: world.rows and world.last)
    assert world.last
    assert world.last["problem"] == "it took longer than 0.3 s and was ended"
    assert ended(lines(trace)[0])


def test_a_program_that_is_missing_is_named(home: Home) -> None:
    """The supervisor would end with a traceback."""
    world = World(home, Job("job", ("/no/such/program",), every=3600.0, after_start=True))
    world.run(lambda: world.rows and world.last)
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
        return bool(lines(trace)) and ended(lines(trace)[0]) and not world.rows

    world.run(gone)


def test_a_job_whose_times_change_is_planned_anew(home: Home, trace: Path) -> None:
    """The change would take effect after the old time only."""
    job = shell(f"echo done >> {trace}", after_start=False, every=3600.0)
    world = World(home, job)

    def again() -> bool:
        if world.rows:
            world.jobs = (replace(job, every=0.05),)
        return len(lines(trace)) >= 2

    world.run(again)


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Be in a zone two hours east of Greenwich."""
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
    assert (room._times_of_day(at, NOW)[1] - NOW).total_seconds() == pytest.approx(hours * 3600)


def test_jobs_of_many_servers_do_not_start_together(home: Home) -> None:
    """All of the world's servers would ask the same authority in the same second."""
    world = World(home)
    daily = Job("daily", ("true",), at="03:00")
    hourly = Job("hourly", ("true",), every=3600.0)
    for job in (daily, hourly):
        starts = [world.made._next(job, NOW) for _ in range(20)]
        assert len(set(starts)) > 10
    night = room._times_of_day("03:00", NOW)[1]
    for _ in range(20):
        due = world.made._next(daily, NOW)
        assert due
        assert dt.timedelta(0) <= due - night <= dt.timedelta(minutes=10)


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "[]", '{"job": {"odd": 1}}', '{"job": 7}'),
        '{"job": {"began": 7, "seconds": 1}}',
        '{"job": {"began": "2026-11-30T12:00:00", "seconds": 1}}',
    ],
)
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
    world.run(lambda: world.rows and world.last)
    assert lines(trace) == ["done"]


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Be where the clock is changed in March and October, by a rule that needs no file."""
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize(
    ("now", "due"),
    [
        ("2025-10-25T12:00:00+02:00", "2025-10-26T03:00:00+01:00"),
        ("2025-03-29T12:00:00+01:00", "2025-03-30T03:00:00+02:00"),
        ("2025-10-26T03:00:01+01:00", "2025-10-27T03:00:00+01:00"),
    ],
)
def test_a_change_of_the_clock_moves_no_job(now: str, due: str) -> None:
    """It would run twice in one night of autumn, and an hour late in spring."""
    found = room._times_of_day("03:00", dt.datetime.fromisoformat(now))[1]
    assert found == dt.datetime.fromisoformat(due)


@pytest.mark.usefixtures("berlin")
def test_a_time_that_is_there_twice_comes_once() -> None:
    """The second 02:30 of the night would begin the job anew."""
    first = dt.datetime.fromisoformat("2025-10-26T02:30:00+02:00")
    _, due = room._times_of_day("02:30", first + dt.timedelta(minutes=40))
    assert due - first > dt.timedelta(hours=20)


def test_a_daily_job_that_was_missed_comes_soon(home: Home) -> None:
    """On a machine that is restarted at that hour it would never run."""
    world = World(home)
    daily = Job("daily", ("true",), at="03:00")
    hour = dt.timedelta(hours=1)
    before, due = room._times_of_day("03:00", NOW)
    world.made._last["daily"] = JobResult((before - hour).isoformat(), 1.0)
    missed = world.made._next(daily, NOW)
    assert missed
    assert missed - NOW <= dt.timedelta(minutes=1)
    world.made._last["daily"] = JobResult((before + hour).isoformat(), 1.0)
    done = world.made._next(daily, NOW)
    assert done
    assert done >= due


def test_a_last_run_to_come_is_none(home: Home) -> None:
    """After a clock that was wrong for a day the job would wait for years."""
    world = World(home)
    world.made._last["job"] = JobResult((NOW + dt.timedelta(days=900)).isoformat(), 1.0)
    due = world.made._next(Job("job", ("true",), every=60.0), NOW)
    assert due
    assert due - NOW < dt.timedelta(minutes=2)


def test_a_job_for_the_start_runs_once(home: Home, trace: Path) -> None:
    """It would run every second, for ever."""
    world = World(home, shell(f"echo done >> {trace}", every=0.0))
    world.run(lambda: world.rows and world.last)
    world.run(lambda: world.rows[0]["next"] is None or len(lines(trace)) > 2)
    assert len(lines(trace)) <= 2
    assert world.rows[0]["next"] is None


@pytest.mark.parametrize(
    "times",
    [{}, {"at": "25:00"}, {"at": "3:00"}, {"at": "soon"}, {"at": "03:00", "every": 5.0}],
)
def test_times_that_there_are_not_are_refused(times: dict[str, Any]) -> None:
    """The supervisor would stumble over them long after somebody wrote them."""
    with pytest.raises(ValueError, match="job odd"):
        Job("odd", ("true",), **times)


def test_whatever_is_wrong_with_a_job_the_next_one_runs(home: Home, trace: Path) -> None:
    """One would keep all others from running, and nobody would hear of it."""
    odd = Job("odd", ("true", "\0"), every=0.02, after_start=True)
    world = World(home, odd, replace(shell(f"echo done >> {trace}"), every=0.02))
    world.run(lambda: len(lines(trace)) > 2 and "embedded null" in world.log.read_text())
    found = {row["name"]: row["last"]["problem"] for row in world.rows}
    assert found["odd"] == "it cannot be started: embedded null byte"


def test_one_that_will_not_end_is_ended_though_the_server_is_stopped(
    home: Home, trace: Path
) -> None:
    """It would go on after `gatepost down`, and the next server would start a second one."""
    script = f"trap '' TERM; echo $$ >> {trace}; while :; do sleep 0.02; done"
    world = World(home, shell(script, limit_seconds=0.2))
    began = time.monotonic()
    # Stopped in the moment in which it is being ended for its time.
    world.run(lambda: lines(trace) and time.monotonic() > began + 0.25)
    assert ended(lines(trace)[0])
    assert world.made.children == {}
