"""What cannot be delivered is refused at RCPT, and lists of many members work."""

from __future__ import annotations

import re
import subprocess
import uuid
from collections.abc import Iterator

import pytest
from accounts import PASSWORD
from clients import From, message, wait_for_mail
from instance import CLIENT, Instance, instance
from outside import Outside

ANNA = ("anna@example.org", PASSWORD)
FRIEND = "friend@outside.test"
FULL = "full@example.org"
FULL_TOO = ("full2@example.org", "full3@example.org")
EMPTY = ("empty@example.org", PASSWORD)
MEMBERS = 10_000


@pytest.fixture(scope="module", params=["+", "-", "+-"])
def server(request: pytest.FixtureRequest, outside: Outside) -> Iterator[Instance]:
    """Run a server without a proxy, for none matters here."""
    settings = {
        "REVERSE_PROXY": "none",
        "RECIPIENT_DELIMITER": request.param,
        "RELAYHOST": f"[{outside.host}]:{outside.port}",
    }
    with instance(settings) as made:
        said = made.run("domain", "add", "example.org")
        assert "Warning: Nobody reads postmaster@example.org" in said.stderr
        for domain in ("dead.example", "full.example"):
            made.call("domain", "add", domain)
        for address, *options in (
            (ANNA[0],),
            *((address, "--quota", "10K") for address in (FULL, *FULL_TOO)),
            (EMPTY[0], "--quota", "10M"),
            ("noreply@example.org", "--send-only"),
        ):
            made.call("mailbox", "add", address, "--password-stdin", *options, stdin=PASSWORD)
        for name, *targets in (
            ("mute@example.org", "noreply@example.org"),
            ("dead@example.org", "nobody@example.org", "noreply@example.org"),
            ("nested@example.org", "dead@example.org"),
            ("full-alias@example.org", FULL),
            ("full-nested@example.org", "full-alias@example.org", "noreply@example.org"),
            ("allfull@example.org", FULL, *FULL_TOO),
            ("allnested@example.org", "nobody@example.org", "allfull@example.org"),
            ("none@example.org", FULL, "nobody@example.org", "noreply@example.org", FULL_TOO[0]),
            ("sl/ash@example.org", "allfull@example.org"),
            ("oneleft@example.org", FULL_TOO[1], "allfull@example.org", EMPTY[0]),
            ("room@example.org", EMPTY[0], "noreply@example.org"),
            ("small@example.org", EMPTY[0], FULL),
            ("half@example.org", "nobody@example.org", ANNA[0]),
            ("away@example.org", FRIEND),
            ("@dead.example", "dead@example.org"),
            ("@full.example", "allnested@example.org"),
        ):
            said = made.run("alias", "add", name, *targets)
            assert said.returncode == 0, said.stderr
            warned = {"noreply@example.org", "nobody@example.org"} & set(targets)
            assert all(target in said.stderr for target in warned)
        body = "\n".join(["y" * 70] * 300)
        with From(CLIENT).smtp(made.public("smtp")) as smtp:
            smtp.send_message(message(to=FULL, body=body), FRIEND, [FULL, *FULL_TOO])
        for address in (FULL, *FULL_TOO):
            made.wait_for_log(f"to=<{address}>", "status=sent")
        yield made


def rcpt(server: Instance, recipient: str) -> tuple[int, str]:
    """Return what RCPT TO is answered with."""
    with From(CLIENT).smtp(server.public("smtp")) as smtp:
        smtp.mail(FRIEND)
        code, words = smtp.rcpt(recipient)
        return code, words.decode()


@pytest.mark.parametrize(
    ("recipient", "code"),
    [
        (FULL, 552),
        ("mute@example.org", 550),
        ("dead@example.org", 550),
        ("dead{}x@example.org", 550),
        ("nested@example.org", 550),
        ("full-alias@example.org", 552),
        ("full-nested@example.org", 552),
        ("full{}x@example.org", 552),
        ("allfull@example.org", 552),
        ("AllFull{}x@example.org", 552),
        ("allnested@example.org", 552),
        ("none@example.org", 552),
        ("sl/ash@example.org", 552),
        ("whoever@full.example", 552),
        ("who/ever{}{{x}}y=z@full.example", 552),
        ('"a,(b)"@full.example', 552),
        ("small@example.org", 250),
        ("oneleft@example.org", 250),
        ("oneleft{}x@example.org", 250),
        ("whoever@dead.example", 550),
        ("whoever{}x@dead.example", 550),
        ("noreply@example.org", 550),
        ("noreply{}x@example.org", 550),
        ("nobody@example.org", 550),
        ("postmaster@example.org", 550),
        ("abuse@dead.example", 550),
        ("room@example.org", 250),
        ("half@example.org", 250),
        ("half{}x@example.org", 250),
        ("away@example.org", 250),
        (ANNA[0], 250),
    ],
)
def test_recipients_are_judged_by_what_they_lead_to(
    server: Instance, recipient: str, code: int
) -> None:
    """What is accepted and bounced later goes to a sender who is often forged."""
    for character in server.settings["RECIPIENT_DELIMITER"] if "{}" in recipient else " ":
        found, words = rcpt(server, recipient.format(character) if character != " " else recipient)
        assert found == code, words
        for internal in ("127.", FULL, "noreply@", "nobody@"):
            assert internal not in words or internal in recipient


def test_a_full_alias_is_refused_in_the_mailboxes_words(server: Instance) -> None:
    """The sender would not learn what is wrong."""
    words = rcpt(server, "allfull@example.org")[1]
    assert words.startswith("5.2.2 ")
    assert "The mailbox is full" in words


def test_role_addresses_are_judged_by_all_mailboxes_behind_them(server: Instance) -> None:
    """Mail to a postmaster that reads nothing any more would bounce."""
    server.call("alias", "add", "postmaster@example.org", FULL, *FULL_TOO)
    try:
        for recipient in ("postmaster@example.org", "abuse@full.example"):
            assert rcpt(server, recipient)[0] == 552, recipient
    finally:
        server.call("alias", "remove", "postmaster@example.org")


def test_one_mailbox_with_room_gets_the_mail_and_the_bounce_names_the_others(
    server: Instance, outside: Outside
) -> None:
    """A list would be dead because of one full member; or the notice tell of our machine."""
    subject, before = uuid.uuid4().hex, len(outside.messages)
    with From(CLIENT).smtp(server.public("smtp")) as smtp:
        smtp.send_message(
            message(to="oneleft@example.org", subject=subject), FRIEND, ["oneleft@example.org"]
        )
    assert wait_for_mail(server.public("imap"), EMPTY, subject)
    bounce = outside.wait_for(to=FRIEND, containing=subject, since=before)
    words, fields, returned = (part.as_string() for part in bounce.message.iter_parts())
    for part in (words, fields):
        for address in (FULL, *FULL_TOO):
            assert address in part
        for inside in (EMPTY[0], "[", "127.", "localhost", "lmtp", str(server.home), "Remote-MTA"):
            assert inside not in part, part
    assert f"<{FULL}> (expanded from <oneleft@example.org>): the mail store said: 552" in " ".join(
        words.split()
    )
    assert "5.2.2 The mailbox is full" in " ".join(words.split())
    assert re.search(r"(?m)^Diagnostic-Code: smtp; 552 5\.2\.2 ", fields)
    assert f"Subject: {subject}" in returned


def test_while_the_mail_store_is_away_mail_waits(server: Instance) -> None:
    """The front door would refuse mail because the mail store restarts."""
    subject, run = uuid.uuid4().hex, server.home / "run" / "dovecot"
    for name in ("quota-status", "lmtp"):
        (run / name).rename(run / f"{name}.away")
    try:
        assert rcpt(server, "allfull@example.org")[0] == 250
        server.wait_for_log("mail for an alias is taken without a look at quotas: ")
        with From(CLIENT).smtp(server.public("smtp")) as smtp:
            smtp.send_message(
                message(to="x@example.org", subject=subject), FRIEND, ["oneleft@example.org"]
            )
        server.wait_for_log(f"to=<{EMPTY[0]}>", "status=deferred (connect to the mail store: ")
    finally:
        for name in ("quota-status", "lmtp"):
            (run / f"{name}.away").rename(run / name)
    # Its own next attempt would come within half a minute.
    queue = server.home / "config" / "current" / "postfix"
    subprocess.run(["postqueue", "-c", queue.resolve(), "-f"], check=True)
    assert wait_for_mail(server.public("imap"), EMPTY, subject, seconds=60)
    assert rcpt(server, "allfull@example.org")[0] == 552


def test_strangers_get_no_delivery_notices(server: Instance) -> None:
    """A notice of success would go to a forged sender, and name who is behind an alias."""
    with From(CLIENT).smtp(server.public("smtp")) as smtp:
        smtp.ehlo()
        assert not smtp.has_extn("dsn")
        smtp.mail(FRIEND)
        assert smtp.rcpt(ANNA[0], ["NOTIFY=SUCCESS"])[0] // 100 == 5


def test_role_addresses_reach_somebody(server: Instance) -> None:
    """Other servers refuse mail of a domain without a postmaster."""
    roles = ("postmaster", "Abuse@dead.example", "postmaster@mail.example.org")
    report = server.run("verify", "--only", "role-addresses", timeout=60)
    assert report.returncode == 3, report.stdout
    assert "Nobody reads" in server.run("config", "check").stderr
    assert "Nobody reads" in server.run("up", "--detach", timeout=90).stderr
    server.call("alias", "add", "postmaster@example.org", ANNA[0])
    try:
        for recipient in roles:
            subject = uuid.uuid4().hex
            with From(CLIENT).smtp(server.public("smtp")) as smtp:
                smtp.send_message(message(to=ANNA[0], subject=subject), FRIEND, [recipient])
            assert wait_for_mail(server.public("imap"), ANNA, subject)
        server.call("verify", "--only", "role-addresses")
        assert "Nobody reads" not in server.run("config", "check").stderr
    finally:
        server.call("alias", "remove", "postmaster@example.org")


def test_a_list_of_ten_thousand(server: Instance, outside: Outside) -> None:
    """Mail to a long list, and to others in the same message, would wait for ever."""
    lines = [
        f"alias,half-{half}@example.org,,,,,"
        + " ".join(f"m{half}-{n}@outside.test" for n in range(MEMBERS // 2 - 1))
        for half in (0, 1)
    ]
    lines.append("alias,list@example.org,,,,,half-0@example.org half-1@example.org")
    header = "type,address,password_hash,quota,enabled,send_only,targets"
    text = "\n".join([header, *lines, ""])
    server.call("import", "-", "--format", "csv", stdin=text)
    more = text.replace("list@", "more@").replace(
        "m1-0@", "more1@outside.test more2@outside.test m1-0@"
    )
    more = more.replace("half-", "other-").replace("m0-", "o0-").replace("m1-", "o1-")
    refused = server.run("import", "-", "--format", "csv", stdin=more)
    assert refused.returncode == 2
    assert "more than 10,000" in refused.stderr
    subject = uuid.uuid4().hex
    with From(CLIENT).smtp(server.public("smtp")) as smtp:
        smtp.send_message(
            message(to="list@example.org", subject=subject), FRIEND, ["list@example.org", ANNA[0]]
        )
    assert wait_for_mail(server.public("imap"), ANNA, subject, seconds=60)
    for member in ("m0-0", f"m1-{MEMBERS // 2 - 2}"):
        assert outside.wait_for(to=f"{member}@outside.test", subject=subject, seconds=120)
