"""Has renewed certificates and passwords used, and tries again when that meets a passing fault.

`gatepost.run.originals` notices new contents, and `gatepost.run.renewal` makes the copies.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from gatepost.model import Home, Original
from gatepost.run import environment, originals
from gatepost.run.control import Applied
from gatepost.run.record import Record

BACK_OFF = (10.0, 600.0)
"""Seconds until the first and before the latest try after a fault that may pass."""


class Renewing:
    """Watches the originals of the copies in use."""

    def __init__(
        self,
        home: Home,
        used: Callable[[], Record | None],
        apply: Callable[[], Awaitable[Applied]],
        say: Callable[[str], None],
    ) -> None:
        """Take what is in use now, how to go over to a new configuration, and where to complain."""
        self._home = home
        self._used = used
        self._apply = apply
        self._say = say
        self._refusal: tuple[Record | None, str] = (None, "")
        """Why new contents are not in use, and beside which configuration that was found."""
        self._told: list[str] = []
        self._pause = BACK_OFF[0]
        self._again: float | None = None
        """When to try again, by the clock of the event loop."""

    @property
    def problem(self) -> str:
        """Why new contents are not in use; empty when they are."""
        beside, why = self._refusal
        # A `gatepost up` has made all copies anew.
        return why if beside is self._used() else ""

    async def run(self) -> None:
        """Have new certificates and passwords used as soon as their files change, for ever."""
        async for _ in originals.changed(self._originals, self._due):
            answer = await self._renew()
            while answer is None:  # a `gatepost up` is at work
                await asyncio.sleep(originals.EVERY)
                answer = await self._renew()
            problems = [" ".join(problem.split()) for problem in answer["problems"]]
            self._plan(again=answer["again"])
            for problem in problems:
                if problem not in self._told:
                    self._say(f"what is in use stays: {problem}")
            self._told = problems
            if answer["renewed"]:
                self._say(f"read anew: {', '.join(answer['renewed'])}")
                if stuck := (await self._apply()).problem:
                    self._say(stuck)
            self._refusal = (self._used(), _refusal(problems, again=answer["again"]))

    def _due(self) -> bool:
        return self._again is not None and asyncio.get_running_loop().time() >= self._again

    def _plan(self, *, again: bool) -> None:
        """Settle when to try again: later each time, or not at all."""
        if again:
            self._again = asyncio.get_running_loop().time() + self._pause
            self._pause = min(self._pause * 2, BACK_OFF[1])
        else:
            self._again, self._pause = None, BACK_OFF[0]

    async def _renew(self) -> dict[str, Any] | None:
        """Run `gatepost.run.renewal`; None when a `gatepost up` is at work."""
        program = (sys.executable, "-P", "-m", "gatepost.run.renewal", str(self._home.root))
        try:
            child = await asyncio.create_subprocess_exec(
                *program,
                env=environment.fixed(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        except OSError as error:
            return _failed(f"{sys.executable} cannot be started: {error}")
        try:
            told, failed = await child.communicate()
        except asyncio.CancelledError:
            child.kill()
            await child.wait()
            raise
        if child.returncode:
            words = failed.decode(errors="replace").strip().rpartition("\n")[2]
            return _failed(words or f"its program ended with exit code {child.returncode}")
        answer: dict[str, Any] | None = json.loads(told) if told.strip() else None
        return answer

    def _originals(self) -> list[Original]:
        used = self._used()
        return [file.original for file in used.files if file.original] if used else []


def _failed(words: str) -> dict[str, Any]:
    return {"renewed": [], "problems": [f"it could not be read anew: {words}"], "again": True}


def _refusal(problems: list[str], *, again: bool) -> str:
    if not problems:
        return ""
    step = (
        f"It is tried again within {BACK_OFF[1] / 60:g} minutes, and at once by: gatepost up"
        if again
        else "Mend the file: that is noticed by itself"
    )
    return f"New contents of certificates or passwords are not in use: {' '.join(problems)} {step}"
