"""What to do about the troubles that every check may run into."""

from __future__ import annotations

from gatepost.model.words import Command, Detail, Logs, Text
from gatepost.verify.clients.wire import ProbeError, Trouble
from gatepost.verify.targets import Target

UP = Command("up", "--detach")
STATUS = Command("status")
MAILBOXES = Command("mailbox list")
VERIFY = Command("verify")


def only(check: str) -> Command:
    """Return the command that makes one check."""
    return Command("verify", f"--only {check}")


def see(check: str, target: Target) -> Text:
    """Name the row to read first: that of a check at the same listener and IP version."""
    return Text(
        f"See the {check} row of ", Detail(target.bound.name), " ", Detail(target.family), " first."
    )


def remedy(
    error: ProbeError, target: Target, outside: str = "", *, in_cluster: bool = False
) -> Text:
    """Say what to do when a probe could not go on; `outside` as in `Run.outside`."""
    if outside:
        return _there(error, target, outside)
    return _in_cluster(error, target) if in_cluster else _here(error, target)


def _here(error: ProbeError, target: Target) -> Text:  # noqa: PLR0911  a table with conditions
    daemon, logs = target.bound.daemon, Logs(target.bound.daemon)
    service = target.bound.service
    backend = Detail(service[0].reachable) if service else "its service port"
    match error.trouble:
        case Trouble.REFUSED:
            return Text(
                "Nothing listens there. Start the server: ",
                UP,
                "; when it runs, see what is down: ",
                STATUS,
            )
        case Trouble.UNREACHABLE:
            return Text(
                "See that ",
                Detail(target.address),
                " is an address of this machine (PUBLIC_BIND_ADDRESS) "
                "and that no firewall drops what is sent to it.",
            )
        case Trouble.SILENT if target.bound.proxied:
            return Text(
                f"See whether {daemon} runs and answers the proxy at ",
                backend,
                ": ",
                STATUS,
                ". A proxy that sends no PROXY header, or an entry point with a TLS router beside "
                "the TCP router, also leaves clients waiting. Then: ",
                logs,
            )
        case Trouble.SILENT:
            return Text(f"See whether {daemon} is overloaded or hangs: ", STATUS, "; ", logs)
        case Trouble.CLOSED if target.bound.proxied:
            return Text(
                f"The proxy could not reach {daemon} at ",
                backend,
                f", or {daemon} refused the proxy: see that TRUSTED_PROXIES holds the proxy's "
                "address. ",
                logs,
                " says which.",
            )
        case Trouble.CLOSED:
            return Text(f"See why {daemon} hangs up: ", logs)
        case Trouble.GARBAGE:
            return Text(
                "Another program, or another protocol, answers on ",
                Detail(target.address),
                ": see that the route for ",
                Detail(target.bound.name),
                " leads to ",
                backend,
                ", and who listens: ",
                f"ss -ltnp 'sport = :{target.address.port}'",
            )
        case Trouble.TLS:
            return Text(
                f"See why {daemon} cannot speak TLS: ", logs, "; then ", Command("up"), " to apply"
            )
        case Trouble.DENIED:
            return Text(f"See why {daemon} said no: ", logs)


def _there(error: ProbeError, target: Target, host: str) -> Text:
    """Say what to do on another machine, of which only this side is seen."""
    port = target.address.port
    match error.trouble:
        case Trouble.REFUSED:
            return Text(
                f"Nothing listens on port {port} there, or a firewall says no. "
                "See whether the server runs and where it listens: ",
                STATUS,
            )
        case Trouble.UNREACHABLE:
            blocked = (
                " Many networks let nobody out to port 25: try from another network as well."
                if port == 25  # noqa: PLR2004
                else ""
            )
            return Text(
                f"See that {host} is up, and that no firewall on the way drops port {port}."
                f"{blocked}"
            )
        case Trouble.GARBAGE:
            return Text(
                f"Another program, or another protocol, answers on port {port}: see who listens "
                "there, and where the proxy's route leads: ",
                VERIFY,
            )
        case Trouble.SILENT | Trouble.CLOSED | Trouble.TLS | Trouble.DENIED:
            return Text("The log there says why: ", Logs(), ". Its own proof says more: ", VERIFY)


def _in_cluster(error: ProbeError, target: Target) -> Text:  # noqa: PLR0911  a table with conditions
    """Say what to do in a cluster, seen from a pod."""
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
