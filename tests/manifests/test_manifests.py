"""What ships for Kubernetes: every port and name in it is the listener table's."""

from __future__ import annotations

import copy
from importlib.metadata import version
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from shipped import (
    DEPLOY,
    KUSTOMIZE,
    Manifest,
    RenderingError,
    admitted,
    container,
    environment,
    of_kind,
    overlay,
    pod_labels,
    render,
)

from gatepost import assembly, registry
from gatepost.errors import SettingsError
from gatepost.model import Listener
from gatepost.plugins.gate.plan import METRICS_PORT
from gatepost.registry import load
from gatepost.run import health

KUBERNETES = kubernetes_validate.latest_version()
TRAEFIK = {"app.kubernetes.io/name": "traefik"}
NEIGHBOUR = {"app.kubernetes.io/name": "webshop"}
OURS = {"app.kubernetes.io/part-of": "gatepost"}

ROWS = {(daemon.unit, row) for daemon in registry.plugins() for row in daemon.listeners}
NEEDED = {role for daemon in registry.plugins() for role in daemon.needs}
ROLES = {
    {"delivery": "lmtp"}.get(role, str(role)): offer.port
    for daemon in assembly.of_unit("mda")
    for role, offer in daemon.offers.items()
    if role in NEEDED
}


def rows(service: str) -> set[Listener]:
    return {row for owner, row in ROWS if owner == service}


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> list[Manifest]:
    """Return what the example renders, filled in as its files say."""
    return render(overlay(tmp_path_factory.mktemp("example")))


SERVICES = pytest.mark.parametrize("service", ["mta", "mda"])


# --- ports and names ------------------------------------------------------------------------------


@SERVICES
def test_services_publish_the_listener_table(objects: list[Manifest], service: str) -> None:
    """Traefik and every address in the settings would lead to a port where nobody answers."""
    found = of_kind(objects, "Service")
    public = {(p["name"], p["port"], p["targetPort"]) for p in found[service]["spec"]["ports"]}
    assert public == {(r.name, r.public_port, r.service_port) for r in rows(service)}
    internal = {
        (p["name"], p["port"], p["targetPort"])
        for p in found[f"{service}-internal"]["spec"]["ports"]
    }
    others = ROLES if service == "mda" else {"metrics": METRICS_PORT}
    assert internal == {
        *((r.name, r.public_port, r.internal_port) for r in rows(service)),
        *((name, port, port) for name, port in others.items()),
    }
    for name in (service, f"{service}-internal"):
        assert found[name]["spec"]["ipFamilyPolicy"] == "PreferDualStack"


@SERVICES
def test_services_lead_to_ports_of_their_pods(objects: list[Manifest], service: str) -> None:
    """A Service whose label or port no pod has refuses every connection."""
    pods = of_kind(objects, "StatefulSet")
    opened = {port["containerPort"] for port in container(pods[service])["ports"]}
    assert health.PORT in opened
    for name in (service, f"{service}-internal"):
        spec = of_kind(objects, "Service")[name]["spec"]
        assert spec["selector"].items() <= pod_labels(pods[service]).items()
        assert {port["targetPort"] for port in spec["ports"]} <= opened
        others = [labels for other, labels in _labels(pods).items() if other != service]
        assert not any(spec["selector"].items() <= labels.items() for labels in others)


def _labels(pods: dict[str, Manifest]) -> dict[str, dict[str, str]]:
    return {name: pod_labels(pod) for name, pod in pods.items()}


def test_every_listener_has_its_route() -> None:
    """One of the mail ports would be dead."""
    routes = of_kind(render(KUSTOMIZE / "ingress" / "traefik"), "IngressRouteTCP")
    assert {name: route["spec"] for name, route in routes.items()} == {
        f"ingress-{row.name}": {
            "entryPoints": [row.name],
            "routes": [
                {
                    "match": "HostSNI(`*`)",
                    "services": [
                        {
                            "name": service,
                            "port": row.name,
                            "nativeLB": True,
                            "proxyProtocol": {"version": 2},
                        }
                    ],
                }
            ],
        }
        for service, row in ROWS
    }


REFERENCE_ROUTE = """
apiVersion: traefik.io/v1alpha1
kind: IngressRouteTCP
metadata:
  name: ingress-imap
spec:
  entryPoints:
    - imap
  routes:
    - match: HostSNI(`*`)
      services:
        - name: mda
          port: imap
          nativeLB: true
          proxyProtocol:
            version: 2
"""
"""The route that the reference document shows."""


def test_the_route_of_the_reference_is_the_one_that_ships() -> None:
    """The document would describe another server than this one."""
    shipped = KUSTOMIZE / "ingress" / "traefik" / "ingress-imap.yaml"
    assert yaml.safe_load(shipped.read_text()) == yaml.safe_load(REFERENCE_ROUTE)


def test_the_references_kustomization_renders(tmp_path: Path) -> None:
    """The first thing that a reader of the document does would fail."""
    overlay(tmp_path / "deploy")
    (tmp_path / "kustomization.yaml").write_text(
        "apiVersion: kustomize.config.k8s.io/v1beta1\n"
        "kind: Kustomization\n"
        "\n"
        "resources:\n"
        "  - deploy/kustomize/ingress/traefik\n"
        "  # ... other resources\n"
    )
    assert len(of_kind(render(tmp_path), "IngressRouteTCP")) == len(ROWS)


def test_the_component_swaps_the_deprecated_field(objects: list[Manifest]) -> None:
    """A Traefik that has dropped the field would send no header, and nobody would be served."""
    transports = of_kind(objects, "ServersTransportTCP")
    assert transports["proxy-v2"]["spec"] == {"proxyProtocol": {"version": 2}}
    routes = of_kind(objects, "IngressRouteTCP").values()
    assert len(routes) == len(ROWS)
    for route in routes:
        (served,) = route["spec"]["routes"][0]["services"]
        assert served["serversTransport"] == "proxy-v2"
        assert "proxyProtocol" not in served


# --- Traefik's own values -------------------------------------------------------------------------


def values() -> Manifest:
    found: Manifest = yaml.safe_load((DEPLOY / "traefik" / "values.yaml").read_text())
    return found


def test_entry_points_are_the_references() -> None:
    """Traefik would listen elsewhere than the document and the settings say."""
    ports = values()["ports"]
    # Routes that name no entry point stay on those of HTTP.
    assert {name for name, row in ports.items() if row.get("asDefault")} == {"web", "websecure"}
    assert {name: row for name, row in ports.items() if "asDefault" not in row} == {
        row.name: {"port": row.entry_point_port, "expose": {"default": True, "internal": True}}
        for _, row in ROWS
    }


def test_traefik_is_reached_on_the_worlds_ports_with_the_clients_address() -> None:
    """Nobody finds port 3325, and without Local every client has a node's address."""
    (mail,) = values()["extraObjects"]
    assert mail["spec"]["selector"] == TRAEFIK
    assert mail["spec"]["externalTrafficPolicy"] == "Local"
    assert values()["service"]["spec"]["externalTrafficPolicy"] == "Local"
    assert {(p["name"], p["port"], p["targetPort"]) for p in mail["spec"]["ports"]} == {
        (row.name, row.public_port, row.name) for _, row in ROWS
    }
    kubernetes_validate.validate(mail, KUBERNETES, strict=True)


def test_the_internal_service_is_the_one_that_addresses_name() -> None:
    """The chart calls it after the release and the key: traefik-internal."""
    assert values()["service"]["additionalServices"] == {
        # Charts up to version 39 read the type here; later ones have Kubernetes' own default.
        "internal": {"type": "ClusterIP", "spec": {"ipFamilyPolicy": "PreferDualStack"}}
    }


def test_k3s_has_the_same_values() -> None:
    """One of two copies would grow old."""
    config = yaml.safe_load((DEPLOY / "traefik" / "k3s-helmchartconfig.yaml").read_text())
    assert yaml.safe_load(config["spec"]["valuesContent"]) == values()
    assert (config["kind"], config["metadata"]["namespace"]) == ("HelmChartConfig", "kube-system")


# --- pods -----------------------------------------------------------------------------------------


def test_objects_fit_kubernetes_schemas(objects: list[Manifest]) -> None:
    """`kubectl apply` would refuse the manifests, or ignore a field that is misspelt."""
    core = [found for found in objects if not found["apiVersion"].startswith("traefik.io/")]
    assert len(core) >= 12
    for found in core:
        kubernetes_validate.validate(found, KUBERNETES, strict=True)
    misspelt = copy.deepcopy(of_kind(objects, "StatefulSet")["mta"])
    misspelt["spec"]["template"]["spec"]["terminationGracePeriodSecond"] = 60
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(misspelt, KUBERNETES, strict=True)


@SERVICES
def test_pods_have_no_more_rights_than_they_need(objects: list[Manifest], service: str) -> None:
    """Who breaks into a daemon would find a whole machine."""
    pod = of_kind(objects, "StatefulSet")[service]["spec"]["template"]["spec"]
    (only,) = pod["containers"]
    rights = only["securityContext"]
    assert rights["readOnlyRootFilesystem"] is True
    assert rights["allowPrivilegeEscalation"] is False
    assert rights["capabilities"]["drop"] == ["ALL"]
    assert not {"NET_ADMIN", "SYS_ADMIN", "NET_RAW", "SYS_PTRACE"} & set(
        rights["capabilities"]["add"]
    )
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert {mount["mountPath"] for mount in only["volumeMounts"]} == {
        "/var/lib/gatepost",
        "/var/lib/gatepost/run",
        "/tmp",  # noqa: S108  a path of the container
    }
    assert only["image"] == f"gatepost-{service}:{version('gatepost')}"


@SERVICES
def test_probes_ask_for_health(objects: list[Manifest], service: str) -> None:
    """A probe of a mail port would write a line into the log every few seconds."""
    only = container(of_kind(objects, "StatefulSet")[service])
    (port,) = (p["containerPort"] for p in only["ports"] if p.get("name") == "health")
    assert port == health.PORT
    paths = {name: only[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")}
    assert {name: get["path"] for name, get in paths.items()} == {
        "startup": "/live",
        "readiness": "/ready",
        "liveness": "/live",
    }
    assert {get["port"] for get in paths.values()} == {"health"}
    assert only["terminationMessagePolicy"] == "FallbackToLogsOnError"


@SERVICES
def test_a_drained_node_waits(objects: list[Manifest], service: str) -> None:
    """Mail would stop without anybody having decided so."""
    budget = of_kind(objects, "PodDisruptionBudget")[service]["spec"]
    pod = of_kind(objects, "StatefulSet")[service]
    assert budget["maxUnavailable"] == 0
    assert budget["selector"]["matchLabels"].items() <= pod_labels(pod).items()


# --- who may reach what ---------------------------------------------------------------------------


@SERVICES
def test_only_the_proxy_reaches_the_service_ports(objects: list[Manifest], service: str) -> None:
    """Any pod could try to say who a client is."""
    policy = of_kind(objects, "NetworkPolicy")[service]
    pod = of_kind(objects, "StatefulSet")[service]
    selected = policy["spec"]["podSelector"]["matchLabels"]
    assert selected.items() <= pod_labels(pod).items()
    assert policy["spec"]["policyTypes"] == ["Ingress"]
    assert set(admitted(policy, TRAEFIK)) == {row.service_port for row in rows(service)}
    assert set(admitted(policy, NEIGHBOUR)) == set()
    internal = {row.internal_port for row in rows(service)}
    extra = {METRICS_PORT} if service == "mta" else set()
    assert set(admitted(policy, OURS)) == internal | extra


def test_only_the_mta_asks_the_mail_store(objects: list[Manifest]) -> None:
    """Any pod could deliver past all checks, or try passwords without a limit."""
    policy = of_kind(objects, "NetworkPolicy")["mda"]
    mta = pod_labels(of_kind(objects, "StatefulSet")["mta"])
    asked = {ROLES["lmtp"], ROLES["sasl"], ROLES["quota-status"]}
    assert asked <= set(admitted(policy, mta))
    assert not asked & set(admitted(policy, OURS))
    opened = copy.deepcopy(policy)
    for rule in opened["spec"]["ingress"]:
        rule.pop("from")
    assert asked <= set(admitted(opened, NEIGHBOUR)), "an open policy would not be found"


# --- what the user fills in -----------------------------------------------------------------------


@SERVICES
def test_the_example_is_a_configuration(objects: list[Manifest], service: str) -> None:
    """Who follows the example to the letter would get pods that refuse to start."""
    settings = load(environment(objects, service))
    topology = assembly.topology(settings, unit=service)
    assert {bound.listener for bound in topology.listeners} == rows(service)
    assert all(bound.proxied for bound in topology.listeners)
    for name, address in topology.clients.items():
        if assembly.client_settings().get(name):
            assert address.host == "traefik-internal"
            assert address.port == next(r.entry_point_port for _, r in ROWS if r.name == name)


def test_a_missing_env_file_is_named(tmp_path: Path) -> None:
    """The user would wonder which of the files is meant."""
    with pytest.raises(RenderingError, match=r"overlays/example/\.env"):
        render(overlay(tmp_path, files={".env": ""}))


def test_a_half_filled_env_file_is_told_by_the_pod(tmp_path: Path) -> None:
    """The pod would start without a proxy that it believes, or without a database."""
    files = {".env": "MAILNAME=mail.example.org\n"}
    told = environment(render(overlay(tmp_path, files=files)), "mta")
    with pytest.raises(SettingsError) as refused:
        load(told)
    variables = {problem.partition(":")[0] for problem in refused.value.problems}
    assert {"DB_HOST", "DB_NAME", "DB_USER"} <= variables
