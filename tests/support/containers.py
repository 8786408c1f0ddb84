"""The project's images, built once for all tests, and containers of them.

Podman runs them, with images in a folder of their own: nothing of this machine's own containers is
seen or touched. A container has the network of a `network.Host`, or none but loopback.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import json
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from network import Host

REPOSITORY = Path(__file__).parents[2]
STORAGE = Path("/var/tmp/gatepost-test-images")  # noqa: S108  only root writes below it
HOME = "/var/lib/gatepost"
HEALTH_PORT = 2007

CAPABILITIES = {
    "mta": ("CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETGID", "SETUID"),
    "mda": ("CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETGID", "SETUID", "SYS_CHROOT"),
    # Traefik's process loses even what it could regain, which takes SETPCAP.
    "all": (
        *("CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL"),
        *("SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
    ),
}
"""Service → the capabilities that root keeps in its container, and no others."""

_BASE = "localhost/gatepost-base:trixie"
_KEPT_DAYS = 14
_KEPT_IMAGES = 60
_SOURCES = (
    *("src", "deploy/Containerfile", "deploy/build-images", ".dockerignore"),
    *("locks", "pyproject.toml", "README.md", "LICENSE"),
)


def requirements() -> str | None:
    """Return what this machine lacks to run containers, in a sentence; None when nothing."""
    if os.geteuid() != 0:
        return "Containers are run by root: run these tests with make, or with sudo."
    missing = [name for name in ("podman", "runc", "mmdebstrap") if not shutil.which(name)]
    if missing:
        return (
            f"Programs are missing: {', '.join(missing)}. Install them: make test-packages, or "
            f"apt-get install podman runc mmdebstrap debian-archive-keyring"
        )
    return None


def podman(*words: str, stdin: str | None = None, timeout: float = 120) -> str:
    """Run podman on the tests' own storage and return what it prints; fail with its words."""
    done = run(*words, stdin=stdin, timeout=timeout)
    assert done.returncode == 0, f"podman {' '.join(words)}: {done.stdout}{done.stderr}"
    return done.stdout


def run(
    *words: str, stdin: str | None = None, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run podman on the tests' own storage, whatever the exit code."""
    return subprocess.run(
        [
            *("podman", "--root", str(STORAGE / "images"), "--runroot", str(STORAGE / "run")),
            *("--runtime", "runc", *words),
        ],
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


# --- images ---------------------------------------------------------------------------------


def build() -> Mapping[str, str]:
    """Build the images unless they are what the sources say; return target → name of its image.

    Takes a minute or two the first time, half a minute after a change of the program, and next
    to nothing without one. Tests that run side by side wait for the one that builds.
    """
    STORAGE.mkdir(parents=True, exist_ok=True, mode=0o700)
    version = _version()
    names = {
        "mta": f"localhost/gatepost-mta:{version}",
        "mda": f"localhost/gatepost-mda:{version}",
        "all": f"localhost/gatepost:{version}",
    }
    stamp = STORAGE / "stamp"
    wanted = _digest(*_SOURCES)
    with (STORAGE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        there = stamp.read_text() if stamp.exists() else ""
        if there == wanted and all(_exists(name) for name in names.values()):
            return names
        stamp.unlink(missing_ok=True)
        _remove_orphans()
        if len(podman("images", "--all", "--quiet").split()) > _KEPT_IMAGES:
            podman("image", "prune", "--force")
        done = subprocess.run(
            [REPOSITORY / "deploy" / "build-images"],
            env={**os.environ, "ENGINE": "podman", "STORAGE": str(STORAGE), "BASE": _base()},
            capture_output=True,
            text=True,
            timeout=1800,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}{done.stderr}"
        (STORAGE / "base").write_text(_digest("deploy/build-images"))
        stamp.write_text(wanted)
    return names


def _version() -> str:
    for line in (REPOSITORY / "pyproject.toml").read_text().splitlines():
        if line.startswith("version = "):
            return line.split('"')[1]
    raise AssertionError("pyproject.toml has no version")


def _digest(*names: str) -> str:
    digest = hashlib.sha256()
    for name in names:
        place = REPOSITORY / name
        files = sorted(place.rglob("*")) if place.is_dir() else [place]
        for file in files:
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(f"{file.relative_to(REPOSITORY)}\0".encode())
                digest.update(file.read_bytes())
    return digest.hexdigest()


def _exists(image: str) -> bool:
    return run("image", "exists", image).returncode == 0


def _remove_orphans() -> None:
    """Remove containers of runs that were killed: the name tells the process that made one."""
    for name in podman("ps", "--all", "--format", "{{.Names}}").split():
        pid = name.removeprefix("gp").partition("-")[0]
        if pid.isdigit() and not Path("/proc", pid).exists():
            podman("rm", "--force", "--volumes", "--time", "0", name)


def _base() -> str:
    """Return the base to build on: the one that was made before in the same way, for some days."""
    made_by = STORAGE / "base"
    same = made_by.exists() and made_by.read_text() == _digest("deploy/build-images")
    if same and _exists(_BASE):
        made = int(podman("image", "inspect", "--format", "{{.Created.Unix}}", _BASE))
        if time.time() - made < _KEPT_DAYS * 86400:
            return _BASE
    return "local"


@contextlib.contextmanager
def mounted(image: str) -> Iterator[Path]:
    """Lend the root folder of an image."""
    path = podman("image", "mount", image).strip()
    try:
        yield Path(path)
    finally:
        podman("image", "unmount", image)


# --- containers -----------------------------------------------------------------------------


@dataclass
class Container:
    """A container that runs, or has run."""

    name: str
    host: Host | None = None

    def start(self) -> None:
        """Start it again with what it was made with."""
        podman("start", self.name)

    def stop(self, seconds: int = 30) -> float:
        """Stop it as an orchestrator does, SIGKILL after a grace period; return what it took."""
        began = time.monotonic()
        podman("stop", "--time", str(seconds), self.name)
        return time.monotonic() - began

    def wait(self, seconds: float = 20) -> int:
        """Wait until it has ended by itself; return its exit code."""
        return int(podman("wait", self.name, timeout=seconds))

    def state(self) -> Any:
        """Return what podman knows of its process: Running, Pid, ExitCode, OOMKilled, …."""
        return json.loads(podman("inspect", self.name))[0]["State"]

    def run(self, *words: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command inside, whatever the exit code."""
        interactive = ["--interactive"] if stdin is not None else []
        return run("exec", *interactive, self.name, *words, stdin=stdin)

    def call(self, *words: str, stdin: str | None = None) -> str:
        """Run a command inside; return what it printed, fail with its words."""
        done = self.run(*words, stdin=stdin)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}\n{self.log()[-3000:]}"
        return done.stdout

    def log(self) -> str:
        """Return all it has written to standard output and standard error."""
        done = run("logs", self.name)
        # podman adds warnings of its own to the second.
        own = [line for line in done.stderr.splitlines(keepends=True) if "level=w" not in line]
        return done.stdout + "".join(own)

    def wait_for_log(self, *words: str, seconds: float = 10) -> str:
        """Wait for a line with all the words and return it."""
        deadline = time.monotonic() + seconds
        while True:
            said = self.log()
            for line in said.splitlines():
                if all(word in line for word in words):
                    return line
            assert time.monotonic() < deadline, f"no line with {words} in:\n{said[-5000:]}"
            time.sleep(0.05)

    def health(self, path: str = "/ready") -> tuple[int, str]:
        """Ask as a probe does; 0 when nobody answers."""
        # It may end at any moment, its network with it.
        try:
            with (
                self.inside(),
                contextlib.closing(
                    http.client.HTTPConnection("127.0.0.1", HEALTH_PORT, timeout=5)
                ) as connection,
            ):
                connection.request("GET", path)
                answer = connection.getresponse()
                return answer.status, answer.read().decode().strip()
        except (OSError, http.client.HTTPException) as error:
            return 0, str(error)

    def wait_ready(self, seconds: float = 20) -> None:
        """Wait until it says that it is ready; fail with its log when it ends before."""
        deadline = time.monotonic() + seconds
        while (answer := self.health())[0] != http.HTTPStatus.OK:
            running = self.state()["Running"]
            assert running, f"{self.name} has ended:\n{self.log()[-5000:]}"
            assert time.monotonic() < deadline, f"{answer}\n{self.log()[-5000:]}"
            time.sleep(0.05)

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Let this thread be in its network; see `network.Host.inside`."""
        host = self.host or Host(f"../../proc/{self.state()['Pid']}/ns/net", "127.0.0.1", "::1")
        with host.inside():
            yield

    def processes(self) -> list[tuple[int, str]]:
        """Return process ids, seen from here, and states (``Z`` is a zombie) of all inside.

        Of one that ends while Podman looks, Podman prints ``?``; it is none any more.
        """
        rows = [line.split() for line in podman("top", self.name, "hpid", "state").splitlines()[1:]]
        return [(int(pid), state) for pid, state, *_ in rows if pid != "?" != state]


@dataclass(frozen=True)
class Setup:
    """How a container is run; the defaults are a pod's: nothing is allowed that is not needed."""

    service: str
    environment: Mapping[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    """Instead of the image's own command."""
    volumes: Mapping[str, Path] = field(default_factory=dict)
    """Path inside → folder of this machine."""
    options: tuple[str, ...] = ()
    """More words for podman."""
    hosts: Mapping[str, str] = field(default_factory=dict)
    """Name → address, as a cluster's name server would answer."""
    capabilities: tuple[str, ...] | None = None
    """Instead of those in `CAPABILITIES`."""

    def words(self, image: str, host: Host | None) -> list[str]:
        """Return the words for ``podman create``."""
        chosen = CAPABILITIES[self.service] if self.capabilities is None else self.capabilities
        return [
            # Where a test itself may not have more, podman's defaults cannot be set.
            *("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000"),
            *("--cap-drop", "all", *(f"--cap-add={name}" for name in chosen)),
            *("--security-opt", "no-new-privileges"),
            *("--read-only", "--read-only-tmpfs=false"),
            *_memory("/tmp", "1777"),  # noqa: S108  inside the container
            *(word for path, folder in self.volumes.items() for word in _volume(path, folder)),
            *("--log-driver", "k8s-file"),
            *("--network", f"ns:{host.path}" if host else "none"),
            *(f"--add-host={name}:{address}" for name, address in self.hosts.items()),
            # As a name server: nobody answers there, and that is known at once.
            *(("--dns", "127.0.0.1") if host else ()),
            *("--hostname", self.service),
            # Its own name, as a kubelet writes it; daemons ask for it.
            *((f"--add-host={self.service}:{host.ipv4}",) if host else ()),
            *(f"--env={name}={value}" for name, value in self.environment.items()),
            *self.options,
            image,
            *self.arguments,
        ]


def _memory(path: str, mode: str) -> Iterable[str]:
    return ("--mount", f"type=tmpfs,destination={path},tmpfs-mode={mode}")


def _volume(path: str, folder: Path) -> Iterable[str]:
    yield from ("--volume", f"{folder}:{path}")
    if path == HOME:
        yield from _memory(f"{HOME}/run", "0755")


@contextlib.contextmanager
def container(
    setup: Setup, images: Mapping[str, str], host: Host | None = None
) -> Iterator[Container]:
    """Run a container for as long as the block lasts; afterwards nothing of it is left."""
    made = Container(f"gp{os.getpid()}-{setup.service}-{secrets.token_hex(3)}", host)
    try:
        podman("create", "--name", made.name, *setup.words(images[setup.service], host))
        made.start()
        yield made
    finally:
        run("rm", "--force", "--volumes", "--time", "0", made.name)
