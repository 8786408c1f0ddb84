"""NetworkPolicies as a network plugin enforces them: rules of nftables in the node."""

from __future__ import annotations

from collections.abc import Iterator

from kubernetes_api import KubernetesApi
from kubernetes_objects import Object

NONE = "table inet policies { }\ndelete table inet policies\n"
"""The rules of a node that enforces nothing."""


def rules(api: KubernetesApi) -> str:
    """Return the rules for the pods that there are now, in place of those before.

    Known are policies for what comes in, with peers chosen by their pods' labels.
    """
    lines: list[str] = []
    closed: list[str] = []
    for policy in api.list("NetworkPolicy"):
        assert "Ingress" in policy["spec"]["policyTypes"], policy
        for pod in _chosen(api, policy["spec"]["podSelector"]):
            closed += _addresses(pod)
            for rule in policy["spec"].get("ingress", []):
                lines += _admitted(api, rule, pod)
    return "\n".join(
        (
            NONE,
            "table inet policies {",
            # What a node itself sends to its pods (probes) is never held back.
            "chain forward { type filter hook forward priority filter; policy accept;",
            "ct state established,related accept",
            *lines,
            *(f"{_family(ip)} daddr {ip} drop" for ip in closed),
            "}",
            "}",
            "",
        )
    )


def _admitted(api: KubernetesApi, rule: Object, pod: Object) -> Iterator[str]:
    ports = ", ".join(str(row["port"]) for row in rule["ports"])
    for peer in rule["from"]:
        assert set(peer) <= {"podSelector", "namespaceSelector"}, peer
        for other in _chosen(api, peer["podSelector"]):
            for source in _addresses(other):
                for ip in _addresses(pod):
                    if _family(ip) == _family(source):
                        family = _family(ip)
                        yield (
                            f"{family} saddr {source} {family} daddr {ip} "
                            f"tcp dport {{ {ports} }} accept"
                        )


def _chosen(api: KubernetesApi, selector: Object) -> list[Object]:
    assert set(selector) <= {"matchLabels"}, selector
    wanted = selector.get("matchLabels", {}).items()
    return [pod for pod in api.list("Pod") if wanted <= pod["metadata"].get("labels", {}).items()]


def _addresses(pod: Object) -> list[str]:
    return [row["ip"] for row in pod.get("status", {}).get("podIPs", [])]


def _family(ip: str) -> str:
    return "ip6" if ":" in ip else "ip"
