"""Folders of mail have any name that a mail program gives them."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from accounts import PASSWORD
from clients import From, message, wait_for_mail
from instance import CLIENT, Instance, instance

ANNA = ("anna@example.org", PASSWORD)
BEN = ("ben@example.org", PASSWORD)
NAMES = ("v1.0", "a.b/c.d", ".hidden", "ends.", "50% ^off", "^2e", "~home", "B&APw-cher.de", "...")


@pytest.fixture(scope="module")
def server() -> Iterator[Instance]:
    """Run a server with two mailboxes."""
    with instance({"REVERSE_PROXY": "none"}) as made:
        made.call("domain", "add", "example.org")
        for address, password in (ANNA, BEN):
            made.call("mailbox", "add", address, "--password-stdin", stdin=password)
        yield made


def names(rows: Sequence[object]) -> set[str]:
    """Return the names in the answer to LIST or LSUB."""
    return {row.split(b' "/" ', 1)[1].decode().strip('"') for row in rows if isinstance(row, bytes)}


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_has_any_name(server: Instance, name: str) -> None:
    """A program that copies a mailbox of another server would end with an error."""
    quoted = f'"{name}"'
    with From(CLIENT).imap(server.public("imaps"), ANNA, implicit=True) as imap:
        assert imap.create(quoted)[0] == "OK"
        assert name in names(imap.list()[1])
        assert imap.subscribe(quoted)[0] == "OK"
        assert name in names(imap.lsub()[1])
        assert imap.append(quoted, None, None, message(to=ANNA[0]).as_bytes())[0] == "OK"
        assert imap.select(quoted) == ("OK", [b"1"])
        assert imap.close()[0] == "OK"
        assert imap.rename(quoted, '"new.name"')[0] == "OK"
        assert "new.name" in names(imap.list()[1])
        assert imap.select('"new.name"') == ("OK", [b"1"])
        imap.close()
        assert imap.delete('"new.name"')[0] == "OK"
        imap.unsubscribe(quoted)


def test_mbsync_copies_a_grown_mailbox(server: Instance, tmp_path: Path) -> None:
    """It would stop at the first folder with a dot, and so keep all others from being copied."""
    assert shutil.which("mbsync"), "isync is missing: run make test, which installs it"
    host, port = server.public("imaps")
    here = tmp_path / "mail"
    (tmp_path / "certificate.pem").write_text(ssl.get_server_certificate((host, port)))
    (tmp_path / "mbsyncrc").write_text(f"""
IMAPStore there
Host {host}
Port {port}
User {BEN[0]}
Pass "{BEN[1]}"
SSLType IMAPS
CertificateFile {tmp_path / "certificate.pem"}

MaildirStore here
Path {here}/
Inbox {here}/Inbox
SubFolders Verbatim

Channel both
Far :there:
Near :here:
Patterns *
Create Both
Expunge Both
SyncState *
""")
    grown = ("v1.0", "lists/lkml.org", "plain")
    for name in ("Inbox", *grown):
        for part in ("cur", "new", "tmp"):
            (here / name / part).mkdir(parents=True)
        copy = message(to=BEN[0], subject=f"from {name}").as_bytes()
        (here / name / "cur" / "1.2.3:2,S").write_bytes(copy)

    def sync() -> None:
        done = subprocess.run(
            ["mbsync", "--config", tmp_path / "mbsyncrc", "--all"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    sync()
    with From(CLIENT).imap(server.public("imaps"), BEN, implicit=True) as imap:
        assert names(imap.list()[1]) >= {"INBOX", *grown}
        for name in grown:
            assert imap.select(f'"{name}"') == ("OK", [b"1"]), name
        imap.append('"v1.0"', None, None, message(to=BEN[0], subject="later").as_bytes())
        imap.select('"lists/lkml.org"')
        imap.store("1", "+FLAGS", "\\Deleted")
        imap.expunge()
    sync()
    subjects = [
        line
        for part in ("cur", "new")
        for file in (here / "v1.0" / part).iterdir()
        for line in file.read_text().splitlines()
        if line.startswith("Subject:")
    ]
    assert sorted(subjects) == ["Subject: from v1.0", "Subject: later"]
    assert not list((here / "lists" / "lkml.org" / "cur").iterdir())


def test_a_filter_files_into_such_a_folder(server: Instance) -> None:
    """Mail would be kept in the inbox, or bounce."""
    subject = uuid.uuid4().hex
    with From(CLIENT).sieve(server.public("sieve"), ANNA) as sieve:
        sieve.put("dots", 'require "fileinto"; fileinto "lists/lkml.org";')
    with From(CLIENT).smtp(server.public("smtp")) as smtp:
        smtp.send_message(message(to=ANNA[0], subject=subject))
    wait_for_mail(server.public("imap"), ANNA, subject, folder='"lists/lkml.org"')
    with From(CLIENT).sieve(server.public("sieve"), ANNA) as sieve:
        sieve.deactivate()


def test_folders_from_before_keep_their_names() -> None:
    """After an update folders would have other names, or be gone."""
    with instance({"REVERSE_PROXY": "none"}) as server:
        server.call("domain", "add", "example.org")
        server.call("mailbox", "add", ANNA[0], "--password-stdin", stdin=PASSWORD)
        with From(CLIENT).imap(server.public("imaps"), ANNA, implicit=True) as imap:
            for name in ("plain", "x%y/z"):
                imap.create(name)
                imap.subscribe(name)
        server.down()
        # As Dovecot kept it before: "^" stands for itself.
        maildir = server.home / "mail" / "example.org" / "anna" / "Maildir"
        (maildir / ".x%y.z").rename(maildir / ".x^y.z")
        (maildir / ".x%y").rename(maildir / ".x^y") if (maildir / ".x%y").exists() else None
        listed = maildir / "subscriptions"
        listed.write_text(listed.read_text().replace("%", "^"))
        (server.home / "state" / "folder-names").unlink()
        server.up()
        with From(CLIENT).imap(server.public("imaps"), ANNA, implicit=True) as imap:
            assert {"plain", "x^y/z"} <= names(imap.list()[1])
            assert {"plain", "x^y/z"} <= names(imap.lsub()[1])
            assert imap.select('"x^y/z"')[0] == "OK"
        server.down()
        server.up()
        with From(CLIENT).imap(server.public("imaps"), ANNA, implicit=True) as imap:
            assert imap.select('"x^y/z"')[0] == "OK"
