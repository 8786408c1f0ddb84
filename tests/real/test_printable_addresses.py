"""Addresses with bytes that are not printable ASCII are refused while the client listens."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from accounts import PASSWORD
from clients import From, message
from instance import CLIENT, Instance, instance

ANNA = ("anna@example.org", PASSWORD)
FRIEND = "friend@outside.test"

LOCAL_PARTS = {
    "extension": '"anna+{}"@example.org',
    "alias": '"sales+{}"@example.org',
    "catch-all": '"any{}"@catchall.example',
    "elsewhere": '"any{}"@outside.test',
}
STRANGE = {
    "latin-1": "\xfc",
    "utf-8": "\xc3\xbc",
    "highest": "\xff",
    "c1": "\x85",
    "tab": "\t",
    "space": " ",
    "escape": "\x1b",
    "delete": "\x7f",
}
PLAIN = ("x", "A.b", "#$&'*=?^_`{|}~")
QUOTED = (*PLAIN, "/", "(),:;<>[\\]")


@pytest.fixture(scope="module")
def server() -> Iterator[Instance]:
    """Run a server without a proxy, for none matters here."""
    with instance({"REVERSE_PROXY": "none"}) as made:
        made.call("domain", "add", "example.org")
        made.call("domain", "add", "catchall.example")
        made.call("mailbox", "add", ANNA[0], "--password-stdin", stdin=PASSWORD)
        made.call("alias", "add", "sales@example.org", ANNA[0])
        made.call("alias", "add", "@catchall.example", ANNA[0])
        yield made


def quoted(local_part: str, plain: str) -> str:
    """Put characters into a quoted local part."""
    return local_part.format(plain.replace("\\", "\\\\"))


def ask(server: Instance, listener: str, sender: str, *recipients: str) -> list[str]:
    """Return what each RCPT TO is answered with; addresses are sent byte by byte."""
    client = From(CLIENT)
    opened = (
        client.smtp(server.public(listener))
        if listener == "smtp"
        else client.submission(server.public(listener), ANNA, implicit=listener == "submissions")
    )
    with opened as smtp:
        smtp.command_encoding = "latin-1"
        answers = [smtp.docmd(f"MAIL FROM:<{sender}>")]
        assert answers[0][0] == 250
        answers = [smtp.docmd(f"RCPT TO:<{recipient}>") for recipient in recipients]
    return [f"{code} {words.decode('latin-1')}" for code, words in answers]


@pytest.mark.parametrize(
    ("listener", "to"),
    [
        (listener, to)
        for listener, to in itertools.product(("smtp", "submission", "submissions"), LOCAL_PARTS)
        if (listener, to) != ("smtp", "elsewhere")
    ],
)
def test_recipients(server: Instance, listener: str, to: str) -> None:
    """Dovecot refuses them after Postfix took them, and the sender of the bounce may be forged."""
    sender = FRIEND if listener == "smtp" else ANNA[0]
    recipients = [LOCAL_PARTS[to].format(strange) for strange in STRANGE.values()]
    if to == "extension":
        recipients.append("anna+\xfc@example.org")
    for recipient, answer in zip(
        recipients, ask(server, listener, sender, *recipients), strict=True
    ):
        assert answer.startswith("553 5.6.7 "), (recipient, answer)
        assert answer.isascii(), answer
        assert answer.isprintable(), answer


@pytest.mark.parametrize("listener", ["smtp", "submission", "submissions"])
@pytest.mark.parametrize("strange", STRANGE.values(), ids=STRANGE)
def test_senders(server: Instance, listener: str, strange: str) -> None:
    """A bounce could not reach them, and what the mail store makes of them is its own affair."""
    domain = "outside.test" if listener == "smtp" else "example.org"
    [answer] = ask(server, listener, f'"anna+{strange}"@{domain}', ANNA[0])
    assert answer.startswith("553 5.6.7 "), answer


def test_printable_addresses_elsewhere_are_taken(server: Instance) -> None:
    """Users could not write to whom other servers know under such a name."""
    recipients = [quoted(LOCAL_PARTS["elsewhere"], plain) for plain in QUOTED]
    for answer in ask(server, "submission", ANNA[0], *recipients):
        assert answer.startswith("250 "), answer


@pytest.mark.parametrize(
    ("to", "plain"),
    [
        *itertools.product(("extension", "alias"), PLAIN),
        *(("catch-all", plain) for plain in QUOTED),
    ],
)
def test_printable_addresses_are_delivered(server: Instance, to: str, plain: str) -> None:
    """Mail would be refused without need, or bounce if the mail store took fewer than Postfix."""
    recipient, since = quoted(LOCAL_PARTS[to], plain), server.mark()
    with From(CLIENT).smtp(server.public("smtp")) as smtp:
        smtp.sendmail(FRIEND, [recipient], message(to=ANNA[0]).as_string())
    line = server.wait_for_log("postfix/lmtp", "status=", since=since)
    assert "status=sent" in line, line


def test_the_empty_sender_is_taken_on_port_25(server: Instance) -> None:
    """Bounces for our users would be refused."""
    [answer] = ask(server, "smtp", "", ANNA[0])
    assert answer.startswith("250 "), answer
