"""Sieve scripts of tests, and the messages that run them."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator

from accounts import PASSWORD
from clients import From, message
from instance import CLIENT, Instance
from outside import Outside, Received

HAYSTACK = "a" * 900_000 + "\n"
ENDLESS_TEST = (
    'require "body"; if body :content "text" :contains ["' + "a" * 150_000 + 'b"] { discard; }'
)
"""A single test that takes minutes in `HAYSTACK`, which Sieve's limit of processor time does not
end."""
_MESSAGES = 20


@contextlib.contextmanager
def active(server: Instance, login: tuple[str, str], text: str) -> Iterator[None]:
    """Have a Sieve script in force for as long as the block lasts."""
    with From(CLIENT).sieve(server.public("sieve"), login) as sieve:
        sieve.put("test", text)
    try:
        yield
    finally:
        with From(CLIENT).sieve(server.public("sieve"), login) as sieve:
            sieve.deactivate()


@contextlib.contextmanager
def stored(server: Instance, address: str, text: str) -> Iterator[None]:
    """Have a script in force that ManageSieve was not asked about."""
    with active(server, (address, PASSWORD), "keep;"):
        local, _, domain = address.partition("@")
        file = server.home / "mail" / domain / local / "sieve" / "test.sieve"
        file.write_text(text)
        file.with_suffix(".svbin").unlink(missing_ok=True)
        yield


def send(
    server: Instance, recipient: str, *, sender: str = "friend@outside.test", body: str = "Hello.\n"
) -> str:
    """Send a message from outside and return its subject."""
    subject = uuid.uuid4().hex
    mail = message(to=recipient, sender=sender or "mailer@outside.test", subject=subject, body=body)
    with From(CLIENT).smtp(server.public("smtp")) as smtp:
        smtp.send_message(mail, sender, [recipient])
    return subject


def sent_by(outside: Outside, recipient: str) -> list[Received]:
    """Return what reached an address in the outside world."""
    return [received for received in outside.messages if recipient in received.recipients]


def send_the_worst(server: Instance, recipient: str) -> None:
    """Send twenty messages to a user with a script such as `ENDLESS_TEST`."""
    with From(CLIENT).smtp(server.public("smtp")) as smtp:
        for _ in range(_MESSAGES):
            mail = message(to=recipient, body=HAYSTACK)
            smtp.send_message(mail, "friend@outside.test", [recipient])


def busy(server: Instance) -> int:
    """Return how many processes of Dovecot deliver mail and have used a second of processor."""
    return sum(1 for p in server.processes() if p.name() == "lmtp" and sum(p.cpu_times()[:2]) > 1)
