"""Traefik's files: an entry point and a router for each listener, as the reference names them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml

from gatepost import assembly, registry
from gatepost.contracts import Context, Plugin
from gatepost.model import Address, HttpRoute, Listener, OnChange, Plan, RenderedFile, Site
from gatepost.plugins.traefik.plugin import PLUGIN
from gatepost.registry import load


def context(site: Site, **variables: str) -> Context:
    settings = load({"MAILNAME": "mail.example.org", **variables})
    return Context(settings, assembly.topology(settings), site)


def rendered(context: Context) -> dict[str, dict[str, object]]:
    return {file.path.name: yaml.safe_load(file.content) for file in PLUGIN.files(context)}


def test_entry_points_are_the_references(site: Site) -> None:
    """The reference's `traefik-internal:33143` would lead nowhere."""
    static = rendered(context(site))["traefik.yaml"]
    points = static["entryPoints"]
    assert isinstance(points, dict)
    assert {name: point["address"] for name, point in points.items()} == {
        "smtp": ":3325",
        "submission": ":33587",
        "submissions": ":33465",
        "imap": ":33143",
        "imaps": ":33993",
        "pop3": ":33110",
        "pop3s": ":33995",
        "sieve": ":34190",
    }


def test_it_calls_nobody(site: Site) -> None:
    """A mail server would report itself to a vendor."""
    assert rendered(context(site))["traefik.yaml"]["global"] == {
        "checkNewVersion": False,
        "sendAnonymousUsage": False,
    }


def test_several_addresses_share_one_router(site: Site) -> None:
    """The second address would have no route."""
    files = rendered(context(site, PUBLIC_BIND_ADDRESS="127.0.0.11,fd00::11"))
    points = files["traefik.yaml"]["entryPoints"]
    assert isinstance(points, dict)
    assert points["smtp"]["address"] == "127.0.0.11:3325"
    assert points["smtp-2"]["address"] == "[fd00::11]:3325"
    tcp = files["dynamic.yaml"]["tcp"]
    assert isinstance(tcp, dict)
    assert tcp["routers"]["smtp"]["entryPoints"] == ["smtp", "smtp-2"]


@pytest.mark.parametrize(("proxied", "transport"), [("yes", "announced"), ("no", "plain")])
def test_the_header_is_sent_exactly_where_it_is_awaited(
    site: Site, proxied: str, transport: str
) -> None:
    """A header that nobody reads is a syntax error; one that is awaited and missing, a hang."""
    files = rendered(context(site, MTA_UPSTREAM_PROXY=proxied))
    tcp = files["dynamic.yaml"]["tcp"]
    assert isinstance(tcp, dict)
    assert tcp["services"]["smtp"]["loadBalancer"]["serversTransport"] == transport
    assert tcp["services"]["imap"]["loadBalancer"]["serversTransport"] == "announced"
    assert tcp["serversTransports"]["announced"]["proxyProtocol"] == {"version": 2}
    assert "proxyProtocol" not in tcp["serversTransports"]["plain"]


def test_routers_are_plain_tcp(site: Site) -> None:
    """TLS on a router makes Traefik wait for the client: no banner."""
    tcp = rendered(context(site))["dynamic.yaml"]["tcp"]
    assert isinstance(tcp, dict)
    for router in tcp["routers"].values():
        assert router["rule"] == "HostSNI(`*`)"
        assert "tls" not in router


def test_low_ports_need_one_capability_and_no_root(site: Site) -> None:
    """The process that faces the internet would run as root, or fail to open port 25."""
    traefik = PLUGIN
    (high,) = traefik.processes(context(site))
    assert high.user == "gatepost-proxy"
    assert high.capabilities == ()
    (low,) = traefik.processes(context(site, PUBLIC_PORTS="standard"))
    assert low.user == "gatepost-proxy"
    assert low.capabilities == ("net_bind_service",)


def test_changed_routes_are_taken_without_a_restart(site: Site) -> None:
    """Every open connection would be cut by a change of a route."""
    changes = {file.path.name: file.on_change for file in PLUGIN.files(context(site))}
    assert changes == {"traefik.yaml": OnChange.RESTART, "dynamic.yaml": OnChange.RELOAD}


# --- HTTP routes --------------------------------------------------------------------------------

WEBSITE = Plugin(
    name="website",
    unit="website",
    listeners=(Listener.http("website", 2098), Listener.http("silent", 2097)),
    contributes=lambda _context: (
        HttpRoute("website"),
        HttpRoute("website", "/mail"),
        HttpRoute("website", "/mail", "www.example.org"),
    ),
)


def planned(monkeypatch: pytest.MonkeyPatch, site: Site, *more: Plugin, **variables: str) -> Plan:
    plugins = (*registry.plugins(), *more)
    monkeypatch.setattr(registry, "plugins", lambda: plugins)
    return assembly.assemble(load({"MAILNAME": "mail.example.org", **variables}), site)


def traefiks(plan: Plan) -> dict[str, RenderedFile]:
    return {file.path.name: file for file in plan.files if file.process == "traefik"}


def test_routes_share_one_entry_point_and_the_servers_certificate(
    monkeypatch: pytest.MonkeyPatch, site: Site
) -> None:
    """Visitors would read of an unknown certificate, or find another program's page."""
    files = traefiks(planned(monkeypatch, site, WEBSITE, PUBLIC_PORTS="standard"))
    static = yaml.safe_load(files["traefik.yaml"].content)
    assert static["entryPoints"]["websecure"]["address"] == ":443"
    assert static["entryPoints"]["websecure"]["http"]["aliasHeadersStrategy"] == "reject"
    dynamic = yaml.safe_load(files["dynamic.yaml"].content)
    rules = {r["rule"]: r["priority"] for r in dynamic["http"]["routers"].values()}
    assert sorted(rules, key=rules.__getitem__) == [
        "PathPrefix(`/`)",
        "(Path(`/mail`) || PathPrefix(`/mail/`))",
        "Host(`www.example.org`) && (Path(`/mail`) || PathPrefix(`/mail/`))",
    ]
    for router in dynamic["http"]["routers"].values():
        assert router["entryPoints"] == ["websecure"]
        assert router["tls"] == {}
        (server,) = dynamic["http"]["services"][router["service"]]["loadBalancer"]["servers"]
        assert server == {"url": "http://127.0.0.1:2098"}
    shown = dynamic["tls"]["stores"]["default"]["defaultCertificate"]
    config = site.home.config / "traefik"
    assert shown == {"certFile": str(config / "tls.crt"), "keyFile": str(config / "tls.key")}
    key = files["tls.key"]
    assert (key.mode, key.group, key.content) == (
        0o640,
        "gatepost-proxy",
        site.certificate.key.content,
    )
    assert key.original == site.certificate.key.original
    # No listener that carries mail has changed.
    assert static["entryPoints"]["smtp"]["address"] == ":25"
    assert "website" not in dynamic["tcp"]["routers"]


def test_without_routes_nothing_of_http_is_there(
    monkeypatch: pytest.MonkeyPatch, site: Site
) -> None:
    """The control: a port would be open, and a key lie beside the proxy, for nobody."""
    silent = replace(WEBSITE, contributes=lambda _context: ())
    plan = planned(monkeypatch, site, silent)
    files = traefiks(plan)
    assert set(files) == {"traefik.yaml", "dynamic.yaml"}
    assert "websecure" not in files["traefik.yaml"].content
    assert yaml.safe_load(files["dynamic.yaml"].content).keys() == {"tcp"}
    assert plan.topology.named("website").public == ()


def test_the_public_addresses_of_http_are_those_of_its_routes(
    monkeypatch: pytest.MonkeyPatch, site: Site
) -> None:
    """Status would show an address at which nobody answers."""
    plan = planned(monkeypatch, site, WEBSITE, PUBLIC_BIND_ADDRESS="127.0.0.11,::1")
    topology = plan.topology
    assert topology.named("website").public == (
        Address("127.0.0.11", 33443),
        Address("::1", 33443),
    )
    assert topology.named("silent").public == ()
    (proxy,) = (process for process in plan.processes if process.name == "traefik")
    at = [ready.address for ready in proxy.ready]
    assert at.count(Address("127.0.0.11", 33443)) == 1
    # A proxy of somebody else's is told nothing, so nobody knows where it listens.
    alone = planned(monkeypatch, site, WEBSITE, REVERSE_PROXY="none")
    assert alone.topology.named("website").public == ()
    assert alone.topology.named("website").service == (Address("127.0.0.1", 2098),)
