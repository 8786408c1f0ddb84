"""Runs the checks: all targets at once, one deadline for everything, nothing ever raised."""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial

from gatepost.contracts import Plugin
from gatepost.errors import GatepostError
from gatepost.model import (
    BoundListener,
    Certificate,
    Finding,
    Home,
    IPNetwork,
    Status,
    Topology,
)
from gatepost.model.words import Detail, Text, Words, text
from gatepost.verify.catalogue import CHECKS, FIRST
from gatepost.verify.check import Check
from gatepost.verify.checks import configuration, round_trip
from gatepost.verify.clients.mailbox import Login
from gatepost.verify.clients.messages import Letters
from gatepost.verify.clients.wire import ProbeError, Trouble
from gatepost.verify.cluster import typed
from gatepost.verify.evidence.logs import Log, LogFile
from gatepost.verify.evidence.witnesses import LogWitness
from gatepost.verify.kubernetes import Unreadable
from gatepost.verify.objects import Cluster
from gatepost.verify.pods import PodLogs
from gatepost.verify.remedies import remedy, see
from gatepost.verify.run import Outcome, Run, time_is_up
from gatepost.verify.targets import Place, Target, targets

_SECONDS = 8.5
"""All probes end within this; the mailbox and the report have the rest of ten seconds."""
_PROBES_AT_ONCE = 40
_LATE_SECONDS = 5.0
"""What is made when all others are through asks nothing but our own supervisor and disk."""
_GRACE_SECONDS = 0.5
"""How long after the deadline a probe that waits in a system call may take to notice it."""

EXPLAINED = "explained"
"""Kind of a finding that another row explains."""

Tell = Callable[[int, int], None]
"""Hears how many of all probes are through; called from many threads, one at a time."""

MakeMailbox = Callable[[str], AbstractContextManager[Login]]
"""Makes the probe's mailbox for a nonce, for as long as a block lasts."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The server that is to be proven."""

    topology: Topology
    home: Home
    mailname: str
    certificate: Certificate | None
    daemons: tuple[Plugin, ...]
    """Plug-ins that read the daemons' log lines."""
    make_mailbox: MakeMailbox
    outside: str = ""
    """Name or address of another machine, probed from outside; see `gatepost.verify.outside`."""
    relaying: tuple[IPNetwork, ...] = ()
    relaying_proxies: tuple[IPNetwork, ...] = ()
    """Networks that may relay without logging in (`MYNETWORKS`)."""
    cluster: Cluster | None = None
    """The cluster, when this is a pod of its own in it; see `gatepost.verify.cluster`."""

    @property
    def log(self) -> Log:
        """What the daemons say."""
        if self.cluster:
            return PodLogs(self.cluster)
        return LogFile(self.home.logs / "gatepost.log")


def prove(
    subject: Subject,
    checks: tuple[Check, ...] = CHECKS,
    *,
    seconds: float = _SECONDS,
    tell: Tell = lambda _done, _all: None,
) -> tuple[Finding, ...]:
    """Make the checks on every listener and return what was found, in table order.

    Takes at most `seconds` and a moment; raises nothing but what ends a program.
    """
    deadline = time.monotonic() + seconds
    everything = {place: targets(subject.topology, place) for place in Place}
    if subject.outside:  # the kernel knows best which of its addresses leads there
        everything = {
            place: tuple(replace(target, sources=()) for target in found)
            for place, found in everything.items()
        }
    public = everything[Place.PUBLIC]
    at_home = None if subject.outside or subject.cluster else subject.home
    witness = LogWitness(subject.log, subject.daemons)
    with witness, ExitStack() as stack:
        run = Run(
            nonce=secrets.token_hex(8),
            topology=subject.topology,
            mailname=subject.mailname,
            certificate=subject.certificate,
            witness=witness,
            login=None,
            no_login="",
            letters=Letters(0, 0),
            selected=frozenset(check.name for check in checks),
            deadline=deadline,
            relaying=subject.relaying,
            relaying_proxies=subject.relaying_proxies,
            outside=subject.outside,
            cluster=subject.cluster,
            home=at_home,
            before=configuration.seen(at_home) if at_home else None,
        )
        jobs: list[Job] = [(check, None) for check in checks if check.judge]
        jobs += [
            (check, target)
            for check in checks
            for place in check.places()
            for target in everything[place]
            if check.name != FIRST and check.probe and check.concerns(target.bound)
        ]
        # What mostly waits begins first, and waits while the others work.
        jobs.sort(key=lambda job: not job[0].waits)
        early = [job for job in jobs if job[0].early]
        late = [job for job in jobs if job[0].late]
        jobs = [job for job in jobs if not (job[0].early or job[0].late)]
        count = _Count(len(public) + len(early) + len(jobs) + len(late), tell)
        causes = _all_at_once(run, early, count)
        greeted = _all_at_once(run, [(_named(FIRST), target) for target in public], count)
        reached = tuple(target for target in public if target not in run.unreached)
        run = stack.enter_context(_equipped(run, subject, checks, reached))
        found = {**causes, **greeted, **_all_at_once(run, jobs, count)}
        found |= _all_at_once(replace(run, deadline=time.monotonic() + _LATE_SECONDS), late, count)
    findings = _in_order(subject.topology, checks, everything, found)
    if subject.cluster is None:
        return tuple(findings)
    services = subject.cluster.services
    return tuple(
        replace(one, fix=text(one.fix).typed(partial(typed, services=services))) for one in findings
    )


def _named(name: str) -> Check:
    return next(check for check in CHECKS if check.name == name)


@contextmanager
def _equipped(
    run: Run, subject: Subject, checks: tuple[Check, ...], reached: tuple[Target, ...]
) -> Iterator[Run]:
    """Give a run its mailbox, when a check to come needs it and anyone is there to ask."""
    travels = any(check.probe is round_trip.round_trip for check in checks)
    letters = Letters(
        sum(map(round_trip.sends, reached)) if travels else 0,
        sum(map(round_trip.reads, reached)) if travels else 0,
    )
    if run.outside:
        yield replace(run, letters=letters, no_login="the probe has no mailbox there")
        return
    # Behind a strange proxy nobody was reached, and the internal addresses are asked all the same;
    # where there is no database there is no server, and none is made for it.
    anyone = reached or os.access(subject.home.database, os.R_OK)
    if not anyone or not {check.name for check in checks} - {FIRST, "tls"}:
        yield replace(run, letters=letters, no_login="no mailbox was needed")
        return
    with ExitStack() as stack:
        login, why = None, ""
        try:
            login = stack.enter_context(subject.make_mailbox(run.nonce))
        except (GatepostError, OSError) as error:
            why = f"the probe's mailbox could not be made: {error}"
        yield replace(run, login=login, no_login=why, letters=letters)


# --- all at once ----------------------------------------------------------------------------------

Job = tuple[Check, Target | None]
"""The target is None for a check that judges the server as a whole."""
Found = dict[tuple[str, Target | None], Outcome]
"""Check and target → what was found; the target is None for the server as a whole."""


class _Count:
    """Counts the probes that are through."""

    def __init__(self, total: int, tell: Tell) -> None:
        self._lock = threading.Lock()
        self._done = 0
        self._total = total
        self._tell = tell

    def one_more(self) -> None:
        with self._lock:
            self._done += 1
            self._tell(self._done, self._total)


def _all_at_once(run: Run, jobs: list[Job], count: _Count) -> Found:
    """Do every job in a thread of its own; a job that does not come back is a finding as well.

    The threads are daemons: a program that is told to end does not wait for them. Only so many
    probe at once: all come from few addresses, and a server limits what one client may open.
    """
    found: Found = {}
    begun: set[Job] = set()
    places = threading.Semaphore(_PROBES_AT_ONCE)

    def work(check: Check, target: Target | None) -> None:
        with places:
            begun.add((check, target))
            began = time.monotonic()
            outcome = _outcome(run, check, target)
            found[check.name, target] = replace(outcome, seconds=time.monotonic() - began)
            count.one_more()

    threads = [threading.Thread(target=work, args=job, daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, run.deadline + _GRACE_SECONDS - time.monotonic()))
    for check, target in jobs:
        if (check.name, target) not in found:
            late = (check, target) in begun
            found[check.name, target] = Outcome(
                Status.FAIL if late else Status.NOT_PROVEN,
                check.passes_when,
                "the check did not end in time" if late else "its turn did not come in time",
                fix="See whether this machine is overloaded: uptime; then run verify again.",
                kind="no-time",
            )
    return found


def _outcome(run: Run, check: Check, target: Target | None) -> Outcome:
    if target is None:
        assert check.judge  # noqa: S101  it is among the jobs
        return _guarded(check, partial(check.judge, run))

    def tried() -> Outcome:
        assert check.probe  # noqa: S101  it is among the jobs
        try:
            if check.name != FIRST and target in run.unreached:
                raise run.unreached[target]  # as if it had met it itself
            return _explained(run, check, target, check.probe(run, target))
        except ProbeError as error:
            return _stopped(run, check, target, error)

    return _guarded(check, tried)


def _guarded(check: Check, work: Callable[[], Outcome]) -> Outcome:
    try:
        return work()
    except Unreadable as silent:
        return Outcome(
            Status.NOT_PROVEN,
            check.passes_when,
            silent.observed,
            fix=silent.fix,
            kind="unreadable",
        )
    except Exception as error:  # noqa: BLE001  whatever it is, the other rows must be shown
        return Outcome(
            Status.FAIL,
            check.passes_when,
            f"the check itself broke: {type(error).__name__}: {error}",
            fix="This is a defect of Gatepost: please report it with this row.",
            kind="defect",
        )


def _stopped(run: Run, check: Check, target: Target, error: ProbeError) -> Outcome:
    """Decide what it means that a check could not go on.

    A trouble that another check of this run is for fails there; here nothing is proven.
    """
    if explained := _cause(run, check, target):
        return Outcome(
            Status.NOT_PROVEN, check.passes_when, error.observed, fix=explained, kind=EXPLAINED
        )
    other = "tls" if error.trouble is Trouble.TLS else FIRST if run.is_down(target) else ""
    if other in run.selected - {check.name}:
        return Outcome(
            Status.NOT_PROVEN,
            check.passes_when,
            error.observed,
            fix=see(other, target),
            kind=EXPLAINED,
        )
    if error.trouble in {Trouble.SILENT, Trouble.UNREACHABLE}:
        expected = f"{target.bound.daemon} answers in time"
        early = time_is_up(run, expected, error.observed, check.name)
        if early:
            return early
    fix = remedy(error, target, run.outside, in_cluster=run.cluster is not None)
    return Outcome(
        Status.FAIL, check.passes_when, error.observed, fix=fix, kind=error.trouble.value
    )


def _explained(run: Run, check: Check, target: Target, outcome: Outcome) -> Outcome:
    """Leave a failure to the row that found its cause."""
    if outcome.status is not Status.FAIL or check.early or check.place is Place.SERVICE:
        return outcome
    cause = _cause(run, check, target)
    if not cause:
        return outcome
    return replace(outcome, status=Status.NOT_PROVEN, fix=cause, kind=EXPLAINED)


def _cause(run: Run, check: Check, target: Target) -> Words:
    """Say which row tells why clients of a listener cannot get through; empty when none does."""
    cause = run.causes.get(target.bound.name, "")
    if cause not in run.selected - {check.name}:
        return ""
    if cause == "endpoints":
        return f"See the {cause} row first."
    return Text(f"See the {cause} row of ", Detail(target.bound.name), " first.")


# --- findings -----------------------------------------------------------------------------------


def _in_order(
    topology: Topology,
    checks: tuple[Check, ...],
    everything: Mapping[Place, tuple[Target, ...]],
    found: Found,
) -> Iterator[Finding]:
    for check in checks:
        if check.judge:
            yield _finding(check, "server", "-", found[check.name, None])
            continue
        for bound in topology.listeners:
            if not check.concerns(bound):
                continue
            asked = [
                target
                for place in check.places()
                for target in everything[place]
                if target.bound == bound
            ]
            if check.place is Place.PUBLIC and not asked:
                yield _behind_a_strange_proxy(check, bound)
            for target in asked:
                yield _finding(check, bound.name, target.family, found[check.name, target])


def _finding(check: Check, listener: str, family: str, outcome: Outcome) -> Finding:
    return Finding(
        check=check.name,
        listener=listener,
        family=family,
        status=outcome.status,
        expected=outcome.expected,
        observed=outcome.observed,
        witness=outcome.witness,
        fix=outcome.fix,
        seconds=outcome.seconds,
        kind=outcome.kind,
    )


def _behind_a_strange_proxy(check: Check, bound: BoundListener) -> Finding:
    return Finding(
        check=check.name,
        listener=bound.name,
        family="-",
        status=Status.NOT_PROVEN,
        expected=check.passes_when,
        observed="the reverse proxy in front is not Gatepost's: its address is not known here",
        fix=text(check.by_hand).formatted(port=bound.listener.public_port),
        kind="strange-proxy",
    )
