"""What to do about the troubles that every check may run into."""

from __future__ import annotations

from gatepost.verify.clients.wire import ProbeError, Trouble
from gatepost.verify.targets import Target


def remedy(
    error: ProbeError, target: Target, outside: str = "", *, in_cluster: bool = False
) -> str:
    """Say what to do when a probe could not go on; `outside` as in `Run.outside`."""
    if outside:
        return _there(error, target, outside)
    return _in_cluster(error, target) if in_cluster else _here(error, target)


def _here(error: ProbeError, target: Target) -> str:  # noqa: PLR0911  a table with conditions
    daemon = target.bound.daemon
    logs = f"gatepost logs {daemon}"
    backend = target.bound.service[0].reachable if target.bound.service else "its service port"
    match error.trouble:
        case Trouble.REFUSED:
            return (
                "Nothing listens there. Start the server: gatepost up --detach; "
                "when it runs, see what is down: gatepost status"
            )
        case Trouble.UNREACHABLE:
            return (
                f"See that {target.address} is an address of this machine (PUBLIC_BIND_ADDRESS) "
                "and that no firewall drops what is sent to it."
            )
        case Trouble.SILENT if target.bound.proxied:
            return (
                f"See whether {daemon} runs and answers the proxy at {backend}: gatepost status. "
                "A proxy that sends no PROXY header, or an entry point with a TLS router beside "
                f"the TCP router, also leaves clients waiting. Then: {logs}"
            )
        case Trouble.SILENT:
            return f"See whether {daemon} is overloaded or hangs: gatepost status; {logs}"
        case Trouble.CLOSED if target.bound.proxied:
            return (
                f"The proxy could not reach {daemon} at {backend}, or {daemon} refused the proxy: "
                f"see that TRUSTED_PROXIES holds the proxy's address. {logs} says which."
            )
        case Trouble.CLOSED:
            return f"See why {daemon} hangs up: {logs}"
        case Trouble.GARBAGE:
            return (
                f"Another program, or another protocol, answers on {target.address}: see that the "
                f"route for {target.bound.name} leads to {backend}, and who listens: "
                f"ss -ltnp 'sport = :{target.address.port}'"
            )
        case Trouble.TLS:
            return f"See why {daemon} cannot speak TLS: {logs}; then gatepost up to apply"
        case Trouble.DENIED:
            return f"See why {daemon} said no: {logs}"


def _there(error: ProbeError, target: Target, host: str) -> str:
    """Say what to do on another machine, of which only this side is seen."""
    match error.trouble:
        case Trouble.REFUSED:
            return (
                f"Nothing listens on port {target.address.port} there, or a firewall says no. "
                "See whether the server runs and where it listens: gatepost status"
            )
        case Trouble.UNREACHABLE:
            blocked = (
                " Many networks let nobody out to port 25: try from another network as well."
                if target.address.port == 25  # noqa: PLR2004
                else ""
            )
            return (
                f"See that {host} is up, and that no firewall on the way drops port "
                f"{target.address.port}.{blocked}"
            )
        case Trouble.GARBAGE:
            return (
                f"Another program, or another protocol, answers on port {target.address.port}: "
                "see who listens there, and where the proxy's route leads: gatepost verify"
            )
        case Trouble.SILENT | Trouble.CLOSED | Trouble.TLS | Trouble.DENIED:
            return "The log there says why: gatepost logs. Its own proof says more: gatepost verify"


def _in_cluster(error: ProbeError, target: Target) -> str:  # noqa: PLR0911  a table with conditions
    """Say what to do in a cluster, seen from a pod."""
    daemon = target.bound.daemon
    logs = f"gatepost logs {daemon}"
    match error.trouble:
        case Trouble.REFUSED:
            return (
                f"Nobody answers at {target.address}: see that its Service has a pod that is "
                "ready, and that Traefik has the entry point: kubectl get services,endpointslices"
            )
        case Trouble.UNREACHABLE:
            return (
                f"See that {target.address.host} is a Service of this cluster (kubectl get "
                "services; one of another namespace is NAME.NAMESPACE) and that no NetworkPolicy "
                "keeps this pod from it."
            )
        case Trouble.SILENT if target.bound.proxied:
            return (
                f"See whether {daemon} runs: gatepost status. A route without PROXY protocol, or "
                "an entry point with a TLS router beside the TCP router, also leaves clients "
                f"waiting. Then: {logs}"
            )
        case Trouble.SILENT:
            return f"See whether {daemon} is overloaded or hangs: gatepost status; {logs}"
        case Trouble.CLOSED if target.bound.proxied:
            return (
                f"Traefik has no route for {target.bound.name}, could not reach {daemon}, or "
                f"{daemon} refused it (TRUSTED_PROXIES): kubectl get ingressroutetcp; {logs}"
            )
        case Trouble.CLOSED:
            return f"See why {daemon} hangs up: {logs}"
        case Trouble.GARBAGE:
            return (
                f"Another program, or another protocol, answers on {target.address}: see where "
                f"the route of {target.bound.name} leads: kubectl get ingressroutetcp -o yaml"
            )
        case Trouble.TLS:
            return f"See why {daemon} cannot speak TLS: {logs}"
        case Trouble.DENIED:
            return f"See why {daemon} said no: {logs}"
