"""Postfix's files: what must hold whatever the settings are. Whole trees: test_rendering.py."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from gatepost import assembly
from gatepost.contracts import Context
from gatepost.model import Home, Installed, Part, Site, SocketPath
from gatepost.plugins.postfix.listeners import LISTENERS
from gatepost.plugins.postfix.plugin import PLUGIN
from gatepost.registry import load
from gatepost.run import copies

INTERNAL = {listener.internal_port for listener in LISTENERS}
SERVICE = {listener.service_port for listener in LISTENERS}


def context(site: Site, **variables: str) -> Context:
    settings = load({"MAILNAME": "mail.example.org", **variables})
    home = Home(settings.storage.gatepost_home)
    return Context(settings, assembly.topology(settings), replace(site, home=home))


def rendered(site: Site, /, **variables: str) -> dict[str, str]:
    return {file.path.name: file.content for file in PLUGIN.files(context(site, **variables))}


def main_cf(site: Site, /, **variables: str) -> dict[str, str]:
    """Read main.cf as Postfix does: an indented line continues the one before."""
    text = re.sub(r"(?m)^(#.*)?\n", "", rendered(site, **variables)["main.cf"])
    settings = (line.partition("=") for line in re.sub(r"\n\s+", " ", text).splitlines())
    return {name.strip(): value.strip() for name, _, value in settings}


def smtpd_services(site: Site, /, **variables: str) -> dict[str, dict[str, str]]:
    """Return the ``inet`` services of master.cf: address → options."""
    return _services(site, "inet", **variables)


def _services(site: Site, wanted: str, /, **variables: str) -> dict[str, dict[str, str]]:
    text = re.sub(r"(?m)^(#.*)?\n", "", rendered(site, **variables)["master.cf"])
    services = {}
    for line in re.sub(r"\n\s+", " ", text).splitlines():
        (address, kind, *_), *options = (part.split() for part in line.split(" -o "))
        if kind == wanted:
            pairs = (" ".join(option).partition("=") for option in options)
            services[address] = {name: value for name, _, value in pairs}
    return services


def pass_services(site: Site, /, **variables: str) -> dict[str, dict[str, str]]:
    """Return the ``pass`` services of master.cf: name → options."""
    return _services(site, "pass", **variables)


def port(address: str) -> int:
    return int(address.rpartition(":")[2])


# --- who may say who a client is ------------------------------------------------------------


@pytest.mark.parametrize("proxied", ["yes", "no"])
def test_internal_ports_never_take_a_proxy_header(site: Site, proxied: str) -> None:
    """A neighbour could claim any address there, or Gatepost's own clients would hang."""
    services = smtpd_services(site, MTA_UPSTREAM_PROXY=proxied)
    internal = {a: options for a, options in services.items() if port(a) in INTERNAL}
    assert {port(address) for address in internal} == INTERNAL
    for options in internal.values():
        assert "smtpd_upstream_proxy_protocol" not in options
        assert options["syslog_name"].startswith("postfix/internal-")


def test_an_open_service_port_behind_a_proxy_demands_the_header(site: Site) -> None:
    """A header would be a syntax error, and every client would be the proxy."""
    services = smtpd_services(site, MTA_UPSTREAM_PROXY="yes")
    behind = [options for address, options in services.items() if port(address) in SERVICE]
    assert all(options["smtpd_upstream_proxy_protocol"] == "haproxy" for options in behind)


def test_a_port_for_real_clients_takes_no_header(site: Site) -> None:
    """The control: whoever writes a header would choose the address that is logged."""
    services = smtpd_services(site, REVERSE_PROXY="none")
    assert {port(address) for address in services} == INTERNAL | SERVICE
    assert all("smtpd_upstream_proxy_protocol" not in options for options in services.values())


def test_readiness_asks_internal_ports_only(site: Site) -> None:
    """A port that waits for a header never greets: `gatepost up` would wait until it gives up."""
    _, process = PLUGIN.processes(context(site))
    assert {port(str(ready.address)) for ready in process.ready} == INTERNAL


LISTENING = ("sasl", "takers")


def test_logins_and_aliases_are_asked_of_the_relay(site: Site) -> None:
    """Postfix would refuse a right password while the database does not answer."""
    where = context(site)
    relay, postfix = PLUGIN.processes(where)
    sockets = {name: SocketPath(where.site.home.run / name, "postfix") for name in LISTENING}
    assert dict(relay.sockets) == sockets
    assert main_cf(site)["smtpd_sasl_path"] == f"unix:{sockets['sasl']}"
    assert f"{{ unix:{sockets['takers']}, " in main_cf(site)["only_limited_mailbox"]
    assert relay.name in postfix.after


# --- who may relay and log in ---------------------------------------------------------------


def test_nobody_relays_by_address_unless_named(site: Site) -> None:
    """Left out, Postfix's own default trusts this machine's network, where the proxy may live."""
    settings = main_cf(site)
    assert settings["mynetworks"] == ""
    assert settings["smtpd_relay_restrictions"] == (
        "permit_mynetworks, check_ccert_access sqlite:$config_directory/relay-clients.cf, "
        "reject_unauth_destination"
    )


def test_a_claimed_address_is_none_of_mynetworks(site: Site) -> None:
    """Every program of the proxy's machine would relay."""
    named = {"gate-smtp"}
    services = pass_services(site, MYNETWORKS="192.0.2.0/24")
    assert {name for name, options in services.items() if options.get("mynetworks") == ""} == named
    # The control: a client's own address counts, and relaying is for port 25 alone.
    assert "mynetworks" not in services["gate-smtp-relaying"]
    for name in services.keys() - named - {"gate-smtp-relaying"}:
        assert services[name]["smtpd_relay_restrictions"] == "$submission_relay_restrictions"


def test_a_proxy_that_ends_tls_is_believed_on_submission_alone(site: Site) -> None:
    """A listener that begins with TLS would speak in clear text, or port 25 take logins."""
    services = pass_services(site)
    open_ones = {n for n, o in services.items() if o.get("smtpd_tls_auth_only") == "no"}
    assert open_ones == {"gate-submission-encrypted"}
    assert services["gate-submission-encrypted"]["smtpd_sasl_auth_enable"] == "yes"
    assert "smtpd_tls_wrappermode" in services["gate-submissions"]


def test_logins_are_for_submission_and_tls_only(site: Site) -> None:
    """Passwords could be guessed on port 25, or read on the way."""
    settings = main_cf(site)
    assert settings["smtpd_sasl_auth_enable"] == "no"
    assert settings["smtpd_tls_auth_only"] == "yes"
    for options in smtpd_services(site, REVERSE_PROXY="none").values():
        submission = "submission" in options["syslog_name"]
        assert options.get("smtpd_sasl_auth_enable", "no") == ("yes" if submission else "no")
        assert options.get("smtpd_tls_security_level", "may") == (
            "encrypt" if submission else "may"
        )


def test_tls_begins_as_the_listener_says(site: Site) -> None:
    """A mail program would wait for ever for a greeting, or for a handshake."""
    for options in smtpd_services(site, REVERSE_PROXY="none").values():
        implicit = options["syslog_name"].endswith("submissions")
        assert ("smtpd_tls_wrappermode" in options) is implicit


# --- values that could be read as something else --------------------------------------------


@pytest.mark.parametrize("postmaster", ["o'brien@example.org", "o'neil@example.org"])
@pytest.mark.parametrize(
    ("asked", "reaches"),
    [("mail.example.org", True), ("example.org", True), ("elsewhere.test", False)],
)
def test_any_postmaster_is_found(site: Site, postmaster: str, asked: str, *, reaches: bool) -> None:
    """A quote or a percent sign would break the query, and all mail would be deferred."""
    table = rendered(site, POSTMASTER=postmaster)["aliases.cf"]
    query = table.partition("query = ")[2]
    values = {"u": "postmaster", "d": asked, "s": f"postmaster@{asked}", "%": "%"}
    database = sqlite3.connect(":memory:")
    for sql in (
        *(
            f"CREATE TABLE {name} (id, name, address)"
            for name in ("domains", "mailboxes", "aliases")
        ),
        "CREATE TABLE alias_targets (alias_id, target)",
        "INSERT INTO domains VALUES (1, 'example.org', NULL)",
    ):
        database.execute(sql)
    found = database.execute(re.sub("%(.)", lambda mark: values[mark[1]], query)).fetchall()
    assert found == ([(postmaster,)] if reaches else [])


PGSQL = {
    "DB_DRIVER": "pgsql",
    "DB_HOST": "fd00::5",
    "DB_NAME": "gatepost",
    "DB_USER": "gatepost",
    "DB_PASSWORD": "secret word",
}
LOOKUPS = {
    *("domains.cf", "alias-domains.cf", "recipients.cf", "aliases.cf"),
    *("mailbox-kinds.cf", "judgements.cf", "senders.cf", "relay-clients.cf", "ended-sessions.cf"),
    *("redirects.cf", "extended-recipients.cf", "account-kinds.cf"),
}


def test_the_password_of_the_database_is_for_postfix_only(site: Site) -> None:
    """Every user of the machine could change all accounts."""
    files = PLUGIN.files(context(site, **PGSQL))
    secret = {file.path.name for file in files if "secret word" in file.content}
    assert secret == LOOKUPS
    assert {(f.mode, f.group) for f in files if f.path.name in LOOKUPS} == {(0o640, "postfix")}
    assert "secret" not in main_cf(site, **PGSQL)["virtual_mailbox_maps"]


def test_a_server_is_asked_through_proxymap_and_a_file_is_not(site: Site) -> None:
    """Hundreds of smtpd would each hold ten connections, and a server allows a hundred."""
    asked = ("virtual_mailbox_domains", "virtual_alias_maps", "smtpd_sender_login_maps")
    on_server, in_file = main_cf(site, **PGSQL), main_cf(site)
    restrictions = ("smtpd_recipient_restrictions", "submission_client_restrictions")
    for name in (*asked, *restrictions):
        assert "proxy:pgsql:$config_directory/" in on_server[name]
        assert "proxy:" not in in_file[name]
        assert "sqlite:$config_directory/" in in_file[name]
    used = set(re.findall(r"proxy:pgsql:\S+?\.cf", rendered(site, **PGSQL)["main.cf"]))
    assert set(on_server["proxy_read_maps"].split()) == used, "proxymap opens no other"
    assert "proxy_read_maps" not in in_file
    assert re.search(r"(?m)^proxymap unix", rendered(site, **PGSQL)["master.cf"])
    assert "proxymap" not in rendered(site)["master.cf"]


@pytest.mark.parametrize(("version", "chosen"), [("3.7.11", False), ("3.10.13", True)])
def test_a_failed_server_is_soon_asked_again_where_that_can_be_set(
    site: Site, version: str, *, chosen: bool
) -> None:
    """Postfix 3.7 refuses a parameter that it does not know, and would not start."""
    installed = {**site.installed, "postfix": Installed(version)}
    table = rendered(replace(site, installed=installed), **PGSQL)["domains.cf"]
    assert ("retry_interval" in table) is chosen
    assert "hosts = inet:fd00::5:5432 inet:fd00::5:5432\n" in table


@pytest.mark.parametrize("driver", ["sqlite", "pgsql"])
def test_the_client_of_the_database_in_use_is_installed(driver: str) -> None:
    """Postfix would end with "unsupported dictionary type"."""
    variables = PGSQL if driver == "pgsql" else {}
    settings = load({"MAILNAME": "mail.example.org", **variables})
    assert PLUGIN.packages(settings) == ("postfix", f"postfix-{driver}")


def test_ipv6_stands_in_brackets(site: Site) -> None:
    """Postfix would take the end of an address for a port, and refuse to start."""
    variables = {
        "MYNETWORKS": "192.0.2.64/28,2001:db8:5::/64,2001:db8::7",
        "SERVICE_BIND_ADDRESS": "fd00::25",
        "MDA_LMTP_ADDRESS": "[fd00::26]:2003",
        "MDA_SASL_ADDRESS": "[fd00::26]:2004",
        "MDA_QUOTA_STATUS_ADDRESS": "[fd00::26]:2005",
    }
    settings = main_cf(site, **variables)
    assert settings["mynetworks"] == "192.0.2.64/28, [2001:db8:5::]/64, [2001:db8::7]/128"
    assert settings["virtual_transport"] == "lmtp:inet:[fd00::26]:2003"
    relay, _ = PLUGIN.processes(context(site, **variables))
    assert "[fd00::26]:2004" in relay.argv
    assert "[fd00::26]:2005" in relay.argv
    assert "inet:[fd00::26]:2005" in settings["limited_mailbox"]
    assert all(address.startswith("[fd00::25]:") for address in smtpd_services(site, **variables))


@pytest.mark.parametrize(
    "change",
    [
        (
            "5.4.4 unable to look up host {host}: Name or service not known",
            "4.4.4 unable to look up the mail store: Name or service not known",
        ),
        (
            "5.3.0 unable to look up host {host}: Non-recoverable failure",
            "4.3.0 unable to look up the mail store: Non-recoverable failure",
        ),
        ("5.4.4 {host}: host not found", "4.4.4 the mail store: host not found"),
        (
            "5.1.1 host {store} said: 550 5.1.1 unable to look up host x",
            "5.1.1 the mail store said: 550 5.1.1 unable to look up host x",
        ),
        (
            "5.2.2 host {store} said: 552 5.2.2 <a@b> The mailbox is full (in reply to DATA)",
            "5.2.2 the mail store said: 552 5.2.2 <a@b> The mailbox is full (in reply to DATA)",
        ),
        ("4.4.1 connect to {port}: Connection refused", "4.4.1 connect to the mail store: Conn"),
        (
            "4.4.1 delivery temporarily suspended: connect to {port}: Connection refused",
            "4.4.1 delivery temporarily suspended: connect to the mail store: Connection refused",
        ),
        (
            "4.4.2 lost connection with {store} while sending RCPT TO",
            "4.4.2 lost connection with the mail store while sending RCPT TO",
        ),
        ("5.1.1 host mx.outside.test[192.0.2.1] said: 550 5.1.1 no", None),
    ],
)
@pytest.mark.parametrize(
    ("address", "host", "found"),
    [
        ("mda-internal:2003", "mda-internal", "[10.0.0.3]"),
        ("[fd00::26]:2003", "fd00::26", "[fd00::26]"),
        ("", "mail.example.org", "[/var/lib/gatepost/run/dovecot/lmtp]"),
    ],
    ids=["name", "address", "socket"],
)
def test_a_delivery_that_failed_is_told_without_the_mail_stores_place(
    site: Site, address: str, host: str, found: str, change: tuple[str, str | None]
) -> None:
    """A bounce would tell strangers of our network and machine.

    And accepted mail would bounce while a container is replaced, or wait for a mailbox for ever.
    """
    assert main_cf(site)["lmtp_delivery_status_filter"] == (
        "regexp:$config_directory/delivery-status"
    )
    said, becomes = change
    port = host + found + (":2003" if address else "")
    text = said.format(host=host, store=host + found, port=port)
    variables = {"MDA_LMTP_ADDRESS": address} if address else {}
    rules = re.findall(r"(?m)^/(.*)/ +(.*)$", rendered(site, **variables)["delivery-status"])
    results = [
        to.replace("${1}", m[1]).replace("$2", m[2])
        for rule, to in rules
        if (m := re.search(rule.replace("[^]]", r"[^\]]"), text))
    ]
    assert bool(results) == bool(becomes)
    assert not becomes or results[0].startswith(becomes)


def test_a_mail_store_on_the_same_machine_is_asked_by_sockets(site: Site) -> None:
    """Postfix would knock at ports that are not there, and mail would wait for ever."""
    settings = main_cf(site)
    folder = "/var/lib/gatepost/run/dovecot"
    assert settings["virtual_transport"] == f"lmtp:unix:{folder}/lmtp"
    relay, _ = PLUGIN.processes(context(site))
    assert f"{folder}/sasl" in relay.argv
    assert f"{folder}/quota-status" in relay.argv
    assert f"{{ unix:{folder}/quota-status, " in settings["limited_mailbox"]


def test_a_machine_without_ipv6_is_not_asked_for_it(site: Site) -> None:
    """Postfix would end with "Address family not supported by protocol"."""
    assert main_cf(replace(site, ipv6=False))["inet_protocols"] == "ipv4"
    assert main_cf(site)["inet_protocols"] == "all"


# --- outgoing mail --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("relayhost", "first"),
    [
        ("[smtp.example.net]:465", True),
        ("[smtp.example.net]:submissions", True),
        ("[smtp.example.net]:587", False),
        ("[smtp.example.net]", False),
        ("example.net", False),
    ],
)
def test_tls_comes_first_at_a_relay_host_where_it_must(
    site: Site, relayhost: str, *, first: bool
) -> None:
    """Each side would wait for the other to begin, and no mail would leave."""
    settings = main_cf(site, RELAYHOST=relayhost)
    assert settings["relayhost"] == relayhost
    assert settings.get("smtp_tls_wrappermode", "no") == ("yes" if first else "no")
    # Postfix takes the wrapper mode only where encryption is a must.
    assert settings["smtp_tls_security_level"] == ("encrypt" if first else "may")


def test_the_relay_hosts_password_never_leaves_unencrypted(site: Site) -> None:
    """Whoever is on the way could send mail in the user's name."""
    copy = copies.announced(Part.PASSWORDS, Path("/etc/relay"))
    with_password = main_cf(
        replace(site, copies={"relay-passwords": copy}),
        RELAYHOST="[smtp.example.net]:587",
        RELAY_PASSWD_FILE="/etc/relay",
    )
    maps = with_password["smtp_sasl_password_maps"]
    assert maps == "texthash:$config_directory/relay-passwords"
    assert "noplaintext" in with_password["smtp_sasl_security_options"]
    assert "noplaintext" not in with_password["smtp_sasl_tls_security_options"]
    assert "smtp_sasl_auth_enable" not in main_cf(site, RELAYHOST="[smtp.example.net]:587")


# --- what leaves with a submitted message ---------------------------------------------------

RECEIVED = "Received: from laptop (unknown [192.0.2.77])\n\t(using TLSv1.3)\n\tby {} (Postfix) {}"
OWN = "with ESMTPSA id 4dG0Xy3zQZz1;\n\tSun, 24 Nov 2024 10:05:25 +0000 (UTC)"


def header_check(site: Site, header: str) -> str | None:
    """Apply the table as Postfix does; return the header that leaves, None for an untouched one."""
    table = rendered(site)["submission-header-checks"]
    found = re.search(r"^/(?P<pattern>.*)/\n\s+REPLACE (?P<by>.*)$", table, re.MULTILINE)
    assert found is not None
    pattern = found["pattern"].replace("[[:space:]]", r"\s")
    match = re.match(pattern, header, re.DOTALL | re.IGNORECASE)
    return found["by"].replace("$1", match[1]) if match else None


def test_a_users_address_stays_out_of_the_message(site: Site) -> None:
    """Every recipient would learn where the sender lives."""
    left = header_check(site, RECEIVED.format("mail.example.org", OWN))
    assert left == f"Received: by mail.example.org (Postfix) {OWN}"


@pytest.mark.parametrize(
    "header",
    [
        RECEIVED.format("other.example.net", OWN),
        RECEIVED.format("mailXexample.org", OWN),
        RECEIVED.format("mail.example.org", OWN.replace("ESMTPSA", "ESMTPS")),
        f"X-Note: {RECEIVED.format('mail.example.org', OWN)}",
    ],
)
def test_other_headers_stay_as_they_are(site: Site, header: str) -> None:
    """The control: a trace that others wrote would be changed (RFC 5321, 4.4)."""
    assert header_check(site, header) is None


def test_a_reload_names_its_folder_from_the_root(site: Site) -> None:
    """With a relative folder Postfix says "refreshing" and reloads nothing."""
    _, process = PLUGIN.processes(context(site))
    folder = process.reload[process.reload.index("-c") + 1]
    assert folder.startswith("/")
