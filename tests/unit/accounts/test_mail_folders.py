"""Root renames IMAP folders in folders of the user of mail, and follows no link there."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from gatepost.accounts.mail_folders import escape_names

LIST = "x^y\nplain\n"


@pytest.fixture
def maildir(tmp_path: Path) -> Path:
    """Make a mailbox from before the rule."""
    made = tmp_path / "mail" / "example.org" / "anna" / "Maildir"
    made.mkdir(parents=True)
    (made / ".x^y").mkdir()
    (made / "subscriptions").write_text(LIST)
    (made / "subscriptions").chmod(0o640)
    return made


def escape(tmp_path: Path) -> tuple[int, list[str]]:
    """Return how many were renamed, and the warnings."""
    told: list[str] = []
    return escape_names(tmp_path / "mail", tmp_path / "state" / "done", told.append), told


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """Make a file outside the mailboxes."""
    made = tmp_path / "precious"
    made.write_text(LIST)
    made.chmod(0o600)
    return made


def test_folders_are_renamed_and_stay_subscribed(tmp_path: Path, maildir: Path) -> None:
    """After an update folders would have other names, or be gone."""
    assert escape(tmp_path) == (1, [])
    assert sorted(p.name for p in maildir.iterdir()) == [".x^5ey", "subscriptions"]
    assert (maildir / "subscriptions").read_text() == "x^5ey\nplain\n"
    assert stat.S_IMODE((maildir / "subscriptions").stat().st_mode) == 0o640
    assert escape(tmp_path) == (0, [])


def test_an_interrupted_run_is_finished(tmp_path: Path, maildir: Path) -> None:
    """Its folders would have their names, and be subscribed under the old ones."""
    (maildir / ".x^y").rename(maildir / ".x^5ey")
    escape(tmp_path)
    assert (maildir / "subscriptions").read_text() == "x^5ey\nplain\n"


def test_no_file_is_written_through_a_planted_link(
    tmp_path: Path, maildir: Path, precious: Path
) -> None:
    """Root would overwrite what it leads to, and give it to the user of mail."""
    (maildir / "subscriptions.new").symlink_to(precious)
    escape(tmp_path)
    assert (precious.read_text(), stat.S_IMODE(precious.stat().st_mode)) == (LIST, 0o600)


@pytest.mark.parametrize("plant", ["symlink_to", "hardlink_to"])
def test_no_list_is_read_through_a_link(
    tmp_path: Path, maildir: Path, precious: Path, plant: str
) -> None:
    """Whoever reads mail would read a file of root's."""
    (maildir / "subscriptions").unlink()
    getattr(maildir / "subscriptions", plant)(precious)
    _, told = escape(tmp_path)
    assert "not a plain file" in told[0]
    assert (maildir / "subscriptions").samefile(precious)
    assert precious.read_text() == LIST


@pytest.mark.parametrize("level", ["example.org", "example.org/anna", "example.org/anna/Maildir"])
def test_nothing_is_renamed_behind_a_link(tmp_path: Path, maildir: Path, level: str) -> None:
    """Root would rename what is no mail."""
    place = tmp_path / "mail" / level
    place.rename(tmp_path / "elsewhere")
    place.symlink_to(tmp_path / "elsewhere")
    renamed, told = escape(tmp_path)
    assert renamed == 0
    assert f'"{place}" is a symbolic link' in told[0]
    assert (maildir / ".x^y").is_dir()
