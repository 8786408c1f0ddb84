"""A flood of one kind of line leaves room for all others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gatepost.plugins.dovecot import process as dovecot
from gatepost.plugins.postfix import process as postfix
from gatepost.run import floods
from gatepost.run.floods import Limits
from gatepost.run.logs import LogStream


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        """Begin at nought."""
        self.now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


POSTFIX = "Nov 29 14:25:10 mail postfix/smtp/smtpd[20946]: "
DOVECOT = "Nov 29 14:25:09 "


def test_a_flood_leaves_room_for_another_kind() -> None:
    """Traefik wrote 20 MB in 4 s, and the mail log of a week was gone."""
    clock = Clock()
    limits = Limits(clock=clock)
    flood = [b"2026-11-29T14:25:%02dZ ERR accept tcp: too many open files" % n for n in range(60)]
    kept = 0
    for _ in range(1000):
        clock.now += 0.004
        kept += len(limits.admitted(flood))
    assert kept <= floods.BURST + 4 * floods.PER_SECOND + 1
    assert limits.admitted([b"2026-11-29T14:25:10Z ERR certificate has expired"])
    clock.now += 10
    (told,) = limits.left_out()
    assert told.startswith(f"{60_000 - kept:,} more lines of this kind were left out: 2026-11-29T")
    assert limits.left_out() == []


def test_lines_come_again_when_the_flood_is_over() -> None:
    """The next trouble of the kind would not be seen."""
    clock = Clock()
    limits = Limits(clock=clock)
    limits.admitted([b"ERR one"] * 1000)
    assert limits.admitted([b"ERR one"]) == []
    clock.now += 30
    assert limits.admitted([b"ERR one"]) == [b"ERR one"]


def test_numbers_and_addresses_make_no_kind_of_their_own() -> None:
    """A flood comes from a thousand ports, and each line would be the first of its kind."""
    limits = Limits(clock=Clock())
    lines = [
        b"WRN refused 192.0.2.%d:%d user=<u%d@example.org>" % (n % 250, n, n) for n in range(999)
    ]
    assert len(limits.admitted(lines)) == floods.BURST


def test_a_strangers_words_make_no_endless_kinds() -> None:
    """Whoever chooses the words of a line would choose how much is written."""
    limits = Limits(clock=Clock())
    kept = limits.admitted([b"warning: Illegal address " + word for word in _words(5000)])
    assert len(kept) <= floods._KINDS + floods.BURST


def _words(count: int) -> list[bytes]:
    return [bytes(97 + (n // 26**k) % 26 for k in range(4)) for n in range(count)]


SAID = [
    POSTFIX.encode() + b"warning: non-SMTP command from unknown[192.0.2.1]: GET %s HTTP/1.1" % word
    for word in _words(260)
]
FATAL = POSTFIX.encode() + b"fatal: write queue file: No space left on device"


@pytest.mark.parametrize(
    "line",
    [
        POSTFIX + "warning: non-SMTP command from unknown[192.0.2.1]: GET {} HTTP/1.1",
        POSTFIX + "warning: Illegal address syntax from a.example[2001:db8::1] in MAIL: <{}>",
        POSTFIX + "warning: hostname {} does not resolve to address 192.0.2.1",
        POSTFIX + "warning: hostname {}.example does not resolve to address 192.0.2.1",
        POSTFIX + 'error: open "{} of them": Permission denied',
        DOVECOT + "imap({})<12><abc>: Error: Mailbox {}: Corrupted index",
        DOVECOT + "imap-login: Warning: bad command '{} it'",
        '2026-11-29T14:25:10Z ERR Cannot serve error="{} is none"',
    ],
)
def test_what_a_client_says_makes_no_kind(line: str) -> None:
    """A client with 200 words would fill the table of kinds."""
    limits = Limits(clock=Clock())
    lines = [line.replace("{}", word.decode()).encode() for word in _words(260)]
    assert len(limits.admitted(lines)) == floods.BURST


def test_the_month_the_host_and_the_process_make_no_kind() -> None:
    """The table would double each month."""
    limits = Limits(clock=Clock())
    lines = [
        b"%s  9 14:25:10 %s postfix/%s[%d]: warning: dict changed" % (month, host, program, number)
        for month in (b"Nov", b"Dec")
        for host in (b"mail", b"relay")
        for program in (b"qmgr", b"smtp/smtpd")
        for number in range(20)
    ]
    assert len(limits.admitted(lines)) == floods.BURST


def test_a_full_disk_is_told_in_a_flood_of_words() -> None:
    """A client that speaks HTTP would keep it out of the log."""
    limits = Limits(clock=Clock())
    limits.admitted(SAID * 5)
    assert limits.admitted([FATAL]) == [FATAL]


@pytest.mark.parametrize(
    "trouble",
    [
        FATAL.decode(),
        POSTFIX + "panic: myfree: corrupt",
        POSTFIX + "error: open database: No such file",
        "postfix: fatal: no such file",
        "fatal: open: no such file",
        DOVECOT + "imap(a@b.example)<12><abc>: Error: write failed: No space left on device",
        DOVECOT + "master: Panic: file master.c",
        "doveconf: Fatal: Error in configuration file",
        "2026-11-29T14:25:10Z ERR accept tcp: too many open files",
        "2026-11-29T14:25:10Z FTL out of memory",
    ],
)
def test_trouble_is_written_whatever_the_flood(trouble: str) -> None:
    """Why the mail server stopped would be missing, for a stranger's chatter."""
    limits = Limits(clock=Clock())
    chatter = [POSTFIX.encode() + b"warning: %s" % word for word in _words(1000)]
    another = POSTFIX.encode() + b"warning: one more of them"
    limits.admitted(chatter)
    assert limits.admitted([another, trouble.encode()]) == [trouble.encode()]


def test_traffic_is_written_whatever_the_flood() -> None:
    """What became of a message would be missing, when a new program first writes in a flood."""
    limits = Limits(postfix._EVENTS, Clock())
    limits.admitted([POSTFIX.encode() + b"warning: %s" % word for word in _words(1000)])
    lines = [POSTFIX.encode() + b"connect from unknown[192.0.2.1]"] * 1000
    assert limits.admitted(lines) == lines


def test_a_kind_that_was_quiet_makes_room() -> None:
    """One flood would last until the service restarts; what it left out is told all the same."""
    clock = Clock()
    limits = Limits(clock=clock)
    first = b"warning: first of all"
    limits.admitted([first] * 60)
    limits.admitted([b"warning: " + word for word in _words(1000)])
    clock.now += floods._QUIET_SECONDS + 1
    assert any(sentence.startswith("10 more lines") for sentence in limits.left_out())
    assert limits._kinds[b""] == {}
    lines = [b"warning: second of all"] * 50 + [b"warning: third of all"] * 50
    assert limits.admitted(lines) == lines


def test_the_memory_of_kinds_is_bounded() -> None:
    """A stranger's words would fill the memory."""
    limits = Limits(clock=Clock())
    for level in (b"", b"fatal: ", b"Error: "):
        limits.admitted([level + b"open " + word for word in _words(5000)])
    assert [len(kinds) for kinds in limits._kinds.values()] == [floods._KINDS + 1] * 3


@pytest.mark.parametrize(
    ("pattern", "line", "kind"),
    [
        (
            postfix._EVENTS,
            POSTFIX + "connect from localhost[127.0.0.1]:53858",
            "postfix/smtp/smtpd",
        ),
        (
            postfix._EVENTS,
            POSTFIX + "warning: unknown[192.0.2.1]:4711: SASL PLAIN authentication failed: x",
            "postfix/smtp/smtpd",
        ),
        (postfix._EVENTS, POSTFIX + "warning: hostname x does not resolve to address", None),
        (postfix._EVENTS, POSTFIX + "fatal: no SASL authentication mechanisms", None),
        (
            dovecot._EVENTS,
            DOVECOT + "imap-login: Info: Login: user=<a@b>, method=PLAIN, rip=127.0.0.1",
            "imap-login",
        ),
        (
            dovecot._EVENTS,
            DOVECOT + "lmtp(alice@example.org)<123><abc>: Info: sieve: msgid=<1@x>: stored",
            "lmtp",
        ),
        (dovecot._EVENTS, DOVECOT + "imap-login: Error: net_connect_unix failed", None),
        (dovecot._EVENTS, DOVECOT + "master: Warning: service(imap): process_limit reached", None),
    ],
)
def test_traffic_is_told_from_trouble(pattern: str, line: str, kind: str | None) -> None:
    """A busy server's own messages would be left out, or a flood of warnings let through."""
    found = re.match(pattern, line)
    assert (found and found[1]) == kind


def test_traffic_of_a_busy_server_is_written_whole() -> None:
    """What became of a message would be missing from the log."""
    clock = Clock()
    limits = Limits(postfix._EVENTS, clock)
    lines = [f"{POSTFIX}connect from unknown[192.0.2.1]:{n}".encode() for n in range(1500)]
    for _ in range(100):
        clock.now += 1
        assert limits.admitted(lines) == lines


def test_the_log_file_is_kept_by_it(tmp_path: Path) -> None:
    """The limits would exist, and the file grow all the same."""
    log = LogStream(tmp_path / "log")
    log.limit("traefik", "")
    for _ in range(2000):
        log.feed("traefik", b"2026-11-29T14:25:10Z ERR accept: too many open files\n" * 10)
    log.feed("postfix", b"mail\n")
    text = (tmp_path / "log").read_text()
    assert len(text) < 20_000
    assert "postfix | mail" in text
