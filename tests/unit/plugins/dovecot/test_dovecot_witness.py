"""What Dovecot's log says of its clients, and what clients say of themselves."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gatepost.model import Event, Observation
from gatepost.plugins.dovecot.witness import observe

ADDRESSES = "rip=127.0.0.78, rport=50503, lip=127.10.0.1, lport=33993"
END = "TLS, session=<wPpp2QJhR8V/AABO>"
FORGED = "rip=192.0.2.66, rport=25, lip=127.10.0.1, lport=33993"


def seen(line: str) -> tuple[Event, str, int | None, str | None] | None:
    found = observe(line)
    return (found.event, found.client, found.port, found.user) if found else None


@pytest.mark.parametrize("before", ["dovecot | ", "", "mda | "])
@pytest.mark.parametrize(
    ("said", "expected"),
    [
        pytest.param(
            f"imap-login: Info: Login: user=<a@example.org>, method=PLAIN, {ADDRESSES}, "
            f"mpid=6383, {END}",
            (Event.LOGIN, "127.0.0.78", 50503, "a@example.org"),
            id="2.3-login",
        ),
        pytest.param(
            f"pop3-login: Info: Logged in: user=<a@example.org>, method=PLAIN, {ADDRESSES}, "
            f"mpid=6383, {END}",
            (Event.LOGIN, "127.0.0.78", 50503, "a@example.org"),
            id="2.4-login",
        ),
        pytest.param(
            "imap-login: Info: Login: user=<a@example.org>, method=PLAIN, rip=fd00:6a7e::77, "
            f"rport=33447, lip=fd00:6a7e::1, lport=33993, mpid=6383, {END}",
            (Event.LOGIN, "fd00:6a7e::77", 33447, "a@example.org"),
            id="IPv6",
        ),
        pytest.param(
            "imap-login: Info: Login: user=<a@example.org>, method=PLAIN, rip=::ffff:192.0.2.7, "
            f"rport=33447, lip=::ffff:192.0.2.1, lport=33993, mpid=6383, {END}",
            (Event.LOGIN, "192.0.2.7", 33447, "a@example.org"),
            id="mapped",
        ),
        pytest.param(
            "imap-login: Info: Disconnected: Connection closed (auth failed, 1 attempts in 2 "
            f"secs): user=<a@example.org>, method=PLAIN, {ADDRESSES}, {END}",
            (Event.LOGIN_FAILED, "127.0.0.78", 50503, "a@example.org"),
            id="2.3-failed",
        ),
        pytest.param(
            "managesieve-login: Info: Login aborted: Logged out (auth failed, 1 attempts in 2 "
            f"secs) (auth_failed): user=<a@example.org>, method=PLAIN, {ADDRESSES}, {END}",
            (Event.LOGIN_FAILED, "127.0.0.78", 50503, "a@example.org"),
            id="2.4-failed",
        ),
        pytest.param(
            "managesieve-login: Info: Disconnected: Connection closed: SSL_accept() failed: "
            "error:0A000102:SSL routines::unsupported protocol (no auth attempts in 0 secs): "
            "user=<>, rip=127.0.0.77, rport=43991, lip=127.10.0.1, lport=34190, TLS handshaking: "
            "SSL_accept() failed: error:0A000102:SSL routines::unsupported protocol, "
            "session=<wPpp2QJhR8V/AABO>",
            (Event.DISCONNECT, "127.0.0.77", 43991, None),
            id="2.3-no-login",
        ),
        pytest.param(
            "imap-login: Info: Login aborted: Connection closed (no auth attempts in 0 secs) "
            f"(no_auth_attempts): user=<>, {ADDRESSES}, {END}",
            (Event.DISCONNECT, "127.0.0.78", 50503, None),
            id="2.4-no-login",
        ),
        pytest.param(
            "imap-login: Info: Disconnected: Connection closed (disconnected before auth was "
            f"ready, waited 0 secs): user=<>, {ADDRESSES}, session=<wPpp2QJhR8V/AABO>",
            (Event.DISCONNECT, "127.0.0.78", 50503, None),
            id="without-tls",
        ),
        # Here the address is the proxy's, or a stranger's who claims to be one.
        pytest.param(
            "imap-login: Warning: haproxy: Client not trusted (rip=127.0.0.66)",
            (Event.REFUSED, "127.0.0.66", None, None),
            id="untrusted-header",
        ),
        pytest.param(
            "managesieve-login: Error: haproxy: Client timed out (rip=fd00:6a7e::9)",
            (Event.REFUSED, "fd00:6a7e::9", None, None),
            id="no-header",
        ),
        pytest.param(
            "pop3-login: Error: haproxy(v1): Client disconnected: Failed to read valid HAproxy "
            "data (rip=127.0.0.1)",
            (Event.REFUSED, "127.0.0.1", None, None),
            id="bad-header",
        ),
    ],
)
def test_a_client_is_read(
    before: str, said: str, expected: tuple[Event, str, int | None, str | None]
) -> None:
    """The proof that Dovecot saw the client would fail although it did."""
    assert seen(f"{before}Nov 24 10:05:25 {said}\n") == expected


def test_a_day_of_one_digit_is_read() -> None:
    """The proof would fail in the first nine days of each month."""
    line = f"dovecot | Dec  1 10:05:25 imap-login: Info: Login: user=<a>, {ADDRESSES}, {END}"
    assert seen(line) == (Event.LOGIN, "127.0.0.78", 50503, "a")


def test_the_line_is_kept_as_evidence() -> None:
    """A finding would show words that are not in the log."""
    line = f"dovecot | Nov 24 10:05:25 imap-login: Info: Login: user=<a>, {ADDRESSES}, {END}"
    assert observe(line + "\n") == Observation(
        "dovecot", Event.LOGIN, "127.0.0.78", 50503, "a", line, internal=False
    )


@pytest.mark.parametrize(("port", "internal"), [(33993, False), (993, False), (32993, True)])
def test_an_internal_listener_is_told_by_its_port(port: int, *, internal: bool) -> None:
    """Webmail's sessions would be counted as those of clients outside."""
    line = f"imap-login: Info: Login: user=<a>, rip=::1, rport=7, lip=::1, lport={port}, {END}"
    found = observe(f"Nov 24 10:05:25 {line}")
    assert found is not None
    assert found.internal is internal


@pytest.mark.parametrize(
    "line",
    [
        "",
        "dovecot | ",
        # Not a login process: what it says of addresses, it was told.
        f"auth: Info: Login: user=<a>, {ADDRESSES}, {END}",
        f"imap(a)<6383><x>: Info: Login: user=<a>, {ADDRESSES}, {END}",
        f"imap-login: Info: Login: user=<a>, {ADDRESSES}",
    ],
)
def test_other_lines_tell_nothing(line: str) -> None:
    """A line about something else would count as proof."""
    assert seen(line) is None
    assert seen(f"dovecot | Nov 24 10:05:25 {line}") is None


@pytest.mark.parametrize(
    "name",
    [
        f"x>, {FORGED}, ",
        f"x>, method=PLAIN, {FORGED}, mpid=1, TLS, session=<y>",
        f"x>, method=PLAIN, {FORGED}, mpid=1, TLS, session=<",
        f": user=<x>, {FORGED},",
        f"dovecot | Nov 24 10:05:25 imap-login: Info: Login: user=<x>, {FORGED}, {END}",
    ],
)
def test_a_name_that_looks_like_an_address_is_a_name(name: str) -> None:
    """Anybody could make the log "prove" an address that never came, or a login that failed."""
    line = (
        "dovecot | Nov 24 10:05:25 imap-login: Info: Disconnected: Connection closed (auth "
        f"failed, 1 attempts in 2 secs): user=<{name}>, method=PLAIN, {ADDRESSES}, {END}"
    )
    assert seen(line) == (Event.LOGIN_FAILED, "127.0.0.78", 50503, name)


def test_control_the_same_address_from_dovecot_counts() -> None:
    """The addresses above are ignored for where they stand, and not for what they are."""
    line = f"dovecot | Nov 24 10:05:25 imap-login: Info: Login: user=<x>, {FORGED}, {END}"
    assert seen(line) == (Event.LOGIN, "192.0.2.66", 25, "x")


@given(st.text(alphabet=st.characters(exclude_categories=["C"]), max_size=60))
@example("x>, method=PLAIN, rip=198.51.100.66, rport=1, lip=1, lport=1, session=<")
@example("x>, rip=198.51.100.66, rport=" + "9" * 5000 + ", lip=1, lport=1, ")
def test_a_name_is_never_an_address(name: str) -> None:
    """A client could call itself what makes another address of it, and prove what is not so."""
    line = (
        f"Nov 25 10:20:30 imap-login: Info: Login: user=<{name}>, method=PLAIN, {ADDRESSES}, "
        f"mpid=6383, {END}"
    )
    found = observe(line)
    assert found is not None
    assert (found.event, found.client, found.port) == (Event.LOGIN, "127.0.0.78", 50503)
    assert found.user == (name or None)
