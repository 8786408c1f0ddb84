"""The paths that mail for an alias takes, read from the database one level at a time.

A list has thousands of targets, and mail for each may go to several accounts. With a query for each
of them, a database server would need minutes.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import sqlalchemy as sa

from gatepost.accounts.addresses import LOCAL_PART_CHARACTERS, split
from gatepost.accounts.loops import forms
from gatepost.accounts.tables import alias_targets, aliases, domains, mailboxes

_BATCH = 500
"""Addresses of one query; before 3.32, SQLite accepts at most 999 parameters."""


class Ways:
    """Cache of addresses in one transaction; each is read once."""

    def __init__(self, connection: sa.Connection, delimiter: str) -> None:
        """Take the transaction; accounts must not change in it from now on."""
        self._connection = connection
        self._delimiter = delimiter
        self._read: set[str] = set()
        self._followed: set[str] = set()
        self._targets: dict[str, list[str]] = {}
        self._receives: dict[str, bool] = {}
        self._domains: dict[str, bool] = {}

    def targets_of(self, address: str) -> list[str]:
        """Return the targets of an alias, none for other addresses; read the accounts of these."""
        self._look((address,))
        found = self._targets.get(address, [])
        if found and address not in self._followed:
            self._followed.add(address)
            self._look(form for t in found for form in forms(t.lower(), self._delimiter))
        return found

    def is_mailbox(self, address: str) -> bool:
        """Return whether there is a mailbox of exactly that address."""
        self._look((address,))
        return address in self._receives

    def leads_nowhere(self, target: str) -> bool:
        """Return whether mail for a target of this server would bounce."""
        *_, catch_all = takers = forms(target.lower(), self._delimiter)
        domain = catch_all[1:]
        if domain not in self._domains:
            query = sa.select(domains.c.id).where(domains.c.name == domain)
            self._domains[domain] = self._connection.scalar(query) is not None
        if not self._domains[domain]:
            return False
        self._look(takers)
        for taker in takers:
            if taker in self._receives:
                # The mail store accepts no other characters, not even in an extension.
                fit = set(split(target)[0]) <= set(LOCAL_PART_CHARACTERS)
                return not (self._receives[taker] and fit)
            if taker in self._targets:
                return False
        return True

    def _look(self, addresses: Iterable[str]) -> None:
        wanted = iter(a for a in dict.fromkeys(addresses) if a not in self._read)
        while batch := list(islice(wanted, _BATCH)):
            self._read.update(batch)
            for address, target in self._connection.execute(
                sa.select(aliases.c.address, alias_targets.c.target)
                .join(alias_targets)
                .where(aliases.c.address.in_(batch))
                .order_by(alias_targets.c.alias_id, alias_targets.c.position)
            ):
                self._targets.setdefault(address, []).append(target)
            for address, send_only in self._connection.execute(
                sa.select(mailboxes.c.address, mailboxes.c.send_only).where(
                    mailboxes.c.address.in_(batch)
                )
            ):
                self._receives[address] = not send_only
