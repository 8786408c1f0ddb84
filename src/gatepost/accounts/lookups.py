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

MAILBOX_KIND = _query(
    "MAILBOX_KIND",
    """
    SELECT CASE WHEN send_only THEN 'send_only' WHEN quota_bytes IS NULL THEN 'unlimited'
    ELSE 'limited' END FROM mailboxes WHERE address = :address
    UNION ALL SELECT 'other' WHERE
    (SELECT mailboxes.id FROM mailboxes WHERE mailboxes.address = :address) IS NULL
    """,
)
"""``send_only``, ``limited`` or ``unlimited`` (in its quota); ``other`` when it is no mailbox."""

# No EXISTS, nor IN: PostgreSQL may read the whole table once to answer many of them.
_IS_MAILBOX = "(SELECT mailboxes.id FROM mailboxes WHERE mailboxes.address = {0}) IS NOT NULL"
_IS_ALIAS = "(SELECT aliases.id FROM aliases WHERE aliases.address = {0}) IS NOT NULL"
_IS_ACCOUNT = f"({_IS_MAILBOX} OR {_IS_ALIAS})"

_CHAIN = f"""
    WITH RECURSIVE chain(address) AS (
        {{start}}
        UNION
        SELECT CASE {{more}}
            WHEN {_IS_ACCOUNT.format("alias_targets.address")} THEN alias_targets.address
            WHEN {_IS_ACCOUNT.format("alias_targets.destination")} THEN alias_targets.destination
            WHEN SUBSTR(alias_targets.address, 1, 11) = 'postmaster@' THEN ''
            WHEN SUBSTR(alias_targets.address, 1, 6) = 'abuse@' THEN ''
            WHEN (SELECT domains.id FROM domains WHERE name = alias_targets.domain) IS NOT NULL
                THEN '@' || alias_targets.domain
            ELSE ''
        END
        FROM chain CROSS JOIN alias_targets WHERE alias_targets.alias_id =
            (SELECT aliases.id FROM aliases WHERE aliases.address = chain.address) {{within}}
    )
"""  # noqa: S608  every value is a parameter
"""The accounts that an address leads to, one alias after another, beginning with itself.

A mailbox or alias that exists wins over an address extension, which wins over the catch-all
(``@DOMAIN``, in the chain even where there is none). The empty address stands for other servers,
and for role addresses, which are not followed.
``UNION`` without ``ALL`` ends at an address seen before, so a loop ends too.
"""

SENDER = _query(
    "SENDER",
    f"""
    {_CHAIN.format(start="SELECT '' || :address", more="", within="")}, logins(login) AS (
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

_LOGIN = """
    SELECT CASE WHEN :service = 'smtp' THEN login ELSE address END AS user,
    {0} AS password FROM mailboxes
    WHERE address = COALESCE((
        SELECT :local || '@' || (
            SELECT domains.name FROM domains WHERE domains.id = domain_names.domain_id
        ) FROM domain_names WHERE domain_names.name = :domain
    ), :address)
    AND enabled AND (NOT send_only OR :service = 'smtp')
"""

PASSWORD = _query("PASSWORD", _LOGIN.format("password_hash"))
"""Login and hash. A domain may be given in its own letters (`domain` is that of `address`).

`service` is what is being logged in to: ``smtp`` (submission), ``imap``, …

A submission session has a login of its account's present life (`gatepost.accounts.lifetimes`).
"""

DECOMPOSED_PASSWORD = _query(
    "DECOMPOSED_PASSWORD",
    re.sub(":(address|local|domain)", r"LOWER(:\1)", _LOGIN.format("decomposed_hash"))
    + " AND decomposed_hash IS NOT NULL",
)
"""The same for a password whose letters were sent decomposed (NFD); no row when none can be."""


JUDGED = 100
"""So many targets of an alias, and accounts behind it, are looked at; more are not judged."""

_FEW = _CHAIN.format(
    start="{start}",
    # That there is one more counts as somebody who takes mail.
    more=f"WHEN alias_targets.position = {JUDGED} THEN ''",
    within=f"AND alias_targets.position <= {JUDGED}",
)


def judgement(delimiter: str) -> Query:
    """Return the query for what mail to an address that is no mailbox would come to.

    ``unreachable`` when it leads only to accounts that do not exist or only send, ``only_limited``
    when every mailbox that could take it has a quota (`taker` names them), ``send_only`` for the
    extension of an account that only sends; else no row.

    `delimiter` is ``RECIPIENT_DELIMITER``: an address with an extension that is no account itself
    is left to the question without it. `mailname`, `postmaster` and `postmaster_domain` say where
    role addresses lead.
    """
    bare = "SUBSTR(:local, 2)"
    for character in delimiter:
        bare = f"REPLACE({bare}, '{character}', '')"
    domain_is_ours = "(SELECT domains.id FROM domains WHERE domains.name = {0}) IS NOT NULL"
    start = f"""
        SELECT CASE
            WHEN {_IS_ACCOUNT.format(":address")} THEN '' || :address
            WHEN {bare} <> SUBSTR(:local, 2) THEN NULL
            WHEN NOT ({domain_is_ours.format(":domain")} OR :domain = :mailname) THEN NULL
            WHEN :local IN ('postmaster', 'abuse') AND :address <> :postmaster THEN CASE
                WHEN {_IS_ACCOUNT.format(":postmaster")} THEN '' || :postmaster
                WHEN {domain_is_ours.format(":postmaster_domain")} THEN '@' || :postmaster_domain
                ELSE '' END
            WHEN {_IS_ALIAS.format("'@' || :domain")} THEN '@' || :domain
        END
    """
    return _query(
        "JUDGEMENT",
        f"""
        {_FEW.format(start=start)}, kinds(kind) AS (
            SELECT CASE WHEN first.address = '' THEN 'fine'
            WHEN {_IS_ALIAS.format("first.address")} THEN 'alias' ELSE COALESCE((
                SELECT CASE WHEN send_only THEN 'send_only' WHEN quota_bytes IS NULL THEN 'fine'
                ELSE 'limited' END FROM mailboxes WHERE mailboxes.address = first.address
            ), 'missing') END
            FROM (SELECT address FROM chain WHERE address IS NOT NULL LIMIT {JUDGED}) AS first
        ), counted(nodes, fine, limited, silent) AS (
            SELECT COUNT(*), SUM(CASE kind WHEN 'fine' THEN 1 ELSE 0 END),
            SUM(CASE kind WHEN 'limited' THEN 1 ELSE 0 END),
            SUM(CASE kind WHEN 'send_only' THEN 1 ELSE 0 END) FROM kinds
        )
        SELECT CASE WHEN limited > 0 THEN 'only_limited'
        WHEN nodes = 1 AND silent = 1 THEN 'send_only' ELSE 'unreachable' END FROM counted
        WHERE nodes BETWEEN 1 AND {JUDGED - 1} AND fine = 0
        """,  # noqa: S608
    )


def user(delimiter: str) -> Query:
    """Return the query for a mailbox's place, where mail for an address goes.

    A mailbox of just that address wins; else the address before an extension counts, the longest
    that is a mailbox. `user` is the mailbox, `folder` lies below that of all mail, `quota_bytes` is
    NULL for no limit. `extensions` are the characters that begin an extension behind this name:
    none of those that it holds itself, and ``/``, which no mailbox holds, when none is left.
    `service` is what asks: ``quota-status`` may ask for the name of a `taker`.
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
        WHERE address = CASE WHEN :service = 'quota-status' AND SUBSTR(:local, 3, 1) = '{_MARK}'
            THEN ({_taker(marks)}) ELSE COALESCE({exact}, {f"({shorter})" if delimiter else "NULL"})
            END
        AND NOT send_only
        """,  # noqa: S608
    )


_STRANGE = re.compile(r"[^A-Za-z0-9#$&'*+.=?^_`{|}~-]")
_MARK = "!"
"""Stands in no address of ours, and Postfix takes no mail for one that holds it."""


def taker(place: int, recipient: str) -> str:
    """Name the mailbox with a quota that is number `place` (from 1) of those behind a recipient.

    Dovecot lets nobody ask for a name with other characters than those of addresses, and an alias
    may have ``/`` as well, so that has a stand-in. What else is strange stands in no account's
    name, and has the same one.
    """
    local, _, domain = recipient.rpartition("@")
    return f"{place:02}{_MARK}{_STRANGE.sub(_MARK, local)}@{domain}"


def _taker(marks: str) -> str:
    """Return SQL for the mailbox that `taker` names; the order is that of their addresses.

    `judgement` has found that no other account could take the mail.
    """

    def named(local: str) -> str:
        return f"REPLACE({local}, '{_MARK}', '/')"

    cut = f"{named('SUBSTR(:local, 4, n)')} || '@' || :domain"
    shorter = f"""
        (WITH RECURSIVE cut(n) AS (
            SELECT LENGTH(:local) - 4 UNION ALL SELECT n - 1 FROM cut WHERE n > 1
        )
        SELECT {cut} FROM cut
        WHERE SUBSTR(:local, n + 4, 1) IN ({marks}) AND {_IS_ACCOUNT.format(f"({cut})")}
        ORDER BY n DESC LIMIT 1)
    """  # noqa: S608
    ends = ", ".join(filter(None, ("''", marks)))
    start = f"""
        SELECT CASE WHEN {_IS_ACCOUNT.format("asked.address")} THEN asked.address ELSE COALESCE(
            {f"{shorter}," if marks else ""}
            CASE WHEN asked.address = :postmaster THEN NULL
            WHEN SUBSTR(local, 1, 10) = 'postmaster' AND SUBSTR(local, 11, 1) IN ({ends})
                OR SUBSTR(local, 1, 5) = 'abuse' AND SUBSTR(local, 6, 1) IN ({ends})
            THEN CASE WHEN {_IS_ACCOUNT.format(":postmaster")} THEN '' || :postmaster
                ELSE '@' || :postmaster_domain END END,
            '@' || :domain
        ) END FROM (
            SELECT {named("SUBSTR(:local, 4)")} AS local,
            {named("SUBSTR(:local, 4)")} || '@' || :domain AS address
        ) AS asked
    """  # noqa: S608
    return f"""
        {_FEW.format(start=start)}
        SELECT address FROM (
            SELECT chain.address, ROW_NUMBER() OVER (ORDER BY chain.address) AS place FROM chain
            WHERE (
                SELECT quota_bytes FROM mailboxes
                WHERE mailboxes.address = chain.address AND NOT mailboxes.send_only
            ) IS NOT NULL
        ) AS takers
        WHERE place < {JUDGED} AND CAST(100 + place AS CHAR(3)) = '1' || SUBSTR(:local, 1, 2)
    """  # noqa: S608


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
    *(MAILBOX_DOMAIN, RECIPIENT, ALIAS, MAILBOX_KIND, SENDER, judgement("+-")),
    *(ENDED_SESSION, PASSWORD, DECOMPOSED_PASSWORD, user("+-"), USERS, RELAY_CLIENT),
)
