"""The store of accounts: all code of Gatepost that reads or changes the database.

Each method is one transaction: it is done completely or not at all. Addresses must be normalised,
see `gatepost.accounts.addresses`. Lists are sorted here, because databases sort differently, and an
export must not depend on the database.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, TypedDict, Unpack

import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError

from gatepost.accounts import bulk, extensions, lifetimes, roles, rows, schema
from gatepost.accounts.addresses import split
from gatepost.accounts.database import Database
from gatepost.accounts.expansion import MOST_TARGETS, beyond
from gatepost.accounts.expansion import sentence as expansion_sentence
from gatepost.accounts.loops import find_loop
from gatepost.accounts.records import PROBE_DOMAIN, Account, Alias, Domain, Mailbox
from gatepost.accounts.sqlite import SqliteDatabase
from gatepost.accounts.tables import (
    alias_targets,
    aliases,
    domains,
    mailboxes,
    relay_clients,
)
from gatepost.accounts.ways import Ways
from gatepost.errors import AccountError, SettingsError
from gatepost.model import Tables

_MOST_PAIRS = 10
"""Most ambiguous pairs of accounts that an error names."""


class MailboxChange(TypedDict, total=False):
    """Values of a mailbox that may change; missing ones stay as they are."""

    password_hash: str
    decomposed_hash: str | None
    quota_bytes: int | None
    enabled: bool
    send_only: bool


def open_store(
    place: Database | Path, *, delimiter: str = "", tables: Mapping[str, Tables] | None = None
) -> Store:
    """Open the database; create it, or migrate it to the newest schema, if necessary.

    A path is that of an SQLite file. `delimiter` is ``RECIPIENT_DELIMITER``. `tables` are those of
    plug-ins, by the plug-ins' names. Raises `PreflightError` when the settings do not allow to
    create or reach it, `OperationError` when it is no database of this version, or unavailable.
    """
    database = SqliteDatabase(place) if isinstance(place, Path) else place
    database.prepare()
    store = Store(database, delimiter=delimiter, tables=tables)
    try:
        store.migrate()
    except BaseException:
        store.close()
        raise
    return store


class Store:
    """Domains, mailboxes and aliases in one database; close it, or use it as a context manager."""

    def __init__(
        self, database: Database, *, delimiter: str = "", tables: Mapping[str, Tables] | None = None
    ) -> None:
        """Take a prepared database; see `open_store`."""
        self._tables = tables or {}
        self._database = database
        self._engine = database.engine()
        self._delimiter = delimiter

    def __enter__(self) -> Self:
        """Return the store itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the store."""
        self.close()

    def close(self) -> None:
        """Close all connections, and keep the database readable for the daemons."""
        self._engine.dispose()
        self._database.release()

    def migrate(self) -> None:
        """Migrate the accounts and the plug-ins' tables to their newest schemas.

        Return at once if all of them are current. Raises `OperationError` when a newer Gatepost, or
        a newer version of a plug-in, created the database.
        """
        if self.is_current():
            return
        with self._writing() as connection:
            schema.bring_up(connection, self._tables, self._database.name)

    def accounts_are_current(self) -> bool:
        """Return whether the accounts' own tables have their newest schema."""
        with self._reading() as connection:
            return schema.accounts_are_current(connection)

    def unusable_tables(self) -> list[str]:
        """Return each plug-in's tables that cannot be brought to its version, a sentence each."""
        with self._reading() as connection:
            return list(schema.unusable(connection, self._tables, self._database.name))

    def is_current(self) -> bool:
        """Return whether all tables have their newest schema."""
        with self._reading() as connection:
            return schema.is_current(connection, self._tables)

    def set_relay_client(self, name: str, fingerprint: str) -> None:
        """Record the client certificate by which Postfix recognises the mail store of that name.

        `fingerprint` is its SHA-256 (DER), hex pairs joined by colons.
        """
        known = fingerprint.lower()
        this = relay_clients.c.name == name
        with self._reading() as connection:
            query = sa.select(relay_clients.c.fingerprint).where(this)
            if connection.scalar(query) == known:
                return
        # A mail store keeps its key when its name changes.
        same = relay_clients.c.fingerprint == known
        with self._writing() as connection:
            connection.execute(sa.delete(relay_clients).where(this | same))
            connection.execute(sa.insert(relay_clients).values(name=name, fingerprint=known))

    # --- address extensions --------------------------------------------------------------

    def refuse_ambiguous(self, *, changed_only: bool = False) -> None:
        """Raise `SettingsError` for accounts that look like extensions of others.

        With `changed_only`, accounts are not read if the delimiter is the one in use.
        """
        with self._reading() as connection:
            if rows.version(connection) is None:
                return
            if changed_only and extensions.in_use(connection) == self._delimiter:
                return
            found = extensions.all_pairs(connection, self._delimiter)
        if found:
            problems = [extensions.sentence(*pair, self._delimiter) for pair in found[:_MOST_PAIRS]]
            more = len(found) - len(problems)
            problems += [f"{more} more pairs cannot be told apart."] if more else []
            raise SettingsError(*problems)

    def adopt_delimiter(self) -> None:
        """Update stored addresses for the delimiter, if it is not the one in use."""
        with self._reading() as connection:
            if extensions.in_use(connection) == self._delimiter:
                return
        with self._writing() as connection:
            extensions.adopt(connection, self._delimiter)

    # --- domains -------------------------------------------------------------------------

    def domains(self) -> tuple[Domain, ...]:
        """Return all domains except hidden ones, sorted by name."""
        with self._reading() as connection:
            found = connection.execute(
                sa.select(domains.c.name, rows.count(mailboxes), rows.count(aliases)).where(
                    sa.not_(domains.c.hidden)
                )
            )
            return tuple(sorted((Domain(*row) for row in found), key=lambda d: d.name))

    def add_domain(self, name: str) -> None:
        """Add a domain; raise `AccountError` when it exists."""
        with self._writing() as connection:
            if rows.domain_id(connection, name) is not None:
                raise AccountError(
                    f'The domain "{name}" exists already. '
                    f"Add a mailbox to it: gatepost mailbox add NAME@{name}"
                )
            connection.execute(sa.insert(domains).values(name=name))
            bulk.spell_domains(connection, [name])

    def remove_domain(self, name: str, *, force: bool = False) -> Domain:
        """Remove a domain, with `force` also its mailboxes and aliases; return the removed domain.

        Raises `AccountError` when it does not exist, or when it still has accounts.
        """
        with self._writing() as connection:
            row = connection.execute(
                sa.select(
                    domains.c.id, domains.c.name, rows.count(mailboxes), rows.count(aliases)
                ).where(domains.c.name == name)
            ).one_or_none()
            if row is None:
                raise rows.no_domain(name, name)
            removed = Domain(*row[1:])
            if (removed.mailboxes or removed.aliases) and not force:
                held = bulk.counted(removed.mailboxes, "mailbox")
                raise AccountError(
                    f'The domain "{name}" still has {held} and '
                    f"{bulk.counted(removed.aliases, 'alias')}. "
                    f"Remove them first, or remove all at once: "
                    f"gatepost domain remove --force {name}"
                )
            lifetimes.end(connection, mailboxes.c.domain_id == row.id)
            connection.execute(sa.delete(domains).where(domains.c.id == row.id))
            return removed

    # --- mailboxes -----------------------------------------------------------------------

    def mailboxes(self, domain: str | None = None) -> tuple[Mailbox, ...]:
        """Return all mailboxes (of one domain, if given) except hidden ones, sorted by address.

        Raises `AccountError` when the domain does not exist.
        """
        query = rows.MAILBOXES.where(sa.not_(mailboxes.c.hidden))
        with self._reading() as connection:
            if domain is not None:
                query = query.where(mailboxes.c.domain_id == rows.known_domain(connection, domain))
            found = (Mailbox(*row) for row in connection.execute(query))
            return tuple(sorted(found, key=lambda m: m.address))

    def mailbox(self, address: str) -> Mailbox:
        """Return one mailbox; raise `AccountError` when it does not exist."""
        with self._reading() as connection:
            return rows.mailbox(connection, address)

    def require_free(self, address: str) -> None:
        """Raise `AccountError` if the domain is unknown, or the address is taken."""
        with self._reading() as connection:
            domain_id = rows.known_domain(connection, split(address)[1], address)
            self._refuse_taken(connection, address, domain_id)

    def add_mailbox(self, mailbox: Mailbox, *, old_mail: bool = False) -> tuple[str, ...]:
        """Add a mailbox; return the remaining folders of earlier mailboxes with its address.

        The mailbox begins with an empty folder; with `old_mail`, with the newest remaining one.
        Raises `AccountError` for an unknown domain or a taken address.
        """
        with self._writing() as connection:
            domain_id = rows.known_domain(connection, split(mailbox.address)[1], mailbox.address)
            self._refuse_taken(connection, mailbox.address, domain_id)
            begun = lifetimes.begin(connection, [mailbox.address], old_mail=old_mail)
            connection.execute(
                sa.insert(mailboxes),
                bulk.mailbox_row(mailbox, domain_id, begun[mailbox.address], hidden=False),
            )
            return lifetimes.former_folders(connection, mailbox.address)

    def change_mailbox(
        self, address: str, *, keep_sessions: bool = False, **change: Unpack[MailboxChange]
    ) -> Mailbox:
        """Change a mailbox and return its new values; `AccountError` when it does not exist.

        Its sessions end when it is disabled or becomes send-only. They also end when it gets a new
        password, unless `keep_sessions` is set.
        """
        this = mailboxes.c.address == address
        with self._writing() as connection:
            if "password_hash" in change:
                change.setdefault("decomposed_hash", None)
            if change:
                connection.execute(sa.update(mailboxes).where(this).values(**change))
            changed = rows.mailbox(connection, address)
            locked_out = change.get("enabled") is False or (
                "password_hash" in change and not keep_sessions
            )
            if locked_out:
                lifetimes.renew_login(connection, address)
            if locked_out or change.get("send_only"):
                lifetimes.end_sessions(connection, this)
            else:
                lifetimes.note_change(connection)
            return changed

    def folder(self, address: str) -> str:
        """Return a mailbox's folder, below the folder of all mail.

        Raises `AccountError` when the mailbox does not exist.
        """
        with self._reading() as connection:
            rows.mailbox(connection, address)
            query = sa.select(mailboxes.c.folder).where(mailboxes.c.address == address)
            folder: str = connection.scalars(query).one()
            return folder

    def remove_mailbox(self, address: str) -> tuple[str, ...]:
        """Remove a mailbox: its sessions end, its mail stays.

        Return the aliases that still lead to it. Raises `AccountError` when it does not exist.
        """
        this = mailboxes.c.address == address
        with self._writing() as connection:
            rows.mailbox(connection, address)
            lifetimes.end(connection, this)
            connection.execute(sa.delete(mailboxes).where(this))
            return rows.leading_to(connection, address, self._delimiter)

    def keep_aside(self, folders: Iterable[str]) -> tuple[str, ...]:
        """Record folders of mail that belong to no mailbox; return those that were unknown.

        `folders` are those on the disk, ``DOMAIN/NAME``: no new mailbox will begin in one of them.
        """
        with self._writing() as connection:
            return lifetimes.keep_aside(connection, folders)

    # --- aliases -------------------------------------------------------------------------

    def aliases(self, domain: str | None = None) -> tuple[Alias, ...]:
        """Return all aliases with their targets, sorted by address; otherwise like `mailboxes`."""
        query = (
            sa.select(aliases.c.address, alias_targets.c.target)
            .join(alias_targets)
            .join(domains, domains.c.id == aliases.c.domain_id)
            .where(sa.not_(domains.c.hidden))
            .order_by(alias_targets.c.position)
        )
        with self._reading() as connection:
            if domain is not None:
                query = query.where(aliases.c.domain_id == rows.known_domain(connection, domain))
            found: dict[str, list[str]] = {}
            for address, target in connection.execute(query):
                found.setdefault(address, []).append(target)
            return tuple(
                Alias(address, tuple(targets)) for address, targets in sorted(found.items())
            )

    def add_alias(self, alias: Alias) -> tuple[str, ...]:
        """Add an alias; return its targets on this server that receive no mail.

        Raises `AccountError` for an unknown domain, a taken address, no target, or targets that
        lead back to the alias.
        """
        if not alias.targets:
            raise AccountError(
                f'The alias "{alias.address}" has no target. Give at least one address.'
            )
        with self._writing() as connection:
            domain_id = rows.known_domain(connection, split(alias.address)[1], alias.address)
            self._refuse_taken(connection, alias.address, domain_id, is_alias=True)
            alias_id = connection.execute(
                sa.insert(aliases).values(domain_id=domain_id, address=alias.address)
            ).inserted_primary_key
            assert alias_id is not None  # noqa: S101  an inserted row has a key
            connection.execute(
                sa.insert(alias_targets), bulk.target_rows(alias, alias_id[0], self._delimiter)
            )
            ways = Ways(connection, self._delimiter)
            self._refuse_loop(ways, alias.address)
            self._refuse_beyond(connection, ways, alias.address)
            return tuple(t for t in alias.targets if ways.leads_nowhere(t))

    def remove_alias(self, address: str) -> Alias:
        """Remove an alias and return it; `AccountError` when it does not exist."""
        with self._writing() as connection:
            targets = rows.targets(connection, address)
            if not targets:
                raise AccountError(
                    f'There is no alias "{address}". See which there are: gatepost alias list'
                )
            connection.execute(sa.delete(aliases).where(aliases.c.address == address))
            return Alias(address, targets)

    def _refuse_loop(self, ways: Ways, address: str) -> None:
        loop = find_loop([address], ways.targets_of, ways.is_mailbox, self._delimiter)
        if loop:
            raise AccountError(bulk.loop_sentence(address, loop))

    def _refuse_beyond(self, connection: sa.Connection, ways: Ways, new: str) -> None:
        """Refuse an alias if it, or another alias that leads to it, leads to too many addresses."""
        leading, level = [new], [new]
        while level and len(leading) <= MOST_TARGETS:
            # Addresses that go to a catch-all are not counted: Postfix's own limit is higher.
            level = [
                alias
                for to in level
                for alias in rows.leading_to(connection, to, self._delimiter)
                if alias not in leading
            ]
            leading += level
        found = beyond(leading, ways.targets_of, ways.is_mailbox, self._delimiter)
        if found:
            raise AccountError(expansion_sentence(*found))

    # --- role addresses ------------------------------------------------------------------

    def unread_roles(self, mailname: str, postmaster: str) -> tuple[str, ...]:
        """Return a message for each reason why nobody reads the mail for postmaster and abuse.

        Such mail goes to an account of that name, otherwise to `postmaster`. There are no messages
        while there is no domain.
        """
        with self._reading() as connection:
            if rows.version(connection) is None:
                return ()
            return roles.unread(connection, mailname, postmaster, self._delimiter)

    # --- many at once --------------------------------------------------------------------

    def add_all(
        self,
        accounts: Sequence[Account],
        progress: Callable[[int], None] = lambda _done: None,
        *,
        old_mail: bool = False,
    ) -> None:
        """Add many accounts in any order, all or none; `progress` gets the number of added ones.

        Mailboxes begin with empty folders; `old_mail` as in `add_mailbox`. Raises
        `gatepost.accounts.bulk.ConflictError` with a reason for each account that is refused.
        """
        with self._writing() as connection:
            bulk.add_all(connection, accounts, self._delimiter, progress, old_mail=old_mail)

    # --- hidden accounts -----------------------------------------------------------------

    def add_hidden_mailbox(self, mailbox: Mailbox) -> None:
        """Add a mailbox under `PROBE_DOMAIN` that no list and no export shows.

        Replaces an existing one of the same address; raises `AccountError` for any other domain.
        """
        if split(mailbox.address)[1] != PROBE_DOMAIN:
            raise AccountError(
                f'"{mailbox.address}" cannot be hidden: only addresses of {PROBE_DOMAIN} are.'
            )
        with self._writing() as connection:
            if rows.domain_id(connection, PROBE_DOMAIN) is None:
                connection.execute(sa.insert(domains).values(name=PROBE_DOMAIN, hidden=True))
            domain_id = rows.known_domain(connection, PROBE_DOMAIN)
            connection.execute(sa.delete(mailboxes).where(mailboxes.c.address == mailbox.address))
            # No person's mail is in it: `gatepost verify` cleans up, so the folder is used again.
            place = lifetimes.Lifetime(lifetimes.first_folder(mailbox.address), mailbox.address)
            connection.execute(
                sa.insert(mailboxes), bulk.mailbox_row(mailbox, domain_id, place, hidden=True)
            )
            lifetimes.note_change(connection)

    def remove_hidden(self) -> int:
        """Remove all hidden accounts; return the number of removed mailboxes."""
        with self._writing() as connection:
            gone = connection.execute(sa.delete(mailboxes).where(mailboxes.c.hidden)).rowcount
            connection.execute(sa.delete(domains).where(domains.c.hidden))
            return gone

    def _refuse_taken(
        self, connection: sa.Connection, address: str, domain_id: int, *, is_alias: bool = False
    ) -> None:
        kind = rows.kind(connection, address)
        if kind:
            raise AccountError(bulk.taken_sentence(address, kind))
        pair = extensions.pair_with(
            connection, address, domain_id, self._delimiter, is_alias=is_alias
        )
        if pair:
            raise AccountError(extensions.sentence(*pair, self._delimiter))

    # --- transactions --------------------------------------------------------------------

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        with self._explained(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        reader = self._engine.execution_options(reading=True)
        with self._explained(), reader.begin() as connection:
            yield connection

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Raise the database's own errors as messages with the next step."""
        try:
            yield
        except DatabaseError as error:
            raise self._database.explain(error) from None
