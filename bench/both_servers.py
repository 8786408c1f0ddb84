"""Gatepost's mail store and Debian's stock Dovecot side by side, with the same accounts."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from gatepost.accounts.passwords import hashed
from in_front import Address, haproxy
from stock_dovecot import StockDovecot, stock_dovecot

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))

from accounts import PASSWORD
from instance import Instance, free_host, instance

__all__ = ["DOMAIN", "PASSWORD", "Servers", "both_servers", "people"]

DOMAIN = "example.org"


@dataclass(frozen=True)
class Servers:
    """Both, and the ways into their mailboxes; each way is to the port with TLS from the start."""

    ours: Instance
    stock: StockDovecot
    ways: Mapping[str, Mapping[str, Address]]
    """``imap`` and ``pop3`` → the name of a way → where clients connect."""

    def dovecot(self) -> list[psutil.Process]:
        """Return the processes of our Dovecot, without Postfix and Traefik."""
        master = self.process("dovecot")
        return [master, *master.children(recursive=True)]

    def process(self, name: str) -> psutil.Process:
        """Return one of the processes that our supervisor started."""
        (row,) = (row for row in self.ours.status()["services"] if row["name"] == name)
        return psutil.Process(row["pid"])


@contextlib.contextmanager
def both_servers(people: Mapping[str, str], extra: str) -> Iterator[Servers]:
    """Run both; `people` are addresses and hashes, `extra` are lines for the stock one."""
    with (
        instance() as ours,
        tempfile.TemporaryDirectory(prefix="gp-b-", dir="/tmp") as name,
        contextlib.ExitStack() as stack,
    ):
        folder = Path(name)
        folder.chmod(0o755)
        rows = "".join(f'mailbox,{address},"{digest}"\n' for address, digest in people.items())
        ours.accounts(f"type,address,password_hash\ndomain,{DOMAIN},\n{rows}")
        (folder / "stock").mkdir()
        stock = stack.enter_context(stock_dovecot(folder / "stock", people, extra))
        service = {name: ours.service(name) for name in ("imaps", "pop3s")}
        doors = stack.enter_context(haproxy(folder, free_host(31993, 31995), service))
        stocks = {"imaps": stock.imaps, "pop3s": stock.pop3s}
        yield Servers(
            ours,
            stock,
            {
                name.removesuffix("s"): {
                    "no proxy": ours.internal(name),
                    "Traefik": ours.public(name),
                    "HAProxy": doors[name],
                    "stock": stocks[name],
                }
                for name in service
            },
        )


def people(name: str, count: int, digest: str | None = None) -> dict[str, str]:
    """Return that many addresses, all with the hash of `PASSWORD` that Gatepost makes."""
    digest = digest or hashed(PASSWORD)
    return {f"{name}{number}@{DOMAIN}": digest for number in range(count)}
