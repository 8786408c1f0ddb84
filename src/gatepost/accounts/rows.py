"""Small queries that many methods of the store use."""

from __future__ import annotations

import shlex

import sqlalchemy as sa

from gatepost.accounts import bulk
from gatepost.accounts.addresses import shorter_forms, without_extension
from gatepost.accounts.records import Mailbox
from gatepost.accounts.tables import alias_targets, aliases, domains, mailboxes
from gatepost.errors import AccountError

MAILBOXES = sa.select(
    mailboxes.c.address,
    mailboxes.c.password_hash,
    mailboxes.c.quota_bytes,
    mailboxes.c.enabled,
    mailboxes.c.send_only,
)


def version_table(chain: str) -> str:
    """Return the name of the table with the version of a chain of a plug-in's migrations."""
    return f"alembic_version_{chain}"


def version(connection: sa.Connection, table: str = "alembic_version") -> str | None:
    """Return the version of a schema, which stands in `table`; None for one without tables."""
    if not sa.inspect(connection).has_table(table):
        return None
    version: str | None = connection.scalar(
        sa.select(sa.column("version_num")).select_from(sa.table(table))
    )
    return version


def count(table: sa.Table) -> sa.ScalarSelect[int]:
    """Return an SQL expression for the number of rows of a table that belong to a domain."""
    return (
        sa.select(sa.func.count())
        .select_from(table)
        .where(table.c.domain_id == domains.c.id)
        .scalar_subquery()
    )


def domain_id(connection: sa.Connection, name: str) -> int | None:
    """Return the id of a domain; None when there is none."""
    found: int | None = connection.scalar(sa.select(domains.c.id).where(domains.c.name == name))
    return found


def known_domain(connection: sa.Connection, name: str, wanted_for: str | None = None) -> int:
    """Return the id of a domain; raise `AccountError` when there is none."""
    found = domain_id(connection, name)
    if found is None:
        raise no_domain(wanted_for or name, name)
    return found


def no_domain(value: str, name: str) -> AccountError:
    """Return the error about a domain that does not exist."""
    if value == name:
        return AccountError(
            f'There is no domain "{name}". See which there are: gatepost domain list'
        )
    return AccountError(bulk.unknown_domain_sentence(value, name))


def mailbox(connection: sa.Connection, address: str) -> Mailbox:
    """Return a mailbox; raise `AccountError` when there is none."""
    row = connection.execute(MAILBOXES.where(mailboxes.c.address == address)).one_or_none()
    if row is None:
        hint = (
            f"It is an alias: gatepost alias remove {shlex.quote(address)}"
            if kind(connection, address)
            else "See which there are: gatepost mailbox list"
        )
        raise AccountError(f'There is no mailbox "{address}". {hint}')
    return Mailbox(*row)


def targets(connection: sa.Connection, address: str) -> tuple[str, ...]:
    """Return the targets of an alias in their order; none when the alias does not exist."""
    return tuple(
        connection.scalars(
            sa.select(alias_targets.c.target)
            .join(aliases)
            .where(aliases.c.address == address)
            .order_by(alias_targets.c.position)
        )
    )


def leading_to(connection: sa.Connection, address: str, delimiter: str) -> tuple[str, ...]:
    """Return the aliases with an address among their targets, with an extension or without."""
    found = connection.execute(
        sa.select(aliases.c.address, alias_targets.c.address)
        .join(alias_targets)
        .where(
            (alias_targets.c.destination == without_extension(address, delimiter))
            | (alias_targets.c.address == address)
        )
    )
    return tuple(
        sorted(
            {
                alias
                for alias, target in found
                if address in (target, *shorter_forms(target, delimiter))
            }
        )
    )


def kind(connection: sa.Connection, address: str) -> str:
    """Return ``mailbox`` or ``alias``; empty for an address that is neither."""
    for kind, table in (("mailbox", mailboxes), ("alias", aliases)):
        if connection.scalar(sa.select(table.c.id).where(table.c.address == address)):
            return kind
    return ""
