"""Thousands of mail programs that wait for mail: what each costs, ours and Debian's stock Dovecot.

Run as ``python bench/idle_connections.py [--runs N] [--json FOLDER] [--idlers N]``, as root, on an
installed machine. Ours hold `IDLERS` connections through Traefik; the stock server, which keeps two
processes for each, holds `STOCK_IDLERS`, for which alone its limits on processes must be raised.
Memory counts pages that processes share once (PSS), and what a Dovecot without clients holds is
taken off. For as long as it runs, the kernel's limit of inotify instances is raised where it is too
low (see `room`). The passwords have a fast hash: it is the waiting that is measured here.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

import mail_load
from both_servers import PASSWORD, Servers, both_servers, people
from mail_load import Address, Login
from table import Table, progress

IDLERS = 5000
STOCK_IDLERS = 500
PEOPLE = 1000
LOGINS = 10
"""Logins of one run, one after the other."""
SETTLE_SECONDS = 150
"""How long a crowd may take to be as small as it gets."""
ROOM = f"""
default_client_limit = {4 * STOCK_IDLERS}
service imap-login {{
  process_limit = {2 * STOCK_IDLERS}
}}
"""
INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
DIGEST = "{SHA512}" + base64.b64encode(hashlib.sha512(PASSWORD.encode()).digest()).decode()


def held(processes: Sequence[psutil.Process]) -> float:
    """Return the kilobytes that these processes hold, shared pages counted once."""
    total = 0
    for process in processes:
        # One that ends while it is looked at holds nothing.
        try:
            total += process.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
    return total / 1e3


def settled(servers: Servers) -> list[psutil.Process]:
    """Wait until none of our connections has a process of its own, and return what is left."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        found = servers.dovecot()
        awake = [process for process in found if name(process) == "imap"]
        if not awake:
            return found
        progress(f"{len(awake)} processes for sessions are left")
        assert time.monotonic() < deadline, f"{len(awake)} connections are not put to sleep"
        time.sleep(5)


def name(process: psutil.Process) -> str:
    """Return a process's name; none when it has just ended."""
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return ""


def login(address: Address, everybody: Sequence[Login], runs: int) -> list[float]:
    """Return the milliseconds of a whole session, each run's mean."""
    loads = (
        mail_load.sessions("imap", address, everybody, parallel=1, count=LOGINS)
        for _ in range(runs)
    )
    return [load.seconds / load.sessions * 1e3 for load in loads]


def ours(
    table: Table, servers: Servers, everybody: Sequence[Login], count: int, runs: int
) -> float:
    """Measure our idlers; return the kilobytes that one of them costs."""
    address = servers.ways["imap"]["Traefik"]
    proxy = servers.process("traefik")
    base, before = held(servers.dovecot()), held([proxy])
    table.add("login, nobody else is there", login(address, everybody, runs), "ms")
    progress(f"opening {count} connections")
    start = time.perf_counter()
    with mail_load.idlers(address, everybody, count):
        table.add(f"opening {count} idle connections", [time.perf_counter() - start], "s")
        crowded = held(servers.dovecot())
        table.add("memory each, when just opened", [(crowded - base) / count], "kB")
        each = (held(settled(servers)) - base) / count
        table.add("memory each, asleep", [each], "kB")
        table.add("memory each, Traefik's part", [(held([proxy]) - before) / count], "kB")
        table.add(f"login among {count} idle ones", login(address, everybody, runs), "ms")
    return each


def theirs(table: Table, servers: Servers, everybody: Sequence[Login], runs: int) -> float:
    """Measure the stock server's idlers; return the kilobytes that one of them costs."""
    address, stock = servers.ways["imap"]["stock"], servers.stock
    base = held(stock.processes())
    table.add("login, nobody else is there, stock", login(address, everybody, runs), "ms")
    progress(f"opening {STOCK_IDLERS} connections to the stock server")
    with mail_load.idlers(address, everybody, STOCK_IDLERS):
        each = (held(stock.processes()) - base) / STOCK_IDLERS
        table.add("memory each, stock", [each], "kB")
        slower = login(address, everybody, runs)
        table.add(f"login among {STOCK_IDLERS} idle ones, stock", slower, "ms")
    return each


@contextlib.contextmanager
def room(count: int) -> Iterator[None]:
    """Let the servers, which get the limits of who starts them, hold so many connections.

    A connection is two open files in a proxy. Asleep it keeps an inotify instance, of which the
    kernel gives a user 128 by default, and all mail has one user: past that sessions stay awake.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * count + 1000
    if most != resource.RLIM_INFINITY and most < needed:
        sys.exit(f"a process may open {most} files here (`ulimit -Hn`), and {needed} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    before = INOTIFY.read_text()
    if int(before) >= needed:
        yield
        return
    INOTIFY.write_text(f"{needed}\n")
    try:
        yield
    finally:
        INOTIFY.write_text(before)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="how often a login is measured")
    parser.add_argument("--json", type=Path, metavar="FOLDER", help="keep the figures here as well")
    parser.add_argument("--idlers", type=int, default=IDLERS, help="connections to ours")
    chosen = parser.parse_args()
    table = Table("idle_connections")
    accounts = people("user", PEOPLE, DIGEST)
    everybody = [(address, PASSWORD) for address in accounts]
    with room(chosen.idlers), both_servers(accounts, ROOM) as servers:
        stock = theirs(table, servers, everybody, chosen.runs)
        own = ours(table, servers, everybody, chosen.idlers, chosen.runs)
    table.add("ratio, memory each, asleep : stock", [own / stock], "", at_most=0.5)
    table.keep(chosen.json)


if __name__ == "__main__":
    main()
