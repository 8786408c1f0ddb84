"""The rest of the world: a real SMTP server that keeps what it is sent."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session


@dataclass
class Received:
    """One message that reached the outside world."""

    sender: str
    recipients: list[str]
    message: EmailMessage
    login: str | None


@dataclass
class Outside:
    """An SMTP server at an address of the test's own, used as relay host."""

    host: str
    port: int
    messages: list[Received] = field(default_factory=list)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: ARG002, N802
        """Keep the message."""
        content = envelope.content
        assert isinstance(content, bytes)
        message = message_from_bytes(content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        self.messages.append(
            Received(
                (envelope.mail_from or "").strip("<>"),
                list(envelope.rcpt_tos),
                message,
                str(session.auth_data) if session.authenticated else None,
            )
        )
        return "250 kept"

    def authenticate(
        self,
        server: SMTP,  # noqa: ARG002
        session: Session,  # noqa: ARG002
        envelope: Envelope,  # noqa: ARG002
        mechanism: str,  # noqa: ARG002
        data: Any,
    ) -> AuthResult:
        """Accept the one login that tests give to the relay."""
        assert isinstance(data, LoginPassword)
        right = (data.login, data.password) == (b"relay-user", b"relay-secret")
        return AuthResult(success=right, handled=False, auth_data=data.login.decode())

    async def handle_RCPT(  # noqa: N802
        self,
        server: SMTP,  # noqa: ARG002
        session: Session,  # noqa: ARG002
        envelope: Envelope,
        address: str,
        rcpt_options: list[str],  # noqa: ARG002
    ) -> str:
        """Refuse recipients whose name says so."""
        if address.startswith("refused"):
            return "550 5.1.1 nobody of that name here"
        envelope.rcpt_tos.append(address)
        return "250 fine"

    def wait_for(
        self,
        *,
        to: str,
        subject: str | None = None,
        containing: str = "",
        since: int = 0,
        seconds: float = 15,
    ) -> Received:
        """Wait for a message to a recipient, by its subject or words in it."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for received in self.messages[since:]:
                if (
                    to in received.recipients
                    and subject in {None, received.message["Subject"]}
                    and containing in received.message.as_string()
                ):
                    return received
            time.sleep(0.05)
        raise AssertionError(f"nothing for {to}; got {[m.recipients for m in self.messages]}")


@contextlib.contextmanager
def outside_world(host: str, port: int = 2525, **options: Any) -> Iterator[Outside]:
    """Run the outside world for as long as the block lasts."""
    world = Outside(host, port)
    controller = Controller(
        world, hostname=host, port=port, authenticator=world.authenticate, **options
    )
    controller.start()
    try:
        yield world
    finally:
        controller.stop()
