"""What keeps a plan from running on this machine."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace

import psutil
import pytest

from gatepost.errors import PreflightError
from gatepost.model import DELIVERY, Address, Home, Topology
from gatepost.run import preflight

ALL_CAPABILITIES = (1 << 41) - 1
NOT_OURS = "192.0.2.1"
"""Of TEST-NET-1 (RFC 5737), which no machine has."""


@pytest.fixture
def taken() -> Iterator[Address]:
    """Return an address that this very process listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield Address("127.0.0.1", listening.getsockname()[1])


def problems(home: Home, topology: Topology, ours: tuple[int, ...] = ()) -> tuple[str, ...]:
    try:
        preflight.check(home, topology, ours)
    except PreflightError as error:
        return error.problems
    return ()


def test_a_taken_port_is_named_with_its_owner(
    home: Home, topology: Callable[..., Topology], taken: Address
) -> None:
    """The admin would search for what holds the port."""
    me = psutil.Process()
    (problem,) = problems(home, topology(taken))
    assert problem == (
        f"Port {taken} is taken by {me.name()} (process {me.pid}). Stop that program, or choose "
        "other addresses with PUBLIC_BIND_ADDRESS and SERVICE_BIND_ADDRESS."
    )


def test_a_free_port_is_no_problem(
    home: Home, topology: Callable[..., Topology], free_port: Callable[[], int]
) -> None:
    """No server could be started."""
    assert problems(home, topology(Address("127.0.0.1", free_port()))) == ()


def test_the_same_port_of_another_address_is_free(
    home: Home, topology: Callable[..., Topology], taken: Address
) -> None:
    """A second server beside the first, on an address of its own, would be refused."""
    assert problems(home, topology(Address("127.0.0.2", taken.port))) == ()


def test_our_own_ports_are_not_taken(
    home: Home, topology: Callable[..., Topology], taken: Address
) -> None:
    """A second `gatepost up` would complain about the first one's ports."""
    assert problems(home, topology(taken), (os.getsid(0),)) == ()


def test_a_roles_port_is_looked_at_too(
    home: Home, topology: Callable[..., Topology], taken: Address
) -> None:
    """A port that no mail program knows, such as LMTP's, would be found taken by a daemon only."""
    wanted = replace(topology(), offers={DELIVERY: (taken,)})
    (problem,) = problems(home, wanted)
    assert problem.startswith(f"Port {taken} is taken by ")


def test_an_owner_that_may_not_be_seen_is_told_as_such(
    home: Home, topology: Callable[..., Topology], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a container the holder may be outside; a traceback would hide that the port is taken."""
    held = SimpleNamespace(
        status=psutil.CONN_LISTEN, laddr=SimpleNamespace(ip="::ffff:127.0.0.1", port=3325), pid=None
    )
    monkeypatch.setattr(psutil, "net_connections", lambda _kind: [held])
    (problem,) = problems(home, topology(Address("127.0.0.1", 3325)))
    assert problem.startswith(
        "Port 127.0.0.1:3325 is taken by a program that this user may not see. Stop that program"
    )


def test_an_owner_that_ended_meanwhile_is_looked_for_again(
    home: Home, topology: Callable[..., Topology], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our own daemons' processes come and go at a reload: a renewal's `up` would be refused."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    held = SimpleNamespace(
        status=psutil.CONN_LISTEN,
        laddr=SimpleNamespace(ip="127.0.0.1", port=3325),
        pid=ended.pid,
    )
    monkeypatch.setattr(psutil, "net_connections", lambda _kind: [held])
    with pytest.raises(preflight.UnseenOwnerError):
        preflight.check(home, topology(Address("127.0.0.1", 3325)), ())


@pytest.mark.parametrize(
    ("held", "wanted", "clash"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("0.0.0.0", "127.0.0.1", True),
        ("127.0.0.1", "0.0.0.0", True),
        ("::", "127.0.0.1", True),
        ("::", "::1", True),
        ("::1", "::", True),
        ("0.0.0.0", "::1", False),
        ("127.0.0.1", "::", False),
        ("::1", "127.0.0.1", False),
    ],
)
def test_wildcards_hold_the_port_of_their_addresses(held: str, wanted: str, *, clash: bool) -> None:
    """A server that listens everywhere would be overlooked, or one that does not clash blamed."""
    assert preflight._overlap(held, wanted) is clash


def test_another_machines_address_is_told(home: Home, topology: Callable[..., Topology]) -> None:
    """The daemons would fail one after the other with "Cannot assign requested address"."""
    (problem,) = problems(home, topology(Address(NOT_OURS, 3325)))
    assert problem == (
        f'PUBLIC_BIND_ADDRESS or SERVICE_BIND_ADDRESS: "{NOT_OURS}" is not an address of this '
        "machine (Cannot assign requested address). `ip address` lists those it has."
    )


def test_a_home_that_is_a_file_is_told(home: Home, topology: Callable[..., Topology]) -> None:
    """The user would see a traceback of mkdir."""
    file = home.root / "file"
    file.write_text("")
    (problem,) = problems(Home(file), topology())
    assert problem == (f'GATEPOST_HOME: "{file}" is not a folder. Choose a folder, or a new path.')


def test_every_problem_is_told_at_once(
    home: Home, topology: Callable[..., Topology], taken: Address
) -> None:
    """The admin would mend one, start, and be told of the next."""
    file = home.root / "file"
    file.write_text("")
    found = problems(Home(file), topology(taken, Address(NOT_OURS, 3325)))
    assert [problem.split()[0] for problem in found] == [
        "GATEPOST_HOME:",
        "PUBLIC_BIND_ADDRESS",
        "Port",
    ]


@pytest.mark.parametrize(("user", "refused"), [(0, False), (1000, True)])
def test_only_root_starts_the_server(
    monkeypatch: pytest.MonkeyPatch, user: int, *, refused: bool
) -> None:
    """Another user would see the daemons fail one after the other; root must not be refused."""
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(preflight, "_effective", lambda: ALL_CAPABILITIES)
    if not refused:
        preflight.require_root()
        return
    with pytest.raises(PreflightError, match="with sudo, or as root"):
        preflight.require_root()


@pytest.mark.parametrize(
    ("taken", "told"),
    [(1 << 5, "lacks KILL: "), (0b1001, "lacks CHOWN, FOWNER: "), (1 << 18, "")],
)
def test_root_of_a_container_may_lack_what_is_needed(
    monkeypatch: pytest.MonkeyPatch, taken: int, told: str
) -> None:
    """A page of Python, or a service that cannot be stopped, would be all there is to see."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(preflight, "_effective", lambda: ALL_CAPABILITIES & ~taken)
    if not told:
        preflight.require_root()
        return
    with pytest.raises(PreflightError, match=told):
        preflight.require_root()


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "has no room left (No space left on device). Nothing is lost: make room"),
        (errno.EROFS, "cannot be written to (Read-only file system). Mount it writable"),
    ],
)
def test_a_home_that_takes_nothing_is_told(
    home: Home,
    topology: Callable[..., Topology],
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    words: str,
) -> None:
    """A pod with a full or read-only volume would end with a traceback."""
    assert problems(home, topology()) == ()

    def refuse(**_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    (problem,) = problems(home, topology())
    assert problem.startswith(f'GATEPOST_HOME: "{home.root}" {words}')


def test_a_port_whose_owner_is_not_seen_is_told_apart(
    monkeypatch: pytest.MonkeyPatch,
    home: Home,
    topology: Callable[..., Topology],
    taken: Address,
) -> None:
    """A daemon of ours that has just been started would count as somebody else's for good."""
    with pytest.raises(PreflightError) as raised:
        preflight.check(home, topology(taken), ())
    assert not isinstance(raised.value, preflight.UnseenOwnerError)
    monkeypatch.setattr(preflight, "_holders", lambda: iter([(taken, None)]))
    with pytest.raises(preflight.UnseenOwnerError, match="this user may not see"):
        preflight.check(home, topology(taken), ())
