"""The place that a plan is made for: folders, programs, keys. No I/O, and no decisions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Home:
    """The folders under ``GATEPOST_HOME``; everything Gatepost writes is below `root`."""

    root: Path

    @property
    def config(self) -> Path:
        """The configuration in use: a symbolic link to one of `generations`."""
        return self.root / "config" / "current"

    @property
    def generations(self) -> Path:
        """One folder for each configuration written, the newest few kept."""
        return self.root / "config" / "generations"

    @property
    def state(self) -> Path:
        """State that daemons keep between runs: a folder for each."""
        return self.root / "state"

    @property
    def mail(self) -> Path:
        """Maildirs, as ``DOMAIN/LOCAL-PART``."""
        return self.root / "mail"

    @property
    def database(self) -> Path:
        """The SQLite database of accounts; its folder holds the write-ahead log beside it."""
        return self.root / "accounts" / "accounts.sqlite3"

    @property
    def secrets(self) -> Path:
        """Generated keys and certificates, readable by root and the one user of each."""
        return self.root / "secrets"

    @property
    def logs(self) -> Path:
        """Log files of this instance."""
        return self.root / "logs"

    @property
    def run(self) -> Path:
        """Sockets, locks and process ids; worthless after a restart."""
        return self.root / "run"


@dataclass(frozen=True, slots=True)
class Installed:
    """Facts about one daemon's or proxy's program on this machine."""

    version: str
    """As the program prints it, such as ``2.4.1-4``."""
    features: frozenset[str] = frozenset()
    """Names of the optional parts that are installed, such as ``flatcurve``."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A TLS certificate chain and its key, both PEM files."""

    cert_file: Path
    key_file: Path


class Part(StrEnum):
    """The part of the administrator's files that a copy of them holds."""

    CHAIN = "chain"
    """The certificates of a pair, the server's own first."""
    KEY = "key"
    """The key of a pair."""
    KEY_AND_CHAIN = "key-and-chain"
    """Both, the key first."""
    AUTHORITY = "authority"
    """The certificates that a database server's own is signed by."""
    PASSWORDS = "passwords"
    """The login at the relay host."""


@dataclass(frozen=True, slots=True)
class Original:
    """Files outside the configuration, of which a file of the configuration is a copy."""

    part: Part
    files: tuple[str, ...]
    """Of a pair the certificate's file and the key's."""
    digest: str = ""
    """SHA-256 of what stands in them, in hex; empty when it is not known."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy, for a daemon, of files that somebody else writes."""

    content: str
    original: Original | None = None
    """None when nobody but Gatepost writes them: then nobody has to watch them."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate chain and its key, as the daemons are given them."""

    chain: Copy
    key: Copy
    together: Copy
    """The key first, in one file: whoever reads it never meets one without the other."""


@dataclass(frozen=True, slots=True)
class Site:
    """Facts about the place a plan is made for, gathered beforehand so that plans stay pure."""

    home: Home
    installed: Mapping[str, Installed]
    """Plug-in name → what is installed of it."""
    certificate: Pair
    """The certificate that clients see."""
    program: Path
    """The ``gatepost`` program, for daemons that call back."""
    ipv6: bool = True
    """True if the kernel speaks IPv6."""
    database_authority: Copy | None = None
    """Certificates of the authority that signed the database server's, when they are given."""
    secrets: Mapping[str, Pair | str] = field(default_factory=dict)
    """Name of a plug-in's secret → the copies of a pair, or the word itself."""
    copies: Mapping[str, Copy] = field(default_factory=dict)
    """Plug-in's name for a file that a setting names → its copy."""

    def pair(self, name: str) -> Pair:
        """Return a `KeyPair` by its name; raise `KeyError` when no plug-in here has it."""
        found = self.secrets[name]
        if not isinstance(found, Pair):
            raise KeyError(name)
        return found

    def token(self, name: str) -> str:
        """Return a `Token` by its name; raise `KeyError` when no plug-in here has it."""
        found = self.secrets[name]
        if not isinstance(found, str):
            raise KeyError(name)
        return found
