"""The one table of checks: what ``--only``, ``--skip``, the runner and the docs read."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from gatepost.errors import UsageError
from gatepost.model import Protocol
from gatepost.verify.checks.banner import banner
from gatepost.verify.checks.client_address import client_address
from gatepost.verify.checks.round_trip import round_trip
from gatepost.verify.checks.tls import tls
from gatepost.verify.run import Outcome, Run
from gatepost.verify.targets import Place, Target

EVERY_PROTOCOL = frozenset(Protocol)


@dataclass(frozen=True, slots=True)
class Check:
    """One row of the table."""

    name: str
    """Name on the command line, in the report and in JSON."""
    passes_when: str
    """What a pass means, for the docs and for a row that could not be tested."""
    by_hand: str
    """How to test it where verify cannot, for ``{port}`` of the listener."""
    probe: Callable[[Run, Target], Outcome] | None = None
    """Makes it at one address."""
    place: Place = Place.PUBLIC
    """At which addresses it is made."""
    protocols: frozenset[Protocol] = EVERY_PROTOCOL
    """Protocols of the listeners that it is made for."""
    judge: Callable[[Run], Outcome] | None = None
    """Instead of `probe`: judges the server as a whole, once, when all probes are through."""


CHECKS: tuple[Check, ...] = (
    Check(
        "banner",
        "the server speaks within 1 s through the public port",
        "From outside: nc MAILNAME {port}",
        banner,
    ),
    Check(
        "tls",
        "STARTTLS or implicit TLS works; the certificate is the one on disk, fits MAILNAME, comes "
        "from a known authority (self-signed: a risk) and has two weeks left; TLS 1.0 and 1.1 are "
        "refused",
        "From outside: openssl s_client -connect MAILNAME:{port} -verify_return_error",
        tls,
    ),
    Check(
        "client-address",
        "the daemon's log names the probe's own address and port, and tells a second probe from "
        "another address apart",
        "Connect to port {port} through the proxy from another machine, and look for that "
        "machine's address in: gatepost logs",
        client_address,
    ),
    Check(
        "round-trip",
        "a message in by SMTP or submission comes out by IMAP and POP3 unchanged, and its Received "
        "header names the client of port 25",
        "Send a message from outside and read it with a mail program.",
        round_trip,
        protocols=frozenset({Protocol.SMTP, Protocol.IMAP, Protocol.POP3}),
    ),
)
FIRST = "banner"
"""The check that finds out who answers at all, before the others begin."""


def chosen(only: Collection[str] = (), skip: Collection[str] = ()) -> tuple[Check, ...]:
    """Return the checks to make, in table order.

    Raises `UsageError` for a name that is not in the table, or when nothing is left.
    """
    names = [check.name for check in CHECKS]
    for option, given in (("--only", only), ("--skip", skip)):
        for name in given:
            if name not in names:
                raise UsageError(
                    f'verify {option}: there is no check "{name}". Choose from: {", ".join(names)}.'
                )
    kept = tuple(c for c in CHECKS if (not only or c.name in only) and c.name not in skip)
    if not kept:
        raise UsageError(
            "verify: --only and --skip leave no check to make. "
            f"Choose at least one of: {', '.join(names)}."
        )
    return kept
