"""The overlays that ship are whole mail servers as they stand, each with its own difference."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from kubernetes_schema import VERSION as KUBERNETES
from kubernetes_schema import deprecated
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
from gatepost.registry import load
from gatepost.settings.concerns import DatabaseTls

OVERLAYS = sorted(folder.name for folder in (KUSTOMIZE / "overlays").iterdir())
WITH_DATABASE = pytest.mark.parametrize("name", ["complete", "k3s"])
PORT = 5432

ENTRY_POINTS = {
    listener.name: listener.entry_point_port
    for daemon in registry.plugins()
    for listener in daemon.listeners
}


def rendered(place: Path, name: str, components: tuple[str, ...] = ()) -> list[Manifest]:
    """Return what an overlay renders for a user who has added components."""
    folder = overlay(place, name)
    file = folder / "kustomization.yaml"
    content = yaml.safe_load(file.read_text())
    content["components"] += [f"../../components/{component}" for component in components]
    file.write_text(yaml.safe_dump(content))
    return render(folder)


# --- all of them ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OVERLAYS)
def test_objects_fit_kubernetes_schemas(tmp_path: Path, name: str) -> None:
    """`kubectl apply` would refuse the manifests, or ignore a field that is misspelt."""
    objects = rendered(tmp_path, name)
    core = [found for found in objects if not found["apiVersion"].startswith("traefik.io/")]
    assert len(core) >= 12
    for found in core:
        kubernetes_validate.validate(found, KUBERNETES, strict=True)
        assert deprecated(found) == [], found["metadata"]["name"]


def test_control_deprecated_fields_are_found(tmp_path: Path) -> None:
    """Kubernetes would drop a field that still ships, and nobody be warned."""
    objects = rendered(tmp_path, "complete")
    wrong = copy.deepcopy(of_kind(objects, "StatefulSet")["mta"])
    wrong["spec"]["template"]["spec"]["serviceAccount"] = "mta"
    volume = {"name": "code", "gitRepo": {"repository": "https://git.example.org/code"}}
    wrong["spec"]["template"]["spec"]["volumes"] = [volume]
    assert set(deprecated(wrong)) == {
        "spec.template.spec.serviceAccount",
        "spec.template.spec.volumes[0].gitRepo",
    }
    service = copy.deepcopy(of_kind(objects, "Service")["mta"])
    service["spec"]["loadBalancerIP"] = "192.0.2.1"
    assert deprecated(service) == ["spec.loadBalancerIP"]


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_reference_page_has_every_object(tmp_path: Path, name: str) -> None:
    """A user finds something in the cluster that no page tells of."""
    page = (DEPLOY.parent / "docs" / "reference" / "kubernetes.md").read_text()
    for item in rendered(tmp_path, name):
        made = item["metadata"]["name"]
        if item["kind"] in {"ConfigMap", "Secret"}:
            made = made.rpartition("-")[0]
        assert f"| {item['kind']} | `{made}` |" in page


@pytest.mark.parametrize("name", OVERLAYS)
@pytest.mark.parametrize("service", ["mta", "mda"])
def test_examples_are_configurations(tmp_path: Path, name: str, service: str) -> None:
    """Who follows an example to the letter would get pods that refuse to start."""
    objects = rendered(tmp_path, name)
    settings = load(environment(objects, service))
    topology = assembly.topology(settings, unit=service)
    assert all(bound.proxied for bound in topology.listeners)
    host = "traefik-internal.kube-system" if name == "k3s" else "traefik-internal"
    named = {
        client: address
        for client, address in topology.clients.items()
        if assembly.client_settings().get(client)
    }
    assert named
    for client, address in named.items():
        assert (address.host, address.port) == (host, ENTRY_POINTS[client])


@pytest.mark.parametrize("name", OVERLAYS)
def test_examples_fill_in_all_that_a_user_must(name: str) -> None:
    """A file that the kustomization reads would have no example."""
    folder = KUSTOMIZE / "overlays" / name
    content = yaml.safe_load((folder / "kustomization.yaml").read_text())
    read = [
        file
        for made in (*content["configMapGenerator"], *content["secretGenerator"])
        for file in made["envs"]
    ]
    assert {".env", "secret.env"} <= set(read)
    missing = [
        f for f in read if not any((folder / f"{f}{end}").exists() for end in ("", ".example"))
    ]
    assert missing == []


# --- k3s ------------------------------------------------------------------------------------------


def test_k3s_is_complete_with_addresses_of_its_own(tmp_path: Path) -> None:
    """One of two copies would grow old."""
    complete = yaml.safe_load(
        (KUSTOMIZE / "overlays" / "complete" / "kustomization.yaml").read_text()
    )
    k3s = yaml.safe_load((KUSTOMIZE / "overlays" / "k3s" / "kustomization.yaml").read_text())
    (config,) = k3s["configMapGenerator"]
    # Before the user's, which may say otherwise.
    assert config["envs"] == ["addresses.env", ".env"]
    config["envs"].remove("addresses.env")
    assert k3s == complete
    settings = load(environment(rendered(tmp_path, "k3s"), "mta"))
    assert settings.proxy.trusted_proxies[0].prefixlen == 24


# --- the database ---------------------------------------------------------------------------------


@pytest.fixture(name="objects")
def _objects(tmp_path: Path) -> list[Manifest]:
    return rendered(tmp_path, "complete")


@pytest.fixture(name="database")
def _database(objects: list[Manifest]) -> Manifest:
    return of_kind(objects, "StatefulSet")["postgresql"]


def test_the_database_is_where_the_settings_say(objects: list[Manifest]) -> None:
    """Both pods would wait for a database that is there."""
    settings = load(environment(objects, "mta"))
    service = of_kind(objects, "Service")[str(settings.database.db_host)]
    (port,) = service["spec"]["ports"]
    assert port["port"] == settings.database.db_port == PORT
    pods = of_kind(objects, "StatefulSet")
    (opened,) = container(pods["postgresql"])["ports"]
    assert opened == {"name": port["targetPort"], "containerPort": PORT}
    chosen = [
        name
        for name, pod in pods.items()
        if service["spec"]["selector"].items() <= pod_labels(pod).items()
    ]
    assert chosen == ["postgresql"]


def test_the_database_is_the_one_that_the_pods_ask_for(
    objects: list[Manifest], database: Manifest
) -> None:
    """Name, user or password would be others than the pods have, and every login be refused."""
    kinds = {"configMapKeyRef": "ConfigMap", "secretKeyRef": "Secret"}
    told: dict[str, tuple[str, str]] = {}
    for variable in container(database)["env"]:
        for kind, reference in variable.get("valueFrom", {}).items():
            source = of_kind(objects, kinds[kind])[reference["name"]]
            assert reference["key"] in source["data"]
            told[variable["name"]] = (kinds[kind], reference["key"])
    assert told == {
        "POSTGRES_DB": ("ConfigMap", "DB_NAME"),
        "POSTGRES_USER": ("ConfigMap", "DB_USER"),
        "POSTGRES_PASSWORD": ("Secret", "DB_PASSWORD"),
    }


def test_only_those_who_ask_reach_the_database(objects: list[Manifest], database: Manifest) -> None:
    """Any pod could try passwords at the database."""
    policy = of_kind(objects, "NetworkPolicy")["postgresql"]
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= pod_labels(database).items()
    pods = of_kind(objects, "StatefulSet")
    for service in ("mta", "mda"):
        assert set(admitted(policy, pod_labels(pods[service]))) == {PORT}
    ours = {"app.kubernetes.io/part-of": "gatepost"}
    assert set(admitted(policy, ours | {"app.kubernetes.io/name": "verify"})) == {PORT}
    for labels in (ours, {"app.kubernetes.io/name": "mta"}, {"app.kubernetes.io/name": "traefik"}):
        assert set(admitted(policy, labels)) == set()
    # Nothing leaves it: a policy of this type without a rule admits nothing.
    assert "Egress" in policy["spec"]["policyTypes"]
    assert "egress" not in policy["spec"]


def test_the_database_has_no_rights(database: Manifest) -> None:
    """Who breaks into it would find more than the database."""
    pod = database["spec"]["template"]["spec"]
    rights = container(database)["securityContext"]
    assert rights == {
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    # Whatever it writes has a volume.
    mounted = [mount["mountPath"] for mount in container(database)["volumeMounts"]]
    assert mounted == ["/var/lib/postgresql/data", "/var/run/postgresql", "/tmp"]  # noqa: S108


def test_the_databases_files_are_on_its_volume(database: Manifest) -> None:
    """All accounts would be gone with the pod."""
    (claim,) = database["spec"]["volumeClaimTemplates"]
    mounts = {m["name"]: m["mountPath"] for m in container(database)["volumeMounts"]}
    (folder,) = (v["value"] for v in container(database)["env"] if v["name"] == "PGDATA")
    # Below it and not itself: PostgreSQL refuses a folder that is not empty.
    assert Path(folder).parent == Path(mounts[claim["metadata"]["name"]])


def test_the_databases_image_is_pinned(database: Manifest) -> None:
    """A new major version would come by itself, and could not read the old files."""
    assert re.fullmatch(r"docker\.io/library/postgres:\d+\.\d+-\w+", container(database)["image"])


# --- components -----------------------------------------------------------------------------------


@WITH_DATABASE
def test_database_tls_is_checked_at_both_ends(tmp_path: Path, name: str) -> None:
    """The server would show no certificate, or the clients would believe any."""
    file = tmp_path / "kustomize" / "overlays" / name / ".env"
    folder = overlay(tmp_path, name)
    content = yaml.safe_load((folder / "kustomization.yaml").read_text())
    content["components"].append("../../components/database-tls")
    content["resources"] += ["../../verify", "scheduled.yaml"]
    cron = KUSTOMIZE / "verify-scheduled" / "cronjob.yaml"
    (folder / "scheduled.yaml").write_text(cron.read_text())
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(content))
    # As its comment says: the line about the mode goes.
    lines = [line for line in file.read_text().splitlines() if "DB_TLS" not in line]
    file.write_text("\n".join(lines))
    objects = render(folder)
    pods = of_kind(objects, "StatefulSet")
    scheduled = of_kind(objects, "CronJob")["verify"]["spec"]["jobTemplate"]
    for proof in (of_kind(objects, "Job")["verify"], scheduled):
        assert files(proof) == files(pods["mta"])
    for service in ("mta", "mda"):
        settings = load(environment(objects, service)).database
        assert settings.db_tls_mode is DatabaseTls.VERIFY_FULL
        assert str(settings.db_tls_ca_file) in files(pods[service])
        assert not any("key" in Path(path).name for path in files(pods[service]))
    words = container(pods["postgresql"])["args"]
    options = dict(word.split("=") for word in words if word != "-c")
    assert options.pop("ssl") == "on"
    assert set(options.values()) <= files(pods["postgresql"])
    assert options.keys() == {"ssl_cert_file", "ssl_key_file"}
    for found in (*pods.values(), *of_kind(objects, "ConfigMap").values()):
        kubernetes_validate.validate(found, KUBERNETES, strict=True)


SECRETS = {"gatepost-postgresql-tls": ("tls.crt", "tls.key", "ca.crt")}


def files(stateful_set: Manifest) -> set[str]:
    """Return the paths that a pod has from the Secrets of this page."""
    mounts = {m["name"]: m["mountPath"] for m in container(stateful_set)["volumeMounts"]}
    found = set()
    volumes: list[dict[str, Any]] = stateful_set["spec"]["template"]["spec"]["volumes"]
    for volume in volumes:
        secret = volume.get("secret", {})
        keys = SECRETS.get(secret.get("secretName"), ())
        items = secret.get("items", [{"key": key, "path": key} for key in keys])
        found |= {f"{mounts[volume['name']]}/{item['path']}" for item in items}
    return found


def test_both_tls_components_fit_together(tmp_path: Path) -> None:
    """One would undo the other, or give the database the mail server's key."""
    pods = of_kind(rendered(tmp_path, "complete", ("tls", "database-tls")), "StatefulSet")
    names = {
        name: {v["name"] for v in pod["spec"]["template"]["spec"]["volumes"]}
        for name, pod in pods.items()
    }
    assert names["mta"] >= {"tls", "database-ca"} <= names["mda"]
    assert not names["postgresql"] & {"tls", "database-ca"}
    told = {v["name"] for v in container(pods["mta"])["env"]}
    assert told == {"TLS_CERT_FILE", "TLS_KEY_FILE"}


# --- bad input ------------------------------------------------------------------------------------


@WITH_DATABASE
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    """The user would wonder which of the files is meant."""
    with pytest.raises(RenderingError, match=rf"overlays/{name}/secret\.env"):
        render(overlay(tmp_path, name, files={"secret.env": ""}))


def test_control_a_misspelt_field_of_the_database_is_found(database: Manifest) -> None:
    """The schemas would let everything pass."""
    wrong = copy.deepcopy(database)
    container(wrong)["securityContext"]["readOnlyRootFileSystem"] = True
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, KUBERNETES, strict=True)


def test_traefiks_values_are_named_where_they_are() -> None:
    """The overlay for k3s would tell its user to apply a file that is not there."""
    text = (KUSTOMIZE / "overlays" / "k3s" / "kustomization.yaml").read_text()
    (named,) = re.findall(r"kubectl apply -f (deploy/[\w/-]+\.yaml)", text)
    assert (DEPLOY.parent / named).exists()
