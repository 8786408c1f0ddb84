"""Names and passwords that try to be SQL, shell, templates, paths or terminal commands.

Each is refused with a sentence, or kept as it is written and does nothing but what it is there for.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import pty
import re
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest
from accounts import ALICE, BOB
from clients import From, message
from instance import CLIENT, PROGRAM, Instance, instance
from logins import LOGINS, Ports, let_in, public_ports
from postgres import cluster

from gatepost.accounts import addresses
from gatepost.accounts.passwords import hashed
from gatepost.errors import AccountError

PASSWORDS = (
    "' OR '1'='1",
    '"; DROP TABLE mailboxes; --',
    "%u%d%s%n%w%{user}%{password}",
    "$(touch pwned)",
    "`touch pwned`",
    "; reboot &",
    "${mailname}$mailname",
    "{{ 7 * 7 }}{% raw %}",
    "{PLAIN}secret",
    " leading and trailing ",
    'back\\slash "quoted" \\',
    "../../../etc/passwd",
    "ünïcödé ☃ 密码",
    "x" * 1024,
    "=cmd|' /C calc'!A0",
)
"""Passwords of mailboxes, each to be taken to the letter."""
BY_HAND = (0, 3, 9, 12)
"""Those that are set by command; the others come by import."""
FORGERIES = ("' OR '1'='1", "' OR 1=1 --", "%", "*", "", "\\", "{PLAIN}", "$(true)", "{{password}}")
"""What would open a mailbox if it were not compared but understood."""

LOCAL_PARTS = (
    "o'brien",
    "x'--",
    "'or'1'='1",
    "`id`",
    "|id",
    "&id",
    "{{7*7}}",
    "${mailname}",
    "*",
    "?",
    "~root",
    "#x",
    "=1",
    "^.*$",
)
"""What stands before the "@" of mailboxes that may exist (RFC 5322, "atext")."""

HASH = "{SSHA}c2FsdGVkIGFuZCBoYXNoZWQ="


@pytest.fixture(scope="module", params=["sqlite", "pgsql"])
def server(request: pytest.FixtureRequest) -> Iterator[Instance]:
    """Run a server whose accounts have hostile names and passwords, on both databases."""
    with contextlib.ExitStack() as stack:
        settings = {"MTA_CLIENT_CONNECTIONS": "0", "MTA_CLIENT_CONNECTIONS_PER_MINUTE": "0"}
        if request.param == "pgsql":
            database = stack.enter_context(cluster())
            settings |= {"REVERSE_PROXY": "none", **database.environment(database.create())}
        made = stack.enter_context(instance(settings))
        made.call("import", "-", "--format", "jsonl", stdin="".join(accounts()))
        for number in BY_HAND:
            words = ("passwd", f"p{number}@example.org", "--password-stdin")
            made.call("mailbox", *words, stdin=PASSWORDS[number])
        yield made


def accounts(*, domain: bool = True) -> Iterator[str]:
    """Yield the lines of an import file with all of them."""
    if domain:
        yield json.dumps({"type": "domain", "address": "example.org"}) + "\n"
    known = {f"{name}@example.org": BOB[1] for name in LOCAL_PARTS} | {ALICE[0]: ALICE[1]}
    for number, password in enumerate(PASSWORDS):
        known[f"p{number}@example.org"] = "to be changed" if number in BY_HAND else password
    for address, password in known.items():
        row = {"type": "mailbox", "address": address, "password_hash": hashed(password)}
        yield json.dumps(row) + "\n"


# --- passwords ------------------------------------------------------------------------------


def test_a_password_opens_its_mailbox_by_every_way(server: Instance) -> None:
    """Who has a password with a quote in it could read mail, and not send."""
    jobs = [(way, n, password) for way in LOGINS for n, password in enumerate(PASSWORDS)]
    assert not [job for job, inside in attempted(server, jobs) if not inside]
    for folder in (server.home, Path("/")):
        assert not (folder / "pwned").exists()


def test_no_other_password_opens_it(server: Instance) -> None:
    """A password that is a condition, a pattern or a variable would open every mailbox."""
    ways = itertools.cycle(LOGINS)
    jobs = [
        (next(ways), number, forged)
        for number, password in enumerate(PASSWORDS)
        for forged in (FORGERIES[number % len(FORGERIES)], nearly(password), password + "x")
        if forged != password
    ]
    assert not [job for job, inside in attempted(server, jobs) if inside]


Job = tuple[str, int, str]
"""Way to log in, number of the mailbox, password."""


def attempted(server: Instance, jobs: list[Job]) -> list[tuple[Job, bool]]:
    """Return who is let in; a wrong password is answered late, so many try at once."""
    ports = public_ports(server)

    def attempt(job: Job) -> bool:
        way, number, password = job
        return let_in(LOGINS[way], ports, f"p{number}@example.org", password)

    with ThreadPoolExecutor(24) as pool:
        return list(zip(jobs, pool.map(attempt, jobs), strict=True))


def nearly(password: str) -> str:
    """Return what is left of it when somebody trims it or cuts it off."""
    return password.strip() if password != password.strip() else password[:-1]


# --- names ----------------------------------------------------------------------------------


def test_a_name_is_nothing_but_a_name(server: Instance) -> None:
    """A mailbox could be made whose mail runs a command, or lies in another mailbox."""
    with From(CLIENT).smtp(server.public("smtp")) as smtp:
        for number, name in enumerate(LOCAL_PARTS):
            text = message(to=ALICE[0], subject=f"for number {number}").as_string()
            smtp.sendmail("friend@outside.test", f"{name}@example.org", text)
    ports = public_ports(server)
    for number, name in enumerate(LOCAL_PARTS):
        (letter,) = arrived(ports, name, "for number")
        assert letter["Subject"] == f"for number {number}"
        assert (server.home / "mail" / "example.org" / name).is_dir()
    listed = server.call("mailbox", "list", "--json")
    assert [name for name in LOCAL_PARTS if f'"{name}@example.org"' not in listed] == []


def arrived(ports: Ports, name: str, subject: str) -> list[Message]:
    """Wait for messages with words in the subject, in the mailbox of a name."""
    # The name is no word of IMAP's, so it goes another way.
    token = f"\0{name}@example.org\0{BOB[1]}".encode()
    with From(CLIENT).imap(ports["imaps"], implicit=True) as imap:
        imap.authenticate("PLAIN", lambda _: token)
        deadline = time.monotonic() + 30
        while True:
            imap.select("INBOX", readonly=True)
            if numbers := imap.search(None, "SUBJECT", f'"{subject}"')[1][0].split():
                break
            assert time.monotonic() < deadline, (name, imap.search(None, "ALL"))
            time.sleep(0.1)
        found = [imap.fetch(number.decode(), "(BODY.PEEK[])")[1][0] for number in numbers]
    assert all(isinstance(part, tuple) for part in found)
    return [message_from_bytes(part[1]) for part in found if isinstance(part, tuple)]


def test_a_full_mailbox_with_a_shells_name_is_warned(server: Instance) -> None:
    """The warning is written by a shell script: the mailbox's name would be its command."""
    name = "`id`"
    server.call("mailbox", "set", f"{name}@example.org", "--quota", "20K")
    with From(CLIENT).smtp(server.public("smtp")) as smtp:
        letter = message(to=ALICE[0], subject="large", body=("x" * 70 + "\n") * 260)
        smtp.sendmail("friend@outside.test", f"{name}@example.org", letter.as_string())
    (warning,) = arrived(public_ports(server), name, "% full")
    assert warning["To"] == f"<{name}@example.org>"


def test_advice_can_be_pasted_into_a_shell(idle: Instance, tmp_path: Path) -> None:
    """Whoever follows an error's advice would run what a stranger calls his mailbox."""
    for name in ("`id`", "o'brien", "${mailname}", "#x"):
        address = f"{name}@example.org"
        said = idle.run("mailbox", "add", address, "--password-stdin", stdin="x")
        assert said.returncode == 2
        advice = said.stderr.rpartition("remove it first: ")[2].strip()
        echoed = subprocess.run(
            ["/bin/sh", "-c", f'gatepost() {{ printf %s "$3"; }}; {advice}'],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            check=False,
        )
        assert echoed.stdout == address, advice
    assert not list(tmp_path.iterdir())


def test_an_export_brings_them_all_back(idle: Instance) -> None:
    """A quote or a comma in a name would shift the columns of a backup, and lose accounts."""
    for form in ("csv", "jsonl"):
        with instance(start=False) as other:
            text = idle.call("export", "--format", form)
            other.call("import", "-", "--format", form, stdin=text)
            assert other.call("export", "--format", form) == text


# --- what is refused ------------------------------------------------------------------------

NO_ADDRESSES = (
    "\x1b[31mred@example.org",
    "bell\x07@example.org",
    "\x9b2J@example.org",
    "\u202egro.elpmaxe@example.org",
    "two\nlines@example.org",
    "cr\r@example.org",
    "a@example.org\r\nBcc: b@example.org",
    "$(id)@example.org",
    "a;b@example.org",
    "a b@example.org",
    "'; DROP TABLE mailboxes; --@example.org",
    "%{user}@example.org",
    "{% raw %}@example.org",
    "../../etc@example.org",
    "..@example.org",
    '"quoted part"@example.org',
    "<a@example.org>",
    "a@b@example.org",
    "x" * 70 + "@example.org",
)
NO_DOMAINS = (
    "",
    "exa\x1b[2Jmple.org",
    "bell\x07.example",
    "\x9b2J.example",
    "two\nlines.example",
    "example.org\r\nBcc: b",
    "../example.org",
    "example.org/..",
    "[127.0.0.1]",
    "ex'ample.org",
    "$(id).example",
    "`id`.example",
    "{{7*7}}.example",
    "%d.example",
    "*",
    "y." * 200 + "org",
)


NO_TARGETS = tuple(
    text for text in NO_ADDRESSES if text not in {"%{user}@example.org", "..@example.org"}
)
"""What lies elsewhere may have a name that none of ours may have."""


def sentences(said: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the lines of a refusal: no traceback, nothing that a terminal obeys."""
    assert said.returncode == 2, said
    assert "Traceback" not in said.stderr
    lines = said.stderr.split("\n")
    assert lines.pop() == ""
    assert all(line.isprintable() for line in lines), lines
    return lines


FUNCTIONS = {
    "mailbox": addresses.mailbox,
    "alias": addresses.alias,
    "target": addresses.target,
    "domain": addresses.domain,
}


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_what_is_no_address_is_refused_in_one_line(kind: str) -> None:
    """The terminal of the admin who adds it would be told to hide, or to write, something else."""
    texts = {"domain": NO_DOMAINS, "target": NO_TARGETS}.get(kind, NO_ADDRESSES)
    for text in (*texts, *(f"x@{name}" for name in NO_DOMAINS if kind != "domain")):
        with pytest.raises(AccountError) as refused:
            FUNCTIONS[kind](text)
        assert str(refused.value).isprintable(), text


@pytest.fixture(scope="module")
def idle() -> Iterator[Instance]:
    """Return a server that is not running; commands about accounts do their work all the same."""
    with instance(start=False) as made:
        made.call("domain", "add", "example.org")
        made.call("import", "-", "--format", "jsonl", stdin="".join(accounts(domain=False)))
        yield made


@pytest.mark.parametrize(
    "words",
    [
        ("mailbox", "add", "--password-stdin", "--", "\x1b[31mred@example.org"),
        ("alias", "add", "--", "a@example.org\r\nBcc: b@example.org", ALICE[0]),
        ("alias", "add", "--", "new@example.org", "\x9b2J@example.org"),
        ("domain", "add", "--", "two\nlines.example"),
        ("mailbox", "remove", "--", "'; DROP TABLE mailboxes; --"),
    ],
    ids=lambda words: f"{words[0]}-{words[1]}",
)
def test_a_command_refuses_it_in_one_line(idle: Instance, words: tuple[str, ...]) -> None:
    """Who is told of a wrong address would be told something else by the address."""
    before = idle.call("export")
    assert len(sentences(idle.run(*words, stdin="a password"))) == 1
    assert idle.call("export") == before


def test_an_import_is_refused_line_by_line(idle: Instance, tmp_path: Path) -> None:
    """A file from a stranger would write on the terminal that another line is to be corrected."""
    before = idle.call("export")
    rows = [
        {"type": "mailbox", "address": text, "password_hash": HASH} for text in NO_ADDRESSES[:14]
    ]
    rows += [
        {"type": "domain", "address": "fine.example\x1b[2J"},
        {"type": "\x1b]0;title\x07", "address": "a@example.org"},
        {"\x1b[31mtype": "domain"},
        {"type": "mailbox", "address": "n@example.org", "password_hash": HASH, "quota": "\x1b[2J"},
        {"type": "mailbox", "address": "n@example.org", "password_hash": HASH, "enabled": "\x1b"},
    ]
    file = tmp_path / "from \x1b[31ma stranger.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = sentences(idle.run("import", str(file)))
    assert len(lines) == len(rows) + 1
    assert all(f"line {number}: " in line for number, line in enumerate(lines[:-1], start=1))
    file = tmp_path / "accounts.csv"
    file.write_text('type,address,\x1b[2J\nmailbox,\x1b[2J,"\x1b[2J')
    assert len(sentences(idle.run("import", str(file)))) == 2
    assert idle.call("export") == before


def test_a_terminal_is_sent_no_escape_sequence(idle: Instance) -> None:
    """On a terminal, unlike in a pipe, nobody takes control characters out of what we print."""
    hostile = "\x1b]0;title\x07\x1b[2J\x9bred"
    for words in (
        ("mailbox", "add", f"{hostile}@example.org"),
        ("import", hostile),
        ("verify", "--only", hostile),
        ("mailbox", "list", "example.org"),
    ):
        shown = on_a_terminal(idle, *words)
        assert len(shown) > 20
        assert b"\x07" not in shown
        assert "\x9b".encode() not in shown
        # Colours of our own are fine, and nothing else.
        assert not re.sub(rb"\x1b\[[\d;]*m", b"", shown).count(b"\x1b"), shown


def on_a_terminal(server: Instance, *words: str) -> bytes:
    """Run a command with a terminal for its output; return every byte that it is sent."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [str(PROGRAM), *words],
        env=server.environment | {"TERM": "xterm"},
        cwd=server.home,
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    ):
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # the end of a terminal is an error
            while block := os.read(ours, 65536):
                shown += block
    os.close(ours)
    return shown
