"""Where a value comes from: the environment, then `.env`, then the default."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from dotenv import dotenv_values

from gatepost.errors import SettingsError
from gatepost.settings.rights import refuse_what_others_may_write


class Source(StrEnum):
    """Who set a value."""

    ENVIRONMENT = "environment"
    DOTENV = ".env"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Given:
    """The text of a variable and where it was found."""

    text: str
    source: Source


def gather(environ: Mapping[str, str], dotenv: Path | None) -> dict[str, Given]:
    """Return every variable that is set and not empty; the environment wins over the file."""
    found: dict[str, Given] = {}
    if dotenv and dotenv.is_file():
        refuse_what_others_may_write(dotenv)
        for name, text in _read(dotenv).items():
            if text and text.strip():
                found[name] = Given(text.strip(), Source.DOTENV)
    for name, text in environ.items():
        if text.strip():
            found[name] = Given(text.strip(), Source.ENVIRONMENT)
    return found


def _read(dotenv: Path) -> Mapping[str, str | None]:
    """Read the variables of a file; raise `SettingsError` when it cannot be read as text."""
    try:
        # Interpolation would turn a "$" in a password into nothing, without a word.
        return dotenv_values(dotenv, interpolate=False)
    except OSError as error:
        reason, way_out = error.strerror, "Make it readable to this user, or remove it"
    except UnicodeDecodeError as error:
        reason, way_out = f"byte {error.start + 1} is not UTF-8", "Save the file as UTF-8"
    raise SettingsError(f'"{dotenv}" cannot be read as a file of settings: {reason}.\n{way_out}')


def misspelt(names: Iterable[str], known: Iterable[str]) -> list[tuple[str, str]]:
    """Return names one or two letters away from a known one, with that one.

    Transposed, missing, added and wrong letters count one each (Damerau-Levenshtein).
    """
    from rapidfuzz.distance import DamerauLevenshtein  # noqa: PLC0415  only with odd names

    known = sorted(known)
    # OpenSSL's own variable is one letter from TLS_CERT_FILE and set on many machines.
    names = set(names) - {"SSL_CERT_FILE"}
    shortest, most = 6, 2
    found = []
    for name in sorted(names - set(known)):
        if len(name) < shortest:
            continue
        distance, nearest = min(
            (DamerauLevenshtein.distance(name.upper(), other, score_cutoff=most), other)
            for other in known
        )
        if distance <= most:
            found.append((name, nearest))
    return found
