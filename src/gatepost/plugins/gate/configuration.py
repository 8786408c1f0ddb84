"""The gate's configuration: a small JSON file that it reads at start and on SIGHUP."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gatepost.model import Address, IPNetwork, Standing


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one client; 0 means no limit.

    IPv6 clients count by their /64, and by their /56, which may take four times as much.
    """

    open_connections: int
    """Sessions of one client that Postfix serves at the same time."""
    connections_per_minute: int


@dataclass(frozen=True, slots=True)
class Configuration:
    """Everything that may change while the gate runs."""

    hostname: str
    """The name in its replies."""
    trusted: tuple[IPNetwork, ...]
    """Networks whose peers may send a PROXY header, and must."""
    relaying: tuple[IPNetwork, ...]
    """Proxies whose headers may name a client of ``MYNETWORKS`` that relays."""
    accept_direct: bool
    """True if other peers are served under their own address; false if they are refused."""
    header_seconds: float
    """Time that a trusted peer has to send its header."""
    limits: Limits
    handoffs: Mapping[str, Mapping[Standing, str]]
    """Listener → kind of connection → UNIX socket of the Postfix service that takes it."""
    metrics: tuple[Address, ...]
    """Addresses at which Prometheus reads the counters."""

    def dump(self) -> str:
        """Return the JSON text that `load` reads."""
        return json.dumps(
            {
                "hostname": self.hostname,
                "trusted": [str(network) for network in self.trusted],
                "relaying": [str(network) for network in self.relaying],
                "accept_direct": self.accept_direct,
                "header_seconds": self.header_seconds,
                "limits": {
                    "open_connections": self.limits.open_connections,
                    "connections_per_minute": self.limits.connections_per_minute,
                },
                "handoffs": {name: dict(services) for name, services in self.handoffs.items()},
                "metrics": [{"host": at.host, "port": at.port} for at in self.metrics],
            },
            indent=2,
        )


def load(file: Path) -> Configuration:
    """Read a configuration.

    Raise `OSError`, `ValueError`, `KeyError` or `TypeError` when it is not one.
    """
    values = json.loads(file.read_text())
    limits = values["limits"]
    return Configuration(
        hostname=str(values["hostname"]),
        trusted=tuple(ipaddress.ip_network(network) for network in values["trusted"]),
        relaying=tuple(ipaddress.ip_network(network) for network in values["relaying"]),
        accept_direct=bool(values["accept_direct"]),
        header_seconds=float(values["header_seconds"]),
        limits=Limits(int(limits["open_connections"]), int(limits["connections_per_minute"])),
        handoffs={
            str(name): {Standing(standing): str(socket) for standing, socket in services.items()}
            for name, services in values["handoffs"].items()
        },
        metrics=tuple(Address(str(at["host"]), int(at["port"])) for at in values["metrics"]),
    )
