"""Two machines of a test's own: network namespaces that share a wire and nothing else.

Each has its address, its ``/etc/hosts`` and no name server. Programs on them share this machine's
files. All is gone at the end.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

NETWORK = "10.77.0"


@dataclass(frozen=True)
class Place:
    """One of the two."""

    namespace: str
    address: str

    def command(self, *argv: str | Path) -> list[str]:
        """Return the command line that runs a program there."""
        return ["ip", "netns", "exec", self.namespace, *map(str, argv)]

    def run(self, *argv: str | Path, seconds: float = 30) -> str:
        """Run a program there and return all it printed, whatever its exit code."""
        done = subprocess.run(
            self.command(*argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )
        return done.stdout

    @contextlib.contextmanager
    def without_name(self, name: str) -> Iterator[None]:
        """Let a host name not exist there for as long as the block lasts."""
        hosts = Path("/etc/netns") / self.namespace / "hosts"
        lines = hosts.read_text()
        # Written over and not replaced: programs there see this very file.
        hosts.write_text(re.sub(rf"(?m)^.* {re.escape(name)}\n", "", lines))
        try:
            yield
        finally:
            hosts.write_text(lines)

    def add_address(self, address: str) -> None:
        """Give it one more address."""
        _ip("-n", self.namespace, "address", "add", f"{address}/24", "dev", "wire")


@contextlib.contextmanager
def two_places(names: Mapping[str, int]) -> Iterator[tuple[Place, Place]]:
    """Yield two machines; `names` are the host names that both know, with the last number."""
    hosts = "".join(f"{NETWORK}.{number} {name}\n" for name, number in names.items())
    places = (
        Place(f"gp-{os.getpid()}-2", f"{NETWORK}.2"),
        Place(f"gp-{os.getpid()}-3", f"{NETWORK}.3"),
    )
    with contextlib.ExitStack() as stack:
        for place in places:
            _ip("netns", "add", place.namespace)
            stack.callback(_ip, "netns", "delete", place.namespace)
            own = Path("/etc/netns") / place.namespace
            own.mkdir(parents=True)
            stack.callback(shutil.rmtree, own)
            (own / "hosts").write_text(f"127.0.0.1 localhost\n::1 localhost\n{hosts}")
            (own / "resolv.conf").write_text("")
            # A name that is not in the file does not exist, as a name server would say.
            (own / "nsswitch.conf").write_text("hosts: files\n")
        one, other = places
        _ip(
            *("link", "add", "wire", "netns", one.namespace, "type", "veth"),
            *("peer", "name", "wire", "netns", other.namespace),
        )
        for place in places:
            place.add_address(place.address)
            for device in ("lo", "wire"):
                _ip("-n", place.namespace, "link", "set", device, "up")
        yield places


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr.strip()}"


@dataclass
class Running:
    """A program that runs at a place, with its output in a file; see `running`."""

    command: list[str]
    environment: dict[str, str]
    log: Path
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        """Start it."""
        self.start()

    def start(self) -> None:
        """Start it again after it was stopped."""
        with self.log.open("ab") as stream:
            self.process = subprocess.Popen(
                self.command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
            )

    def mark(self) -> int:
        """Return the present length of its output, to look from there."""
        return len(self.text())

    def text(self) -> str:
        """Return all it has printed."""
        return self.log.read_text(errors="replace")

    def wait_for(self, words: str, *, since: int = 0, seconds: float = 20) -> str:
        """Return the first line with these words; fail when there is none in time."""
        deadline = time.monotonic() + seconds
        while True:
            text = self.text()[since:]
            for line in text.splitlines():
                if words in line:
                    return line
            assert time.monotonic() < deadline, f'no "{words}" in:\n{text[-3000:]}'
            time.sleep(0.05)

    def stop(self) -> int:
        """Ask it to end; return its exit code."""
        self.process.terminate()
        return self.process.wait(timeout=60)


@contextlib.contextmanager
def running(
    place: Place, log: Path, environment: Mapping[str, str], *argv: str | Path
) -> Iterator[Running]:
    """Run a program at a place for as long as a block lasts."""
    program = Running(place.command(*argv), {**os.environ, **environment}, log)
    try:
        yield program
    finally:
        if program.process.poll() is None:
            program.stop()
