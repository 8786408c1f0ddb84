"""What Postfix's log says of its clients, and what clients say of themselves."""

from __future__ import annotations

import pytest

from gatepost.model import Event, Observation
from gatepost.plugins.postfix.witness import observe

SMTPD = "Nov 24 10:11:37 mail postfix/submission/smtpd[10786]: "


def seen(line: str) -> tuple[Event, str, int | None, str | None] | None:
    found = observe(line)
    return (found.event, found.client, found.port, found.user) if found else None


@pytest.mark.parametrize("before", ["postfix | ", "", "mta | "])
@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("connect from unknown[127.0.0.77]:52179", (Event.CONNECT, "127.0.0.77", 52179, None)),
        (
            "connect from mx1.example.net[fd00:6a7e::77]:33447",
            (Event.CONNECT, "fd00:6a7e::77", 33447, None),
        ),
        (
            "connect from unknown[::ffff:127.0.0.77]:52179",
            (Event.CONNECT, "127.0.0.77", 52179, None),
        ),
        ("connect from localhost[127.0.0.1]", (Event.CONNECT, "127.0.0.1", None, None)),
        (
            (
                "4jYdrT42cCzJ9QD: client=unknown[127.0.0.77]:59425, sasl_method=PLAIN, "
                "sasl_username=alice@example.org"
            ),
            (Event.LOGIN, "127.0.0.77", 59425, "alice@example.org"),
        ),
        (
            (
                "4jYdrV0rfzzJ9QH: client=unknown[fd00:6a7e::77]:43329, sasl_method=PLAIN, "
                "sasl_username=alice@example.org"
            ),
            (Event.LOGIN, "fd00:6a7e::77", 43329, "alice@example.org"),
        ),
        (
            (
                "warning: unknown[127.0.0.77]:50127: SASL PLAIN authentication failed: "
                "(reason unavailable), sasl_username=alice@example.org"
            ),
            (Event.LOGIN_FAILED, "127.0.0.77", 50127, "alice@example.org"),
        ),
        (
            (
                "warning: unknown[fd00:6a7e::77]:50127: SASL LOGIN authentication failed: "
                "UGFzc3dvcmQ6, sasl_username=(unavailable)"
            ),
            (Event.LOGIN_FAILED, "fd00:6a7e::77", 50127, None),
        ),
        (
            "warning: unknown[127.0.0.77]:50127: SASL PLAIN authentication failed:",
            (Event.LOGIN_FAILED, "127.0.0.77", 50127, None),
        ),
        (
            "disconnect from unknown[127.0.0.77]:52179 ehlo=1 auth=0/1 quit=1 commands=2/3",
            (Event.DISCONNECT, "127.0.0.77", 52179, None),
        ),
    ],
)
def test_a_client_is_read(
    before: str, said: str, expected: tuple[Event, str, int | None, str | None]
) -> None:
    """The proof that Postfix saw the client would fail although it did."""
    assert seen(f"{before}{SMTPD}{said}\n") == expected


def test_a_day_of_one_digit_is_read() -> None:
    """The proof would fail in the first nine days of each month."""
    line = (
        "postfix | Dec  1 10:05:25 mail postfix/smtp/smtpd[1]: connect from unknown[127.0.0.77]:5"
    )
    assert seen(line) == (Event.CONNECT, "127.0.0.77", 5, None)


def test_the_line_is_kept_as_evidence() -> None:
    """A finding would show words that are not in the log."""
    line = f"postfix | {SMTPD}connect from unknown[127.0.0.77]:52179"
    assert observe(line + "\n") == Observation(
        "postfix", Event.CONNECT, "127.0.0.77", 52179, None, line, internal=False
    )


def test_an_internal_listener_is_told_by_its_name() -> None:
    """Sieve's messages would be counted as those of clients outside."""
    found = observe(
        "Nov 24 10:11:37 mail postfix/internal-smtp/smtpd[1]: connect from unknown[127.0.0.1]:52179"
    )
    assert found is not None
    assert found.internal is True


@pytest.mark.parametrize(
    "line",
    [
        "",
        "postfix | ",
        f"postfix | {SMTPD}connect from unknown[unknown]",
        f"postfix | {SMTPD}4jYdrS2HGczJ9Q6: client=unknown[127.0.0.77]:52179",
        f"postfix | {SMTPD}lost connection after CONNECT from unknown[127.0.0.77]:52179",
        "postfix | Nov 24 10:11:37 mail postfix/lmtp[1]: connect from unknown[127.0.0.77]:5",
        "dovecot | Nov 24 10:05:25 lmtp(6383): Info: Connect from 127.0.0.1",
    ],
)
def test_other_lines_tell_nothing(line: str) -> None:
    """A line about something else would count as proof."""
    assert seen(line) is None


FORGED = "connect from evil.test[192.0.2.66]:25"


@pytest.mark.parametrize(
    "line",
    [
        (
            f"{SMTPD}NOQUEUE: reject: RCPT from unknown[127.0.0.77]:41219: 554 5.7.1 <x@y.test>: "
            f"Relay access denied; from=<a@b.test> to=<x@y.test> proto=ESMTP helo=<{FORGED}>"
        ),
        f"{SMTPD}warning: non-SMTP command from unknown[127.0.0.77]:41219: {FORGED}",
        f"{SMTPD}warning: unknown[127.0.0.77]:41219: {FORGED}",
        f"Nov 24 10:11:37 mail postfix/cleanup[9]: 4jYdrT42cCzJ9QD: message-id=<{SMTPD}{FORGED}>",
        f"Nov 24 10:11:37 mail postfix/cleanup[9]: {SMTPD}{FORGED}",
    ],
)
def test_a_clients_words_are_not_postfixs(line: str) -> None:
    """Anybody could make the log "prove" an address that never came."""
    assert seen(f"postfix | {line}") is None


def test_control_the_same_words_from_postfix_count() -> None:
    """The lines above are ignored for who says it, and not for what is said."""
    assert seen(f"postfix | {SMTPD}{FORGED}") == (Event.CONNECT, "192.0.2.66", 25, None)


@pytest.mark.parametrize(
    "words",
    [
        "192.0.2.66",
        "evil.test[192.0.2.66]:25",
        "x, sasl_username=evil.test[192.0.2.66]:25",
        "x: warning: evil.test[192.0.2.66]:25: SASL PLAIN authentication failed: x",
    ],
)
@pytest.mark.parametrize("where", ["mechanism", "name"])
def test_a_failed_login_cannot_name_another_address(words: str, where: str) -> None:
    """Guessing passwords would be blamed on somebody else, who is then shut out."""
    mechanism, name = (words.replace(" ", "_"), "x") if where == "mechanism" else ("PLAIN", words)
    observation = observe(
        f"postfix | {SMTPD}warning: unknown[127.0.0.77]:50127: SASL {mechanism} "
        f"authentication failed: (reason unavailable), sasl_username={name}"
    )
    assert observation is not None
    assert (observation.event, observation.client) == (Event.LOGIN_FAILED, "127.0.0.77")
    assert observation.port == 50127


@pytest.mark.parametrize("words", ["x, sasl_username=eve@example.org", "x sasl_username=eve,"])
def test_a_sender_s_own_words_are_no_login(words: str) -> None:
    """Whoever logs in could be taken for somebody else by what MAIL FROM's AUTH says."""
    line = (
        f"{SMTPD}4jYd: client=unknown[127.0.0.77]:5, sasl_method=PLAIN, "
        f"sasl_username=alice@example.org, sasl_sender={words}"
    )
    assert seen(line) == (Event.LOGIN, "127.0.0.77", 5, "alice@example.org")


@pytest.mark.parametrize("port", ["9" * 5000, "٣", "123456"])
def test_what_is_no_port_is_no_evidence(port: str) -> None:
    """A line that nobody's Postfix writes would stop the one who reads it."""
    assert observe(f"{SMTPD}connect from unknown[127.0.0.77]:{port}") is None
