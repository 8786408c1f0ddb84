"""Messages to the mailbox: ours without a proxy, through Traefik and HAProxy, and stock daemons.

Run as ``python bench/delivery.py [--runs N] [--json FOLDER]``, as root, on an installed machine.
Messages are sent by Postfix's smtp-source(1), one in each session, to a mailbox each; the clock
stops when the last of them is in its mailbox and the queue is empty.
"""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from in_front import Address, haproxy
from processor_time import measured
from stock_server import stock_server
from table import Table, options, progress

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


PROMISED = Work(20, 1000, 2000)
WORKS = (Work(1, 200, 2000), PROMISED, Work(100, 1000, 2000), Work(20, 500, 100_000))
RATIOS = (
    ("without proxy : stock", "no proxy", "stock", 1.2),
    ("Traefik and gate : without proxy", "Traefik", "no proxy", 0.8),
)


@dataclass(frozen=True)
class Way:
    """The doors into a server, that server's queue, and where its mailboxes lie."""

    door: Address
    """Port 25."""
    submissions: Address
    """Port 465: TLS from the first byte, and login."""
    queue: Path
    mail: Path
    roots: Callable[[], Iterable[int]]
    """The server's processes from which all others descend; in front of it only Traefik is ours."""

    def waiting(self) -> int:
        """Return the number of messages in the queue."""
        return sum(
            len(files)
            for name in ("maildrop", "incoming", "active", "deferred")
            for _, _, files in os.walk(self.queue / name)
        )

    def arrived(self) -> int:
        """Return the number of messages in all mailboxes."""
        return sum(
            len(files)
            for folder, _, files in os.walk(self.mail)
            if folder.endswith(("/new", "/cur"))
        )

    def delivered(self, messages: int, send: Callable[[], object]) -> float:
        """Send so many messages, wait until they are delivered, and return how many a second."""
        before, start = self.arrived(), time.perf_counter()
        send()
        while self.waiting():
            assert time.perf_counter() - start < 120, f"{self.waiting()} messages wait for ever"
            time.sleep(0.02)
        seconds = time.perf_counter() - start
        arrived = self.arrived() - before
        assert arrived == messages, f"{arrived} of {messages} messages arrived"
        return messages / seconds

    def send(self, work: Work) -> float:
        """Send messages to a mailbox each, as `delivered`."""
        words = ["-s", str(work.parallel), "-m", str(work.messages), "-l", str(work.size), "-N"]
        words += ["-f", "friend@outside.test", "-t", f"user@{DOMAIN}"]
        # Not Python's own limit of time, which looks at the clock every 50 ms only.
        command = ["timeout", "300", "smtp-source", *words, "{}:{}".format(*self.door)]
        return self.delivered(work.messages, lambda: subprocess.run(command, check=True))


@contextlib.contextmanager
def servers(digest: str) -> Iterator[dict[str, Way]]:
    """Run both servers with the same mailboxes, all with one hash, and lend all ways into them."""
    accounts = {f"{n}user@{DOMAIN}": digest for n in range(MAILBOXES + 1)}
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
        rows = "".join(f'mailbox,{address},"{digest}"\n' for address in accounts)
        ours.accounts(f"type,address,password_hash\ndomain,{DOMAIN},\n{rows}")
        behind = {name: ours.service(name) for name in ("smtp", "submissions")}
        doors = stack.enter_context(haproxy(folder, free_host(31025, 31465), behind))
        stock = stack.enter_context(stock_server(folder, accounts, DOMAIN))

        def way(door: Callable[[str], Address]) -> Way:
            ends = (ours.home / "queue", ours.home / "mail")
            return Way(door("smtp"), door("submissions"), *ends, lambda: _ids(ours.processes()))

        yield {
            "no proxy": way(ours.internal),
            "Traefik": way(ours.public),
            "HAProxy": way(doors.__getitem__),
            "stock": Way(
                stock.postfix.door,
                stock.postfix.submissions,
                stock.postfix.queue,
                stock.dovecot.mail,
                lambda: _ids(stock.processes()),
            ),
        }


def _ids(processes: Iterable[psutil.Process]) -> list[int]:
    return [process.pid for process in processes]


def in_turn(
    ways: Mapping[str, Way], what: str, runs: int, measure: Callable[[Way], float]
) -> dict[str, list[float]]:
    """Measure each way, run after run and in turn, so that what else happens hits all."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for run in range(runs):
        for name in list(ways)[:: 1 if run % 2 else -1]:
            progress(f"{what}, {name}, run {run + 1} of {runs}")
            rates[name].append(measure(ways[name]))
    return rates


def by_process(way: Way, work: Work) -> dict[str, float]:
    """Return the processor time of each kind of process, in milliseconds a message."""
    with measured(way.roots()) as used:
        way.send(work)
    return {name: spent / work.messages for name, spent in used.milliseconds().items()}


def account_for(ways: Mapping[str, Way], runs: int, table: Table) -> None:
    """Add where the processor time of a message goes, and in how much it differs from stock."""
    spent: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for run in range(runs):
        for name in list(ways)[:: 1 if run % 2 else -1]:
            progress(f"processor time, {name}, run {run + 1} of {runs}")
            spent[name].append(by_process(ways[name], PROMISED))
    for name, found in spent.items():
        table.add(f"processor, {name}, all", [sum(one.values()) for one in found], "ms")
        for kind in dict.fromkeys(kind for one in found for kind in one):
            values = [one.get(kind, 0.0) for one in found]
            if max(values) >= 0.01:
                table.add(f"processor, {name}, {kind}", values, "ms")


def main() -> None:
    """Measure and print."""
    chosen = options(__doc__, runs=5)
    table = Table("delivery")
    with servers(HASH) as ways:
        for way in ways.values():  # each mailbox's folders are made once
            way.send(Work(20, MAILBOXES, 2000))
        for work in WORKS:
            rates = in_turn(ways, str(work), chosen.runs, functools.partial(Way.send, work=work))
            for name, values in rates.items():
                table.add(f"messages, {work}, {name}", values, "/s")
            for title, one, other, aim in RATIOS:
                pairs = [a / b for a, b in zip(rates[one], rates[other], strict=True)]
                # The promise is about many small messages; the other rows are to look at.
                table.add(f"ratio, {title}", pairs, "", at_least=aim if work == PROMISED else None)
        account_for(ways, chosen.runs, table)
    table.keep(chosen.json)


if __name__ == "__main__":
    main()
