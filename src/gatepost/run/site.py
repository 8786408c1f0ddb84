"""Facts about this machine, gathered once so that everything after it is pure."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from gatepost.contracts import Plugin
from gatepost.errors import PreflightError
from gatepost.model import (
    Home,
    Installed,
    KeyPair,
    Pair,
    Part,
    Plan,
    Process,
    Secret,
    Site,
)
from gatepost.run import certificates, copies, environment, rights, versions
from gatepost.settings import Settings

_UNKNOWN_KEY = "made-at-first-start"


def survey(settings: Settings, plugins: Iterable[Plugin]) -> Site:
    """Find out what the plan of these plug-ins must know; nothing is written.

    In place of keys, and of the daemons' copies of certificates, keys and passwords, it has
    placeholders: see `filled`. Raises `PreflightError` when a program that the plan needs is
    missing.
    """
    plugins = tuple(plugins)
    bare = Site(
        home=Home(settings.storage.gatepost_home),
        installed={plugin.name: _installed(plugin) for plugin in plugins if plugin.version_command},
        certificate=copies.announced_pair(
            certificates.shown(settings, Home(settings.storage.gatepost_home))
        ),
        program=Path(sys.executable).parent / "gatepost",
        ipv6=has_ipv6(),
    )
    return _with_files(bare, settings, plugins, copying=False)


def filled(found: Site, settings: Settings, plugins: Iterable[Plugin]) -> Site:
    """Return a site with the keys that `prepare` has made, and with the daemons' copies of files.

    Raises `PreflightError` when what is copied is not what it must be.
    """
    return _with_files(found, settings, tuple(plugins), copying=True)


def _with_files(
    found: Site, settings: Settings, plugins: tuple[Plugin, ...], *, copying: bool
) -> Site:
    home = found.home
    given = certificates.shown(settings, home)
    copy = copies.copy if copying else copies.announced
    authority = settings.database.db_tls_ca_file
    return replace(
        found,
        certificate=copies.pair(given) if copying else copies.announced_pair(given),
        database_authority=copy(Part.AUTHORITY, authority) if authority else None,
        secrets={
            secret.name: _secret(secret, home, copying=copying)
            for plugin in plugins
            for secret in plugin.secrets
        },
        copies={
            name: copy(part, file)
            for plugin in plugins
            for name, (part, file) in plugin.copies(settings).items()
        },
    )


def prepare(settings: Settings, plugins: Iterable[Plugin]) -> None:
    """Make the keys and certificates that are made at first start; their users exist."""
    home = Home(settings.storage.gatepost_home)
    home.secrets.mkdir(parents=True, exist_ok=True)
    folder = rights.open_folder(home.secrets)
    os.fchmod(folder, 0o755)
    os.close(folder)
    certificates.make_missing(settings, home)
    for plugin in plugins:
        for secret in plugin.secrets:
            if isinstance(secret, KeyPair):
                certificates.make_pair(secret, home)
            else:
                _make_token(home.secrets / secret.name)


def _make_token(file: Path) -> None:
    descriptor = rights.open_own(file, os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "r+") as stream:
        if not stream.read().strip():
            stream.write(secrets.token_urlsafe(32) + "\n")


def _secret(secret: Secret, home: Home, *, copying: bool) -> Pair | str:
    if isinstance(secret, KeyPair):
        files = certificates.files_of(secret, home)
        return copies.pair(files, ours=True) if copying else copies.announced_pair(files)
    # A user who only looks may be no root, and the word is nobody else's to read or print.
    file = home.secrets / secret.name
    return file.read_text().strip() if copying and file.exists() else _UNKNOWN_KEY


def has_ipv6() -> bool:
    """Tell whether the kernel gives out IPv6 sockets with a loopback address."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def with_versions(plan: Plan, plugins: Iterable[Plugin], settings: Settings) -> Plan:
    """Return a plan whose processes name the versions that are installed on this machine.

    A process that has its plug-in's name runs the plug-in's packages; any other, the program in
    its command.
    """
    by_name = {plugin.name: plugin for plugin in plugins}
    packages = {
        name: {*plugin.packages(settings), *plugin.optional_packages}
        for name, plugin in by_name.items()
    }
    known = versions.debian(sorted(set().union(*packages.values())))
    # Without one of its packages dpkg does not know the plug-in, and the program's file counts.
    owned = {name: some for name, some in packages.items() if some & known.keys()}
    parts = {
        process.name: _parts(process, by_name.get(process.name), owned.get(process.name, set()))
        for process in plan.processes
    }
    named = dict.fromkeys(part for some in parts.values() for part in some)
    asked = set().union(*packages.values())
    found = dict.fromkeys(named, "") | known  # dpkg is asked once
    found |= versions.installed(part for part in named if part not in asked)
    return replace(
        plan,
        processes=tuple(
            replace(process, versions={part: found[part] for part in parts[process.name]})
            for process in plan.processes
        ),
    )


def _parts(process: Process, plugin: Plugin | None, packages: set[str]) -> tuple[str, ...]:
    """Return the parts of a process (`gatepost.run.versions`)."""
    program = Path(process.argv[0])
    if program.parent == Path(sys.executable).parent and program.name.startswith("python"):
        return versions.own()
    if packages:
        return tuple(sorted(packages))
    command = plugin.version_command[0] if plugin and plugin.version_command else process.argv[0]
    return (str(Path(find_program(command) or command).resolve()),)


def find_program(name: str) -> str | None:
    """Return the path of a program: beside our own first, then where the daemons' are found."""
    beside = Path(sys.executable).parent
    return shutil.which(name, path=f"{beside}:{environment.PATH}")


def _installed(plugin: Plugin) -> Installed:
    program = find_program(plugin.version_command[0])
    if program is None:
        raise PreflightError(
            f'{plugin.name}: the program "{plugin.version_command[0]}" is not installed. '
            "Install what is missing: gatepost packages --install"
        )
    done = subprocess.run(
        [program, *plugin.version_command[1:]],
        env=environment.fixed(),
        capture_output=True,
        text=True,
        check=False,
    )
    match = re.search(r"\d+(\.\d+)+\S*", done.stdout)
    if not match:
        raise PreflightError(
            f"{plugin.name}: `{' '.join(plugin.version_command)}` does not tell a version but: "
            f"{(done.stdout + done.stderr).strip()[:200]!r}. Reinstall its package."
        )
    features = {n for n, file in plugin.feature_files.items() if Path(file).exists()}
    return Installed(match[0], frozenset(features))
