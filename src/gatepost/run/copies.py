"""The daemons' copies of files that somebody else writes: certificates, keys, passwords.

A daemon reads nothing outside its configuration. So new contents are a new configuration, which is
compared, checked and put in place as one; and a daemon that reads its files while somebody writes
the originals meets neither half a file nor a key without its certificate.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from gatepost.errors import PreflightError
from gatepost.model import Certificate, Copy, Original, Pair, Part
from gatepost.run import pairs
from gatepost.run.originals import digest

VARIABLES = {
    Part.CHAIN: ("TLS_CERT_FILE", "TLS_KEY_FILE"),
    Part.KEY: ("TLS_CERT_FILE", "TLS_KEY_FILE"),
    Part.KEY_AND_CHAIN: ("TLS_CERT_FILE", "TLS_KEY_FILE"),
    Part.AUTHORITY: ("DB_TLS_CA_FILE",),
    Part.PASSWORDS: ("RELAY_PASSWD_FILE",),
}
"""Part → the variables that name its files."""


def announced(part: Part, *files: Path) -> Copy:
    """Return what stands for a copy until it is made: nothing is read, and no secret is shown."""
    names = " and ".join(map(str, files))
    return Copy(f"# {part} of {names}: copied by `gatepost up`\n", Original(part, _named(files)))


def announced_pair(certificate: Certificate) -> Pair:
    """Return what stands for the copies of a pair until they are made."""
    files = (certificate.cert_file, certificate.key_file)
    return Pair(*(announced(part, *files) for part in (Part.CHAIN, Part.KEY, Part.KEY_AND_CHAIN)))


def pair(certificate: Certificate, *, ours: bool = False) -> Pair:
    """Return copies of a pair as it is now; with `ours` nobody else writes it.

    Raises `PreflightError` when it does not serve.
    """
    files = (certificate.cert_file, certificate.key_file)
    content = read(Part.CHAIN, files)
    return Pair(
        *(
            Copy(_part(part, files, content), None if ours else _original(part, files, content))
            for part in (Part.CHAIN, Part.KEY, Part.KEY_AND_CHAIN)
        )
    )


def copy(part: Part, *files: Path) -> Copy:
    """Return a copy of files as they are now; raise `PreflightError` when there is a fault."""
    return made(part, files, read(part, files))


def made(part: Part, files: tuple[Path, ...], content: tuple[bytes, ...]) -> Copy:
    """Return a copy of what was read from files; raise `PreflightError` when there is a fault."""
    return Copy(_part(part, files, content), _original(part, files, content))


def read(part: Part, files: tuple[Path, ...]) -> tuple[bytes, ...]:
    """Read all files; raise `PreflightError` with each that cannot be read."""
    content: list[bytes] = []
    problems: list[str] = []
    for path, variable in zip(files, VARIABLES[part], strict=True):
        try:
            content.append(pairs.read(path, variable))
        except PreflightError as error:
            problems.extend(error.problems)
    if problems:
        raise PreflightError(*problems)
    return tuple(content)


def _named(files: Iterable[Path]) -> tuple[str, ...]:
    return tuple(map(str, files))


def _original(part: Part, files: tuple[Path, ...], content: tuple[bytes, ...]) -> Original:
    return Original(part, _named(files), digest(content))


def _part(part: Part, files: tuple[Path, ...], content: tuple[bytes, ...]) -> str:
    if part is Part.AUTHORITY:
        return pairs.authority(files[0], content[0], "DB_TLS_CA_FILE")
    if part is Part.PASSWORDS:
        return _text(files[0], content[0])
    loaded = pairs.judge(files[0], content[0], files[1], content[1])
    match part:
        case Part.CHAIN:
            return loaded.chain
        case Part.KEY:
            return loaded.key
        case _:
            return loaded.key + loaded.chain


def _text(path: Path, content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise PreflightError(
            f'RELAY_PASSWD_FILE: "{path}" is not UTF-8 at byte {error.start + 1}. '
            "Save the file as UTF-8."
        ) from None
