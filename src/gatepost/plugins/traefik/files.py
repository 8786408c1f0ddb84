"""Entry points and routers, read from the listener table and the HTTP routes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from gatepost.contracts import Context
from gatepost.model import (
    Address,
    BoundListener,
    HttpRoute,
    OnChange,
    Protocol,
    RenderedFile,
    SystemUser,
)
from gatepost.rendering import render

PROCESS = "traefik"
FOLDER = PurePosixPath("traefik")
USER = SystemUser("gatepost-proxy", "Gatepost's reverse proxy")
TLS_CERTIFICATE = "tls.crt"
TLS_KEY = "tls.key"

_LONGEST_PATH = 10_000
"""Longer than any path of a route."""


@dataclass(frozen=True, slots=True)
class EntryPoint:
    """One address that Traefik listens on."""

    name: str
    address: str
    """``host:port``; no host stands for every address, IPv4 and IPv6."""


@dataclass(frozen=True, slots=True)
class Router:
    """The destination of connections of some entry points."""

    name: str
    entry_points: tuple[str, ...]
    server: Address
    proxied: bool
    """True if the server gets the client's address in a PROXY header."""


@dataclass(frozen=True, slots=True)
class WebRouter:
    """The destination of requests for some host and path."""

    name: str
    entry_points: tuple[str, ...]
    rule: str
    priority: int
    """Of the routers whose rules fit, the one with the highest is taken."""
    server: Address


def entry_points(bound: BoundListener) -> tuple[EntryPoint, ...]:
    """Return the entry points of a listener; the first is named after it, as the reference does."""
    return _points(bound.name, bound.public)


def web_entry_points(context: Context) -> tuple[EntryPoint, ...]:
    """Return the entry points for HTTPS, which all routes share; none without routes."""
    reached = [bound.public for bound in _web(context) if bound.public]
    return _points("websecure", reached[0]) if reached else ()


def _points(name: str, public: tuple[Address, ...]) -> tuple[EntryPoint, ...]:
    hosts = [address.host for address in public]
    if set(hosts) == {"0.0.0.0", "::"}:  # noqa: S104
        # One socket for both families: two would fight over the port.
        return (EntryPoint(name, f":{public[0].port}"),)
    return tuple(
        EntryPoint(name if number == 1 else f"{name}-{number}", str(address))
        for number, address in enumerate(public, start=1)
    )


def _web(context: Context) -> tuple[BoundListener, ...]:
    listeners = context.topology.listeners
    return tuple(bound for bound in listeners if bound.listener.protocol is Protocol.HTTP)


def web_routers(context: Context) -> tuple[WebRouter, ...]:
    """Return one router for each HTTP route."""
    points = tuple(point.name for point in web_entry_points(context))
    return tuple(
        WebRouter(
            # A listener may have several routes.
            name=f"{route.listener}-{number}",
            entry_points=points,
            rule=_rule(route),
            priority=(_LONGEST_PATH if route.host else 0) + len(route.path),
            server=context.topology.named(route.listener).service[0].reachable,
        )
        for number, route in enumerate(context.given(HttpRoute), start=1)
    )


def _rule(route: HttpRoute) -> str:
    """Write a route in Traefik's language, where a prefix need not end at a slash."""
    paths = "PathPrefix(`/`)"
    if route.path != "/":
        paths = f"(Path(`{route.path}`) || PathPrefix(`{route.path}/`))"
    return f"Host(`{route.host}`) && {paths}" if route.host else paths


def routers(context: Context) -> tuple[Router, ...]:
    """Return one router for each listener that carries mail."""
    return tuple(
        Router(
            name=bound.name,
            entry_points=tuple(point.name for point in entry_points(bound)),
            server=bound.service[0].reachable,
            proxied=bound.proxied,
        )
        for bound in context.topology.mail
    )


def files(context: Context) -> tuple[RenderedFile, ...]:
    """Return the static configuration (entry points) and the dynamic one (routers).

    With HTTP routes there is a copy of the mail server's certificate and key beside them.
    """
    points = tuple(p for bound in context.topology.mail for p in entry_points(bound))
    config = context.site.home.config / FOLDER
    values = {
        "routers": routers(context),
        "web_routers": web_routers(context),
        "tls_certificate": config / TLS_CERTIFICATE,
        "tls_key": config / TLS_KEY,
    }
    dynamic = FOLDER / "dynamic.yaml"
    static = render(
        __package__,
        "traefik.yaml",
        entry_points=points,
        web_entry_points=web_entry_points(context),
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
            content=render(__package__, "dynamic.yaml", **values),
            process=PROCESS,
            on_change=OnChange.RELOAD,
        ),
        *(_certificate(context) if values["web_routers"] else ()),
    )


def _certificate(context: Context) -> tuple[RenderedFile, ...]:
    pair = context.site.certificate
    rows = ((TLS_CERTIFICATE, pair.chain, 0o644, "root"), (TLS_KEY, pair.key, 0o640, USER.name))
    return tuple(
        RenderedFile(
            FOLDER / name, copy.content, PROCESS, OnChange.RELOAD, mode, group, copy.original
        )
        for name, copy, mode, group in rows
    )
