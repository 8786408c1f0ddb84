"""Jobs: programs that run every so often, at a time of day, or once after a start.

The supervisor runs them as it runs other processes: with their user, their output in the log, and
ended with it. A job never runs twice at once. Its last result is kept across restarts, so a weekly
job does not begin its week anew with each of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import random
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

from gatepost.model import Home, Job, Process
from gatepost.run import reports
from gatepost.run.child import Child
from gatepost.run.control import JobResult, JobState
from gatepost.run.logs import LogStream

_LOOK_SECONDS = 1.0
"""Between two looks at what is due."""
_SOON_SECONDS = 60.0
"""A job that has never run, or is overdue, begins within this after the start."""
_JITTER = 0.1
"""Part of the interval by which each start is moved, so that many servers do not ask at once."""
_NO_PROGRAM = 127
"""Exit code of a shell, and of what starts a program as a user, when there is no such program."""
_LATEST_SECONDS = 600.0
"""Seconds after its time of day within which a job begins."""


class Jobs:
    """Runs the jobs of the configuration in use."""

    def __init__(
        self,
        home: Home,
        log: LogStream,
        used: Callable[[], Iterable[Job]],
        changed: Callable[[], None],
    ) -> None:
        """Take the jobs that there are now, and who notes down which children run."""
        self._file = home.state / "jobs.json"
        self._log = log
        self._used = used
        self._changed = changed
        self._known: dict[str, Job] = {}
        self._due: dict[str, dt.datetime | None] = {}
        """When each is due; None for one that has run and waits for the next start."""
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._last = _read(self._file)
        self.children: dict[str, Child] = {}
        """Jobs that run now."""

    async def run(self) -> None:
        """Start what is due, again and again; this never ends. Cancelled, it ends what runs."""
        try:
            while True:
                await self._look()
                await asyncio.sleep(_LOOK_SECONDS)
        finally:
            await self._end(tuple(self._tasks))

    @property
    def status(self) -> tuple[JobState, ...]:
        """The state of each job, as ``gatepost status`` shows it."""
        return tuple(
            JobState(
                name,
                running=name in self.children,
                next=due.isoformat(timespec="seconds") if due else None,
                last=self._last.get(name),
            )
            for name, due in self._due.items()
        )

    async def _look(self) -> None:
        now = _now()
        jobs = {job.name: job for job in self._used()}
        gone = [name for name, job in self._known.items() if jobs.get(name) != job]
        await self._end(gone)
        for name in gone:
            del self._known[name], self._due[name]
        for name, job in jobs.items():
            if name not in self._known:
                self._due[name] = now if job.after_start else self._next(job, now)
                self._known[name] = job
                self._log.limit(name, job.events)
            due = self._due[name]
            if due and due <= now and name not in self._tasks:
                self._tasks[name] = asyncio.create_task(self._run(job))

    async def _end(self, names: Iterable[str]) -> None:
        tasks = [task for name in names if (task := self._tasks.get(name))]
        for task in tasks:
            task.cancel()
        # Each leaves the table by itself, when nothing of its program is left.
        await asyncio.gather(*tasks, return_exceptions=True)

    def _next(self, job: Job, now: dt.datetime) -> dt.datetime | None:
        """Return when a job is due, from its last run and its times."""
        chance = random.random()  # noqa: S311  it guards nothing
        last = self._last.get(job.name)
        # A clock that was wrong may have noted down a later time.
        began = min(now, dt.datetime.fromisoformat(last.began)) if last else None
        if job.at:
            before, due = _times_of_day(job.at, now)
            if began and began < before:  # the server was down at its time
                return now + dt.timedelta(seconds=_SOON_SECONDS * chance)
            return due + dt.timedelta(seconds=_LATEST_SECONDS * chance)
        if not job.every:
            return None
        soon = now + dt.timedelta(seconds=min(_SOON_SECONDS, job.every) * chance)
        interval = job.every * (1 + _JITTER * (2 * chance - 1))
        return max(soon, began + dt.timedelta(seconds=interval)) if began else soon

    async def _run(self, job: Job) -> None:
        """Run a job once, and plan its next run. Ended with the server, it has not run."""
        began, problem = _now(), ""
        process = Process(job.name, job.argv, user=job.user, environment=job.environment)
        child: Child | None = None
        try:
            child = await Child.start(process, lambda block: self._log.feed(job.name, block))
            self.children[job.name] = child
            self._changed()
            async with asyncio.timeout(job.limit_seconds):
                code = await child.wait()
            problem = _ending(code)
        except TimeoutError:
            problem = f"it took longer than {job.limit_seconds:g} s and was ended"
        except Exception as error:  # noqa: BLE001  whatever is wrong with one, the others go on
            problem = f"it cannot be started: {error}"
        finally:
            try:
                if child:
                    await _ended(child)
            finally:
                self._log.finish(job.name)
                self.children.pop(job.name, None)
                self._tasks.pop(job.name, None)
                self._changed()
        self._keep(job.name, JobResult(_written(began), _seconds_since(began), problem))
        if problem:
            self._log.say(f"the job {job.name} failed: {problem}")
        # Its times may have changed meanwhile; then it has been planned anew.
        if self._known.get(job.name) == job:
            self._due[job.name] = self._next(job, _now())

    def _keep(self, name: str, result: JobResult) -> None:
        self._last[name] = result
        kept = {name: asdict(one) for name, one in self._last.items() if name in self._known}
        # A full disk must not end the supervisor: the job runs once too often, at worst.
        with contextlib.suppress(OSError):
            reports.write(self._file, json.dumps(kept, indent=1).encode())


async def _ended(child: Child) -> None:
    """End what is left of a child, to the end, though it is cancelled meanwhile."""
    stop = asyncio.ensure_future(child.stop(seconds=_LOOK_SECONDS))
    cancelled = False
    while not stop.done():
        try:
            await asyncio.shield(stop)
        except asyncio.CancelledError:
            cancelled = True
    stop.result()
    if cancelled:
        raise asyncio.CancelledError


def _ending(code: int) -> str:
    if code < 0:
        return f"it was killed by signal {-code}"
    why = " (no such program)" if code == _NO_PROGRAM else ""
    return f"it ended with exit code {code}{why}" if code else ""


def _times_of_day(at: str, now: dt.datetime) -> tuple[dt.datetime, dt.datetime]:
    """Return the last and the next moment with this time of day, in the machine's time zone.

    Reckoned without an offset, for tomorrow's may be another (daylight saving).
    """
    hour, _, minute = at.partition(":")
    local = now.astimezone().replace(tzinfo=None)
    today = local.replace(hour=int(hour), minute=int(minute), second=0, microsecond=0)
    days = [(today + dt.timedelta(days=number)).astimezone() for number in (-1, 0, 1)]
    return max(day for day in days if day <= now), min(day for day in days if day > now)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _written(moment: dt.datetime) -> str:
    return moment.isoformat(timespec="seconds")


def _seconds_since(moment: dt.datetime) -> float:
    return round((_now() - moment).total_seconds(), 1)


def _read(file: Path) -> dict[str, JobResult]:
    """Return what is kept of earlier runs; nothing when it cannot be read or understood."""
    try:
        found = {name: JobResult(**one) for name, one in json.loads(file.read_text()).items()}
        zones = [dt.datetime.fromisoformat(result.began).tzinfo for result in found.values()]
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
    return found if all(zones) else {}
