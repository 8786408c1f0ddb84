"""Kubernetes' rows of the proof, and the cluster as a vantage."""

from __future__ import annotations

from gatepost.plugins.kubernetes.checks.endpoints import endpoints
from gatepost.plugins.kubernetes.checks.forged import forged
from gatepost.plugins.kubernetes.checks.objects import entrance
from gatepost.verify.check import HERE, OUTSIDE, ProofCheck
from gatepost.verify.targets import Approach

_ASKS_THE_API = "this check asks the Kubernetes API; add --cluster, in a pod."
_ELSEWHERE = {HERE: _ASKS_THE_API, OUTSIDE: _ASKS_THE_API}

CHECKS = (
    ProofCheck(
        "endpoints",
        "each Service of the server has a pod behind it that is ready",
        "kubectl get endpointslices",
        judge=endpoints,
        after=(),
        mailbox=False,
        order=10,
        barred=_ELSEWHERE,
    ),
    ProofCheck(
        "forged-direct",
        "a PROXY header from this pod straight to the proxy's Services is refused, kept off by a "
        "NetworkPolicy, or its sender served under its own address",
        "From a pod: nc to the Service's port {port}, beginning with a header",
        forged,
        approach=Approach.SERVICE,
        barred=_ELSEWHERE,
    ),
)
CLUSTER = entrance
