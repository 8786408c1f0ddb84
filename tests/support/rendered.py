"""Complete trees of rendered configuration: environment in, files out.

Each folder below tests/unit/rendered is a case: a file ``environment``, read as ``.env`` is, and
beside it what follows from it. The case `reference` is stored complete. Any other one is stored as
its differences from the cases in `BASES`, so that a change of a template shows once:

- ``FILE.diff``: lines that differ from the base's FILE (see differences.py),
- ``FILE``: a file that the base lacks, or that has little in common with the base's,
- ``without``: the files that the base has and this case has not,
- no file: the same as the base's.

`make rendered` runs this program, which writes the cases anew. With a folder as its argument, it
writes the complete trees into that folder.
"""

from __future__ import annotations

import difflib
import functools
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from differences import difference, patched

from gatepost import assembly, registry
from gatepost.model import Home, Installed, KeyPair, Pair, Part, RenderedFile, Site
from gatepost.registry import load
from gatepost.run import certificates, copies
from gatepost.settings import Settings

RENDERED = Path(__file__).parents[1] / "unit" / "rendered"
ENVIRONMENT = "environment"
WITHOUT = "without"


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

BASES: dict[str, dict[str, str]] = {
    "reference": {},
    "reference-2.4": dict.fromkeys(("dovecot", "gate", "postfix", "traefik"), "reference"),
    "direct": {"dovecot": "reference", "postfix": "reference"},
    "relay": dict.fromkeys(("dovecot", "gate", "postfix", "traefik"), "reference"),
    "postgresql": {"dovecot": "reference", "postfix": "reference"},
    "postgresql-2.4": {"dovecot": "reference-2.4", "postfix": "postgresql"},
    "mta": {"gate": "reference", "postfix": "postgresql-2.4"},
    "mda": {"dovecot": "reference-2.4"},
}
"""Case → folder of a program → the case from which its files are stored as differences."""


@dataclass(frozen=True, slots=True)
class Text:
    """A file of a case."""

    content: str
    program: bool
    """Whether it may be executed."""


def render(case: Path) -> tuple[RenderedFile, ...]:
    """Return the files that follow from a case's environment."""
    return _rendered(case, (case / ENVIRONMENT).read_text(encoding="utf-8"))


@functools.cache  # every case is the base of itself and of others
def _rendered(case: Path, _environment: str) -> tuple[RenderedFile, ...]:
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


def tree(case: Path) -> dict[str, Text]:
    """Return the complete tree that follows from a case's environment, by path."""
    return {str(file.path): Text(file.content, bool(file.mode & 0o100)) for file in render(case)}


def stored(case: Path) -> dict[str, Text]:
    """Return what belongs into a case's folder beside its environment, by path."""
    files, bases = tree(case), _bases(case)
    kept: dict[str, Text] = {}
    for path, file in files.items():
        base = bases.get(path)
        if base == file:
            continue
        changes = None
        if base is not None and base.program == file.program:
            changes = difference(base.content, file.content)
        if changes is not None and len(changes) < len(file.content):
            kept[f"{path}.diff"] = Text(changes, program=False)
        else:
            kept[path] = file
    if gone := sorted(bases.keys() - files.keys()):
        kept[WITHOUT] = Text("".join(f"{path}\n" for path in gone), program=False)
    return kept


def committed(case: Path) -> dict[str, Text]:
    """Return the complete tree that a case's folder says; raise `ValueError` if it fits no more."""
    folder, bases = _read(case), _bases(case)
    files = dict(bases)
    if gone := folder.pop(WITHOUT, None):
        for path in gone.content.splitlines():
            if files.pop(path, None) is None:
                raise ValueError(f"{case.name}/{WITHOUT}: its base has no {path}\n")
    for name, file in folder.items():
        path = name.removesuffix(".diff")
        if path == name:
            files[path] = file
            continue
        if path not in bases:
            raise ValueError(f"{case.name}/{name}: its base has no such file\n")
        try:
            files[path] = replace(bases[path], content=patched(bases[path].content, file.content))
        except ValueError as error:
            raise ValueError(f"{case.name}/{name} does not fit its base: {error}\n") from error
    return files


def write(case: Path) -> None:
    """Write a case anew, and remove what is no longer rendered."""
    files = stored(case)
    for path in case.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != ENVIRONMENT:
            path.unlink()
    _write(case, files)


def changes(case: Path) -> Iterator[str]:
    """Yield how the files of a case differ from what is rendered now: one diff for each."""
    try:
        before = committed(case)
    except ValueError as error:
        yield str(error)
        return
    files = tree(case)
    for path, file in files.items():
        name, was = f"{case.name}/{path}", before.get(path, Text("", file.program))
        if was.content != file.content:
            yield "".join(
                difflib.unified_diff(
                    was.content.splitlines(keepends=True),
                    file.content.splitlines(keepends=True),
                    f"committed {name}",
                    f"rendered {name}",
                )
            )
        elif was.program != file.program:
            yield f"{name}: rendered {'with' if file.program else 'without'} the right to run it\n"
    if before == files:
        there, right = _read(case), stored(case)
        for name in sorted(there.keys() & right.keys()):
            if there[name] != right[name]:
                yield f"{case.name}/{name}: says the same in other words\n"


def strays(case: Path) -> set[str]:
    """Return files that a case has too many or too few: of its folder, and of its complete tree."""
    folder = _read(case).keys() ^ stored(case).keys()
    try:
        return folder | (committed(case).keys() ^ tree(case).keys())
    except ValueError:  # which `changes` reports
        return folder


def _bases(case: Path) -> dict[str, Text]:
    """Return the files, as they are rendered now, from which a case is stored as differences."""
    return {
        path: file
        for program, base in BASES[case.name].items()
        for path, file in tree(RENDERED / base).items()
        if path.startswith(f"{program}/")
    }


def _read(case: Path) -> dict[str, Text]:
    return {
        str(path.relative_to(case)): Text(
            path.read_text(encoding="utf-8"), os.access(path, os.X_OK)
        )
        for path in case.rglob("*")
        if path.is_file() and path.relative_to(case) != Path(ENVIRONMENT)
    }


def _write(folder: Path, files: dict[str, Text]) -> None:
    for name, file in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file.content, encoding="utf-8")
        path.chmod(0o755 if file.program else 0o644)


def main() -> None:
    """Write every case anew, or its complete tree into the folder that is named."""
    for name in CASES:
        if len(sys.argv) > 1:
            _write(Path(sys.argv[1]) / name, tree(RENDERED / name))
        else:
            write(RENDERED / name)
            sys.stdout.write(f"tests/unit/rendered/{name}\n")


if __name__ == "__main__":
    main()
