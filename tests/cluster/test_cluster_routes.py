"""Both ways of asking Traefik for the header, and none: the routes that ship are what does it.

The reference document writes `proxyProtocol` beside the service, which Traefik calls deprecated;
the overlays name a ServersTransportTCP. Routes change here, so no other module's tests may run in
this cluster at the same time.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cluster_clients import PORTS, door, speak
from mail_cluster import MTA, TRAEFIK
from shipped import KUSTOMIZE, Manifest, of_kind, render

from cluster import Cluster, Machine

GREETING = ("smtp", "submission", "imap", "pop3", "sieve")
"""Listeners where the server speaks first."""
LOADED_SECONDS = 20


def banner(machine: Machine, listener: str = "imap", *, seconds: float = 1) -> bytes:
    """Return what a server says first, if it says anything in this time."""
    with machine.client() as client, client.raw(door(listener, 4)) as stream:
        stream.settimeout(seconds)
        try:
            return stream.recv(200)
        except (TimeoutError, ConnectionError):
            return b""


def all_greet(machine: Machine) -> bool:
    """Tell whether Traefik has loaded routes that work: it does so in several steps."""
    return all(banner(machine, listener) for listener in GREETING)


def none_greets(machine: Machine) -> bool:
    """Tell whether Traefik has loaded routes that do not work."""
    return not any(banner(machine, listener, seconds=0.5) for listener in GREETING)


def changed(routes: list[Manifest], change: Callable[[Any], None]) -> list[Manifest]:
    """Return routes whose services have been changed."""
    copies = copy.deepcopy(routes)
    for route in copies:
        for service in route["spec"]["routes"][0]["services"]:
            change(service)
    return copies


@pytest.fixture(scope="module")
def ours(mail: Cluster, sender: Machine) -> Iterator[list[Manifest]]:
    """Lend the routes that run; they, and the transport, are put back."""
    transport = mail.api.get("ServersTransportTCP", "proxy-v2")
    routes = copy.deepcopy(mail.api.list("IngressRouteTCP"))
    yield routes
    mail.apply(transport, *routes)
    mail.wait(lambda: all_greet(sender), lambda: mail.log(TRAEFIK)[-3000:], LOADED_SECONDS)


@pytest.fixture(scope="module")
def without_header(mail: Cluster, sender: Machine, ours: list[Manifest]) -> None:
    """Have Traefik send no header, and nothing left that could ask for one."""
    mail.apply(*changed(ours, lambda service: service.pop("serversTransport")))
    mail.remove("ServersTransportTCP", "proxy-v2")
    mail.wait(lambda: none_greets(sender), lambda: "Traefik keeps the old routes", LOADED_SECONDS)


@pytest.fixture(scope="module")
def of_the_reference(mail: Cluster, sender: Machine, without_header: None) -> None:  # noqa: ARG001
    """Have the routes as the document has them."""
    routes = of_kind(render(KUSTOMIZE / "ingress" / "traefik"), "IngressRouteTCP")
    assert routes["ingress-imap"]["spec"]["routes"][0]["services"] == [
        {"name": "mda", "port": "imap", "nativeLB": True, "proxyProtocol": {"version": 2}}
    ]
    mail.apply(*routes.values())
    mail.wait(lambda: all_greet(sender), lambda: mail.log(TRAEFIK)[-3000:], LOADED_SECONDS)


@pytest.mark.usefixtures("without_header")
@pytest.mark.parametrize("listener", PORTS)
def test_control_without_a_header_nobody_is_served(
    mail: Cluster, sender: Machine, listener: str
) -> None:
    """The daemons would take Traefik's address for the client's, and nobody would notice."""
    since = mail.mark(MTA)
    assert not banner(sender, listener, seconds=0.5)
    proxy = mail.pods[TRAEFIK].host.ipv4
    assert f"connect from unknown[{proxy}]" not in mail.log(MTA)[since:]


@pytest.mark.usefixtures("of_the_reference")
@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("listener", PORTS)
def test_the_references_routes_keep_the_clients_address(
    mail: Cluster, sender: Machine, listener: str, family: int
) -> None:
    """Whoever follows the document word for word must have what it promises."""
    assert speak(mail, sender, listener, family).seen(mail)


def test_a_tls_route_of_others_leaves_mail_alone(mail: Cluster, sender: Machine) -> None:
    """A web page in the same cluster would silence mail: Traefik waits for its client's words."""
    page = {
        "apiVersion": "traefik.io/v1alpha1",
        "kind": "IngressRoute",
        "metadata": {"name": "page"},
        "spec": {
            "routes": [
                {
                    "kind": "Rule",
                    "match": "Host(`www.example.org`)",
                    "services": [{"name": "mda", "port": "imap"}],
                }
            ],
            "tls": {},
        },
    }
    named = {**page, "spec": {**page["spec"], "entryPoints": ["imap"]}}  # type: ignore[dict-item]
    try:
        # The control, which also shows that Traefik takes the route.
        mail.apply(named)
        mail.wait(lambda: not banner(sender), lambda: mail.log(TRAEFIK)[-3000:], LOADED_SECONDS)
        assert banner(sender, "pop3")
        mail.apply(page)
        mail.wait(lambda: banner(sender), lambda: mail.log(TRAEFIK)[-3000:], LOADED_SECONDS)
    finally:
        mail.remove("IngressRoute", "page")
