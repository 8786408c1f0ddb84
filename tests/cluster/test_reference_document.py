"""The reference document, line by line, and the test that holds each line.

A line that no test holds would be a promise that nobody keeps.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from shipped import DEPLOY, KUSTOMIZE, ROOT, of_kind, render

TESTS = ROOT / "tests"

VARIABLES = """
MDA_UPSTREAM_PROXY=true
MTA_UPSTREAM_PROXY=true
TRUSTED_PROXIES=10.0.0.0/8
MDA_IMAP_ADDRESS=traefik-internal:33143
MDA_IMAPS_ADDRESS=traefik-internal:33993
MDA_POP3_ADDRESS=traefik-internal:33110
MDA_POP3S_ADDRESS=traefik-internal:33995
MTA_SMTP_ADDRESS=traefik-internal:3325
MTA_SMTP_SUBMISSION_ADDRESS=traefik-internal:33587
"""
"""The document's example configuration."""

ENTRY_POINTS = """
ports:
  smtp:
    port: 3325
    expose:
      default: true
      internal: true
  submission:
    port: 33587
    expose:
      default: true
      internal: true
  imap:
    port: 33143
    expose:
      default: true
      internal: true
  imaps:
    port: 33993
    expose:
      default: true
      internal: true
  pop3:
    port: 33110
    expose:
      default: true
      internal: true
  pop3s:
    port: 33995
    expose:
      default: true
      internal: true
"""
"""The document's entry points."""

PUBLIC = {"imap": 143, "imaps": 993, "pop3": 110, "pop3s": 995, "smtp": 25, "submission": 587}
"""The document's list of routes: listener → port."""

HELD = {
    "Default of MDA_UPSTREAM_PROXY and MTA_UPSTREAM_PROXY: false; of TRUSTED_PROXIES: none": (
        "unit/settings/test_loading.py::test_defaults_in_a_container"
    ),
    "Ensures proper traffic routing through the proxy: its ports, not those behind it": (
        "cluster/test_cluster_trust.py::test_only_traefik_comes_to_service_ports"
    ),
    "HostSNI matching, native load balancing, PROXY protocol version 2": (
        "cluster/test_reference_document.py::test_each_route_leads_to_its_port"
    ),
    "MDA_UPSTREAM_PROXY, MTA_UPSTREAM_PROXY: enable PROXY protocol": (
        "cluster/test_cluster_routes.py::test_control_without_a_header_nobody_is_served"
    ),
    "TRUSTED_PROXIES: comma-separated list of trusted proxy IP ranges": (
        "cluster/test_cluster_bad_input.py::test_a_range_that_does_not_hold_traefik_is_told"
    ),
    "The addresses should reference the reverse proxy's internal service name": (
        "cluster/test_cluster_reference.py::test_internal_addresses_lead_through_traefik"
    ),
    "include the Traefik ingress configuration in your Kustomize setup": (
        "manifests/test_manifests.py::test_the_references_kustomization_renders"
    ),
    "Example IngressRoute for IMAP": (
        "manifests/test_manifests.py::test_the_route_of_the_reference_is_the_one_that_ships"
    ),
    "PROXY protocol: Version 2 support, beside the service": (
        "cluster/test_cluster_routes.py::test_the_references_routes_keep_the_clients_address"
    ),
    "Client Connection: Client connects to Traefik on standard mail ports": (
        "cluster/test_cluster_addresses.py::test_the_daemon_logs_the_clients_address"
    ),
    "Traefik Routing: Traefik routes traffic to internal mail services": (
        "cluster/test_cluster_addresses.py::test_mail_from_one_machine_is_read_on_another"
    ),
    "PROXY Protocol: Traefik sends PROXY protocol headers": (
        "cluster/test_cluster_trust.py::"
        "test_a_header_that_comes_through_traefik_is_the_clients_words"
    ),
    "Mail Server: processes the connection with original client IP information": (
        "cluster/test_cluster_addresses.py::test_the_daemon_logs_the_clients_address"
    ),
    "kubectl logs -l app.kubernetes.io/name=traefik": (
        "cluster/test_cluster_reference.py::test_kubectl_shows_traefiks_log"
    ),
    "kubectl get ingressroutetcp": (
        "cluster/test_cluster_reference.py::test_kubectl_lists_the_routes"
    ),
    "telnet your-domain.com 25, 587, 143": (
        "cluster/test_cluster_reference.py::test_telnet_shows_a_banner"
    ),
}
"""What the document says → the test that would fail were it not so."""


def _example(name: str) -> dict[str, str]:
    files = [KUSTOMIZE / "common" / "defaults.env", KUSTOMIZE / "overlays" / name / ".env.example"]
    lines = [line for file in files for line in file.read_text().splitlines()]
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


@pytest.mark.parametrize("line", VARIABLES.split())
def test_the_example_configuration_is_what_ships(line: str) -> None:
    """Whoever compares the two would not know which is right."""
    variable, value = line.split("=", 1)
    assert _example("complete")[variable] == value


@pytest.mark.parametrize("line", VARIABLES.split())
def test_each_variable_is_in_the_reference_of_settings(line: str) -> None:
    """A variable that is only in another project's document cannot be looked up."""
    variable = line.partition("=")[0]
    assert re.search(rf"\b{variable}\b", (ROOT / "docs/reference/settings.md").read_text())


@pytest.mark.parametrize("name", yaml.safe_load(ENTRY_POINTS)["ports"])
def test_each_entry_point_is_what_ships(name: str) -> None:
    """The addresses above would lead nowhere."""
    shipped = yaml.safe_load((DEPLOY / "traefik" / "values.yaml").read_text())["ports"]
    assert shipped[name] == yaml.safe_load(ENTRY_POINTS)["ports"][name]


@pytest.mark.parametrize("name", PUBLIC)
def test_each_route_leads_to_its_port(name: str) -> None:
    """`HostSNI`, `nativeLB` and the header's version 2, for every listener of the document."""
    route = of_kind(render(KUSTOMIZE / "ingress" / "traefik"), "IngressRouteTCP")[f"ingress-{name}"]
    (only,) = route["spec"]["routes"]
    (service,) = only["services"]
    assert route["spec"]["entryPoints"] == [name]
    assert only["match"] == "HostSNI(`*`)"
    assert service["nativeLB"] is True
    assert service["proxyProtocol"] == {"version": 2}
    published = of_kind(render(KUSTOMIZE / service["name"]), "Service")[service["name"]]
    numbers = {row["name"]: row["port"] for row in published["spec"]["ports"]}
    assert numbers[service["port"]] == PUBLIC[name]


@pytest.mark.parametrize("line", HELD)
def test_each_line_is_held_by_a_test(line: str) -> None:
    """A test that is renamed away would leave its line to nobody."""
    file, _, test = HELD[line].partition("::")
    assert f"def {test}(" in Path(TESTS, file).read_text()
