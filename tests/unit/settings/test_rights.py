"""What stands in `.env` decides what root runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gatepost.errors import SettingsError
from gatepost.registry import load


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Make a file of settings."""
    made = tmp_path / ".env"
    made.write_text("MAILNAME=mx.example.org\n")
    made.chmod(0o644)
    return made


def test_ones_own_file_is_read(file: Path) -> None:
    """Control: nothing would be configured at all."""
    assert load({}, dotenv=file).mail.mailname == "mx.example.org"


def test_a_file_that_everybody_may_write_is_refused(file: Path) -> None:
    """Any user could name a proxy that is believed."""
    file.chmod(0o646)
    with pytest.raises(SettingsError) as told:
        load({}, dotenv=file)
    assert str(told.value) == (
        f'"{file}" may be written by other users (mode 646), who could change every setting of '
        f"the server. Look at what stands in it, then close it: chmod go-w {file}"
    )


def test_ones_own_group_is_nobody_else(file: Path) -> None:
    """Debian gives each user a group of their own, and some a umask of 002."""
    file.chmod(0o664)
    if os.getgid() == 0:
        load({}, dotenv=file)


def test_a_link_counts_by_what_it_leads_to(file: Path, tmp_path: Path) -> None:
    """Links are always open to everybody, and Kubernetes mounts its files as links."""
    link = tmp_path / "link"
    link.symlink_to(file)
    assert load({}, dotenv=link).mail.mailname == "mx.example.org"
    file.chmod(0o666)
    with pytest.raises(SettingsError, match="chmod go-w"):
        load({}, dotenv=link)
