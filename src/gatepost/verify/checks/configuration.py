"""The services run what `gatepost up` has written, from the first probe to the last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gatepost.errors import OperationError
from gatepost.model import Home, Status
from gatepost.model.words import Logs, Text
from gatepost.run import control, record
from gatepost.verify.check import Outcome, Proof, Vantage
from gatepost.verify.remedies import UP

_EXPECTED = (
    "the services run the configuration in use, and nobody changed, stopped or restarted them "
    "while the proof was made"
)
_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Seen:
    """The processes and the configuration at one moment."""

    generation: str = ""
    processes: Mapping[str, int | None] = field(default_factory=dict)
    """Service → process; empty when no server runs."""
    problems: tuple[str, ...] = ()
    silent: str = ""
    """The reason why the supervisor could not be asked."""


def seen(home: Home) -> Seen:
    """Ask the supervisor of a home what runs."""
    try:
        answer = control.ask(home, "status", seconds=_SECONDS)
    except OperationError as error:
        return Seen(silent=str(error))
    if answer is None or answer.get("stopping"):
        return Seen()
    generation = record.generation(home)
    return Seen(
        generation.name if generation else "",
        {row["name"]: row["pid"] for row in answer["services"]},
        tuple(answer.get("problems", ())),
    )


def configuration(proof: Proof) -> Outcome:
    """Compare what runs now with what ran at the beginning; made when all else is through."""
    before = proof.before.get("configuration")
    if proof.vantage.home is None or not isinstance(before, Seen):
        return Outcome(Status.NOT_PROVEN, _EXPECTED, "the server is elsewhere")
    return judged(before, seen(proof.vantage.home))


def first_look(vantage: Vantage) -> Seen | None:
    """Look at the server before the proof; None when it is elsewhere."""
    return seen(vantage.home) if vantage.home else None


def judged(before: Seen, now: Seen) -> Outcome:
    """Judge two looks at the same server."""
    if before.silent or now.silent:
        return Outcome(
            Status.NOT_PROVEN,
            _EXPECTED,
            "the supervisor did not answer this user",
            fix=before.silent or now.silent,
            kind="no-supervisor",
        )
    if not before.processes and not now.processes:
        return Outcome(
            Status.NOT_PROVEN,
            _EXPECTED,
            "no mail server of this home runs here",
            fix=Text("Start it: ", UP),
            kind="not-running",
        )
    if changes := list(_changes(before, now)):
        return Outcome(
            Status.FAIL,
            _EXPECTED,
            f"while the proof was made {', '.join(changes)}",
            fix=Text(
                "Other rows may have failed for this alone. See in `",
                Logs("gatepost"),
                "` what happened, wait until nobody works on the server, and run verify again.",
            ),
            kind="changed",
        )
    if now.problems:
        fix = Text("Run: ", UP)
        return Outcome(Status.FAIL, _EXPECTED, now.problems[0], fix=fix, kind="not-in-use")
    return Outcome(
        Status.PASS,
        _EXPECTED,
        f"configuration {now.generation}: {', '.join(sorted(now.processes))}",
        "the supervisor",
    )


def _changes(before: Seen, now: Seen) -> list[str]:
    if not now.processes:
        return ["the mail server was stopped"]
    if not before.processes:
        return ["the mail server was started"]
    found = []
    if before.generation != now.generation:
        found.append(f"configuration {now.generation} took the place of {before.generation}")
    found += [
        f"{name} was started anew"
        for name in sorted(now.processes)
        if now.processes[name] != before.processes.get(name)
    ]
    return found
