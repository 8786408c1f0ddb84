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
    "extension": '"anna<delimiter>{}"@example.org',
    "limited": '"eva-maria<delimiter>{}"@catchall.example',
    "alias": '"sales<delimiter>{}"@example.org',
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
PRINTABLE = "".join(map(chr, range(ord("!"), ord("~") + 1)))
UNFIT = '"%(),/:;<>@[\\]'
"""What no mailbox takes in an extension."""
ROUTES = "%@"
"""What strangers may not write into a local part: Postfix takes it for a way to another server."""
FEW = 8
"""Refusals after which Postfix does not make a client wait."""


@pytest.fixture(scope="module", params=["+", "-", "+-"])
def server(request: pytest.FixtureRequest) -> Iterator[Instance]:
    """Run a server without a proxy, for none matters here."""
    settings = {"REVERSE_PROXY": "none", "RECIPIENT_DELIMITER": request.param}
    with instance(settings) as made:
        made.call("domain", "add", "example.org")
        made.call("domain", "add", "catchall.example")
        made.call("mailbox", "add", ANNA[0], "--password-stdin", stdin=PASSWORD)
        made.call(
            *("mailbox", "add", "eva-maria@catchall.example", "--password-stdin"),
            *("--quota", "100M"),
            stdin=PASSWORD,
        )
        made.call("alias", "add", "sales@example.org", ANNA[0])
        made.call("alias", "add", "@catchall.example", ANNA[0])
        yield made


def addresses(server: Instance, to: str, plain: str) -> list[str]:
    """Put characters into a quoted local part, behind each delimiter where there is one."""
    escaped = plain.replace("\\", "\\\\").replace('"', '\\"')
    found = (
        LOCAL_PARTS[to].replace("<delimiter>", delimiter).format(escaped)
        for delimiter in server.settings["RECIPIENT_DELIMITER"]
    )
    return list(dict.fromkeys(found))


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
    recipients = [a for strange in STRANGE.values() for a in addresses(server, to, strange)]
    if to == "extension":
        recipients += [a.replace('"', "") for a in addresses(server, to, "\xfc")]
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
    recipients = [a for plain in QUOTED for a in addresses(server, "elsewhere", plain)]
    for answer in ask(server, "submission", ANNA[0], *recipients):
        assert answer.startswith("250 "), answer


@pytest.mark.parametrize(
    ("to", "plain"),
    [
        *itertools.product(("extension", "limited"), PLAIN),
        *itertools.product(("alias", "catch-all"), QUOTED),
    ],
)
def test_printable_addresses_are_delivered(server: Instance, to: str, plain: str) -> None:
    """Mail would be refused without need, or bounce if the mail store took fewer than Postfix."""
    for recipient in addresses(server, to, plain):
        since = server.mark()
        with From(CLIENT).smtp(server.public("smtp")) as smtp:
            smtp.sendmail(FRIEND, [recipient], message(to=ANNA[0]).as_string())
        line = server.wait_for_log("postfix/lmtp", "status=", since=since)
        assert "status=sent" in line, line


@pytest.mark.parametrize("listener", ["smtp", "submission"])
@pytest.mark.parametrize("to", ["extension", "limited"])
def test_extensions_that_no_mailbox_takes_are_refused(
    server: Instance, listener: str, to: str
) -> None:
    """The mail store refuses them after Postfix took them, and the bounce goes to anybody."""
    sender = FRIEND if listener == "smtp" else ANNA[0]
    asked = [a for c in UNFIT for a in addresses(server, to, f"x{c}y")]
    # Names that begin with a quote and go on like a mailbox's.
    asked += [a.replace('"', '"\\"', 1).replace('"@', '\\""@') for a in asked]
    for start in range(0, len(asked), FEW):
        some = asked[start : start + FEW]
        for recipient, answer in zip(some, ask(server, listener, sender, *some), strict=True):
            codes: tuple[str, ...] = ("553 5.1.3 ", "550 5.1.1 ")
            if listener == "smtp" and set(ROUTES) & set(recipient.rpartition("@")[0]):
                codes = ("554 5.7.1 ",)
            assert answer.startswith(codes), (recipient, answer)


def test_all_other_extensions_are_delivered(server: Instance) -> None:
    """The control: mail would be refused without need, or the mail store take fewer of them."""
    # Postfix takes addresses that differ in their case for one.
    fit = [c for c in PRINTABLE if c not in UNFIT and not c.isupper()]
    recipients = [a for c in fit for a in addresses(server, "extension", f"x{c}y")]
    since = server.mark()
    with From(CLIENT).submission(server.public("submission"), ANNA) as smtp:
        assert smtp.sendmail(ANNA[0], recipients, message(to=ANNA[0]).as_string()) == {}
    server.wait_for_log("postfix/qmgr", ": removed", since=since, seconds=60)
    lines = [line for line in server.log(since).splitlines() if " status=" in line]
    assert len(lines) == len(recipients)
    assert [line for line in lines if "status=sent" not in line] == []


def test_the_empty_sender_is_taken_on_port_25(server: Instance) -> None:
    """Bounces for our users would be refused."""
    [answer] = ask(server, "smtp", "", ANNA[0])
    assert answer.startswith("250 "), answer
