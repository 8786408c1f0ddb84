"""Logins of mail programs, and reading a large folder: ours and Debian's stock Dovecot.

Run as ``python bench/mailboxes.py [--runs N] [--json FOLDER]``, as root, on an installed machine.
Both servers have the same accounts with the hash that Gatepost makes, and the same kind of
certificate. They are measured in turn, by the same clients; a session is TLS, login, opening the
inbox (IMAP) or asking for its size (POP3), and logout. The stock server gets room for 300 login
processes, since a hundred clients at a time would not find room in it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import mail_load
from both_servers import PASSWORD, Servers, both_servers, people
from mail_load import Address, Load, Login
from table import Table, options, progress, timed

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))

from clients import lenient

PEOPLE = 200
"""Enough that a hundred at a time are not one person's limit of connections."""
SESSIONS = {"imap": {1: 30, 20: 200, 100: 200}, "pop3": {20: 200}}
"""Protocol → sessions in parallel → sessions of one run."""
MESSAGES = 10_000
MESSAGE = (
    "Return-Path: <friend@outside.test>\r\n"
    "Received: from client.test (client.test [192.0.2.7]) by mail.example.org with ESMTPS\r\n"
    "Message-ID: <{number}@outside.test>\r\n"
    "Date: Mon, 02 Mar 2026 10:00:00 +0000\r\n"
    "From: A friend <friend@outside.test>\r\n"
    "To: reader@example.org\r\n"
    "Subject: Number {number}\r\n"
    "MIME-Version: 1.0\r\n"
    "Content-Type: text/plain; charset=utf-8\r\n"
    "\r\n"
)
SIZE = 2000
ROOM = "service imap-login {\n  process_limit = 300\n}"
"""The stock server has a process for each connection, and drops the hundredth at a time."""
LIST = "UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[HEADER.FIELDS (From To Subject Date)]"
"""What a mail program asks of a folder that it does not know yet."""


# --- logins ---------------------------------------------------------------------------------


def logins(table: Table, servers: Servers, everybody: Sequence[Login], runs: int) -> None:
    """Measure sessions a second on each way, in turn, so that what else happens hits all."""
    for protocol, sizes in SESSIONS.items():
        ways = servers.ways[protocol]
        for way in ("no proxy", "stock"):  # folders are made, what is cached is known
            session(protocol, ways[way], everybody, parallel=20, count=len(everybody))
        for parallel, count in sizes.items():
            taken: dict[str, list[Load]] = {way: [] for way in ways}
            for run in range(runs):
                for way in list(ways) if run % 2 else reversed(list(ways)):
                    progress(f"{protocol}, {parallel} in parallel, {way}, run {run + 1} of {runs}")
                    load = session(protocol, ways[way], everybody, parallel=parallel, count=count)
                    taken[way].append(load)
            add(table, f"{protocol.upper()} logins, {parallel} in parallel", taken)


def session(
    protocol: str, address: Address, everybody: Sequence[Login], *, parallel: int, count: int
) -> Load:
    """Make sessions, as `mail_load.sessions` does."""
    return mail_load.sessions(protocol, address, everybody, parallel=parallel, count=count)


def add(table: Table, name: str, taken: dict[str, list[Load]]) -> None:
    """Add the rates, the clients' own part, and how ours compares."""
    for way, loads in taken.items():
        table.add(f"{name}, {way}", [load.rate for load in loads], "/s")
    own = [load.client_seconds / load.sessions * 1e3 for loads in taken.values() for load in loads]
    table.add(f"{name}, processor time of a client", own, "ms")
    pairs = zip(taken["Traefik"], taken["stock"], strict=True)
    # The promise is about many at a time; one alone mostly waits for its own hash.
    table.add(
        f"ratio, {name}, Traefik : stock",
        [a.rate / b.rate for a, b in pairs],
        "",
        at_least=1.5 if "IMAP logins, 20" in name else None,
    )


# --- reading --------------------------------------------------------------------------------


def fill(maildir: Path, owner: os.stat_result) -> None:
    """Put messages into a mailbox, named as Dovecot names them."""
    folder = maildir / "cur"
    for number in range(MESSAGES):
        head = MESSAGE.format(number=number)
        line = "What a message says, line by line, until it is as long as it should be.\r\n"
        text = (head + line * (SIZE // len(line)))[: SIZE - 2] + "\r\n"
        content = text.encode()
        file = folder / f"1770000000.M{number}P1.bench,S={len(content)},W={len(content)}:2,S"
        file.write_bytes(content)
        os.chown(file, owner.st_uid, owner.st_gid)


def fetch(address: Address, login: Login, items: str) -> float:
    """Return the seconds that it takes to fetch these items of all messages."""

    async def work() -> None:
        async with mail_load.connected(address, lenient()) as client:
            await client.imap('LOGIN "{}" "{}"'.format(*login))
            await client.imap("SELECT INBOX")
            size = await client.fetch(items)
            assert size > MESSAGES * 100, f"{size} bytes are not {MESSAGES} messages"

    return timed(lambda: mail_load.in_processes([work]))


def reading(table: Table, servers: Servers, readers: Iterable[Login], runs: int) -> None:
    """Measure how a folder is read: for the first time, each run another's, and then again."""
    ways = {way: servers.ways["imap"][way] for way in ("no proxy", "stock")}
    taken: dict[str, dict[str, list[float]]] = {}

    def note(what: str, way: str, seconds: float) -> None:
        taken.setdefault(what, {}).setdefault(way, []).append(seconds)

    for run, (login, _) in enumerate(zip(readers, range(runs), strict=False)):
        progress(f"reading {MESSAGES} messages, run {run + 1} of {runs}")
        for way, address in list(ways.items())[:: 1 if run % 2 else -1]:
            session("imap", address, [login], parallel=1, count=1)
            maildir = (
                servers.stock.maildir(login[0])
                if way == "stock"
                else servers.ours.home / "mail" / "example.org" / login[0].split("@")[0] / "Maildir"
            )
            fill(maildir, maildir.stat())
            note("list for the first time", way, fetch(address, login, LIST))
            note("list again", way, fetch(address, login, LIST))
            note("bodies", way, fetch(address, login, "UID BODY.PEEK[]"))
    for what, seconds in taken.items():
        name = f"{MESSAGES} messages of 2 kB, {what}"
        for way in ways:
            table.add(f"{name}, {way}", seconds[way], "s")
        pairs = zip(seconds["no proxy"], seconds["stock"], strict=True)
        table.add(f"ratio, {name}, no proxy : stock", [a / b for a, b in pairs], "")


def main() -> None:
    """Measure and print."""
    chosen = options(__doc__, runs=3)
    table = Table("mailboxes")
    everybody = people("user", PEOPLE)
    readers = people("reader", chosen.runs)
    with both_servers(everybody | readers, ROOM) as servers:
        logins(table, servers, [(name, PASSWORD) for name in everybody], chosen.runs)
        reading(table, servers, [(name, PASSWORD) for name in readers], chosen.runs)
    table.keep(chosen.json)


if __name__ == "__main__":
    main()
