"""Writing files, folders and users."""

from __future__ import annotations

import grp
import os
import pwd
import stat
import subprocess
import time
from pathlib import Path, PurePosixPath

import pytest

from gatepost.errors import OperationError
from gatepost.model import Directory, RenderedFile, SystemUser
from gatepost.run import files

ME = pwd.getpwuid(os.getuid()).pw_name
MY_GROUP = grp.getgrgid(os.getgid()).gr_name


def file(path: str, **options: object) -> RenderedFile:
    return RenderedFile(PurePosixPath(path), "text\n", "postfix", **options)  # type: ignore[arg-type]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_files_have_the_modes_that_were_asked_for(tmp_path: Path) -> None:
    """A password would be open to every user, or a daemon could not read its own file."""
    before = os.umask(0o077)
    try:
        secret, open_to_all = files.write(
            [file("a/secret", mode=0o640), file("a/b/main.cf")], tmp_path
        )
    finally:
        os.umask(before)
    assert secret == tmp_path / "a" / "secret"
    assert mode(secret) == 0o640
    assert open_to_all == tmp_path / "a" / "b" / "main.cf"
    assert mode(open_to_all) == 0o644
    assert open_to_all.read_text() == "text\n"


def test_files_look_settled(tmp_path: Path) -> None:
    """Each process of Postfix would wait until its configuration is two seconds old."""
    (written,) = files.write([file("main.cf")], tmp_path)
    (tmp_path / "control").write_text("text\n")
    assert written.stat().st_mtime < time.time() - 2 < (tmp_path / "control").stat().st_mtime


def test_a_secret_is_closed_from_the_first_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another user could read a password in the moment before its file is closed."""
    modes = []

    def chmod(descriptor: int, _mode: int) -> None:
        modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))

    before = os.umask(0)
    try:
        monkeypatch.setattr(os, "fchmod", chmod)
        files.write([file("secret", mode=0o640)], tmp_path)
    finally:
        os.umask(before)
    assert modes == [0o600]


@pytest.mark.parametrize(
    ("root", "group", "asked"),
    [(True, "daemon", ["daemon"]), (True, "root", []), (False, "daemon", [])],
)
def test_root_gives_files_to_their_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: str, asked: list[str], *, root: bool
) -> None:
    """A daemon that has dropped its rights could not read its file; others may not give at all."""
    groups = []
    monkeypatch.setattr(files, "_is_root", lambda: root)
    monkeypatch.setattr(
        os, "fchown", lambda _file, _user, group: groups.append(grp.getgrgid(group).gr_name)
    )
    files.write([file("secret", group=group)], tmp_path)
    assert groups == asked


def test_a_group_that_is_missing_does_not_stop_a_preview(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rendering on a machine without Postfix would end in a traceback."""
    monkeypatch.setattr(files, "_is_root", lambda: True)
    (path,) = files.write([file("secret", group="no-such-group", mode=0o640)], tmp_path)
    assert mode(path) == 0o640


def test_folders_are_made_and_put_right(tmp_path: Path) -> None:
    """A daemon refuses a folder whose mode somebody has changed by hand."""
    new, old = tmp_path / "deep" / "new", tmp_path / "old"
    old.mkdir(mode=0o777)
    files.make_directories(
        [Directory(new, 0o750, ME, MY_GROUP), Directory(old, 0o700, ME, MY_GROUP)]
    )
    assert mode(new) == 0o750
    assert mode(old) == 0o700


def test_a_user_that_is_there_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each start would try to make its users again, and fail."""
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("useradd was called"))
    files.make_users([SystemUser(ME, "runs tests")])


def fake_useradd(folder: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> Path:
    said = folder / "said"
    program = folder / "useradd"
    program.write_text(f'#!/bin/sh\necho "$@" > {said}\necho no room >&2\nexit {code}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    return said


def test_a_missing_user_can_do_nothing_but_run_its_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody could log in as the mail store's user."""
    said = fake_useradd(tmp_path, monkeypatch, 0)
    files.make_users([SystemUser("gatepost-test", "owns mail")])
    words = said.read_text()
    assert words.startswith("--system --user-group --no-create-home")
    assert "--shell /usr/sbin/nologin" in words
    assert words.endswith("--comment owns mail gatepost-test\n")


def test_a_group_of_that_name_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command useradd(8) refuses a user whose group is there already."""
    said = fake_useradd(tmp_path, monkeypatch, 0)
    monkeypatch.setattr(grp, "getgrnam", lambda _name: object())
    files.make_users([SystemUser("gatepost-test", "owns mail")])
    assert said.read_text().startswith("--system --gid gatepost-test --no-create-home")


def test_a_failing_useradd_is_told_in_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The admin would not know why, nor what to type."""
    fake_useradd(tmp_path, monkeypatch, 1)
    with pytest.raises(OperationError) as told:
        files.make_users([SystemUser("gatepost-test", "owns mail")])
    assert str(told.value).startswith(
        'The system user "gatepost-test" could not be made: no room. '
        "Make it by hand: useradd --system "
    )
