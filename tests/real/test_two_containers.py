"""`gatepost run mta` and `gatepost run mda`, each in a place of its own, are one mail server."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from issuing import Secret
from two_places import NETWORK, Place, Running, running, two_places

GATEPOST = Path(sys.executable).with_name("gatepost")
PROXY = f"{NETWORK}.9"
CLIENT = "203.0.113.7"
ANNA, BERT = "anna@example.org", "bert@example.org"
FULL = "full@example.org"
"""A mailbox with a limit, about which the mail store is asked."""
PASSWORD = "a long pass word"
HEALTH = (
    "import sys, urllib.request, urllib.error\n"
    "try: answer = urllib.request.urlopen('http://127.0.0.1:2007/ready', timeout=5)\n"
    "except urllib.error.HTTPError as error: answer = error\n"
    "except OSError: sys.exit('nobody')\n"
    "print(answer.status, answer.read().decode().strip())\n"
)


@dataclass
class Split:
    """One server in two places."""

    mta_place: Place
    mda_place: Place
    mta: Running
    mda: Running
    mail: Path
    secret: Secret
    environment: dict[str, str]
    """Of the mail store, beside which the accounts are."""

    def shown(self) -> set[int]:
        """Return the serial numbers of the certificates that both show."""
        pipe = "openssl s_client {} </dev/null 2>&1 | openssl x509 -noout -serial"
        ways = (
            "-connect mta-internal:32465",
            "-connect mta-internal:32025 -starttls smtp",
            "-connect mda-internal:32993",
            "-connect mda-internal:32143 -starttls imap",
        )
        said = [self.mda_place.run("sh", "-c", pipe.format(way)).strip() for way in ways]
        return {int(line.removeprefix("serial="), 16) for line in said}

    def send(self, *words: str, source: Place | None = None) -> str:
        """Send a message with swaks and return what was said."""
        sender = ("--from", "x@elsewhere.test")
        return (source or self.mda_place).run("swaks", *sender, "--timeout", "10", *words)

    def submit(self, password: str = PASSWORD) -> str:
        """Log in as Bert, send a message to Anna and return what was said."""
        login = ("--tls", "--auth-user", BERT, "--auth-password", password)
        return self.send("--to", ANNA, "--from", BERT, "--server", "mta-internal:32587", *login)

    def count(self, address: str) -> int:
        """Count a mailbox's messages."""
        local = address.partition("@")[0]
        folder = self.mail / "example.org" / local / "Maildir"
        return sum(1 for name in ("new", "cur") for _ in (folder / name).glob("*"))


def ready(place: Place) -> str:
    return place.run(sys.executable, "-c", HEALTH).strip()


def until(what: str, true: object, *, seconds: float = 20) -> None:
    assert callable(true)
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def split() -> Iterator[Split]:
    """Start both, with accounts in a folder that they share."""
    # Not below pytest's folder, which each run of pytest closes to the daemons' users anew.
    with tempfile.TemporaryDirectory(prefix="gp-split-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield from _split(folder)


def _split(folder: Path) -> Iterator[Split]:
    mta_home, mda_home = folder / "a", folder / "d"
    (mda_home / "accounts").mkdir(parents=True)
    mta_home.mkdir()
    (mta_home / "accounts").symlink_to(mda_home / "accounts")
    secret = Secret(folder / "secret")
    environment = {
        "TLS_CERT_FILE": str(secret.folder / "tls.crt"),
        "TLS_KEY_FILE": str(secret.folder / "tls.key"),
        "MAILNAME": "mail.example.org",
        "MTA_UPSTREAM_PROXY": "true",
        "MDA_UPSTREAM_PROXY": "true",
        "TRUSTED_PROXIES": f"{PROXY}/32",
        # As a Kubernetes Service would lead there from port 25.
        "MTA_SMTP_ADDRESS": "mta-internal:32025",
    }
    names = {"mta-internal": 2, "mda-internal": 3}
    with two_places(names) as (mta_place, mda_place):
        mda_place.add_address(PROXY)
        mda_environment = {**environment, "GATEPOST_HOME": str(mda_home)}
        mta_environment = {**environment, "GATEPOST_HOME": str(mta_home)}
        with (
            running(mda_place, folder / "mda.log", mda_environment, GATEPOST, "run", "mda") as mda,
            running(mta_place, folder / "mta.log", mta_environment, GATEPOST, "run", "mta") as mta,
        ):
            for one in (mda, mta):
                one.wait_for("ready: ", seconds=40)
            gatepost(mda_environment, "domain", "add", "example.org")
            for address in (ANNA, BERT):
                gatepost(mda_environment, "mailbox", "add", address, "--password-stdin")
            limited = ("mailbox", "add", FULL, "--quota", "1M", "--password-stdin")
            gatepost(mda_environment, *limited)
            yield Split(mta_place, mda_place, mta, mda, mda_home / "mail", secret, mda_environment)
    assert not list(Path("/run/netns").glob(f"{mta_place.namespace[:-1]}*"))


def gatepost(environment: dict[str, str], *words: str) -> None:
    subprocess.run(
        [GATEPOST, *words],
        env={**environment, "PATH": "/usr/bin:/usr/sbin:/bin:/sbin"},
        input=PASSWORD,
        text=True,
        capture_output=True,
        check=True,
    )


def test_both_tell_that_they_are_ready(split: Split) -> None:
    """A cluster would send no client, or kill a pod that works."""
    for place in (split.mta_place, split.mda_place):
        until("ready", lambda place=place: ready(place) == "200 ready")


def test_mail_and_logins_cross_from_one_to_the_other(split: Split) -> None:
    """The MTA would look for the mail store on its own loopback: mail stays, nobody submits."""
    before = split.count(ANNA)
    assert "250 2.0.0" in split.send("--to", ANNA, "--server", "mta-internal:32025")
    assert "250 2.0.0" in split.submit()
    assert "535 5.7.8" in split.submit("wrong")
    until("both delivered", lambda: split.count(ANNA) == before + 2)


def test_an_alias_is_judged_and_a_bounce_names_no_host(split: Split) -> None:
    """Mail that nobody takes would bounce, or a stranger learn the names of an inner network."""
    tight, list_ = "tight@example.org", "list@example.org"
    server = ("--server", "mta-internal:32025")
    limited = ("--quota", "1K", "--password-stdin")
    for address in (tight, f"more-{tight}"):
        gatepost(split.environment, "mailbox", "add", address, *limited)
        assert "250 2.0.0" in split.send("--to", address, *server, "--body", 2000 * "y")
        until("full", lambda address=address: split.count(address) > 0)
    gatepost(split.environment, "alias", "add", list_, tight, f"more-{tight}")
    assert "552 5.2.2" in split.send("--to", list_, *server)
    gatepost(split.environment, "alias", "add", f"more-{list_}", tight, BERT)
    before = split.count(ANNA)
    assert "250 2.0.0" in split.send("--to", f"more-{list_}", "--from", ANNA, *server)
    until("bounced", lambda: split.count(ANNA) == before + 1)
    folder = split.mail / "example.org" / ANNA.partition("@")[0] / "Maildir" / "new"
    texts = [path.read_text() for path in folder.iterdir()]
    (bounce,) = (text for text in texts if "multipart/report" in text)
    report = bounce.partition("Content-Description: Notification")[2]
    report = report.partition("Content-Description: Undelivered")[0]
    assert tight in report
    assert "the mail store said: 552 5.2.2" in " ".join(report.split())
    assert "Diagnostic-Code: smtp; 552 5.2.2" in report
    for inside in ("internal", "[", "Remote-MTA", split.mda_place.address, str(split.mail)):
        assert inside not in report


def test_a_secret_that_is_replaced_is_shown(split: Split) -> None:
    """Nobody types `up` in a container: the old certificate would be shown until it expires."""
    before = split.secret.issued.serial
    assert split.shown() == {before}, "the control"
    split.secret.renew()
    until("shown", lambda: split.shown() == {split.secret.issued.serial})
    assert split.secret.issued.serial != before
    split.mta.wait_for("postfix reloaded")
    split.mda.wait_for("dovecot reloaded")


def test_the_proxy_says_who_a_client_is_and_nobody_else(split: Split) -> None:
    """In a cluster every pod could come to the service port."""
    header: tuple[str, ...] = (
        "--proxy-version",
        "1",
        "--proxy-family",
        "TCP4",
        "--proxy-source",
        CLIENT,
    )
    header += ("--proxy-source-port", "40000", "--proxy-dest", "192.0.2.1", "--proxy-dest-port")
    server = ("--to", ANNA, "--server", f"{split.mta_place.address}:31025")
    believed = split.send(*server, *header, "25", "--local-interface", PROXY)
    assert "250 2.0.0" in believed
    split.mta.wait_for(f"[{CLIENT}]:40000")
    other = [word.replace("40000", "40001") for word in header]
    refused = split.send(*server, *other, "25")
    assert "421 4.7.0" in refused
    assert f"[{CLIENT}]:40001" not in split.mta.text()


def test_what_sieve_forwards_may_leave(split: Split) -> None:
    """A redirect would be refused as relaying, since the MTA does not know who asks."""
    out = "out@elsewhere.test"
    home = split.mail / "example.org" / BERT.partition("@")[0]
    home.mkdir(parents=True, exist_ok=True)
    script = home / ".dovecot.sieve"
    script.write_text(f'redirect "{out}";\n')
    for path in (home, script):
        shutil.chown(path, "gatepost-mail", "gatepost-mail")
    refused = split.send("--to", out, "--server", "mta-internal:32025")
    assert "554 5.7.1" in refused, "the control: the same place without the certificate"
    assert "250 2.0.0" in split.send("--to", BERT, "--server", "mta-internal:32025")
    split.mta.wait_for(f"to=<{out}>")
    script.unlink()


def test_mail_waits_for_a_mail_store_that_is_away(split: Split) -> None:
    """A restart of one pod would make the other refuse mail, or lose it."""
    before = split.count(ANNA)
    assert split.mda.stop() == 0
    assert ready(split.mda_place) == "nobody"
    assert "250 2.0.0" in split.send("--to", ANNA, "--server", "mta-internal:32025")
    assert ready(split.mta_place) == "200 ready"
    # What a proof in a pod of its own has left is gone as well.
    left = split.mail / "verify.gatepost.invalid" / "probe-0123" / "Maildir"
    left.mkdir(parents=True)
    mark = split.mda.mark()
    split.mda.start()
    split.mda.wait_for("ready: ", since=mark, seconds=40)
    assert not left.parents[1].exists()
    until("delivered", lambda: split.count(ANNA) == before + 1, seconds=60)


def test_mail_waits_for_a_mail_store_whose_name_does_not_exist(split: Split) -> None:
    """While a container is replaced its name has no address, and accepted mail would bounce."""
    before, mark = split.count(ANNA), split.mta.mark()
    with split.mta_place.without_name("mda-internal"):
        assert "250 2.0.0" in split.send("--to", ANNA, "--server", "mta-internal:32025")
        split.mta.wait_for("unable to look up the mail store", since=mark)
        # Whether a mailbox is full cannot be asked, and is no reason to refuse its mail.
        assert "250 2.0.0" in split.send("--to", FULL, "--server", "mta-internal:32025")
        assert "535" not in split.submit()
    until("delivered", lambda: split.count(ANNA) == before + 1, seconds=60)
    until("the other too", lambda: split.count(FULL) == 1, seconds=60)
    said = split.mta.text()[mark:]
    assert re.search(r"dsn=4\.4\.4, status=deferred \(unable to look up the mail store", said)
    assert "status=bounced" not in said


def test_what_the_mail_store_says_for_good_bounces(split: Split) -> None:
    """The control: mail for a mailbox that is gone would wait for days, and its sender not know."""
    gone, mark = "gone@example.org", split.mta.mark()
    gatepost(split.environment, "mailbox", "add", gone, "--password-stdin")
    with split.mta_place.without_name("mda-internal"):
        assert "250 2.0.0" in split.send("--to", gone, "--server", "mta-internal:32025")
        split.mta.wait_for(f"to=<{gone}>", since=mark)
        gatepost(split.environment, "mailbox", "remove", gone)
    split.mta.wait_for("status=bounced", since=mark, seconds=60)


def test_the_first_login_is_right_after_the_mail_store_was_away(split: Split) -> None:
    """Every process of Postfix would refuse one right password, for good or for now.

    The control: meanwhile every password is put off, a wrong one too.
    """
    assert "250 2.0.0" in split.submit()
    mark = split.mda.mark()
    assert split.mda.stop() == 0
    for password in (PASSWORD, "wrong"):
        assert "454 4.7.0" in split.submit(password)
    split.mda.start()
    split.mda.wait_for("ready: ", since=mark, seconds=40)
    assert "250 2.0.0" in split.submit()
    assert "535 5.7.8" in split.submit("wrong")
