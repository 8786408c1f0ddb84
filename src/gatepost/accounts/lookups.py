"""The queries that daemons ask, by name: the one place where the schema meets SQL of daemons.

The SQL is portable (SQLite, PostgreSQL, MySQL 8) and has named parameters. A daemon plug-in puts
its own marks in their place with `Query.bind`; the daemon escapes values between the quotes.
Addresses are given normalised (lower case, A-labels) and without an extension.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_PARAMETER = re.compile(r":([a-z_]+)")


@dataclass(frozen=True, slots=True)
class Query:
    """One SELECT with named parameters (``:address``)."""

    name: str
    sql: str

    @property
    def parameters(self) -> frozenset[str]:
        """Names of the parameters."""
        return frozenset(_PARAMETER.findall(self.sql))

    def bind(self, **marks: str) -> str:
        """Put a daemon's own marks in place of the parameters, each between single quotes.

        ``MAILBOX_DOMAIN.bind(domain="%d")`` gives ``… WHERE name = '%d'``. Raises `TypeError` when
        a parameter is missing or unknown: a query with a stray mark would silently find nothing.
        """
        if marks.keys() != self.parameters:
            raise TypeError(
                f"{self.name} takes {sorted(self.parameters)} and was given {sorted(marks)}"
            )
        return _PARAMETER.sub(lambda match: f"'{marks[match[1]]}'", self.sql)


def _query(name: str, sql: str) -> Query:
    return Query(name, " ".join(sql.split()))


MAILBOX_DOMAIN = _query(
    "MAILBOX_DOMAIN",
    "SELECT name FROM domains WHERE name = :domain",
)
"""One row when mail for the domain is received here."""

RECIPIENT = _query(
    "RECIPIENT",
    "SELECT address FROM mailboxes WHERE address = :address AND NOT send_only",
)
"""One row when a mailbox receives under this address; a disabled one does."""

ALIAS = _query(
    "ALIAS",
    """
    SELECT target FROM aliases JOIN alias_targets ON alias_targets.alias_id = aliases.id
    WHERE aliases.address = :address
    UNION ALL SELECT address FROM mailboxes WHERE address = :address
    """,
)
"""Where mail goes: each target of an alias, or the mailbox itself, so that no catch-all takes it.

Asked with ``@DOMAIN``: the targets of the catch-all.
"""

SPECIAL_MAILBOX = _query(
    "SPECIAL_MAILBOX",
    """
    SELECT CASE WHEN send_only THEN 'send_only' ELSE 'limited' END FROM mailboxes
    WHERE address = :address AND (send_only OR quota_bytes IS NOT NULL)
    """,
)
"""``send_only`` when the mailbox only sends, ``limited`` when it has a quota, else no row."""

SENDER = _query(
    "SENDER",
    """
    WITH RECURSIVE chain(address) AS (
        SELECT alias_targets.destination FROM aliases
        JOIN alias_targets ON alias_targets.alias_id = aliases.id
        WHERE aliases.address = :address
        UNION
        SELECT alias_targets.destination FROM chain
        JOIN aliases ON aliases.address = chain.address
        JOIN alias_targets ON alias_targets.alias_id = aliases.id
    ), logins(login) AS (
        SELECT login FROM mailboxes WHERE address = :address AND enabled
        UNION
        SELECT mailboxes.login FROM chain
        JOIN mailboxes ON mailboxes.address = chain.address
        WHERE mailboxes.enabled
    )
    SELECT login FROM logins
    UNION ALL SELECT '-' WHERE NOT EXISTS (SELECT 1 FROM logins) AND (
        EXISTS (SELECT 1 FROM mailboxes WHERE address = :address)
        OR EXISTS (SELECT 1 FROM aliases WHERE address = :address)
    )
    """,
)
"""Logins that may send as this address: the enabled mailboxes that it is or leads to.

``UNION`` without ``ALL`` ends at an alias seen before, so a loop ends too. An address that exists
and leads to no login gives ``-``, which nobody can log in as: without that row Postfix would go on
to ask for the catch-all, whose owner could then send in the name of a disabled mailbox.
"""

ENDED_SESSION = _query(
    "ENDED_SESSION",
    """
    SELECT :answer WHERE NOT EXISTS (SELECT 1 FROM mailboxes WHERE login = :login AND enabled)
    """,
)
"""`answer` when a submission session's login is nobody's any more, because the account changed."""

PASSWORD = _query(
    "PASSWORD",
    """
    SELECT CASE WHEN :service = 'smtp' THEN login ELSE address END AS user,
    password_hash AS password FROM mailboxes
    WHERE address = :address AND enabled AND (NOT send_only OR :service = 'smtp')
    """,
)
"""Login and hash. `service` is what is being logged in to: ``smtp`` (submission), ``imap``, …

A submission session has a login of its account's present life (`gatepost.accounts.lifetimes`).
"""

USER = _query(
    "USER",
    """
    SELECT folder, quota_bytes FROM mailboxes WHERE address = :address AND NOT send_only
    """,
)
"""A mailbox's folder, below that of all mail; `quota_bytes` is NULL for no limit."""

USERS = _query(
    "USERS",
    "SELECT address AS user FROM mailboxes WHERE NOT send_only",
)
"""Every mailbox that holds mail, for ``doveadm -A``."""

RELAY_CLIENT = _query(
    "RELAY_CLIENT",
    "SELECT name FROM relay_clients WHERE fingerprint = LOWER(:fingerprint)",
)
"""One row when a client certificate is a mail store's own, whose redirects may leave."""

QUERIES = (
    *(MAILBOX_DOMAIN, RECIPIENT, ALIAS, SPECIAL_MAILBOX, SENDER),
    *(ENDED_SESSION, PASSWORD, USER, USERS, RELAY_CLIENT),
)
