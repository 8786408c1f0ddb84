"""What a look at whose the mail is costs a start, on a tree of a million files.

`gatepost up` on a running server, with and without the tree, in turn; the look alone; the running
server's search through every file; and the mending of a tree that belongs to somebody else.

Run as ``python bench/owners.py [--runs N] [--json FOLDER] [--files N]``, as root.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from gatepost.model import Directory
from gatepost.run import owners
from table import Table, progress, timed

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))

from instance import instance

USER = "gatepost-mail"
IN_A_FOLDER = 1000


def fill(mail: Path, files: int) -> Path:
    """Make Maildirs of empty messages; return the folder of their domain."""
    domain = mail / "million.example"
    for number in range(files // IN_A_FOLDER):
        progress(f"making {number * IN_A_FOLDER:,} files")
        box = domain / f"user{number}"
        for name in ("cur", "new", "tmp"):
            (box / name).mkdir(parents=True)
        for message in range(IN_A_FOLDER):
            (box / "cur" / f"1700000000.M{message}P1.host,S=1,W=1:2,S").touch(mode=0o600)
    subprocess.run(["chown", "-R", f"{USER}:{USER}", str(domain)], check=True)
    return domain


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="how often each thing is measured")
    parser.add_argument("--json", type=Path, metavar="FOLDER", help="keep the figures here as well")
    parser.add_argument("--files", type=int, default=1_000_000, help="in the tree (%(default)s)")
    chosen = parser.parse_args()
    table = Table("owners")
    with instance() as server:
        domain = fill(server.home / "mail", chosen.files)
        aside = server.home / "aside"
        directory = Directory(server.home / "mail", contents=f"{USER}:{USER}")
        with_tree, without, looks, searches = [], [], [], []
        for _ in range(chosen.runs):
            domain.rename(aside)
            without.append(timed(server.up))
            aside.rename(domain)
            with_tree.append(timed(server.up))
            looks.append(timed(lambda: owners.look([directory])))
            (command,) = owners.search([directory])
            searches.append(timed(lambda: subprocess.run(command, check=True)))  # noqa: B023
        words = f"with {chosen.files:,} files"
        table.add("up on a running server, without the tree", without, "s")
        table.add(f"up on a running server, {words}", with_tree, "s")
        later = [a - b for a, b in zip(with_tree, without, strict=True)]
        table.add("of which the look takes", later, "s", at_most=2)
        table.add("the look alone", looks, "s", at_most=2)
        table.add("the running server's search, at leisure", searches, "s")
        progress("giving the tree away")
        subprocess.run(["chown", "-R", str(os.getuid()), str(domain)], check=True)
        table.add("up that gives each file back to its owner", [timed(server.up)], "s")
    table.keep(chosen.json)


if __name__ == "__main__":
    main()
