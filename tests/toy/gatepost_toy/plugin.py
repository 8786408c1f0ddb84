"""The toy as a plug-in."""

from __future__ import annotations

from pathlib import PurePosixPath

from gatepost.contracts import Context, Plugin
from gatepost.model import Directory, Job, Offer, Process, RenderedFile, Role, SystemUser, Token
from gatepost.settings.concerns import Boolean, Concern

BELL = Role("bell")


class ToySettings(Concern):
    """A bell, for tests."""

    toy_bell: Boolean = False
    """Ring a bell when mail comes."""


def files(context: Context) -> tuple[RenderedFile, ...]:
    """Return the bell's one file."""
    text = f"key = {context.site.token('toy.key')}\n"
    return (RenderedFile(PurePosixPath("toy") / "bell.conf", text, "toy", mode=0o600),)


PLUGIN = Plugin(
    name="toy",
    settings=(ToySettings,),
    used=lambda settings, _listeners: settings.of(ToySettings).toy_bell,
    offers={BELL: Offer(2099, "rings", "bell")},
    opens=lambda _settings: {BELL: "root"},
    optional_packages=("hello",),
    secrets=(Token("toy.key"),),
    files=files,
    processes=lambda _context: (Process(name="toy", argv=("sleep", "infinity")),),
    jobs=lambda _context: (Job("toy-tuning", ("echo", "in tune"), every=3600.0, after_start=True),),
    directories=lambda context: (Directory(context.site.home.state / "toy"),),
    users=(SystemUser("gatepost-toy", "Gatepost's bell"),),
)
