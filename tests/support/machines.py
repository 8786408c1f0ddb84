"""Machines for the newcomer's path: this one, and a Debian root with nothing in it but apt.

The Debian root runs in mount and process namespaces of its own, so ending its first process ends
all that ever ran in it and takes its mounts away, whatever happened before. It shares the network
with this machine, since apt and pip need it; servers in it use loopback addresses of their own.
"""

from __future__ import annotations

import contextlib
import os
import pty
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

Progress = Callable[[str], None]

_BASE_PACKAGES = ("git", "make", "ca-certificates")
_KEPT_DAYS = 14
_CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
_ROOT_CA_BUNDLE = "/etc/ssl/machine-ca-certificates.crt"
_CA_VARIABLES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_NETWORK_VARIABLE = re.compile(r"(?i)(https?|ftp|all|no)_proxy|PIP_\w+")
_PIP_NETWORK_SETTINGS = {"index-url", "extra-index-url", "trusted-host", "proxy", "timeout"}


@dataclass
class Machine:
    """A place to follow the README in: run commands, read files, see processes."""

    name: str
    checkout: Path
    """The fresh clone, as seen from inside."""
    root: Path = Path("/")
    """The machine's root folder, as seen from this machine."""
    enter: tuple[str, ...] = ()
    """The words before a command that make it run inside."""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    progress: Progress = print

    def outside(self, path: Path) -> Path:
        """Return a path of the machine as this machine sees it."""
        return self.root / path.relative_to("/")

    def run(
        self,
        command: str,
        *,
        settings: Mapping[str, str] | None = None,
        answers: Sequence[str] = (),
        seconds: float = 120,
    ) -> str:
        """Run a line of shell in the checkout, show it as it goes, and return what it printed.

        `answers` are typed on a terminal, one whenever the command asks for something. Fails with
        all it said when it does not exit 0 or takes longer than `seconds`.
        """
        self.progress(f"[{self.name}] $ {command}")
        started = time.monotonic()
        keyboard, terminal = pty.openpty()
        process = subprocess.Popen(
            [*self.enter, "/bin/sh", "-c", f'cd "{self.checkout}" && {command}'],
            env={**self.environment, **(settings or {})},
            stdin=terminal if answers else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # Without it a password would be asked for on the terminal of whoever runs the tests.
            start_new_session=True,
        )
        ended_by_clock = threading.Event()

        def end() -> None:
            ended_by_clock.set()
            _kill_tree(process.pid)

        clock = threading.Timer(seconds, end)
        clock.start()
        try:
            said = self._converse(process, keyboard, list(answers))
            code = process.wait()
        finally:
            clock.cancel()
            _kill_tree(process.pid)
            os.close(keyboard)
            os.close(terminal)
        assert not ended_by_clock.is_set(), (
            f"{command}: not done after {seconds} s:\n{said[-3000:]}"
        )
        assert code == 0, f"{command}: exit code {code}, and at the end:\n{said[-3000:]}"
        self.progress(f"[{self.name}] took {time.monotonic() - started:.1f} s")
        return said

    def _converse(self, process: subprocess.Popen[bytes], keyboard: int, answers: list[str]) -> str:
        """Read until the end of the output; answer each question."""
        assert process.stdout is not None
        said = shown = ""
        while chunk := os.read(process.stdout.fileno(), 65536):
            said += chunk.decode(errors="replace")
            *lines, rest = said[len(shown) :].split("\n")
            for line in lines:
                shown += f"{line}\n"
                self.progress(f"[{self.name}] {line.rstrip()}")
            if answers and rest.endswith(": "):
                os.write(keyboard, f"{answers.pop(0)}\n".encode())
        return said


def _kill_tree(pid: int) -> None:
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return
        for child in [*process.children(recursive=True), process]:
            with contextlib.suppress(psutil.Error):
                child.kill()


def _clone(repository: Path, place: Path) -> None:
    """Clone as over the network: every object copied, nothing that is not committed."""
    subprocess.run(
        ["git", "clone", "--quiet", "--no-local", str(repository), str(place)],
        check=True,
        env={**os.environ, "GIT_CONFIG_COUNT": "1", **_trusting(repository)},
    )


def _trusting(repository: Path) -> dict[str, str]:
    """Let root clone what another user checked out."""
    return {"GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": f"{repository}/.git"}


@contextlib.contextmanager
def this_machine(repository: Path, progress: Progress) -> Iterator[Machine]:
    """Lend this machine with a fresh clone in a folder that only its owner may enter."""
    with tempfile.TemporaryDirectory(prefix="gp-newcomer-") as folder:
        # As /root and /home are: daemons under users of their own cannot look inside.
        private = Path(folder) / "private"
        private.mkdir(mode=0o700)
        Path(folder).chmod(0o755)
        checkout = private / "gatepost"
        _clone(repository, checkout)
        # What make and pytest told their own children would change how the newcomer's make works.
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("MAKE", "MFLAGS", "PYTEST", "VIRTUAL_ENV", "PYTHON"))
        }
        yield Machine("this machine", checkout, environment=environment, progress=progress)


# --- a Debian with nothing in it ------------------------------------------------------------


@contextlib.contextmanager
def bare_debian(release: str, repository: Path, progress: Progress) -> Iterator[Machine]:
    """Lend a minimal Debian with git and make, and a fresh clone in root's own folder."""
    archive = _archive(release, progress)
    with tempfile.TemporaryDirectory(prefix=f"gp-{release}-") as folder:
        root = Path(folder) / "root"
        root.mkdir()
        # Its owners are numbers that this machine may know by other names.
        subprocess.run(
            ["tar", "--extract", "--numeric-owner", "--file", str(archive), "--directory", root],
            check=True,
        )
        environment = _carry_network(root)
        _clone(repository, root / "root" / "gatepost")
        with _first_process(root) as pid:
            yield Machine(
                name=f"Debian {release}",
                checkout=Path("/root/gatepost"),
                root=root,
                # The root and folder of process 1 itself: reached by its path out here, they would
                # be another mount, in which set-user-id programs (sudo, postdrop) have no power.
                enter=("nsenter", f"--target={pid}", "--mount", "--pid", "--root", "--wd", "--"),
                environment=environment,
                progress=progress,
            )


@contextlib.contextmanager
def _first_process(root: Path) -> Iterator[int]:
    """Start the machine's process 1 with its own mounts; nothing of either outlives the block."""
    # bash, since process 1 must reap whatever daemons leave to it: `wait` does.
    script = (
        f'mount --bind "{root}" "{root}"'
        f' && mount -t proc proc "{root}/proc"'
        f' && mount --rbind /sys "{root}/sys" && mount --rbind /dev "{root}/dev"'
        f' && exec chroot "{root}" /bin/bash -c'
        " 'echo ready; while :; do sleep 3600 & wait $!; done'"
    )
    process = subprocess.Popen(
        [
            *("unshare", "--mount", "--propagation=private"),
            *("--pid", "--fork", "--kill-child=SIGKILL"),
            *("/bin/sh", "-c", script),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", "the Debian root could not be entered"
        (inside,) = psutil.Process(process.pid).children()
        yield inside.pid
    finally:
        process.kill()
        process.wait()


def processes_inside(machine: Machine) -> list[str]:
    """Return the command lines of all that runs in a Debian root besides its process 1."""
    (first,) = (word.partition("=")[2] for word in machine.enter if word.startswith("--target="))
    space = Path(f"/proc/{first}/ns/pid").readlink()
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            idles = process.ppid() == int(first) and process.name() == "sleep"
            inside = Path(f"/proc/{process.pid}/ns/pid").readlink() == space
            if inside and not idles and process.pid != int(first):
                found.append(f"{process.pid} {process.name()} {process.cmdline()}")
    return found


def _archive(release: str, progress: Progress) -> Path:
    """Return the packed root of a release; made once, kept for some days."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gatepost-tests"
    cache.mkdir(parents=True, exist_ok=True)
    archive = cache / f"debian-{release}.tar"
    if archive.exists() and time.time() - archive.stat().st_mtime < _KEPT_DAYS * 86400:
        progress(f"Debian {release}: using {archive}")
        return archive
    progress(f"Debian {release}: making {archive} with mmdebstrap, about a minute")
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        settings = Path(folder) / "apt.conf"
        settings.write_text(_apt_network_settings())
        fresh = Path(folder) / "root.tar"
        subprocess.run(
            [
                *("mmdebstrap", "--quiet", "--variant=minbase", f"--aptopt={settings}"),
                *(f"--include={','.join(_BASE_PACKAGES)}", "--", release, str(fresh)),
            ],
            check=True,
            timeout=900,
        )
        fresh.replace(archive)
    return archive


def _apt_network_settings() -> str:
    """Return how this machine's apt reaches its archives (proxies, certificates, checks)."""
    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True)
    return "".join(f"{line}\n" for line in dump.stdout.splitlines() if line.startswith("Acquire::"))


def _carry_network(root: Path) -> dict[str, str]:
    """Give a root this machine's way to the network; return the environment for it."""
    for name in ("resolv.conf", "hosts"):
        if (source := Path("/etc") / name).exists():
            # A link (systemd-resolved) would point nowhere from inside.
            (root / "etc" / name).unlink(missing_ok=True)
            shutil.copyfile(source, root / "etc" / name)
    environment = {
        name: value
        for name, value in os.environ.items()
        if _NETWORK_VARIABLE.fullmatch(name) and not value.startswith(("/", "file:"))
    }
    if _CA_BUNDLE.exists():
        shutil.copyfile(_CA_BUNDLE, root / _ROOT_CA_BUNDLE.lstrip("/"))
        environment |= dict.fromkeys(_CA_VARIABLES, _ROOT_CA_BUNDLE)
    (root / "etc" / "pip.conf").write_text(_pip_network_settings())
    return {
        **environment,
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "TERM": os.environ.get("TERM", "dumb"),
    }


def _pip_network_settings() -> str:
    """Return how this machine's pip reaches its index, without what lies on this disk."""
    pip = ["python3", "-m", "pip", "config", "list"]
    listed = subprocess.run(pip, capture_output=True, text=True, check=False).stdout
    lines = ["[global]"]
    for key, value in re.findall(r"^global\.([\w-]+)='(.*)'$", listed, re.MULTILINE):
        words = [w for w in value.split() if not w.startswith(("/", "file:"))]
        if key in _PIP_NETWORK_SETTINGS and words:
            lines.append(f"{key} = {' '.join(words)}")
    return "\n".join(lines) + "\n"
