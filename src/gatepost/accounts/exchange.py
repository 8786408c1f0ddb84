"""Accounts as CSV and JSON Lines: what ``gatepost export`` writes, ``gatepost import`` reads.

The format is described in docs/reference/import-format.md.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from gatepost import literals
from gatepost.accounts import addresses, passwords, quota
from gatepost.accounts.bulk import ConflictError
from gatepost.accounts.records import Account, Alias, Domain, Mailbox
from gatepost.accounts.store import Store
from gatepost.errors import AccountError, ImportFileError

COLUMNS = ("type", "address", "password_hash", "quota", "enabled", "send_only", "targets")
MOST_PROBLEMS = 20
"""Most bad lines that an error names; further ones are most likely the same mistake."""

_OF_TYPE = {
    "domain": frozenset(("type", "address")),
    "mailbox": frozenset(COLUMNS) - {"targets"},
    "alias": frozenset(("type", "address", "targets")),
}
_PROGRESS_LINES = 500


class Format(StrEnum):
    """Format of a file of accounts."""

    CSV = "csv"
    JSONL = "jsonl"


_EXTENSIONS = {"csv": Format.CSV, "jsonl": Format.JSONL, "ndjson": Format.JSONL}

Progress = Callable[[str, int, int | None], None]
"""Called with ``read``, the bytes read so far and None; then with ``write``, the number of added
accounts and of all."""


@dataclass(frozen=True, slots=True)
class Imported:
    """Number of imported accounts."""

    domains: int
    mailboxes: int
    aliases: int


def format_of(name: str) -> Format:
    """Return the format by a file's name; raise `ImportFileError` for any other name."""
    extension = name.rpartition(".")[2].lower() if "." in name else ""
    if extension not in _EXTENSIONS:
        raise ImportFileError(
            f"{name}: the name does not tell whether it is CSV or JSON Lines. "
            "Let it end in .csv or .jsonl, or say --format csv or --format jsonl."
        )
    return _EXTENSIONS[extension]


def import_accounts(
    store: Store,
    lines: Iterable[bytes],
    *,
    name: str,
    form: Format,
    progress: Progress = lambda _phase, _done, _total: None,
    old_mail: bool = False,
) -> Imported:
    """Add all accounts in the lines of a file, or none.

    `name` is the file's name in messages; `old_mail` is that of
    `gatepost.accounts.store.Store.add_mailbox`. Raises `ImportFileError` with a sentence for each
    bad line, up to `MOST_PROBLEMS`.
    """
    numbers, accounts = _read(lines, name, form, progress)
    try:
        store.add_all(
            accounts, lambda done: progress("write", done, len(accounts)), old_mail=old_mail
        )
    except ConflictError as conflicts:
        problems = [(numbers[place], reason) for place, reason in conflicts.reasons.items()]
        raise _refused(name, sorted(problems)) from None
    return Imported(*(sum(isinstance(a, kind) for a in accounts) for kind in _KINDS))


def export_accounts(store: Store, form: Format) -> Iterator[str]:
    """Yield the lines of a file that `import_accounts` reads, password hashes included."""
    accounts: Iterable[Account] = (*store.domains(), *store.mailboxes(), *store.aliases())
    if form is Format.JSONL:
        for account in accounts:
            yield json.dumps(_json_row(account), ensure_ascii=False) + "\n"
        return
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for account in accounts:
        writer.writerow(_csv_row(account))
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue()


_KINDS = (Domain, Mailbox, Alias)

# --- reading --------------------------------------------------------------------------------


def _read(
    lines: Iterable[bytes], name: str, form: Format, progress: Progress
) -> tuple[list[int], list[Account]]:
    """Read all lines; return each account with the number of its line."""
    numbers: list[int] = []
    accounts: list[Account] = []
    problems: list[tuple[int, str]] = []
    source = _Source(lines)
    rows = _csv_rows(source) if form is Format.CSV else _json_rows(source)
    while True:
        try:
            row = next(rows, None)
            if row is None:
                break
            account = _account(row)
        except _FileProblemError as error:
            problems.append((source.number, str(error)))
            break
        except (AccountError, ValueError) as error:
            problems.append((source.number, str(error)))
            if len(problems) == MOST_PROBLEMS:
                break
            continue
        numbers.append(source.number)
        accounts.append(account)
        if len(accounts) % _PROGRESS_LINES == 0:
            progress("read", source.size, None)
    if problems:
        raise _refused(name, problems)
    progress("read", source.size, None)
    return numbers, accounts


def _refused(name: str, problems: list[tuple[int, str]]) -> ImportFileError:
    named = [f"{name}, line {number}: {reason}" for number, reason in problems[:MOST_PROBLEMS]]
    last = "Nothing was imported. Correct the file and import it again."
    if len(problems) >= MOST_PROBLEMS:
        last = f"These are the first {MOST_PROBLEMS} bad lines. {last}"
    return ImportFileError(*named, last)


class _FileProblemError(Exception):
    """Error after which the rest of the file cannot be read."""


class _Source:
    """Iterator of lines that knows the number of the last line and the bytes so far."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines = iter(lines)
        self.number = 0
        self.size = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        raw = next(self._lines)
        self.number += 1
        self.size += len(raw)
        try:
            # Spreadsheets begin a file with a byte order mark.
            return raw.decode("utf-8-sig" if self.number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise _FileProblemError(
                f"byte {error.start + 1} is not UTF-8. Save the file as UTF-8."
            ) from None


def _csv_rows(source: _Source) -> Iterator[Mapping[str, Any]]:
    reader = csv.reader(source, strict=True)
    header: list[str] | None = None
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise _FileProblemError(f"not readable as CSV: {error}. Check its quotes.") from None
        if not any(cells):
            continue
        if header is None:
            header = [cell.strip().lower() for cell in cells]
            _check_header(header)
            continue
        yield _cells(header, cells)


def _check_header(header: list[str]) -> None:
    if set(header) & _OF_TYPE.keys():
        # The message does not repeat the row: one of its cells is a password hash.
        raise _FileProblemError(
            f"the first line is an account. Begin with a line that names the columns, separated by "
            f"commas: {','.join(COLUMNS)}."
        )
    unknown = [column for column in header if column not in COLUMNS]
    missing = [column for column in ("type", "address") if column not in header]
    if unknown or missing or len(set(header)) < len(header):
        raise _FileProblemError(
            f'the header is "{",".join(header)}". '
            f"Begin with a line that names the columns, separated by commas, out of: "
            f"{','.join(COLUMNS)}. The columns type and address must be there, each once."
        )


def _cells(header: list[str], cells: list[str]) -> Mapping[str, Any]:
    """Pair cells with columns; a wrong number is found by `_account`, so that reading goes on."""
    if len(cells) != len(header):
        return {"": f"{len(cells)} cells, and the header names {len(header)} columns"}
    return dict(zip(header, cells, strict=True))


def _json_rows(source: _Source) -> Iterator[Mapping[str, Any]]:
    for line in source:
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            yield {"": f"not readable as JSON: {error}"}
            continue
        except RecursionError:
            yield {"": "not readable as JSON: brackets within brackets without end."}
            continue
        if isinstance(row, dict):
            yield row
        else:
            yield {"": "not a JSON object. Write each account as {…} on one line."}


def _account(row: Mapping[str, Any]) -> Account:
    """Return the account of a row; raise `AccountError` when the row is not valid."""
    if "" in row:
        raise AccountError(f"{row['']}")
    kind = str(row.get("type") or "").strip().lower()
    if kind not in _OF_TYPE:
        raise AccountError(f'type: "{kind}" is not one of: {", ".join(_OF_TYPE)}.')
    for column, value in row.items():
        if column not in COLUMNS:
            raise AccountError(f'"{column}" is not a column. Use only these: {", ".join(COLUMNS)}.')
        if column not in _OF_TYPE[kind] and value not in ("", None, []):
            raise AccountError(f"{column}: a row of type {kind} has none. Leave it empty.")
    address = row.get("address")
    if not isinstance(address, str) or not address.strip():
        raise AccountError("address: it is empty. Give a domain or an address.")
    address = address.strip()
    if kind == "domain":
        return Domain(addresses.domain(address))
    if kind == "alias":
        targets = dict.fromkeys(addresses.target(t) for t in _targets(row.get("targets")))
        return Alias(addresses.alias(address), tuple(targets))
    return Mailbox(
        address=addresses.mailbox(address),
        password_hash=passwords.check_hash(str(row.get("password_hash") or "").strip()),
        quota_bytes=_quota(row.get("quota")),
        enabled=_boolean("enabled", row.get("enabled"), default=True),
        send_only=_boolean("send_only", row.get("send_only"), default=False),
    )


def _targets(value: object) -> list[str]:
    targets = value.split() if isinstance(value, str) else value
    if not isinstance(targets, list) or not targets or not all(isinstance(t, str) for t in targets):
        raise AccountError(
            f'targets: "{value or ""}" holds no addresses. '
            "Give one or more, separated by spaces in CSV, as a list of strings in JSON."
        )
    return targets


def _quota(value: object) -> int | None:
    return None if value is None or value == "" else quota.parse(str(value))


def _boolean(column: str, value: object, *, default: bool) -> bool:
    if value is None or value == "":
        return default
    if isinstance(value, bool):
        return value
    found = literals.boolean(str(value))
    if found is None:
        raise AccountError(f'{column}: "{value}" is neither true nor false. Write true or false.')
    return found


# --- writing --------------------------------------------------------------------------------


def _json_row(account: Account) -> dict[str, Any]:
    match account:
        case Domain():
            return {"type": "domain", "address": account.name}
        case Mailbox():
            return {
                "type": "mailbox",
                "address": account.address,
                "password_hash": account.password_hash,
                "quota": quota.written(account.quota_bytes),
                "enabled": account.enabled,
                "send_only": account.send_only,
            }
        case Alias():
            return {"type": "alias", "address": account.address, "targets": list(account.targets)}


def _csv_row(account: Account) -> dict[str, str]:
    row = _json_row(account)
    if "targets" in row:
        row["targets"] = " ".join(row["targets"])
    words = {True: "true", False: "false"}
    return {key: words.get(value, value) for key, value in row.items()}
