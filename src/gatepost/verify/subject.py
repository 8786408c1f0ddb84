"""The server that is to be proven."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from gatepost.contracts import Plugin
from gatepost.model import Certificate, IPNetwork, Topology
from gatepost.verify.check import Vantage
from gatepost.verify.clients.mailbox import Login

MakeMailbox = Callable[[str], AbstractContextManager[Login]]
"""Makes the probe's mailbox for a nonce, for as long as a block lasts."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The server that is to be proven, and where from."""

    topology: Topology
    vantage: Vantage
    mailname: str
    certificate: Certificate | None
    daemons: tuple[Plugin, ...]
    """Plug-ins that read the daemons' log lines."""
    make_mailbox: MakeMailbox
    relaying: tuple[IPNetwork, ...] = ()
    """Networks that may relay without logging in (`MYNETWORKS`)."""
    relaying_proxies: tuple[IPNetwork, ...] = ()
    """Proxies whose headers may name a client of those networks (`MTA_RELAYING_PROXIES`)."""
