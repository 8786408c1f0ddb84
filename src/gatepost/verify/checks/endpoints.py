"""Behind every Service of the server there is a pod that is ready."""

from __future__ import annotations

from gatepost.assembly import internal_service
from gatepost.model import Status
from gatepost.verify.run import Outcome, Run

NAME = "endpoints"
_EXPECTED = "each Service of the server has a pod behind it that is ready"


def endpoints(run: Run) -> Outcome:
    """Count the endpoints of the Services for the proxy and of those for this site."""
    assert run.cluster  # noqa: S101  made in a cluster only
    cluster = run.cluster
    told: list[str] = []
    missing: list[str] = []
    empty: list[str] = []
    for service in sorted(set(cluster.services.values())):
        for name in (service, internal_service(service)):
            if cluster.service(name) is None:
                missing.append(name)
                told.append(f"{name}: no such Service")
                continue
            ready, others = cluster.endpoints(name)
            told.append(f"{name}: {ready} ready" + (f", {others} not" if others else ""))
            if not ready:
                empty.append(name)
    if not missing and not empty:
        return Outcome(Status.PASS, _EXPECTED, "; ".join(told))
    for bound in run.topology.listeners:
        if cluster.services.get(bound.daemon) in {*missing, *empty}:
            run.causes.setdefault(bound.name, NAME)
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
    return Outcome(Status.FAIL, _EXPECTED, "; ".join(told), fix=" ".join(fixes))
