"""Runs the checks: all targets at once, one deadline for everything, nothing ever raised."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial

from gatepost.errors import GatepostError
from gatepost.model import BoundListener, Finding, Status, Topology
from gatepost.model.words import Detail, Text, Words, text
from gatepost.verify.catalogue import CHECKS, groundwork
from gatepost.verify.check import Outcome, Proof, ProofCheck, time_is_up
from gatepost.verify.clients.wire import ProbeError, Trouble
from gatepost.verify.evidence.witnesses import LogWitness
from gatepost.verify.remedies import see
from gatepost.verify.subject import Subject
from gatepost.verify.targets import Approach, Target
from gatepost.verify.vantage.cluster import Unreadable

_SECONDS = 8.5
"""All probes end within this; the mailbox and the report have the rest of ten seconds."""
_PROBES_AT_ONCE = 40
_LAST_SECONDS = 5.0
"""The last checks ask nothing but our own supervisor and disk."""
_GRACE_SECONDS = 0.5
"""Time after the deadline for a probe that waits in a system call to notice it."""
EXPLAINED = "explained"
"""Kind of a finding that another row explains."""

Tell = Callable[[int, int], None]
"""Is called with how many of all probes are through; from many threads, one at a time."""


def prove(
    subject: Subject,
    checks: tuple[ProofCheck, ...] = CHECKS,
    *,
    seconds: float = _SECONDS,
    tell: Tell = lambda _done, _all: None,
) -> tuple[Finding, ...]:
    """Make the checks on every listener and return what was found, in table order.

    Takes at most `seconds` and a moment; raises nothing but what ends a program.
    """
    deadline = time.monotonic() + seconds
    vantage = subject.vantage
    everything = vantage.targets(subject.topology)
    shown = tuple(map(vantage.made, checks))
    selected = frozenset(check.name for check in checks)
    unasked = (check for check in groundwork(vantage.name) if check.name not in selected)
    made = (*shown, *map(vantage.made, unasked))
    witness = LogWitness(vantage.log(), subject.daemons)
    with witness, ExitStack() as stack:
        proof = Proof(
            nonce=secrets.token_hex(8),
            topology=subject.topology,
            mailname=subject.mailname,
            certificate=subject.certificate,
            witness=witness,
            login=None,
            no_login=vantage.no_mailbox or "no mailbox was needed",
            selected=selected,
            deadline=deadline,
            vantage=vantage,
            relaying=subject.relaying,
            relaying_proxies=subject.relaying_proxies,
            before={check.name: check.begin(vantage) for check in made if check.begin},
        )
        work = _Work(made, everything)
        count = _Count(sum(map(len, work.phases)) + len(work.last), tell)
        found: Found = {}
        equipped = False
        for jobs in work.phases:
            if not equipped and any(check.mailbox for check, _ in jobs):
                proof, equipped = stack.enter_context(_equipped(proof, subject, everything)), True
            found |= _all_at_once(proof, work, jobs, count)
        proof = replace(proof, deadline=time.monotonic() + _LAST_SECONDS)
        found |= _all_at_once(proof, work, work.last, count)
    findings = [*_in_order(subject.topology, shown, everything, found), *vantage.beyond(checks)]
    return tuple(replace(one, fix=text(one.fix).typed(vantage.typed)) for one in findings)


@contextmanager
def _equipped(
    proof: Proof, subject: Subject, everything: Mapping[Approach, tuple[Target, ...]]
) -> Iterator[Proof]:
    """Create the probe's mailbox if some listener answered or there are accounts."""
    reached = set(everything[Approach.PUBLIC]) - proof.unreached.keys()
    # Behind a strange proxy nobody was reached, and the internal addresses are asked all the same.
    if subject.vantage.no_mailbox or not (reached or subject.vantage.has_accounts()):
        yield proof
        return
    with ExitStack() as stack:
        login, why = None, ""
        try:
            login = stack.enter_context(subject.make_mailbox(proof.nonce))
        except (GatepostError, OSError) as error:
            why = f"the probe's mailbox could not be made: {error}"
        yield replace(proof, login=login, no_login=why)


# --- what is done when --------------------------------------------------------------------------

Job = tuple[ProofCheck, Target | None]
"""The target is None for a check that judges the complete server."""
Found = dict[tuple[str, Target | None], Outcome]
"""Check and target → its outcome; the target is None for the complete server."""


class _Work:
    """The jobs of some checks, in the order that `ProofCheck.after` demands."""

    def __init__(
        self, checks: tuple[ProofCheck, ...], everything: Mapping[Approach, tuple[Target, ...]]
    ) -> None:
        self.checks = {check.name: check for check in checks}
        self._before = {name: self._all_before(check) for name, check in self.checks.items()}
        jobs: list[Job] = [(check, None) for check in checks if check.judge]
        jobs += [
            (check, target)
            for check in checks
            for approach in check.approaches()
            for target in everything[approach]
            if check.probe and check.concerns(target.bound)
        ]
        # What mostly waits begins first, and waits while the others work.
        jobs.sort(key=lambda job: not job[0].waits)
        self.last = [job for job in jobs if job[0].last]
        depths = sorted({self._depth(check) for check in checks if not check.last})
        self.phases = [
            [job for job in jobs if not job[0].last and self._depth(job[0]) == depth]
            for depth in depths
        ]

    def comes_before(self, name: str, check: ProofCheck) -> bool:
        """Tell whether a check of this name is made before another one, for its sake."""
        return name in self._before[check.name]

    def _all_before(self, check: ProofCheck) -> frozenset[str]:
        direct = [self.checks[name] for name in check.after if name in self.checks]
        return frozenset(one.name for one in direct).union(*map(self._all_before, direct))

    def _depth(self, check: ProofCheck) -> int:
        before = [self.checks[name] for name in check.after if name in self.checks]
        if check.mailbox and not check.stops:
            # Whether a mailbox is made depends on whether anybody answers.
            before += [other for other in self.checks.values() if other.stops]
        return 1 + max(map(self._depth, before), default=0)


# --- all at once ----------------------------------------------------------------------------------


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


def _all_at_once(proof: Proof, work: _Work, jobs: list[Job], count: _Count) -> Found:
    """Do every job in a thread of its own; a job that does not come back is a finding as well.

    The threads are daemons: a program that must end does not wait for them. Only so many
    probe at once: all come from few addresses, and a server limits what one client may open.
    """
    found: Found = {}
    begun: set[tuple[str, Target | None]] = set()
    slots = threading.Semaphore(_PROBES_AT_ONCE)

    def do(check: ProofCheck, target: Target | None) -> None:
        with slots:
            begun.add((check.name, target))
            began = time.monotonic()
            outcome = _outcome(proof, work, check, target)
            for listener in outcome.blames:
                proof.causes.setdefault(listener, check.name)
            found[check.name, target] = replace(outcome, seconds=time.monotonic() - began)
            count.one_more()

    threads = [threading.Thread(target=do, args=job, daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, proof.deadline + _GRACE_SECONDS - time.monotonic()))
    for check, target in jobs:
        if (check.name, target) not in found:
            late = (check.name, target) in begun
            found[check.name, target] = Outcome(
                Status.FAIL if late else Status.NOT_PROVEN,
                check.passes_when,
                "the check did not end in time" if late else "its turn did not come in time",
                fix="See whether this machine is overloaded: uptime; then run verify again.",
                kind="no-time",
            )
    return found


def _outcome(proof: Proof, work: _Work, check: ProofCheck, target: Target | None) -> Outcome:
    if target is None:
        assert check.judge  # noqa: S101  it is among the jobs
        return _guarded(check, partial(check.judge, proof))

    def tried() -> Outcome:
        assert check.probe  # noqa: S101  it is among the jobs
        try:
            if not check.stops and target in proof.unreached:
                raise proof.unreached[target]  # as if it had met it itself
            return _explained(proof, work, check, target, check.probe(proof, target))
        except ProbeError as error:
            if error.trouble in check.stops:
                proof.unreached[target] = error
            return _stopped(proof, work, check, target, error)

    return _guarded(check, tried)


def _guarded(check: ProofCheck, work: Callable[[], Outcome]) -> Outcome:
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


def _stopped(
    proof: Proof, work: _Work, check: ProofCheck, target: Target, error: ProbeError
) -> Outcome:
    """Decide what it means that a check could not go on.

    A trouble that another check of this run is for fails there; here nothing is proven.
    """
    if explained := _cause(proof, work, check, target):
        return Outcome(
            Status.NOT_PROVEN, check.passes_when, error.observed, fix=explained, kind=EXPLAINED
        )
    other = _reporter(proof, work, target, error)
    if other in proof.selected - {check.name}:
        return Outcome(
            Status.NOT_PROVEN,
            check.passes_when,
            error.observed,
            fix=see(other, target),
            kind=EXPLAINED,
        )
    if error.trouble in {Trouble.SILENT, Trouble.UNREACHABLE}:
        expected = f"{target.bound.daemon} answers in time"
        early = time_is_up(proof, expected, error.observed, check.name)
        if early:
            return early
    fix = proof.vantage.remedy(error, target)
    return Outcome(
        Status.FAIL, check.passes_when, error.observed, fix=fix, kind=error.trouble.value
    )


def _reporter(proof: Proof, work: _Work, target: Target, error: ProbeError) -> str:
    """Return the check whose row reports a trouble at a target; empty when none does."""
    for check in work.checks.values():
        if error.trouble in check.explains:
            return check.name
    if proof.is_down(target):
        return next((check.name for check in work.checks.values() if check.stops), "")
    return ""


def _explained(
    proof: Proof, work: _Work, check: ProofCheck, target: Target, outcome: Outcome
) -> Outcome:
    """Leave a failure to the row that found its cause.

    What happens at a service port does not depend on the way of the clients.
    """
    if outcome.status is not Status.FAIL or check.approach is Approach.SERVICE:
        return outcome
    cause = _cause(proof, work, check, target)
    if not cause:
        return outcome
    return replace(outcome, status=Status.NOT_PROVEN, fix=cause, kind=EXPLAINED)


def _cause(proof: Proof, work: _Work, check: ProofCheck, target: Target) -> Words:
    """Return the row that explains why clients of a listener cannot connect; empty when none."""
    cause = proof.causes.get(target.bound.name, "")
    if cause not in proof.selected or not work.comes_before(cause, check):
        return ""
    if work.checks[cause].judge:
        return f"See the {cause} row first."
    return Text(f"See the {cause} row of ", Detail(target.bound.name), " first.")


# --- findings -----------------------------------------------------------------------------------


def _in_order(
    topology: Topology,
    checks: tuple[ProofCheck, ...],
    everything: Mapping[Approach, tuple[Target, ...]],
    found: Found,
) -> Iterator[Finding]:
    for check in checks:
        if check.judge:
            yield _finding(check, "server", "-", found[check.name, None])
            continue
        for bound in topology.mail:
            if not check.concerns(bound):
                continue
            asked = [
                target
                for approach in check.approaches()
                for target in everything[approach]
                if target.bound == bound
            ]
            if check.approach is Approach.PUBLIC and not asked:
                yield _behind_a_strange_proxy(check, bound)
            for target in asked:
                yield _finding(check, bound.name, target.family, found[check.name, target])


def _finding(check: ProofCheck, listener: str, family: str, outcome: Outcome) -> Finding:
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


def _behind_a_strange_proxy(check: ProofCheck, bound: BoundListener) -> Finding:
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
