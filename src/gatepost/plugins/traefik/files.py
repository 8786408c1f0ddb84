"""Entry points and routers, read from the listener table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from gatepost.contracts import Context
from gatepost.model import Address, BoundListener, OnChange, RenderedFile
from gatepost.rendering import render

PROCESS = "traefik"
FOLDER = PurePosixPath("traefik")


@dataclass(frozen=True, slots=True)
class EntryPoint:
    """One address that Traefik listens on."""

    name: str
    address: str
    """``host:port``; no host stands for every address, IPv4 and IPv6."""


@dataclass(frozen=True, slots=True)
class Router:
    """Where connections of some entry points go."""

    name: str
    entry_points: tuple[str, ...]
    server: Address
    proxied: bool
    """Whether the server is told the client's address in a PROXY header."""


def entry_points(bound: BoundListener) -> tuple[EntryPoint, ...]:
    """Return the entry points of a listener; the first is named after it, as the reference does."""
    hosts = [address.host for address in bound.public]
    port = bound.public[0].port
    if set(hosts) == {"0.0.0.0", "::"}:  # noqa: S104
        # One socket for both families: two would fight over the port.
        return (EntryPoint(bound.name, f":{port}"),)
    return tuple(
        EntryPoint(bound.name if number == 1 else f"{bound.name}-{number}", str(address))
        for number, address in enumerate(bound.public, start=1)
    )


def routers(context: Context) -> tuple[Router, ...]:
    """Return one router for each listener."""
    return tuple(
        Router(
            name=bound.name,
            entry_points=tuple(point.name for point in entry_points(bound)),
            server=bound.service[0].reachable,
            proxied=bound.proxied,
        )
        for bound in context.topology.listeners
    )


def files(context: Context) -> tuple[RenderedFile, ...]:
    """Return the static configuration (entry points) and the dynamic one (routers)."""
    points = tuple(p for bound in context.topology.listeners for p in entry_points(bound))
    dynamic = FOLDER / "dynamic.yaml"
    static = render(
        __package__,
        "traefik.yaml",
        entry_points=points,
        dynamic=context.site.home.config / dynamic,
    )
    return (
        RenderedFile(
            path=FOLDER / "traefik.yaml",
            content=static,
            process=PROCESS,
            on_change=OnChange.RESTART,
        ),
        RenderedFile(
            path=dynamic,
            content=render(__package__, "dynamic.yaml", routers=routers(context)),
            process=PROCESS,
            on_change=OnChange.RELOAD,
        ),
    )
