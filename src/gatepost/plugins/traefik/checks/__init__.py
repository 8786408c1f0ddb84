"""Traefik's rows of the proof, in a cluster."""

from __future__ import annotations

from gatepost.plugins.traefik.checks.proxy_log import proxy_log
from gatepost.plugins.traefik.checks.route import route
from gatepost.plugins.traefik.checks.traffic_policy import traffic_policy
from gatepost.plugins.traefik.checks.trust import trust
from gatepost.verify.check import HERE, OUTSIDE, ProofCheck
from gatepost.verify.targets import Approach

_ASKS_THE_API = "this check asks the Kubernetes API; add --cluster, in a pod."
_ELSEWHERE = {HERE: _ASKS_THE_API, OUTSIDE: _ASKS_THE_API}

CHECKS = (
    ProofCheck(
        "route",
        "an IngressRouteTCP leads from an entry point that Traefik has to the listener's Service, "
        "with PROXY protocol version 2",
        "kubectl get ingressroutetcp -o yaml",
        route,
        approach=Approach.CLUSTER,
        after=(),
        mailbox=False,
        order=11,
        barred=_ELSEWHERE,
    ),
    ProofCheck(
        "traffic-policy",
        "what leads from the world to Traefik keeps the client's address: externalTrafficPolicy is "
        "Local, or a load balancer's PROXY header names the client",
        "kubectl get services -o yaml",
        judge=traffic_policy,
        mailbox=False,
        order=12,
        barred=_ELSEWHERE,
    ),
    ProofCheck(
        "proxy-log",
        "Traefik's log has no error about the routes, Services and entry points of the server",
        "kubectl logs -l app.kubernetes.io/name=traefik",
        judge=proxy_log,
        mailbox=False,
        order=13,
        barred=_ELSEWHERE,
    ),
    ProofCheck(
        "trust-breadth",
        "TRUSTED_PROXIES covers Traefik's pods and little else",
        "kubectl get pods -o wide -l app.kubernetes.io/name=traefik",
        judge=trust,
        mailbox=False,
        barred=_ELSEWHERE,
    ),
)
