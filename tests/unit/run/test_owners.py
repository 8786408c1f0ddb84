"""Files of other users are found quickly, and mended or told with the command."""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
from pathlib import Path

import pytest

from gatepost.errors import OperationError
from gatepost.model import Directory
from gatepost.run import owners

ME = pwd.getpwuid(os.getuid()).pw_name
MY_GROUP = grp.getgrgid(os.getgid()).gr_name
SOMEBODY = "nobody"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Make two mailboxes."""
    for box in ("alice", "bob"):
        for folder in ("cur", "new", "tmp"):
            (tmp_path / "example.org" / box / folder).mkdir(parents=True)
        for number in range(20):
            (tmp_path / "example.org" / box / "cur" / str(number)).touch()
    return tmp_path


def mine(tree: Path) -> list[Directory]:
    return [Directory(tree, contents=f"{ME}:{MY_GROUP}")]


def theirs(tree: Path) -> list[Directory]:
    return [Directory(tree, contents=SOMEBODY)]


def test_right_owners_are_left_alone(tree: Path) -> None:
    """Each start would change a million files."""
    assert owners.look(mine(tree)) == owners.Look()
    assert owners.mend(mine(tree), pytest.fail) == 0


def test_a_foreign_folder_is_found(tree: Path) -> None:
    """A restored backup would stay unreadable."""
    look = owners.look(theirs(tree))
    assert look.foreign == f'"{tree}/example.org" belongs to {ME}:{MY_GROUP} in place of nobody'


def test_nothing_is_said_of_folders_that_nobody_looks_at(tree: Path) -> None:
    """Control: a folder without `contents` may hold anybody's files."""
    assert owners.look([Directory(tree)]) == owners.Look()
    assert owners.search([Directory(tree)]) == ()


def test_a_look_ends_in_time(tree: Path) -> None:
    """A slow disk with a million files would hold a start up for minutes."""
    assert owners.look(theirs(tree), seconds=-1) == owners.Look(complete=False)


def test_a_user_who_is_not_made_yet_owns_nothing(tree: Path) -> None:
    """The first start looks before the users are there."""
    assert owners.look([Directory(tree, contents="no-such-user")]) == owners.Look()


def test_a_folder_that_goes_meanwhile_is_no_finding(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon works in it while we look."""

    def gone(path: str) -> None:
        raise FileNotFoundError(2, "No such file or directory", path)

    monkeypatch.setattr(os, "scandir", gone)
    assert owners.look(mine(tree)) == owners.Look()


def test_the_search_looks_at_every_file(tree: Path) -> None:
    """The one file that a quick look passes over would never be found."""
    (command,) = owners.search(mine(tree))
    assert subprocess.run(command, check=True, capture_output=True).stdout == b""
    (command,) = owners.search(theirs(tree))
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert said.startswith(str(tree))


def test_who_may_not_is_told_the_command(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On NFS root may give nothing away, and the daemons would answer 451."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refuse)
    with pytest.raises(OperationError) as told:
        owners.mend(theirs(tree), lambda _: None)
    assert f"chown --no-dereference --recursive nobody {tree}" in str(told.value)


def test_a_file_with_two_names_is_not_given_away_where_anybody_can_link(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link to a file of root's in the mail folder would hand that file over."""
    os.link(tree / "example.org" / "bob" / "cur" / "1", tree / "example.org" / "second")
    given: list[object] = []
    monkeypatch.setattr(os, "chown", lambda name, *_, **__: given.append(name))
    monkeypatch.setattr(owners, "_links_are_protected", lambda: False)
    with pytest.raises(OperationError, match="further names"):
        owners.mend(theirs(tree), lambda _: None)
    assert "second" not in given
    # Control: where the kernel guards links, the mail store's own second names are given too.
    monkeypatch.setattr(owners, "_links_are_protected", lambda: True)
    owners.mend(theirs(tree), lambda _: None)
    assert "second" in given


def test_progress_is_told(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A million files take minutes on a slow disk, and the admin would press Ctrl-C."""
    told: list[str] = []
    monkeypatch.setattr(owners, "_TELL_SECONDS", -1)
    monkeypatch.setattr(os, "chown", lambda *_, **__: None)
    assert owners.mend(theirs(tree), told.append) > 40
    assert told[0].startswith(f"Mending owners below {tree}: 1 checked, 1 mended")
