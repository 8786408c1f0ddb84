"""In which order checks are made, and whose row explains a failure."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from gatepost.errors import UsageError
from gatepost.model import (
    Address,
    BoundListener,
    Finding,
    Home,
    Listener,
    Protocol,
    Status,
    Tls,
    Topology,
)
from gatepost.model.words import Command, Text
from gatepost.verify.catalogue import refuse_circles
from gatepost.verify.check import Outcome, Proof, ProofCheck, Vantage
from gatepost.verify.clients.mailbox import Login
from gatepost.verify.runner import prove
from gatepost.verify.subject import Subject
from gatepost.verify.targets import Target
from gatepost.verify.vantage.here import Here

NOWHERE = (Address("127.45.45.45", 9),)
BOUND = BoundListener(
    Listener("imap", Protocol.IMAP, Tls.STARTTLS, 9, 9, 9, 9),
    "toy",
    proxied=False,
    public=NOWHERE,
    service=(),
    internal=(),
)


def subject(folder: Path) -> Subject:
    def mailbox(_nonce: str) -> contextlib.AbstractContextManager[Login]:
        raise OSError("no accounts in this test")

    return Subject(
        topology=Topology((BOUND,), {}, {}, ()),
        vantage=Here(Home(folder)),
        mailname="mail.example.org",
        certificate=None,
        daemons=(),
        make_mailbox=mailbox,
    )


def fails(_proof: Proof, _target: Target) -> Outcome:
    return Outcome(Status.FAIL, "all is right", "all is wrong", fix="Mend it.")


def cause(_proof: Proof) -> Outcome:
    return Outcome(Status.FAIL, "a way", "no way", fix="Make one.", blames=("imap",))


CAUSE = ProofCheck("cause", "a way", "by hand", judge=cause, after=(), mailbox=False)
LATER = ProofCheck("later", "all is right", "by hand", fails, after=("cause",), mailbox=False)
BESIDE = ProofCheck("beside", "all is right", "by hand", fails, after=(), mailbox=False)


def found(folder: Path, *checks: ProofCheck) -> dict[str, Finding]:
    return {one.check: one for one in prove(subject(folder), checks, seconds=3)}


def test_a_failure_is_left_to_the_check_that_it_comes_after(tmp_path: Path) -> None:
    """Twenty red rows for one cause hide which it is; a row that it does not cause must stay."""
    rows = found(tmp_path, CAUSE, LATER, BESIDE)
    assert rows["cause"].status is Status.FAIL
    assert (rows["later"].status, rows["later"].kind) == (Status.NOT_PROVEN, "explained")
    assert str(rows["later"].fix) == "See the cause row first."
    assert (rows["beside"].status, rows["beside"].observed) == (Status.FAIL, "all is wrong")


def test_nobody_blamed_means_nobody_excused(tmp_path: Path) -> None:
    """A failure that is explained by a row that passed would vanish from the report."""
    innocent = replace(CAUSE, judge=lambda proof: replace(cause(proof), blames=()))
    assert found(tmp_path, innocent, LATER)["later"].status is Status.FAIL
    other = replace(CAUSE, judge=lambda proof: replace(cause(proof), blames=("pop3",)))
    assert found(tmp_path, other, LATER)["later"].status is Status.FAIL
    assert found(tmp_path, LATER)["later"].status is Status.FAIL


def test_who_answers_is_found_out_whether_it_was_asked_or_not(tmp_path: Path) -> None:
    """Each check would wait for a dead port by itself."""

    def never(_proof: Proof, _target: Target) -> Outcome:
        raise AssertionError("nobody answers there")

    asking = ProofCheck("asking", "an answer", "by hand", never)
    rows = found(tmp_path, asking)
    assert set(rows) == {"asking"}
    assert (rows["asking"].status, rows["asking"].kind) == (Status.FAIL, "refused")


def test_what_was_seen_at_the_beginning_is_there_at_the_end(tmp_path: Path) -> None:
    """A restart meanwhile would go unnoticed."""
    made: list[str] = []

    def begin(vantage: Vantage) -> object:
        made.append("begin")
        return vantage.name

    def beside(proof: Proof, target: Target) -> Outcome:
        made.append("beside")
        return fails(proof, target)

    def end(proof: Proof) -> Outcome:
        made.append(f"end {proof.before['end']}")
        return Outcome(Status.PASS, "", "")

    last = ProofCheck("end", "", "", judge=end, begin=begin, last=True)
    found(tmp_path, last, replace(BESIDE, probe=beside))
    assert made == ["begin", "beside", "end here"]


def test_remedies_are_typed_as_the_vantage_has_it(tmp_path: Path) -> None:
    """A command for this machine is of no use elsewhere."""

    class Elsewhere(Here):
        def typed(self, step: object) -> str:
            return f"ssh mail {step}"

    up = Text("Start it: ", Command("up"))
    check = replace(CAUSE, judge=lambda proof: replace(cause(proof), fix=up))
    there = replace(subject(tmp_path), vantage=Elsewhere(Home(tmp_path)))
    (row,) = prove(there, (check,), seconds=3)
    assert str(row.fix) == "Start it: ssh mail gatepost up"
    assert str(found(tmp_path, check)["cause"].fix) == "Start it: gatepost up"


def test_no_mailbox_is_made_where_nobody_answers(tmp_path: Path) -> None:
    """A database would be made for a server that is not there."""
    asked: list[str] = []

    def mailbox(nonce: str) -> contextlib.AbstractContextManager[Login]:
        asked.append(nonce)
        raise OSError("no accounts in this test")

    nobody = replace(subject(tmp_path), make_mailbox=mailbox)
    prove(nobody, (replace(BESIDE, mailbox=True),), seconds=3)
    assert asked == []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        there = (Address(*listening.getsockname()),)
        somebody = replace(nobody, topology=Topology((replace(BOUND, public=there),), {}, {}, ()))
        prove(somebody, (replace(BESIDE, mailbox=True),), seconds=3)
    assert asked == [], "it does not greet"


def test_checks_that_wait_for_each_other_are_refused() -> None:
    """The proof would end in a traceback."""
    one = replace(BESIDE, name="one", after=("two",))
    with pytest.raises(UsageError, match="wait for each other"):
        refuse_circles([one, replace(one, name="two", after=("one",))])
    refuse_circles([one, replace(one, name="two", after=())])
