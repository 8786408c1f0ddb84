"""The checks that ask the Kubernetes API: right passes, and each way to be wrong is seen."""

from __future__ import annotations

import ipaddress
import re
import sys
from dataclasses import replace
from typing import Any

import pytest
from verify_cluster import (
    NAMESPACE,
    ROWS,
    TRUSTED,
    Small,
    endpoints,
    pod,
    route,
    service,
    target,
    topology,
    transport,
)

from gatepost.model import Status
from gatepost.plugins.kubernetes.checks.endpoints import endpoints as endpoints_check
from gatepost.plugins.traefik.checks.proxy_log import proxy_log
from gatepost.plugins.traefik.checks.route import route as route_check
from gatepost.plugins.traefik.checks.traffic_policy import traffic_policy
from gatepost.plugins.traefik.checks.trust import judged, trust
from gatepost.verify.vantage.cluster import Unreadable

# --- route ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [row.name for _, row in ROWS])
def test_a_route_as_it_ships_passes(small: Small, name: str) -> None:
    """The reference's own route."""
    outcome = route_check(small.run(), target(name))
    assert outcome.status is Status.PASS, outcome
    assert f"ingress-{name}" in outcome.observed


def test_the_new_form_of_a_route_passes(small: Small) -> None:
    """The field of the reference is deprecated; a ServersTransportTCP says the same."""
    small.server.put(
        transport("proxy-v2", proxyProtocol={"version": 2}),
        route("imap", "mda", proxyProtocol=None, serversTransport="proxy-v2"),
        namespace=NAMESPACE,
    )
    outcome = route_check(small.run(), target("imap"))
    assert outcome.status is Status.PASS, outcome
    assert "by proxy-v2" in outcome.observed


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"proxyProtocol": None}, "no PROXY protocol"),
        ({"proxyProtocol": None, "serversTransport": "x"}, "no ServersTransportTCP x"),
        ({"name": "mta", "port": "smtp"}, "leads to mta port smtp"),
        ({"port": "pop3"}, "leads to mda port pop3"),
    ],
)
def test_a_route_that_leads_astray_fails(small: Small, changes: dict[str, Any], words: str) -> None:
    """Nobody would be served, and nothing else would say why."""
    small.server.put(route("imap", "mda", **changes), namespace=NAMESPACE)
    run = small.run()
    outcome = route_check(run, target("imap"))
    assert outcome.status is Status.FAIL
    assert words in outcome.observed
    assert "kubectl edit ingressroutetcp ingress-imap" in outcome.fix
    assert outcome.blames == ("imap",)
    right = route_check(run, target("imaps"))
    assert (right.status, right.blames) == (Status.PASS, ())


def test_a_route_that_is_not_there_fails(small: Small) -> None:
    """Traefik takes the connection and hangs up."""
    small.server.delete("IngressRouteTCP", "ingress-imap", NAMESPACE)
    outcome = route_check(small.run(), target("imap"))
    assert outcome.status is Status.FAIL
    assert "no IngressRouteTCP leads to mda port imap" in outcome.observed


@pytest.mark.parametrize(
    ("points", "words"), [(["mail"], "names entry point mail"), ([], "names no entry point")]
)
def test_a_route_from_nowhere_fails(small: Small, points: list[str], words: str) -> None:
    """Traefik has no such entry point, and says so in its log only."""
    item = route("imap", "mda")
    item["spec"]["entryPoints"] = points
    small.server.put(item, namespace=NAMESPACE)
    outcome = route_check(small.run(), target("imap"))
    assert outcome.status is Status.FAIL
    assert words in outcome.observed


def test_a_route_to_a_service_that_is_not_there_fails(small: Small) -> None:
    """The names agree and lead nowhere."""
    small.server.delete("Service", "mda", NAMESPACE)
    outcome = route_check(small.run(), target("imap"))
    assert outcome.status is Status.FAIL
    assert "no such Service" in outcome.observed


def test_version_1_is_a_risk(small: Small) -> None:
    """It works, and says nothing of health checks."""
    small.server.put(route("imap", "mda", proxyProtocol={"version": 1}), namespace=NAMESPACE)
    assert route_check(small.run(), target("imap")).status is Status.RISK


def test_a_header_for_a_listener_that_takes_none_fails(small: Small) -> None:
    """The daemon would read it as a command."""
    imap = target("imap")
    plain = replace(imap, bound=replace(imap.bound, proxied=False))
    outcome = route_check(small.run(), plain)
    assert outcome.status is Status.FAIL
    assert "MDA_UPSTREAM_PROXY=true" in outcome.fix


# --- endpoints ------------------------------------------------------------------------------------


def test_services_with_ready_pods_pass(small: Small) -> None:
    """All four of them."""
    outcome = endpoints_check(small.run())
    assert outcome.status is Status.PASS, outcome
    assert all(name in outcome.observed for name in ("mda: 1", "mda-internal: 1", "mta: 1"))


def test_a_service_without_a_ready_pod_fails(small: Small) -> None:
    """The rows of its listeners are told why."""
    small.server.put(endpoints("mta", "mta", ready=False), namespace=NAMESPACE)
    outcome = endpoints_check(small.run())
    assert outcome.status is Status.FAIL
    assert "mta: 0 ready, 1 not" in outcome.observed
    assert set(outcome.blames) == {"smtp", "submissions", "submission"}


def test_a_service_that_is_missing_fails(small: Small) -> None:
    """The addresses of the settings would not resolve."""
    small.server.delete("Service", "mda-internal", NAMESPACE)
    outcome = endpoints_check(small.run())
    assert outcome.status is Status.FAIL
    assert "mda-internal: no such Service" in outcome.observed
    assert "deploy/kustomize/mda" in outcome.fix


# --- traffic-policy -------------------------------------------------------------------------------


def test_the_local_policy_passes(small: Small) -> None:
    """As the shipped values have it."""
    outcome = traffic_policy(small.run())
    assert outcome.status is Status.PASS, outcome
    assert "traefik-mail: Local" in outcome.observed


@pytest.mark.parametrize("policy", ["Cluster", None])
def test_another_policy_fails(small: Small, policy: str | None) -> None:
    """It is the default, and every client has a node's address."""
    small.change("Service", "traefik-mail", externalTrafficPolicy=policy)
    outcome = traffic_policy(small.run())
    assert outcome.status is Status.FAIL
    assert "traefik-mail: Cluster" in outcome.observed
    assert "externalTrafficPolicy: Local" in outcome.fix


def test_a_load_balancers_header_makes_up_for_it(small: Small) -> None:
    """The client is named before the node changes the address."""
    small.change("Service", "traefik-mail", externalTrafficPolicy="Cluster")
    arguments = [
        word
        for _, row in ROWS
        for word in (
            f"--entryPoints.{row.name}.address=:{row.entry_point_port}/tcp",
            f"--entryPoints.{row.name}.proxyProtocol.trustedIPs=192.0.2.1",
        )
    ]
    small.server.put(pod("traefik", "10.42.0.10", "fd00:42::10", arguments), namespace=NAMESPACE)
    assert traffic_policy(small.run()).status is Status.PASS


def test_a_service_for_web_pages_is_not_looked_at(small: Small) -> None:
    """Its clients send no mail."""
    web = service("traefik-web", "traefik", type="LoadBalancer")
    web["spec"]["ports"] = [{"name": "websecure", "port": 443, "targetPort": "websecure"}]
    small.server.put(web, namespace=NAMESPACE)
    assert traffic_policy(small.run()).status is Status.PASS


# --- proxy-log ------------------------------------------------------------------------------------

ERROR = (
    "2199-01-01T00:00:00Z ERR Error while adding route to muxer "
    'error="invalid rule" entryPointName=imap routerName=mail-ingress-imap-1@kubernetescrd'
)


def test_a_log_without_errors_about_us_passes(small: Small) -> None:
    """An error about another site's pages is not ours."""
    small.say("traefik-0", "2199-01-01T00:00:00Z ERR Cannot create service webshop", "INF imap")
    outcome = proxy_log(small.run())
    assert outcome.status is Status.PASS, outcome


@pytest.mark.parametrize(
    "line",
    [
        ERROR,
        'time="2199-01-01T00:00:00Z" level=error msg="no service" ingress=ingress-imap',
        '{"level":"error","ingress":"ingress-imap","message":"kubernetes service not found: mda"}',
        "\x1b[90m2199-01-01T00:00:00Z\x1b[0m \x1b[31mERR\x1b[0m no entry point ingress-imap",
    ],
)
def test_an_error_about_a_route_fails(small: Small, line: str) -> None:
    """In each of the forms in which Traefik writes."""
    small.say("traefik-0", line)
    outcome = proxy_log(small.run())
    assert outcome.status is Status.FAIL
    assert "imap" in outcome.observed
    assert "\x1b" not in outcome.witness


def test_an_error_from_before_the_last_change_is_told_and_no_failure(small: Small) -> None:
    """It may be mended, and logs are kept."""
    small.say("traefik-0", ERROR, moment="2001-01-01T00:00:00Z")
    outcome = proxy_log(small.run())
    assert outcome.status is Status.PASS
    assert "1 from before the last change" in outcome.observed


def test_a_log_that_is_not_read_to_its_end_proves_nothing(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error in the part that was not read would be called none."""
    small.say("traefik-0", "INF imap")
    assert proxy_log(small.run()).status is Status.PASS, "the control"
    monkeypatch.setattr(sys.modules[proxy_log.__module__], "_READING_SECONDS", -1.0)
    with pytest.raises(Unreadable, match="was not read to its end in time"):
        proxy_log(small.run())
    # What was read counts all the same.
    small.say("traefik-0", ERROR)
    file = small.server.log_file("traefik-0", "traefik", NAMESPACE)
    file.write_text("\n".join(reversed(file.read_text().splitlines())) + "\n")
    assert proxy_log(small.run()).status is Status.FAIL


def test_an_error_that_another_row_explains_is_left_to_it(small: Small) -> None:
    """One cause is one failure."""
    small.say("traefik-0", ERROR)
    outcome = proxy_log(small.run(causes={"imap": "route"}))
    assert outcome.status is Status.NOT_PROVEN
    assert "route" in outcome.fix


# --- trust-breadth --------------------------------------------------------------------------------


def test_the_network_of_pods_passes(small: Small) -> None:
    """Traefik's pod changes its address, and the network stays."""
    outcome = trust(small.run())
    assert outcome.status is Status.PASS, outcome
    assert "traefik-0" in outcome.observed


@pytest.mark.parametrize(
    ("networks", "status", "words"),
    [
        ("10.42.0.10/32", Status.PASS, "covers traefik-0"),
        ("10.42.0.0/16,fd00:42::/48", Status.PASS, "covers traefik-0"),
        ("10.0.0.0/8", Status.RISK, "wider than any pod network: 10.0.0.0/8"),
        ("0.0.0.0/0", Status.RISK, "0.0.0.0/0"),
        ("10.42.0.0/24,::/0", Status.RISK, "::/0"),
        ("10.42.0.0/24,192.0.2.0/24", Status.RISK, "no pod of Traefik's is in 192.0.2.0/24"),
        ("10.43.0.0/24", Status.FAIL, "does not cover traefik-0"),
        ("fd00:42::/64", Status.FAIL, "does not cover traefik-0"),
    ],
)
def test_networks_are_compared_with_traefiks_pods(
    networks: str, status: Status, words: str
) -> None:
    """Too narrow serves nobody, too wide believes everybody."""
    trusted = tuple(ipaddress.ip_network(one) for one in networks.split(","))
    outcome = judged(trusted, (pod("traefik", "10.42.0.10", "fd00:42::10"),))
    assert outcome.status is status, outcome
    assert words in outcome.observed


def test_nobody_to_trust_is_no_risk(small: Small) -> None:
    """Without a proxy no port takes a header."""
    table = topology()
    plain = tuple(replace(bound, proxied=False) for bound in table.listeners)
    run = small.run(topology=replace(table, listeners=plain, trusted_proxies=()))
    assert trust(run).status is Status.PASS
    assert table.trusted_proxies == TRUSTED


# --- Traefik elsewhere ----------------------------------------------------------------------------


def test_traefik_in_another_namespace_is_found_there(small: Small) -> None:
    """Its routes stay with the mail server."""
    for kind, name in (("Pod", "traefik-0"), ("Service", "traefik-mail")):
        item = small.server.get(kind, name, NAMESPACE)
        small.server.delete(kind, name, NAMESPACE)
        meta = {**item["metadata"], "namespace": "edge"}
        small.server.put({**item, "metadata": meta}, namespace="edge")
    run = small.run(cluster=small.cluster(proxy_namespace="edge"))
    assert route_check(run, target("imap")).status is Status.PASS
    assert traffic_policy(run).status is Status.PASS
    assert re.search("traefik-0", str(trust(run).observed))
