"""The SQL queries of the daemons, by name. No other module has SQL for daemons.

The SQL is portable (SQLite, PostgreSQL, MySQL 8) and has named parameters. A daemon's plug-in
replaces the parameters by its own marks with `Query.bind`; the daemon escapes values between the
quotes. Addresses must be normalised (lower case, A-labels).

All queries find the account of an address by one rule (`_account`); Postfix itself has no delimiter
configured. Postfix does not run a query with the parameter `local` for ``@DOMAIN``, so such a query
finds the catch-all itself.

Every table is read by an index, whatever statistics ``ANALYZE`` has collected: SQLite always uses a
unique index when a SELECT reads a single table, so tables are read one by one and not joined.
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
        """Replace the parameters by a daemon's own marks, each between single quotes.

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
"""One row if this server receives mail for the domain."""

ROLES = ("postmaster", "abuse")
"""Local parts of role addresses, which somebody must read (RFC 5321, 4.5.1; RFC 2142)."""

# No EXISTS, nor IN: PostgreSQL may read the complete table once to answer many of them.
_IS_MAILBOX = "(SELECT mailboxes.id FROM mailboxes WHERE mailboxes.address = {0}) IS NOT NULL"
_IS_ALIAS = "(SELECT aliases.id FROM aliases WHERE aliases.address = {0}) IS NOT NULL"
_IS_ACCOUNT = f"({_IS_MAILBOX} OR {_IS_ALIAS})"
_IS_DOMAIN = "(SELECT domains.id FROM domains WHERE domains.name = {0}) IS NOT NULL"

_UNQUOTED = """CASE WHEN SUBSTR(:local, 1, 1) = '"' THEN SUBSTR(:local, 2) ELSE '' || :local END"""
"""The local part without the quote at its beginning: Postfix tries the quoted form first.

No account's name needs quotes, and the rest of the text may stay as it is.
"""


def _account(delimiter: str, local: str = _UNQUOTED, domain: str = ":domain") -> str:
    """Return SQL for the account that an address belongs to; NULL when there is none.

    The longest name that is a mailbox or an alias wins: the complete local part, or the part before
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

    The address `postmaster` does not lead to itself, so a catch-all may still take its mail.
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
"""One row if a mailbox of exactly this name receives mail; a disabled one does.

Postfix runs it before `recipient` and `alias`, so most mail does not need those: parsing one of
them takes ten times as long as this query.
"""

EXACT_KIND = _query(
    "EXACT_KIND",
    """
    SELECT CASE WHEN send_only THEN 'send_only' WHEN quota_bytes IS NULL THEN 'unlimited'
    ELSE 'limited' END FROM mailboxes WHERE address = :address
    """,
)
"""The kind of a mailbox of exactly this name, as in `mailbox_kind`; Postfix runs it first."""


def recipient(delimiter: str) -> Query:
    """Return the query for the mailbox that receives mail for an address; a disabled one does.

    `delimiter` is ``RECIPIENT_DELIMITER``, here and in all other functions. There is no row for a
    quoted address, because no mailbox has a name that needs quotes.
    """
    return _query(
        "RECIPIENT",
        f"""
        SELECT address FROM mailboxes
        WHERE address = {_account(delimiter, ":local")} AND NOT send_only
        """,  # noqa: S608
    )


def alias(delimiter: str) -> Query:
    """Return the query for the targets of mail that is not for a mailbox: each target of an alias.

    An account has priority over `postmaster`, which gets the mail for ``postmaster`` and ``abuse``;
    `postmaster` has priority over the catch-all. For a mailbox there is no row, so Postfix does not
    rewrite its address. An alias drops the extension; Sieve sees it in the original address.
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
    """Return the query for the kind of account that an address belongs to.

    ``send_only``, ``limited`` or ``unlimited`` (its quota) for a mailbox, otherwise ``other``.
    ``unreachable`` if the name begins with a quote: no account here has such a name.
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

    `start` gives the first account. The chain contains the catch-all as ``@DOMAIN`` even if there
    is none. The empty address stands for other servers, and for role addresses, which are not
    followed. ``UNION`` without ``ALL`` skips addresses that are already in the chain, so loops end.
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

    These are the enabled mailboxes that its account (or the catch-all, if it has none) is or leads
    to. So the owner of a catch-all cannot send as an existing account, not even as a disabled one.
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
"""`answer` if the login of a submission session is no longer valid, because the account changed."""

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

`service` is the protocol of the login: ``smtp`` (submission), ``imap``, …

The login of a submission session belongs to its account's present lifetime
(`gatepost.accounts.lifetimes`).
"""

DECOMPOSED_PASSWORD = _query(
    "DECOMPOSED_PASSWORD",
    re.sub(":(address|local|domain)", r"LOWER(:\1)", _LOGIN.format("decomposed_hash"))
    + " AND decomposed_hash IS NOT NULL",
)
"""The same for a password in decomposed form (NFD); no row if there is no such form."""


JUDGED = 100
"""Most targets of an alias, and accounts behind it, that are judged; a longer list is not."""


def _few(delimiter: str, local: str = _UNQUOTED, role: str | None = None) -> str:
    """Return a CTE of the accounts that get the mail; of a long list only the first ones."""
    # The setting is known, so the query need not find the name before its extension.
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
        # A further target counts as an account that accepts the mail.
        more=f"WHEN alias_targets.position = {JUDGED} THEN ''",
        within=f"AND alias_targets.position <= {JUDGED}",
    )


def judgement(delimiter: str) -> Query:
    """Return the query for the fate of mail to an address that is no mailbox.

    ``unreachable`` if it leads only to accounts that do not exist or only send, ``only_limited``
    if every mailbox that could take it has a quota (`taker` names them), ``send_only`` for an
    account that only sends; otherwise no row. `mailname`, `postmaster`, the same without extension
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
    """Return the query for the mailbox that gets the mail for an address, and its folder.

    `user` is the mailbox, `folder` lies below that of all mail, `quota_bytes` is NULL for no limit.
    `extensions` are the characters that begin an extension after this name: not those that the name
    contains; if none is left, ``/``, which no name contains. `service` is the client of the query:
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
"""No address here contains it, and Postfix accepts no mail for an address with it."""


def taker(place: int, recipient: str) -> str:
    """Name the mailbox with a quota that is number `place` (from 1) of those behind a recipient.

    Dovecot accepts only names with the characters of addresses. An alias may also contain ``/``, so
    a mark replaces it. No account's name contains other characters; the same mark replaces them.
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
"""All mailboxes that contain mail, for ``doveadm -A``."""

RELAY_CLIENT = _query(
    "RELAY_CLIENT",
    "SELECT name FROM relay_clients WHERE fingerprint = LOWER(:fingerprint)",
)
"""One row if a client certificate belongs to a mail store, which may relay redirects."""

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
