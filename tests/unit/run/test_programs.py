"""Programs that an update replaces under a running server."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gatepost.model import Check, Home, Plan, Process
from gatepost.run import apply, control, logs, programs
from gatepost.run.logs import LogStream
from gatepost.run.supervise import Supervisor


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "EVERY", 0.1)
    monkeypatch.setattr(programs, "_DPKG", ())


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Copy a program that waits."""
    return Path(shutil.copy("/usr/bin/sleep", tmp_path / "daemon"))


def update(program: Path) -> None:
    """Replace a program as dpkg(1) does: a new file takes the name of the old one."""
    fresh = program.with_name(f"{program.name}.dpkg-new")
    shutil.copy(program, fresh)
    fresh.replace(program)


def supervised(home: Home, plan: Plan, what: Callable[[], Any]) -> Any:
    """Run a plan, and something in a thread once it is ready."""
    apply.apply(plan, home)

    async def main() -> Any:
        running = asyncio.create_task(Supervisor(home, LogStream(logs.path(home))).run())
        try:
            async with asyncio.timeout(20):
                while await asyncio.to_thread(control.ask, home, "wait") is None:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
                return await asyncio.to_thread(what)
        finally:
            await asyncio.to_thread(control.ask, home, "stop")
            await running

    return asyncio.run(main())


def pids(home: Home) -> dict[str, int]:
    return {row["name"]: row["pid"] for row in control.ask(home, "status")["services"]}


def wait_for_line(home: Home, words: str) -> list[str]:
    """Wait for a line of the log; return all of its kind."""
    for _ in range(200):
        found = [line for line in logs.path(home).read_text().splitlines() if words in line]
        if found:
            return found
        subprocess.run(["sleep", "0.05"], check=True)
    raise AssertionError(logs.path(home).read_text())


def test_a_replaced_program_is_restarted(
    home: Home, plan: Callable[..., Plan], program: Path
) -> None:
    """Every new session ended with "undefined symbol" until somebody restarted Dovecot."""
    processes = (Process("mda", (str(program), "60")), Process("mta", ("/usr/bin/sleep", "60")))

    def during() -> tuple[dict[str, int], list[str], dict[str, int]]:
        before = pids(home)
        update(program)
        said = wait_for_line(home, "an update has replaced")
        subprocess.run(["sleep", "1"], check=True)
        again = wait_for_line(home, "an update has replaced")
        assert said == again, "one line"
        return before, said, pids(home)

    before, (line,), after = supervised(home, plan(*processes), during)
    assert line.endswith(f"mda restarted: an update has replaced {program}")
    assert after["mda"] != before["mda"]
    assert after["mta"] == before["mta"]


def test_a_child_with_the_old_program_counts(program: Path) -> None:
    """The first process has not mapped the library that its children need."""
    parent = subprocess.Popen(
        ["/bin/sh", "-c", f"{program} 60 & echo; wait"], stdout=subprocess.PIPE, process_group=0
    )
    try:
        assert parent.stdout
        parent.stdout.readline()
        subprocess.run(["sleep", "0.2"], check=True)
        assert programs.outdated(parent.pid) is None
        update(program)
        assert programs.outdated(parent.pid) == str(program)
        # A package that was removed cannot be started anew.
        program.unlink()
        assert programs.outdated(parent.pid) is None
    finally:
        subprocess.run(["kill", "--", f"-{parent.pid}"], check=True)
        parent.communicate()


def test_nothing_is_restarted_while_packages_are_installed(tmp_path: Path) -> None:
    """Half of an update fits neither the old nor the new half."""
    lock = tmp_path / "lock"
    lock.touch()
    assert not programs.installing([lock])
    code = (
        "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX);"
        "print(flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as dpkg:
        assert dpkg.stdout
        dpkg.stdout.readline()
        assert programs.installing([lock])
        dpkg.communicate(b"\n")
    assert not programs.installing([lock])


def test_a_program_that_refuses_the_configuration_is_not_started(
    home: Home, plan: Callable[..., Plan], program: Path, tmp_path: Path
) -> None:
    """Dovecot 2.4 in place of 2.3 reads another language, and nothing would run any more."""
    mark = tmp_path / "other version"
    check = Check("mda", ("sh", "-c", f"test ! -e '{mark}' || {{ echo unknown setting; exit 1; }}"))
    planned = replace(plan(Process("mda", (str(program), "60"))), checks=(check,))

    def during() -> tuple[dict[str, int], dict[str, int], list[str]]:
        before = pids(home)
        mark.touch()
        update(program)
        wait_for_line(home, "does not take the configuration in use")
        after, problems = pids(home), control.ask(home, "status")["problems"]
        # `up` has written what the new version reads.
        mark.unlink()
        wait_for_line(home, "mda restarted")
        subprocess.run(["sleep", "0.5"], check=True)
        assert control.ask(home, "status")["problems"] == []
        return before, after, problems

    before, after, (problem,) = supervised(home, planned, during)
    assert before == after
    assert "unknown setting" in problem
    assert problem.endswith("gatepost up")
