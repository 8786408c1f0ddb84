"""Fuzz the import of accounts: CSV and JSON Lines, and the way back out.

An input is a file of accounts; it is read as both.
"""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, cast

import fuzzing

with fuzzing.instrumented("gatepost.accounts"):
    from gatepost.accounts import addresses, exchange
    from gatepost.accounts.records import Account, Alias, Domain, Mailbox

from addresses import a_mailbox, a_name, an_address
from gatepost.accounts.exchange import Format
from gatepost.accounts.store import Store
from gatepost.errors import ImportFileError

import_accounts = exchange.import_accounts
"""What is fuzzed; a test puts a broken one here, to see that it is found out."""

DELIMITER = "+"
SECRET = "s3cr3t-K"  # noqa: S105  it guards nothing
PROBLEM = re.compile(r"people, line (\d+): \S")


class Kept:
    """The accounts of an import, in place of a database."""

    def __init__(self) -> None:
        """Begin empty."""
        self.accounts: list[Account] = []

    def add_all(
        self, accounts: Sequence[Account], progress: Callable[[int], None], *, old_mail: bool
    ) -> None:
        """Keep them all; there is no old mail."""
        assert not old_mail
        self.accounts = [*accounts]
        progress(len(accounts))

    def domains(self) -> list[Domain]:
        """Return the domains."""
        return [one for one in self.accounts if isinstance(one, Domain)]

    def mailboxes(self) -> list[Mailbox]:
        """Return the mailboxes."""
        return [one for one in self.accounts if isinstance(one, Mailbox)]

    def aliases(self) -> list[Alias]:
        """Return the aliases."""
        return [one for one in self.accounts if isinstance(one, Alias)]


def test_one_input(data: bytes) -> None:
    """Raise when a file brings in what is no account, or an error tells more than it may."""
    for form in Format:
        attempt(data, form)
        if hidden := with_secrets(data, form):
            attempt(hidden, form, secret=SECRET)
    if fuzzing.chosen(data):
        with fuzzing.in_time():
            for form in Format:
                attempt(fuzzing.stretched(data), form, whole=False)


def attempt(data: bytes, form: Format, *, secret: str = "", whole: bool = True) -> None:
    """Import a file; look at what is refused, and how, or at what came in."""
    store = Kept()
    lines = data.splitlines(keepends=True)
    try:
        told = import_accounts(cast("Store", store), io.BytesIO(data), name="people", form=form)
    except ImportFileError as error:
        assert not store.accounts, "half of it was imported"
        fuzzing.told_well(error.problems, secret=secret)
        for problem in error.problems[:-1]:
            line = PROBLEM.match(problem)
            assert line, f"no line is named: {problem!r}"
            assert int(line[1]) <= len(lines), problem
        return
    assert told.domains == len(store.domains())
    assert told.mailboxes == len(store.mailboxes())
    assert told.aliases == len(store.aliases())
    if whole:
        for account in store.accounts:
            believed(account)
        comes_back(store)


def believed(account: Account) -> None:
    """See that an account is what daemons take it for."""
    match account:
        case Domain():
            a_name(account.name)
        case Mailbox():
            a_mailbox(account.address)
            assert account.quota_bytes is None or 0 < account.quota_bytes < 2**63
            assert re.fullmatch(r"\{[\w.-]+\}[!-~]+", account.password_hash)
        case Alias():
            an_address(account.address)
            assert account.targets
            assert len(set(account.targets)) == len(account.targets)
            for target in account.targets:
                an_address(target)
                assert addresses.split(target)[0], f"{target!r} is nobody's"


def comes_back(store: Kept) -> None:
    """See that an export is read as what was exported, whatever the format, and written alike."""
    for form in Format:
        text = "".join(exchange.export_accounts(cast("Store", store), form))
        again = Kept()
        import_accounts(
            cast("Store", again),
            io.BytesIO(text.encode()),
            name="export",
            form=form,
        )
        assert again.domains() == store.domains()
        assert again.mailboxes() == store.mailboxes()
        assert again.aliases() == store.aliases()
        assert "".join(exchange.export_accounts(cast("Store", again), form)) == text


def with_secrets(data: bytes, form: Format) -> bytes:
    """Put a secret where a file has its hashes; empty when it has none, or has the secret."""
    text = data.decode(errors="replace")
    if SECRET in text:
        return b""
    changed = _json(text) if form is Format.JSONL else _csv(text)
    return changed.encode() if SECRET in changed else b""


def _json(text: str) -> str:
    lines = []
    for line in text.split("\n"):
        try:
            row: Any = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict) and isinstance(row.get("password_hash"), str):
            row["password_hash"] += SECRET
            lines.append(json.dumps(row))
        else:
            lines.append(line)
    return "\n".join(lines)


def _csv(text: str) -> str:
    try:
        header, *rows = csv.reader(io.StringIO(text))
    except (csv.Error, ValueError):
        return ""
    names = [name.strip().lower() for name in header]
    if "password_hash" not in names:
        return ""
    place = names.index("password_hash")
    for row in rows:
        if len(row) > place:
            row[place] += SECRET
    written = io.StringIO()
    csv.writer(written).writerows([header, *rows])
    return written.getvalue()


def main(arguments: list[str]) -> None:
    """Run libFuzzer; it ends the process."""
    fuzzing.main("imports", test_one_input, arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
