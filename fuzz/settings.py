"""Fuzz the settings and what is rendered from them: variables, `.env` files, configurations.

An input is an environment as the kernel keeps it, ``NAME=value`` ended by zeros (environ(7)), or,
when it begins with ``#``, a `.env` file.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from random import Random

import fuzzing

with fuzzing.instrumented("gatepost.settings", "gatepost.plugins"):
    from gatepost import assembly, registry
    from gatepost.settings import Settings

import daemon_languages
from rendered import DEBIAN_12, DEBIAN_12_WITHOUT_IPV6, DEBIAN_13, site

from gatepost.errors import SettingsError, UsageError
from gatepost.settings.concerns import CONCERNS
from gatepost.settings.sources import HIDDEN, Source

load = registry.load
"""What is fuzzed; a test puts a broken one here, to see that it is found out."""

VARIABLES = tuple(
    name.upper() for one in (*CONCERNS.values(), *registry.concerns()) for name in one.model_fields
)
SECRET = "s3cr3t-K"  # noqa: S105  it guards nothing
"""Begins every password of a database, so that it is recognised wherever it is told."""
MACHINES = (DEBIAN_12, DEBIAN_13, DEBIAN_12_WITHOUT_IPV6)
BEGINNING = re.compile(r'(?:[A-Z0-9_]+(?:, [A-Z0-9_]+)*: |"/)')

_DOTENV = Path(tempfile.mkdtemp(prefix="fuzz-")) / ".env"


def test_one_input(data: bytes) -> None:
    """Raise when a value is believed to be what no daemon would read it as, or is told badly."""
    attempt(data)
    if fuzzing.chosen(data):
        with fuzzing.in_time():
            attempt(fuzzing.stretched(data), whole=False)


def attempt(data: bytes, *, whole: bool = True) -> None:
    """Load an input; look at what is refused, and how, or at what is made of it."""
    environ = {} if data.startswith(b"#") else environment(data)
    secret = SECRET if "DB_PASSWORD" in environ else ""
    if any(SECRET in value for name, value in environ.items() if name != "DB_PASSWORD"):
        secret = ""
    dotenv = None
    if data.startswith(b"#"):
        _DOTENV.write_bytes(data)
        dotenv = _DOTENV
    try:
        found = load(environ, dotenv=dotenv, hostname=lambda: "mail.example.org")
    except SettingsError as error:
        refused(error, secret)
        return
    if whole:
        accepted(found, environ, secret)


def environment(data: bytes) -> dict[str, str]:
    """Read an input as an environment; a database's password is made known again."""
    found: dict[str, str] = {}
    for entry in data.split(b"\0"):
        name, equals, value = os.fsdecode(entry).partition("=")
        if equals:
            found[name] = SECRET + value if name == "DB_PASSWORD" else value
    return found


def refused(error: UsageError, secret: str) -> None:
    """See that each problem begins with its variable and has at most the two lines of ours."""
    fuzzing.told_well(error.problems, secret=secret, lines=2)
    for problem in error.problems:
        assert BEGINNING.match(problem), f"no variable is named: {problem!r}"


def accepted(settings: Settings, environ: Mapping[str, str], secret: str) -> None:
    """See that what is accepted is shown, comes back, and means in every file what it says."""
    shown = {value.name: value for value in settings.values()}
    # Lists of networks may be long.
    told = [value.text for value in shown.values() if value.text]
    fuzzing.told_well([*told, *settings.warnings], secret=secret, longest=1_000_000)
    assert shown["DB_PASSWORD"].text in {"", HIDDEN}
    again = {
        name: value.text
        for name, value in shown.items()
        if value.source is not Source.DEFAULT and value.text
    }
    if settings.database.db_password:
        again["DB_PASSWORD"] = settings.database.db_password.get_secret_value()
    if all(value.text for value in shown.values() if value.source is not Source.DEFAULT):
        back = load(again, hostname=lambda: "mail.example.org")
        for meant, read in zip(settings.groups, back.groups, strict=True):
            assert read == meant, f"set again as it is shown: {read!r} instead of {meant!r}"
    # One of them each time, for an input's own sum is as good as chance and comes again.
    machine = MACHINES[zlib.crc32(repr(sorted(environ.items())).encode()) % len(MACHINES)]
    try:
        plan = assembly.assemble(settings, site(settings, machine))
    except UsageError as error:
        refused(error, secret)
        return
    daemon_languages.check(settings, plan)


def mutate(data: bytes, most: int, seed: int) -> bytes:
    """Change bytes anywhere, or the value of one variable while names stay what they are."""
    chance = Random(seed)  # noqa: S311  it guards nothing
    if data.startswith(b"#") or chance.random() < 0.3:
        return fuzzing.changed(data, most)
    entries = dict(entry.partition(b"=")[::2] for entry in data.split(b"\0") if b"=" in entry)
    name = chance.choice([*entries, *(v.encode() for v in VARIABLES)])
    if name in entries and chance.random() < 0.1:
        del entries[name]
    else:
        entries[name] = fuzzing.changed(entries.get(name, b""), 80).replace(b"\0", b"")
    return b"\0".join(b"=".join(entry) for entry in entries.items())[:most]


def main(arguments: list[str]) -> None:
    """Run libFuzzer; it ends the process."""
    fuzzing.main("settings", test_one_input, arguments, mutate=mutate)


if __name__ == "__main__":
    main(sys.argv[1:])
