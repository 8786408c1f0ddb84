"""Whole mail servers for tests: real daemons on loopback addresses of their own."""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

PROGRAM = Path(sys.executable).parent / "gatepost"

CLIENT = "127.0.0.77"
"""The client whose address must arrive."""
STRANGER = "127.0.0.66"
"""A client that is neither the proxy nor trusted in any other way."""
PREFIX6 = f"fd00:6a7e:{random.randint(1, 0xFFFF):x}"
"""Beginning of the IPv6 addresses of this process: others run tests beside it."""
CLIENT6 = f"{PREFIX6}::77"
OTHER_CLIENT6 = f"{PREFIX6}::78"
"""Two of them, so that probes need not come from the address of another process's server."""

_held: Counter[str] = Counter()
"""IPv6 addresses of the loopback interface → how many need them."""


@dataclass(frozen=True)
class Addresses:
    """Loopback addresses that no other instance on this machine uses."""

    public: str
    public6: str
    service: str
    service6: str
    outside: str
    """Where a test puts the rest of the world."""


def _is_free(host: str, ports: tuple[int, ...] = (3325, 31025, 31143, 2003)) -> bool:
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                return False
    return True


def free_host(*ports: int) -> str:
    """Find an IPv4 address in 127.62.0.0/16 on which nobody uses these ports."""
    for _ in range(100):
        host = f"127.62.{random.randint(0, 255)}.{random.randint(1, 254)}"
        if _is_free(host, ports):
            return host
    raise RuntimeError("no free loopback address")


@contextlib.contextmanager
def loopback6(*addresses: str) -> Iterator[None]:
    """Give the loopback interface IPv6 addresses for as long as the block lasts."""
    with contextlib.ExitStack() as stack:
        for address in addresses:
            if not _held[address]:
                _loopback("add", f"{address}/128", "nodad")
            _held[address] += 1
            stack.callback(_let_go, address)
        yield


def _let_go(address: str) -> None:
    _held[address] -= 1
    if not _held[address]:
        _loopback("del", f"{address}/128")


def _loopback(verb: str, address: str, *words: str) -> None:
    subprocess.run(["ip", "-6", "addr", verb, address, "dev", "lo", *words], check=True)


@contextlib.contextmanager
def free_addresses() -> Iterator[Addresses]:
    """Find a free pair of IPv4 addresses in 127.64.0.0/10 and make IPv6 ones beside it."""
    for _ in range(100):
        a, b = random.randint(64, 127), random.randint(1, 254)
        public, service, outside = (f"127.{a}.{b}.{last}" for last in (1, 2, 3))
        if _is_free(public) and _is_free(service):
            break
    else:
        raise RuntimeError("no free loopback addresses")
    public6, service6 = (f"{PREFIX6}:{a:x}:{b:x}::{last}" for last in (1, 2))
    with loopback6(public6, service6, CLIENT6, OTHER_CLIENT6):
        yield Addresses(public, public6, service, service6, outside)


@dataclass
class Instance:
    """A mail server: a home, its settings, and the program that runs it."""

    home: Path
    addresses: Addresses
    settings: dict[str, str] = field(default_factory=dict)
    within: tuple[str, ...] = ()
    """Command before ``gatepost``, such as one that enters a namespace."""
    program: Path = PROGRAM
    """The program, which may be of another version."""
    _asked: dict[tuple[object, ...], Any] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """The environment for every call: this instance's settings and nothing of the machine's."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "GATEPOST_HOME": str(self.home),
            "MAILNAME": "mail.example.org",
            "PUBLIC_BIND_ADDRESS": f"{self.addresses.public},{self.addresses.public6}",
            "SERVICE_BIND_ADDRESS": f"{self.addresses.service},{self.addresses.service6}",
            **self.settings,
        }

    def run(
        self, *arguments: str, stdin: str | None = None, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run ``gatepost ARGUMENTS`` and return what it said, whatever the exit code."""
        return subprocess.run(
            [*self.within, str(self.program), *arguments],
            env=self.environment,
            cwd=self.home,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def call(self, *arguments: str, stdin: str | None = None) -> str:
        """Run ``gatepost ARGUMENTS``; fail with its words when it does not exit 0."""
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def up(self) -> None:
        """Start it, or apply what changed."""
        done = self.run("up", "--detach", timeout=90)
        assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{self.log()[-6000:]}"

    def down(self) -> None:
        """Stop it and see that no process of it is left."""
        self.call("down")
        left = self.processes()
        assert not left, [(p.pid, p.cmdline()) for p in left]

    def status(self) -> Any:
        """Return what ``status --json`` says."""
        return json.loads(self.run("status", "--json").stdout)

    def forget_logins(self) -> None:
        """Have Dovecot forget who has logged in: the next login asks the database, and hashes."""
        config = self.home / "config" / "current" / "dovecot" / "dovecot.conf"
        words = ["doveadm", "-c", str(config), "auth", "cache", "flush"]
        subprocess.run(words, check=True, capture_output=True)

    def processes(self) -> list[psutil.Process]:
        """Every process that belongs to this instance."""
        found = []
        mark = str(self.home)
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                words = [*process.cmdline(), process.cwd(), *process.environ().values()]
                if process.pid != os.getpid() and any(mark in word for word in words):
                    found.append(process)
        return found

    def named_processes(self) -> dict[str, list[psutil.Process]]:
        """Every process that belongs to this instance, by name."""
        named: dict[str, list[psutil.Process]] = {}
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):  # ended meanwhile
                named.setdefault(process.name(), []).append(process)
        return named

    def accounts(self, rows: str) -> None:
        """Import accounts written as CSV."""
        file = self.home / "import.csv"
        file.write_text(rows)
        self.call("import", str(file))
        file.unlink()

    # --- addresses -------------------------------------------------------------------------

    def public(self, listener: str, *, family: int = 4) -> tuple[str, int]:
        """Where clients connect."""
        return self._address(listener, "public", family)

    def service(self, listener: str, *, family: int = 4) -> tuple[str, int]:
        """Where the proxy connects."""
        return self._address(listener, "service", family)

    def internal(self, listener: str, *, family: int = 4) -> tuple[str, int]:
        """Where Gatepost's own clients connect."""
        return self._address(listener, "internal", family)

    def _address(self, listener: str, kind: str, family: int) -> tuple[str, int]:
        (row,) = (r for r in self._listeners() if r["name"] == listener)
        for text in row["addresses"][kind]:
            host, _, port = text.rpartition(":")
            if (":" in host) == (family == 6):
                return host.strip("[]"), int(port)
        raise AssertionError(f"{listener} has no {kind} IPv{family} address: {row}")

    def _listeners(self) -> Any:
        """Return what ``status`` says of them, asked once for each configuration."""
        current = self.home / "config" / "current"
        made = str(current.readlink()) if current.is_symlink() else ""
        key = (made, *sorted(self.settings.items()))
        if key not in self._asked:
            self._asked[key] = self.status()["listeners"]
        return self._asked[key]

    # --- what the daemons say --------------------------------------------------------------

    @property
    def log_file(self) -> Path:
        """The one log of all services."""
        return self.home / "logs" / "gatepost.log"

    def log(self, since: int = 0) -> str:
        """Return the log from an offset on."""
        if not self.log_file.exists():
            return ""
        with self.log_file.open("rb") as file:
            file.seek(since)
            return file.read().decode(errors="replace")

    def mark(self) -> int:
        """Return the log's present end, to read from later."""
        return self.log_file.stat().st_size if self.log_file.exists() else 0

    def wait_for_log(self, *words: str, since: int = 0, seconds: float = 10) -> str:
        """Wait for a line with all the words and return it."""
        deadline = time.monotonic() + seconds
        while True:
            for line in self.log(since).splitlines():
                if all(word in line for word in words):
                    return line
            if time.monotonic() > deadline:
                raise AssertionError(f"no line with {words} in:\n{self.log(since)[-5000:]}")
            time.sleep(0.05)

    def wait_for_login(self, user: str, client: str, *, since: int = 0) -> str:
        """Wait for Dovecot's line about a login from an address, and return it."""
        version = subprocess.run(["dovecot", "--version"], check=True, capture_output=True)
        words = "Login" if version.stdout.startswith(b"2.3.") else "Logged in"
        return self.wait_for_log(f" {words}: user=<{user}>, ", f" rip={client}, ", since=since)


@contextlib.contextmanager
def instance(
    settings: Mapping[str, str] | None = None,
    *,
    start: bool = True,
    within: tuple[str, ...] = (),
) -> Iterator[Instance]:
    """Run an instance for as long as the block lasts; afterwards nothing of it is left."""
    with (
        free_addresses() as addresses,
        # Short, since UNIX sockets below it have at most 107 bytes for their path.
        tempfile.TemporaryDirectory(prefix="gp-", dir="/tmp") as folder,
    ):
        Path(folder).chmod(0o755)
        server = Instance(Path(folder), addresses, dict(settings or {}), within)
        try:
            if start:
                server.up()
            yield server
        finally:
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.run("down", timeout=30)
            for process in server.processes():
                with contextlib.suppress(psutil.Error):
                    process.kill()
