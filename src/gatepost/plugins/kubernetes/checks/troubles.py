"""Remedies in a cluster for the troubles that every check may meet."""

from __future__ import annotations

from gatepost.model.words import Detail, Logs, Text
from gatepost.verify.clients.wire import ProbeError, Trouble
from gatepost.verify.remedies import STATUS
from gatepost.verify.targets import Target


def remedy(error: ProbeError, target: Target) -> Text:  # noqa: PLR0911  a table with conditions
    """Return what to do, seen from a pod."""
    daemon, logs = target.bound.daemon, Logs(target.bound.daemon)
    name = Detail(target.bound.name)
    match error.trouble:
        case Trouble.REFUSED:
            return Text(
                "Nobody answers at ",
                Detail(target.address),
                ": see that its Service has a pod that is ready, and that Traefik has the entry "
                "point: kubectl get services,endpointslices",
            )
        case Trouble.UNREACHABLE:
            return Text(
                "See that ",
                Detail(target.address.host),
                " is a Service of this cluster (kubectl get services; one of another namespace is "
                "NAME.NAMESPACE) and that no NetworkPolicy keeps this pod from it.",
            )
        case Trouble.SILENT if target.bound.proxied:
            return Text(
                f"See whether {daemon} runs: ",
                STATUS,
                ". A route without PROXY protocol, or an entry point with a TLS router beside the "
                "TCP router, also leaves clients waiting. Then: ",
                logs,
            )
        case Trouble.SILENT:
            return Text(f"See whether {daemon} is overloaded or hangs: ", STATUS, "; ", logs)
        case Trouble.CLOSED if target.bound.proxied:
            return Text(
                "Traefik has no route for ",
                name,
                f", could not reach {daemon}, or {daemon} refused it (TRUSTED_PROXIES): "
                "kubectl get ingressroutetcp; ",
                logs,
            )
        case Trouble.CLOSED:
            return Text(f"See why {daemon} hangs up: ", logs)
        case Trouble.GARBAGE:
            return Text(
                "Another program, or another protocol, answers on ",
                Detail(target.address),
                ": see where the route of ",
                name,
                " leads: kubectl get ingressroutetcp -o yaml",
            )
        case Trouble.TLS:
            return Text(f"See why {daemon} cannot speak TLS: ", logs)
        case Trouble.DENIED:
            return Text(f"See why {daemon} said no: ", logs)
