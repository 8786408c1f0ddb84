"""The settings that only the gate has."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated

from gatepost import ip_addresses
from gatepost.settings import Settings
from gatepost.settings.concerns import Concern, Networks, Seconds, choice
from gatepost.settings.loading import of_no_use, show


class DirectClients(StrEnum):
    """The treatment of a peer without a PROXY header on a proxied SMTP port."""

    REJECT = "reject"
    ACCEPT = "accept"


class GateSettings(Concern):
    """The gate before Postfix, which decides who may say who a client is."""

    mta_relaying_proxies: Networks = ()
    """Proxies whose PROXY headers may name a client of `MYNETWORKS` that relays, comma-separated.

    None by default: the address in a header gives no right to relay, so clients behind a proxy log
    in, or connect to the internal port. Every program that connects from one of these addresses
    can send mail to anybody, by claiming an address of `MYNETWORKS`. So name only a proxy that
    shares its address with no other program. Each must be inside `TRUSTED_PROXIES`."""
    mta_direct_clients: Annotated[DirectClients, choice(DirectClients)] = DirectClients.REJECT
    """The treatment of peers outside `TRUSTED_PROXIES` on a proxied SMTP port.

    `reject` refuses them, `accept` serves them as direct clients under their own address."""
    mta_proxy_header_seconds: Seconds = 3.0
    """Seconds within which a trusted proxy must send its PROXY header on an SMTP port."""

    def contradictions(self, settings: Settings) -> Iterator[str]:
        """Yield relaying proxies that are not trusted, or that have no network to relay for."""
        trusted = settings.proxy.trusted_proxies
        for relaying in self.mta_relaying_proxies:
            if not ip_addresses.network_within(relaying, trusted):
                yield (
                    f'MTA_RELAYING_PROXIES: "{relaying}" is not inside TRUSTED_PROXIES '
                    f'"{show(trusted)}", so its headers are not believed.\n'
                    "Name proxies that are in TRUSTED_PROXIES, or add this one there"
                )
        yield from of_no_use(
            "MTA_RELAYING_PROXIES",
            self.mta_relaying_proxies,
            "MYNETWORKS",
            settings.mail.mynetworks,
        )

    def doubts(self, _settings: Settings) -> Iterator[str]:
        """Yield that a relaying proxy is a risk."""
        if self.mta_relaying_proxies:
            yield (
                f'MTA_RELAYING_PROXIES: "{show(self.mta_relaying_proxies)}": every program that '
                "connects from there can send mail to anybody, by claiming an address of "
                "MYNETWORKS. Name only proxies that share their address with no other program."
            )
