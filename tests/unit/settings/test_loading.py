"""Settings: what may be written, what it means, and what is said about what may not."""

from __future__ import annotations

import contextlib
import ipaddress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.errors import SettingsError
from gatepost.model import Address
from gatepost.registry import load
from gatepost.settings import Place, Settings
from gatepost.settings.sources import Source


def settings(place: Place = Place.MACHINE, /, **variables: str) -> Settings:
    return load({"MAILNAME": "mail.example.org", "GATEPOST_PLACE": place, **variables})


def problems(**variables: str) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as refused:
        settings(**variables)
    return refused.value.problems


@pytest.mark.parametrize("text", ["true", "Yes", "ON", "1"])
def test_true(text: str) -> None:
    """A switch that was turned on would stay off."""
    assert settings(REVERSE_PROXY="none", MDA_UPSTREAM_PROXY=text, TRUSTED_PROXIES="10.0.0.1").proxy
    assert settings(MDA_UPSTREAM_PROXY=text).value("MDA_UPSTREAM_PROXY") is True


@pytest.mark.parametrize("text", ["false", "No", "OFF", "0"])
def test_false(text: str) -> None:
    """A switch that was turned off would stay on."""
    assert settings(MDA_UPSTREAM_PROXY=text).value("MDA_UPSTREAM_PROXY") is False


@pytest.mark.parametrize(
    ("variable", "value", "next_step"),
    [
        ("MDA_UPSTREAM_PROXY", "ture", "MDA_UPSTREAM_PROXY=true"),
        ("MTA_UPSTREAM_PROXY", "2", "MTA_UPSTREAM_PROXY=true"),
        ("TRUSTED_PROXIES", "10.0.0.0/33", "0 to 32"),
        ("TRUSTED_PROXIES", "fd00::/129", "0 to 128"),
        ("TRUSTED_PROXIES", "10.0.0.1/8", "10.0.0.0/8"),
        ("TRUSTED_PROXIES", "traefik", "TRUSTED_PROXIES=10.42.0.0/16"),
        ("MYNETWORKS", "300.0.0.1", "MYNETWORKS="),
        ("PUBLIC_BIND_ADDRESS", "1.2.3", "all"),
        ("SERVICE_BIND_ADDRESS", "localhost", "SERVICE_BIND_ADDRESS=127.0.0.1"),
        ("MDA_IMAP_ADDRESS", "traefik-internal", "MDA_IMAP_ADDRESS=mail.internal:33143"),
        ("MDA_IMAPS_ADDRESS", "host:0", "1 to 65535"),
        ("MDA_POP3_ADDRESS", "host:65536", "1 to 65535"),
        ("MDA_POP3S_ADDRESS", "fd00::1:995", "[fd00::1]"),
        ("MTA_SMTP_ADDRESS", "bad_host!:25", "MTA_SMTP_ADDRESS="),
        ("MTA_SMTP_SUBMISSION_ADDRESS", "-x:587", "MTA_SMTP_SUBMISSION_ADDRESS="),
        ("MAILNAME", "mail", "MAILNAME=mail.example.org"),
        ("MAILNAME", "mail..example.org", "MAILNAME=mail.example.org"),
        ("MAILNAME", "10.0.0.1", "MAILNAME=mail.example.org"),
        ("POSTMASTER", "postmaster", "POSTMASTER=postmaster@example.org"),
        ("RECIPIENT_DELIMITER", "+@", "RECIPIENT_DELIMITER=+"),
        ("MESSAGE_SIZE_LIMIT", "50 apples", "MESSAGE_SIZE_LIMIT=50M"),
        ("MESSAGE_SIZE_LIMIT", "-1", "MESSAGE_SIZE_LIMIT=50M"),
        ("MESSAGE_SIZE_LIMIT", "1K", "64K"),
        ("RELAYHOST", "[smtp.example.net", "RELAYHOST=[smtp.example.net]:587"),
        ("RELAYHOST", "a b", "RELAYHOST="),
        ("RELAY_PASSWD_FILE", "secret", "RELAY_PASSWD_FILE=/"),
        ("PUBLIC_PORTS", "both", "entrypoints"),
        ("MTA_DIRECT_CLIENTS", "yes", "reject"),
        ("REVERSE_PROXY", "my proxy", "REVERSE_PROXY=none"),
        ("GATEPOST_HOME", "mail", "GATEPOST_HOME=/"),
        ("DB_DRIVER", "mysql", "later"),
        ("DB_DRIVER", "oracle", "DB_DRIVER=sqlite"),
        ("TLS_CERT_FILE", "cert.pem", "TLS_CERT_FILE=/"),
    ],
)
def test_a_bad_value_is_named_with_the_next_step(variable: str, value: str, next_step: str) -> None:
    """The user would have to guess."""
    (problem,) = problems(**{variable: value})
    assert problem.startswith(f"{variable}: ")
    assert value in problem or variable == "RECIPIENT_DELIMITER"
    assert next_step in problem
    assert "{name}" not in problem


def test_every_problem_is_told_at_once() -> None:
    """Mending one to be told of the next is a bad evening."""
    found = problems(TRUSTED_PROXIES="x", MDA_UPSTREAM_PROXY="x", MESSAGE_SIZE_LIMIT="x")
    assert len(found) == 3


def test_an_upstream_proxy_needs_trust() -> None:
    """Nobody could connect, or everybody would be believed."""
    (problem,) = problems(REVERSE_PROXY="none", MTA_UPSTREAM_PROXY="true")
    assert "TRUSTED_PROXIES" in problem
    assert settings(REVERSE_PROXY="none", MTA_UPSTREAM_PROXY="yes", TRUSTED_PROXIES="10.0.0.1")


@pytest.mark.parametrize(
    ("trusted", "relaying"),
    [("10.0.0.0/24", "10.0.0.7"), ("10.0.0.7", "10.0.0.0/8"), ("fd00::/64", "10.0.0.1,fd00::1")],
)
def test_trust_may_not_overlap_relaying(trusted: str, relaying: str) -> None:
    """Whoever comes through the proxy could relay: an open relay."""
    (problem,) = problems(TRUSTED_PROXIES=trusted, MYNETWORKS=relaying)
    assert "MYNETWORKS" in problem
    assert settings(TRUSTED_PROXIES=trusted, MYNETWORKS="192.0.2.0/24")


@pytest.mark.parametrize(
    ("alone", "needed"),
    [
        ({"TLS_CERT_FILE": "/a.crt"}, "TLS_KEY_FILE"),
        ({"TLS_KEY_FILE": "/a.key"}, "TLS_CERT_FILE"),
        ({"RELAY_PASSWD_FILE": "/a"}, "RELAYHOST"),
        ({"MTA_RELAYING_PROXIES": "127.0.0.1"}, "MYNETWORKS"),
    ],
)
def test_one_half_of_a_pair(alone: dict[str, str], needed: str) -> None:
    """A file that was given would be left unused without a word."""
    (problem,) = problems(**alone)
    assert needed in problem


@pytest.mark.parametrize("proxy", ["10.0.0.2", "127.0.0.0/8", "::/0", "0.0.0.0/0"])
def test_a_proxy_that_is_not_trusted_cannot_speak_for_a_network(proxy: str) -> None:
    """A typing error would look as if it had an effect."""
    (problem,) = problems(
        TRUSTED_PROXIES="127.0.0.1,10.1.0.0/16,fd00::/64",
        MYNETWORKS="192.0.2.0/24",
        MTA_RELAYING_PROXIES=proxy,
    )
    assert problem.startswith("MTA_RELAYING_PROXIES: ")
    assert "TRUSTED_PROXIES" in problem


@pytest.mark.parametrize("proxy", ["127.0.0.1", "10.1.7.0/24", "fd00::7"])
def test_a_proxy_that_may_speak_for_a_network_is_warned_about(proxy: str) -> None:
    """Its machine's other programs may send mail to anybody."""
    found = settings(
        TRUSTED_PROXIES="127.0.0.1,10.1.0.0/16,fd00::/64",
        MYNETWORKS="192.0.2.0/24",
        MTA_RELAYING_PROXIES=proxy,
    )
    (warning,) = found.warnings
    assert "MTA_RELAYING_PROXIES" in warning
    assert proxy in warning


def test_an_ipv4_address_in_ipv6_form_is_an_ipv4_address() -> None:
    """`ss` and HAProxy write it so; it would be taken, and match nobody."""
    found = settings(
        TRUSTED_PROXIES="::ffff:10.0.0.2,::ffff:a01:0/112,127.0.0.1",
        MYNETWORKS="::FFFF:192.0.2.0/120",
        MTA_RELAYING_PROXIES="::ffff:10.0.0.2",
        SERVICE_BIND_ADDRESS="::ffff:127.0.0.1",
        MDA_IMAP_ADDRESS="[::ffff:10.0.0.9]:33143",
    )
    assert [str(network) for network in found.proxy.trusted_proxies] == [
        "10.0.0.2/32",
        "10.1.0.0/16",
        "127.0.0.1/32",
    ]
    assert [str(network) for network in found.mail.mynetworks] == ["192.0.2.0/24"]
    assert found.listen.service_bind_address == (ipaddress.ip_address("127.0.0.1"),)
    assert found.value("MDA_IMAP_ADDRESS") == Address("10.0.0.9", 33143)
    # An overlap is one in either form.
    (problem,) = problems(TRUSTED_PROXIES="::ffff:10.0.0.2", MYNETWORKS="10.0.0.0/8")
    assert "MYNETWORKS" in problem
    (problem,) = problems(TRUSTED_PROXIES="::ffff:10.0.0.2/104")
    assert "TRUSTED_PROXIES=10.0.0.0/8" in problem


def test_wide_trust_is_warned_about() -> None:
    """The reference's own 10.0.0.0/8 works, and its owner should know what it means."""
    (warning,) = settings(TRUSTED_PROXIES="10.0.0.0/8,127.0.0.1").warnings
    assert "10.0.0.0/8" in warning
    (warning,) = settings(TRUSTED_PROXIES="fd00::/32,127.0.0.1").warnings
    assert "/48" in warning
    assert not settings(TRUSTED_PROXIES="10.42.0.0/16,fd00::/48,127.0.0.1").warnings


def test_a_proxy_of_ours_that_is_not_trusted_is_warned_about() -> None:
    """All mail would be refused, and nothing would say why."""
    (warning,) = settings(TRUSTED_PROXIES="10.42.0.7").warnings
    assert "127.0.0.1, from which traefik" in warning
    for fine in (
        {"TRUSTED_PROXIES": "10.42.0.7,127.0.0.0/24"},
        {"TRUSTED_PROXIES": "10.42.0.7", "REVERSE_PROXY": "none"},
    ):
        assert not settings(**fine).warnings


@pytest.mark.parametrize("name", ["GATEPOST_HOME", "TLS_CERT_FILE", "RELAY_PASSWD_FILE"])
@pytest.mark.parametrize("odd", [" ", "$", "%", ",", "'", ";"])
def test_a_path_that_daemons_would_misread(name: str, odd: str) -> None:
    """A shell or a daemon would open another file, or none."""
    (problem,) = problems(**{name: f"/srv/my{odd}mail"})
    assert f'has "{odd}" in it' in problem


@pytest.mark.parametrize("local", ["a$b", "`id`", "50%d", "{x}"])
def test_a_postmaster_that_a_shell_would_run(local: str) -> None:
    """The quota warning's script would run words of its own postmaster."""
    (problem,) = problems(POSTMASTER=f"{local}@example.org")
    assert "before the @" in problem


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("TRUSTED_PROXYS", "TRUSTED_PROXIES"),
        ("TRUSTED_PROXEIS", "TRUSTED_PROXIES"),
        ("MAIL_NAME", "MAILNAME"),
        ("MDA_IMAP_ADRESS", "MDA_IMAP_ADDRESS"),
        ("mailname", "MAILNAME"),
    ],
)
def test_a_misspelt_variable_is_noticed(written: str, meant: str) -> None:
    """It would have no effect, and nothing would say so."""
    warnings = settings(**{written: "1.2.3.4"}).warnings
    assert [w for w in warnings if written in w and meant in w], warnings


PGSQL = {
    "DB_DRIVER": "pgsql",
    "DB_HOST": "db.example.net",
    "DB_NAME": "gatepost",
    "DB_USER": "gatepost",
    "DB_PASSWORD": "secret word",
}


def test_a_database_server_is_asked_for_whole() -> None:
    """The server would start and fail at the first message."""
    found = problems(DB_DRIVER="pgsql", DB_PORT="x", MAILNAME="")
    assert [problem.partition(":")[0] for problem in found] == [
        "DB_PORT",
        "DB_HOST",
        "DB_NAME",
        "DB_USER",
        "DB_PASSWORD",
    ]
    assert settings(**PGSQL).database.db_port == 5432


@pytest.mark.parametrize(
    "variable",
    [
        "DB_HOST",
        "DB_PORT",
        "DB_NAME",
        "DB_USER",
        "DB_PASSWORD",
        "DB_TLS_MODE",
        "DB_TLS_CA_FILE",
    ],
)
def test_a_server_that_nobody_would_ask_is_told(variable: str) -> None:
    """Accounts would end in a file, and the server that was meant would stay empty."""
    values = PGSQL | {"DB_PORT": "5433", "DB_TLS_MODE": "require", "DB_TLS_CA_FILE": "/ca.pem"}
    (problem,) = problems(**{variable: values[variable]})
    assert problem.startswith(f"{variable}: ")
    assert "DB_DRIVER=pgsql" in problem
    assert "secret" not in problem


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("DB_HOST", "db.example.net:5433", ["DB_HOST=", "port"]),
        ("DB_HOST", "/run/postgresql", ["DB_HOST="]),
        ("DB_HOST", "fd00::5%eth0", ["DB_HOST="]),
        ("DB_PORT", "0", ["65535", "DB_PORT=5432"]),
        ("DB_PORT", "65536", ["65535", "DB_PORT=5432"]),
        ("DB_NAME", "two words", ["DB_NAME=gatepost"]),
        ("DB_USER", "o'brien", ["DB_USER=gatepost"]),
        ("DB_PASSWORD", "two\nlines", ["control character"]),
        ("DB_TLS_MODE", "on", ["disable, allow, prefer, require, verify-ca, verify-full"]),
        ("DB_TLS_MODE", "verify-full", ["DB_TLS_CA_FILE"]),
        ("DB_TLS_CA_FILE", "ca.pem", ["DB_TLS_CA_FILE=/"]),
    ],
)
def test_a_bad_value_of_the_database_is_named(variable: str, value: str, words: list[str]) -> None:
    """A daemon would read it as something else, or try to connect for ever."""
    (problem,) = problems(**PGSQL | {variable: value})
    assert problem.startswith(f"{variable}: ")
    assert "lines" not in problem, "a password must not end in a log"
    for word in words:
        assert word in problem


@pytest.mark.parametrize("host", ["localhost", "db.example.net", "192.0.2.5", "fd00::5"])
def test_a_database_server_has_a_name_or_an_address(host: str) -> None:
    """A server could not be named as its administrator names it."""
    assert settings(**PGSQL | {"DB_HOST": host}).database.db_host == host
    assert settings(**PGSQL | {"DB_HOST": "[fd00::5]"}).database.db_host == "fd00::5"


def test_the_database_is_verified_when_it_can_be() -> None:
    """Password hashes would go to whoever answers, or in clear."""
    assert settings(**PGSQL).database.db_tls_mode == "require"
    assert settings(**PGSQL, DB_TLS_CA_FILE="/ca.pem").database.db_tls_mode == "verify-full"
    chosen = settings(**PGSQL, DB_TLS_CA_FILE="/ca.pem", DB_TLS_MODE="verify-ca")
    assert chosen.database.db_tls_mode == "verify-ca"
    (problem,) = problems(**PGSQL, DB_TLS_CA_FILE="/ca.pem", DB_TLS_MODE="prefer")
    assert "DB_TLS_MODE=verify-full" in problem


def test_secrets_are_not_handed_on() -> None:
    """The reverse proxy, which has its own user, could read the accounts."""
    environment = PGSQL | {"PATH": "/usr/bin"}
    settings(**PGSQL).withhold_secrets(environment)
    assert "DB_PASSWORD" not in environment
    assert environment.keys() == PGSQL.keys() - {"DB_PASSWORD"} | {"PATH"}


@pytest.mark.parametrize("name", ["PATH", "HOME", "LANG", "DISPLAY", "MAILTO", "DB_FOO"])
def test_other_programs_variables_are_let_be(name: str) -> None:
    """Warnings about nothing teach people to read none."""
    assert not settings(**{name: "x"}).warnings


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    """A value given for one call would be ignored."""
    dotenv = tmp_path / ".env"
    dotenv.write_text(
        "MAILNAME=file.example.org\nPOSTMASTER='admin@example.org'\n# comment\nRELAYHOST=\n"
        'DB_DRIVER=pgsql\nDB_HOST=db.example.net\nDB_NAME=mail\nDB_USER=mail\nDB_PASSWORD="a$b"\n'
    )
    found = load({"MAILNAME": "env.example.org", "MYNETWORKS": ""}, dotenv=dotenv)
    assert found.mail.mailname == "env.example.org"
    assert found.mail.postmaster == "admin@example.org"
    assert found.mail.relayhost is None
    assert found.mail.mynetworks == ()
    assert found.database.db_password
    assert found.database.db_password.get_secret_value() == "a$b"
    shown = {value.name: value for value in found.values()}
    assert shown["MAILNAME"].source is Source.ENVIRONMENT
    assert shown["POSTMASTER"].source is Source.DOTENV
    assert shown["RELAYHOST"].source is Source.DEFAULT
    assert shown["DB_PASSWORD"].text == "********"
    assert all(value.meaning for value in shown.values())


def test_defaults_on_one_machine() -> None:
    """`make up` with nothing set must give a whole server behind Traefik."""
    found = load({}, hostname=lambda: "mx.example.org")
    assert found.mail.mailname == "mx.example.org"
    assert found.mail.postmaster == "postmaster@example.org"
    assert found.mail.message_size_limit == 50 * 1024 * 1024
    assert found.proxy.reverse_proxy == "traefik"
    assert found.value("MDA_UPSTREAM_PROXY")
    assert found.value("MTA_UPSTREAM_PROXY")
    assert found.proxy.trusted_proxies == (ipaddress.ip_network("127.0.0.1/32"),)
    assert found.listen.service_bind_address == (ipaddress.ip_address("127.0.0.1"),)
    assert found.storage.gatepost_home == Path("/var/lib/gatepost")
    assert not found.warnings


def test_defaults_in_a_container() -> None:
    """A pod would listen on its loopback only, and start a proxy of its own."""
    found = settings(Place.CONTAINER)
    assert found.proxy.reverse_proxy == "none"
    assert not found.value("MDA_UPSTREAM_PROXY")
    assert not found.value("MTA_UPSTREAM_PROXY")
    assert found.proxy.trusted_proxies == ()
    assert len(found.listen.service_bind_address) == 2


@pytest.mark.parametrize(
    ("bound", "trusted"),
    [
        ("127.3.4.5", "127.0.0.1/32"),
        ("all", "127.0.0.1/32,::1/128"),
        ("::1", "::1/128"),
        ("192.0.2.7", "192.0.2.7/32"),
        ("fd00::7", "fd00::7/128"),
        ("127.3.4.5,fd00::7", "127.0.0.1/32,fd00::7/128"),
    ],
)
def test_our_own_proxy_is_trusted(bound: str, trusted: str) -> None:
    """The proxy that we start ourselves would be refused by the daemons that we start."""
    networks = settings(SERVICE_BIND_ADDRESS=bound).proxy.trusted_proxies
    assert ",".join(map(str, networks)) == trusted


@pytest.mark.parametrize("name", ["localhost", "localhost.localdomain", "box", "", "127.0.0.1"])
def test_a_machine_without_a_full_name(name: str) -> None:
    """The first `make up` on a fresh machine would fail for want of a name."""
    found = load({}, hostname=lambda: name)
    assert found.mail.mailname.endswith(".internal")
    assert "MAILNAME" in found.warnings[0]


def test_international_names_become_a_labels() -> None:
    """Postfix and certificates know only the ASCII form."""
    assert settings(MAILNAME="mail.bücher.example").mail.mailname == "mail.xn--bcher-kva.example"


@pytest.mark.parametrize(
    ("text", "count"),
    [("10485760", 10485760), ("50M", 52428800), ("1g", 1 << 30), ("64K", 65536), ("2 MB", 2 << 20)],
)
def test_sizes(text: str, count: int) -> None:
    """A limit would be a thousand times too small or too large."""
    assert settings(MESSAGE_SIZE_LIMIT=text).mail.message_size_limit == count


@pytest.mark.parametrize(
    "text",
    ["smtp.example.net", "[smtp.example.net]:587", "[192.0.2.7]:25", "[fd00::7]:25", "a.test:smtp"],
)
def test_relay_hosts_as_postfix_writes_them(text: str) -> None:
    """What Postfix's manual says would be refused."""
    assert settings(RELAYHOST=text).mail.relayhost == text


def test_addresses_may_be_ipv6() -> None:
    """Internal clients in an IPv6 cluster would have nowhere to go."""
    found = settings(MDA_IMAP_ADDRESS="[fd00::1]:33143").value("MDA_IMAP_ADDRESS")
    assert found == Address("fd00::1", 33143)
    assert str(found) == "[fd00::1]:33143"


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "TRUSTED_PROXIES",
                "MAILNAME",
                "MESSAGE_SIZE_LIMIT",
                "RELAYHOST",
                "MDA_IMAP_ADDRESS",
                "POSTMASTER",
                "DB_PORT",
                "PUBLIC_BIND_ADDRESS",
            ]
        ),
        st.text(),
    )
)
def test_no_text_is_a_traceback(variables: dict[str, str]) -> None:
    """A control character in a variable would end in Python's words instead of ours."""
    with contextlib.suppress(SettingsError):
        load(variables, hostname=lambda: "mx.example.org")


@pytest.mark.parametrize(
    "value",
    [
        "10.0.0.0/8 192.0.2.0/24",
        "10.0.0.0/8;192.0.2.0/24",
        "10.0.0.0/8 ; 192.0.2.0/24",
        "10.0.0.0/8\n192.0.2.0/24",
        "10.0.0.0/8 | 192.0.2.0/24",
    ],
)
@pytest.mark.parametrize("variable", ["TRUSTED_PROXIES", "MYNETWORKS"])
def test_what_separates_networks_is_said(variable: str, value: str) -> None:
    """The prefix would be blamed, which is right."""
    (problem,) = problems(**{variable: value})
    assert "commas separate them" in problem
    assert problem.endswith(f"Write {variable}=10.0.0.0/8,192.0.2.0/24")
    assert "prefix" not in problem


def test_what_separates_addresses_is_said() -> None:
    """An address that is none would be looked for in one that is right."""
    (problem,) = problems(PUBLIC_BIND_ADDRESS="127.0.0.1 ::1")
    assert problem.endswith("Write PUBLIC_BIND_ADDRESS=127.0.0.1,::1")


def test_the_whole_list_is_written_as_it_should_be() -> None:
    """Half of the list would be mended, and the rest complained of next."""
    (problem,) = problems(TRUSTED_PROXIES="10.0.0.0/8, fd00::/64 192.0.2.1")
    assert problem.endswith("TRUSTED_PROXIES=10.0.0.0/8,fd00::/64,192.0.2.1")


def test_a_comma_and_a_line_break_separate_as_well() -> None:
    """A list on several lines, as Kubernetes' ConfigMaps have it, would be refused."""
    found = settings(TRUSTED_PROXIES="10.0.0.0/24,\n  192.0.2.0/24", REVERSE_PROXY="none")
    assert len(found.proxy.trusted_proxies) == 2


@pytest.mark.parametrize("value", ["change-me", "CHANGEME", "change_me_now", "<password>", "TODO"])
def test_a_placeholder_is_noticed(value: str) -> None:
    """Everybody who has read the example knows the database's password."""
    (warning,) = settings(**PGSQL | {"DB_PASSWORD": value}).warnings
    assert warning.startswith("DB_PASSWORD: ")
    assert "placeholder" in warning


def test_a_password_is_no_placeholder() -> None:
    """A warning that is none would hide the one that is, and must not tell a password."""
    assert not settings(**PGSQL | {"DB_PASSWORD": "exchange-menu and more"}).warnings
    (warning,) = settings(**PGSQL | {"DB_PASSWORD": "secret: change-me"}).warnings
    assert "secret" not in warning


def test_a_relay_host_without_brackets_is_noticed() -> None:
    """Postfix asks for the MX hosts of `smtp.example.net`, and nobody takes mail on their 587."""
    (warning,) = settings(RELAYHOST="smtp.example.net:587").warnings
    assert "RELAYHOST=[smtp.example.net]:587" in warning
    assert not settings(RELAYHOST="[smtp.example.net]:587").warnings
    assert not settings(RELAYHOST="example.net").warnings


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("TRUSTED_PROXY", "TRUSTED_PROXIES"),
        ("PROXIES_TRUSTED", "TRUSTED_PROXIES"),
        ("MTA_SMTP_ADDRESSES", "MTA_SMTP_ADDRESS"),
        ("MYNETWORK", "MYNETWORKS"),
        ("trusted-proxies", "TRUSTED_PROXIES"),
    ],
)
def test_the_same_words_are_a_misspelt_variable(written: str, meant: str) -> None:
    """The server would trust nobody, or everybody of its own, and nothing would say why."""
    warnings = settings(**{written: "1.2.3.4"}).warnings
    assert [w for w in warnings if written in w and meant in w], warnings


def test_imap_and_imaps_are_two_words() -> None:
    """A name would be corrected into its neighbour."""
    assert not settings(MDA_IMAPS_ADDRESS="a:993", MDA_IMAP_ADDRESS="a:143").warnings
