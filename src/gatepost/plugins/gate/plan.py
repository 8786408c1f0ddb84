"""Settings and topology → the gate's file and process. Pure, as plug-ins are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from gatepost.contracts import Context
from gatepost.model import (
    Address,
    BoundListener,
    Handoff,
    OnChange,
    Process,
    Readiness,
    RenderedFile,
    Role,
    Standing,
)
from gatepost.plugins.gate.configuration import Configuration, Limits
from gatepost.plugins.gate.settings import DirectClients, GateSettings
from gatepost.settings import Settings

NAME = "gate"
METRICS = Role("metrics")
METRICS_PORT = 2006

_FILE = PurePosixPath(NAME) / "gate.json"


def used(_settings: Settings, listeners: tuple[BoundListener, ...]) -> bool:
    """Tell whether a proxy stands before a daemon that believes PROXY headers from any peer."""
    return any(bound.proxied and bound.listener.guarded for bound in listeners)


def files(context: Context) -> tuple[RenderedFile, ...]:
    """Return the gate's file, for connections that are handed over to the daemons' services."""
    settings = context.settings
    own = settings.of(GateSettings)
    configuration = Configuration(
        hostname=settings.mail.mailname,
        trusted=context.topology.trusted_proxies,
        relaying=own.mta_relaying_proxies,
        accept_direct=own.mta_direct_clients is DirectClients.ACCEPT,
        header_seconds=own.mta_proxy_header_seconds,
        limits=Limits(
            open_connections=settings.mail.mta_client_connections,
            connections_per_minute=settings.mail.mta_client_connections_per_minute,
        ),
        handoffs=_services(context.given(Handoff)),
        metrics=_metrics(context),
    )
    return (RenderedFile(_FILE, configuration.dump() + "\n", NAME, OnChange.RELOAD),)


def processes(context: Context) -> tuple[Process, ...]:
    """Return the gate's process.

    It begins as root, since the program may lie where nobody else can read it, and becomes the
    user of the services before it looks at a connection.
    """
    handoffs = context.given(Handoff)
    (user,) = {handoff.user for handoff in handoffs}
    topology = context.topology
    return (
        Process(
            name=NAME,
            argv=(
                str(context.site.program.with_name("python")),
                *("-I", "-m", "gatepost.plugins.gate"),
                str(context.site.home.config / _FILE),
                user,
            ),
            ready=(Readiness(_metrics(context)[0].reachable),),
            reload=("kill", "-HUP", "{pid}"),
            becomes=user,
            sockets=tuple(
                (listener, address)
                for listener in _services(handoffs)
                for address in topology.named(listener).service
            ),
        ),
    )


def _services(handoffs: Sequence[Handoff]) -> dict[str, dict[Standing, str]]:
    services: dict[str, dict[Standing, str]] = {}
    for handoff in handoffs:
        services.setdefault(handoff.listener, {})[handoff.standing] = str(handoff.socket)
    return services


def _metrics(context: Context) -> tuple[Address, ...]:
    endpoints = context.topology.offers_of(NAME)[METRICS]
    offered = tuple(one for one in endpoints if isinstance(one, Address))
    # The IPv6 wildcard takes IPv4 too, and a second socket would find the port taken.
    return tuple(address for address in offered if address.host == "::") or offered
