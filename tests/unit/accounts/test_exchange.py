"""Import takes what export writes, all of it or nothing."""

from __future__ import annotations

import json

import pytest
from account_fixtures import HASH
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatepost.accounts import exchange
from gatepost.accounts.exchange import Format, Imported
from gatepost.accounts.records import Account, Alias, Domain, Mailbox
from gatepost.accounts.store import Store
from gatepost.errors import ImportFileError

CSV = """\
type,address,password_hash,quota,enabled,send_only,targets
domain,Bücher.example,,,,,
mailbox,Anna@bücher.example,{SSHA}c2FsdGVkIGFuZCBoYXNoZWQ=,1G,yes,,
mailbox,bob@bücher.example,{SSHA}c2FsdGVkIGFuZCBoYXNoZWQ=,none,false,true,

alias,sales@bücher.example,,,,,anna@bücher.example  Friend@Outside.test
alias,@bücher.example,,,,,bob@bücher.example
"""
D = "xn--bcher-kva.example"
ROWS: list[Account] = [
    Domain(D, 2, 2),
    Mailbox(f"anna@{D}", HASH, 1024**3),
    Mailbox(f"bob@{D}", HASH, enabled=False, send_only=True),
    Alias(f"@{D}", (f"bob@{D}",)),
    Alias(f"sales@{D}", (f"anna@{D}", "Friend@outside.test")),
]


def load(store: Store, text: str | bytes, form: Format = Format.CSV) -> Imported:
    """Import a text as if it were a file."""
    raw = text if isinstance(text, bytes) else text.encode()
    lines = raw.splitlines(keepends=True)
    return exchange.import_accounts(store, lines, name="people", form=form)


def dump(store: Store, form: Format) -> str:
    """Export to a text."""
    return "".join(exchange.export_accounts(store, form))


def content(store: Store) -> list[Account]:
    """Return all that is in a store."""
    return [*store.domains(), *store.mailboxes(), *store.aliases()]


def problems(store: Store, text: str | bytes, form: Format = Format.CSV) -> list[str]:
    """Import what must be refused; return the sentences, without the closing one."""
    before = content(store)
    with pytest.raises(ImportFileError) as error:
        load(store, text, form)
    assert content(store) == before
    assert "Nothing was imported" in error.value.problems[-1]
    return list(error.value.problems[:-1])


def test_csv_is_read(store: Store) -> None:
    """A list from a spreadsheet could not be brought in."""
    assert load(store, CSV) == Imported(domains=1, mailboxes=2, aliases=2)
    assert content(store) == ROWS


def test_json_lines_are_read(store: Store) -> None:
    """A script's list could not be brought in."""
    rows = [
        {"type": "alias", "address": f"sales@{D}", "targets": [f"anna@{D}", "Friend@outside.test"]},
        {"type": "alias", "address": f"@{D}", "targets": f"bob@{D}"},
        {"type": "mailbox", "address": f"anna@{D}", "password_hash": HASH, "quota": 1024**3},
        {
            "type": "mailbox",
            "address": f"bob@{D}",
            "password_hash": HASH,
            "quota": None,
            "enabled": False,
            "send_only": True,
        },
        {"type": "domain", "address": "bücher.example"},
    ]
    load(store, "\n\n".join(json.dumps(row) for row in rows), Format.JSONL)
    assert content(store) == ROWS


def test_a_spreadsheets_marks_are_no_matter(store: Store) -> None:
    """A file saved by a spreadsheet would be refused for what nobody can see."""
    load(store, b"\xef\xbb\xbfType, Address\r\ndomain,example.org\r\n,\r\n")
    assert content(store) == [Domain("example.org")]


@pytest.mark.parametrize("form", list(Format))
def test_what_is_exported_comes_back(store: Store, form: Format) -> None:
    """A backup would not be one."""
    load(store, CSV)
    first = dump(store, form)
    store.remove_domain(D, force=True)
    load(store, first, form)
    assert content(store) == ROWS
    assert dump(store, form) == first


@pytest.mark.parametrize("form", list(Format))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(
    local=st.from_regex(r"[a-z0-9!#$&'*=?^_`{|}~]{1,20}", fullmatch=True).filter(
        lambda s: "!" not in s
    ),
    size=st.none() | st.integers(1, 2**60),
    enabled=st.booleans(),
    target=st.from_regex(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,20}@outside\.test", fullmatch=True),
)
def test_anything_that_can_be_comes_back(
    store: Store, form: Format, local: str, size: int | None, target: str, *, enabled: bool
) -> None:
    """A name with a quote or comma would break the backup when it is needed."""
    made: list[Account] = [
        Domain("any.example"),
        Mailbox(f"{local}@any.example", HASH, size, enabled=enabled),
        Alias("@any.example", (target, f"{local}@any.example")),
    ]
    store.add_all(made)
    before = content(store)
    text = dump(store, form)
    store.remove_domain("any.example", force=True)
    load(store, text, form)
    assert content(store) == before
    store.remove_domain("any.example", force=True)


@pytest.mark.parametrize("form", list(Format))
def test_nothing_exports_as_nothing(store: Store, form: Format) -> None:
    """The import of a new server's export would fail."""
    text = dump(store, form)
    assert load(store, text, form) == Imported(0, 0, 0)


HEADER = "type,address,password_hash,quota,enabled,send_only,targets\n"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("user,a@example.org,,,,,", ['type: "user"', "domain, mailbox, alias"]),
        ("domain,exa mple,,,,,", ['"exa mple"']),
        ("domain,,,,,,", ["address: it is empty"]),
        ("domain,example.net,{SSHA}x,,,,", ["password_hash: a row of type domain has none"]),
        (f"mailbox,a b@example.org,{HASH},,,,", ['"a b@example.org"']),
        (f"mailbox,anna+b@example.org,{HASH},,,,", ["RECIPIENT_DELIMITER"]),
        (f"mailbox,a@example.org,{HASH},,,,x@y.z", ["targets: a row of type mailbox has none"]),
        ("mailbox,a@example.org,,,,,", ["password_hash", "{SCHEME}"]),
        ("mailbox,a@example.org,geheim,,,,", ["password_hash", "{SCHEME}"]),
        (f"mailbox,a@example.org,{HASH},lots,,,", ['quota: "lots"']),
        (f"mailbox,a@example.org,{HASH},,maybe,,", ['enabled: "maybe"']),
        (f"mailbox,a@example.org,{HASH},,,2,", ['send_only: "2"']),
        (f"mailbox,a@nope.example,{HASH},,,,", ["a@nope.example", "domain add nope.example"]),
        (f"mailbox,anna@example.org,{HASH},,,,", ["anna@example.org", "exists"]),
        ("alias,a@example.org,,,,,", ["targets:"]),
        ("alias,a@example.org,,,,,not-an-address", ['"not-an-address"']),
        ("alias,a@example.org,,,,,a@example.org", ["a@example.org → a@example.org"]),
        ("alias,anna@example.org,,,,,x@outside.test", ["it is a mailbox"]),
        ("domain,example.org,,,,,", ["example.org", "exists"]),
        ("domain,example.net", ["2 cells", "7 columns"]),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_imported(
    home: Store, row: str, words: list[str]
) -> None:
    """The user would search a file of thousands of lines, or be left with half of it."""
    good = "domain,good.example,,,,,\n"
    (problem,) = problems(home, HEADER + good + row + "\n" + good.replace("good", "fine"))
    assert problem.startswith("people, line 3: "), problem
    for word in words:
        assert word in problem
    assert "geheim" not in problem, "a password in clear must not end in a log"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a;b\n", 1, ["a;b", "type,address"]),
        ("type,address,type\n", 1, ["each once"]),
        ("type,adress\n", 1, ["adress"]),
        (HEADER.encode() + b"domain,b\xfccher.example,,,,,\n", 2, ["UTF-8"]),
        (HEADER + 'domain,"example.net,,,,,\n', 2, ["CSV"]),
    ],
)
def test_a_file_that_is_no_csv_is_told(
    home: Store, text: str | bytes, line: int, words: list[str]
) -> None:
    """A file in another encoding or with other separators would end in a traceback."""
    (problem,) = problems(home, text)
    assert problem.startswith(f"people, line {line}: ")
    for word in words:
        assert word in problem


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("{", ["not readable as JSON"]),
        ("[1]", ["not a JSON object"]),
        ('{"type": "domain"}', ["address"]),
        ('{"type": "domain", "address": 5}', ["address"]),
        ('{"type": "domain", "address": "a.example", "colour": 1}', ['"colour"']),
        ('{"type": "alias", "address": "a@example.org", "targets": [1]}', ["targets"]),
        ('{"type": "alias", "address": "a@example.org", "targets": {}}', ["targets"]),
    ],
)
def test_bad_json_is_named(home: Store, row: str, words: list[str]) -> None:
    """As for CSV."""
    (problem,) = problems(home, '{"type": "domain", "address": "b.example"}\n' + row, Format.JSONL)
    assert problem.startswith("people, line 2: ")
    for word in words:
        assert word in problem


def test_many_bad_lines_are_told_at_once(home: Store) -> None:
    """The user would import once for every mistake; a wrong file would fill the screen."""
    rows = [f"mailbox,bad {n}@example.org,{HASH},,,,\n" for n in range(100)]
    assert len(problems(home, HEADER + "".join(rows[:7]))) == 7
    assert len(problems(home, HEADER + "".join(rows))) == exchange.MOST_PROBLEMS


def test_lines_are_counted_where_the_conflict_is(home: Store) -> None:
    """The wrong line would be named after an empty one, or a quoted line break."""
    text = HEADER + "\n" + "domain,a.example,,,,,\n" + "\n" + "domain,a.example,,,,,\n"
    (problem,) = problems(home, text)
    assert problem.startswith("people, line 5: ")


def test_progress_is_told(store: Store) -> None:
    """A long import would look as if it hung."""
    told: list[tuple[str, int, int | None]] = []
    raw = CSV.encode()
    exchange.import_accounts(
        store,
        raw.splitlines(keepends=True),
        name="x",
        form=Format.CSV,
        progress=lambda phase, done, total: told.append((phase, done, total)),
    )
    assert ("read", len(raw), None) in told
    assert told[-1] == ("write", 5, 5)


@pytest.mark.parametrize(
    ("name", "form"), [("a.csv", Format.CSV), ("A.JSONL", Format.JSONL), ("x.ndjson", Format.JSONL)]
)
def test_a_name_tells_the_format(name: str, form: Format) -> None:
    """Everyone would have to say it again."""
    assert exchange.format_of(name) is form


@pytest.mark.parametrize("name", ["people", "people.xlsx", "csv"])
def test_a_name_that_does_not_tell_is_refused(name: str) -> None:
    """A spreadsheet's own file would be read as text."""
    with pytest.raises(ImportFileError, match="--format"):
        exchange.format_of(name)


def told_well(error: ImportFileError) -> None:
    assert all(problem.isprintable() for problem in error.problems)
    assert "s3cr3t-K" not in str(error)


def test_brackets_without_end_are_named(home: Store) -> None:
    """Such a file would end in a traceback."""
    (problem,) = problems(home, "[" * 100_000, Format.JSONL)
    assert problem.startswith("people, line 1: not readable as JSON")


@pytest.mark.parametrize(
    "line",
    [
        "mailbox,anna@example.net,{PLAIN}s3cr3t-K,,,,",
        '"mailbox","s3cr3t-K","anna@example.net"',
        "Domain ,example.net,s3cr3t-K",
    ],
)
def test_a_file_without_a_header_does_not_tell_a_password(home: Store, line: str) -> None:
    """A password in clear, or a hash, would end in a log."""
    (problem,) = problems(home, f"{line}\n")
    assert problem.startswith("people, line 1: the first line is an account.")
    assert "type,address" in problem
    assert "s3cr3t-K" not in problem


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    form=st.sampled_from(list(Format)),
    cells=st.lists(
        st.sampled_from(
            ["domain", "mailbox", "alias", "a@example.org", "1G", "true", "[", "\ud800"]
        )
        | st.text(max_size=12),
        min_size=7,
        max_size=7,
    ),
)
def test_no_line_is_a_traceback_or_more_than_a_line(
    home: Store, form: Format, cells: list[str]
) -> None:
    """A hostile list of accounts could feign messages of ours, or stop an import half way."""
    cells[2] = "s3cr3t-K" + cells[2]
    text = json.dumps(dict(zip(exchange.COLUMNS, cells, strict=True)))
    if form is Format.CSV:
        quoted = (cell.replace('"', '""') for cell in cells)
        text = ",".join(exchange.COLUMNS) + "\n" + ",".join(f'"{cell}"' for cell in quoted)
    before = content(home)
    try:
        load(home, text.encode(errors="replace"), form)
    except ImportFileError as error:
        assert content(home) == before
        told_well(error)
