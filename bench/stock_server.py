"""Debian's stock Postfix and Dovecot as one mail server, to compare with."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from stock_dovecot import PORTS, StockDovecot, certificate, stock_dovecot
from stock_postfix import StockPostfix, stock_postfix

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))

from instance import free_host

_SOCKETS = """
service lmtp {{
  unix_listener {private}/dovecot-lmtp {{
    mode = 0600
    user = postfix
    group = postfix
  }}
}}
service auth {{
  unix_listener {private}/auth {{
    mode = 0660
    user = postfix
    group = postfix
  }}
}}
"""
"""Debian's Postfix is chrooted: the sockets have to be in its queue."""


@dataclass(frozen=True)
class StockServer:
    """Both, running."""

    postfix: StockPostfix
    dovecot: StockDovecot

    def processes(self) -> list[psutil.Process]:
        """Return all that runs."""
        return [*self.postfix.processes(), *self.dovecot.processes()]


@contextlib.contextmanager
def stock_server(folder: Path, accounts: Mapping[str, str], domain: str) -> Iterator[StockServer]:
    """Run both in an empty folder, whose path must be short, for as long as the block lasts.

    `accounts` are addresses and their ``{SCHEME}`` hashes, of one domain.
    """
    for part in ("dovecot", "postfix"):
        (folder / part).mkdir(mode=0o755)
    with (
        stock_postfix(
            folder / "postfix",
            free_host(25, 465, *PORTS.values()),
            domain=domain,
            mailboxes=accounts,
            certificate=certificate(folder / "dovecot"),
        ) as postfix,
        stock_dovecot(
            folder / "dovecot", accounts, _SOCKETS.format(private=postfix.queue / "private")
        ) as dovecot,
    ):
        yield StockServer(postfix, dovecot)
