"""A whole server with its accounts in PostgreSQL: it serves, it waits, and it comes back."""

from __future__ import annotations

import contextlib
import imaplib
import re
import smtplib
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest
from accounts import ALICE, BOB, PASSWORD, READER, SMALL, populate
from clients import From, lenient, message, wait_for_mail
from instance import CLIENT, Instance, free_host, instance
from issuing import issue
from logins import LOGINS, Verdict, public_ports, verdict
from postgres import USER, Cluster, cluster
from psycopg import DataError, sql

from gatepost.accounts.database import database_of
from gatepost.accounts.store import open_store
from gatepost.registry import load

UNKNOWN = "nobody@example.org"
BACK_SECONDS = 15.0
"""How soon everything must work again; Postfix 3.7 by itself takes a minute, Dovecot ten."""


@pytest.fixture(scope="module")
def database() -> Iterator[Cluster]:
    """Run a database server that this module may stop."""
    with cluster() as made:
        yield made


@pytest.fixture(scope="module")
def server(database: Cluster) -> Iterator[Instance]:
    """Run a mail server on a database of it, without a proxy, for none matters here."""
    settings = {"REVERSE_PROXY": "none", **database.environment(database.create())}
    with instance(settings) as made:
        populate(made)
        yield made


@contextlib.contextmanager
def away(database: Cluster) -> Iterator[None]:
    """Stop the database server for as long as the block lasts."""
    database.stop()
    try:
        yield
    finally:
        database.start()


def rcpt(server: Instance, recipient: str) -> int:
    """Return what RCPT TO is answered with."""
    with From(CLIENT).smtp(server.public("smtp")) as smtp:
        smtp.mail("friend@outside.test")
        return smtp.rcpt(recipient)[0]


def delivery(socket: str, recipient: str) -> int:
    """Return what Dovecot's LMTP answers to RCPT TO, as Postfix asks it for each message."""
    with smtplib.LMTP(socket, timeout=150) as lmtp:
        lmtp.ehlo()
        lmtp.mail("friend@outside.test")
        return lmtp.rcpt(recipient)[0]


def login(server: Instance, user: tuple[str, str]) -> str:
    """Log in over IMAP; return what was said, which may take as long as Dovecot's patience."""
    imap = imaplib.IMAP4_SSL(*server.public("imaps"), ssl_context=lenient(), timeout=180)
    with contextlib.suppress(imaplib.IMAP4.abort), imap:
        try:
            return str(imap.login(*user)[0])
        except imaplib.IMAP4.error as error:
            return str(error)
    return "closed"


def submission(server: Instance, user: tuple[str, str]) -> int:
    """Log in on submission and return what AUTH is answered with."""
    with From(CLIENT).submission(server.public("submission")) as smtp:
        try:
            return smtp.login(*user)[0]
        except smtplib.SMTPAuthenticationError as error:
            return error.smtp_code


def in_time(works: Callable[[], bool]) -> None:
    """Wait until a call is true, as long as may be."""
    began = time.monotonic()
    while not works():
        assert time.monotonic() - began < BACK_SECONDS, "not back in time"
        time.sleep(0.1)


# --- while it is there ----------------------------------------------------------------------


def test_an_alias_of_full_mailboxes_is_refused(server: Instance) -> None:
    """Mail that nobody can take would bounce to a sender who is often forged."""
    full = [f"full{n}@example.org" for n in range(3)]
    for address in full:
        server.call(
            *("mailbox", "add", address, "--password-stdin", "--quota", "1K"), stdin=PASSWORD
        )
    server.call("alias", "add", "allfull@example.org", *full)
    with From(CLIENT).smtp(server.public("smtp")) as smtp:
        smtp.send_message(message(to="x@example.org", body="y" * 2000), to_addrs=full)
    for address in full:
        server.wait_for_log(f"to=<{address}>", "status=sent")
    assert rcpt(server, "allfull@example.org") == 552
    assert rcpt(server, "allfull+x@example.org") == 552
    server.call("mailbox", "set", full[1], "--quota", "1M")
    assert rcpt(server, "allfull@example.org") == 250


@pytest.mark.parametrize(
    ("recipient", "reader"), [(ALICE[0], ALICE), ("team@example.org", BOB)], ids=["own", "alias"]
)
def test_mail_reaches_whom_it_is_for(
    server: Instance, recipient: str, reader: tuple[str, str]
) -> None:
    """The server would start and serve nobody."""
    subject = uuid.uuid4().hex
    with From(CLIENT).smtp(server.public("smtp")) as smtp:
        smtp.send_message(message(to=recipient, subject=subject))
    wait_for_mail(server.public("imaps"), reader, subject, implicit=True)


@pytest.mark.parametrize(
    ("recipient", "code"),
    [
        (ALICE[0], 250),
        ("o'brien@example.org", 550),
        (UNKNOWN, 550),
        ("noreply@example.org", 550),
        ("x@catchall.example", 250),
        ("postmaster@mail.example.org", 250),
        ("stranger@outside.test", 554),
    ],
)
def test_recipients_are_as_in_sqlite(server: Instance, recipient: str, code: int) -> None:
    """Mail would be taken for nobody, or refused for somebody."""
    assert rcpt(server, recipient) == code


def test_a_sender_is_who_logged_in(server: Instance) -> None:
    """Everybody could write in everybody's name."""
    with From(CLIENT).submission(server.public("submission"), ALICE) as smtp:
        for sender, code in ((ALICE[0], 250), ("team@example.org", 250), (BOB[0], 553)):
            smtp.mail(sender)
            assert smtp.rcpt(BOB[0])[0] == code
            smtp.rset()


def test_a_full_mailbox_takes_no_more(server: Instance) -> None:
    """A quota in the database would have no effect."""
    filler = ("x" * 70 + "\n") * 1800
    for _ in range(3):
        with From(CLIENT).smtp(server.public("smtp")) as smtp:
            smtp.mail("friend@outside.test")
            if smtp.rcpt(SMALL[0])[0] != 250:
                break
            smtp.data(message(to=SMALL[0], body=filler).as_bytes())
        time.sleep(0.5)
    in_time(lambda: rcpt(server, SMALL[0]) == 552)


def test_all_of_them_speak_tls(server: Instance, database: Cluster) -> None:
    """Password hashes would cross the network in clear."""
    assert rcpt(server, ALICE[0]) == 250
    assert login(server, ALICE) == "OK"
    with database.administer() as connection:
        sessions = connection.execute(
            "SELECT application_name, bool_and(ssl) FROM pg_stat_activity JOIN pg_stat_ssl "
            "USING (pid) WHERE usename = %s GROUP BY 1",
            [USER],
        ).fetchall()
    assert {name for name, _ in sessions} >= {"gatepost-postfix", "gatepost-dovecot"}
    assert all(encrypted for _, encrypted in sessions), sessions


def test_the_password_is_where_nobody_sees_it(server: Instance, database: Cluster) -> None:
    """Every user of the machine could read and change all accounts."""
    in_dovecot_2_4 = database.password.replace("\\", r"\\").replace('"', r"\"")
    written = {
        database.password,
        quote(database.password, safe=""),
        in_dovecot_2_4.replace("%{", "%%{"),
    }
    open_to_all = []
    holders = set()
    for path in filter(Path.is_file, (server.home / "config").rglob("*")):
        content = path.read_text()
        if any(form in content for form in written):
            holders.add(path.parent.name)
            open_to_all += [path] * bool(path.stat().st_mode & 0o007)
    assert holders == {"postfix", "dovecot"}, "the control: it is there at all"
    assert not open_to_all
    assert not [form for form in written if form in server.log()]
    assert not [form for form in written if form in server.call("config", "show", "--json")]
    for process in server.processes():
        with contextlib.suppress(psutil.Error):
            assert not [w for w in process.cmdline() if any(form in w for form in written)]
            assert "DB_PASSWORD" not in process.environ(), process


def test_sessions_end_wherever_the_account_is_changed(server: Instance) -> None:
    """Who is locked out by a command on another node would read and send on."""
    user = ("leaving@example.org", PASSWORD)
    server.call("mailbox", "add", user[0], "--password-stdin", stdin=PASSWORD)
    with (
        From(CLIENT).imap(server.public("imaps"), user, implicit=True) as imap,
        From(CLIENT).submission(server.public("submission"), user) as smtp,
        open_store(database_of(load(server.environment))) as elsewhere,
    ):
        smtp.mail(user[0])
        assert smtp.rcpt(BOB[0])[0] == 250
        assert smtp.docmd("DATA")[0] == 354
        elsewhere.remove_mailbox(user[0])
        imap.sock.settimeout(1)
        with contextlib.suppress(ConnectionError):
            while imap.sock.recv(4096):
                pass
        smtp.send("Subject: too late\r\n\r\n.\r\n")
        assert smtp.getreply()[0] == 421


# --- while it is away -----------------------------------------------------------------------


def test_nothing_is_refused_for_good_while_it_is_away(server: Instance, database: Cluster) -> None:
    """Mail would come back to its senders, and mail programs would ask for a password.

    Before and after, who does not exist is refused: the control.
    """
    assert rcpt(server, UNKNOWN) == 550
    since = server.mark()
    with away(database):
        assert rcpt(server, ALICE[0]) == 451
        assert rcpt(server, UNKNOWN) == 451, "not taken either"
        said = login(server, ("lesen@xn--bcher-kva.example", PASSWORD))
        assert "UNAVAILABLE" in said
        assert "AUTHENTICATIONFAILED" not in said
        assert submission(server, BOB) == submission(server, (BOB[0], "wrong")) == 454
        server.wait_for_log("gatepost | ", "does not answer", since=since)
    server.wait_for_log("gatepost | ", "postfix reloaded", since=since, seconds=BACK_SECONDS)
    in_time(lambda: rcpt(server, ALICE[0]) == 250)
    in_time(lambda: login(server, BOB) == "OK")
    in_time(lambda: submission(server, BOB) == 235)
    assert submission(server, (BOB[0], "wrong")) == 535
    assert rcpt(server, UNKNOWN) == 550
    assert "AUTHENTICATIONFAILED" in login(server, (UNKNOWN, PASSWORD))
    assert database.password not in server.log(since)


def test_a_restart_that_nobody_notices_refuses_no_login(
    server: Instance, database: Cluster
) -> None:
    """Dovecot asks twice, and both times over a connection that has ended meanwhile.

    It takes less time than the supervisor needs to look again. Such logins are put off, until the
    supervisor, whose own connection has ended, has Dovecot make new ones.
    """
    ports = public_ports(server)

    def everybody() -> list[tuple[Verdict, str]]:
        server.forget_logins()
        jobs = [(way, *user) for user in (ALICE, BOB, READER) for way in LOGINS.values()]
        with ThreadPoolExecutor(len(jobs)) as pool:
            return list(pool.map(lambda job: verdict(job[0], ports, *job[1:]), jobs))

    assert {meaning for meaning, _ in everybody()} == {Verdict.IN}
    mark = server.mark()
    with away(database):
        pass
    answers = everybody()
    assert Verdict.REFUSED not in {meaning for meaning, _ in answers}, answers
    in_time(lambda: "dovecot reloaded" in server.log(mark))
    answers = everybody()
    assert {meaning for meaning, _ in answers} == {Verdict.IN}, answers


def test_ended_connections_are_noticed(server: Instance, database: Cluster) -> None:
    """A restart between two looks ends them too: each would cost a login that is put off."""
    mark = server.mark()
    with database.administer() as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name LIKE 'gatepost%'"
        )
    server.wait_for_log("dovecot reloaded", since=mark)
    assert "does not answer" not in server.log(mark), "the control: the server was there"
    in_time(lambda: login(server, BOB) == "OK")


@pytest.mark.parametrize("names", [2, 1], ids=["twice", "once"])
def test_a_restart_of_it_does_not_stop_postfix(
    server: Instance, database: Cluster, tmp_path: Path, names: int
) -> None:
    """Each restart of the database would put mail off for a minute.

    The control: with the server named once Postfix 3.7 fails, and its postmap(1) answers nothing.
    Postfix 3.10 asks again by itself.
    """
    version = subprocess.run(["postconf", "-dh", "mail_version"], check=True, capture_output=True)
    answers = 0 if names == 1 and version.stdout.startswith(b"3.7.") else 2
    rendered = (server.home / "config" / "current" / "postfix" / "recipients.cf").read_text()
    hosts = re.search(r"(?m)^hosts = (\S+) \1$", rendered)
    assert hosts
    table = tmp_path / "recipients.cf"
    # A name of its own, for mail that waits is tried again and asks about the same address.
    own, count = re.subn("application_name=[a-z-]+", "application_name=postmap", rendered)
    assert count == 1
    table.write_text(own.replace(hosts[0], f"hosts = {' '.join([hosts[1]] * names)}"))
    query = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'postmap' AND query LIKE %s"
    asked = [f"%{ALICE[0]}%"]
    with subprocess.Popen(
        ["postmap", "-q", "-", f"pgsql:{table}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as postmap:
        assert postmap.stdin
        with database.administer() as connection:
            postmap.stdin.write(f"{ALICE[0]}\n")
            postmap.stdin.flush()
            in_time(lambda: bool(connection.execute(query, asked).fetchall()))
        with away(database):
            pass
        said, _ = postmap.communicate(f"{BOB[0]}\n", timeout=30)
    assert said.splitlines() == [f"{a}\t{a}" for a, _ in (ALICE, BOB)][:answers]


def test_mail_in_the_queue_does_not_come_back(server: Instance, database: Cluster) -> None:
    """What was taken before the outage would be returned as undeliverable.

    Dovecot is asked all the time, while the database goes and comes: it must never say that a
    mailbox is not there. The control: of one that is not there it says so.
    """
    text = (server.home / "config" / "current" / "postfix" / "main.cf").read_text()
    lmtp = re.search(r"(?m)^virtual_transport = lmtp:unix:(\S+)$", text)
    assert lmtp
    path = lmtp[1]
    in_time(lambda: delivery(path, UNKNOWN) == 550)
    codes: set[int] = set()
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            # While Dovecot reloads it may hang up, which defers the message as well.
            with contextlib.suppress(smtplib.SMTPServerDisconnected, OSError):
                codes.add(delivery(path, BOB[0]))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for pause in (0.0, 1.0, 4.0):
        time.sleep(1)
        with away(database):
            time.sleep(pause)
    in_time(lambda: delivery(path, ALICE[0]) == 250)
    over.set()
    for thread in threads:
        thread.join()
    assert 250 in codes
    assert not [code for code in codes if code >= 500], codes


@pytest.mark.parametrize("what", ["pass", "user"])
def test_a_question_about_nobody_is_an_error(
    server: Instance, database: Cluster, what: str
) -> None:
    """Mail would bounce: without a connection Dovecot 2.3 asks for nobody, and gets an answer.

    It takes an error for a failure that passes. The control: the same question about somebody.
    """
    rendered = "".join(
        file.read_text()
        for file in (server.home / "config" / "current" / "dovecot").iterdir()
        if file.name in {"sql.conf.ext", "authentication.conf"}
    )
    beginning = rf"(?:{what}(?:word)?_query|{what}db sql {{\n  query) = "
    found = re.search(rf"(?m)^{beginning}(.*)$", rendered)
    assert found

    def ask(user: str) -> list[tuple[object, ...]]:
        text = found[1].replace("%{secured}", "TLS").replace("%{protocol}", "imap")
        local, _, domain = user.partition("@")
        for short, part, value in (
            ("u", "", user),
            ("n", " | username", local),
            ("d", " | domain", domain),
        ):
            text = text.replace(f"%{{user{part}}}", value).replace(f"%{short}", value)
        text = text.replace("%s", "imap")
        with database.administer(server.settings["DB_NAME"]) as connection:
            return connection.execute(text.encode()).fetchall()

    assert len(ask(ALICE[0])) == 1
    assert ask(UNKNOWN) == []
    with pytest.raises(DataError):
        ask("")


# --- before the start -----------------------------------------------------------------------


def tables_of_another_program(database: Cluster) -> dict[str, str]:
    """Return a database that has a table named as one of ours."""
    name = database.create()
    with database.administer(name) as connection:
        connection.execute("CREATE TABLE domains (colour text)")
    return {"DB_NAME": name}


def read_only_copy(database: Cluster) -> dict[str, str]:
    """Return a database that behaves as a standby does."""
    name = database.create()
    change = sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on")
    with database.administer() as connection:
        connection.execute(change.format(sql.Identifier(name)))
    return {"DB_NAME": name}


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        pytest.param(
            lambda _: {"DB_PASSWORD": "mistaken"},
            2,
            ["DB_PASSWORD: ", f'DB_USER "{USER}"'],
            id="password",
        ),
        pytest.param(lambda _: {"DB_USER": "stranger"}, 2, ['DB_USER "stranger"'], id="user"),
        pytest.param(
            lambda _: {"DB_NAME": "nowhere"}, 2, ['DB_NAME: "nowhere"', "createdb"], id="name"
        ),
        pytest.param(lambda _: {"DB_HOST": "db.invalid"}, 2, ['DB_HOST: "db.invalid"'], id="host"),
        pytest.param(
            lambda _: {"DB_HOST": free_host(5432)}, 1, ["DB_HOST: nobody", "DB_PORT"], id="away"
        ),
        pytest.param(
            lambda database: {"DB_TLS_CA_FILE": str(database.folder / "server.crt")},
            2,
            ["DB_TLS_CA_FILE: ", "server.crt"],
            id="authority",
        ),
        pytest.param(
            lambda _: {"DB_TLS_CA_FILE": "/nowhere.pem"},
            2,
            ['DB_TLS_CA_FILE: "/nowhere.pem"'],
            id="no-authority",
        ),
        pytest.param(
            lambda database: {"DB_NAME": database.create(owner="postgres")},
            2,
            ["DB_USER: ", "ALTER DATABASE", f'OWNER TO "{USER}"'],
            id="owner",
        ),
        pytest.param(tables_of_another_program, 2, ["DB_NAME: ", "another program"], id="tables"),
        pytest.param(read_only_copy, 2, ["DB_HOST: ", "only be read"], id="copy"),
    ],
)
def test_a_database_that_cannot_be_used_is_one_sentence(
    database: Cluster, change: Callable[[Cluster], dict[str, str]], code: int, words: list[str]
) -> None:
    """The server would start, defer all mail, and leave the user with a driver's traceback."""
    settings = database.environment(database.create()) | change(database)
    with instance({"REVERSE_PROXY": "none", **settings}, start=False) as idle:
        for command in (("up", "--detach"), ("domain", "list")):
            done = idle.run(*command)
            assert done.returncode == code, done
            assert "Traceback" not in done.stderr
            assert len(done.stderr.strip().splitlines()) == 1, done.stderr
            for word in words:
                assert word in done.stderr
            assert "mistaken" not in done.stderr
        assert not idle.processes()
        made = {str(path.relative_to(idle.home)) for path in idle.home.rglob("*")}
        assert all(re.fullmatch(r"run(/[a-z-]+\.lock)?", name) for name in made), made


def test_a_server_without_tls_is_refused_until_that_is_wanted(database: Cluster) -> None:
    """Everything would cross the network in clear because nobody had said otherwise."""
    with cluster(tls=False) as plain:
        environment = {**plain.environment(plain.create()), "REVERSE_PROXY": "none"}
        del environment["DB_TLS_CA_FILE"]
        with instance(environment, start=False) as idle:
            done = idle.run("domain", "list")
            assert done.returncode == 2
            assert 'DB_TLS_MODE: "require"' in done.stderr
            idle.settings["DB_TLS_MODE"] = "disable"
            idle.call("domain", "add", "example.org")
    with database.administer() as connection:
        assert connection.execute("SHOW ssl").fetchone() == ("on",), "the control"


def test_a_renewed_authority_is_used(database: Cluster, tmp_path: Path) -> None:
    """On the day of the change no daemon would reach the database, and all mail wait.

    Only root may read the original: Postfix and Dovecot have copies.
    """
    given = tmp_path / "ca.pem"
    given.write_bytes(database.ca_file.read_bytes())
    given.chmod(0o600)
    settings = database.environment(database.create()) | {"DB_TLS_CA_FILE": str(given)}
    with instance({"REVERSE_PROXY": "none", **settings}) as server:
        server.call("domain", "add", "example.org")
        server.call("mailbox", "add", ALICE[0], "--password-stdin", stdin=PASSWORD)
        mark = server.mark()
        given.write_text(issue("Another", authority=True).pem + database.ca_file.read_text())
        server.wait_for_log("dovecot reloaded", since=mark)
        for daemon in ("postfix", "dovecot"):
            copy = server.home / "config" / "current" / daemon / "database-authority.pem"
            assert copy.read_text() == given.read_text()
            assert copy.stat().st_mode & 0o777 == 0o644
        with From(CLIENT).smtp(server.public("smtp")) as smtp:
            smtp.send_message(message(to=ALICE[0], subject="renewed"))
        wait_for_mail(server.public("imap"), ALICE, "renewed")


def test_root_may_keep_its_home_closed(server: Instance) -> None:
    """PostgreSQL's client gives up when it may not look into HOME, which is root's at `up`."""
    settings = dict(server.settings)
    closed = server.home / "closed"
    closed.mkdir(mode=0o700)
    with instance(settings | {"HOME": str(closed)}, start=False) as other:
        other.up()
        assert rcpt(other, ALICE[0]) == 250
        assert login(other, ALICE) == "OK"
