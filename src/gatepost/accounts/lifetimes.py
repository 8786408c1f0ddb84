"""The beginning and the end of a mailbox: its folder, its submission sessions, who must know.

A folder belongs to one owner for ever: the next mailbox of the same address gets a new one, unless
the administrator gives it the old one. Each change that ends sessions is a row of
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
"""How long changes stay on record; a server that was cut off longer starts its daemons anew."""

_BATCH = 500
"""Values to one IN: SQLite takes 32,766, MySQL what fits into a packet."""


@dataclass(frozen=True, slots=True)
class Lifetime:
    """What one mailbox has that no earlier and no later one of its address shares."""

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

    With `old_mail` a mailbox takes over what the last one of its address has left.
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
    """Make every submission session that a mailbox has now the session of nobody."""
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

    `folders` are those on the disk, ``DOMAIN/NAME``; return the ones that were unknown.
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
    """Return a folder that no mailbox of the address has had: "@" is in no name."""
    if not taken:
        return first_folder(address)
    return f"{first_folder(address)}@{max(map(_number, taken)) + 1}"


def _number(folder: str) -> int:
    """Return which folder of its address it is; the first has no number in its name."""
    number = folder.rpartition("/")[2].partition("@")[2]
    return int(number) if number.isdecimal() else 1


def _address(folder: str) -> str:
    domain, _, name = folder.partition("/")
    return f"{name.partition('@')[0]}@{domain}"


def _numbered(address: str, number: int) -> str:
    """Return a login with a number: "/" is in no address, and the domain stays at the end."""
    local_part, domain = split(address)
    return f"{local_part}/{number}@{domain}"


def _forget_old(connection: sa.Connection) -> None:
    connection.execute(
        sa.delete(account_changes).where(account_changes.c.made < _now() - KEPT_SECONDS)
    )


def _now() -> int:
    return int(time.time())
