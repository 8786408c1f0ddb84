"""Mail that goes in comes out, unchanged."""

from __future__ import annotations

import time

from gatepost.model import Protocol, Status
from gatepost.model.words import Detail, Duration, Logs, Text, joined
from gatepost.verify.check import Outcome, Proof, takes_logins
from gatepost.verify.clients.mailbox import Login
from gatepost.verify.clients.messages import (
    Copy,
    Message,
    Messages,
    difference,
    identify,
    received_from,
    write,
)
from gatepost.verify.clients.protocols import Imap, Pop3, Smtp
from gatepost.verify.clients.sessions import conversation
from gatepost.verify.clients.wire import ProbeError
from gatepost.verify.remedies import MAILBOXES
from gatepost.verify.targets import Approach, Target, targets

_POLL_SECONDS = 0.2
_SENDING_SECONDS = 6.5
"""A name server that loses a question costs 5 s of it."""


def round_trip(proof: Proof, target: Target) -> Outcome:
    """Send a message where messages go in; where they come out, read all that were sent."""
    if target.listener.protocol is Protocol.SMTP:
        return _send(proof, target)
    return _read(proof, target)


def sends(target: Target) -> bool:
    """Tell whether a target's part in the round trip is to send."""
    return target.listener.protocol is Protocol.SMTP


def reads(target: Target) -> bool:
    """Tell whether a target's part in the round trip is to read."""
    return target.listener.protocol in {Protocol.IMAP, Protocol.POP3}


def _messages(proof: Proof) -> Messages:
    """Return the messages of the run, as many as listeners that greeted may send and read."""

    def expected() -> Messages:
        public = targets(proof.topology, Approach.PUBLIC)
        reached = [target for target in public if target not in proof.unreached]
        return Messages(sum(map(sends, reached)), sum(map(reads, reached)))

    return proof.shared.once("round-trip", Messages, expected)


# --- in -----------------------------------------------------------------------------------------


def _send(proof: Proof, target: Target) -> Outcome:
    expected = "message accepted, delivered unchanged"
    if not takes_logins(target.bound):
        expected += ", Received header with the probe's address"
    try:
        if proof.login is None:
            return _no_mailbox(proof, expected)
        message = _post(proof, target, proof.login)
        _messages(proof).post(message)
    finally:
        _messages(proof).sender_done()
    copy = _messages(proof).copy(message, deadline=proof.deadline)
    if copy is None and not _messages(proof).anyone_reads:
        return Outcome(
            Status.NOT_PROVEN,
            expected,
            "accepted, and no listener answers by which it could be read",
            fix="See the banner rows of imap and pop3 first.",
            kind="no-reader",
        )
    if copy is None:
        return Outcome(
            Status.FAIL,
            expected,
            "accepted, and nobody could read it back in time",
            fix=Text(
                "See whether it waits in the queue and why: ",
                Logs(),
                ". The rows of imap and pop3 say whether reading works.",
            ),
            kind="lost",
        )
    took = Text("read ", Duration(copy.read - message.accepted), " later by ", copy.by)
    if changed := difference(message.content, copy.content):
        return Outcome(
            Status.FAIL,
            expected,
            Text(f"{changed}; ", took),
            fix="Look for a content filter or milter that rewrites messages.",
            kind="changed",
        )
    client, header = received_from(message.helo, copy.content)
    if not takes_logins(target.bound) and client != message.client.host:
        return Outcome(
            Status.FAIL,
            expected,
            Text(
                "Received header names ",
                Detail(client) if client else "no client",
                " instead of ",
                Detail(message.client.host),
            ),
            witness=header,
            fix="Spam filters judge this address: see the row of client-address.",
            kind="wrong-client",
        )
    return Outcome(Status.PASS, expected, Text("unchanged, ", took), witness=header)


def _post(proof: Proof, target: Target, login: Login) -> Message:
    """Send one message; raise `ProbeError` when it is not accepted."""
    with conversation(
        target, deadline=proof.within(_SENDING_SECONDS), name=proof.helo, source=target.source
    ) as session:
        if not isinstance(session, Smtp):
            raise TypeError(session)
        sender = ""
        if takes_logins(target.bound):
            sender = login.address
            session.login(login.address, login.password)
        identity = f"<{proof.nonce}.{target.bound.name}.{session.wire.client.port}@{proof.helo}>"
        content = write(sender=login.address, recipient=login.address, identity=identity)
        # An empty envelope sender on port 25: should it fail, no bounce goes round.
        session.send(sender, login.address, content)
        return Message(target, session.wire.client, proof.helo, identity, content, time.monotonic())


# --- out ----------------------------------------------------------------------------------------


def _read(proof: Proof, target: Target) -> Outcome:
    expected = "every message sent in this run, unchanged"
    try:
        if proof.login is None:
            return _no_mailbox(proof, expected)
        messages = _messages(proof).posted(deadline=proof.deadline)
        if not messages:
            return Outcome(
                Status.NOT_PROVEN,
                expected,
                "no message was accepted that could be read",
                fix="See the rows of smtp and submission first.",
                kind="nothing-sent",
            )
        began = time.monotonic()
        copies = _collect(proof, target, messages, proof.login)
        took = time.monotonic() - began
    finally:
        _messages(proof).reader_done()
    missing = [message for message in messages if message.identity not in copies]
    changed = [
        change
        for message in messages
        if message.identity in copies
        and (change := difference(message.content, copies[message.identity].content))
    ]
    counted = Text(f"{len(copies)} of {len(messages)} messages in ", Duration(took))
    if missing or changed:
        lost = [Text("missing: that of ", _name(one.target)) for one in missing]
        return Outcome(
            Status.FAIL,
            expected,
            joined("; ", [counted, *lost, *changed]),
            fix=(
                Text("See whether delivery failed or waits: ", Logs(), ".")
                if missing
                else "Look for a content filter or milter that rewrites messages."
            ),
            kind="lost" if missing else "changed",
        )
    return Outcome(Status.PASS, expected, Text(counted, ", unchanged"))


def _no_mailbox(proof: Proof, expected: str) -> Outcome:
    fix = Text("See whether accounts work: ", MAILBOXES)
    return Outcome(Status.FAIL, expected, proof.no_login, fix=fix, kind="no-login")


def _name(target: Target) -> Text:
    return Text(Detail(target.bound.name), " ", Detail(target.family))


Sent = tuple[Message, ...]
Copies = dict[str, Copy]


def _collect(proof: Proof, target: Target, messages: Sent, login: Login) -> Copies:
    """Read until every message was found or time is up. Raises `ProbeError`."""
    imap = target.listener.protocol is Protocol.IMAP
    copies: Copies = {}
    try:
        (_collect_imap if imap else _collect_pop3)(proof, target, messages, login, copies)
    except ProbeError:
        # Time that is up while waiting for a late message is not the reader's trouble.
        if not copies and time.monotonic() < proof.deadline:
            raise
    return copies


def _collect_imap(
    proof: Proof, target: Target, messages: Sent, login: Login, copies: Copies
) -> None:
    seen: set[int] = set()
    with conversation(
        target, deadline=proof.deadline, name=proof.helo, source=target.source
    ) as session:
        if not isinstance(session, Imap):
            raise TypeError(session)
        session.login(login.address, login.password)
        session.examine()
        while True:
            for uid in session.uids():
                if uid not in seen:
                    seen.add(uid)
                    _keep(proof, target, messages, copies, session.message(uid))
            if _through(proof, messages, copies):
                return


def _collect_pop3(
    proof: Proof, target: Target, messages: Sent, login: Login, copies: Copies
) -> None:
    seen = 0
    while True:
        # A POP3 session sees the messages there were at login, and no later ones.
        with conversation(
            target, deadline=proof.deadline, name=proof.helo, source=target.source
        ) as session:
            if not isinstance(session, Pop3):
                raise TypeError(session)
            session.login(login.address, login.password)
            for number in range(seen + 1, session.count() + 1):
                seen = number
                _keep(proof, target, messages, copies, session.message(number))
        if _through(proof, messages, copies):
            return


def _keep(proof: Proof, target: Target, messages: Sent, copies: Copies, content: bytes) -> None:
    message = identify(content, messages)
    if message:
        copy = Copy(content, _name(target), time.monotonic())
        copies[message.identity] = copy
        _messages(proof).found(message, copy)


def _through(proof: Proof, messages: Sent, copies: Copies) -> bool:
    """Tell whether to stop reading; otherwise wait a moment."""
    if len(copies) == len(messages) or time.monotonic() + _POLL_SECONDS > proof.deadline:
        return True
    time.sleep(_POLL_SECONDS)
    return False
