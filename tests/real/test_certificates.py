"""A renewed certificate is shown by every listener, and no session is cut for it."""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from accounts import ALICE, PASSWORD
from clients import From, lenient, message, wait_for_mail
from cryptography import x509
from instance import CLIENT, Instance, instance
from issuing import Issued, issue

NAME = "mail.example.org"
LISTENERS = ("smtp", "submission", "submissions", "imap", "imaps", "pop3", "pop3s", "sieve")
STARTTLS = {
    "smtp": ("EHLO client.test\r\n", b"250 ", "STARTTLS\r\n"),
    "submission": ("EHLO client.test\r\n", b"250 ", "STARTTLS\r\n"),
    "imap": ("", b"", "a STARTTLS\r\n"),
    "pop3": ("", b"", "STLS\r\n"),
    "sieve": ("", b"", "STARTTLS\r\n"),
}
SHOWN_SECONDS = 10.0
"""How long a renewal may take to be seen: two looks, a judgement, a reload."""


def served(server: Instance, listener: str) -> int:
    """Return the serial number of the certificate that a listener shows."""
    with socket.create_connection(server.public(listener), 15) as plain:
        if listener in STARTTLS:
            hello, answer, word = STARTTLS[listener]
            stream = plain.makefile("rb")
            line = stream.readline()
            while listener == "sieve" and not line.startswith(b"OK"):
                line = stream.readline()
            if hello:
                plain.sendall(hello.encode())
                while not stream.readline().startswith(answer):
                    pass
            plain.sendall(word.encode())
            stream.readline()
        with lenient().wrap_socket(plain, server_hostname=NAME) as wrapped:
            der = wrapped.getpeercert(binary_form=True)
    assert der
    return x509.load_der_x509_certificate(der).serial_number


def shown(server: Instance) -> set[int]:
    """Return the serial numbers of all certificates that clients see."""
    return {served(server, listener) for listener in LISTENERS}


def until_shown(server: Instance, issued: Issued) -> None:
    """Wait until every listener shows a certificate, and nothing else."""
    deadline = time.monotonic() + SHOWN_SECONDS
    while (found := shown(server)) != {issued.serial}:
        assert time.monotonic() < deadline, f"{found} instead of {issued.serial}\n{server.log()}"
        time.sleep(0.2)


class Live:
    """Files as certbot keeps them: links in ``live/`` that a renewal turns, one after the other."""

    def __init__(self, folder: Path) -> None:
        """Begin with a pair."""
        self._archive, self._live = folder / "archive", folder / "live"
        self._live.mkdir()
        self._number = 0
        self.renew()

    def renew(self, pause: float = 0) -> Issued:
        """Issue another one and turn the links to it, with a pause between the two."""
        self._number += 1
        made = issue(NAME)
        folder = self._archive / str(self._number)
        made.write(folder)
        for name in ("privkey.pem", "fullchain.pem"):
            link = self._live / f"{name}.new"
            link.symlink_to(folder / name)
            link.replace(self._live / name)
            time.sleep(pause)
        return made

    @property
    def settings(self) -> dict[str, str]:
        """The two variables."""
        return {
            "TLS_CERT_FILE": str(self._live / "fullchain.pem"),
            "TLS_KEY_FILE": str(self._live / "privkey.pem"),
        }


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Live:
    """Keep certificates as certbot does."""
    return Live(tmp_path_factory.mktemp("letsencrypt"))


@pytest.fixture(scope="module")
def server(live: Live) -> Iterator[Instance]:
    """Run a server that shows a certificate of somebody's."""
    with instance(live.settings) as made:
        made.call("domain", "add", "example.org")
        made.call("mailbox", "add", ALICE[0], "--password-stdin", stdin=PASSWORD)
        yield made


@pytest.fixture
def uncut(server: Instance) -> Iterator[Callable[[], None]]:
    """Open a session with each daemon; return how to see that both still serve their client."""
    client = From(CLIENT)
    with (
        client.imap(server.public("imaps"), ALICE, implicit=True) as imap,
        client.submission(server.public("submissions"), ALICE, implicit=True) as smtp,
    ):
        imap.select("INBOX")

        def check() -> None:
            assert imap.noop()[0] == "OK"
            subject = f"after a renewal {time.monotonic()}"
            smtp.send_message(message(sender=ALICE[0], to=ALICE[0], subject=subject))
            wait_for_mail(server.public("imaps"), ALICE, subject, implicit=True)

        yield check


def overwritten(live: Live) -> Issued:
    """Write a renewed pair into the very files, the key before its certificate."""
    made = issue(NAME)
    Path(live.settings["TLS_KEY_FILE"]).write_text(made.key_pem)
    Path(live.settings["TLS_CERT_FILE"]).write_text(made.pem)
    return made


@pytest.mark.parametrize("renew", [Live.renew, overwritten], ids=["links-turned", "overwritten"])
def test_the_hook_shows_what_was_renewed(
    server: Instance, live: Live, renew: Callable[[Live], Issued], uncut: Callable[[], None]
) -> None:
    """The old certificate would be served until it expires, whatever one does."""
    before = shown(server)
    made = renew(live)
    server.up()  # docs/how-to/bring-your-own-certificate.md
    until_shown(server, made)
    assert made.serial not in before, "the control: it is another one"
    uncut()


@pytest.mark.parametrize("pause", [0, 3.0], ids=["at-once", "key-first"])
def test_it_is_shown_when_nobody_says_so(
    server: Instance, live: Live, pause: float, uncut: Callable[[], None]
) -> None:
    """In a container nobody types `up`; a hook may be missing or broken elsewhere."""
    mark = server.mark()
    made = live.renew(pause)
    until_shown(server, made)
    uncut()
    complaints = [line for line in server.log(mark).splitlines() if "what is in use stays" in line]
    assert len(complaints) == bool(pause), "half a renewal is told once, and none else"


def test_what_does_not_serve_is_not_shown(server: Instance, live: Live) -> None:
    """A truncated copy would switch TLS off at the next reload."""
    made = live.renew()
    until_shown(server, made)
    mark = server.mark()
    file = Path(live.settings["TLS_CERT_FILE"])
    whole = file.read_text()
    try:
        file.write_text(whole[: len(whole) // 2])
        server.wait_for_log("what is in use stays", "TLS_CERT_FILE", since=mark)
        refused = server.run("up", "--detach")
        assert refused.returncode == 2, refused
        assert "TLS_CERT_FILE" in refused.stderr
        checked = server.run("config", "check")
        assert checked.returncode == 2, checked
        assert "TLS_CERT_FILE" in checked.stderr
        assert shown(server) == {made.serial}
        proof = server.run("verify", "--only", "tls", "--json")
        assert json.loads(proof.stdout)["summary"]["fail"], "the file is not what is shown"
    finally:
        file.write_text(whole)
    server.up()
    assert shown(server) == {made.serial}


def test_one_file_for_both_serves_every_listener(tmp_path: Path) -> None:
    """STARTTLS was gone from 25 and 587, and 465 hung up on everybody."""
    made = issue(NAME)
    both = tmp_path / "both.pem"
    both.write_text(made.key_pem + made.pem)
    both.chmod(0o600)
    with instance({"TLS_CERT_FILE": str(both), "TLS_KEY_FILE": str(both)}) as server:
        assert shown(server) == {made.serial}


def test_an_expired_one_is_served_and_said(tmp_path: Path) -> None:
    """After a reboot on the wrong day the server would stay down, and mail with it."""
    cert_file, key_file = issue(NAME, days=-2).write(tmp_path)
    settings = {"TLS_CERT_FILE": str(cert_file), "TLS_KEY_FILE": str(key_file)}
    with instance(settings, start=False) as server:
        started = server.run("up", "--detach", timeout=90)
        assert started.returncode == 0, started
        assert "Warning: TLS_CERT_FILE" in started.stderr
        assert "has expired" in started.stderr
        server.call("domain", "add", "example.org")
        server.call("mailbox", "add", ALICE[0], "--password-stdin", stdin=PASSWORD)
        with From(CLIENT).smtp(server.public("smtp")) as smtp:
            smtp.send_message(message(to=ALICE[0], subject="on the wrong day"))
        proof = server.run("verify", "--only", "tls", "--json")
        rows = json.loads(proof.stdout)["findings"]
        assert proof.returncode == 1
        assert rows
        assert all(row["status"] == "fail" and "expired" in row["observed"] for row in rows)


def test_a_new_login_at_the_relay_host_is_used(tmp_path: Path) -> None:
    """Mail would wait until somebody restarts the server: Postfix reads such a file once."""
    passwords = tmp_path / "relay"
    passwords.write_text("[127.0.0.1]:9 me:first\n")
    settings = {"RELAYHOST": "[127.0.0.1]:9", "RELAY_PASSWD_FILE": str(passwords)}
    with instance(settings) as server:
        copy = server.home / "config" / "current" / "postfix" / "relay-passwords"
        assert copy.read_text() == passwords.read_text()
        mark = server.mark()
        passwords.write_text("[127.0.0.1]:9 me:second\n")
        server.wait_for_log("postfix reloaded", since=mark)
        assert copy.read_text() == passwords.read_text()
        assert copy.stat().st_mode & 0o077 == 0


def test_the_control_a_strange_client_sees_the_same() -> None:
    """`served` would prove nothing if it read what was on the disk."""
    with instance() as server:
        own = x509.load_pem_x509_certificate((server.home / "secrets" / "tls.crt").read_bytes())
        pem = ssl.get_server_certificate(server.public("imaps"))
        assert x509.load_pem_x509_certificate(pem.encode()).serial_number == own.serial_number
        assert shown(server) == {own.serial_number}


def test_the_proof_looks_behind_a_proxy_of_ones_own(tmp_path: Path) -> None:
    """Of a server without any TLS it was said: 8 not proven, nothing failed."""
    authority = issue("Test R3", authority=True)
    cert_file, key_file = issue(NAME, days=-2).write(tmp_path)
    settings = {
        "REVERSE_PROXY": "none",
        "MDA_UPSTREAM_PROXY": "true",
        "MTA_UPSTREAM_PROXY": "true",
        "TRUSTED_PROXIES": "192.0.2.7",
        "TLS_CERT_FILE": str(cert_file),
        "TLS_KEY_FILE": str(key_file),
    }
    with instance(settings) as server:
        assert not server.status()["listeners"][0]["public"], "nobody knows where clients connect"
        failed = _tls_rows(server)
        assert {row["status"] for row in failed.values()} == {"fail"}
        assert all("expired" in row["observed"] for row in failed.values())
        issue(NAME, authority).write(tmp_path, authority)
        server.up()
        mended = _tls_rows(server)
        assert all("expired" not in row["observed"] for row in mended.values())
        assert all("at the internal port" in row["observed"] for row in mended.values())
        assert set(mended) == set(LISTENERS)


def _tls_rows(server: Instance) -> dict[str, dict[str, str]]:
    rows = json.loads(server.run("verify", "--only", "tls", "--json").stdout)["findings"]
    return {row["listener"]: row for row in rows}
