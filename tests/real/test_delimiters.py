"""Address extensions with each RECIPIENT_DELIMITER: to the mailbox, and never to another's."""

from __future__ import annotations

import imaplib
import smtplib
import uuid
from collections.abc import Iterator

import pytest
from account_fixtures import HASH
from accounts import PASSWORD
from clients import From, message, wait_for_mail
from instance import CLIENT, Instance, instance

from gatepost.accounts.records import Mailbox
from gatepost.accounts.store import open_store
from gatepost.model import Home

ANNA = ("anna@example.org", PASSWORD)
EVA = ("eva-maria+x@example.org", PASSWORD)
"""A mailbox with each of the delimiters in its name, and no shorter one beside it."""
LEA = ("lea-marie@example.org", PASSWORD)
LEA_CAUGHT = ("lea-marie@catch.example", PASSWORD)
"""Mailboxes with a delimiter in their names and extensions behind it; one beside a catch-all."""
FULL = "full-up+x@example.org"
FRIEND = "friend@outside.test"


@pytest.fixture(scope="module", params=["+", "-", "+-"])
def delimiter(request: pytest.FixtureRequest) -> str:
    """Return a value of RECIPIENT_DELIMITER."""
    return str(request.param)


@pytest.fixture(scope="module")
def server(delimiter: str) -> Iterator[Instance]:
    """Run a server without a proxy, for none matters here."""
    with instance({"REVERSE_PROXY": "none", "RECIPIENT_DELIMITER": delimiter}) as made:
        made.call("domain", "add", "example.org")
        made.call("domain", "add", "catch.example")
        for address, *options in (
            *((ANNA[0],), (EVA[0],), (LEA[0],), (LEA_CAUGHT[0],)),
            (FULL, "--quota", "10K"),
            ("no-reply@example.org", "--send-only"),
            ("no-reply@catch.example", "--send-only"),
        ):
            made.call("mailbox", "add", address, "--password-stdin", *options, stdin=PASSWORD)
        for alias, target in (
            ("sales@example.org", EVA[0]),
            ("the-team@example.org", LEA[0]),
            ("shop@example.org", f"lea-marie{delimiter[0]}shop@example.org"),
            ("last@example.org", f"lea-marie{delimiter[-1]}a{delimiter[0]}b@example.org"),
            ("friends@example.org", ANNA[0]),
            ("@catch.example", ANNA[0]),
        ):
            made.call("alias", "add", alias, target)
        yield made


def deliver(server: Instance, recipient: str, body: str = "Hello.\n") -> str:
    """Send a message to a recipient from outside and return its subject."""
    subject = uuid.uuid4().hex
    with From(CLIENT).smtp(server.public("smtp")) as smtp:
        smtp.send_message(message(to=recipient, subject=subject, body=body), FRIEND, [recipient])
    return subject


def rcpt(server: Instance, recipient: str) -> str:
    """Return what RCPT TO is answered with."""
    with From(CLIENT).smtp(server.public("smtp")) as smtp:
        smtp.mail(FRIEND)
        code, words = smtp.rcpt(recipient)
    return f"{code} {words.decode()}"


def test_an_extension_reaches_the_mailbox(server: Instance, delimiter: str) -> None:
    """Mail to an address that its owner has given to a shop would come back."""
    for character in delimiter:
        for extension in ("shop", "request"):
            subject = deliver(server, f"anna{character}{extension}@example.org")
            assert wait_for_mail(server.public("imap"), ANNA, subject)


@pytest.mark.parametrize("recipient", [EVA[0], "sales@example.org"])
def test_a_mailbox_with_a_delimiter_in_its_name(server: Instance, recipient: str) -> None:
    """Its mail would bounce, or land in the mailbox of the shorter name."""
    subject = deliver(server, recipient)
    assert wait_for_mail(server.public("imap"), EVA, subject)


@pytest.mark.parametrize("extension", ["shop", "a{}b", "{}x"])
@pytest.mark.parametrize(
    ("name", "reader"),
    [
        (LEA[0], LEA),
        (LEA_CAUGHT[0], LEA_CAUGHT),
        (EVA[0], EVA),
        ("the-team@example.org", LEA),
        ("whoever@catch.example", ANNA),
    ],
)
def test_the_longest_name_wins(
    server: Instance, delimiter: str, name: str, reader: tuple[str, str], extension: str
) -> None:
    """Mail would be refused, or go to the catch-all, where the name itself has a delimiter."""
    for character in delimiter:
        local, domain = name.split("@")
        recipient = f"{local}{character}{extension.format(character)}@{domain}"
        subject = deliver(server, recipient)
        assert wait_for_mail(server.public("imap"), reader, subject), recipient


@pytest.mark.parametrize("alias", ["shop", "last"])
def test_an_alias_leads_to_an_extension(server: Instance, alias: str) -> None:
    """Mail for the alias would be refused as if it led to nobody."""
    subject = deliver(server, f"{alias}@example.org")
    assert wait_for_mail(server.public("imap"), LEA, subject)


def test_its_owner_sends_under_an_extension(server: Instance, delimiter: str) -> None:
    """Users could not write with the address that they have given to a shop, or others could."""
    for login, code in ((LEA, 250), (ANNA, 553)):
        for character in delimiter:
            for sender in (f"lea-marie{character}shop@example.org", "the-team@example.org"):
                with From(CLIENT).submission(server.public("submission"), login) as smtp:
                    smtp.mail(sender)
                    answer = smtp.rcpt(ANNA[0])
                assert answer[0] == code, (sender, login, answer)


def test_an_extension_is_no_login(server: Instance, delimiter: str) -> None:
    """One account would have as many names as anybody likes, and limits by name would not hold."""
    with From(CLIENT).submission(server.public("submission"), LEA):
        pass
    for character in delimiter:
        login = (f"lea-marie{character}shop@example.org", PASSWORD)
        with (
            pytest.raises(smtplib.SMTPAuthenticationError),
            From(CLIENT).submission(server.public("submission"), login),
        ):
            pass
        with (
            pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"),
            From(CLIENT).imap(server.public("imaps"), login, implicit=True),
        ):
            pass


def test_an_account_that_only_sends_says_so(server: Instance, delimiter: str) -> None:
    """Mail to it would be accepted and bounce, or be taken by somebody else."""
    for character in delimiter:
        for domain in ("example.org", "catch.example"):
            answer = rcpt(server, f"no-reply{character}x@{domain}")
            assert answer.startswith("550 5.7.1 "), answer


def test_its_limit_is_asked_about(server: Instance, delimiter: str) -> None:
    """A full mailbox with a delimiter in its name would bounce what it cannot take."""
    body = "\n".join(["y" * 70] * 300)
    deliver(server, FULL, body)
    server.wait_for_log(f"to=<{FULL}>", "status=sent")
    for extension in ("", *(f"{character}more" for character in delimiter)):
        answer = rcpt(server, FULL.replace("@", f"{extension}@"))
        assert answer.startswith("552 "), (extension, answer)


def test_a_name_that_nobody_has_is_refused(server: Instance, delimiter: str) -> None:
    """The control: whatever begins like a name would be taken."""
    for character in delimiter:
        # A character that is no delimiter is part of the name.
        other = {"+": "-", "-": "+", "+-": "="}[delimiter]
        names = ("lea", f"lea{character}mari", f"{character}lea-marie", "lea-mari", f"anna{other}x")
        for name in names:
            answer = rcpt(server, f"{name}{character}shop@example.org")
            # Postfix takes no name that begins with "-".
            refusals = ("550 5.1.1 ", "501 5.1.3 ") if name[0] == "-" else ("550 5.1.1 ",)
            assert answer.startswith(refusals), (name, answer)


def test_sieve_sees_the_extension(server: Instance, delimiter: str) -> None:
    """Filters by extension would sort nothing, or take half of a name for an extension."""
    script = (
        'require ["subaddress", "envelope", "fileinto", "mailbox"];\n'
        'if envelope :detail "to" "shop" { fileinto :create "Shop"; }\n'
        'elsif envelope :detail :matches "to" "*" { fileinto :create "Other"; }'
    )
    for login in (ANNA, EVA, LEA):
        with From(CLIENT).sieve(server.public("sieve"), login) as sieve:
            sieve.put("shop", script)
    try:
        for character in delimiter:
            subject = deliver(server, f"anna{character}shop@example.org")
            assert wait_for_mail(server.public("imap"), ANNA, subject, folder="Shop")
            # The address that it was sent to counts, not where the alias leads.
            subject = deliver(server, f"friends{character}Shop@example.org")
            assert wait_for_mail(server.public("imap"), ANNA, subject, folder="Shop")
        if "+" in delimiter:
            subject = deliver(server, "lea-marie+shop@example.org")
            assert wait_for_mail(server.public("imap"), LEA, subject, folder="Shop")
        subject = deliver(server, EVA[0])
        assert wait_for_mail(server.public("imap"), EVA, subject)
    finally:
        for login in (ANNA, EVA, LEA):
            with From(CLIENT).sieve(server.public("sieve"), login) as sieve:
                sieve.deactivate()


def test_verify_passes(server: Instance) -> None:
    """The proof would fail for ever: its own mailbox has a dash in its name."""
    done = server.run("verify", timeout=120)
    assert done.returncode in {0, 3}, done.stdout


def test_a_mailbox_wins_even_beside_a_shorter_one(server: Instance, delimiter: str) -> None:
    """Mail would land in another's mailbox before anybody has checked the configuration."""
    pair = (f"anna{delimiter[0]}maria@example.org", PASSWORD)
    with open_store(Home(server.home).database) as store:
        store.add_mailbox(Mailbox(pair[0], HASH))
    try:
        server.call("mailbox", "passwd", pair[0], "--password-stdin", stdin=PASSWORD)
        subject = deliver(server, pair[0])
        assert wait_for_mail(server.public("imap"), pair, subject)
        with smtplib.LMTP(str(server.home / "run" / "dovecot" / "lmtp")) as lmtp:
            lmtp.sendmail(FRIEND, [pair[0]], message(to=pair[0], subject="direct").as_string())
        assert wait_for_mail(server.public("imap"), pair, "direct")
        checked = server.run("config", "check")
        assert checked.returncode == 2, checked.stdout + checked.stderr
        assert f'"{pair[0]}" and "{ANNA[0]}" cannot be told apart' in checked.stderr
    finally:
        server.call("mailbox", "remove", pair[0])
    assert server.run("config", "check").returncode == 0


def test_a_delimiter_that_joins_two_mailboxes_is_refused() -> None:
    """Mail for one would go to the other after a change of RECIPIENT_DELIMITER."""
    with instance({"REVERSE_PROXY": "none"}, start=False) as server:
        server.call("domain", "add", "example.org")
        for address in ("anna@example.org", "anna-maria@example.org"):
            server.call("mailbox", "add", address, "--password-stdin", stdin=PASSWORD)
        server.up()
        server.settings["RECIPIENT_DELIMITER"] = "+-"
        for command in (("config", "check"), ("up", "--detach")):
            done = server.run(*command)
            assert done.returncode == 2, done.stdout + done.stderr
            assert '"anna-maria@example.org" and "anna@example.org"' in done.stderr
        subject = deliver(server, "anna-maria@example.org")
        login = ("anna-maria@example.org", PASSWORD)
        assert wait_for_mail(server.public("imap"), login, subject)
        server.call("mailbox", "remove", "anna@example.org")
        server.up()
        subject = deliver(server, "anna-maria@example.org")
        assert wait_for_mail(server.public("imap"), login, subject)
