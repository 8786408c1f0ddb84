"""What strangers say to the daemons: names, greetings and commands that try to be something else.

Each line of the log stays one line, of its own service, about the client that there was.
"""

from __future__ import annotations

import base64
import contextlib
import email.header
import imaplib
import re
import smtplib
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email import message_from_bytes
from pathlib import Path

import pytest
from accounts import ALICE, BOB, PASSWORD, SMALL
from clients import From, imap_line, message, wait_for_mail
from instance import Instance, free_host, instance
from logins import REFUSED, Ports, public_ports
from outside import Outside, outside_world
from proving import verify

from gatepost.model import Observation
from gatepost.registry import plugins

CLIENT = "127.0.0.95"
FORGED = "203.0.113.9"
"""The address that forged lines speak of."""
DATE = "Nov 25 10:00:00"
ENDS = f"rip={FORGED}, rport=4711, lip=127.0.0.1, lport=31143, mpid=1, TLS, session=<x"
LINES = (
    f"postfix | {DATE} mail postfix/smtp/smtpd[1]: connect from unknown[{FORGED}]:4711",
    f"{DATE} mail postfix/smtp/smtpd[1]: connect from unknown[{FORGED}]:4711",
    f"connect from unknown[{FORGED}]:4711",
    f"dovecot | {DATE} imap-login: Info: Login: user=<alice@example.org>, method=PLAIN, {ENDS}>",
    f"x>, method=PLAIN, {ENDS}",
    f"x, sasl_username=alice@example.org, client=unknown[{FORGED}]:4711",
)
"""Log lines, and parts of them, that would make another of the client."""
TRICKS = (
    *LINES,
    *(f"x\n{line}" for line in LINES[:1]),
    *(f"x\r{line}" for line in LINES[:1]),
    "\x1b[2J\x1b]0;title\x07",
    "\x9b2J",
    "' OR '1'='1",
    "x'; DROP TABLE mailboxes; --",
    "alice@example.org'--",
    "%u%s%{user}%{password}",
    "$(touch /pwned)`touch /pwned`${mailname}",
    "{{7*7}}{% raw %}",
    "../../../etc/passwd",
    "alice\0@example.org",
    "\0",
    "*",
    "a" * 5000,
)
"""Names that nobody has."""


@pytest.fixture(scope="module")
def outside() -> Iterator[Outside]:
    """Run the rest of the world."""
    with outside_world(free_host(2525)) as world:
        yield world


@pytest.fixture(scope="module")
def server(outside: Outside) -> Iterator[Instance]:
    """Run a server behind Traefik."""
    settings = {
        "RELAYHOST": f"[{outside.host}]:{outside.port}",
        "MTA_CLIENT_CONNECTIONS": "0",
        "MTA_CLIENT_CONNECTIONS_PER_MINUTE": "0",
    }
    with instance(settings) as made:
        made.call("domain", "add", "example.org")
        for address in (ALICE[0], BOB[0], SMALL[0]):
            made.call("mailbox", "add", address, "--password-stdin", stdin=PASSWORD)
        yield made


@pytest.fixture(scope="module")
def ports(server: Instance) -> Ports:
    """Return where the listeners are."""
    return public_ports(server)


def plain(user: str) -> str:
    return base64.b64encode(b"\0" + user.encode() + b"\0" + PASSWORD.encode()).decode()


def by_imap(ports: Ports, user: str) -> None:
    with From(CLIENT).imap(ports["imaps"], implicit=True) as imap:
        imap.authenticate("PLAIN", lambda _: base64.b64decode(plain(user)))


def by_imap_literal(ports: Ports, user: str) -> None:
    with From(CLIENT).imap(ports["imap"]) as imap:
        imap.send(b"a LOGIN {%d+}\r\n%s x\r\n" % (len(user.encode()), user.encode()))
        if not imap_line(imap, b"a ").startswith(b"a OK"):
            raise imaplib.IMAP4.error("refused")


def by_pop3(ports: Ports, user: str) -> None:
    with From(CLIENT).pop3(ports["pop3s"], implicit=True) as pop3:
        pop3.user(user.replace("\n", " ").replace("\r", " "))
        pop3.pass_(PASSWORD)


def by_submission(ports: Ports, user: str) -> None:
    with From(CLIENT).submission(ports["submission"]) as smtp:
        code, said = smtp.docmd("AUTH PLAIN", plain(user))
        if code != 235:
            raise smtplib.SMTPAuthenticationError(code, said)


def observed(log: str) -> list[Observation]:
    """Return what `gatepost verify` would read in a log."""
    return [
        seen
        for line in log.splitlines()
        for plugin in plugins()
        if plugin.observe and (seen := plugin.observe(re.sub(r"^[\w.-]+ \| ", "", line, count=1)))
    ]


def check_log(server: Instance, mark: int) -> None:
    """See that the log has whole lines, no terminal's commands, and this client's address only."""
    log = server.log_file.read_bytes()[mark:].decode()
    assert re.findall(r"[^\n\t -~\xa0-\U0010ffff]", log) == []
    services = {row["name"] for row in server.status()["services"]} | {"gatepost"}
    strays = [ln for ln in log.split("\n")[:-1] if ln.partition(" | ")[0] not in services]
    assert strays == []
    seen = observed(log)
    assert seen, "nothing was observed at all"
    assert {one.client for one in seen} <= {CLIENT, "127.0.0.1", server.addresses.service}


def test_names_at_a_login_are_nothing_but_names(server: Instance, ports: Ports) -> None:
    """A name would be a condition of SQL, or a line of the log that blames somebody else."""
    mark = server.mark()
    ways = (by_imap, by_imap_literal, by_pop3, by_submission)

    def attempt(job: tuple[int, str]) -> bool:
        way, user = job
        try:
            ways[way](ports, user)
        except REFUSED:
            return False
        return True

    jobs = [(way, user) for way in range(len(ways)) for user in TRICKS]
    with ThreadPoolExecutor(32) as pool:
        inside = [job for job, done in zip(jobs, pool.map(attempt, jobs), strict=True) if done]
    assert inside == []
    by_imap(ports, ALICE[0])
    check_log(server, mark)
    assert not Path("/pwned").exists()


def test_greetings_and_envelopes_forge_no_line(server: Instance, ports: Ports) -> None:
    """`connect from` in a HELO would be believed: a ban or a proof would hit another address."""
    mark = server.mark()
    with contextlib.ExitStack() as stack:
        for trick in TRICKS:
            stream = stack.enter_context(socket.create_connection(ports["smtp"], 15, (CLIENT, 0)))
            raw = trick.encode()
            with contextlib.suppress(OSError):
                stream.recv(500)
                for command in (
                    b"HELO " + raw,
                    b"EHLO client.test",
                    b"EHLO " + raw,
                    b"XCLIENT NAME=%s ADDR=%s" % (raw, FORGED.encode()),
                    b"XFORWARD NAME=%s ADDR=%s" % (raw, FORGED.encode()),
                    b"MAIL FROM:<%s>" % raw,
                    b'MAIL FROM:<"%s"@outside.test>' % raw,
                    b"MAIL FROM:<friend@outside.test>",
                    b"RCPT TO:<%s>" % raw,
                    b'RCPT TO:<"%s"@example.org>' % raw,
                    b"RCPT TO:<%s@example.org>" % raw,
                    raw,
                ):
                    stream.sendall(command + b"\r\n")
                    stream.recv(4096)
    server.wait_for_log("disconnect from", f"[{CLIENT}]", since=mark)
    check_log(server, mark)


def test_verify_believes_no_forged_line(server: Instance, ports: Ports) -> None:
    """Its proof that addresses arrive would be worth nothing while somebody attacks."""
    checks = ("client-address", "forged-direct", "forged-through-proxy")
    with ThreadPoolExecutor(2) as pool:
        deadline = time.monotonic() + 20

        def attack() -> None:
            while time.monotonic() < deadline and not done:
                for line in LINES:
                    with contextlib.suppress(*REFUSED), From(CLIENT).smtp(ports["smtp"]) as smtp:
                        smtp.docmd("HELO", line)
                        smtp.docmd("MAIL", f"FROM:<{line}>")

        done: list[bool] = []
        attacking = pool.submit(attack)
        try:
            report = verify(server, *(f"--only={name}" for name in checks))
        finally:
            done.append(True)
        attacking.result()
    assert report.failed == set(), report
    assert not [row for row in report.findings if FORGED in json_of(row)]


def json_of(row: dict[str, str]) -> str:
    return " ".join(str(value) for value in row.values())


def test_control_a_true_line_is_observed() -> None:
    """The tests above would find no forged address, whatever there was."""
    assert [one.client for one in observed("\n".join(LINES))] == [FORGED] * 3


# --- what is in messages and mailboxes ------------------------------------------------------


def test_a_reply_carries_no_header_of_the_senders(
    server: Instance, ports: Ports, outside: Outside
) -> None:
    """A vacation reply would be sent to whomever the sender likes: spam under our name."""
    with From(CLIENT).sieve(ports["sieve"], ALICE) as sieve:
        sieve.put("away", 'require "vacation"; vacation :days 1 "I am away.";')
    letter = message(to=ALICE[0]).as_string().replace("Subject: hello\n", "")
    smuggled = email.header.Header("hello\r\nBcc: victim@outside.test\r\nX-Evil: yes", "utf-8")
    subject = smuggled.encode().replace("\n", "\r\n")
    with From(CLIENT).smtp(ports["smtp"]) as smtp:
        smtp.sendmail("friend@outside.test", ALICE[0], f"Subject: {subject}\r\n{letter}")
    deadline = time.monotonic() + 60
    while not outside.messages:
        assert time.monotonic() < deadline, server.log()[-3000:]
        time.sleep(0.1)
    (reply,) = outside.messages
    assert reply.recipients == ["friend@outside.test"]
    assert reply.message["Bcc"] is None
    assert reply.message["X-Evil"] is None


def test_folders_and_scripts_stay_in_their_mailbox(server: Instance, ports: Ports) -> None:
    """One user could read another's mail, or write where programs are."""
    with From(CLIENT).smtp(ports["smtp"]) as smtp:
        smtp.send_message(message(to=BOB[0], subject="private"))
    wait_for_mail(ports["imap"], BOB, "private", seconds=60)
    names = (
        "../bob",
        "../../example.org/bob",
        "../bob/Maildir",
        "../bob/mdbox/mailboxes/INBOX",
        "/etc",
        "~bob",
        "~/../bob",
        "INBOX/../../../bob",
        "a/../../b",
        "..",
        "x\x07y",
        "%",
        "*",
    )
    folder = server.home / "mail"
    with From(CLIENT).imap(ports["imaps"], SMALL, implicit=True) as imap:
        before = {path for path in folder.rglob("*") if "small" not in path.parts}
        for name in names:
            for command in (
                f'CREATE "{name}"',
                f'SELECT "{name}"',
                "FETCH 1:* BODY[]",
                f'COPY 1:* "{name}"',
                f'RENAME "Trash" "{name}"',
            ):
                imap.send(f"x {command}\r\n".encode())
                while not (said := imap.readline()).startswith(b"x "):
                    assert said, "closed"
                    assert b"private" not in said, name
        after = {path for path in folder.rglob("*") if "small" not in path.parts}
    assert after == before
    with From(CLIENT).sieve(ports["sieve"], SMALL) as sieve:
        for name in ("../evil", "/evil", "a/../../evil", "evil\x07"):
            with pytest.raises(AssertionError):
                sieve.put(name, "keep;", active=False)
    assert not list(server.home.rglob("*evil*"))


def test_control_bytes_in_a_message_stay_in_it(server: Instance, ports: Ports) -> None:
    """What is logged of a message's header would be a line of the log, or a terminal's command."""
    mark = server.mark()
    text = (
        b"From: friend@outside.test\r\nTo: bob@example.org\r\nSubject: control\r\n"
        b"Message-ID: <\x1b[2J%s>\r\nX-Note: \x07\x1b]0;t\x07\r\n\r\nhello \x1b[2J\r\n"
        % LINES[0].encode()
    )
    with From(CLIENT).smtp(ports["smtp"]) as smtp:
        smtp.sendmail("friend@outside.test", BOB[0], text)
    kept = wait_for_mail(ports["imap"], BOB, "control", seconds=60)
    assert message_from_bytes(kept).get_payload(decode=True) == b"hello \x1b[2J\r\n"
    check_log(server, mark)
