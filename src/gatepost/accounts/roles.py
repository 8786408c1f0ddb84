"""Check that somebody reads the mail for postmaster and abuse (RFC 5321, 4.5.1; RFC 2142)."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import sqlalchemy as sa

from gatepost.accounts import lookups
from gatepost.accounts.addresses import shorter_forms, split
from gatepost.accounts.lookups import ROLES
from gatepost.accounts.tables import aliases, domains, mailboxes

_NAMED = 5
"""Most addresses that one message names."""


def unread(
    connection: sa.Connection, mailname: str, postmaster: str, delimiter: str
) -> tuple[str, ...]:
    """Return a message for each account that should receive such mail and does not.

    There are no messages while there is no domain.
    """
    shown = sa.select(domains.c.name).where(sa.not_(domains.c.hidden))
    ours = sorted(connection.scalars(shown))
    if not ours:
        return ()
    own = {
        address
        for role in ROLES
        for table in (mailboxes, aliases)
        for address in connection.scalars(
            sa.select(table.c.address).where(table.c.address.like(f"{role}@%"))
        )
    }
    sentences = [
        f'"{address}" receives no mail: it only sends, or leads to nobody who does. Every domain '
        "must have somebody who reads it (RFC 5321). Let it lead to a mailbox: "
        f"gatepost alias remove {shlex.quote(address)}, then gatepost alias add {address} TARGET"
        for address in sorted(own)
        if not _receives(connection, address, delimiter)
    ]
    # The default is a guess: if its domain is on another server, the address may not exist.
    local, domain = split(postmaster)
    guessed = local == "postmaster" and (mailname == domain or mailname.endswith(f".{domain}"))
    if not _receives(connection, postmaster, delimiter, elsewhere=not guessed):
        lost = [f"{role}@{name}" for name in dict.fromkeys((*ours, mailname)) for role in ROLES]
        lost = [address for address in lost if address not in own]
        sentences.append(
            f"Nobody reads {_listed(lost)}: POSTMASTER={postmaster} receives no mail. Every domain "
            "must have somebody who does (RFC 5321). Add the mailbox: gatepost mailbox add "
            f"{postmaster}, or let it lead to yours: gatepost alias add {postmaster} "
            "YOU@YOUR-DOMAIN, or set POSTMASTER to an address that somebody reads."
        )
    return tuple(sentences)


def _receives(
    connection: sa.Connection, address: str, delimiter: str, *, elsewhere: bool = True
) -> bool:
    """Return whether mail to an address would be delivered; `elsewhere`: for other servers."""
    local, domain = split(address)
    parts = {"local": local, "domain": domain}
    kind: str = connection.scalar(sa.text(lookups.mailbox_kind(delimiter).sql), parts)
    if kind != "other":
        return kind != "send_only"
    known = [
        connection.scalar(sa.select(table.c.id).where(column == value)) is not None
        for table, column, value in (
            (domains, domains.c.name, domain),
            *(
                (aliases, aliases.c.address, name)
                for name in (address, *shorter_forms(address, delimiter), f"@{domain}")
            ),
        )
    ]
    if not known[0]:
        return elsewhere
    if not any(known[1:]):
        return False
    query = lookups.judgement(delimiter)
    # Role addresses would lead to this function again.
    is_alias = any(known[1:-1])
    values = {"local": local if is_alias else "anybody", "domain": domain, "address": address}
    said = connection.scalar(sa.text(query.sql), {**dict.fromkeys(query.parameters, ""), **values})
    return said in {None, "limited"}


def _listed(addresses: Sequence[str]) -> str:
    named = ", ".join(addresses[:_NAMED])
    more = len(addresses) - _NAMED
    return f"{named} and {more} more" if more > 0 else named
