"""The queries that daemons ask, by name: the one place where the schema meets SQL of daemons.

The SQL is portable (SQLite, PostgreSQL, MySQL 8) and has named parameters. A daemon plug-in puts
its own marks in their place with `Query.bind`; the daemon escapes values between the quotes.
Addresses are given normalised (lower case, A-labels).

All of them find the account of an address by one rule (`_account`), and Postfix has no delimiter
configured. It does not ask a query with the parameter `local` for ``@DOMAIN``, so such a query
finds the catch-all itself.

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

ROLES = ("postmaster", "abuse")
"""Names whose mail somebody must read (RFC 5321, 4.5.1; RFC 2142)."""

# No EXISTS, nor IN: PostgreSQL may read the complete table once to answer many of them.
_IS_MAILBOX = "(SELECT mailboxes.id FROM mailboxes WHERE mailboxes.address = {0}) IS NOT NULL"
_IS_ALIAS = "(SELECT aliases.id FROM aliases WHERE aliases.address = {0}) IS NOT NULL"
_IS_ACCOUNT = f"({_IS_MAILBOX} OR {_IS_ALIAS})"
_IS_DOMAIN = "(SELECT domains.id FROM domains WHERE domains.name = {0}) IS NOT NULL"

_UNQUOTED = """CASE WHEN SUBSTR(:local, 1, 1) = '"' THEN SUBSTR(:local, 2) ELSE '' || :local END"""
"""The local part without the quote at its beginning: Postfix asks for the quoted form first.

An account needs no quotes, and what stands behind its name may be left as it is.
"""


def _account(delimiter: str, local: str = _UNQUOTED, domain: str = ":domain") -> str:
    """Return SQL for the account that an address belongs to; NULL when there is none.

    The longest name wins that is a mailbox or an alias: the complete local part, or the part before
    a character of `delimiter`. The rest is the extension.
    """
    address = f"SUBSTR(name, 1, size) || '@' || {domain}"
    behind = "SUBSTR(name, size + 1, 1)"
    # Not ORDER BY … LIMIT 1, nor IN: SQLite would need a third more time for each look-up.
    ends = " OR ".join(f"{behind} = '{character}'" for character in ("", *delimiter))
    return f"""(
        SUBSTR({local}, 1, (
            WITH RECURSIVE cut(name, size) AS (
                SELECT {local}, LENGTH({local})
                UNION ALL SELECT name, size - 1 FROM cut WHERE size > 1
            )
            SELECT MAX(size) FROM cut
            WHERE size > 0 AND ({ends}) AND {_IS_ACCOUNT.format(address)}
        )) || '@' || {domain}
    )"""  # noqa: S608  every value is a parameter or a character that no quote can end


def _is_role(delimiter: str, local: str = ":local", address: str = ":address") -> str:
    """Return SQL that is true when mail to an address without an account goes to `postmaster`.

    That address does not lead to itself, so that a catch-all may still take it.
    """
    names = {name: ", ".join(f"'{name}{character}'" for character in delimiter) for name in ROLES}
    ways = [f"{local} = '{name}'" for name in names]
    ways += [
        f"SUBSTR({local}, 1, {len(n) + 1}) IN ({longer})" for n, longer in names.items() if longer
    ]
    ours = f"({_IS_DOMAIN.format(':domain')} OR :domain = :mailname)"
    return f"({' OR '.join(ways)}) AND {address} <> :postmaster AND {ours}"


EXACT_RECIPIENT = _query(
    "EXACT_RECIPIENT",
    "SELECT address FROM mailboxes WHERE address = :address AND NOT send_only",
)
"""One row when a mailbox of just this name receives mail; a disabled one does.

Asked before `recipient` and `alias`, which most mail then needs no more: parsing one of these takes
ten times as long as this query.
"""

EXACT_KIND = _query(
    "EXACT_KIND",
    """
    SELECT CASE WHEN send_only THEN 'send_only' WHEN quota_bytes IS NULL THEN 'unlimited'
    ELSE 'limited' END FROM mailboxes WHERE address = :address
    """,
)
"""The kind of a mailbox of just this name, as `mailbox_kind`, and asked before it."""


def recipient(delimiter: str) -> Query:
    """Return the query for the mailbox that receives mail for an address; a disabled one does.

    `delimiter` is ``RECIPIENT_DELIMITER``, here as everywhere. No row for a quoted address: what
    needs quotes, no mailbox takes.
    """
    return _query(
        "RECIPIENT",
        f"""
        SELECT address FROM mailboxes
        WHERE address = {_account(delimiter, ":local")} AND NOT send_only
        """,  # noqa: S608
    )


def alias(delimiter: str) -> Query:
    """Return the query for where mail goes that is not for a mailbox: each target of an alias.

    An account wins over `postmaster`, who reads what is for ``postmaster`` and ``abuse``, and that
    over the catch-all. A mailbox gives no row, so Postfix leaves its address as it is. An extension
    of the alias ends here, and Sieve sees it in the original address.
    """
    role = f"CASE WHEN {_is_role(delimiter)} THEN '' ELSE '@' || :domain END"
    return _query(
        "ALIAS",
        f"""
        WITH taker(address) AS (SELECT COALESCE({_account(delimiter)}, {role}))
        SELECT COALESCE(target, '' || :postmaster) FROM taker LEFT JOIN alias_targets ON alias_id =
            (SELECT aliases.id FROM aliases WHERE aliases.address = taker.address)
        WHERE target IS NOT NULL OR taker.address = ''
        """,  # noqa: S608
    )


def mailbox_kind(delimiter: str) -> Query:
    """Return the query for what kind of account an address belongs to.

    ``send_only``, ``limited`` or ``unlimited`` (in its quota) for a mailbox, else ``other``.
    ``unreachable`` when the name itself begins with a quote: nothing of ours has such a name.
    """
    return _query(
        "MAILBOX_KIND",
        f"""
        SELECT CASE
            WHEN LENGTH(:local) > 3 AND SUBSTR(:local, 1, 1) = '"' AND SUBSTR(:local, 3, 1) = '"'
                AND {_IS_DOMAIN.format(":domain")} THEN 'unreachable'
            ELSE COALESCE((
                SELECT CASE WHEN send_only THEN 'send_only' WHEN quota_bytes IS NULL
                THEN 'unlimited' ELSE 'limited' END
                FROM mailboxes WHERE mailboxes.address = {_account(delimiter)}
            ), 'other')
        END
        """,  # noqa: S608
    )


def _chain(delimiter: str, start: str, more: str = "", within: str = "") -> str:
    """Return a CTE of the accounts that mail goes to, one alias after another.

    `start` gives the first. The catch-all is ``@DOMAIN``, in the chain even where there is none.
    The empty address stands for other servers, and for role addresses, which are not followed.
    ``UNION`` without ``ALL`` ends at an address seen before, so a loop ends too.
    """
    exact = _IS_ACCOUNT.format("alias_targets.address")
    local = (
        "SUBSTR(alias_targets.address, 1,"
        " LENGTH(alias_targets.address) - LENGTH(alias_targets.domain) - 1)"
    )
    extended = _account(delimiter, local, "alias_targets.domain")
    roles = " ".join(
        f"WHEN SUBSTR(alias_targets.destination, 1, {len(name) + 1}) = '{name}@' THEN ''"
        for name in ROLES
    )
    return f"""
        chain(address) AS (
            {start}
            UNION
            SELECT CASE {more} WHEN {exact} THEN alias_targets.address ELSE COALESCE(
                CASE WHEN alias_targets.destination <> alias_targets.address THEN {extended} END,
                CASE {roles} WHEN {_IS_DOMAIN.format("alias_targets.domain")}
                THEN '@' || alias_targets.domain ELSE '' END
            ) END
            FROM chain CROSS JOIN alias_targets WHERE alias_targets.alias_id =
                (SELECT aliases.id FROM aliases WHERE aliases.address = chain.address) {within}
        )
    """  # noqa: S608


def sender(delimiter: str) -> Query:
    """Return the query for the logins that may send as an address.

    They are the enabled mailboxes that its account, or else the catch-all, is or leads to. So the
    owner of a catch-all cannot send as an account that exists, not even as a disabled one.
    """
    start = f"SELECT COALESCE({_account(delimiter)}, '@' || :domain)"
    return _query(
        "SENDER",
        f"""
        WITH RECURSIVE {_chain(delimiter, start)}, logins(login) AS (
            SELECT (
                SELECT mailboxes.login FROM mailboxes
                WHERE mailboxes.address = chain.address AND mailboxes.enabled
            ) FROM chain
        )
        SELECT login FROM logins WHERE login IS NOT NULL
        """,  # noqa: S608
    )


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


def _few(delimiter: str, local: str = _UNQUOTED, role: str | None = None) -> str:
    """Return a CTE of the accounts that mail comes to; of a long list only the first ones."""
    # A setting, of which the look-up need not find out the name before an extension.
    postmaster = ", ".join(
        f"CASE WHEN {_IS_ACCOUNT.format(name)} THEN '' || {name} END"
        for name in (":postmaster", ":postmaster_bare")
    )
    start = f"""
        SELECT COALESCE({_account(delimiter, local)}, CASE
            WHEN {role or _is_role(delimiter)} THEN COALESCE({postmaster}, CASE
                WHEN {_IS_DOMAIN.format(":postmaster_domain")} THEN '@' || :postmaster_domain
                ELSE '' END)
            WHEN {_IS_ALIAS.format("'@' || :domain")} THEN '@' || :domain
        END)
    """
    return _chain(
        delimiter,
        start,
        # That there is one more counts as somebody who takes mail.
        more=f"WHEN alias_targets.position = {JUDGED} THEN ''",
        within=f"AND alias_targets.position <= {JUDGED}",
    )


def judgement(delimiter: str) -> Query:
    """Return the query for what mail to an address that is no mailbox would come to.

    ``unreachable`` when it leads only to accounts that do not exist or only send, ``only_limited``
    when every mailbox that could take it has a quota (`taker` names them), ``send_only`` for an
    account that only sends; else no row. `mailname`, `postmaster`, the same without extension
    (`postmaster_bare`) and its domain (`postmaster_domain`) say where role addresses lead.
    """
    return _query(
        "JUDGEMENT",
        f"""
        WITH RECURSIVE {_few(delimiter)}, kinds(kind) AS (
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

    `user` is the mailbox, `folder` lies below that of all mail, `quota_bytes` is NULL for no limit.
    `extensions` are the characters that begin an extension behind this name: none of those that it
    holds itself, and ``/``, which no mailbox holds, when none is left. `service` is what asks:
    ``quota-status`` may ask for the name of a `taker`.
    """
    extensions = " || ".join(
        f"CASE WHEN REPLACE(local_part, '{c}', '') = local_part THEN '{c}' ELSE '' END"
        for c in delimiter
    )
    return _query(
        "USER",
        f"""
        SELECT address AS user, folder, quota_bytes,
        COALESCE(NULLIF({extensions or "''"}, ''), '/') AS extensions
        FROM mailboxes
        WHERE address = CASE WHEN :service = 'quota-status' AND SUBSTR(:local, 3, 1) = '{_MARK}'
            THEN ({_taker(delimiter)}) ELSE {_account(delimiter, ":local")} END
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


def _taker(delimiter: str) -> str:
    """Return SQL for the mailbox that `taker` names; the order is that of their addresses.

    `judgement` has found that no other account could take the mail.
    """
    local = f"REPLACE(SUBSTR(:local, 4), '{_MARK}', '/')"
    role = _is_role(delimiter, local, f"{local} || '@' || :domain")
    return f"""
        WITH RECURSIVE {_few(delimiter, local, role)}
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
    *(
        MAILBOX_DOMAIN,
        EXACT_RECIPIENT,
        EXACT_KIND,
        recipient("+-"),
        alias("+-"),
        mailbox_kind("+-"),
        sender("+-"),
    ),
    *(judgement("+-"), ENDED_SESSION, PASSWORD, DECOMPOSED_PASSWORD, user("+-"), USERS),
    RELAY_CLIENT,
)
