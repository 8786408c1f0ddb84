"""Assembly: one listener table for every side, and an order in which things can start."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gatepost import assembly, registry
from gatepost.errors import SettingsError
from gatepost.model import DELIVERY, QUOTA_STATUS, SASL, Address, Home, Plan, Site, SocketPath
from gatepost.plugins.dovecot.listeners import API
from gatepost.plugins.gate.plan import METRICS
from gatepost.registry import load
from gatepost.settings import Place, Settings
from gatepost.settings.concerns import PublicPorts

BASE = {"MAILNAME": "mail.example.org", "GATEPOST_HOME": "/srv/gatepost"}


def settings(place: Place = Place.MACHINE, /, **variables: str) -> Settings:
    return load({**BASE, "GATEPOST_PLACE": place, **variables})


CONTRACT = {
    "smtp": (25, 3325, 31025, 32025),
    "submission": (587, 33587, 31587, 32587),
    "submissions": (465, 33465, 31465, 32465),
    "imap": (143, 33143, 31143, 32143),
    "imaps": (993, 33993, 31993, 32993),
    "pop3": (110, 33110, 31110, 32110),
    "pop3s": (995, 33995, 31995, 32995),
    "sieve": (4190, 34190, 31190, 32190),
}


def test_the_listener_table_is_the_contracts() -> None:
    """A port that moves breaks every firewall, manifest and mail program that knows it."""
    rows = {
        listener.name: (
            listener.public_port,
            listener.entry_point_port,
            listener.service_port,
            listener.internal_port,
        )
        for daemon in registry.plugins()
        for listener in daemon.listeners
    }
    assert rows == CONTRACT


def test_roles_are_offered_at_the_contracts_ports() -> None:
    """Postfix would not find delivery, SASL or quota status in another container."""
    found = assembly.topology(settings(Place.CONTAINER, MDA_HTTP_API="yes"), unit="mda")
    assert {role: [str(one) for one in ends] for role, ends in found.offers.items()} == {
        DELIVERY: ["0.0.0.0:2003", "[::]:2003"],
        SASL: ["0.0.0.0:2004", "[::]:2004"],
        QUOTA_STATUS: ["0.0.0.0:2005", "[::]:2005"],
        API: ["0.0.0.0:8080", "[::]:8080"],
    }


@pytest.mark.parametrize("place", Place)
def test_on_one_machine_roles_are_sockets_of_the_user_who_asks(place: Place) -> None:
    """Any local user could ask in Postfix's place; the same holds in one container for all."""
    found = assembly.topology(settings(place, SERVICE_BIND_ADDRESS="all", MDA_HTTP_API="yes"))
    folder = Path("/srv/gatepost/run/dovecot")
    sockets = {
        DELIVERY: SocketPath(folder / "lmtp", "postfix"),
        SASL: SocketPath(folder / "sasl", "postfix"),
        QUOTA_STATUS: SocketPath(folder / "quota-status", "postfix"),
        API: SocketPath(folder / "http", "root"),
    }
    metrics = {METRICS} & found.offers.keys()
    assert {role: ends for role, ends in found.offers.items() if role not in metrics} == {
        role: (socket,) for role, socket in sockets.items()
    }
    assert {role: found.roles[role] for role in sockets} == sockets


@pytest.mark.parametrize("service", [None, "mda"])
def test_nobody_needs_the_interface_for_administration(service: str | None) -> None:
    """A port that no program asks at would be one more way to all mail."""
    found = assembly.topology(settings(Place.CONTAINER), unit=service)
    assert API not in found.offers
    assert API not in found.roles
    assert DELIVERY in found.offers


def test_the_port_that_became_a_socket_is_named() -> None:
    """Mail would be deferred for ever at a port where nobody listens any more."""
    with pytest.raises(SettingsError, match=r"(?s)MDA_LMTP_ADDRESS.*run/dovecot/lmtp.*Unset"):
        assembly.topology(settings(MDA_LMTP_ADDRESS="127.0.0.1:2003"))
    # The control: a mail store elsewhere, and a port of another program.
    for other in ("store.example:2003", "127.0.0.1:24"):
        found = assembly.topology(settings(MDA_LMTP_ADDRESS=other))
        assert str(found.roles[DELIVERY]) == other


def test_public_addresses_follow_the_proxy() -> None:
    """Status and verify would name an address at which nobody answers."""
    behind = assembly.topology(settings(PUBLIC_BIND_ADDRESS="127.0.0.11,::1"))
    assert behind.named("imap").public == (Address("127.0.0.11", 33143), Address("::1", 33143))

    direct = assembly.topology(settings(REVERSE_PROXY="none"))
    assert direct.named("imap").public == (Address("127.0.0.1", 31143),)
    assert not direct.named("imap").proxied

    foreign = assembly.topology(
        settings(REVERSE_PROXY="none", MDA_UPSTREAM_PROXY="yes", TRUSTED_PROXIES="10.0.0.1")
    )
    assert foreign.named("imap").public == ()
    assert foreign.named("imap").proxied
    assert not foreign.named("smtp").proxied


def test_standard_ports() -> None:
    """A mail program that knows only 993 would find nothing."""
    topology = assembly.topology(settings(PUBLIC_PORTS="standard", PUBLIC_BIND_ADDRESS="127.0.0.1"))
    assert topology.named("imaps").public == (Address("127.0.0.1", 993),)
    assert topology.named("smtp").public == (Address("127.0.0.1", 25),)


def test_without_ipv6_no_ipv6_wildcard() -> None:
    """On a kernel without IPv6 nothing would start."""
    topology = assembly.topology(settings(), ipv6=False)
    assert {address.host for bound in topology.listeners for address in bound.public} == {"0.0.0.0"}


@pytest.mark.parametrize("address", ["127.0.0.1:31143", "mda.mail.svc:143", "mda:143"])
def test_an_internal_address_on_a_proxy_only_port_is_refused(address: str) -> None:
    """Webmail and Sieve would hang there until a timeout, with nothing in any log."""
    with pytest.raises(SettingsError) as refused:
        assembly.topology(settings(MDA_IMAP_ADDRESS=address))
    message = str(refused.value)
    assert "MDA_IMAP_ADDRESS" in message
    assert address in message
    assert "127.0.0.1:32143" in message


@pytest.mark.parametrize(
    "address", ["127.0.0.1:32143", "traefik-internal:33143", "mda-internal:143"]
)
def test_an_internal_address_may_be_the_proxy_or_an_internal_listener(address: str) -> None:
    """The reference document's own example would be refused."""
    topology = assembly.topology(settings(MDA_IMAP_ADDRESS=address))
    assert str(topology.clients["imap"]) == address


def test_a_plain_service_port_is_a_fine_internal_address() -> None:
    """Without a proxy upstream the service port takes anyone."""
    topology = assembly.topology(settings(REVERSE_PROXY="none", MDA_IMAP_ADDRESS="127.0.0.1:31143"))
    assert topology.clients["imap"] == Address("127.0.0.1", 31143)


def test_clients_use_internal_listeners_when_unset() -> None:
    """Verify and Sieve would have nowhere to go."""
    clients = assembly.topology(settings(Place.CONTAINER)).clients
    assert clients["smtp"] == Address("127.0.0.1", 32025)
    assert clients["sieve"] == Address("127.0.0.1", 32190)


def test_an_unknown_proxy_names_the_known_ones() -> None:
    """A typing mistake must not end in a server without a front."""
    with pytest.raises(SettingsError, match=r"nginx.*none, traefik"):
        assembly.used(settings(REVERSE_PROXY="nginx"))


def test_services_are_the_ones_gatepost_run_takes() -> None:
    """A container would not start."""
    assert assembly.units() == ("mda", "mta")
    plain = settings(REVERSE_PROXY="none")
    assert [p.name for p in assembly.used(plain, "mta")] == ["postfix"]
    assert [p.name for p in assembly.used(plain, "mda")] == ["dovecot"]


def test_the_gate_is_used_where_a_proxy_stands_before_postfix() -> None:
    """Any neighbour could forge an address; or a gate would wait for headers that nobody sends."""
    proxied = settings(MTA_UPSTREAM_PROXY="yes", TRUSTED_PROXIES="192.0.2.1")
    assert [p.name for p in assembly.used(proxied, "mta")] == ["gate", "postfix"]
    assert [p.name for p in assembly.used(proxied, "mda")] == ["dovecot"]
    assert "gate" not in {p.name for p in assembly.used(settings(REVERSE_PROXY="none"))}


def test_home_is_where_the_settings_say() -> None:
    """A second instance would write over the first."""
    assert settings().storage.gatepost_home == Path("/srv/gatepost")


# --- one service in a container ---------------------------------------------------------------


def test_a_container_has_its_own_listeners_only() -> None:
    """The MTA's pod would wait for ports that another pod opens, or hold them against itself."""
    for service, names in (("mta", {"smtp", "submission", "submissions"}), ("mda", MDA)):
        topology = assembly.topology(settings(Place.CONTAINER), unit=service)
        assert {bound.name for bound in topology.listeners} == names
        assert {daemon.unit for daemon in assembly.of_unit(service)} == {service}


MDA = {"imap", "imaps", "pop3", "pop3s", "sieve"}


def test_the_other_service_is_found_by_its_internal_service() -> None:
    """Mail would wait in the queue for ever: nobody answers on the pod's own loopback."""
    topology = assembly.topology(settings(Place.CONTAINER), unit="mta")
    assert topology.roles[DELIVERY] == Address("mda-internal", 2003)
    assert topology.roles[SASL] == Address("mda-internal", 2004)
    assert topology.roles[QUOTA_STATUS] == Address("mda-internal", 2005)
    assert topology.clients["imap"] == Address("mda-internal", 143)
    assert topology.clients["smtp"] == Address("127.0.0.1", 32025)
    assert SASL not in topology.offers
    other = assembly.topology(settings(Place.CONTAINER), unit="mda")
    assert other.clients["smtp"] == Address("mta-internal", 25)


def test_where_the_mail_store_is_can_be_set() -> None:
    """Whose Services have other names could not run the MTA in a container of its own."""
    found = settings(
        Place.CONTAINER,
        MDA_LMTP_ADDRESS="store.example:24",
        MDA_SASL_ADDRESS="store.example:12345",
        MDA_QUOTA_STATUS_ADDRESS="[fd00::5]:2005",
    )
    roles = assembly.topology(found, unit="mta").roles
    assert roles[DELIVERY] == Address("store.example", 24)
    assert roles[SASL] == Address("store.example", 12345)
    assert roles[QUOTA_STATUS] == Address("fd00::5", 2005)


def test_another_pods_port_that_demands_a_header_is_refused() -> None:
    """Sieve would submit to a port that waits for a PROXY header and then hangs up."""
    found = settings(
        Place.CONTAINER,
        MTA_UPSTREAM_PROXY="true",
        TRUSTED_PROXIES="10.42.0.7",
        MTA_SMTP_ADDRESS="mta:25",
    )
    with pytest.raises(SettingsError, match="MTA_SMTP_ADDRESS=mta-internal:25"):
        assembly.topology(found, unit="mda")


# --- sockets below the home -------------------------------------------------------------------


# "é" is two bytes, and bytes count, not letters.
@pytest.mark.parametrize("letter", ["x", "é"])
@pytest.mark.parametrize(
    ("unit", "socket", "most"),
    [
        (None, "run/dovecot/srv.managesieve-login/4194304", 65),
        ("mda", "run/dovecot/srv.managesieve-login/4194304", 65),
        ("mta", "queue/public/postlog", 86),
    ],
)
def test_a_home_too_long_is_refused_with_the_number(
    site: Site, letter: str, unit: str | None, socket: str, most: int
) -> None:
    """Postfix would end without a word, and Dovecot fail at the first login."""
    longest = "/" + letter * 20
    longest += "y" * (most - len(longest.encode()))
    assert len(f"{longest}/{socket}".encode()) == 107
    assert assembled(site, longest, unit).files
    with pytest.raises(SettingsError, match=rf"GATEPOST_HOME: .* leaves {most} for GATEPOST_HOME"):
        assembled(site, longest + "z", unit)


def assembled(site: Site, home: str, unit: str | None) -> Plan:
    found = settings(GATEPOST_HOME=home)
    return assembly.assemble(found, replace(site, home=Home(Path(home))), unit)


# --- one layout, whoever asks -------------------------------------------------------------------


def test_a_layout_has_what_the_single_questions_answer(site: Site) -> None:
    """`up` would start by one topology what it has checked by another."""
    asked = settings(PUBLIC_BIND_ADDRESS="127.0.0.11")
    here = assembly.layout(asked, ipv6=site.ipv6)
    assert here.plugins == assembly.used(asked)
    assert here.topology == assembly.topology(asked, ipv6=site.ipv6)
    assert here.plan(site) == assembly.assemble(asked, site)
    inside = assembly.layout(settings(Place.CONTAINER), unit="mda")
    assert [plugin.name for plugin in inside.plugins] == ["dovecot"]
    assert inside.topology == assembly.topology(settings(Place.CONTAINER), unit="mda")


def test_from_outside_only_the_public_ports_are_seen() -> None:
    """A proof from outside would knock at ports that no firewall lets through."""
    hosts = ("192.0.2.1", "2001:db8::1")
    seen = assembly.seen_from_outside(registry.plugins(), hosts, PublicPorts.STANDARD)
    assert {bound.name: bound.public[0].port for bound in seen.listeners} == {
        name: ports[0] for name, ports in CONTRACT.items()
    }
    assert seen.named("imaps").public == (Address("192.0.2.1", 993), Address("2001:db8::1", 993))
    assert not any(bound.service or bound.internal or bound.proxied for bound in seen.listeners)
    assert (seen.roles, seen.clients, seen.trusted_proxies) == ({}, {}, ())
    behind = assembly.seen_from_outside(registry.plugins(), hosts, PublicPorts.ENTRYPOINTS)
    assert behind.named("imaps").public[0] == Address("192.0.2.1", 33993)


def test_in_a_cluster_each_unit_is_found_by_its_names() -> None:
    """A proof in a pod of its own would look for the daemons on its own loopback."""
    asked: list[str] = []

    def hosts(name: str) -> tuple[str, ...]:
        asked.append(name)
        return {"proxy": ("10.43.0.9",), "mda": ("10.43.0.8", "fd00::8")}.get(name, (name,))

    found = settings(
        Place.CONTAINER,
        MDA_UPSTREAM_PROXY="yes",
        TRUSTED_PROXIES="10.42.0.7",
        MDA_IMAP_ADDRESS="proxy:33143",
    )
    seen = assembly.seen_in_cluster(found, "proxy", hosts)
    assert sorted(asked) == ["mda", "mda-internal", "mta", "mta-internal", "proxy"]
    imap = seen.named("imap")
    assert imap.public == (Address("10.43.0.9", 33143),)
    assert imap.service == (Address("10.43.0.8", 143), Address("fd00::8", 143))
    assert imap.internal == (Address("mda-internal", 143),)
    assert imap.proxied
    assert not seen.named("smtp").proxied
    assert seen.clients["imap"] == Address("proxy", 33143)
    assert seen.clients["sieve"] == Address("mda-internal", 4190)
    assert seen.trusted_proxies == found.proxy.trusted_proxies
    # The control: where the proxy is not known, no public address is made up.
    assert assembly.seen_in_cluster(found, "", hosts).named("imap").public == ()


def test_an_ipv6_wildcard_alone_needs_ipv6() -> None:
    """A kernel without it would end every command in a traceback."""
    chosen = load({**BASE, "SERVICE_BIND_ADDRESS": "::"})
    assert assembly.layout(chosen), "the control"
    with pytest.raises(SettingsError, match="needs IPv6, which this kernel does not speak"):
        assembly.layout(chosen, ipv6=False)
