"""The toy as a plug-in."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from gatepost.contracts import Context, Plugin
from gatepost.model import (
    Directory,
    HttpRoute,
    Job,
    Listener,
    Offer,
    Process,
    Readiness,
    RenderedFile,
    Role,
    SystemUser,
    Tables,
    Token,
)
from gatepost.settings.concerns import Boolean, Concern

BELL = Role("bell")
USER = SystemUser("gatepost-toy", "Gatepost's bell")
WEB = Listener.http("toy-web", 2098)


class ToySettings(Concern):
    """A bell, for tests."""

    toy_bell: Boolean = False
    """Ring a bell when mail comes."""
    toy_route: Boolean = True
    """Let visitors ring the bell over HTTPS, below `/toy`."""


def files(context: Context) -> tuple[RenderedFile, ...]:
    """Return the bell's one file."""
    text = f"key = {context.site.token('toy.key')}\n"
    return (RenderedFile(PurePosixPath("toy") / "bell.conf", text, "toy", mode=0o600),)


def processes(context: Context) -> tuple[Process, ...]:
    """Return the bell, and the website on which visitors ring it."""
    (here,) = context.topology.named(WEB.name).service
    networks = ",".join(map(str, context.topology.trusted_proxies))
    python, program = context.site.program.with_name("python"), Path(__file__).with_name("web.py")
    return (
        Process(name="toy", argv=("sleep", "infinity")),
        Process(
            name=WEB.name,
            argv=(str(python), "-I", str(program), USER.name, networks),
            sockets=((WEB.name, here),),
            ready=(Readiness(here, b"HTTP/1.", b"GET / HTTP/1.0\r\n\r\n"),),
            becomes=USER.name,
        ),
    )


def routes(context: Context) -> tuple[HttpRoute, ...]:
    """Return the way to the website, unless it is switched off."""
    wanted = context.settings.of(ToySettings).toy_route
    return (HttpRoute(WEB.name, "/toy"),) if wanted else ()


PLUGIN = Plugin(
    name="toy",
    unit="toy",
    settings=(ToySettings,),
    used=lambda settings, _listeners: settings.of(ToySettings).toy_bell,
    offers={BELL: Offer(2099, "rings", "bell")},
    opens=lambda _settings: {BELL: "root"},
    listeners=(WEB,),
    contributes=routes,
    optional_packages=("hello",),
    secrets=(Token("toy.key"),),
    files=files,
    processes=processes,
    jobs=lambda _context: (Job("toy-tuning", ("echo", "in tune"), every=3600.0, after_start=True),),
    directories=lambda context: (Directory(context.site.home.state / "toy"),),
    tables=Tables("toy", Path(__file__).with_name("migrations"), "0001"),
    users=(USER,),
)
