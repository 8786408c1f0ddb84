"""A broken configuration never replaces a good one."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from gatepost.errors import CheckError
from gatepost.model import Check, Directory, Home, OnChange, Plan, RenderedFile
from gatepost.run import apply, files, record
from gatepost.run.record import Record


@pytest.fixture
def version(plan: Callable[..., Plan]) -> Callable[..., Plan]:
    """Return a plan of one file with some content."""

    def make(content: str, *checks: Check) -> Plan:
        file = RenderedFile(PurePosixPath("daemon/main.cf"), content, "daemon", OnChange.RELOAD)
        return replace(plan(file), checks=checks)

    return make


def in_use(home: Home) -> str:
    return (home.config / "daemon" / "main.cf").read_text()


def generations(home: Home) -> list[str]:
    return sorted(folder.name for folder in home.generations.iterdir())


def test_a_plan_becomes_the_configuration_in_use(home: Home, version: Callable[..., Plan]) -> None:
    """The daemons would start with nothing, or go on with the old."""
    assert apply.apply(version("one"), home) is True
    assert in_use(home) == "one"
    assert apply.apply(version("two"), home) is True
    assert in_use(home) == "two"
    assert generations(home) == ["000001", "000002"]
    assert record.current(home) == Record.of(version("two"))


def test_the_same_plan_changes_nothing(home: Home, version: Callable[..., Plan]) -> None:
    """Each `gatepost up` would push out a configuration that one may want back."""
    apply.apply(version("one"), home)
    assert apply.apply(version("one"), home) is False
    assert generations(home) == ["000001"]


def test_what_a_checker_refuses_replaces_nothing(home: Home, version: Callable[..., Plan]) -> None:
    """A typing mistake would stop the mail at the next reload."""
    apply.apply(version("good"), home)
    refusal = Check("postfix", ("sh", "-c", 'echo "{config}/daemon/main.cf: bad"; exit 1'))
    with pytest.raises(CheckError) as told:
        apply.apply(version("bad", refusal), home)
    assert str(told.value) == (
        "postfix refuses the configuration; the one in use stays. It says:\n"
        "config/daemon/main.cf: bad"
    )
    assert in_use(home) == "good"
    assert record.current(home) == Record.of(version("good"))
    assert generations(home) == ["000001"]


def test_one_refusal_of_many_is_enough(home: Home, version: Callable[..., Plan]) -> None:
    """The last checker's word would count, and a broken file go live."""
    fine, refusal = Check("a", ("true",)), Check("b", ("sh", "-c", "echo no >&2; exit 3"))
    with pytest.raises(CheckError, match=r"^b refuses(?s:.*)no$"):
        apply.apply(version("bad", fine, refusal, fine), home)
    assert not home.config.exists()


def test_a_checker_sees_the_new_files(home: Home, version: Callable[..., Plan]) -> None:
    """It would look at the old ones and find nothing wrong."""
    apply.apply(version("old"), home)
    check = Check("postfix", ("grep", "-qx", "new", "{config}/daemon/main.cf"))
    assert apply.apply(version("new", check), home) is True
    assert in_use(home) == "new"
    with pytest.raises(CheckError):
        apply.apply(version("other", check), home)
    assert in_use(home) == "new"


def test_at_no_moment_is_there_no_configuration(
    home: Home, version: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon that forks at this very moment would die for want of its file."""
    apply.apply(version("one"), home)
    seen = []

    def watched(name: str) -> None:
        really = getattr(Path, name)

        def step(path: Path, *words: Any, **options: Any) -> Any:
            seen.append(in_use(home))
            try:
                return really(path, *words, **options)
            finally:
                seen.append(in_use(home))

        monkeypatch.setattr(Path, name, step)

    for name in ("unlink", "symlink_to", "rename", "replace"):
        watched(name)
    apply.apply(version("two"), home)
    assert len(seen) >= 6
    assert seen == sorted(seen)
    assert set(seen) == {"one", "two"}


def test_the_home_may_be_moved(home: Home, version: Callable[..., Plan]) -> None:
    """In a container the same volume is mounted elsewhere."""
    apply.apply(version("one"), home)
    assert not home.config.readlink().is_absolute()


def test_the_newest_few_are_kept(home: Home, version: Callable[..., Plan]) -> None:
    """Years of configurations would fill the disk; the last good ones must not go."""
    for number in range(5):
        apply.apply(version(str(number)), home)
    assert generations(home) == ["000003", "000004", "000005"]
    assert in_use(home) == "4"


def test_what_an_interrupted_run_has_left_is_removed(
    home: Home, version: Callable[..., Plan]
) -> None:
    """After Ctrl-C at a bad moment, no later configuration could be written."""
    left = home.generations / "000001.staging"
    left.mkdir(parents=True)
    (left / "half").write_text("")
    apply.apply(version("one"), home)
    assert generations(home) == ["000001"]
    assert not (home.config / "half").exists()


def test_users_and_folders_come_before_files(
    home: Home, version: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file's group would be missing, or a checker not find its folder."""
    steps = []
    monkeypatch.setattr(files, "make_users", lambda _users: steps.append("users"))
    me, mine = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name
    folder = home.root / "state" / "daemon"
    check = Check("daemon", ("test", "-d", str(folder)))
    planned = replace(version("one", check), directories=(Directory(folder, 0o755, me, mine),))
    assert apply.apply(planned, home) is True
    assert steps == ["users"]
    folder.rmdir()
    assert apply.apply(planned, home) is False
    assert folder.is_dir()
