"""Staging, checking and swapping configurations: a broken one never replaces a good one."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from gatepost.errors import CheckError
from gatepost.model import Check, Home, Plan
from gatepost.run import environment, files, record
from gatepost.run.record import Record

_KEPT = 3
_STAGING = ".staging"


def apply(plan: Plan, home: Home) -> bool:
    """Make a plan the configuration in use; return False when it is already.

    The plan's folders and users are made first. Whoever calls this holds the home
    (`gatepost.run.locks.writing`). Raises `CheckError` with the daemon's own words
    when its checker refuses; then the configuration in use stays.
    """
    files.make_users(plan.users)
    files.make_directories(plan.directories)
    wanted = Record.of(plan)
    _remove_leftovers(home)
    if record.current(home) == wanted:
        return False
    staging = home.generations / f"{_next(home):06d}{_STAGING}"
    staging.mkdir(parents=True)
    files.write(plan.files, staging)
    (staging / record.NAME).write_text(wanted.dump())
    try:
        for check in plan.checks:
            _run(check, staging)
    except CheckError:
        shutil.rmtree(staging)
        raise
    final = staging.with_suffix("")
    staging.rename(final)
    _point(home.config, final)
    _prune(home, final)
    return True


def _run(check: Check, staging: Path) -> None:
    argv = [word.replace("{config}", str(staging)) for word in check.argv]
    done = subprocess.run(
        argv,
        env=environment.fixed(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        words = (done.stdout + done.stderr).strip().replace(str(staging), "config")
        raise CheckError(
            f"{check.process} refuses the configuration; the one in use stays. It says:\n{words}"
        )


def _point(link: Path, target: Path) -> None:
    """Make a symbolic link point elsewhere in one step (rename(2))."""
    partial = link.with_name(link.name + ".new")
    partial.unlink(missing_ok=True)
    partial.symlink_to(os.path.relpath(target, link.parent))
    partial.replace(link)


def _numbers(home: Home) -> list[tuple[int, Path]]:
    if not home.generations.is_dir():
        return []
    return sorted((int(p.name), p) for p in home.generations.iterdir() if p.name.isdigit())


def _next(home: Home) -> int:
    return max((number for number, _ in _numbers(home)), default=0) + 1


def _remove_leftovers(home: Home) -> None:
    if home.generations.is_dir():
        for folder in home.generations.iterdir():
            if folder.name.endswith(_STAGING):
                shutil.rmtree(folder)


def _prune(home: Home, keep: Path) -> None:
    for _, folder in _numbers(home)[:-_KEPT]:
        if folder != keep:
            shutil.rmtree(folder)
