"""``gatepost verify --cluster`` as it ships: its Job, in the cluster that it proves.

The Job's pod has its own security context, its own ServiceAccount with the shipped Role, and an API
server that asks for both. NetworkPolicies are enforced as the shipped ones say.
"""

from __future__ import annotations

import contextlib
import copy
import ipaddress
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import cluster_policies
import kubernetes_api
import pytest
from cluster_clients import PORTS, speak
from kubernetes_api import KubernetesApi
from kubernetes_objects import Object
from mail_cluster import SETTINGS
from network import listen
from shipped import KUSTOMIZE, Manifest, of_kind, render
from verify_certificates import for_address

from cluster import NAMESPACE, NODE, Cluster, Machine

_SECURE_PORT = 6444
_TOKEN = "a token for tests"
_MOUNTED = "/var/run/secrets/kubernetes.io/serviceaccount"
Row = dict[str, str]


@dataclass
class Proof:
    """The shipped Job, and the API server that its pod is led to."""

    mail: Cluster
    api: KubernetesApi
    objects: list[Manifest]

    def run(self, *words: str, settings: dict[str, str] | None = None) -> list[Row]:
        """Run the Job to its end and return the report's rows."""
        job = self._job(*words, settings=settings or {})
        mark = self.mail.mark("verify-0")
        self.mail.apply(job)
        try:
            self.mail.network.filter(cluster_policies.rules(self.mail.api))
            self.mail.wait(lambda: self._ended(mark), lambda: self.mail.log("verify-0")[mark:], 60)
        finally:
            self.mail.remove("Job", "verify")
            self.mail.stop("verify-0")
        text = self.mail.log("verify-0")[mark:]
        assert "{" in text, text
        rows: list[Row] = json.loads(text[text.index("{") :])["findings"]
        return rows

    def _ended(self, mark: int) -> bool:
        pod = self.mail.pods.get("verify-0")
        return pod is not None and not pod.main.alive() and len(self.mail.log("verify-0")) > mark

    def _job(self, *words: str, settings: dict[str, str]) -> Object:
        job = copy.deepcopy(of_kind(self.objects, "Job")["verify"])
        pod = job["spec"]["template"]["spec"]
        (only,) = pod["containers"]
        only["args"] = [*only["args"], "--json", *words]
        for source in only["envFrom"]:
            for kind, reference in source.items():
                reference["name"] = self._named(kind, reference["name"])
        # What a node adds to every pod that wants a token.
        pod["volumes"].append({"name": "token", "secret": {"secretName": "verify-token"}})
        only["volumeMounts"].append({"name": "token", "mountPath": _MOUNTED, "readOnly": True})
        only["env"] = [
            {"name": name, "value": value}
            for name, value in {
                "KUBERNETES_SERVICE_HOST": NODE[0],
                "KUBERNETES_SERVICE_PORT": str(_SECURE_PORT),
                **settings,
            }.items()
        ]
        return job

    def _named(self, reference: str, name: str) -> str:
        """Return the name with the suffix that the overlay has given it."""
        kind = {"configMapRef": "ConfigMap", "secretRef": "Secret"}[reference]
        found = [str(item["metadata"]["name"]) for item in self.mail.api.list(kind)]
        return next(one for one in found if re.fullmatch(rf"{name}-[a-z0-9]{{10}}", one))


@pytest.fixture(scope="module")
def proof(
    mail: Cluster, sender: Machine, reader: Machine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proof]:
    """Lend the Job; the policies and what it needs are gone afterwards."""
    objects = render(KUSTOMIZE / "verify")
    cert, key = for_address(ipaddress.ip_address(NODE[0]), tmp_path_factory.mktemp("api"))
    # Somebody must have come for a row to say that the clients are told apart.
    for machine in (sender, reader):
        for listener in PORTS:
            for family in (4, 6):
                speak(mail, machine, listener, family)
    with kubernetes_api.serve(
        [listen(mail.network.node, NODE[0], _SECURE_PORT)],
        logs=mail.api.logs,
        certificate=(cert, key),
    ) as api:
        api.objects = mail.api.objects
        api.accounts[_TOKEN] = (NAMESPACE, "verify")
        token = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "verify-token"},
            "stringData": {"token": _TOKEN, "namespace": NAMESPACE, "ca.crt": cert.read_text()},
        }
        mail.apply(token, *(one for one in objects if one["kind"] != "Job"))
        try:
            yield Proof(mail, api, objects)
        finally:
            mail.network.filter(cluster_policies.NONE)


def wrong(rows: list[Row]) -> dict[tuple[str, str], set[str]]:
    """Return status and check of the rows that do not pass, with the listeners.

    The server's certificate is its own, which is a risk in every run.
    """
    found: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        if row["status"] != "pass" and (row["status"], row["check"]) != ("risk", "tls"):
            found.setdefault((row["status"], row["check"]), set()).add(row["listener"])
    return found


@contextlib.contextmanager
def changed(mail: Cluster, kind: str, name: str, change: Callable[[Any], None]) -> Iterator[None]:
    """Change an object for the length of a block."""
    before = mail.api.get(kind, name)
    after = copy.deepcopy(before)
    change(after)
    mail.apply(after)
    try:
        yield
    finally:
        mail.apply(before)


def shown(rows: list[Row]) -> str:
    return json.dumps([row for row in rows if row["status"] != "pass"], indent=1)


def test_everything_is_proven(proof: Proof) -> None:
    """The shipped server, its shipped Job and its shipped Role: each row is there, and passes."""
    rows = proof.run()
    assert not wrong(rows), shown(rows)
    made = {(row["check"], row["listener"]) for row in rows}
    per_listener = ("banner", "tls", "client-address", "forged-through-proxy", "route")
    assert {(check, name) for check in (*per_listener, "forged-direct") for name in PORTS} <= made
    for check in ("endpoints", "traffic-policy", "proxy-log", "trust-breadth", "shared-address"):
        assert (check, "server") in made
    assert {"IPv4", "IPv6"} == {row["family"] for row in rows if row["check"] == "forged-direct"}
    assert any("kept off" in row["observed"] for row in rows if row["check"] == "forged-direct")


def test_a_route_that_is_gone_fails_and_nothing_else_does(proof: Proof) -> None:
    """One missing route must not look like a dead server."""
    route = proof.mail.api.get("IngressRouteTCP", "ingress-imap")
    proof.mail.remove("IngressRouteTCP", "ingress-imap")
    try:
        rows = proof.run()
    finally:
        proof.mail.apply(route)
    failed = {key: value for key, value in wrong(rows).items() if key[0] != "not_proven"}
    assert failed == {("fail", "route"): {"imap"}}, shown(rows)


def test_a_route_without_proxy_protocol_fails(proof: Proof) -> None:
    """The daemon waits for a header that nobody sends."""

    def plain(route: Any) -> None:
        for service in route["spec"]["routes"][0]["services"]:
            service.pop("serversTransport", None)
            service.pop("proxyProtocol", None)

    with changed(proof.mail, "IngressRouteTCP", "ingress-pop3", plain):
        rows = proof.run()
    failed = {key: value for key, value in wrong(rows).items() if key[0] != "not_proven"}
    assert failed == {("fail", "route"): {"pop3"}}, shown(rows)


def test_trust_in_everybody_is_a_risk(proof: Proof) -> None:
    """Whoever is trusted may claim to be any client."""
    wide = {"TRUSTED_PROXIES": "0.0.0.0/0,fd00:42::/64"}
    assert wide["TRUSTED_PROXIES"] != SETTINGS["TRUSTED_PROXIES"]
    rows = proof.run("--only", "trust-breadth", settings=wide)
    assert wrong(rows) == {("risk", "trust-breadth"): {"server"}}, shown(rows)


def test_a_traffic_policy_that_hides_clients_fails_and_nothing_else_does(proof: Proof) -> None:
    """Every client would have the node's address."""

    def everywhere(service: Any) -> None:
        service["spec"]["externalTrafficPolicy"] = "Cluster"

    with changed(proof.mail, "Service", "traefik-mail", everywhere):
        rows = proof.run()
    assert wrong(rows) == {("fail", "traffic-policy"): {"server"}}, shown(rows)


def test_without_policies_a_pod_in_a_trusted_network_can_forge(proof: Proof) -> None:
    """The control of forged-direct: where nobody keeps this pod off, the row says so."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster_policies, "rules", lambda _api: cluster_policies.NONE)
        rows = proof.run("--only", "forged-direct", "--only", "banner")
    assert wrong(rows) == {("fail", "forged-direct"): set(PORTS)}, shown(rows)


def test_without_rights_nothing_is_passed_over(proof: Proof) -> None:
    """Rows that need the API say so, and what to apply."""
    role = proof.mail.api.get("RoleBinding", "verify")
    proof.mail.remove("RoleBinding", "verify")
    try:
        rows = proof.run()
    finally:
        proof.mail.apply(role)
    unproven = {row["check"]: row for row in rows if row["status"] == "not_proven"}
    needing = {"route", "endpoints", "traffic-policy", "proxy-log", "trust-breadth"}
    assert needing | {"client-address"} <= set(unproven), shown(rows)
    for check in needing:
        assert "deploy/kustomize/verify" in unproven[check]["fix"], unproven[check]
    assert not [row for row in rows if row["status"] == "fail"], shown(rows)
