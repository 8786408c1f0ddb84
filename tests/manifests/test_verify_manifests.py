"""The proof in a cluster: its Job may do what it does, and nothing more."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from kubernetes_schema import VERSION as KUBERNETES
from kubernetes_schema import deprecated
from shipped import KUSTOMIZE, Manifest, admitted, of_kind, overlay, pod_labels, render

from gatepost import assembly, registry
from gatepost.plugins.kubernetes.checks import api as kubernetes
from gatepost.plugins.traefik.checks import objects as traefik
from gatepost.verify.vantage.cluster import Kind

FOLDERS = ("verify", "verify-scheduled", "verify-traefik-elsewhere")
SERVICE_PORTS = {row.service_port for one in registry.plugins() for row in one.listeners}
READ_HERE = (
    kubernetes.POD,
    kubernetes.SERVICE,
    kubernetes.ENDPOINT_SLICE,
    traefik.ROUTE,
    traefik.TRANSPORT,
)
READ_OF_TRAEFIK = (kubernetes.POD, kubernetes.SERVICE)


@pytest.fixture(scope="module")
def job() -> Manifest:
    return of_kind(render(KUSTOMIZE / "verify"), "Job")["verify"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_objects_fit_kubernetes_schemas(folder: str) -> None:
    """`kubectl apply` would refuse them, or ignore a field that is misspelt."""
    objects = render(KUSTOMIZE / folder)
    assert objects
    for item in objects:
        kubernetes_validate.validate(item, KUBERNETES, strict=True)
        assert not deprecated(item), item


def rules(folder: str) -> set[tuple[str, str, str]]:
    (role,) = of_kind(render(KUSTOMIZE / folder), "Role").values()
    return {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def needed(kinds: tuple[Kind, ...]) -> set[tuple[str, str, str]]:
    lists = {(kind.group, kind.resource, verb) for kind in kinds for verb in ("get", "list")}
    return {*lists, ("", "pods/log", "get")}


def test_the_role_allows_what_is_read_and_no_more() -> None:
    """A right too few is a row that proves nothing, one too many a way in: no Secret is read."""
    assert rules("verify") == needed(READ_HERE)
    assert rules("verify-traefik-elsewhere") == needed(READ_OF_TRAEFIK)


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_role_is_bound_to_the_account_of_the_pod(folder: str, job: Manifest) -> None:
    """The pod would read as nobody."""
    objects = render(KUSTOMIZE / folder)
    (binding,) = of_kind(objects, "RoleBinding").values()
    assert binding["roleRef"]["name"] in of_kind(objects, "Role")
    account = job["spec"]["template"]["spec"]["serviceAccountName"]
    (subject,) = binding["subjects"]
    assert (subject["kind"], subject["name"]) == ("ServiceAccount", account)


def test_the_pod_has_no_rights_on_its_node(job: Manifest) -> None:
    """It holds the database's password, so nobody else may get a foot into it."""
    pod = job["spec"]["template"]["spec"]
    (only,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    rights = only["securityContext"]
    assert rights["readOnlyRootFilesystem"] is True
    assert rights["allowPrivilegeEscalation"] is False
    assert rights["capabilities"] == {"drop": ["ALL"]}
    assert pod["restartPolicy"] == "Never"
    assert only["image"] == f"gatepost-mta:{version('gatepost')}"
    assert only["args"] == ["verify", "--cluster", "--tolerant"]


def test_the_scheduled_proof_is_the_same(job: Manifest) -> None:
    """One of two copies would grow old; two runs at a time would remove each other's mailbox."""
    objects = render(KUSTOMIZE / "verify-scheduled")
    assert not of_kind(objects, "Job")
    spec = of_kind(objects, "CronJob")["verify"]["spec"]
    assert spec["concurrencyPolicy"] == "Forbid"
    assert spec["jobTemplate"]["spec"]["template"] == job["spec"]["template"]


@pytest.mark.parametrize("folder", ["verify", "verify-scheduled"])
def test_an_overlay_takes_it_in(tmp_path: Path, folder: str) -> None:
    """The pod would wait for a ConfigMap and a Secret whose names the overlay has changed."""
    place = overlay(tmp_path)
    file = place / "kustomization.yaml"
    content = yaml.safe_load(file.read_text())
    content["resources"].append(f"../../{folder}")
    file.write_text(yaml.safe_dump(content))
    objects = render(place)
    spec = (of_kind(objects, "Job") or of_kind(objects, "CronJob"))["verify"]["spec"]
    (only,) = spec.get("jobTemplate", {"spec": spec})["spec"]["template"]["spec"]["containers"]
    names = {reference["name"] for source in only["envFrom"] for reference in source.values()}
    assert names == {*of_kind(objects, "ConfigMap"), *of_kind(objects, "Secret")}


def test_policies_let_it_do_what_it_must_and_keep_it_off_elsewhere(job: Manifest) -> None:
    """It reads mail where this site does, and is a stranger where only the proxy may come."""
    labels = pod_labels(job)
    for service in ("mta", "mda"):
        policy = of_kind(render(KUSTOMIZE / service), "NetworkPolicy")[service]
        ports = set(admitted(policy, labels))
        here = {row.internal_port for one in assembly.of_unit(service) for row in one.listeners}
        assert here <= ports
        assert not ports & SERVICE_PORTS
    database = of_kind(render(KUSTOMIZE / "database" / "postgresql"), "NetworkPolicy")
    assert 5432 in set(admitted(database["postgresql"], labels))
    own = of_kind(render(KUSTOMIZE / "verify"), "NetworkPolicy")["verify"]["spec"]
    assert own["podSelector"]["matchLabels"].items() <= labels.items()
    assert (own["policyTypes"], own.get("ingress", [])) == (["Ingress"], [])
