"""Messages to the mailbox: ours without a proxy, through Traefik and HAProxy, and stock daemons.

Run as ``python bench/delivery.py [--runs N] [--json FOLDER]``, as root, on an installed machine.
Messages are sent by Postfix's smtp-source(1), one in each session, to a mailbox each; the clock
stops when the last of them is in its mailbox and the queue is empty.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from in_front import Address, haproxy
from stock_dovecot import stock_dovecot
from stock_postfix import stock_postfix
from table import Table, options

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))

from instance import free_host, instance

DOMAIN = "example.org"
HASH = "{SSHA}c2FsdGVkIGFuZCBoYXNoZWQ="
MAILBOXES = 1000


@dataclass(frozen=True)
class Work:
    """What one run does."""

    parallel: int
    messages: int
    size: int

    def __str__(self) -> str:
        """Say it as a row of the table does."""
        return f"{self.size // 1000} kB, {self.parallel} in parallel"


WORKS = (Work(1, 200, 2000), Work(20, 1000, 2000), Work(100, 1000, 2000), Work(20, 500, 100_000))
RATIOS = (
    ("without proxy : stock", "no proxy", "stock", 1.2),
    ("Traefik and gate : without proxy", "Traefik", "no proxy", 0.8),
)


@dataclass(frozen=True)
class Way:
    """A door into a server, that server's queue, and where its mailboxes lie."""

    door: Address
    queue: Path
    mail: Path

    def waiting(self) -> int:
        """Return the number of messages in the queue."""
        return sum(
            len(files)
            for name in ("maildrop", "incoming", "active", "deferred")
            for _, _, files in os.walk(self.queue / name)
        )

    def delivered(self) -> int:
        """Return the number of messages in all mailboxes."""
        return sum(
            len(files)
            for folder, _, files in os.walk(self.mail)
            if folder.endswith(("/new", "/cur"))
        )

    def send(self, work: Work) -> float:
        """Send messages, wait until they are delivered, and return how many that is a second."""
        before, start = self.delivered(), time.perf_counter()
        self.submit(work)
        while self.waiting():
            assert time.perf_counter() - start < 120, f"{self.waiting()} messages wait for ever"
            time.sleep(0.02)
        seconds = time.perf_counter() - start
        arrived = self.delivered() - before
        assert arrived == work.messages, f"{arrived} of {work.messages} messages arrived"
        return work.messages / seconds

    def submit(self, work: Work) -> None:
        """Send messages, and no more."""
        words = ["-s", str(work.parallel), "-m", str(work.messages), "-l", str(work.size), "-N"]
        words += ["-f", "friend@outside.test", "-t", f"user@{DOMAIN}"]
        # Not Python's own limit of time, which looks at the clock every 50 ms only.
        command = ["timeout", "300", "smtp-source", *words, "{}:{}".format(*self.door)]
        subprocess.run(command, check=True)


@contextlib.contextmanager
def servers() -> Iterator[dict[str, Way]]:
    """Run both servers with the same mailboxes, and lend all ways into them."""
    addresses = [f"{n}user@{DOMAIN}" for n in range(MAILBOXES + 1)]
    settings = {
        # All messages come from one address.
        "MTA_CLIENT_CONNECTIONS": "10000",
        "MTA_CLIENT_CONNECTIONS_PER_MINUTE": "10000000",
    }
    with (
        instance(settings) as ours,
        tempfile.TemporaryDirectory(prefix="gp-bench-", dir="/tmp") as name,
        contextlib.ExitStack() as stack,
    ):
        folder = Path(name)
        folder.chmod(0o755)
        rows = "".join(f"mailbox,{address},{HASH}\n" for address in addresses)
        ours.accounts(f"type,address,password_hash\ndomain,{DOMAIN},\n{rows}")
        queue, mail = ours.home / "queue", ours.home / "mail"
        doors = stack.enter_context(
            haproxy(folder, free_host(31025), {"smtp": ours.service("smtp")})
        )
        for part in ("dovecot", "postfix"):
            (folder / part).mkdir(mode=0o755)
        stock = stack.enter_context(
            stock_postfix(
                folder / "postfix",
                free_host(25),
                domain=DOMAIN,
                mailboxes=addresses,
                lmtp="unix:private/dovecot-lmtp",
            )
        )
        dovecot = stack.enter_context(
            stock_dovecot(
                folder / "dovecot",
                dict.fromkeys(addresses, HASH),
                # Debian's Postfix is chrooted: the socket has to be in its queue.
                "service lmtp {\n"
                f"  unix_listener {stock.queue}/private/dovecot-lmtp {{\n"
                "    mode = 0600\n    user = postfix\n    group = postfix\n  }\n}",
            )
        )
        yield {
            "no proxy": Way(ours.internal("smtp"), queue, mail),
            "Traefik": Way(ours.public("smtp"), queue, mail),
            "HAProxy": Way(doors["smtp"], queue, mail),
            "stock": Way(stock.door, stock.queue, dovecot.mail),
        }


def main() -> None:
    """Measure and print."""
    chosen = options(__doc__, runs=5)
    table = Table("delivery")
    with servers() as ways:
        for way in ways.values():  # each mailbox's folders are made once
            way.send(Work(20, MAILBOXES, 2000))
        for work in WORKS:
            rates: dict[str, list[float]] = {name: [] for name in ways}
            for run in range(chosen.runs):
                for name in list(ways) if run % 2 else reversed(ways):
                    rates[name].append(ways[name].send(work))
            for name, values in rates.items():
                table.add(f"messages, {work}, {name}", values, "/s")
            for title, one, other, aim in RATIOS:
                pairs = [a / b for a, b in zip(rates[one], rates[other], strict=True)]
                # The promise is about many small messages; the other rows are to look at.
                table.add(
                    f"ratio, {title}", pairs, "", at_least=aim if work.parallel == 20 else None
                )
    table.keep(chosen.json)


if __name__ == "__main__":
    main()
