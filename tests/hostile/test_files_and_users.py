"""What runs as whom, which file is whose, and where no secret may ever be seen."""

from __future__ import annotations

import contextlib
import json
import re
import smtplib
import subprocess
import time
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest
from accounts import ALICE, SMALL
from breaking import changed
from clients import From, message, wait_for_mail
from instance import CLIENT, Instance, instance
from logins import LOGINS, Ports, let_in, public_ports
from postgres import cluster
from rights import File, Pattern, Rights, files_below, files_of, processes_of, running

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "files-and-users.md"
SECRETS = {
    "mailbox": "Mailbox-4b1c7d-password",
    "wrong": "Wrong-93ff20-password",
    "relay": "Relay-c01a55-password",
}


@dataclass(frozen=True)
class Served:
    """A server that has done everything once."""

    server: Instance
    ports: Ports
    database: str
    alice: tuple[str, str]

    @property
    def supervisor(self) -> psutil.Process:
        """The parent of all."""
        pid = next(row["pid"] for row in self.server.status()["services"])
        parent = psutil.Process(pid).parent()
        assert parent
        return parent


@contextlib.contextmanager
def served(settings: dict[str, str], database: str, relay_passwords: Path) -> Iterator[Served]:
    """Run a server and have it receive, refuse, send, deliver and be read."""
    # Nobody answers there, so that a message waits in the queue.
    relay_passwords.write_text(f"[127.0.0.1]:2 sender:{SECRETS['relay']}\n")
    relay_passwords.chmod(0o600)
    settings = settings | {
        "RELAYHOST": "[127.0.0.1]:2",
        "RELAY_PASSWD_FILE": str(relay_passwords),
    }
    alice = (ALICE[0], SECRETS["mailbox"])
    with instance(settings) as server:
        server.call("domain", "add", "example.org")
        server.call("mailbox", "add", ALICE[0], "--password-stdin", stdin=alice[1])
        limited = ("add", SMALL[0], "--quota", "1M", "--password-stdin")
        server.call("mailbox", *limited, stdin=alice[1])
        server.call("alias", "add", "away@example.org", "friend@outside.test")
        found = Served(server, public_ports(server), database, alice)
        with From(CLIENT).smtp(found.ports["smtp"]) as smtp:
            smtp.send_message(message(to=alice[0], subject="first"))
            smtp.send_message(message(to="away@example.org", subject="away"))
            smtp.send_message(message(to=SMALL[0], subject="limited"))
        wait_for_mail(found.ports["imap"], alice, "first", seconds=60)
        server.wait_for_log("status=deferred", seconds=60)
        server.run("verify", "--only", "sender-forgery")  # makes its lock
        yield found


@pytest.fixture(scope="module")
def in_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Run one behind Traefik with its accounts in SQLite, and with all that can be opened."""
    opened = {"MDA_HTTP_API": "true"}
    with served(opened, "sqlite", tmp_path_factory.mktemp("relay") / "passwords") as found:
        yield found


@pytest.fixture(scope="module")
def in_pgsql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Run one without a proxy with its accounts in PostgreSQL."""
    with cluster() as database:
        settings = {"REVERSE_PROXY": "none", **database.environment(database.create())}
        relay_passwords = tmp_path_factory.mktemp("relay") / "passwords"
        with served(settings, "pgsql", relay_passwords) as found:
            yield found


@contextlib.contextmanager
def at_work(found: Served) -> Iterator[None]:
    """Have a client at every listener, one of them asleep in IDLE."""
    conf = found.server.home / "config" / "current" / "dovecot"
    reload = ["doveadm", "-c", str(conf / "dovecot.conf"), "reload"]
    with contextlib.ExitStack() as stack:
        stack.enter_context(changed(conf))
        processes = conf / "processes.conf"
        processes.write_text(
            re.sub(r"(imap_hibernate_timeout =) \S+", r"\1 1s", processes.read_text())
        )
        subprocess.run(reload, check=True)
        # Whoever comes while Dovecot reads its files again may be sent away.
        deadline = time.monotonic() + 20
        while not let_in(LOGINS["IMAP LOGIN"], found.ports, *found.alice):
            assert time.monotonic() < deadline, found.server.log()[-3000:]
        client, ports, alice = From(CLIENT), found.ports, found.alice
        sleeper = stack.enter_context(client.imap(ports["imap"], alice))
        sleeper.select("INBOX")
        sleeper.send(b"x IDLE\r\n")
        stack.enter_context(client.imap(ports["imaps"], alice, implicit=True)).select("INBOX")
        stack.enter_context(client.pop3(ports["pop3"], alice))
        stack.enter_context(client.sieve(ports["sieve"], alice)).put("mine", "keep;\r\n")
        stack.enter_context(client.submission(ports["submission"], alice))
        smtp = stack.enter_context(client.submission(ports["submissions"], alice, implicit=True))
        smtp.send_message(message(to=alice[0], sender=alice[0], subject="second"))
        deadline = time.monotonic() + 20
        while "imap-hibernate" not in {name for name, _ in running(found.supervisor)}:
            assert time.monotonic() < deadline, "nobody sleeps"
            time.sleep(0.2)
        yield
    subprocess.run(reload, check=True)


# --- the tables -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def both(in_sqlite: Served, in_pgsql: Served) -> Iterator[tuple[Served, ...]]:
    """Return both servers while they are at work."""
    with at_work(in_sqlite), at_work(in_pgsql):
        yield in_sqlite, in_pgsql


def test_every_process_is_on_the_page_as_it_runs(both: tuple[Served, ...]) -> None:
    """A process that needs no root would have it, and nobody know."""
    told = processes_of(PAGE)
    seen: dict[str, set[Rights]] = {}
    for found in both:
        for name, rights in running(found.supervisor):
            seen.setdefault(name, set()).add(rights)
    assert {name: rights for name, rights in seen.items() if rights != {told.get(name)}} == {}
    assert set(told) - set(seen) == set(), "these do not run, though the page says so"


def test_every_file_is_on_the_page_as_it_is(both: tuple[Served, ...]) -> None:
    """A file with a password in it would be readable by everybody, and nobody know."""
    told, used = set(), set()
    wrong: list[tuple[File, Pattern | None]] = []
    for found in both:
        patterns = files_of(PAGE, found.database)
        told |= {(pattern.text, pattern.kind) for pattern in patterns}
        for file in files_below(found.server.home):
            row = next((p for p in patterns if p.fits(file.path, file.kind)), None)
            if row is None or not row.tells_of(file):
                wrong.append((file, row))
            else:
                used.add((row.text, row.kind))
    assert wrong == []
    assert told - used == set(), "nothing of these kinds is there, though the page says so"


def test_the_control_of_both(in_sqlite: Served) -> None:
    """The two tests above would pass whatever there is."""
    patterns = files_of(PAGE, "sqlite")
    stray = in_sqlite.server.home / "stray"
    for path, mode in ((stray, 0o600), (in_sqlite.server.home / "secrets" / "more.key", 0o644)):
        path.write_text("")
        path.chmod(mode)
        try:
            (file,) = (f for f in files_below(in_sqlite.server.home) if f.path.endswith(path.name))
            assert not [p for p in patterns if p.fits(file.path, file.kind)]
        finally:
            path.unlink()
    rights = dict(running(in_sqlite.supervisor))
    assert rights["supervisor"] != rights["traefik"]
    assert rights["smtpd"].capabilities == frozenset()


# --- secrets --------------------------------------------------------------------------------


def forms(secret: str) -> Iterator[bytes]:
    """Yield a secret as it may be written somewhere."""
    plain = secret.encode()
    yield plain
    yield quote(secret, safe="").encode()
    yield secret.replace("\\", "\\\\").replace('"', '\\"').replace("%{", "%%{").encode()
    yield json.dumps(secret)[1:-1].encode()
    # Wherever it stands in a longer text, the middle of its base64 is one of three.
    yield from (b64encode(b" " * lead + plain)[4:-4] for lead in range(3))


def secrets_of(found: Served) -> dict[str, str]:
    """Return every secret of a server, by what it is."""
    home = found.server.home
    keys = {path.name: path.read_text() for path in (home / "secrets").glob("*.key")}
    assert set(keys) == {"api.key", "tls.key", "relay-client.key"}
    # The second line of a PEM file is the first of the key itself.
    known = {name: text.splitlines()[-2 if "-----" in text else 0] for name, text in keys.items()}
    if "DB_PASSWORD" in found.server.settings:
        known["DB_PASSWORD"] = found.server.settings["DB_PASSWORD"]
    return SECRETS | known


def holders(secrets: dict[str, str], texts: dict[str, bytes]) -> set[tuple[str, str]]:
    """Return which secret is in which text."""
    return {
        (name, place)
        for name, secret in secrets.items()
        for place, text in texts.items()
        if any(form in text for form in forms(secret))
    }


def said(server: Instance) -> dict[str, bytes]:
    """Return what commands print, those that fail too."""
    calls = (
        ("config", "show"),
        ("config", "show", "--json"),
        ("config", "check"),
        ("status",),
        ("status", "--json"),
        ("verify", "--json"),
        ("logs", "-n", "100000"),
        ("mailbox", "list", "--json"),
        ("mailbox", "add", ALICE[0], "--password-stdin"),
        ("mailbox", "passwd", "nobody@example.org", "--password-stdin"),
        ("packages", "--json"),
    )
    texts = {}
    for words in calls:
        done = server.run(*words, stdin=SECRETS["mailbox"], timeout=60)
        texts[" ".join(words)] = (done.stdout + done.stderr).encode()
    clear = {"type": "mailbox", "address": "x@example.org"}
    clear["password_hash"] = "{PLAIN}" + SECRETS["mailbox"]
    done = server.run("import", "-", "--format", "jsonl", stdin=json.dumps(clear))
    assert done.returncode == 2
    return texts | {"import": done.stderr.encode()}


def processes_words() -> dict[str, bytes]:
    """Return the command line of every process, and the environment of those without root."""
    texts = {}
    for process in psutil.process_iter():
        folder = Path(f"/proc/{process.pid}")
        with contextlib.suppress(OSError, psutil.Error):
            texts[f"{process.pid} command line"] = (folder / "cmdline").read_bytes()
            if process.uids().effective != 0:
                texts[f"{process.pid} environment"] = (folder / "environ").read_bytes()
    return texts


def open_to_all(home: Path) -> dict[str, bytes]:
    """Return the files that any user of the machine could read."""
    texts, closed = {}, []
    for file in sorted(files_below(home), key=lambda f: f.path):
        if file.kind == "folder" and not int(file.mode, 8) & 0o001:
            closed.append(f"{file.path}/")
        within = any(file.path.startswith(folder) for folder in closed)
        if file.kind == "file" and int(file.mode, 8) & 0o004 and not within:
            texts[file.path] = (home / file.path).read_bytes()
    return texts


@pytest.mark.parametrize("which", ["in_sqlite", "in_pgsql"])
def test_no_secret_is_seen_by_others(which: str, request: pytest.FixtureRequest) -> None:
    """Whoever may log in on the machine, or is sent its log, could read everybody's mail."""
    found: Served = request.getfixturevalue(which)
    for login in LOGINS.values():
        assert let_in(login, found.ports, *found.alice)
    for way in ("IMAP LOGIN", "POP3 USER", "SMTP AUTH LOGIN"):
        assert not let_in(LOGINS[way], found.ports, found.alice[0], SECRETS["wrong"])
    # A password where the name belongs is what happens to people.
    assert not let_in(LOGINS["IMAP LOGIN"], found.ports, *reversed(found.alice))
    with contextlib.suppress(smtplib.SMTPException), From(CLIENT).smtp(found.ports["smtp"]) as smtp:
        smtp.docmd("AUTH", "PLAIN " + SECRETS["wrong"])
    secrets = secrets_of(found)
    with at_work(found):
        words = processes_words()
    texts = said(found.server) | words | open_to_all(found.server.home)
    texts["log"] = found.server.log_file.read_bytes()
    assert len(words) > 60
    assert len(open_to_all(found.server.home)) > 10
    assert holders(secrets, texts) == set()


def test_the_control_finds_planted_secrets(in_sqlite: Served) -> None:
    """The search would find nothing, wherever a secret is."""
    secret, home = SECRETS["relay"], in_sqlite.server.home
    planted = home / "state" / "notes"
    planted.write_text(f"password: {secret}\n")
    planted.chmod(0o644)
    with subprocess.Popen(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sleep", "60"],
        env={"PATH": "/usr/bin:/bin", "DB_PASSWORD": secret},
    ) as process:
        try:
            deadline = time.monotonic() + 10
            while psutil.Process(process.pid).name() != "sleep":
                assert time.monotonic() < deadline
                time.sleep(0.01)
            texts = open_to_all(home) | processes_words()
            assert holders({"relay": secret}, texts) == {
                ("relay", "state/notes"),
                ("relay", f"{process.pid} environment"),
            }
        finally:
            process.kill()
            planted.unlink()
    for form in forms(in_sqlite.alice[1]):
        assert holders(SECRETS, {"log": b"auth " + form}) == {("mailbox", "log")}
