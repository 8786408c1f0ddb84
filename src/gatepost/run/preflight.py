"""Is this machine ready for the plan? Every problem at once, before anything is changed."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path

import psutil

from gatepost import ip_addresses
from gatepost.errors import PreflightError
from gatepost.model import Address, Home, Topology

_UNSEEN = "a program that this user may not see"
_ROOM = 1 << 20
"""Bytes that a start writes at least: keys, a configuration, the beginning of a database."""
_CAPABILITIES = {"CHOWN": 0, "DAC_OVERRIDE": 1, "FOWNER": 3, "KILL": 5, "SETGID": 6, "SETUID": 7}
"""Capabilities that every daemon or its supervisor needs; name and bit as in capabilities(7)."""


class UnseenOwnerError(PreflightError):
    """A port is taken and its owner is not seen, as for a moment when the owner is new."""


def require_root() -> None:
    """Raise `PreflightError` when this user is not root, or a root with too few capabilities."""
    if os.geteuid() != 0:
        raise PreflightError(
            "The mail server is started by root: it opens ports and runs each daemon as a user "
            "of its own. Run the same command with sudo, or as root."
        )
    held = _effective()
    if missing := [name for name, bit in _CAPABILITIES.items() if not held >> bit & 1]:
        raise PreflightError(
            f"This root lacks {', '.join(missing)}: files are given to the daemons' users, and "
            "each daemon runs as its own and is ended by a signal. Give it these capabilities: in "
            "a pod securityContext.capabilities.add, with Docker or Podman --cap-add."
        )


def _effective() -> int:
    """Return this process's effective capabilities, a bit for each; see proc(5)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1], 16) for line in lines if line.startswith("CapEff:"))


def require_folder(home: Home) -> None:
    """Raise `PreflightError` when there is something else where the home should be."""
    if home.root.exists() and not home.root.is_dir():
        raise PreflightError(
            f'GATEPOST_HOME: "{home.root}" is not a folder. Choose a folder, or a new path.'
        )


def check(home: Home, topology: Topology, ours: Collection[int]) -> None:
    """Raise `PreflightError` with every reason why the plan cannot run here.

    `ours` are the processes of our own running instance, and those whose sessions they lead: the
    ports of all these are not "taken".
    """
    problems = [*unfit(home, topology), *taken(topology, ours)]
    if any(_UNSEEN in problem for problem in problems):
        raise UnseenOwnerError(*problems)
    if problems:
        raise PreflightError(*problems)


def unfit(home: Home, topology: Topology) -> list[str]:
    """Return what this machine does not have, whatever runs on it."""
    return [*_home(home), *_addresses(topology)]


def _home(home: Home) -> Iterator[str]:
    try:
        require_folder(home)
    except PreflightError as error:
        yield from error.problems
    else:
        if obstacle := _room(home.root):
            yield obstacle


def require_room(home: Home) -> None:
    """Raise `PreflightError` when nothing can be written below the home: full, or read-only."""
    if obstacle := _room(home.root):
        raise PreflightError(obstacle)


def _room(root: Path) -> str | None:
    """Tell why nothing could be written below a folder that may not be there yet."""
    there = next(folder for folder in (root, *root.parents) if folder.is_dir())
    try:
        with tempfile.TemporaryFile(dir=there) as trial:
            trial.write(bytes(_ROOM))
            trial.flush()
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            return (
                f'GATEPOST_HOME: "{root}" has no room left ({error.strerror}). Nothing is lost: '
                "make room, or enlarge the volume, and start again."
            )
        return (
            f'GATEPOST_HOME: "{root}" cannot be written to ({error.strerror}). Mount it writable, '
            "or choose another folder."
        )
    return None


def _listening(topology: Topology) -> Iterator[Address]:
    for bound in topology.listeners:
        yield from (*bound.public, *bound.service, *bound.internal)
    for endpoints in topology.offers.values():
        yield from (one for one in endpoints if isinstance(one, Address))


def _addresses(topology: Topology) -> Iterator[str]:
    """Yield the hosts that are not this machine's."""
    for host in dict.fromkeys(address.host for address in _listening(topology)):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            try:
                probe.bind((host, 0))
            except OSError as error:
                yield (
                    f'PUBLIC_BIND_ADDRESS or SERVICE_BIND_ADDRESS: "{host}" is not an address of '
                    f"this machine ({error.strerror}). `ip address` lists those it has."
                )


def taken(topology: Topology, ours: Collection[int]) -> Iterator[str]:
    """Yield the addresses that somebody else listens on, with who it is."""
    holders = list(_holders())
    for wanted in dict.fromkeys(_listening(topology)):
        for held, pid in holders:
            if held.port == wanted.port and _overlap(held.host, wanted.host):
                if pid in ours or (pid and _session(pid) in ours):
                    continue
                yield (
                    f"Port {wanted} is taken by {_who(pid)}. Stop that program, or choose other "
                    "addresses with PUBLIC_BIND_ADDRESS and SERVICE_BIND_ADDRESS."
                )
                break


def _holders() -> Iterator[tuple[Address, int | None]]:
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr:
            host = connection.laddr.ip
            yield Address(ip_addresses.plain(host), connection.laddr.port), connection.pid


def _overlap(one: str, other: str) -> bool:
    first, second = ipaddress.ip_address(one), ipaddress.ip_address(other)
    if first == second:
        return True
    # An IPv6 wildcard usually takes the IPv4 port as well.
    if first.is_unspecified:
        return first.version in {second.version, 6}
    return second.is_unspecified and first.version == second.version


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return -1


def _who(pid: int | None) -> str:
    if pid is None:
        return _UNSEEN
    try:
        return f"{psutil.Process(pid).name()} (process {pid})"
    except psutil.NoSuchProcess:  # it ended while we looked, as a daemon's do at a reload
        return _UNSEEN
    except psutil.Error:
        return f"process {pid}"
