"""Every process is killed while mail comes in, at a moment that nobody has chosen."""

from __future__ import annotations

import contextlib
import imaplib
import time
from collections.abc import Callable, Iterator

import pytest
from accounts import ALICE
from clients import From
from instance import Instance

from faults import AT_ONCE, Ordeal, kill_one, server_for_ordeals

VICTIMS = (
    *("gate", "sasl", "traefik", "supervisor"),
    *("postfix/master", "postfix/qmgr", "postfix/smtpd", "postfix/cleanup", "postfix/lmtp"),
    *("postfix/trivial-rewrite", "postfix/tlsmgr", "postfix/pickup", "postfix/postlogd"),
    *("dovecot/master", "dovecot/auth", "dovecot/auth-worker", "dovecot/lmtp"),
    *("dovecot/imap-login", "dovecot/imap", "dovecot/anvil", "dovecot/config", "dovecot/log"),
    *("dovecot/stats", "dovecot/quota-status"),
)


@pytest.fixture(scope="module")
def server() -> Iterator[Instance]:
    """Run a server that this module may hurt."""
    with server_for_ordeals() as made:
        yield made


def test_nothing_is_lost_whoever_is_killed(
    server: Instance, seed: int, record_property: Callable[[str, object], None]
) -> None:
    """A machine short of memory kills any process, and with it an accepted message would go.

    Duplicates come from a delivery that is cut between the mail store's work and its answer:
    Postfix, or a sender that heard no answer, must then try again (RFC 1047).
    """
    ordeal = Ordeal.of(server, seed)
    victims = list(VICTIMS)
    ordeal.chance.shuffle(victims)
    with ordeal.load.running():
        for victim in victims:
            ordeal.wait(0.2, 1.0)
            with contextlib.ExitStack() as stack:
                if victim == "dovecot/imap":
                    stack.enter_context(contextlib.suppress(OSError, imaplib.IMAP4.error))
                    stack.enter_context(From("127.0.0.1").imap(server.public("imap"), ALICE))
                kill_one(server, victim, ordeal.chance)
            killed = time.monotonic()
            if victim == "supervisor":
                # As systemd does.
                server.up()
            ordeal.recover(f"kill {victim}", killed)
    ordeal.settle_and_tell(record_property, duplicates=len(victims) * AT_ONCE)
