"""The vantage on the machine of the server: log, disk and accounts can be read."""

from __future__ import annotations

import os

from gatepost.model import Home
from gatepost.model.words import Command, Detail, Logs, Text
from gatepost.verify.check import HERE, Vantage
from gatepost.verify.clients.wire import ProbeError, Trouble
from gatepost.verify.evidence.logs import LogFile
from gatepost.verify.remedies import STATUS, UP
from gatepost.verify.targets import Target


class Here(Vantage):
    """The machine or container of the server."""

    name = HERE

    def __init__(self, home: Home) -> None:
        """Be where this home is."""
        self.home: Home = home

    def log(self) -> LogFile:
        """Return the file that all daemons write into."""
        return LogFile(self.home.logs / "gatepost.log")

    def has_accounts(self) -> bool:
        """Tell whether there is a database; where there is none there is no server."""
        return os.access(self.home.database, os.R_OK)

    def remedy(self, error: ProbeError, target: Target) -> Text:
        """Return what to do when a probe could not go on."""
        return _remedy(error, target)


def _remedy(error: ProbeError, target: Target) -> Text:  # noqa: PLR0911  a table with conditions
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
