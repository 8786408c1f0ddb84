"""Import of 100,000 mailboxes, and Postfix's recipient look-up with 10 and with 100,000.

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
from table import Table, options, timed

PROGRAM = Path(sys.executable).parent / "gatepost"
MANY, FEW = 100_000, 10
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
    query = lookups.RECIPIENT.bind(address="%s")
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
        homes = [Home(Path(folder) / f"many{run}") for run in range(chosen.runs)]
        few = Home(Path(folder) / "few")
        imports = [fill(home, MANY) for home in homes]
        table.add("import of 100,000 mailboxes with ready hashes", imports, "s", at_most=20)
        fill(few, FEW)
        with_few, with_many = [], []
        for _ in range(chosen.runs):
            with_few.append(look_up(few, FEW))
            with_many.append(look_up(homes[0], MANY))
        table.add("recipient look-up with 10 mailboxes", with_few, "us")
        table.add("recipient look-up with 100,000 mailboxes", with_many, "us")
    table.keep(chosen.json)


if __name__ == "__main__":
    main()
