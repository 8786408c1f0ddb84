"""A cluster as its API tells of it, for tests of single checks: no pod of it runs."""

from __future__ import annotations

import ipaddress
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import kubernetes_api
from kubernetes_api import KubernetesApi
from verify_certificates import for_address

from gatepost import assembly, registry
from gatepost.model import Address, BoundListener, Topology
from gatepost.plugins.kubernetes.checks.api import Api
from gatepost.plugins.kubernetes.checks.objects import KubernetesCluster
from gatepost.plugins.kubernetes.checks.pods import PodLogs
from gatepost.verify.catalogue import IN_CLUSTER
from gatepost.verify.check import Proof
from gatepost.verify.evidence.witnesses import LogWitness
from gatepost.verify.targets import Approach, Target, targets

NAMESPACE = "mail"
TOKEN = "a token"
SERVICES = assembly.units_of()
ROWS = [(daemon, row) for daemon in registry.plugins() for row in daemon.listeners]
TRUSTED = (ipaddress.ip_network("10.42.0.0/24"), ipaddress.ip_network("fd00:42::/64"))
Object = dict[str, Any]


@dataclass
class Small:
    """The cluster, and whoever asks it."""

    server: KubernetesApi
    mounted: Path

    @property
    def api(self) -> Api:
        """The API as a pod asks it."""
        host, port = self.server.address
        return Api(host, port, self.mounted)

    def cluster(self, **changes: Any) -> KubernetesCluster:
        """Return it as it is now; nothing is remembered of earlier questions."""
        made: dict[str, Any] = {
            "api": self.api,
            "namespace": NAMESPACE,
            "proxy_namespace": NAMESPACE,
            "services": SERVICES,
            **changes,
        }
        return KubernetesCluster(**made)

    def run(self, **changes: Any) -> Proof:
        """Return a run in it."""
        cluster = changes.pop("cluster", None) or self.cluster()
        made: dict[str, Any] = {
            "nonce": "0123",
            "topology": topology(),
            "mailname": "mail.example.org",
            "certificate": None,
            "witness": LogWitness(PodLogs(cluster), ()),
            "login": None,
            "no_login": "",
            "selected": frozenset(check.name for check in IN_CLUSTER),
            "deadline": time.monotonic() + 5,
            "vantage": cluster,
            **changes,
        }
        return Proof(**made)

    def change(self, kind: str, name: str, **spec: Any) -> None:
        """Change fields of an object's ``spec``."""
        item = self.server.get(kind, name, NAMESPACE)
        self.server.put({**item, "spec": {**item["spec"], **spec}}, namespace=NAMESPACE)

    def say(self, pod: str, *lines: str, moment: str = "2199-01-01T00:00:00.123456789Z") -> None:
        """Write lines into the log of a pod's container."""
        file = self.server.log_file(pod, pod.rpartition("-")[0], NAMESPACE)
        with file.open("a") as log:
            log.writelines(f"{moment} stdout F {line}\n" for line in lines)


def target(name: str) -> Target:
    """Return a listener as checks that ask the API take it."""
    found = targets(topology(), Approach.CLUSTER)
    return next(one for one in found if one.bound.name == name)


def topology() -> Topology:
    """Return the listener table of the cluster."""
    return Topology(
        tuple(
            BoundListener(
                row,
                daemon.name,
                proxied=True,
                public=(Address("10.43.0.9", row.entry_point_port),),
                service=(Address("10.43.0.8", row.public_port),),
                internal=(Address(f"{daemon.unit}-internal", row.public_port),),
            )
            for daemon, row in ROWS
        ),
        {},
        {},
        TRUSTED,
    )


@contextmanager
def small_cluster() -> Iterator[Small]:
    """Serve the API of a cluster in which all is right."""
    with tempfile.TemporaryDirectory(prefix="gp-verify-") as place:
        folder = Path(place)
        for name in ("logs", "mounted", "certificate"):
            (folder / name).mkdir()
        cert, key = for_address(ipaddress.ip_address("127.0.0.1"), folder / "certificate")
        mounted = folder / "mounted"
        (mounted / "ca.crt").write_bytes(cert.read_bytes())
        (mounted / "token").write_text(TOKEN)
        (mounted / "namespace").write_text(NAMESPACE)
        with kubernetes_api.serve(logs=folder / "logs", certificate=(cert, key)) as server:
            small = Small(server, mounted)
            server.put(*_objects(), namespace=NAMESPACE)
            for pod in ("traefik-0", "mta-0", "mda-0"):
                small.say(pod, "begins")
            yield small


def _objects() -> Iterator[Object]:
    yield pod("traefik", "10.42.0.10", "fd00:42::10", [_entry_point(row) for _, row in ROWS])
    yield service("traefik-mail", "traefik", type="LoadBalancer", externalTrafficPolicy="Local")
    yield service("traefik-internal", "traefik")
    for number, name in enumerate(sorted(set(SERVICES.values()))):
        yield pod(name, f"10.42.0.{20 + number}", f"fd00:42::{20 + number}")
        for one in (name, assembly.internal_service(name)):
            yield service(one, name)
            yield endpoints(one, name)
    for daemon, row in ROWS:
        yield route(row.name, daemon.unit)


def pod(name: str, ipv4: str, ipv6: str, arguments: list[str] | None = None) -> Object:
    """Return a pod that runs."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"{name}-0", "labels": {"app.kubernetes.io/name": name}},
        "spec": {"containers": [{"name": name, "args": arguments or []}]},
        "status": {"podIP": ipv4, "podIPs": [{"ip": ipv4}, {"ip": ipv6}]},
    }


def service(name: str, pods: str, **spec: Any) -> Object:
    """Return a Service whose ports have the listeners' names."""
    mine = [row for daemon, row in ROWS if pods in {"traefik", daemon.unit}]
    ports = [{"name": r.name, "port": r.public_port, "targetPort": r.name} for r in mine]
    selector = {"app.kubernetes.io/name": pods}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": selector, "ports": ports, **spec},
    }


def endpoints(name: str, pods: str, *, ready: bool = True) -> Object:
    """Return the endpoints of a Service: one pod."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": f"{name}-x", "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "endpoints": [
            {
                "addresses": ["10.42.0.20"],
                "conditions": {"ready": ready},
                "targetRef": {"kind": "Pod", "name": f"{pods}-0"},
            }
        ],
    }


def route(listener: str, to: str, **changes: Any) -> Object:
    """Return a listener's IngressRouteTCP in its old form; `changes` are the service's."""
    served = {"name": to, "port": listener, "proxyProtocol": {"version": 2}, **changes}
    served = {key: value for key, value in served.items() if value is not None}
    return {
        "apiVersion": "traefik.io/v1alpha1",
        "kind": "IngressRouteTCP",
        "metadata": {"name": f"ingress-{listener}"},
        "spec": {
            "entryPoints": [listener],
            "routes": [{"match": "HostSNI(`*`)", "services": [served]}],
        },
    }


def transport(name: str, **spec: Any) -> Object:
    """Return a ServersTransportTCP."""
    return {
        "apiVersion": "traefik.io/v1alpha1",
        "kind": "ServersTransportTCP",
        "metadata": {"name": name},
        "spec": spec,
    }


def _entry_point(row: Any) -> str:
    return f"--entryPoints.{row.name}.address=:{cast('int', row.entry_point_port)}/tcp"
