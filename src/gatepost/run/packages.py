"""The Debian packages that the plug-ins need, found missing and installed."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gatepost.contracts import Plugin
from gatepost.errors import OperationError, PreflightError
from gatepost.settings import Settings

_POLICY = Path("/usr/sbin/policy-rc.d")


@dataclass(frozen=True, slots=True)
class Package:
    """A Debian package, and whether it is installed."""

    name: str
    installed: bool
    optional: bool
    available: bool
    """True if this release of Debian has it."""


def survey(plugins: Iterable[Plugin], settings: Settings) -> tuple[Package, ...]:
    """Return every package that the plug-ins name, the needed ones first."""
    plugins = tuple(plugins)
    needed = _needed(plugins, settings)
    optional = sorted({name for plugin in plugins for name in plugin.optional_packages})
    there = _installed([*needed, *optional])
    known = _available([name for name in optional if name not in there])
    return (
        *(Package(name, name in there, optional=False, available=True) for name in needed),
        *(
            Package(name, name in there, optional=True, available=name in there or name in known)
            for name in optional
        ),
    )


def require(plugins: Iterable[Plugin], settings: Settings) -> None:
    """Raise `PreflightError` with the command that mends it when a needed package is missing."""
    needed = _needed(plugins, settings)
    there = _installed(needed)
    missing = [name for name in needed if name not in there]
    if missing:
        raise PreflightError(
            f"System packages are missing: {', '.join(missing)}. "
            "Install them: gatepost packages --install"
        )


def install(packages: Iterable[Package], plugins: Iterable[Plugin] = ()) -> tuple[str, ...]:
    """Install what is missing and can be had; return the names.

    Debian starts a daemon when it is installed. The services that the `plugins` name
    (`Plugin.system_services`) stay off: Gatepost runs the same programs by itself.
    Raises `PreflightError` without root or apt, `OperationError` with apt's words when it fails.
    """
    names = [p.name for p in packages if not p.installed and p.available]
    if not names:
        return ()
    if os.geteuid() != 0:
        raise PreflightError(
            f"Installing {', '.join(names)} needs root. Run: sudo gatepost packages --install"
        )
    if not shutil.which("apt-get"):
        raise PreflightError(
            f"apt-get is missing. Install with this system's own tool: {' '.join(names)}"
        )
    services = [service for plugin in plugins for service in plugin.system_services]
    new = [service for service in services if not _has_service(service)]
    with _no_daemon_starts():
        if not _apt("install", *names, quiet=True):
            _apt("update")
            _apt("install", *names)
    _disable(service for service in new if _has_service(service))
    return tuple(names)


def _needed(plugins: Iterable[Plugin], settings: Settings) -> list[str]:
    return sorted({name for plugin in plugins for name in plugin.packages(settings)})


def _installed(names: Iterable[str]) -> set[str]:
    names = list(names)
    if not names or not shutil.which("dpkg-query"):
        return set()
    done = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *names],
        capture_output=True,
        text=True,
        check=False,
    )
    rows = (line.split() for line in done.stdout.splitlines())
    return {row[0] for row in rows if row[1:] == ["installed"]}


def _available(names: list[str]) -> set[str]:
    if not names or not shutil.which("apt-cache"):
        return set()
    done = subprocess.run(
        ["apt-cache", "show", "--no-all-versions", *names],
        capture_output=True,
        text=True,
        check=False,
    )
    return {line.split()[1] for line in done.stdout.splitlines() if line.startswith("Package: ")}


def _apt(verb: str, *names: str, quiet: bool = False) -> bool:
    command = ["apt-get", "-q", "-y", *(["--no-install-recommends"] if names else []), verb, *names]
    done = subprocess.run(
        command,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode and not quiet:
        words = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise OperationError(f"`{' '.join(command)}` failed:\n{words}")
    return done.returncode == 0


@contextlib.contextmanager
def _no_daemon_starts() -> Iterator[None]:
    """Have Debian's own policy hook say no while packages are set up (invoke-rc.d(8))."""
    if _POLICY.exists():
        yield
        return
    _POLICY.write_text("#!/bin/sh\nexit 101\n")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink(missing_ok=True)


def _has_service(service: str) -> bool:
    return Path(f"/lib/systemd/system/{service}.service").exists()


def _disable(services: Iterable[str]) -> None:
    """Keep services that came with the packages from starting at the next boot."""
    names = list(services)
    if names and Path("/run/systemd/system").is_dir():
        subprocess.run(["systemctl", "disable", "--quiet", "--now", *names], check=False)
