"""The queries that daemons ask, by name: the one place where the schema meets SQL of daemons.

The SQL is portable (SQLite, PostgreSQL, MySQL 8) and has named parameters. A daemon plug-in puts
its own marks in their place with `Query.bind`; the daemon escapes values between the quotes.
Addresses are given normalised (lower case, A-labels).

Every table is read by an index, whatever ``ANALYZE`` has seen: SQLite always uses a unique index
when a SELECT reads one table only, so tables are asked one by one and not joined.
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
    SELECT target FROM alias_targets
    WHERE alias_id = (SELECT id FROM aliases WHERE address = :address)
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

# No EXISTS, nor IN: PostgreSQL may read the whole table once to answer many of them.
_IS_MAILBOX = "(SELECT mailboxes.id FROM mailboxes WHERE mailboxes.address = {0}) IS NOT NULL"
_IS_ALIAS = "(SELECT aliases.id FROM aliases WHERE aliases.address = {0}) IS NOT NULL"
_IS_ACCOUNT = f"({_IS_MAILBOX} OR {_IS_ALIAS})"

_CHAIN = f"""
    WITH RECURSIVE chain(address) AS (
        {{start}}
        UNION
        SELECT CASE
            WHEN {_IS_ACCOUNT.format("alias_targets.address")} THEN alias_targets.address
            WHEN {_IS_ACCOUNT.format("alias_targets.destination")} THEN alias_targets.destination
            WHEN (SELECT domains.id FROM domains WHERE name = alias_targets.domain) IS NOT NULL
                THEN '@' || alias_targets.domain
            ELSE ''
        END
        FROM chain CROSS JOIN alias_targets WHERE alias_targets.alias_id =
            (SELECT aliases.id FROM aliases WHERE aliases.address = chain.address)
    )
"""  # noqa: S608  every value is a parameter
"""The accounts that an address leads to, one alias after another, beginning with itself.

A mailbox or alias that exists wins over an address extension, which wins over the catch-all
(``@DOMAIN``, in the chain even where there is none). The empty address stands for other servers.
``UNION`` without ``ALL`` ends at an address seen before, so a loop ends too.
"""

SENDER = _query(
    "SENDER",
    f"""
    {_CHAIN.format(start="SELECT '' || :address")}, logins(login) AS (
        SELECT (
            SELECT mailboxes.login FROM mailboxes
            WHERE mailboxes.address = chain.address AND mailboxes.enabled
        ) FROM chain
    )
    SELECT login FROM logins WHERE login IS NOT NULL
    UNION ALL SELECT '-' WHERE NOT EXISTS (SELECT 1 FROM logins WHERE login IS NOT NULL)
        AND {_IS_ACCOUNT.format(":address")}
    """,  # noqa: S608
)
"""Logins that may send as this address: the enabled mailboxes that it is or leads to.

An address that exists and leads to no login gives ``-``, which nobody can log in as: without that
row Postfix would go on to ask for the catch-all, whose owner could then send in the name of a
disabled mailbox.
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
    WHERE address = COALESCE((
        SELECT :local || '@' || (
            SELECT domains.name FROM domains WHERE domains.id = domain_names.domain_id
        ) FROM domain_names WHERE domain_names.name = :domain
    ), :address)
    AND enabled AND (NOT send_only OR :service = 'smtp')
    """,
)
"""Login and hash. A domain may be given in its own letters (`domain` is that of `address`).

`service` is what is being logged in to: ``smtp`` (submission), ``imap``, …

A submission session has a login of its account's present life (`gatepost.accounts.lifetimes`).
"""


def user(delimiter: str) -> Query:
    """Return the query for a mailbox's place, where mail for an address goes.

    A mailbox of just that address wins; else the address before an extension counts, the longest
    that is a mailbox. `user` is the mailbox, `folder` lies below that of all mail, `quota_bytes` is
    NULL for no limit. `extensions` are the characters that begin an extension behind this name:
    none of those that it holds itself, and ``/``, which no mailbox holds, when none is left.
    `delimiter` is ``RECIPIENT_DELIMITER``.
    """
    extensions = " || ".join(
        f"CASE WHEN REPLACE(local_part, '{c}', '') = local_part THEN '{c}' ELSE '' END"
        for c in delimiter
    )
    marks = ", ".join(f"'{c}'" for c in delimiter)
    shorter = f"""
        WITH RECURSIVE cut(n) AS (
            SELECT LENGTH(:local) - 1 UNION ALL SELECT n - 1 FROM cut WHERE n > 1
        )
        SELECT SUBSTR(:local, 1, n) || '@' || :domain FROM cut
        WHERE SUBSTR(:local, n + 1, 1) IN ({marks})
        AND {_IS_MAILBOX.format("SUBSTR(:local, 1, n) || '@' || :domain")}
        ORDER BY n DESC LIMIT 1
    """  # noqa: S608  every value is a parameter or a character that no quote can end
    exact = "(SELECT mailboxes.address FROM mailboxes WHERE mailboxes.address = :address)"
    return _query(
        "USER",
        f"""
        SELECT address AS user, folder, quota_bytes,
        COALESCE(NULLIF({extensions or "''"}, ''), '/') AS extensions
        FROM mailboxes
        WHERE address = {f"COALESCE({exact}, ({shorter}))" if delimiter else ":address"}
        AND NOT send_only
        """,  # noqa: S608
    )


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
    *(ENDED_SESSION, PASSWORD, user("+-"), USERS, RELAY_CLIENT),
)
