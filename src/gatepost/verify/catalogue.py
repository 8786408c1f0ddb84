"""The one table of checks: what ``--only``, ``--skip``, the runner and the docs read."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from graphlib import CycleError, TopologicalSorter

from gatepost import discovery
from gatepost.errors import UsageError
from gatepost.model import Protocol
from gatepost.model.words import Logs, Text
from gatepost.verify.check import CLUSTER, HERE, ProofCheck
from gatepost.verify.checks.auth_offer import auth_offer
from gatepost.verify.checks.banner import banner
from gatepost.verify.checks.claimed_relay import claimed_relay
from gatepost.verify.checks.client_address import client_address, client_address_there
from gatepost.verify.checks.configuration import configuration, first_look
from gatepost.verify.checks.forged_direct import forged_direct
from gatepost.verify.checks.forged_through_proxy import forged_through_proxy
from gatepost.verify.checks.header_versions import header_versions
from gatepost.verify.checks.home import home
from gatepost.verify.checks.internal_address import internal_address
from gatepost.verify.checks.missing_header import missing_header
from gatepost.verify.checks.open_relay import open_relay
from gatepost.verify.checks.role_addresses import role_addresses
from gatepost.verify.checks.round_trip import round_trip
from gatepost.verify.checks.sender_forgery import sender_forgery
from gatepost.verify.checks.shared_address import shared_address
from gatepost.verify.checks.tls import tls
from gatepost.verify.checks.trust_breadth import trust_breadth
from gatepost.verify.clients.wire import Trouble
from gatepost.verify.remedies import STATUS
from gatepost.verify.targets import Approach

_THE_PROXY = "only the proxy may say what this check says. In a cluster {} stands for it."
_AT_HOME = (
    "this check looks at its {}, which no other pod reaches. Run it in the container of the "
    "server: gatepost verify --only {}"
)

_OURS: tuple[ProofCheck, ...] = (
    ProofCheck(
        "banner",
        "the server speaks within 1 s through the public port",
        "From outside: nc MAILNAME {port}",
        banner,
        outside=banner,
        after=("endpoints", "route"),
        stops=frozenset(Trouble) - {Trouble.TLS},
        mailbox=False,
    ),
    ProofCheck(
        "tls",
        "STARTTLS or implicit TLS works; the certificate is the one on disk, fits MAILNAME, comes "
        "from a known authority (self-signed: a risk) and has two weeks left; TLS 1.0 and 1.1 are "
        "refused",
        "From outside: openssl s_client -connect MAILNAME:{port} -verify_return_error",
        tls,
        outside=tls,
        behind=True,
        explains=frozenset({Trouble.TLS}),
        mailbox=False,
    ),
    ProofCheck(
        "client-address",
        "the daemon's log names the probe's own address and port, and tells a second probe from "
        "another address apart",
        Text(
            "Connect to port {port} through the proxy from another machine, and look for that "
            "machine's address in: ",
            Logs(),
        ),
        client_address,
        outside=client_address_there,
    ),
    ProofCheck(
        "forged-through-proxy",
        "a PROXY header sent as payload through the public port changes nothing: the daemon's log "
        "names the probe's own address and port",
        Text(
            "From outside: (printf 'PROXY TCP4 192.0.2.7 192.0.2.1 4711 25\\r\\n'; sleep 3) | "
            "nc MAILNAME {port}; then ",
            Logs(),
            " must not name 192.0.2.7",
        ),
        forged_through_proxy,
    ),
    ProofCheck(
        "forged-direct",
        "a PROXY header from an untrusted address straight to the service port is refused, or its "
        "sender served under its own address; the same from a trusted address is believed",
        "The same as forged-through-proxy, at the service port behind port {port}, from a machine "
        "outside TRUSTED_PROXIES",
        forged_direct,
        approach=Approach.SERVICE,
    ),
    ProofCheck(
        "missing-header",
        "a trusted peer without a PROXY header is disconnected within 6 s and never greeted",
        "Where the proxy runs: nc to the service port behind port {port} must end without a "
        "greeting",
        missing_header,
        approach=Approach.SERVICE,
        waits=True,
        barred={CLUSTER: _THE_PROXY.format("forged-direct")},
    ),
    ProofCheck(
        "header-versions",
        "versions 1 and 2 of the PROXY protocol, TCP4 and TCP6, UNKNOWN and LOCAL, are accepted "
        "from a trusted peer, and the daemon's log names the client that they name",
        "Where the proxy runs: send a PROXY header to the service port behind port {port}",
        header_versions,
        approach=Approach.SERVICE,
        barred={CLUSTER: _THE_PROXY.format("route and client-address")},
    ),
    ProofCheck(
        "auth-offer",
        "AUTH or LOGIN is not offered without TLS, nor at all on port 25, and a login that is "
        "tried there with the right password is refused; ports with implicit TLS say nothing "
        "without it",
        "From outside: nc MAILNAME {port}, then EHLO x (IMAP: a CAPABILITY, POP3: CAPA)",
        auth_offer,
        outside=auth_offer,
    ),
    ProofCheck(
        "open-relay",
        "no recipient elsewhere is accepted without a login, from any sender, in any spelling, "
        "under any address that is not in MYNETWORKS; the probe's own mailbox is",
        "From outside: swaks --server MAILNAME:{port} --to somebody@elsewhere.invalid "
        "--quit-after RCPT",
        open_relay,
        protocols=frozenset({Protocol.SMTP}),
        outside=open_relay,
    ),
    ProofCheck(
        "claimed-relay",
        "a client whose address in MYNETWORKS is known from a PROXY header only may not relay; a "
        "proxy in MTA_RELAYING_PROXIES is a risk",
        "Where the proxy runs: send a PROXY header with an address of MYNETWORKS to the service "
        "port of smtp, and ask to relay",
        judge=claimed_relay,
    ),
    ProofCheck(
        "sender-forgery",
        "after a login mail is taken from the login's own address and from no other",
        "From outside: swaks --server MAILNAME:{port} --tls --auth --from SOMEBODY-ELSE "
        "--to YOURSELF --quit-after RCPT",
        sender_forgery,
        protocols=frozenset({Protocol.SMTP}),
        logins_only=True,
    ),
    ProofCheck(
        "round-trip",
        "a message in by SMTP or submission comes out by IMAP and POP3 unchanged, and its Received "
        "header names the client of port 25",
        "Send a message from outside and read it with a mail program.",
        round_trip,
        protocols=frozenset({Protocol.SMTP, Protocol.IMAP, Protocol.POP3}),
        waits=True,
    ),
    ProofCheck(
        "internal-address",
        "each of the six MDA_* and MTA_* addresses completes a session; the row says whether it "
        "goes through the proxy or to an internal listener",
        "From where Gatepost's own clients run: nc HOST PORT, with the address's own",
        internal_address,
        approach=Approach.CLIENT,
    ),
    ProofCheck(
        "trust-breadth",
        "TRUSTED_PROXIES holds the proxies that are seen, and nobody else",
        "On the machine of the daemons: ss -Htn state established",
        judge=trust_breadth,
    ),
    ProofCheck(
        "role-addresses",
        "postmaster and abuse of the server are accepted, and an address that nobody has is not",
        "From outside: swaks --server MAILNAME:25 --to postmaster@MAILNAME --quit-after RCPT",
        judge=role_addresses,
    ),
    ProofCheck(
        "shared-address",
        "the clients seen lately come from more than one address",
        Text("Look for the addresses of clients in: ", Logs()),
        judge=shared_address,
    ),
    ProofCheck(
        "home",
        "mail and queue belong to the daemons' users, and nobody but root may write in "
        "GATEPOST_HOME and above it",
        "On the machine of the server, as root: find GATEPOST_HOME/mail ! -user gatepost-mail",
        judge=home,
        barred={CLUSTER: _AT_HOME.format("disk", "home")},
    ),
    ProofCheck(
        "configuration",
        "the services run the configuration that `gatepost up` has written last, and nobody "
        "changed, stopped or restarted them while the proof was made",
        Text("On the machine of the server: ", STATUS),
        judge=configuration,
        begin=first_look,
        last=True,
        order=90,
        barred={CLUSTER: _AT_HOME.format("supervisor", "configuration")},
    ),
)
_ALL: tuple[ProofCheck, ...] = (
    *_OURS,
    *(check for module in discovery.modules("checks") for check in module.CHECKS),
)


def refuse_circles(checks: Iterable[ProofCheck]) -> None:
    """Raise `UsageError` when checks are made after each other in a circle."""
    try:
        TopologicalSorter({check.name: check.after for check in checks}).prepare()
    except CycleError as error:
        raise UsageError(
            f"verify: the checks {', '.join(error.args[1][1:])} wait for each other. Remove the "
            "package that adds one of them, or mend its `after`."
        ) from None


refuse_circles(_ALL)


def table(vantage: str) -> tuple[ProofCheck, ...]:
    """Return the checks that are made from a vantage, in table order.

    A plug-in's check takes the place of ours of the same name, where it is made.
    """
    names = dict.fromkeys(check.name for check in sorted(_ALL, key=lambda check: check.order))
    made = {check.name: check for check in _ALL if vantage not in check.barred}
    return tuple(made[name] for name in names if name in made)


CHECKS = table(HERE)
"""The table for the machine of the server: ours, and those of plug-ins."""
IN_CLUSTER = table(CLUSTER)
"""The table for a pod of its own in a cluster (``--cluster``)."""


def groundwork(vantage: str) -> tuple[ProofCheck, ...]:
    """Return the checks that find out who answers at all, which each run makes."""
    return tuple(check for check in table(vantage) if check.stops)


def chosen(
    only: Collection[str] = (), skip: Collection[str] = (), *, vantage: str = HERE
) -> tuple[ProofCheck, ...]:
    """Return the checks to make, in table order.

    Raises `UsageError` for a name that is not in the table, or when nothing is left.
    """
    checks = table(vantage)
    names = [check.name for check in checks]
    called = "verify --cluster" if vantage == CLUSTER else "verify"
    for option, given in (("--only", only), ("--skip", skip)):
        for name in given:
            if name in names:
                continue
            for check in _ALL:
                if check.name == name:
                    raise UsageError(f"{called} {option} {name}: {check.barred[vantage]}")
            raise UsageError(
                f'verify {option}: there is no check "{name}". Choose from: {", ".join(names)}.'
            )
    kept = tuple(c for c in checks if (not only or c.name in only) and c.name not in skip)
    if not kept:
        raise UsageError(
            "verify: --only and --skip leave no check to make. "
            f"Choose at least one of: {', '.join(names)}."
        )
    return kept
