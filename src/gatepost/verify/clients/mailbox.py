"""The probe's own mailbox: hidden, with a password of one run, gone afterwards.

Runs may overlap. Each holds a shared lock for as long as it lives; whoever gets the lock for
itself alone knows that every hidden mailbox left is that of a run that was killed.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

from gatepost.accounts.records import PROBE_DOMAIN, Mailbox
from gatepost.errors import AccountError, GatepostError
from gatepost.model import Home
from gatepost.run import locks

_QUOTA_BYTES = 10_000_000


@dataclass(frozen=True, slots=True)
class Login:
    """The mailbox of this run."""

    address: str
    password: str


class Store(Protocol):
    """The part of `gatepost.accounts.store.Store` that is needed."""

    def add_hidden_mailbox(self, mailbox: Mailbox) -> None:
        """Add a mailbox that no list shows."""

    def remove_mailbox(self, address: str) -> tuple[str, ...]:
        """Remove a mailbox; `AccountError` when there is none."""

    def remove_hidden(self) -> int:
        """Remove everything hidden."""


@contextmanager
def probe_mailbox(store: Store, home: Home, nonce: str) -> Iterator[Login]:
    """Yield a mailbox that exists until the block ends, whichever way it ends.

    What killed runs left behind is removed before and after. Raises `GatepostError` or `OSError`
    when the mailbox cannot be made.
    """
    login = Login(f"probe-{nonce}@{PROBE_DOMAIN}", secrets.token_urlsafe(24))
    lock = locks.open_lock(home.run / "verify.lock")
    try:
        _remove_leftovers(store, home, lock)
        fcntl.flock(lock, fcntl.LOCK_SH)
        try:
            store.add_hidden_mailbox(
                Mailbox(login.address, _hash(login.password), quota_bytes=_QUOTA_BYTES)
            )
            yield login
        finally:
            with suppress(AccountError):
                store.remove_mailbox(login.address)
            _remove_mail(home, f"probe-{nonce}")
            with suppress(GatepostError, OSError):
                _remove_leftovers(store, home, lock)
    finally:
        os.close(lock)


def _remove_leftovers(store: Store, home: Home, lock: int) -> None:
    """Remove everything hidden, unless another run is at work."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    store.remove_hidden()
    remove_mail(home)


def remove_mail(home: Home) -> None:
    """Remove the mail folders of all probes; none may be at work.

    A proof that runs in another pod leaves its empty folder behind.
    """
    folder = home.mail / PROBE_DOMAIN
    for left in folder.glob("probe-*"):
        _remove_mail(home, left.name)
    with suppress(OSError):
        folder.rmdir()


def _remove_mail(home: Home, local_part: str) -> None:
    """Remove the mail folder of one probe and nothing else, least of all what a link leads to.

    A daemon may still write its index while the folder goes; the next run removes what is left.
    """
    with suppress(OSError):
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        folder = os.open(home.mail / PROBE_DOMAIN, flags)
        try:
            shutil.rmtree(local_part, ignore_errors=True, dir_fd=folder)
        finally:
            os.close(folder)


def _hash(password: str) -> str:
    """Hash a random password.

    Stretching protects passwords that people choose; here it would only make thirty logins slow.
    """
    salt = secrets.token_bytes(16)
    digest = hashlib.sha512(password.encode() + salt).digest()
    return "{SSHA512}" + base64.b64encode(digest + salt).decode()
