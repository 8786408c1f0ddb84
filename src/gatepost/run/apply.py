"""Staging, checking and swapping configurations: a broken one never replaces a good one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from gatepost.errors import CheckError
from gatepost.model import Check, Home, Plan, RenderedFile
from gatepost.run import environment, files, record
from gatepost.run.record import FileRecord, Record

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
    _install(home, wanted, lambda staging: files.write(plan.files, staging))
    return True


def renew(home: Home, old: Record, renewed: Iterable[RenderedFile]) -> None:
    """Make the configuration in use, with some of its files replaced, the next one.

    Raises `CheckError` as `apply` does.
    """
    renewed = tuple(renewed)
    by_path = {str(file.path): FileRecord.of(file) for file in renewed}
    wanted = replace(old, files=tuple(by_path.get(file.path, file) for file in old.files))

    def write(staging: Path) -> None:
        for file in old.files:
            if file.path not in by_path:
                copy = staging / file.path
                copy.parent.mkdir(parents=True, exist_ok=True)
                # The same file under another name: owner and mode stay, and no secret is copied.
                copy.hardlink_to(home.config.resolve() / file.path)
        files.write(renewed, staging)

    _remove_leftovers(home)
    _install(home, wanted, write)


def _install(home: Home, wanted: Record, write: Callable[[Path], object]) -> None:
    """Write a configuration, have it checked, and put it in the place of the one in use."""
    staging = home.generations / f"{_next(home):06d}{_STAGING}"
    staging.mkdir(parents=True)
    write(staging)
    files.write_private(staging / record.NAME, wanted.dump())
    try:
        for check in wanted.checks:
            run_check(check, staging)
    except CheckError:
        _remove(staging)
        raise
    final = staging.with_suffix("")
    staging.rename(final)
    _point(home.config, final)
    _prune(home, final)


def run_check(check: Check, staging: Path) -> None:
    """Have a daemon look at a staged configuration; raise `CheckError` with its words."""
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
                _remove(folder)


def _prune(home: Home, keep: Path) -> None:
    for _, folder in _numbers(home)[:-_KEPT]:
        if folder != keep:
            _remove(folder)


def _remove(folder: Path) -> None:
    """Remove a folder with all that is in it."""
    import shutil  # noqa: PLC0415  half a megabyte of the supervisor's memory

    shutil.rmtree(folder)
