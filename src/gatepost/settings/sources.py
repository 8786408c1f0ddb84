"""Sources of a value: the environment, then `.env`, then the default."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from io import StringIO
from pathlib import Path

from dotenv.parser import Binding, parse_stream

from gatepost.errors import SettingsError, printable
from gatepost.settings.rights import refuse_what_others_may_write

HIDDEN = "********"
"""The text that is printed in place of a secret."""

_SECRET = re.compile(r"PASSW|SECRET|TOKEN", re.IGNORECASE)
_ASSIGNMENT = re.compile(r"\n\s*(?:export\s+)?[A-Z][A-Z0-9_]+=")
_LONGEST_SHOWN = 100


class Source(StrEnum):
    """The source of a value."""

    ENVIRONMENT = "environment"
    DOTENV = ".env"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Given:
    """The text of a variable and where it was found."""

    text: str
    source: Source


def gather(
    environ: Mapping[str, str], dotenv: Path | None, problems: list[str], warnings: list[str]
) -> dict[str, Given]:
    """Return every variable that is set and not empty; the environment wins over the file.

    `problems` gets a sentence for each line that cannot be read, `warnings` one for each variable
    that the file sets twice.
    """
    found: dict[str, Given] = {}
    if dotenv and dotenv.is_file():
        refuse_what_others_may_write(dotenv)
        for name, text in _read(dotenv, problems, warnings).items():
            if text.strip():
                found[name] = Given(text.strip(), Source.DOTENV)
    for name, text in environ.items():
        if text.strip():
            found[name] = Given(text.strip(), Source.ENVIRONMENT)
    return found


def _read(dotenv: Path, problems: list[str], warnings: list[str]) -> dict[str, str]:
    """Read the variables of a file; raise `SettingsError` when it cannot be read as text."""
    try:
        # Interpolation would turn a "$" in a password into nothing, without a word; so a parser
        # without it. A mark of byte order, which some editors write, is no part of a name.
        lines = list(parse_stream(StringIO(dotenv.read_text(encoding="utf-8-sig"))))
    except OSError as error:
        raise _unreadable(
            dotenv, error.strerror, "Make it readable to this user, or remove it"
        ) from None
    except UnicodeDecodeError as error:
        reason = f"byte {error.start + 1} is not UTF-8"
        raise _unreadable(dotenv, reason, "Save the file as UTF-8") from None
    found: dict[str, str] = {}
    secret = False
    for line in lines:
        number = line.original.line + _blank_lines(line.original.string)
        text = line.original.string.strip()
        if fault := _fault(line):
            # What follows an open quote of a password is the rest of it.
            secret = bool(_SECRET.search(text)) or (secret and "=" not in text)
            problems.append(
                f'"{dotenv}", line {number}: {fault}: {_shown(text, hidden=secret)}\n'
                "Write one NAME=value on a line. Put a value with spaces or # in quotes, and close "
                "them on the same line"
            )
        elif line.key is not None and line.value is not None:
            secret = False
            if found.get(line.key, line.value) != line.value:
                warnings.append(
                    f'{printable(line.key)} is set more than once in "{dotenv}". The value in line '
                    f"{number}, the last one, counts. Keep only the line that you mean."
                )
            found[line.key] = line.value
    return found


def _unreadable(dotenv: Path, reason: str | None, way_out: str) -> SettingsError:
    return SettingsError(f'"{dotenv}" cannot be read as a file of settings: {reason}.\n{way_out}')


def _fault(line: Binding) -> str:
    """Return why a line sets no variable; empty for a line that sets one, a blank or a comment."""
    text = line.original.string.strip()
    if line.error:
        _, mark, value = text.partition("=")
        opening = value.strip()[:1]
        if mark and opening in {"'", '"'} and value.count(opening) % 2:
            return "a quote is opened and not closed"
        return "this line does not set a variable"
    if line.key is None:
        return ""
    if line.value is None:
        return "this line names a variable and does not set it"
    if _ASSIGNMENT.search(line.value):
        return "a quote is opened here and takes the lines after it in"
    return ""


def _blank_lines(text: str) -> int:
    """Return how many lines before the text are empty."""
    return text[: len(text) - len(text.lstrip())].count("\n")


def _shown(text: str, *, hidden: bool) -> str:
    """Return the first line of a text, without a password."""
    first = text.partition("\n")[0].strip()
    if hidden:
        name = re.match(r"[\s-]*(?:export\s+)?[A-Za-z_][A-Za-z0-9_]*\s*[=:]", first)
        first = f"{name[0] if name else ''}{HIDDEN}"
    elif len(first) > _LONGEST_SHOWN:
        first = f"{first[:_LONGEST_SHOWN]}…"
    return printable(first)


def misspelt(names: Iterable[str], known: Iterable[str]) -> list[tuple[str, str]]:
    """Return names that are nearly a known one, with that one.

    Nearly means the same words in another number or order (``TRUSTED_PROXY``), or one or two
    letters away: transposed, missing, added and wrong letters count one each
    (Damerau-Levenshtein).
    """
    from rapidfuzz.distance import DamerauLevenshtein  # noqa: PLC0415  only with odd names

    known = sorted(known)
    by_words: dict[tuple[str, ...], str | None] = {}
    for name in known:  # IMAP and IMAPS are two words
        by_words[_words(name)] = None if _words(name) in by_words else name
    # OpenSSL's own variable is one letter from TLS_CERT_FILE and set on many machines.
    names = set(names) - {"SSL_CERT_FILE"}
    shortest, most = 6, 2
    found = []
    for name in sorted(names - set(known)):
        if len(name) < shortest:
            continue
        if meant := by_words.get(_words(name)):
            found.append((name, meant))
            continue
        distance, nearest = min(
            (DamerauLevenshtein.distance(name.upper(), other, score_cutoff=most), other)
            for other in known
        )
        if distance <= most:
            found.append((name, nearest))
    return found


def _words(name: str) -> tuple[str, ...]:
    """Return the words of a name, each in the singular, in an order that does not matter."""
    words = (re.sub(r"IES$", "Y", word) for word in re.split(r"[^A-Z0-9]+", name.upper()))
    return tuple(sorted(re.sub(r"SSES$", "SS", word).rstrip("S") for word in words if word))
