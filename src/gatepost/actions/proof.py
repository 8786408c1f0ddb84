"""The proof that the running server works and sees its clients."""

from __future__ import annotations

import signal
import threading
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType

from gatepost import assembly
from gatepost.actions.accounts import accounts
from gatepost.model import Finding, Home, Topology
from gatepost.run import certificates, record, site
from gatepost.settings import Settings
from gatepost.verify import catalogue, proof
from gatepost.verify.mailbox import Login, probe_mailbox

_TERMINATED = 128 + signal.SIGTERM


def prove(
    settings: Settings, *, only: Collection[str] = (), skip: Collection[str] = ()
) -> tuple[Finding, ...]:
    """Make the proof; `only` and `skip` name checks of `gatepost.verify.catalogue`.

    Nothing is left behind, nor when the program is told to end meanwhile. Raises `UsageError` for
    unknown names.
    """
    checks = catalogue.chosen(only, skip)
    home = Home(settings.storage.gatepost_home)

    def make_mailbox(nonce: str) -> AbstractContextManager[Login]:
        return _mailbox(settings, home, nonce)

    subject = proof.Subject(
        topology=_topology(settings, home),
        home=home,
        mailname=settings.mail.mailname,
        certificate=certificates.shown(settings, home),
        daemons=assembly.daemons(),
        make_mailbox=make_mailbox,
    )
    with ending_tidily():
        return proof.prove(subject, checks)


def _topology(settings: Settings, home: Home) -> Topology:
    """Return the listener table of what runs; before the first start, that of the settings."""
    try:
        running = record.current(home)
    except (OSError, ValueError):  # not ours to read, or of another version of Gatepost
        running = None
    if running:
        return running.topology
    return assembly.topology(settings, ipv6=site.has_ipv6())


@contextmanager
def _mailbox(settings: Settings, home: Home, nonce: str) -> Iterator[Login]:
    with accounts(settings) as store, probe_mailbox(store, home, nonce) as login:
        yield login


@contextmanager
def ending_tidily() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM unwind the program once, so that it cleans up, and not twice."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    watched = (signal.SIGINT, signal.SIGTERM)

    def end(number: int, _frame: FrameType | None) -> None:
        for one in watched:
            signal.signal(one, signal.SIG_IGN)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(_TERMINATED)

    before = {one: signal.signal(one, end) for one in watched}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
