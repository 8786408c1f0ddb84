"""Connections of probes: who opens them, how soon, and how far into TLS."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from gatepost.model import Protocol, Tls
from gatepost.verify.clients.pace import Pace
from gatepost.verify.clients.protocols import SESSIONS, Session
from gatepost.verify.clients.wire import ProbeError, Trouble, Wire
from gatepost.verify.targets import Target

_ASKING_FOR_NAMES = Pace(1 / 40)
"""An SMTP server looks up the reverse name of each client before it greets it, and name servers
drop questions that come too fast; symptom: a greeting after 5 s. One with a limit of 50 a second
was met."""


def any_certificate() -> ssl.SSLContext:
    """Return a TLS context that takes any certificate: who the server is, is the tls check's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # which loads no authorities: 20 ms each
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def connect(target: Target, *, source: str | None, deadline: float) -> Wire:
    """Connect to a target from a source address. Raises `ProbeError`."""
    if target.listener.protocol is Protocol.SMTP:
        _ASKING_FOR_NAMES.wait(deadline)
    return Wire(target.address, source=source, deadline=deadline)


def session_over(wire: Wire, target: Target, name: str) -> Session:
    """Return a session in the target's protocol over a connection that is still unused."""
    return SESSIONS[target.listener.protocol](wire, name)


@contextmanager
def conversation(
    target: Target,
    *,
    deadline: float,
    name: str,
    source: str | None = None,
    context: ssl.SSLContext | None = None,
    server_name: str = "localhost",
    header: bytes = b"",
) -> Iterator[Session]:
    """Connect to a listener and yield a session with TLS begun, before any login.

    `context` says which TLS to speak; any certificate is taken without it. `name` is what an SMTP
    client calls itself. `header` is sent before everything else. The connection is closed at the
    end of the block, come what may.
    """
    context = context or any_certificate()
    with connect(target, source=source, deadline=deadline) as wire:
        session = session_over(wire, target, name)
        wire.send(header)
        if target.listener.tls is Tls.IMPLICIT:
            wire.start_tls(context, server_name)
            session.greet()
        else:
            session.greet()
            begin_tls(session, context, server_name)
        yield session
        with suppress(ProbeError):
            session.leave()


@contextmanager
def in_the_clear(
    target: Target, *, deadline: float, name: str, source: str | None = None, header: bytes = b""
) -> Iterator[Session]:
    """Connect to a listener with STARTTLS and yield a session without TLS, as `conversation`."""
    with connect(target, source=source, deadline=deadline) as wire:
        session = session_over(wire, target, name)
        wire.send(header)
        session.greet()
        yield session
        with suppress(ProbeError):
            session.leave()


def begin_tls(
    session: Session, context: ssl.SSLContext | None = None, server_name: str = "localhost"
) -> None:
    """Go over to TLS within a session (STARTTLS); a refusal is a trouble with TLS as well."""
    try:
        session.ask_tls()
    except ProbeError as error:
        if error.trouble is not Trouble.DENIED:
            raise
        refused = f"STARTTLS was refused: {error.observed}"
        raise ProbeError(Trouble.TLS, refused) from None
    session.wire.start_tls(context or any_certificate(), server_name)
    session.after_tls()


def greeting_in_the_clear(target: Target, *, deadline: float, source: str | None = None) -> str:
    """Return the greeting of a listener with implicit TLS to who speaks without TLS.

    Empty when it hangs up or stays silent, as it should.
    """
    with connect(target, source=source, deadline=deadline) as wire:
        session = session_over(wire, target, "localhost")
        try:
            # More bytes than the header of a TLS record, for the server to see what they are not.
            wire.send(b"NOOP\r\nNOOP\r\n")
            session.greet()
        except ProbeError:
            return ""
    return session.greeting.split("\n")[0]


@contextmanager
def greeted(
    target: Target, *, deadline: float, source: str | None = None, opening: bytes = b""
) -> Iterator[Session]:
    """Connect and yield a session that was greeted, and no more; TLS only where it comes first.

    `opening` is sent before anything else, such as a PROXY header.
    """
    with connect(target, source=source, deadline=deadline) as wire:
        session = session_over(wire, target, "localhost")
        if opening:
            wire.send(opening)
        if target.listener.tls is Tls.IMPLICIT:
            wire.start_tls(any_certificate(), "localhost")
        session.greet()
        yield session
        with suppress(ProbeError):
            session.leave()


def greeting(target: Target, *, deadline: float, source: str | None = None) -> tuple[str, float]:
    """Connect and wait for the greeting; return it, and the seconds it took.

    On a listener with implicit TLS the seconds include the handshake.
    """
    with greeted(target, deadline=deadline, source=source) as session:
        return session.greeting.split("\n")[0], time.monotonic() - session.wire.began
