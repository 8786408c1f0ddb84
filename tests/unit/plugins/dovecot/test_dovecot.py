"""Dovecot's files in both dialects: what must hold whatever the settings are."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from gatepost import assembly
from gatepost.accounts.addresses import split
from gatepost.accounts.tables import domains, mailboxes, metadata
from gatepost.contracts import Context
from gatepost.errors import UsageError
from gatepost.model import Address, Home, Installed, RenderedFile, Site, SocketPath
from gatepost.plugins.dovecot.listeners import LISTENERS
from gatepost.plugins.dovecot.plugin import PLUGIN
from gatepost.registry import load

VERSIONS = {"2.3": Installed("2.3.19.1"), "2.4": Installed("2.4.1-4", frozenset({"flatcurve"}))}
SERVICE = {listener.name: listener.service_port for listener in LISTENERS}
INTERNAL = {f"{listener.name}-internal": listener.internal_port for listener in LISTENERS}


@pytest.fixture(params=VERSIONS)
def dialect(request: pytest.FixtureRequest) -> str:
    """Run a test once for each dialect."""
    return str(request.param)


@pytest.fixture
def machine(site: Site, dialect: str) -> Site:
    """Return a machine with the Dovecot of that dialect."""
    return with_dovecot(site, VERSIONS[dialect])


def with_dovecot(site: Site, installed: Installed | None) -> Site:
    others = {name: value for name, value in site.installed.items() if name != "dovecot"}
    return replace(site, installed=others | ({"dovecot": installed} if installed else {}))


def context(site: Site, **variables: str) -> Context:
    settings = load({"MAILNAME": "mail.example.org", **variables})
    home = Home(settings.storage.gatepost_home)
    return Context(settings, assembly.topology(settings), replace(site, home=home))


def files(site: Site, /, **variables: str) -> dict[str, RenderedFile]:
    return {file.path.name: file for file in PLUGIN.files(context(site, **variables))}


def text(site: Site, name: str, /, **variables: str) -> str:
    """Return a file without its comments."""
    return re.sub(r"(?m)^\s*#.*\n", "", files(site, **variables)[name].content)


def setting(content: str, name: str) -> str:
    """Return the one value of a setting, wherever it stands."""
    (value,) = re.findall(rf"(?m)^\s*{re.escape(name)} = (.*)$", content)
    return str(value)


def inet_listeners(site: Site, /, **variables: str) -> dict[str, str]:
    """Return the login services' listeners: name → what stands in its block."""
    content = text(site, "listeners.conf", **variables)
    logins = re.findall(r"(?ms)^service \S+-login \{\n(.*?)^\}", content)
    return {
        name: block
        for login in logins
        for name, block in re.findall(r"(?s)inet_listener (\S+) \{(.*?)\n  \}", login)
    }


# --- which Dovecot --------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["2.3.19.1", "2.3.21.1", "2.4.1-4", "2.4.2"])
def test_versions_that_were_run_are_taken(site: Site, version: str) -> None:
    """The control: an update of the distribution would stop the server."""
    assert "dovecot.conf" in files(with_dovecot(site, Installed(version)))


@pytest.mark.parametrize("version", ["2.2.36", "2.3.18", "2.4.0", "2.5.0", "3.1.0", "unknown"])
def test_other_versions_are_refused_in_one_sentence(site: Site, version: str) -> None:
    """Dovecot would refuse its configuration, in words about a setting that nobody has written."""
    with pytest.raises(UsageError) as error:
        files(with_dovecot(site, Installed(version)))
    (problem,) = error.value.problems
    assert problem.startswith(f'dovecot: version "{version}" is none that')
    assert "2.3.19" in problem
    assert "2.4.1" in problem
    assert "\n" not in problem


def test_a_missing_dovecot_is_refused_with_the_remedy(site: Site) -> None:
    """A traceback would tell of a key that is not in a dictionary."""
    with pytest.raises(UsageError, match=r"not installed.*apt-get install dovecot-core"):
        files(with_dovecot(site, None))


def test_every_file_that_is_included_is_there(machine: Site) -> None:
    """Dovecot would end at start, or run without one of the concerns."""
    written = files(machine)
    content = text(machine, "dovecot.conf")
    included = re.findall(r"(?m)^!include(?:_try)? (\S+)$", content)
    assert set(included) <= set(written)
    copies = {"tls.crt", "tls.key", "relay-client.crt", "relay-client.key"}
    programs = {"quota-warning", "end-sessions"}
    queries = {"sql.conf.ext", "decomposed.conf.ext"}
    read_otherwise = {
        "dovecot.conf",
        "accounts",
        "empty-sender.sieve",
        *queries,
        *programs,
        *copies,
    }
    assert set(written) - read_otherwise == set(included)


def test_full_text_search_is_used_where_it_is_installed(site: Site) -> None:
    """Dovecot would end for want of a plug-in, or search each message anew."""
    bare = with_dovecot(site, Installed("2.4.1-4"))
    assert "search.conf" not in files(bare)
    assert "search.conf" not in text(bare, "dovecot.conf")
    full = with_dovecot(site, VERSIONS["2.4"])
    assert "search.conf" in files(full)
    assert "!include search.conf" in text(full, "dovecot.conf")


# --- who may say who a client is ------------------------------------------------------------


def test_behind_a_proxy_service_ports_alone_demand_a_header(machine: Site) -> None:
    """A neighbour could claim any address on an internal port, or clients be shut out."""
    listeners = inet_listeners(machine, MDA_UPSTREAM_PROXY="yes")
    assert set(listeners) == set(SERVICE) | set(INTERNAL)
    for name, block in listeners.items():
        assert int(setting(block, "port")) == (SERVICE | INTERNAL)[name]
        assert ("haproxy = yes" in block) is (name in SERVICE)


def test_without_a_proxy_nobody_sends_a_header(machine: Site) -> None:
    """Clients that come themselves would be cut off after three seconds."""
    listeners = inet_listeners(machine, REVERSE_PROXY="none")
    assert set(listeners) == set(SERVICE) | set(INTERNAL)
    assert all("haproxy" not in block for block in listeners.values())


@pytest.mark.parametrize("trusted", ["10.42.0.0/24,192.0.2.7,fd00:42::/64", "127.0.0.1"])
def test_the_proxies_that_are_trusted_are_trusted_proxies(machine: Site, trusted: str) -> None:
    """A stranger's header would be believed, or the proxy's refused."""
    given = context(machine, TRUSTED_PROXIES=trusted)
    content = text(machine, "listeners.conf", TRUSTED_PROXIES=trusted)
    expected = [str(network) for network in given.settings.proxy.trusted_proxies]
    assert setting(content, "haproxy_trusted_networks").split() == expected


def test_nobody_is_trusted_unless_named(machine: Site) -> None:
    """An empty value could be read as anybody."""
    assert "haproxy_trusted_networks" not in text(machine, "listeners.conf", REVERSE_PROXY="none")


def test_addresses_are_written_as_dovecot_reads_them(machine: Site, dialect: str) -> None:
    """Dovecot would not start for the brackets, or Sieve's mail would go to no port."""
    variables = {"SERVICE_BIND_ADDRESS": "fd00::25,127.0.0.2"}
    word = {"2.3": "address", "2.4": "listen"}[dialect]
    for block in inet_listeners(machine, **variables).values():
        assert setting(block, word) == "fd00::25, 127.0.0.2"
    delivery = text(machine, "delivery.conf", **variables)
    assert setting(delivery, "submission_host") == "[fd00::25]:32025"


def test_sieve_sends_where_it_is_told_to(machine: Site) -> None:
    """The reference's MTA_SMTP_ADDRESS would have no effect."""
    address = "traefik-internal:3325"
    content = text(machine, "delivery.conf", MTA_SMTP_ADDRESS=address)
    assert setting(content, "submission_host") == address


def test_readiness_asks_internal_ports_only(machine: Site) -> None:
    """A port that waits for a header never greets: `gatepost up` would wait until it gives up."""
    (process,) = PLUGIN.processes(context(machine))
    asked = {ready.address for ready in process.ready}
    delivery = SocketPath(Path("/var/lib/gatepost/run/dovecot/lmtp"), "postfix")
    assert asked == {Address("127.0.0.1", port) for port in INTERNAL.values()} | {delivery}


# --- who may ask ----------------------------------------------------------------------------


def sockets(content: str) -> dict[str, str]:
    """Return the UNIX sockets of a file: name → the user who may open it, and the mode."""
    return {
        name: " ".join(re.findall(r"(?m)= (\S+)$", block))
        for name, block in re.findall(r"(?s)unix_listener (\S+) \{(.*?)\n  \}", content)
    }


def test_every_socket_belongs_to_the_one_user_who_needs_it(machine: Site) -> None:
    """Dovecot opens the first five to everybody: any local user could use them."""
    content = text(machine, "listeners.conf")
    assert sockets(content) == {
        "lmtp": "postfix 0600",
        "auth-userdb": "gatepost-mail 0600",
        "indexer": "gatepost-mail 0600",
        "dns-client": "gatepost-mail 0600",
        "imap-urlauth": "0",
        "sasl": "postfix 0600",
        "quota-status": "postfix 0600",
    }
    others = re.findall(r"(?s)service (\S+) \{\n  inet_listener", content)
    assert {name for name in others if not name.endswith("-login")} == set()


def test_a_mail_store_alone_is_asked_over_the_network(machine: Site, dialect: str) -> None:
    """The MTA in another container would find nobody; a socket would be of use to nobody."""
    settings = load({"MAILNAME": "mail.example.org", "GATEPOST_PLACE": "container"})
    alone = Context(settings, assembly.topology(settings, unit="mda"), machine)
    written = {file.path.name: file.content for file in PLUGIN.files(alone)}["listeners.conf"]
    content = re.sub(r"(?m)^\s*#.*\n", "", written)
    assert sockets(content)["lmtp"] == "0"
    assert {"sasl", "quota-status"}.isdisjoint(sockets(content))
    word = {"2.3": "address", "2.4": "listen"}[dialect]
    ports = re.findall(
        rf"inet_listener (\S+) \{{\n    {word} = 0.0.0.0, ::\n    port = (\d+)", content
    )
    others = {(name, port) for name, port in ports if int(port) < 10000}
    assert others == {("lmtp", "2003"), ("sasl", "2004"), ("quota-status", "2005")}


# --- who may log in -------------------------------------------------------------------------


def test_nobody_logs_in_without_tls(machine: Site, dialect: str) -> None:
    """Passwords would cross the net for everyone to read."""
    assert setting(text(machine, "tls.conf"), "ssl") == "required"
    name, value = {
        "2.3": ("disable_plaintext_auth", "yes"),
        "2.4": ("auth_allow_cleartext", "no"),
    }[dialect]
    assert setting(text(machine, "authentication.conf"), name) == value


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    """Return accounts: anna with a quota, bob without one."""
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(sa.insert(domains).values(id=1, name="example.org"))
        connection.execute(
            sa.insert(mailboxes),
            [
                {
                    "domain_id": 1,
                    "local_part": name,
                    "address": f"{name}@example.org",
                    "folder": f"example.org/{name}",
                    "login": f"{name}@example.org",
                    "password_hash": "{SSHA}x",
                    "quota_bytes": quota,
                }
                for name, quota in (("anna", 1000), ("bob", None))
            ],
        )
    raw = engine.raw_connection()
    yield raw.driver_connection  # type: ignore[misc]
    engine.dispose()


def ask(
    database: sqlite3.Connection, site: Site, name: str, values: dict[str, str]
) -> list[tuple[object, ...]]:
    """Ask one of the queries, with values put in place of Dovecot's variables."""
    written = files(site)
    if "sql.conf.ext" in written:
        query = setting(written["sql.conf.ext"].content, f"{name}_query")
        short = {"u": "user", "n": "user | username", "d": "user | domain", "s": "protocol"}
        query = re.sub("%([unds])", lambda mark: f"%{{{short[mark[1]]}}}", query)
    else:
        block = {"password": "passdb", "user": "userdb"}[name]
        content = text(site, "authentication.conf")
        (inside,) = re.findall(rf"(?ms)^{block} sql \{{\n(.*?)^\}}", content)
        query = setting(inside, "query")
    local, domain = split(values["user"])
    values = {"user | username": local, "user | domain": domain, **values}
    filled = re.sub(r"%\{([\w| ]+)\}", lambda mark: values[mark[1]], query)
    return list(database.execute(filled).fetchall())


@pytest.mark.parametrize(
    ("protocol", "secured", "found"),
    [
        ("imap", "TLS", True),
        ("pop3", "TLS", True),
        ("imap", "secured", False),
        ("imap", "", False),
        # Postfix has its own rule; what it asks comes without TLS.
        ("smtp", "", True),
    ],
)
def test_a_neighbour_is_not_taken_for_tls(
    machine: Site, database: sqlite3.Connection, protocol: str, secured: str, *, found: bool
) -> None:
    """From the server's own address a password would be taken in clear: Dovecot calls it secure."""
    values = {"user": "anna@example.org", "protocol": protocol, "secured": secured}
    rows = ask(database, machine, "password", values)
    assert rows == ([("anna@example.org", "{SSHA}x")] if found else [])


@pytest.mark.parametrize(
    ("name", "limits"),
    [
        # Trash: twice the limit and the largest message, since deleting is copying there first.
        ("anna", {"2.3": ("*:bytes=1000", "Trash:bytes=104859600", None), "2.4": (1000,)}),
        # No limit is 0 in a rule of 2.3, and no value at all in 2.4.
        ("bob", {"2.3": ("*:bytes=0", None, None), "2.4": (None,)}),
    ],
)
def test_a_quota_is_told_in_the_dialect(
    machine: Site,
    dialect: str,
    database: sqlite3.Connection,
    name: str,
    limits: dict[str, tuple[object, ...]],
) -> None:
    """A mailbox without a limit would be full, or one with a limit never."""
    values = {"user": f"{name}@example.org", "protocol": "imap"}
    (row,) = ask(database, machine, "user", values)
    home = f"/var/lib/gatepost/mail/example.org/{name}"
    mailbox = f"{name}@example.org"
    assert row == ("gatepost-mail", "gatepost-mail", home, mailbox, "+", *limits[dialect])


def test_delivery_counts_only_where_there_is_a_limit(
    site: Site, database: sqlite3.Connection
) -> None:
    """Each message would open its mailbox twice; control: a mailbox with a limit is counted."""
    machine = with_dovecot(site, VERSIONS["2.3"])
    for name, plugins in (("anna", None), ("bob", "listescape sieve")):
        values = {"user": f"{name}@example.org", "protocol": "lmtp"}
        ((*_, found),) = ask(database, machine, "user", values)
        assert found == plugins


@pytest.mark.parametrize("character", ["/", "%", '"', "\\", " "])
def test_a_login_cannot_leave_its_folder(machine: Site, character: str) -> None:
    """``anna/../bob@…`` would read another one's mail; control: ordinary characters are taken."""
    allowed = setting(text(machine, "authentication.conf"), "auth_username_chars").strip('"')
    assert character not in allowed
    assert set("anna.o'brien+lists_2@example-1.org") <= set(allowed)


def test_a_login_has_letters_of_all_scripts(machine: Site) -> None:
    """Dovecot goes by bytes: domains in their own letters could not be typed."""
    allowed = setting(text(machine, "authentication.conf"), "auth_username_chars").strip('"')
    for letters in ("bücher", "ПРИМЕР", "例え", "한국", "דוגמה", "مثال", "உதாரணம்", "𞤀𞤢"):
        assert set(letters.encode()) <= set(allowed.encode()), letters


# --- files ----------------------------------------------------------------------------------


def test_the_key_of_the_interface_is_roots_alone(machine: Site) -> None:
    """Whoever reads it may read all mail."""
    written = files(machine, MDA_HTTP_API="yes")
    assert written["api.conf"].mode == 0o600
    assert "!include_try api.conf" in text(machine, "dovecot.conf", MDA_HTTP_API="yes")
    holding = {name for name, file in written.items() if machine.token("api.key") in file.content}
    assert holding == {"api.conf"}


def test_the_interface_for_administration_is_closed_by_default(machine: Site) -> None:
    """A key that nobody uses would open all mail to whoever finds it."""
    written = files(machine)
    assert "api.conf" not in written
    assert not any("api.conf" in file.content for file in written.values())
    assert not any(machine.token("api.key") in file.content for file in written.values())


def test_the_quota_warning_can_be_run(machine: Site) -> None:
    """Nobody would be warned, and the first sign is refused mail."""
    written = files(machine)
    assert written["quota-warning"].mode == 0o755
    program = context(machine).site.home.config / "dovecot" / "quota-warning"
    assert f"executable = script {program}" in text(machine, "quota.conf")


# --- a database server ----------------------------------------------------------------------

PGSQL = {
    "DB_DRIVER": "pgsql",
    "DB_HOST": "db.example.net",
    "DB_NAME": "gatepost",
    "DB_USER": "gatepost",
    "DB_PASSWORD": "secret-word",
}
SQL_FILE = {"2.3": "sql.conf.ext", "2.4": "sql.conf"}


def test_the_password_of_the_database_is_for_root_only(machine: Site, dialect: str) -> None:
    """Every user of the machine could change all accounts."""
    written = files(machine, **PGSQL)
    secret = {name for name, f in written.items() if PGSQL["DB_PASSWORD"] in f.content}
    queries = {"2.3": {"sql.conf.ext", "decomposed.conf.ext"}, "2.4": {"sql.conf"}}[dialect]
    assert secret == {*queries, "accounts"}
    assert {written[name].mode for name in secret} == {0o600}
    assert files(machine)[SQL_FILE[dialect]].mode == 0o644, "SQLite has no secret"


def test_a_question_about_nobody_is_an_error_on_a_server_only(machine: Site) -> None:
    """Mail would bounce that must wait; SQLite would not know the error."""
    for variables, guarded in ((PGSQL, 3), ({}, 0)):
        written = files(machine, **variables).values()
        assert sum(file.content.count("not escaped") for file in written) == guarded


@pytest.mark.parametrize("driver", ["sqlite", "pgsql"])
def test_the_client_of_the_database_in_use_is_installed(driver: str) -> None:
    """Dovecot would end with "Unknown database driver"."""
    variables = PGSQL if driver == "pgsql" else {}
    packages = PLUGIN.packages(load({"MAILNAME": "mail.example.org", **variables}))
    assert {name for name in packages if name.endswith(("sql", "sqlite"))} == {f"dovecot-{driver}"}
