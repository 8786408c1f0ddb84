"""Settings and topology → the files of Postfix's configuration folder."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from gatepost.accounts import lookups
from gatepost.accounts.addresses import LOCAL_PART_CHARACTERS, split, without_extension
from gatepost.accounts.expansion import MOST_TARGETS
from gatepost.accounts.pgsql import Connection
from gatepost.contracts import Context
from gatepost.model import (
    DELIVERY,
    QUOTA_STATUS,
    Address,
    Copy,
    Endpoint,
    Home,
    IPNetwork,
    OnChange,
    Part,
    RenderedFile,
    Role,
)
from gatepost.plugins.postfix.listeners import smtpd_services
from gatepost.rendering import render
from gatepost.sasl import TAKERS
from gatepost.sasl import plan as sasl
from gatepost.settings import Settings
from gatepost.settings.concerns import DatabaseDriver

FOLDER = PurePosixPath("postfix")
"""Postfix's folder in the configuration."""
USER = "postfix"
"""As whom Postfix's processes run."""

TLS_CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
)
"""TLS 1.2 suites of Mozilla's "intermediate" configuration without the DHE ones; TLS 1.3 has a
list of its own that needs no choice."""

TLS_PAIR = "tls.pem"
RELAY_PASSWORDS = "relay-passwords"
AUTHORITY = "database-authority.pem"
"""Postfix's copies of files that somebody else writes."""

_SMTPD = "smtpd"
"""The program that runs ``smtpd`` with short waits for name servers."""
_ROOT = 16 * "../"
"""From wherever daemon_directory is up to the root: master.cf names programs relative to it."""
_ENDED = "421 4.7.0 The account has changed, log in again"
"""The answer to a session whose account is no longer the one it logged in to. After 421 Postfix
hangs up (access(5))."""

_NOT_REDIRECTED = "REJECT 5.7.1 Mail with an empty sender is not redirected"
"""The answer to the mail store then (header_checks(5))."""

_WRAPPER_PORTS = frozenset({"465", "submissions", "smtps"})


def files(context: Context) -> tuple[RenderedFile, ...]:
    """Return every file of Postfix's configuration folder."""
    mailname = context.settings.mail.mailname
    passwords = context.site.copies.get(RELAY_PASSWORDS)
    authority = context.site.database_authority
    return (
        _file("main.cf", **_main(context)),
        _file(
            "master.cf",
            services=tuple(smtpd_services(context.topology.of("postfix"))),
            proxymap=_Proxymap() if _on_server(context) else None,
            recipient_delimiter=context.settings.mail.recipient_delimiter,
            smtpd=_ROOT + str(context.site.home.config / FOLDER / _SMTPD).lstrip("/"),
        ),
        _file(
            "submission-header-checks",
            mailname=mailname,
            mailname_pattern=mailname.replace(".", r"\."),
        ),
        _file("delivery-status", stores=_stores(context)),
        _file("notice-lines", store_host=_expression(_store_host(context))),
        _file("header-checks"),
        _file("lmtp-replies"),
        _file("strange-addresses"),
        _file("strange-extensions", characters=_bracketed(LOCAL_PART_CHARACTERS)),
        *_tables(context),
        # Read when a process starts, which is at the next session after a reload at the latest.
        _file(_SMTPD, mode=0o755),
        # The programs that start and check Postfix: a running one has no use for a new version.
        _file(
            "start",
            OnChange.NOTHING,
            mode=0o755,
            config_directory=context.site.home.config / FOLDER,
        ),
        _file(
            "check",
            OnChange.NOTHING,
            mode=0o755,
            map_type=context.settings.database.db_driver,
            maps=tuple(_queries(context)),
            relay_passwords=RELAY_PASSWORDS if passwords else "",
            authority=context.site.home.config / FOLDER / AUTHORITY if authority else "",
        ),
        _copy(TLS_PAIR, context.site.certificate.together),
        *([_copy(RELAY_PASSWORDS, passwords)] if passwords else []),
        *([_copy(AUTHORITY, authority, mode=0o644)] if authority else []),
    )


def queue(home: Home) -> Path:
    """Return Postfix's queue_directory."""
    return home.root / "queue"


def copies(settings: Settings) -> Mapping[str, tuple[Part, Path]]:
    """Return the file with the login at the relay host, when there is one."""
    passwords = settings.mail.relay_passwd_file
    return {RELAY_PASSWORDS: (Part.PASSWORDS, passwords)} if passwords else {}


def _file(
    name: str,
    on_change: OnChange = OnChange.RELOAD,
    mode: int = 0o644,
    group: str = "root",
    **values: Any,
) -> RenderedFile:
    content = render(__package__, name, **values)
    return RenderedFile(FOLDER / name, content, "postfix", on_change, mode, group)


def _copy(name: str, copy: Copy, mode: int = 0o600) -> RenderedFile:
    return RenderedFile(FOLDER / name, copy.content, "postfix", mode=mode, original=copy.original)


def _main(context: Context) -> dict[str, Any]:
    """Decide every value of main.cf."""
    mail, site = context.settings.mail, context.site
    relayhost = mail.relayhost or ""
    relay_tls_wrapper = relayhost.rpartition(":")[2] in _WRAPPER_PORTS
    return {
        "tables": "proxy:pgsql" if _on_server(context) else "sqlite",
        "proxied_tables": tuple(_queries(context)) if _on_server(context) else (),
        "queue_directory": queue(site.home),
        "data_directory": site.home.state / "postfix",
        "mailname": mail.mailname,
        "inet_protocols": "all" if site.ipv6 else "ipv4",
        "mynetworks": _networks(mail.mynetworks),
        "delivery": _endpoint(_found(context, DELIVERY)),
        "sasl": _endpoint(sasl.listens(context, USER)),
        "takers": _endpoint(sasl.listens(context, USER, TAKERS)),
        "quota_status": _endpoint(_found(context, QUOTA_STATUS)),
        "alias_targets": MOST_TARGETS,
        "alias_expansion": 10 * MOST_TARGETS,
        "message_size_limit": mail.message_size_limit,
        "client_connections": mail.mta_client_connections,
        # Before 3.8 Postfix counts single addresses.
        "client_ipv6_bits": 64 if _version(context) >= (3, 8) else None,
        "client_connections_per_minute": mail.mta_client_connections_per_minute,
        "tls_pair": TLS_PAIR,
        "tls_ciphers": ":".join(TLS_CIPHERS),
        "smtp_tls_security_level": "encrypt" if relay_tls_wrapper else "may",
        "relayhost": relayhost,
        "relay_tls_wrapper": relay_tls_wrapper,
        "relay_passwords": RELAY_PASSWORDS if RELAY_PASSWORDS in site.copies else "",
    }


def _found(context: Context, role: Role) -> Endpoint:
    return context.topology.role("postfix", role)


def _endpoint(found: Endpoint) -> str:
    """Write where a service is found, as transport(5) and check_policy_service want it."""
    return f"inet:{found}" if isinstance(found, Address) else f"unix:{found}"


def _store_host(context: Context) -> str:
    """Return how ``lmtp`` calls the mail store's host; behind a UNIX socket it is our own."""
    found = _found(context, DELIVERY)
    return found.host if isinstance(found, Address) else context.settings.mail.mailname


def _stores(context: Context) -> tuple[str, ...]:
    """Return what ``lmtp`` writes for the mail store, as regular expressions, the longest first.

    This is ``HOST[ADDRESS]:PORT``, ``HOST[ADDRESS]`` or the host, which is no secret when it is our
    own. The address of a UNIX socket is its path.
    """
    found, host = _found(context, DELIVERY), _expression(_store_host(context))
    if isinstance(found, Address):
        return (rf"{host}\[[^]]*\]:[0-9]+", rf"{host}\[[^]]*\]", host)
    return (rf"{host}\[{_expression(str(found.path))}\]",)


def _expression(text: str) -> str:
    """Write text for regexp_table(5), where it stands between slashes."""
    return re.sub(r"[].[*^$+?(){}|\\/]", r"\\\g<0>", text)


@dataclass(frozen=True, slots=True)
class _Proxymap:
    """Postfix's service that asks the database for all its other processes."""

    processes: int = 5
    """At most so many, with a connection for each table: 60 of the 100 that a server allows."""


@dataclass(frozen=True, slots=True)
class _Pgsql:
    """Postfix's parameters for a PostgreSQL server (pgsql_table(5))."""

    host: str
    user: str
    password: str
    parameters: str
    retry_seconds: int | None
    """Time in which it does not ask a server that failed; None where that is always a minute."""


def _on_server(context: Context) -> bool:
    return context.settings.database.db_driver is DatabaseDriver.PGSQL


def _tables(context: Context) -> tuple[RenderedFile, ...]:
    """Return a file for each look-up; those with a password only Postfix reads."""
    pgsql = _pgsql(context) if _on_server(context) else None
    mode, group = (0o640, "postfix") if pgsql else (0o644, "root")
    return tuple(
        _file(
            name,
            mode=mode,
            group=group,
            pgsql=pgsql,
            database=context.site.home.database,
            query=query,
        )
        for name, query in _queries(context).items()
    )


def _pgsql(context: Context) -> _Pgsql:
    authority = context.site.home.config / FOLDER / AUTHORITY
    to = Connection.of(context.settings.database, "gatepost-postfix", authority)
    options = (("dbname", to.name), *to.options)
    return _Pgsql(
        # Not as a URI: Postfix writes that into the log, password and all, when it fails.
        host=f"inet:{to.host}:{to.port}",
        user=to.user,
        password=to.password,
        parameters=" ".join(f"{name}={value}" for name, value in options),
        retry_seconds=5 if _version(context) >= (3, 10) else None,
    )


def _version(context: Context) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", context.site.installed["postfix"].version)[:2])


def _queries(context: Context) -> dict[str, str]:
    """Return the look-ups in Postfix's dialect: file name → SQL, one line each.

    ``%s`` is what Postfix asks for, ``%u`` and ``%d`` its local part and domain (sqlite_table(5),
    pgsql_table(5)); Postfix escapes them for use between quotes.
    """
    mail = context.settings.mail
    delimiter = mail.recipient_delimiter
    mailname = _sql(mail.mailname)
    ours = lookups.MAILBOX_DOMAIN.bind(domain="%s")
    address = {"local": "%u", "domain": "%d"}
    server = {"mailname": mail.mailname, "postmaster": mail.postmaster}
    roles = {"address": "%s", **{name: _sql(text).strip("'") for name, text in server.items()}}
    postmaster = {
        "postmaster_bare": without_extension(roles["postmaster"], delimiter),
        "postmaster_domain": split(roles["postmaster"])[1],
    }
    mail_store = lookups.RELAY_CLIENT.bind(fingerprint="%s")
    queries = {
        "domains.cf": ours,
        "alias-domains.cf": (f"SELECT {mailname} WHERE '%s' = {mailname} AND NOT EXISTS ({ours})"),
        "recipients.cf": lookups.EXACT_RECIPIENT.bind(address="%u@%d"),
        "extended-recipients.cf": lookups.recipient(delimiter).bind(**address),
        "aliases.cf": lookups.alias(delimiter).bind(**address, **roles),
        "mailbox-kinds.cf": lookups.EXACT_KIND.bind(address="%u@%d"),
        "account-kinds.cf": lookups.mailbox_kind(delimiter).bind(**address),
        "judgements.cf": lookups.judgement(delimiter).bind(**address, **roles, **postmaster),
        "senders.cf": lookups.sender(delimiter).bind(**address),
        "ended-sessions.cf": lookups.ENDED_SESSION.bind(login="%s", answer=_ENDED),
        "relay-clients.cf": f"SELECT 'OK' WHERE EXISTS ({mail_store})",
        "redirects.cf": f"SELECT '{_NOT_REDIRECTED}' WHERE EXISTS ({mail_store})",
    }
    return {name: " ".join(query.split()) for name, query in queries.items()}


def _sql(text: str) -> str:
    """Write text as an SQL string inside a ``query``, where Postfix reads ``%`` as a mark."""
    return "'" + text.lower().replace("'", "''").replace("%", "%%") + "'"


def _bracketed(characters: str) -> str:
    """Write letters, digits and other characters as a list of a regular expression (regex(7))."""
    others = "".join(c for c in characters if not c.isalnum() and c not in "^-")
    return f"[A-Za-z0-9{others}^-]"


def _networks(networks: Iterable[IPNetwork]) -> str:
    """Write networks as ``mynetworks`` wants them: IPv6 addresses in square brackets."""
    return ", ".join(
        f"[{network.network_address}]/{network.prefixlen}" if network.version == 6 else str(network)  # noqa: PLR2004
        for network in networks
    )
