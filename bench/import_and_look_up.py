"""Import of 100,000 mailboxes, and Postfix's recipient look-up with 10, 10,000 and 1,000,000.

Run as ``python bench/import_and_look_up.py [--runs N] [--json FOLDER]``; Postfix must be installed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from gatepost.accounts import lookups
from gatepost.model import Home
from table import Table, options, progress, timed

PROGRAM = Path(sys.executable).parent / "gatepost"
IMPORTED = 100_000
MAILBOXES = (10, 10_000, 1_000_000)
QUERIES = 20_000
HASH = "{SSHA}c2FsdGVkIGFuZCBoYXNoZWQ="


def fill(home: Home, mailboxes: int) -> float:
    """Import mailboxes with ready hashes into a new home; return the seconds that took."""
    home.root.mkdir(parents=True)
    rows = "".join(
        f'{{"type": "mailbox", "address": "user{n}@example.org", "password_hash": "{HASH}"}}\n'
        for n in range(mailboxes)
    )
    file = home.root / "accounts.jsonl"
    file.write_text('{"type": "domain", "address": "example.org"}\n' + rows)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home.root),
        "LANG": "C.UTF-8",
        "GATEPOST_HOME": str(home.root),
        "MAILNAME": "mail.example.org",
    }
    return timed(
        lambda: subprocess.run(
            [PROGRAM, "import", file],
            check=True,
            env=environment,
            cwd=home.root,
            capture_output=True,
        )
    )


def look_up(home: Home, mailboxes: int) -> float:
    """Return the microseconds of one look-up by Postfix's own client, its start included."""
    query = lookups.recipient("+").bind(local="%u", domain="%d")
    table = home.root / "recipients.cf"
    table.write_text(f"dbpath = {home.database}\nquery = {query}\n")
    keys = "".join(f"user{n * 7919 % mailboxes}@example.org\n" for n in range(QUERIES))
    seconds = timed(
        lambda: subprocess.run(
            ["postmap", "-q", "-", f"sqlite:{table}"],
            input=keys,
            text=True,
            check=True,
            capture_output=True,
        )
    )
    return seconds / QUERIES * 1e6


def main() -> None:
    """Measure and print."""
    chosen = options(__doc__, runs=5)
    table = Table("accounts")
    with tempfile.TemporaryDirectory(prefix="gp-bench-") as folder:
        imports = [
            fill(Home(Path(folder) / f"import{run}"), IMPORTED) for run in range(chosen.runs)
        ]
        table.add("import of 100,000 mailboxes with ready hashes", imports, "s", at_most=20)
        homes = {count: Home(Path(folder) / str(count)) for count in MAILBOXES}
        for count, home in homes.items():
            progress(f"importing {count:,} mailboxes")
            fill(home, count)
        taken: dict[int, list[float]] = {count: [] for count in MAILBOXES}
        # Twice as many as else: the last row compares what hardly differs.
        for run in range(2 * chosen.runs):
            for count in MAILBOXES if run % 2 else reversed(MAILBOXES):
                taken[count].append(look_up(homes[count], count))
        for count, values in taken.items():
            table.add(f"recipient look-up with {count:,} mailboxes", values, "us")
        few, _, many = taken.values()
        ratios = [a / b for a, b in zip(many, few, strict=True)]
        table.add("look-up with 1,000,000 : with 10", ratios, "", at_most=1.1)
    table.keep(chosen.json)


if __name__ == "__main__":
    main()
