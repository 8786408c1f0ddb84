"""Gatepost's own clients arrive where the six ``MDA_*`` and ``MTA_*`` addresses lead."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from gatepost.assembly import client_settings
from gatepost.model import Address, Observation, Status
from gatepost.model.words import Detail, Logs, Text, Words
from gatepost.proxy_protocol import build_1
from gatepost.verify.check import Outcome, Proof, takes_logins
from gatepost.verify.clients.names import resolved
from gatepost.verify.clients.protocols import Smtp
from gatepost.verify.clients.sessions import conversation, greeted
from gatepost.verify.clients.wire import ProbeError, Trouble
from gatepost.verify.evidence.witnesses import is_about
from gatepost.verify.remedies import MAILBOXES, STATUS, UP
from gatepost.verify.targets import (
    Approach,
    Target,
    addresses_of_this_machine,
    targets,
)

_RESOLVE_SECONDS = 3.0
_SESSION_SECONDS = 2.5
_HEADER_SECONDS = 1.0
_LOG_SECONDS = 1.5
_WILDCARDS = {"0.0.0.0": 4, "::": 6}  # noqa: S104
_NAMED = frozenset({Trouble.REFUSED, Trouble.UNREACHABLE})
"""Troubles whose text names the address."""
_SILENCE = frozenset({Trouble.SILENT, Trouble.CLOSED, Trouble.TLS, Trouble.DENIED})
"""Troubles of a client without a header at a port that demands one."""


def internal_address(proof: Proof, target: Target) -> Outcome:
    """Hold a session as Gatepost's own clients do, and ask the log by which way it came."""
    expected = Text(f"{_variable(target)} (", Detail(target.address), ") completes a session")
    try:
        hosts = resolved(target.address, proof.within(_RESOLVE_SECONDS))
    except ProbeError as error:
        fix = _fix(target, "Correct the name.")
        return Outcome(Status.FAIL, expected, error.observed, fix=fix, kind="no-name")
    for host in hosts:
        there = replace(target, address=Address(host, target.address.port))
        try:
            client, greeting = _visit(proof, there)
        except ProbeError as error:
            elsewhere = error.trouble in {Trouble.REFUSED, Trouble.UNREACHABLE}
            if elsewhere and host != hosts[-1]:
                continue
            return _failed(proof, there, target, expected, error)
        seen = _seen(proof, target, client)
        route = _route(there, target, seen)
        witness = seen.line if seen else greeting
        if proof.login is None:
            return Outcome(
                Status.NOT_PROVEN,
                expected,
                Text(route, f"; no login was tried: {proof.no_login}"),
                witness,
                fix=Text("See whether accounts work: ", MAILBOXES),
                kind="no-login",
            )
        return Outcome(Status.PASS, expected, route, witness)
    raise AssertionError(hosts)  # a name has an address, or does not resolve


def _variable(target: Target) -> str:
    return client_settings()[target.bound.name]


# --- being a client -----------------------------------------------------------------------------


def _visit(proof: Proof, target: Target) -> tuple[Address, str]:
    """Log in, or on port 25 name the probe's mailbox; return where we came from, and the greeting.

    Raises `ProbeError`.
    """
    with conversation(target, deadline=proof.within(_SESSION_SECONDS), name=proof.helo) as session:
        if proof.login and takes_logins(target.bound):
            session.login(proof.login.address, proof.login.password)
        elif proof.login and isinstance(session, Smtp):
            session.command("MAIL FROM:<>", 250)
            session.command(f"RCPT TO:<{proof.login.address}>", 250)
            session.command("RSET", 250)
        return session.wire.client, session.greeting.split("\n")[0]


def _seen(proof: Proof, target: Target, client: Address) -> Observation | None:
    def ours(one: Observation) -> bool:
        return one.daemon == target.bound.daemon and is_about(one, client)

    if proof.witness.absence(target.bound.daemon):
        return None
    return proof.witness.find(ours, deadline=proof.within(_LOG_SECONDS))


# --- by which way -------------------------------------------------------------------------------


def _route(there: Target, target: Target, seen: Observation | None) -> Text:
    """Say which way a session took: by the daemon's words, or else by the address."""
    name = Text(Detail(target.address))
    if there.address != target.address:
        name = Text(name, " (", Detail(there.address.host), ")")
    bound = there.bound
    internal = seen.internal if seen else None
    if internal is None and _is_one_of(there.address, bound.internal):
        internal = True
    if internal:
        return Text("by the internal listener: ", name)
    if _is_one_of(there.address, bound.public):
        return Text("through the proxy: " if bound.proxied else "by the public port: ", name)
    if internal is False and bound.proxied:
        return Text("through a proxy: ", name)
    if seen:
        return Text(name, ", by the service port")
    return Text(name, ", none of the addresses here; no log here names it")


def _is_one_of(address: Address, addresses: Iterable[Address]) -> bool:
    """Tell whether an address leads to one of a listener's, which may be wildcards."""
    version = 6 if address.is_ipv6 else 4
    for one in addresses:
        if one.port != address.port:
            continue
        if one.host == address.host:
            return True
        if _WILDCARDS.get(one.host) == version and _is_here(address.host):
            return True
    return False


def _is_here(host: str) -> bool:
    return host.startswith("127.") or host in addresses_of_this_machine()


# --- what went wrong ----------------------------------------------------------------------------


def _failed(
    proof: Proof, there: Target, target: Target, expected: Words, error: ProbeError
) -> Outcome:
    known = [
        bound.name
        for bound in proof.topology.mail
        if bound.proxied and _is_one_of(there.address, bound.service)
    ]
    greeting = _demanded(proof, there) if error.trouble in _SILENCE else ""
    observed = error.observed
    if error.trouble not in _NAMED:
        observed = Text(Detail(there.address), ": ", observed)
    if known or greeting:
        whose = Text(" It is the service port of ", Detail(known[0]), ".") if known else Text()
        return Outcome(
            Status.FAIL,
            expected,
            Text("the port demands a PROXY header; without one, ", observed),
            f"with a PROXY header it says: {greeting}" if greeting else "",
            fix=_fix(target, Text("Gatepost's own clients send no header and hang there.", whose)),
            kind="header-demanded",
        )
    if _is_one_of(there.address, (*there.bound.internal, *there.bound.public)):
        cause = _common_cause(proof, there, error)
        if cause in proof.selected:
            return Outcome(
                Status.NOT_PROVEN,
                expected,
                observed,
                fix=Text(f"See the {cause} rows of ", Detail(there.bound.name), " first."),
                kind="explained",
            )
    fix = _fix(target, _advice(target, error))
    return Outcome(Status.FAIL, expected, observed, fix=fix, kind=error.trouble.value)


def _demanded(proof: Proof, there: Target) -> str:
    """Return the greeting that comes after a PROXY header, when none comes without one."""
    greeting = _greeting(proof, there, build_1())
    return greeting if greeting and not _greeting(proof, there, b"") else ""


def _greeting(proof: Proof, there: Target, opening: bytes) -> str:
    try:
        with greeted(there, deadline=proof.within(_HEADER_SECONDS), opening=opening) as session:
            return session.greeting.split("\n")[0]
    except ProbeError:
        return ""


def _common_cause(proof: Proof, there: Target, error: ProbeError) -> str:
    """Return the check that fails as well when clients outside meet the same, else nothing."""
    if cause := proof.causes.get(there.bound.name):
        return cause
    for public in targets(proof.topology, Approach.PUBLIC):
        if public.bound != there.bound:
            continue
        if public in proof.unreached:
            return "banner"
        if error.trouble is Trouble.TLS:
            try:
                with conversation(public, deadline=proof.within(_HEADER_SECONDS), name=proof.helo):
                    return ""
            except ProbeError as outside:
                return "tls" if outside.trouble is Trouble.TLS else ""
    return ""


def _advice(target: Target, error: ProbeError) -> Words:
    match error.trouble:
        case Trouble.REFUSED:
            return "Nobody listens there."
        case Trouble.UNREACHABLE:
            return "No way leads there, or a firewall drops what is sent."
        case Trouble.SILENT | Trouble.CLOSED:
            return "Should the port demand a PROXY header: Gatepost's own clients send none."
        case Trouble.DENIED:
            logs = Logs(target.bound.daemon)
            return Text("See why: ", logs, "; and whether it is this server that answers.")
        case Trouble.TLS | Trouble.GARBAGE:
            return Text(
                "Another program or protocol answers there, and not ",
                Detail(target.bound.name),
                ".",
            )


def _fix(target: Target, why: Words) -> Text:
    bound = target.bound
    default = bound.internal[0].reachable
    if target.address == default:
        return Text(
            why,
            " ",
            Detail(default),
            " is the internal listener. Start the server: ",
            UP,
            "; when it runs, see what is wrong: ",
            STATUS,
            "; ",
            Logs(bound.daemon),
        )
    variable = _variable(target)
    proxy = (
        Text(f"at the proxy, such as {variable}=", Detail(bound.public[0].reachable), ", or ")
        if bound.public and bound.proxied
        else Text()
    )
    return Text(
        why,
        " Point it ",
        proxy,
        f"at the internal listener, {variable}=",
        Detail(default),
        ", or unset it; then: ",
        UP,
    )
