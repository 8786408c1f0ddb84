"""SMTP sessions without a message, and submission: ours, through proxies, and stock daemons.

Run as ``python bench/sessions.py [--runs N] [--json FOLDER]``, as root, on an installed machine.
A session on port 25 says hello and goodbye. A submission is TLS, login with a hash such as Gatepost
makes, and a message of 2 kB to oneself; the clock stops when the last of them is in its mailbox.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import mail_load
from both_servers import PASSWORD
from delivery import DOMAIN, Way, in_turn, servers
from gatepost.accounts.passwords import hashed
from table import Table, options

SESSIONS = {1: 200, 20: 500, 100: 500}
"""Sessions in parallel → sessions of one run."""
SUBMISSIONS = {1: 20, 20: 200, 100: 200}
EVERYBODY = [(f"{number}user@{DOMAIN}", PASSWORD) for number in range(200)]


def visits(way: Way, *, parallel: int, count: int) -> float:
    """Return how many sessions a second port 25 greets."""
    return mail_load.sessions("smtp", way.door, EVERYBODY, parallel=parallel, count=count).rate


def submissions(way: Way, *, parallel: int, count: int) -> float:
    """Return how many messages of its own users a second get to the mailbox."""
    send = functools.partial(
        mail_load.sessions,
        *("submission", way.submissions, EVERYBODY),
        parallel=parallel,
        count=count,
    )
    return way.delivered(count, send)


def compare(
    table: Table, ways: Mapping[str, Way], name: str, runs: int, measure: Callable[[Way], float]
) -> None:
    """Measure on each way, and add the rates and how ours compares."""
    rates = in_turn(ways, name, runs, measure)
    for way, values in rates.items():
        table.add(f"{name}, {way}", values, "/s")
    pairs = zip(rates["Traefik"], rates["stock"], strict=True)
    table.add(f"ratio, {name}, Traefik : stock", [a / b for a, b in pairs], "")


def main() -> None:
    """Measure and print."""
    chosen = options(__doc__, runs=3)
    table = Table("sessions")
    with servers(hashed(PASSWORD)) as ways:
        for parallel, count in SESSIONS.items():
            measure = functools.partial(visits, parallel=parallel, count=count)
            compare(table, ways, f"SMTP sessions, {parallel} in parallel", chosen.runs, measure)
        for way in ways.values():  # folders are made, what is cached is known
            submissions(way, parallel=20, count=len(EVERYBODY))
        for parallel, count in SUBMISSIONS.items():
            measure = functools.partial(submissions, parallel=parallel, count=count)
            compare(table, ways, f"submissions, {parallel} in parallel", chosen.runs, measure)
    table.keep(chosen.json)


if __name__ == "__main__":
    main()
