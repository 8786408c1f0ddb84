"""Every Service of the server has a pod behind it that is ready."""

from __future__ import annotations

from gatepost.model import Status
from gatepost.plugins.kubernetes.checks.objects import KubernetesCluster
from gatepost.verify.check import Outcome, Proof
from gatepost.verify.vantage.cluster import of

_EXPECTED = "each Service of the server has a pod behind it that is ready"


def endpoints(proof: Proof) -> Outcome:
    """Count the endpoints of the Services for the proxy and of those for this site."""
    cluster = of(proof)
    assert isinstance(cluster, KubernetesCluster)  # noqa: S101  the only kind there is
    counts: list[str] = []
    missing: list[str] = []
    empty: list[str] = []
    for service in sorted(set(cluster.services.values())):
        for name in (service, cluster.internal_service(service)):
            if cluster.service(name) is None:
                missing.append(name)
                counts.append(f"{name}: no such Service")
                continue
            ready, others = cluster.endpoints(name)
            counts.append(f"{name}: {ready} ready" + (f", {others} not" if others else ""))
            if not ready:
                empty.append(name)
    if not missing and not empty:
        return Outcome(Status.PASS, _EXPECTED, "; ".join(counts))
    blames = tuple(
        bound.name
        for bound in proof.topology.mail
        if cluster.services.get(bound.daemon) in {*missing, *empty}
    )
    fixes = []
    if missing:
        folders = " and ".join(sorted({f"deploy/kustomize/{m.partition('-')[0]}" for m in missing}))
        fixes.append(f"Apply {folders}.")
    if empty:
        pods = sorted({name.partition("-")[0] for name in empty})
        fixes.append(
            f"See whether the pods run and are ready: kubectl get pods -l "
            f"'app.kubernetes.io/name in ({','.join(pods)})'; their logs say what keeps them. When "
            "they are ready, the Service's selector is not theirs: kubectl get services -o wide"
        )
    return Outcome(
        Status.FAIL,
        _EXPECTED,
        "; ".join(counts),
        fix=" ".join(fixes),
        kind="no-service" if missing else "no-pod",
        blames=blames,
    )
