"""The beginning and the end of a mailbox: its folder, its sessions, and the record of the change.

A folder always keeps its owner: the next mailbox of the same address gets a new folder, unless the
administrator gives it the old one. Each change that ends sessions is a row of
``account_changes``, written in the same transaction; `gatepost.accounts.changes` reads them.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from gatepost.accounts.addresses import split
from gatepost.accounts.tables import account_changes, former_mailboxes, mailboxes

KEPT_SECONDS = 30 * 24 * 3600
"""Seconds that changes stay on record. A server that was cut off longer restarts its daemons."""

_BATCH = 500
"""Values of one IN: SQLite accepts 32,766, MySQL as many as fit into a packet."""


@dataclass(frozen=True, slots=True)
class Lifetime:
    """Folder and login of a mailbox; no other mailbox of the same address ever has them."""

    folder: str
    login: str


def first_folder(address: str) -> str:
    """Return the folder of an address's first mailbox: ``DOMAIN/NAME``."""
    local_part, domain = split(address)
    return f"{domain}/{local_part}"


def begin(
    connection: sa.Connection, addresses: Collection[str], *, old_mail: bool
) -> dict[str, Lifetime]:
    """Decide the folder and the login of new mailboxes.

    With `old_mail` a mailbox takes over the folder of the last mailbox with its address.
    """
    left = _left(connection, addresses)
    begun = {}
    taken_over = []
    for address in addresses:
        folders = left.get(address, [])
        login = address
        if folders:
            login = _numbered(address, note_change(connection))
        if folders and old_mail:
            folder = max(folders, key=_number)
            taken_over.append(folder)
        else:
            folder = _next(address, folders)
        begun[address] = Lifetime(folder, login)
    for some in _batches(taken_over):
        connection.execute(sa.delete(former_mailboxes).where(former_mailboxes.c.folder.in_(some)))
    note_change(connection)
    return begun


def end(connection: sa.Connection, which: sa.ColumnElement[bool]) -> None:
    """Record that mailboxes are about to be removed: their sessions end, their folders stay."""
    end_sessions(connection, which)
    connection.execute(
        sa.insert(former_mailboxes).from_select(
            ["folder", "address"],
            sa.select(mailboxes.c.folder, mailboxes.c.address).where(
                which, sa.not_(mailboxes.c.hidden)
            ),
        )
    )


def end_sessions(connection: sa.Connection, which: sa.ColumnElement[bool]) -> None:
    """Record that all sessions of some mailboxes end."""
    connection.execute(
        sa.insert(account_changes).from_select(
            ["made", "address", "folder"],
            sa.select(sa.literal(_now()), mailboxes.c.address, mailboxes.c.folder).where(which),
        )
    )
    _forget_old(connection)


def renew_login(connection: sa.Connection, address: str) -> None:
    """Give a mailbox a new login, so that its present submission sessions belong to no account."""
    login = _numbered(address, note_change(connection))
    connection.execute(
        sa.update(mailboxes).where(mailboxes.c.address == address).values(login=login)
    )


def note_change(connection: sa.Connection) -> int:
    """Record a change that ends no session; return its number."""
    made = connection.execute(sa.insert(account_changes).values(made=_now()))
    assert made.inserted_primary_key is not None  # noqa: S101  an inserted row has a key
    return int(made.inserted_primary_key[0])


def keep_aside(connection: sa.Connection, folders: Iterable[str]) -> tuple[str, ...]:
    """Record folders of mail that belong to no mailbox, so that no new one begins there.

    `folders` are those on the disk, ``DOMAIN/NAME``. Return the folders that were unknown.
    """
    known = set(connection.scalars(sa.select(mailboxes.c.folder)))
    known |= set(connection.scalars(sa.select(former_mailboxes.c.folder)))
    unknown = sorted(set(folders) - known)
    if unknown:
        connection.execute(
            sa.insert(former_mailboxes),
            [{"folder": folder, "address": _address(folder)} for folder in unknown],
        )
    return tuple(unknown)


def former_folders(connection: sa.Connection, address: str) -> tuple[str, ...]:
    """Return the folders that earlier mailboxes of an address have left, the oldest first."""
    return tuple(sorted(_left(connection, [address]).get(address, []), key=_number))


def _left(connection: sa.Connection, addresses: Collection[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for some in _batches(list(addresses)):
        rows = connection.execute(
            sa.select(former_mailboxes.c.address, former_mailboxes.c.folder).where(
                former_mailboxes.c.address.in_(some)
            )
        )
        for address, folder in rows:
            found.setdefault(address, []).append(folder)
    return found


def _batches(items: list[str]) -> Iterable[list[str]]:
    return (items[start : start + _BATCH] for start in range(0, len(items), _BATCH))


def _next(address: str, taken: list[str]) -> str:
    """Return a folder that no mailbox of the address has had: no name contains "@"."""
    if not taken:
        return first_folder(address)
    return f"{first_folder(address)}@{max(map(_number, taken)) + 1}"


def _number(folder: str) -> int:
    """Return the number of a folder among those of its address; the first has none in its name."""
    number = folder.rpartition("/")[2].partition("@")[2]
    return int(number) if number.isdecimal() else 1


def _address(folder: str) -> str:
    domain, _, name = folder.partition("/")
    return f"{name.partition('@')[0]}@{domain}"


def _numbered(address: str, number: int) -> str:
    """Return a login with a number: no address contains "/", and the domain stays at the end."""
    local_part, domain = split(address)
    return f"{local_part}/{number}@{domain}"


def _forget_old(connection: sa.Connection) -> None:
    connection.execute(
        sa.delete(account_changes).where(account_changes.c.made < _now() - KEPT_SECONDS)
    )


def _now() -> int:
    return int(time.time())
