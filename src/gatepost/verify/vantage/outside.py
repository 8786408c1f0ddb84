"""Another machine, probed from outside: where it is, and what of it can be seen from here.

Nothing is known of that machine but its name: no settings, no log, no account. Checks that need
those become one row each that says so and how to make them there.
"""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from gatepost import assembly, ip_addresses
from gatepost.contracts import Plugin
from gatepost.errors import OperationError, UsageError
from gatepost.model import Address, Finding, Status, Topology
from gatepost.model.words import Command, Logs, Text
from gatepost.settings.concerns import PublicPorts
from gatepost.verify.check import OUTSIDE, Outcome, Proof, ProofCheck, Vantage
from gatepost.verify.clients.mailbox import Login
from gatepost.verify.clients.wire import ProbeError, Trouble
from gatepost.verify.evidence.logs import LogFile
from gatepost.verify.remedies import STATUS, VERIFY, only
from gatepost.verify.subject import Subject
from gatepost.verify.targets import IPV4, IPV6, Approach, Target, has_route

_NAME_SERVER_SECONDS = 5.0
_EXAMPLES = "such as mail.example.org, 192.0.2.1 or 2001:db8::1"
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?")
_LONGEST_NAME = 253


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine as its name leads to it."""

    host: str
    """Name or address as it was given, in ASCII."""
    addresses: tuple[str, ...]
    """The first IPv4 and the first IPv6 address to which there is a way from here."""
    cut_off: tuple[str, ...]
    """The first addresses of families to which there is none."""
    others: tuple[str, ...]
    """Further addresses, which are not probed."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for readers besides the findings."""
        probed = " and ".join(self.addresses or self.cut_off)
        where = probed if probed == self.host else f"{self.host}, {probed}"
        notes = [f"Seen from outside: {where}."]
        if self.others:
            notes.append(
                f"Its name has more addresses: {', '.join(self.others)}. "
                "Probe each of them by itself: gatepost verify --target ADDRESS"
            )
        return tuple(notes)


def find(target: str) -> Machine:
    """Find a machine by its host name or IP address.

    Raises `UsageError` when it is neither, or when the name leads nowhere.
    """
    host = _host(target)
    found = _resolved(host)
    first = {f: next((a for a in found if _family(a) == f), None) for f in (IPV4, IPV6)}
    chosen = [address for address in first.values() if address]
    # Any port will do: routes do not depend on it.
    reached = tuple(address for address in chosen if has_route(Address(address, 25)))
    return Machine(
        host,
        reached,
        tuple(address for address in chosen if address not in reached),
        tuple(address for address in found if address not in chosen),
    )


def _host(target: str) -> str:
    host = target.removeprefix("[").removesuffix("]") if ":" in target else target
    try:
        return str(ip_addresses.address(host))
    except ValueError:
        pass
    if re.fullmatch(r"(\[[^\]]*\]|[^:]+):\d+", target):
        raise UsageError(
            f'verify --target: "{target}" has a port. Name the machine only, {_EXAMPLES}; '
            "--ports chooses among the sets of ports."
        )
    try:
        name = host.rstrip(".").encode("idna").decode()
    except UnicodeError:
        name = ""
    if len(name) > _LONGEST_NAME or not all(map(_LABEL.fullmatch, name.split("."))):
        raise UsageError(
            f'verify --target: "{target}" is neither a host name nor an IP address. '
            f"Name a machine, {_EXAMPLES}."
        )
    return name


def _resolved(host: str) -> tuple[str, ...]:
    """Ask the resolver, which has no deadline of its own."""
    found: list[str] = []
    refused: list[str] = []

    def ask() -> None:
        try:
            answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except OSError as error:
            refused.append((error.strerror or str(error)).lower())
            return
        found.extend(str(where[0]) for *_, where in answers)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_NAME_SERVER_SECONDS)
    if found:
        return tuple(dict.fromkeys(found))
    why = refused[0] if refused else f"no answer within {_NAME_SERVER_SECONDS:.0f} s"
    raise UsageError(
        f'verify --target: "{host}" leads to no address ({why}). See that the name is right and '
        f"that it has an A or AAAA record, or give the address itself, {_EXAMPLES}."
    )


def _family(address: str) -> str:
    return IPV6 if ":" in address else IPV4


# --- what is proven there -----------------------------------------------------------------------


class Outside(Vantage):
    """Anywhere else than on the machine that is probed."""

    name = OUTSIDE
    no_mailbox = "the probe has no mailbox there"

    def __init__(self, machine: Machine) -> None:
        """Look at this machine."""
        self._machine = machine
        self.host = machine.host

    def log(self) -> LogFile:
        """Return a log that is not there."""
        return LogFile(Path(os.devnull) / "gatepost.log")

    def targets(self, topology: Topology) -> Mapping[Approach, tuple[Target, ...]]:
        """Return all addresses; the kernel knows best which of its own leads there."""
        return {
            approach: tuple(replace(target, sources=()) for target in found)
            for approach, found in super().targets(topology).items()
        }

    def made(self, check: ProofCheck) -> ProofCheck:
        """Turn a check into what can be made from outside, or into a row that says it cannot."""
        if check.outside and self._machine.addresses:
            probe = check.outside
            if probe is check.probe:
                probe = partial(_there, check, self.host, check.outside)
            return replace(check, probe=probe, judge=None, begin=None)
        return replace(check, probe=None, judge=partial(_unseen, check, self._machine), begin=None)

    def beyond(self, checks: Iterable[ProofCheck]) -> Iterator[Finding]:
        """Yield a row for each check that could be made for one family of addresses only."""
        yield from unreached(checks, self._machine)

    def remedy(self, error: ProbeError, target: Target) -> Text:
        """Return what to do on the other machine, of which only this side is seen."""
        return _remedy(error, target, self.host)


def subject(machine: Machine, daemons: tuple[Plugin, ...], ports: PublicPorts) -> Subject:
    """Return another machine as the runner takes it: public ports and nothing behind them."""

    def no_mailbox(_nonce: str) -> AbstractContextManager[Login]:
        raise OperationError(f"{machine.host} is probed from outside")

    return Subject(
        topology=assembly.seen_from_outside(daemons, machine.addresses, ports),
        vantage=Outside(machine),
        mailname=machine.host,
        certificate=None,
        daemons=(),
        make_mailbox=no_mailbox,
    )


def _there(
    check: ProofCheck,
    host: str,
    probe: Callable[[Proof, Target], Outcome],
    proof: Proof,
    target: Target,
) -> Outcome:
    """Make a check as it is made at home; what to do is to be done over there."""
    outcome = probe(proof, target)
    if outcome.status is Status.PASS:
        return outcome
    if outcome.status is Status.NOT_PROVEN:
        return replace(outcome, fix=_inside(check, host))
    return replace(outcome, fix=Text(f"On {host}: ", outcome.fix))


def _unseen(check: ProofCheck, machine: Machine, _run: Proof) -> Outcome:
    observed = "needs the log, accounts or ports of the server"
    if check.outside:
        observed = _no_way(machine.cut_off)
    return Outcome(
        Status.NOT_PROVEN,
        check.passes_when,
        observed,
        fix=_inside(check, machine.host),
        kind="no-way" if check.outside else "inside-only",
    )


def unreached(chosen: Iterable[ProofCheck], machine: Machine) -> tuple[Finding, ...]:
    """Return a row for each check that could be made for one family of addresses only."""
    if not machine.addresses:
        return ()
    return tuple(
        Finding(
            check=check.name,
            listener="server",
            family=_family(address),
            status=Status.NOT_PROVEN,
            expected=check.passes_when,
            observed=_no_way((address,)),
            fix=Text(
                f"Run it on a machine with {_family(address)}: ",
                Command("verify", f"--target {machine.host} --only {check.name}"),
            ),
            kind="no-way",
        )
        for address in machine.cut_off
        for check in chosen
        if check.outside
    )


def _no_way(addresses: tuple[str, ...]) -> str:
    return f"no way from this machine to {' or '.join(addresses)}"


def _inside(check: ProofCheck, host: str) -> Text:
    return Text(f"On {host}: ", only(check.name))


def _remedy(error: ProbeError, target: Target, host: str) -> Text:
    port = target.address.port
    match error.trouble:
        case Trouble.REFUSED:
            return Text(
                f"Nothing listens on port {port} there, or a firewall says no. "
                "See whether the server runs and where it listens: ",
                STATUS,
            )
        case Trouble.UNREACHABLE:
            blocked = (
                " Many networks let nobody out to port 25: try from another network as well."
                if port == 25  # noqa: PLR2004
                else ""
            )
            return Text(
                f"See that {host} is up, and that no firewall on the way drops port {port}."
                f"{blocked}"
            )
        case Trouble.GARBAGE:
            return Text(
                f"Another program, or another protocol, answers on port {port}: see who listens "
                "there, and where the proxy's route leads: ",
                VERIFY,
            )
        case Trouble.SILENT | Trouble.CLOSED | Trouble.TLS | Trouble.DENIED:
            return Text("The log there says why: ", Logs(), ". Its own proof says more: ", VERIFY)
