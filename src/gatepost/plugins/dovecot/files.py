"""Settings and topology → the files of Dovecot's configuration folder."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from gatepost.accounts import lookups
from gatepost.accounts.addresses import LOCAL_PART_CHARACTERS, split, without_extension
from gatepost.accounts.mail_folders import ESCAPE_CHAR
from gatepost.accounts.pgsql import Connection
from gatepost.contracts import Context
from gatepost.model import Copy, Home, KeyPair, OnChange, RenderedFile, Token
from gatepost.plugins.dovecot.dialect import dialect
from gatepost.plugins.dovecot.listeners import (
    API,
    CLIENTS_OF_A_LOGIN_PROCESS,
    login_services,
    socket_listeners,
    tcp_listeners,
)
from gatepost.rendering import render
from gatepost.sasl import MECHANISMS, NOBODY
from gatepost.settings.concerns import DatabaseDriver

NAME = "dovecot"
FOLDER = PurePosixPath("dovecot")
"""Dovecot's folder in the configuration."""

ACCOUNTS = "accounts"
"""The file that names the database of accounts to the supervisor."""

MAIL_USER = "gatepost-mail"
DATABASE_GROUP = "postfix"
"""Members may read the database of accounts."""

CACHE_SECONDS = 60
"""Time for which Dovecot uses an answer again when nothing reports a changed account."""
CACHE_NEGATIVE_SECONDS = 5

IMAP_SESSIONS = 8192
POP3_SESSIONS = 1024
SESSIONS_OF_A_PROCESS = 100
"""Number of sessions that a process serves, one after the other, before a new one replaces it: many
enough that starting it costs next to nothing, few enough that no leak of memory gets large."""
SIEVE_EXTENSIONS = (
    *("fileinto", "reject", "envelope", "encoded-character", "vacation", "subaddress"),
    *("comparator-i;ascii-numeric", "relational", "imap4flags", "copy", "include", "body"),
    *("variables", "environment", "mailbox", "date", "index", "ihave", "duplicate"),
    *("mime", "foreverypart", "extracttext"),
)
"""The extensions of Sieve that users' scripts may require: Pigeonhole's own default without those
that send in another's name (enotify) and those that one test can spend hours in (regex)."""
SIEVE_CPU_SECONDS = 5
DELIVERIES_OF_A_MAILBOX = 4
"""Deliveries to one mailbox at a time. More than Postfix makes to one address, since a delivery
that Postfix has given up goes on here, and addresses with an extension are one mailbox."""
QUOTA_STATUS_CLIENTS = 20
"""Few enough that one slow mailbox makes few wait."""
QUOTA_STATUS_PROCESSES = 150
"""With the clients of each, more than Postfix has processes."""

TLS_CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
)
"""TLS 1.2 suites of Mozilla's "intermediate" configuration without the DHE ones."""

# Without what a path, SQL or Dovecot's own variables could trip on.
_USERNAME_CHARS = (
    LOCAL_PART_CHARACTERS
    + "@"
    # Dovecot goes by bytes. These are all that letters beyond ASCII consist of, for domains in
    # their own letters: each second byte once, and each first one.
    + "".join(map(chr, range(0xC0, 0x100)))
    + "".join(bytes((first, 0xA9)).decode() for first in (0xC2, *range(0xC4, 0xD0)))
    + "".join(bytes((first, 0xA5)).decode() for first in range(0xD0, 0xE0))
    + "".join(chr(first << 12 | 0x905) for first in (*range(0xD), 0xF))
    + "\ud105\U0001e922"
)

TLS_CERTIFICATE = "tls.crt"
TLS_KEY = "tls.key"
RELAY_CERTIFICATE = "relay-client.crt"
RELAY_KEY = "relay-client.key"
RELAY_CLIENT = KeyPair("relay-client", "gatepost-relay-client", reader=MAIL_USER, relays=True)
"""By this the MTA knows the mail store's own submissions (Sieve)."""
API_KEY = Token("api.key")
"""Key of the HTTP interface."""

AUTHORITY = "database-authority.pem"
"""Dovecot's copies of files that somebody else writes."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder that everybody has, and what it is for (RFC 6154)."""

    name: str
    flag: str


FOLDERS = tuple(
    Folder(name, f"\\{name}") for name in ("Drafts", "Sent", "Junk", "Trash", "Archive")
)

_COMMON = (
    "dovecot.conf",
    "listeners.conf",
    "processes.conf",
    "tls.conf",
    "authentication.conf",
    "mail.conf",
    "quota.conf",
    "delivery.conf",
    "sieve.conf",
    "empty-sender.sieve",
)
_SQL = {"2.3": ("sql.conf.ext", "decomposed.conf.ext"), "2.4": ("sql.conf",)}
"""Dialect → the files that say where the database is."""


def files(context: Context) -> tuple[RenderedFile, ...]:
    """Return every file of Dovecot's configuration folder, in the installed version's dialect.

    Raises `UsageError` when there is no dialect for that version, or when ``GATEPOST_HOME`` is so
    long that Dovecot could not make its sockets.
    """
    chosen = dialect(context.site)
    values = _values(context, chosen)

    def file(name: str, on_change: OnChange = OnChange.RELOAD, mode: int = 0o644) -> RenderedFile:
        content = render(__package__, f"{chosen}/{name}", **values)
        return RenderedFile(FOLDER / name, content, NAME, on_change, mode)

    extra = ["search.conf"] if values["full_text_search"] else []
    # The password of a server is nobody's business; SQLite has none.
    sql_mode = 0o600 if values["pgsql"] else 0o644
    return (
        *(file(name) for name in (*_COMMON, *extra)),
        *(file(name, mode=sql_mode) for name in _SQL[chosen]),
        *([file("api.conf", mode=0o600)] if values["api"] else []),
        *_copies(context),
        # Read at each warning: a running Dovecot has no use for a new version.
        file("quota-warning", OnChange.NOTHING, mode=0o755),
        # The supervisor's, which knows no daemon and no database.
        file("end-sessions", OnChange.NOTHING, mode=0o755),
        RenderedFile(
            FOLDER / ACCOUNTS, f"{values['accounts']}\n", NAME, OnChange.NOTHING, mode=0o600
        ),
    )


def _copies(context: Context) -> Iterator[RenderedFile]:
    """Yield Dovecot's copies of files that somebody else writes."""
    site = context.site
    rows = [
        (TLS_CERTIFICATE, site.certificate.chain, 0o644, "root"),
        (TLS_KEY, site.certificate.key, 0o600, "root"),
        (RELAY_CERTIFICATE, site.pair(RELAY_CLIENT.name).chain, 0o644, "root"),
        (RELAY_KEY, site.pair(RELAY_CLIENT.name).key, 0o640, MAIL_USER),
        (AUTHORITY, site.database_authority, 0o644, "root"),
    ]
    for name, copy, mode, group in rows:
        if copy:
            yield RenderedFile(
                FOLDER / name, copy.content, NAME, OnChange.RELOAD, mode, group, copy.original
            )


def _fingerprint(chain: Copy) -> str:
    """Return the SHA-256 of a chain's first certificate, as the database has it."""
    _, begun, rest = chain.content.partition("-----BEGIN CERTIFICATE-----")
    body, ended, _ = rest.partition("-----END CERTIFICATE-----")
    if not (begun and ended):
        return "made at the first start"
    return hashlib.sha256(base64.b64decode(body)).digest().hex(":")


def base_dir(home: Home) -> str:
    """Return the folder of Dovecot's sockets and process id."""
    return str(home.run / NAME)


def sieve_state(home: Home) -> Path:
    """Return the folder of compiled scripts that are not a user's own."""
    return home.state / NAME / "sieve"


def _values(context: Context, chosen: str) -> dict[str, Any]:
    """Decide every value that a template prints."""
    mail, site, topology = context.settings.mail, context.site, context.topology
    config = site.home.config / FOLDER
    services = login_services(topology.of(NAME))
    login_processes = sum(service.process_limit for service in services)
    installed = site.installed[NAME]
    return {
        "base_dir": base_dir(site.home),
        "state_dir": site.home.state / NAME,
        "config_file": config / "dovecot.conf",
        "mailname": mail.mailname,
        "postmaster": mail.postmaster,
        # listeners.conf
        "login_services": services,
        "trusted_proxies": " ".join(str(network) for network in topology.trusted_proxies),
        "tcp_listeners": tcp_listeners(topology.offers_of(NAME)),
        "socket_listeners": socket_listeners(topology.offers_of(NAME), MAIL_USER),
        "api": API in topology.offers_of(NAME),
        "api_key": site.token(API_KEY.name),
        # processes.conf
        "mail_user": MAIL_USER,
        "database_group": DATABASE_GROUP,
        "login_clients": CLIENTS_OF_A_LOGIN_PROCESS,
        "imap_sessions": IMAP_SESSIONS,
        "pop3_sessions": POP3_SESSIONS,
        "sessions_of_a_process": SESSIONS_OF_A_PROCESS,
        "quota_status_clients": QUOTA_STATUS_CLIENTS,
        "quota_status_processes": QUOTA_STATUS_PROCESSES,
        "auth_clients": IMAP_SESSIONS + POP3_SESSIONS + login_processes + 1000,
        # tls.conf
        "tls_cert_file": config / TLS_CERTIFICATE,
        "tls_key_file": config / TLS_KEY,
        "tls_ciphers": ":".join(TLS_CIPHERS),
        # authentication.conf
        "mechanisms": " ".join(MECHANISMS).lower(),
        "username_chars": _USERNAME_CHARS,
        "sql_file": config / "sql.conf.ext",
        "decomposed_file": config / "decomposed.conf.ext",
        **_database(context),
        "cache_seconds": CACHE_SECONDS,
        "cache_negative_seconds": CACHE_NEGATIVE_SECONDS,
        **_queries(chosen, context),
        # end-sessions
        "mail_folder": site.home.mail,
        # mail.conf, quota.conf, delivery.conf
        "escape_char": ESCAPE_CHAR,
        "folders": FOLDERS,
        "full_text_search": chosen != "2.3" and "flatcurve" in installed.features,
        "quota_grace": mail.message_size_limit,
        "trash_extra": 2 * mail.message_size_limit,
        "nobody": NOBODY.decode(),
        "quota_warning": config / "quota-warning",
        "dovecot_lda": "/usr/lib/dovecot/dovecot-lda",
        "submission": topology.clients["smtp"],
        "deliveries_of_a_mailbox": DELIVERIES_OF_A_MAILBOX,
        "relay_cert_file": config / RELAY_CERTIFICATE,
        "relay_key_file": config / RELAY_KEY,
        # sieve.conf
        "empty_sender_script": config / "empty-sender.sieve",
        "relay_fingerprint": _fingerprint(site.pair(RELAY_CLIENT.name).chain),
        "sieve_state": sieve_state(site.home),
        "sieve_extensions": SIEVE_EXTENSIONS,
        "sieve_cpu_seconds": SIEVE_CPU_SECONDS,
    }


@dataclass(frozen=True, slots=True)
class _Parameter:
    """A parameter of libpq, its value written as Dovecot 2.4 reads it."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class _Pgsql:
    """Dovecot 2.4's parameters for a PostgreSQL server."""

    host: str
    parameters: tuple[_Parameter, ...]


def _database(context: Context) -> dict[str, Any]:
    """Decide where Dovecot finds the accounts."""
    settings = context.settings.database
    values = {
        "sql_driver": settings.db_driver,
        "database": context.site.home.database,
        "sql_connect": context.site.home.database,
        "accounts": context.site.home.database,
        "pgsql": None,
    }
    if settings.db_driver is DatabaseDriver.PGSQL:
        authority = context.site.home.config / FOLDER / AUTHORITY
        to = Connection.of(settings, "gatepost-dovecot", authority)
        parameters = {
            "port": str(to.port),
            "dbname": to.name,
            "user": to.user,
            "password": to.password,
            **dict(to.options),
        }
        # A URI needs no quotes: Dovecot 2.3 splits its connection string at each space.
        values["sql_connect"] = to.uri
        values["accounts"] = Connection.of(settings, "gatepost-supervisor", authority).uri
        values["pgsql"] = _Pgsql(
            to.host, tuple(_Parameter(n, _quoted(v)) for n, v in parameters.items())
        )
    return values


def _quoted(text: str) -> str:
    """Write text as a string of Dovecot 2.4, in which only ``%{`` begins a variable."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%{", "%%{")
    return f'"{escaped}"'


def _queries(chosen: str, context: Context) -> dict[str, str]:
    """Return the look-ups in the dialect's variables, which Dovecot escapes between quotes."""
    largest = context.settings.mail.message_size_limit
    user, local, domain, service = {
        "2.3": ("%u", "%n", "%d", "%s"),
        "2.4": ("%{user}", "%{user | username}", "%{user | domain}", "%{protocol}"),
    }[chosen]
    login = {"address": user, "local": local, "domain": domain, "service": service}
    password = lookups.PASSWORD.bind(**login)
    # The names as they were given: the first answer has put another one in their place.
    given = {
        "2.3": ("%{orig_user}", "%{orig_username}", "%{orig_domain}"),
        "2.4": ("%{original_user}", "%{original_user | username}", "%{original_user | domain}"),
    }[chosen]
    names = dict(zip(("address", "local", "domain"), given, strict=True))
    decomposed = lookups.DECOMPOSED_PASSWORD.bind(**(login | names))
    mail = context.settings.mail
    query = lookups.user(mail.recipient_delimiter)
    postmaster = mail.postmaster.replace("'", "''")
    marks = login | {
        "mailname": mail.mailname,
        "postmaster": postmaster,
        "postmaster_bare": without_extension(postmaster, mail.recipient_delimiter),
        "postmaster_domain": split(postmaster)[1],
    }
    account = query.bind(**{name: marks[name] for name in query.parameters})
    quota = {
        # In 2.3 a rule, where 0 is no limit; in 2.4 a setting, where NULL leaves the default.
        # Delivery to a mailbox without a limit leaves the counting to whoever asks for it.
        "2.3": "'*:bytes=' || COALESCE(account.quota_bytes, 0) AS quota_rule,"
        # Twice what the mailbox holds at its fullest: deleting is copying to Trash first.
        f" 'Trash:bytes=' || (2 * (account.quota_bytes + {largest})) AS quota_rule2,"
        f" CASE WHEN account.quota_bytes IS NULL AND '{service}' = 'lmtp'"
        " THEN 'listescape sieve' END AS mail_plugins",
        "2.4": "account.quota_bytes AS quota_storage_size",
    }[chosen]
    also, only = "", ""
    if context.settings.database.db_driver is DatabaseDriver.PGSQL:
        # While there is no connection Dovecot 2.3.19.1 of Debian 12 cannot escape and asks for
        # nobody, and the answer comes when there is one: that nobody is there. Symptom without
        # this error: after an outage of the database mail for those who exist bounces.
        asked = f"CAST(CASE WHEN '{user}' = '' THEN 'not escaped' ELSE '1' END AS integer) = 1"
        also, only = f" AND {asked}", f" WHERE {asked}"
    # Dovecot lets nobody but root and this user look an account up.
    owner = f"'{MAIL_USER}' AS uid, '{MAIL_USER}' AS gid"
    # The folder comes from the database: the next owner of an address has another one.
    home = f"'{context.site.home.mail}/' || account.folder AS home"
    secured = f" AND ('%{{secured}}' = 'TLS' OR '{service}' = 'smtp')"
    return {
        "password_query": f"{password}{secured}{also}",
        "decomposed_query": f"{decomposed}{secured}{also}",
        # "user" is who Dovecot goes on as; Sieve splits addresses at "recipient_delimiter".
        "user_query": (
            f"SELECT {owner}, {home}, account.user AS user,"  # noqa: S608
            f" account.extensions AS recipient_delimiter, {quota}"
            f" FROM ({account}) AS account{only}"
        ),
        "iterate_query": lookups.USERS.bind(),
    }
