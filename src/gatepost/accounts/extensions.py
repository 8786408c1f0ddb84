"""Address extensions and names that look like one: ``anna-maria@`` beside ``anna@``.

With ``-`` in ``RECIPIENT_DELIMITER``, ``anna-maria@`` is a mailbox and also ``anna@`` with an
extension. The mailbox of exactly that name gets the mail. But ``anna-maria-lists@`` could belong to
either, so Gatepost refuses such a pair. An alias may have the name of a mailbox with an extension:
this is a way to send such mail elsewhere.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator

import sqlalchemy as sa

from gatepost.accounts.addresses import shorter_forms, split, without_extension
from gatepost.accounts.tables import alias_targets, aliases, mailboxes, settings_in_use

_NAME = "RECIPIENT_DELIMITER"
_ESCAPE = "\\"
_BATCH = 2_000


def pairs(
    addresses: Iterable[str], known: Container[str], delimiter: str
) -> Iterator[tuple[str, str]]:
    """Yield each address that looks like an extension of a known one, with the known one."""
    for address in addresses:
        for shorter in shorter_forms(address, delimiter):
            if shorter in known:
                yield address, shorter
                break


def pair_with(
    connection: sa.Connection, address: str, domain_id: int, delimiter: str, *, is_alias: bool
) -> tuple[str, str] | None:
    """Return a mailbox that looks like an extension of an account, and that account; one is new."""
    for shorter in () if is_alias else shorter_forms(address, delimiter):
        if _exists(connection, shorter):
            return address, shorter
    local_part, domain = split(address)
    for character in delimiter if local_part else "":
        longer = connection.scalar(
            sa.select(mailboxes.c.address)
            .where(mailboxes.c.domain_id == domain_id)
            .where(_like(f"{_escaped(local_part + character)}%@{domain}"))
            .limit(1)
        )
        if longer:
            return longer, address
    return None


def all_pairs(connection: sa.Connection, delimiter: str) -> tuple[tuple[str, str], ...]:
    """Return each mailbox that looks like an extension of another account, with that account."""
    found: set[str] = set()
    for character in delimiter:
        # At least one character before the delimiter, and the delimiter before the "@".
        pattern = f"_%{_escaped(character)}%@%"
        found |= set(connection.scalars(sa.select(mailboxes.c.address).where(_like(pattern))))
    forms = {form for address in found for form in shorter_forms(address, delimiter)}
    known = {form for form in forms if _exists(connection, form)}
    return tuple(pairs(sorted(found), known, delimiter))


def sentence(longer: str, shorter: str, delimiter: str) -> str:
    """Return the error message about two accounts that cannot be told apart."""
    character = split(longer)[0][len(split(shorter)[0])]
    return (
        f'"{longer}" and "{shorter}" cannot be told apart: "{character}" begins an address '
        f'extension ({_NAME}={delimiter}), so the first is also "{shorter}" with an extension. '
        f'Choose a name without "{character}", or take "{character}" out of {_NAME}.'
    )


def in_use(connection: sa.Connection) -> str | None:
    """Return the delimiter that the stored destinations belong to; None when it is unknown."""
    query = sa.select(settings_in_use.c.value).where(settings_in_use.c.name == _NAME)
    found: str | None = connection.scalar(query)
    return found


def adopt(connection: sa.Connection, delimiter: str) -> None:
    """Update the destinations of all alias targets for another delimiter."""
    key = sa.and_(
        alias_targets.c.alias_id == sa.bindparam("alias"),
        alias_targets.c.position == sa.bindparam("place"),
    )
    change = sa.update(alias_targets).where(key).values(destination=sa.bindparam("new"))
    rows = connection.execute(
        sa.select(
            alias_targets.c.alias_id,
            alias_targets.c.position,
            alias_targets.c.address,
            alias_targets.c.destination,
        )
    ).all()
    changed = [
        {"alias": alias, "place": place, "new": without_extension(address, delimiter)}
        for alias, place, address, destination in rows
        if without_extension(address, delimiter) != destination
    ]
    for start in range(0, len(changed), _BATCH):
        connection.execute(change, changed[start : start + _BATCH])
    connection.execute(sa.delete(settings_in_use).where(settings_in_use.c.name == _NAME))
    connection.execute(sa.insert(settings_in_use).values(name=_NAME, value=delimiter))


def _exists(connection: sa.Connection, address: str) -> bool:
    return any(
        connection.scalar(sa.select(table.c.id).where(table.c.address == address))
        for table in (mailboxes, aliases)
    )


def _like(pattern: str) -> sa.ColumnElement[bool]:
    return mailboxes.c.address.like(pattern, escape=_ESCAPE)


def _escaped(text: str) -> str:
    """Escape text for LIKE."""
    for special in (_ESCAPE, "%", "_"):
        text = text.replace(special, _ESCAPE + special)
    return text
