"""Postfix's rows of the listener table, and the ``smtpd`` services that answer on them.

Postfix believes a PROXY header from any peer, so the gate guards them all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gatepost.model import BoundListener, Listener, Protocol, Standing, Tls

SMTP = Listener(
    name="smtp",
    protocol=Protocol.SMTP,
    tls=Tls.STARTTLS,
    public_port=25,
    entry_point_port=3325,
    service_port=31025,
    internal_port=32025,
    client_setting="MTA_SMTP_ADDRESS",
    guarded=True,
)
SUBMISSION = Listener(
    name="submission",
    protocol=Protocol.SMTP,
    tls=Tls.STARTTLS,
    public_port=587,
    entry_point_port=33587,
    service_port=31587,
    internal_port=32587,
    client_setting="MTA_SMTP_SUBMISSION_ADDRESS",
    guarded=True,
)
SUBMISSIONS = Listener(
    name="submissions",
    protocol=Protocol.SMTP,
    tls=Tls.IMPLICIT,
    public_port=465,
    entry_point_port=33465,
    service_port=31465,
    internal_port=32465,
    guarded=True,
)
LISTENERS = (SMTP, SUBMISSION, SUBMISSIONS)

INTERNAL = "internal-"
"""Beginning of the log name of an internal listener."""

_SERVICE_PROCESSES = 600
"""Sessions at once on one service. Postfix's default, 100, is what one busy webmail uses up; a
process is started only when a client comes, so a larger number costs an idle server nothing."""
_INTERNAL_PROCESSES = 100


@dataclass(frozen=True, slots=True)
class SmtpdService:
    """One ``smtpd`` line of master.cf."""

    name: str
    """The place where it listens: an address such as ``127.0.0.1:31025``, or a socket's name."""
    standing: Standing | None
    """Kind of the connected clients that the gate passes to it; None when it listens on TCP
    itself."""
    syslog_name: str
    """Beginning of its log lines, such as ``postfix/internal-smtp``."""
    internal: bool
    submission: bool
    """True if clients log in; otherwise it takes mail from strangers."""
    implicit_tls: bool
    processes: int

    @property
    def passed(self) -> bool:
        """True if the gate passes it connected clients."""
        return self.standing is not None

    @property
    def named(self) -> bool:
        """True if only a PROXY header vouches for the addresses of its clients."""
        return self.standing is Standing.NAMED

    @property
    def asks_names(self) -> bool:
        """True if it looks up the names of its clients.

        Those of other servers stand in ``Received`` headers, and filters judge by them.
        """
        return not (self.internal or self.submission)

    @property
    def tls_ended(self) -> bool:
        """True if the client's TLS ends at the proxy."""
        return self.standing is Standing.ENCRYPTED


def smtpd_services(listeners: Iterable[BoundListener]) -> Iterator[SmtpdService]:
    """Yield the services of every listener, in table order.

    A proxied listener has one for each kind of clients that the gate passes to it; any other has
    one for each address, and so have all internal listeners.
    """
    for bound in listeners:
        if bound.proxied:
            for standing in standings(bound):
                yield _service(bound, pass_service(bound, standing), standing)
        else:
            for address in bound.service:
                yield _service(bound, str(address))
        for address in bound.internal:
            yield _service(bound, str(address), internal=True)


def standings(bound: BoundListener) -> tuple[Standing, ...]:
    """Return the kinds of connections that a proxied listener treats differently.

    Relaying by address is for port 25. A listener that begins with TLS does so whatever a proxy
    has done before.
    """
    if bound.listener == SMTP:
        return (Standing.NAMED, Standing.RELAYING)
    if bound.listener.tls is Tls.STARTTLS:
        return (Standing.NAMED, Standing.ENCRYPTED)
    return (Standing.NAMED,)


def pass_service(bound: BoundListener, standing: Standing = Standing.NAMED) -> str:
    """Return the name of a ``pass`` service, and of its socket below ``private``."""
    suffix = "" if standing is Standing.NAMED else f"-{standing}"
    return f"gate-{bound.name}{suffix}"


def _service(
    bound: BoundListener,
    name: str,
    standing: Standing | None = None,
    *,
    internal: bool = False,
) -> SmtpdService:
    return SmtpdService(
        name=name,
        standing=standing,
        syslog_name=f"postfix/{INTERNAL if internal else ''}{bound.name}",
        internal=internal,
        submission=bound.listener != SMTP,
        implicit_tls=bound.listener.tls is Tls.IMPLICIT,
        processes=_INTERNAL_PROCESSES if internal else _SERVICE_PROCESSES,
    )
