"""Add many accounts in one transaction: check them against each other, then insert them in batches.

Single accounts use the rows and error messages of this module, too.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from gatepost.accounts import extensions, lifetimes
from gatepost.accounts.addresses import spellings, split, without_extension
from gatepost.accounts.expansion import beyond
from gatepost.accounts.expansion import sentence as expansion_sentence
from gatepost.accounts.lifetimes import Lifetime
from gatepost.accounts.loops import find_loop
from gatepost.accounts.records import Account, Alias, Domain, Mailbox
from gatepost.accounts.tables import alias_targets, aliases, domain_names, domains, mailboxes
from gatepost.errors import AccountError

_BATCH = 2_000
"""Rows of one insert: few enough to move the progress bar; more would not be faster."""


class ConflictError(AccountError):
    """Error when some of many accounts cannot be added; none was added."""

    def __init__(self, reasons: Mapping[int, str]) -> None:
        """Take the reason for each account, by its index in the sequence."""
        super().__init__(*reasons.values())
        self.reasons = dict(reasons)


def add_all(
    connection: sa.Connection,
    accounts: Sequence[Account],
    delimiter: str,
    progress: Callable[[int], None],
    *,
    old_mail: bool,
) -> None:
    """Add accounts in any order; see `gatepost.accounts.store.Store.add_all`."""
    known_domains = _ids(connection, domains.c.name)
    kinds = dict.fromkeys(connection.scalars(sa.select(mailboxes.c.address)), "mailbox")
    kinds |= dict.fromkeys(connection.scalars(sa.select(aliases.c.address)), "alias")
    reasons = _conflicts(accounts, known_domains, kinds)
    if not reasons:
        reasons = _pairs(accounts, kinds, delimiter)
    if not reasons:
        reasons = _loops(connection, accounts, kinds, delimiter)
    if reasons:
        raise ConflictError(dict(sorted(reasons.items())))
    _insert(connection, accounts, delimiter, progress, old_mail=old_mail)


def _conflicts(
    accounts: Sequence[Account], known_domains: Mapping[str, int], kinds: dict[str, str]
) -> dict[int, str]:
    """Find unknown domains and duplicate addresses; add the new addresses to `kinds`."""
    reasons: dict[int, str] = {}
    names = set(known_domains)
    for place, account in enumerate(accounts):
        if isinstance(account, Domain):
            if account.name in names:
                reasons[place] = f'the domain "{account.name}" exists already. Leave the line out.'
            names.add(account.name)
    for place, account in enumerate(accounts):
        if isinstance(account, Domain):
            continue
        domain = split(account.address)[1]
        if domain not in names:
            reasons[place] = unknown_domain_sentence(account.address, domain)
        elif account.address in kinds:
            reasons[place] = taken_sentence(account.address, kinds[account.address])
        kinds.setdefault(account.address, "mailbox" if isinstance(account, Mailbox) else "alias")
    return reasons


def _pairs(accounts: Sequence[Account], kinds: Mapping[str, str], delimiter: str) -> dict[int, str]:
    """Find mailboxes that look like extensions of accounts, where one of the two is new."""
    added = {a.address: n for n, a in enumerate(accounts) if not isinstance(a, Domain)}
    reasons: dict[int, str] = {}
    held = (address for address, kind in kinds.items() if kind == "mailbox")
    for longer, shorter in extensions.pairs(held, kinds, delimiter):
        place = added.get(longer, added.get(shorter))
        if place is not None:
            reasons[place] = extensions.sentence(longer, shorter, delimiter)
    return reasons


def _loops(
    connection: sa.Connection, accounts: Sequence[Account], kinds: Mapping[str, str], delimiter: str
) -> dict[int, str]:
    """Find the first new alias that leads back to itself, or to too many addresses."""
    added = {a.address: place for place, a in enumerate(accounts) if isinstance(a, Alias)}
    if not added:
        return {}
    targets: dict[str, list[str]] = {}
    for address, target in connection.execute(
        sa.select(aliases.c.address, alias_targets.c.target).join(alias_targets)
    ):
        targets.setdefault(address, []).append(target)
    targets |= {a.address: list(a.targets) for a in accounts if isinstance(a, Alias)}
    loop = find_loop(
        added,
        lambda alias: targets.get(alias, ()),
        lambda address: kinds.get(address) == "mailbox",
        delimiter,
    )
    if loop is None:
        found = beyond(
            targets,
            lambda alias: targets.get(alias, ()),
            lambda address: kinds.get(address) == "mailbox",
            delimiter,
        )
        if found is None:
            return {}
        # An older alias may lead to too many addresses because of a new one.
        place = added.get(found[0], next(iter(added.values())))
        return {place: expansion_sentence(*found)}
    new = next(alias for alias in loop if alias in added)
    return {added[new]: loop_sentence(new, loop)}


def _insert(
    connection: sa.Connection,
    accounts: Sequence[Account],
    delimiter: str,
    progress: Callable[[int], None],
    *,
    old_mail: bool,
) -> None:
    done = 0

    def insert(table: sa.Table, rows: list[dict[str, Any]]) -> None:
        nonlocal done
        for start in range(0, len(rows), _BATCH):
            batch = rows[start : start + _BATCH]
            connection.execute(sa.insert(table), batch)
            if table is not alias_targets:
                done += len(batch)
                progress(done)

    names = [a.name for a in accounts if isinstance(a, Domain)]
    insert(domains, [{"name": name} for name in names])
    spell_domains(connection, names)
    ids = _ids(connection, domains.c.name)
    people = [a for a in accounts if isinstance(a, Mailbox)]
    begun = lifetimes.begin(connection, [a.address for a in people], old_mail=old_mail)
    insert(
        mailboxes,
        [mailbox_row(a, ids[split(a.address)[1]], begun[a.address], hidden=False) for a in people],
    )
    new = [a for a in accounts if isinstance(a, Alias)]
    insert(aliases, [{"domain_id": ids[split(a.address)[1]], "address": a.address} for a in new])
    if new:
        alias_ids = _ids(connection, aliases.c.address)
        insert(
            alias_targets,
            [row for a in new for row in target_rows(a, alias_ids[a.address], delimiter)],
        )


def spell_domains(connection: sa.Connection, names: Sequence[str]) -> None:
    """Let users of new domains log in with the domain in its own letters."""
    if not any("xn--" in name for name in names):
        return
    ids = _ids(connection, domains.c.name)
    found = [
        {"name": spelling, "domain_id": ids[name]} for name in names for spelling in spellings(name)
    ]
    if found:
        connection.execute(sa.insert(domain_names), found)


def _ids(connection: sa.Connection, column: sa.Column[str]) -> dict[str, int]:
    """Map a unique column of a table to its ids."""
    return {text: key for text, key in connection.execute(sa.select(column, column.table.c.id))}  # noqa: C416  rows are no pairs to a type checker


def mailbox_row(
    mailbox: Mailbox, domain_id: int, begun: Lifetime, *, hidden: bool
) -> dict[str, Any]:
    """Return a mailbox as a row of its table."""
    return {
        "domain_id": domain_id,
        "local_part": split(mailbox.address)[0],
        "address": mailbox.address,
        "password_hash": mailbox.password_hash,
        "decomposed_hash": mailbox.decomposed_hash,
        "quota_bytes": mailbox.quota_bytes,
        "enabled": mailbox.enabled,
        "send_only": mailbox.send_only,
        "hidden": hidden,
        "folder": begun.folder,
        "login": begun.login,
    }


def target_rows(alias: Alias, alias_id: int, delimiter: str) -> list[dict[str, Any]]:
    """Return an alias's targets as rows of their table, in order."""
    return [
        {
            "alias_id": alias_id,
            "position": position,
            "target": target,
            "address": target.lower(),
            "destination": without_extension(target.lower(), delimiter),
            "domain": split(target.lower())[1],
        }
        for position, target in enumerate(alias.targets)
    ]


def unknown_domain_sentence(address: str, domain: str) -> str:
    """Say that an address is in no domain of ours, and how to add it."""
    return (
        f'"{address}": there is no domain "{domain}" here. Add it first: gatepost domain add '
        f"{domain}"
    )


def taken_sentence(address: str, kind: str) -> str:
    """Say that an address is taken, by a mailbox or an alias."""
    return (
        f'"{address}" exists already: it is {"a mailbox" if kind == "mailbox" else "an alias"}. '
        "Choose another address, or remove it first: "
        f"gatepost {kind} remove {shlex.quote(address)}"
    )


def loop_sentence(address: str, loop: Sequence[str]) -> str:
    """Say that an alias leads back to itself, and by which way."""
    return (
        f'The alias "{address}" would lead back to itself: {" → ".join(loop)}. '
        "Choose another target; when one of these shall be a mailbox, add that first."
    )


def counted(number: int, word: str) -> str:
    """Write a number with its word: ``1 mailbox``, ``2 mailboxes``, ``0 domains``."""
    if number == 1:
        return f"1 {word}"
    return f"{number} {word}{'es' if word[-1] in 'sx' else 's'}"
