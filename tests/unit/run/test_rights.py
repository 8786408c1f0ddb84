"""Root follows no link and takes no file that somebody else has made.

With other users' files: tests/real/test_home.py.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from gatepost.errors import PreflightError
from gatepost.model import Home
from gatepost.run import rights

NOBODY = 65534


def test_a_file_of_ones_own_is_opened_and_put_right(tmp_path: Path) -> None:
    """A key that a backup has left open to everybody would stay so."""
    file = tmp_path / "key"
    file.write_text("key")
    file.chmod(0o644)
    os.close(rights.open_own(file, os.O_RDONLY, 0o600))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text() == "key"


def test_a_new_file_has_its_mode_whatever_the_umask(tmp_path: Path) -> None:
    """The log would be closed to those who may read it, or open to everybody."""
    before = os.umask(0o077)
    try:
        os.close(rights.open_own(tmp_path / "log", os.O_WRONLY | os.O_CREAT, 0o640))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o640


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """Root would empty the file that it leads to."""
    target = tmp_path / "precious"
    target.write_text("precious")
    link = tmp_path / "log"
    link.symlink_to(target)
    with pytest.raises(PreflightError, match="symbolic link"):
        rights.open_own(link, os.O_WRONLY | os.O_TRUNC, 0o600)
    assert target.read_text() == "precious"


def test_a_file_with_a_second_name_is_not_emptied(tmp_path: Path) -> None:
    """It would be refused, after all that it held was lost."""
    precious = tmp_path / "precious"
    precious.write_text("precious")
    (tmp_path / "log").hardlink_to(precious)
    with pytest.raises(PreflightError, match="one name"):
        rights.open_own(tmp_path / "log", os.O_WRONLY | os.O_TRUNC, 0o600)
    assert precious.read_text() == "precious"


def test_a_file_of_ones_own_is_emptied(tmp_path: Path) -> None:
    """The end of what was there before would stay behind what is written."""
    file = tmp_path / "log"
    file.write_text("before")
    os.close(rights.open_own(file, os.O_WRONLY | os.O_TRUNC, 0o600))
    assert file.read_text() == ""


def test_a_folder_is_opened_through_a_link_of_ones_own(tmp_path: Path) -> None:
    """An administrator may keep a folder on another disk."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "mail").symlink_to(tmp_path / "disk")
    folder = rights.open_folder(tmp_path / "mail")
    assert os.path.samestat(os.fstat(folder), (tmp_path / "disk").stat())
    os.close(folder)


def test_a_folder_of_ones_own_is_written_to(tmp_path: Path) -> None:
    """The control: no folder would do, nor one on another disk."""
    (tmp_path / "out").symlink_to(tmp_path)
    tmp_path.chmod(0o755)
    rights.require_own_folder(tmp_path)
    rights.require_own_folder(tmp_path / "out")


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o1777])
def test_a_folder_that_others_may_write_is_told_with_the_command(tmp_path: Path, mode: int) -> None:
    """They could put a link where root is about to make a file."""
    tmp_path.chmod(mode)
    with pytest.raises(PreflightError, match=f"chmod go-w {tmp_path}"):
        rights.require_own_folder(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_folder_of_somebody_else_is_told_with_the_command(tmp_path: Path) -> None:
    """Its owner could put a link where root is about to make a file."""
    folder, link = tmp_path / "out", tmp_path / "link"
    folder.mkdir(mode=0o755)
    link.symlink_to(folder)
    os.chown(link, NOBODY, NOBODY, follow_symlinks=False)
    with pytest.raises(PreflightError, match=f"chown --no-dereference 0 {link}"):
        rights.require_own_folder(link)
    os.chown(folder, NOBODY, NOBODY)
    with pytest.raises(PreflightError, match=f"chown --no-dereference 0 {folder}"):
        rights.require_own_folder(folder)


def test_what_is_no_folder_is_told(tmp_path: Path) -> None:
    """A traceback would not say what to move."""
    (tmp_path / "mail").write_text("")
    with pytest.raises(PreflightError, match="is not a folder"):
        rights.open_folder(tmp_path / "mail")


def test_a_home_that_others_may_write_is_told_with_the_command(home: Home) -> None:
    """Anybody could put a file where root is about to make one."""
    assert list(rights.problems(home)) == []
    home.root.chmod(0o777)
    (problem,) = map(str, rights.problems(home))
    assert f"chmod go-w {home.root}" in problem
    home.root.chmod(0o755)
    assert list(rights.problems(home)) == []


def test_a_volume_of_a_container_is_closed(home: Home) -> None:
    """Kubernetes makes its volumes open to all of a pod, and no pod would start."""
    home.root.chmod(0o2777)
    rights.require(home, in_container=True)
    if os.geteuid() == 0:
        assert stat.S_IMODE(home.root.stat().st_mode) == 0o2755


@pytest.mark.skipif(os.geteuid() != 0, reason="only root closes a home")
def test_a_volume_that_cannot_be_closed_is_named(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An account command beside a read-only volume would end in a traceback."""
    home.root.chmod(0o2777)

    def refuse(*_arguments: object, **_options: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "chmod", refuse)
    with pytest.raises(PreflightError, match="GATEPOST_HOME"):
        rights.require(home, in_container=True)


def test_a_home_that_is_not_there_yet_is_fine(tmp_path: Path) -> None:
    """The first start makes it."""
    tmp_path.chmod(0o755)
    assert list(rights.problems(Home(tmp_path / "deep" / "home"))) == []
