"""Secrets that are made at the first start and kept below ``secrets/``. No I/O, no decisions."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Token:
    """A random word that only root reads."""

    name: str
    """Name of its file."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A key, and a certificate that it has signed itself: ``NAME.key`` and ``NAME.crt``."""

    name: str
    common_name: str
    reader: str = ""
    """The group that may read the key, besides root; empty for none."""
    relays: bool = False
    """True if the MTA takes mail for any recipient from a client that shows the certificate, whose
    fingerprint is in the database then."""


Secret = Token | KeyPair
