"""What a cluster makes of Services: addresses, endpoints, rules in the node's kernel, names.

As kube-proxy does it: connections to a Service's address are rewritten to a pod that is ready.
Those to an address with no pod behind it are refused.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
from kubernetes_api import KubernetesApi
from kubernetes_objects import Object, matches, named
from network import DOOR

RANGES = (ipaddress.ip_network("10.43.0.0/16"), ipaddress.ip_network("fd00:43::/112"))
"""Addresses of Services."""
_FIRST = 32
"""Below are the addresses that a cluster keeps for itself."""
ZONE = "svc.cluster.local"


def allocate(api: KubernetesApi, namespace: str) -> None:
    """Give addresses to the Services that have none."""
    for service in api.list("Service", namespace):
        spec = service["spec"]
        if spec.get("clusterIP"):
            continue
        taken = {ip for other in api.list("Service") for ip in other["spec"].get("clusterIPs", [])}
        dual = spec.get("ipFamilyPolicy", "SingleStack") != "SingleStack"
        spec["clusterIPs"] = [_free(network, taken) for network in RANGES[: 2 if dual else 1]]
        spec["clusterIP"] = spec["clusterIPs"][0]
        spec["ipFamilies"] = ["IPv4", "IPv6"][: len(spec["clusterIPs"])]
        if spec.get("type") == "LoadBalancer":
            ingress = [{"ip": ip} for ip in DOOR[: len(spec["clusterIPs"])]]
            service["status"] = {"loadBalancer": {"ingress": ingress}}
        api.put(service)


def _free(network: Any, taken: set[str]) -> str:
    return next(
        str(ip) for ip in map(network.__getitem__, range(_FIRST, 65536)) if str(ip) not in taken
    )


def endpoints_of(api: KubernetesApi, service: Object) -> list[Object]:
    """Return the pods that a Service leads to."""
    selector = service["spec"].get("selector")
    if not selector:
        return []
    terms = ",".join(f"{name}={value}" for name, value in selector.items())
    pods = api.list("Pod", service["metadata"]["namespace"])
    return [
        pod
        for pod in pods
        if matches(pod["metadata"].get("labels", {}), terms)
        and pod.get("status", {}).get("podIP")
        and not pod["metadata"].get("deletionTimestamp")
    ]


def is_ready(pod: Object) -> bool:
    """Tell whether a pod's status says that it is ready."""
    conditions = pod.get("status", {}).get("conditions", [])
    return any(row["type"] == "Ready" and row["status"] == "True" for row in conditions)


def publish(api: KubernetesApi, namespace: str) -> None:
    """Write EndpointSlices for all Services with a selector."""
    for service in api.list("Service", namespace):
        pods = endpoints_of(api, service)
        for index, family in enumerate(("IPv4", "IPv6")):
            if family not in service["spec"].get("ipFamilies", ["IPv4"]):
                continue
            slice_ = _slice(service, pods, index, family)
            kept = api.objects.get(named("EndpointSlice"), slice_["metadata"]["name"], namespace)
            if kept is None or any(kept[part] != slice_[part] for part in ("endpoints", "ports")):
                api.put(slice_, namespace=namespace)


def _slice(service: Object, pods: list[Object], index: int, family: str) -> Object:
    name = service["metadata"]["name"]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{name}-{family.lower()}",
            "labels": {
                **service["metadata"].get("labels", {}),
                "kubernetes.io/service-name": name,
            },
        },
        "addressType": family,
        "ports": [
            {"name": port.get("name", ""), "port": target(port, pods), "protocol": "TCP"}
            for port in service["spec"].get("ports", [])
        ],
        "endpoints": [
            {
                "addresses": [pod["status"]["podIPs"][index]["ip"]],
                "conditions": {
                    "ready": is_ready(pod) or bool(service["spec"].get("publishNotReadyAddresses")),
                    "serving": is_ready(pod),
                    "terminating": False,
                },
                "nodeName": "node",
                "targetRef": {
                    "kind": "Pod",
                    "name": pod["metadata"]["name"],
                    "namespace": pod["metadata"]["namespace"],
                },
            }
            for pod in pods
        ],
    }


def target(port: Object, pods: list[Object]) -> int:
    """Return the number of the port in the pod that a Service's port leads to."""
    wanted = port.get("targetPort", port["port"])
    if isinstance(wanted, int):
        return wanted
    for pod in pods:
        for container in pod["spec"]["containers"]:
            for row in container.get("ports", []):
                if row.get("name") == wanted:
                    return int(row["containerPort"])
    return int(port["port"])


# --- the kernel's part ----------------------------------------------------------------------


def rules(api: KubernetesApi) -> str:
    """Return the rules of nftables that make Services work, in place of those before."""
    rewrite: list[str] = []
    masquerade: list[str] = []
    for service in api.list("Service"):
        spec = service["spec"]
        pods = [pod for pod in endpoints_of(api, service) if is_ready(pod)]
        if spec.get("publishNotReadyAddresses"):
            pods = endpoints_of(api, service)
        for index, address in enumerate(_addresses(service)):
            if pods:
                rewrite += [_rewrite(address, port, pods) for port in spec.get("ports", [])]
            # The kernel replaces the client's address by the node's, unless it may stay local.
            outside = index >= len(spec.get("clusterIPs", []))
            if outside and spec.get("externalTrafficPolicy", "Cluster") != "Local":
                family = "ip6" if ":" in address else "ip"
                masquerade.append(f"ct original {family} daddr {address} masquerade")
    for pod in api.list("Pod"):
        # A pod that reaches itself by a Service must not see its own address as the client's.
        for ip in (row["ip"] for row in pod.get("status", {}).get("podIPs", [])):
            family = "ip6" if ":" in ip else "ip"
            masquerade.append(f"{family} saddr {ip} {family} daddr {ip} masquerade")
    refuse = [
        f"{'ip6' if network.version == 6 else 'ip'} daddr {network} meta l4proto tcp"
        " reject with tcp reset"
        for network in RANGES
    ] + [
        f"{'ip6' if ':' in ip else 'ip'} daddr {ip} meta l4proto tcp ct status & dnat == 0"
        " reject with tcp reset"
        for ip in DOOR
    ]
    return "\n".join(
        (
            "table inet services { }",
            "delete table inet services",
            "table inet services {",
            "chain rewrite { type nat hook prerouting priority dstnat;",
            *rewrite,
            "}",
            "chain refuse { type filter hook prerouting priority filter;",
            *refuse,
            "}",
            "chain leave { type nat hook postrouting priority srcnat;",
            *masquerade,
            "}",
            "}",
            "",
        )
    )


def _addresses(service: Object) -> list[str]:
    ingress = service.get("status", {}).get("loadBalancer", {}).get("ingress", [])
    cluster = [ip for ip in service["spec"].get("clusterIPs", []) if ip != "None"]
    return [*cluster, *(row["ip"] for row in ingress)]


def _rewrite(address: str, port: Object, pods: list[Object]) -> str:
    family, index = ("ip6", 1) if ":" in address else ("ip", 0)
    ips = [pod["status"]["podIPs"][index]["ip"] for pod in pods]
    to = f"[{ips[0]}]" if index else ips[0]
    return (
        f"{family} daddr {address} tcp dport {port['port']}"
        f" dnat {family} to {to}:{target(port, pods)}"
    )


# --- names ----------------------------------------------------------------------------------


@dataclass
class Names:
    """The cluster's name server: ``SERVICE.NAMESPACE.svc.cluster.local`` and nothing else."""

    api: KubernetesApi

    def answer(self, query: dns.message.Message) -> dns.message.Message:
        """Answer a question for the addresses of a Service, or of the pods of a headless one."""
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.AA | dns.flags.RA
        question = query.question[0]
        found = self.addresses(question.name.to_text(omit_final_dot=True))
        if found is None:
            answer.set_rcode(dns.rcode.NXDOMAIN)
            return answer
        version = {dns.rdatatype.A: 4, dns.rdatatype.AAAA: 6}.get(question.rdtype)
        fitting = [ip for ip in found if ipaddress.ip_address(ip).version == version]
        if fitting:
            answer.answer.append(
                dns.rrset.from_text(question.name, 5, dns.rdataclass.IN, question.rdtype, *fitting)
            )
        return answer

    def addresses(self, name: str) -> list[str] | None:
        """Return the addresses of a full name; None when there is no such name."""
        labels = name.lower().removesuffix(f".{ZONE}").split(".")
        if not name.lower().endswith(f".{ZONE}") or len(labels) not in {2, 3}:
            return None
        service = self.api.objects.get(named("Service"), labels[-2], labels[-1])
        if service is None:
            return None
        if service["spec"].get("clusterIP") != "None":
            return list(service["spec"]["clusterIPs"]) if len(labels) == 2 else None
        pods = [
            pod
            for pod in endpoints_of(self.api, service)
            if len(labels) == 2 or pod["metadata"]["name"] == labels[0]
        ]
        return [row["ip"] for pod in pods for row in pod["status"]["podIPs"]] or None


@contextlib.contextmanager
def name_server(names: Names, opened: socket.socket) -> Iterator[None]:
    """Answer on a datagram socket for as long as the block lasts."""
    opened.settimeout(0.2)
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            with contextlib.suppress(TimeoutError, OSError, dns.exception.DNSException):
                data, peer = opened.recvfrom(4096)
                opened.sendto(names.answer(dns.message.from_wire(data)).to_wire(), peer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        opened.close()
