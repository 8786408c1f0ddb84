"""Whole trees of rendered configuration: environment in, files out.

Each folder below tests/unit/rendered is a case: a file ``environment``, read as ``.env`` is, and
beside it what follows from it. `make rendered` runs this program, which writes the cases anew.
"""

from __future__ import annotations

import difflib
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from gatepost import assembly, registry
from gatepost.model import Home, Installed, KeyPair, Pair, Part, RenderedFile, Site
from gatepost.registry import load
from gatepost.run import certificates, copies
from gatepost.settings import Settings

RENDERED = Path(__file__).parents[1] / "unit" / "rendered"
ENVIRONMENT = "environment"


@dataclass(frozen=True, slots=True)
class Machine:
    """What a case says about its machine, which no variable tells."""

    postfix: Installed
    dovecot: Installed
    ipv6: bool = True
    service: str | None = None
    """The one service that its container runs."""


DEBIAN_12 = Machine(Installed("3.7.11"), Installed("2.3.19.1"))
DEBIAN_13 = Machine(Installed("3.10.13"), Installed("2.4.1-4", frozenset({"flatcurve"})))
DEBIAN_12_WITHOUT_IPV6 = Machine(DEBIAN_12.postfix, DEBIAN_12.dovecot, ipv6=False)

CASES = {
    "reference": DEBIAN_12,
    "reference-2.4": DEBIAN_13,
    "direct": DEBIAN_12_WITHOUT_IPV6,
    "relay": DEBIAN_12,
    "postgresql": DEBIAN_12,
    "postgresql-2.4": DEBIAN_13,
    "mta": replace(DEBIAN_13, service="mta"),
    "mda": replace(DEBIAN_13, service="mda"),
}


def render(case: Path) -> tuple[RenderedFile, ...]:
    """Return the files that follow from a case's environment."""
    machine = CASES[case.name]
    # Our own environment stays outside, or a case would differ from one machine to the next.
    settings = load({}, dotenv=case / ENVIRONMENT)
    return assembly.assemble(settings, site(settings, machine), machine.service).files


def announced_secrets(home: Home) -> dict[str, Pair | str]:
    """Return what stands for the secrets of all plug-ins until they are made."""
    return {
        secret.name: copies.announced_pair(certificates.files_of(secret, home))
        if isinstance(secret, KeyPair)
        else "unit-test-key"
        for plugin in registry.plugins()
        for secret in plugin.secrets
    }


def site(settings: Settings, machine: Machine) -> Site:
    """Return the place that a case is planned for."""
    home = Home(settings.storage.gatepost_home)
    passwords, authority = settings.mail.relay_passwd_file, settings.database.db_tls_ca_file
    return Site(
        home=home,
        installed={
            "postfix": machine.postfix,
            "dovecot": machine.dovecot,
            "traefik": Installed("3.7.15"),
        },
        certificate=copies.announced_pair(certificates.shown(settings, home)),
        secrets=announced_secrets(home),
        program=Path("/opt/gatepost/bin/gatepost"),
        ipv6=machine.ipv6,
        copies=(
            {"relay-passwords": copies.announced(Part.PASSWORDS, passwords)} if passwords else {}
        ),
        database_authority=copies.announced(Part.AUTHORITY, authority) if authority else None,
    )


def write(case: Path) -> None:
    """Write a case anew; what is no longer rendered goes."""
    files = render(case)
    for path in case.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != ENVIRONMENT:
            path.unlink()
    for file in files:
        path = case / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file.content, encoding="utf-8")
        path.chmod(0o755 if _is_program(file) else 0o644)


def changes(case: Path) -> Iterator[str]:
    """Yield how the files of a case differ from what is rendered now: one diff for each."""
    for file in render(case):
        path = case / file.path
        name = f"{case.name}/{file.path}"
        committed = path.read_text(encoding="utf-8") if path.exists() else ""
        diff = difflib.unified_diff(
            committed.splitlines(keepends=True),
            file.content.splitlines(keepends=True),
            f"committed {name}",
            f"rendered {name}",
        )
        if committed != file.content:
            yield "".join(diff)
        elif os.access(path, os.X_OK) != _is_program(file):
            yield f"{name}: rendered with mode {file.mode:o}\n"


def strays(case: Path) -> set[str]:
    """Return files of a case that nothing renders, and rendered ones that are not there."""
    there = {str(path.relative_to(case)) for path in case.rglob("*") if path.is_file()}
    return there ^ {ENVIRONMENT, *(str(file.path) for file in render(case))}


def _is_program(file: RenderedFile) -> bool:
    return bool(file.mode & 0o100)


def main() -> None:
    """Write every case anew."""
    for name in CASES:
        write(RENDERED / name)
        sys.stdout.write(f"tests/unit/rendered/{name}\n")


if __name__ == "__main__":
    main()
