"""The probe's mailbox comes and goes."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from gatepost.accounts.records import PROBE_DOMAIN, Mailbox
from gatepost.errors import AccountError
from gatepost.model import Home
from gatepost.verify.clients.mailbox import probe_mailbox, remove_mail

ONE, TWO = "0" * 16, "1" * 16


class Accounts:
    """A store in memory."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.hidden: dict[str, Mailbox] = {}

    def add_hidden_mailbox(self, mailbox: Mailbox) -> None:
        """Keep it."""
        self.hidden[mailbox.address] = mailbox

    def remove_mailbox(self, address: str) -> tuple[str, ...]:
        """Forget it."""
        if address not in self.hidden:
            raise AccountError(address)
        del self.hidden[address]
        return ()

    def remove_hidden(self) -> int:
        """Forget all."""
        count = len(self.hidden)
        self.hidden.clear()
        return count


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path)
    made.run.mkdir()
    made.mail.mkdir()
    return made


def maildir(home: Home, name: str) -> Path:
    folder = home.mail / PROBE_DOMAIN / name
    (folder / "new").mkdir(parents=True)
    (folder / "new" / "message").touch()
    return folder


def test_the_mailbox_and_its_mail_are_gone_afterwards(home: Home) -> None:
    """Each run would leave a login and a folder behind."""
    store = Accounts()
    with probe_mailbox(store, home, ONE) as login:
        assert login.address == f"probe-{ONE}@{PROBE_DOMAIN}"
        kept = store.hidden[login.address]
        assert login.password not in kept.password_hash
        assert re.fullmatch(r"\{SSHA512\}[A-Za-z0-9+/=]{108}", kept.password_hash)
        maildir(home, f"probe-{ONE}")
    assert not store.hidden
    assert not (home.mail / PROBE_DOMAIN).exists()


def test_it_is_gone_after_an_interruption_too(home: Home) -> None:
    """Ctrl-C is how people end what takes too long."""
    store = Accounts()

    def interrupted() -> None:
        with probe_mailbox(store, home, ONE):
            maildir(home, f"probe-{ONE}")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not store.hidden
    assert not (home.mail / PROBE_DOMAIN).exists()


def test_two_runs_leave_each_other_alone(home: Home) -> None:
    """Monitoring and an admin run it at the same time."""
    store = Accounts()
    with probe_mailbox(store, home, ONE) as first:
        kept = maildir(home, f"probe-{ONE}")
        with probe_mailbox(store, home, TWO) as second:
            assert set(store.hidden) == {first.address, second.address}
        assert set(store.hidden) == {first.address}
        assert kept.exists()
    assert not store.hidden


def test_what_a_killed_run_left_is_removed(home: Home) -> None:
    """Nobody else would ever clean it up."""
    store = Accounts()
    left = f"probe-{TWO}"
    store.add_hidden_mailbox(Mailbox(f"{left}@{PROBE_DOMAIN}", "{X}"))
    folder = maildir(home, left)
    with probe_mailbox(store, home, ONE) as login:
        assert set(store.hidden) == {login.address}
        assert not folder.exists()


def test_nothing_else_is_removed(home: Home, tmp_path: Path) -> None:
    """A link in the mail folder must not lead the removal to somebody's mail."""
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "letter").touch()
    (home.mail / PROBE_DOMAIN).mkdir()
    (home.mail / PROBE_DOMAIN / f"probe-{TWO}").symlink_to(precious)
    (home.mail / PROBE_DOMAIN / "somebody").mkdir()
    with probe_mailbox(Accounts(), home, ONE):
        pass
    assert (precious / "letter").exists()
    assert (home.mail / PROBE_DOMAIN / "somebody").exists()


def test_a_link_that_comes_meanwhile_is_not_followed(
    monkeypatch: pytest.MonkeyPatch, home: Home, tmp_path: Path
) -> None:
    """Root would remove what is no mail: the user of mail may exchange folders at any time."""
    domain = home.mail / PROBE_DOMAIN
    (domain / "probe-1").mkdir(parents=True)
    (tmp_path / "elsewhere" / "probe-1").mkdir(parents=True)
    rmtree = shutil.rmtree

    def exchanged(*arguments: Any, **options: Any) -> None:
        domain.rename(tmp_path / "away")
        domain.symlink_to(tmp_path / "elsewhere")
        rmtree(*arguments, **options)

    monkeypatch.setattr(shutil, "rmtree", exchanged)
    remove_mail(home)
    assert (tmp_path / "elsewhere" / "probe-1").is_dir()
    assert not (tmp_path / "away" / "probe-1").exists()
