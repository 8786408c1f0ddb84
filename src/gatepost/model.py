"""Frozen values that the rooms hand to each other. No I/O happens here, and no decisions.

Data flows one way: settings → `Topology` → `Plan` → files and processes → `Observation` →
`Finding`. Everything here can be compared, printed and serialised.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path, PurePosixPath

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """A TCP address: an IP address or host name, and a port from 1 to 65535."""

    host: str
    port: int

    def __str__(self) -> str:
        """Write ``host:port``, or ``[v6]:port`` for an IPv6 address."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_ipv6(self) -> bool:
        """Whether the host is an IPv6 address in numbers."""
        return ":" in self.host

    @property
    def reachable(self) -> Address:
        """The same address as a program on this machine connects to it: no wildcard."""
        loopback = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
        return Address(loopback.get(self.host, self.host), self.port)


@dataclass(frozen=True, slots=True, order=True)
class SocketPath:
    """A UNIX socket, for programs on the same machine."""

    path: Path
    user: str
    """The one system user, besides root, who may connect."""

    def __str__(self) -> str:
        """Write the path."""
        return str(self.path)

    @property
    def reachable(self) -> SocketPath:
        """The same socket: it has no wildcard."""
        return self


Endpoint = Address | SocketPath
"""Where a program answers others: over a network, or on this machine only."""


# --- listeners ------------------------------------------------------------------------------


class Protocol(StrEnum):
    """What is spoken on a listener once any PROXY header has been read."""

    SMTP = "smtp"
    IMAP = "imap"
    POP3 = "pop3"
    SIEVE = "sieve"


class Tls(StrEnum):
    """How TLS begins on a listener (RFC 8314)."""

    STARTTLS = "starttls"
    IMPLICIT = "implicit"


class Reach(StrEnum):
    """Who may open a connection to a port."""

    ANYONE = "anyone"
    PROXIES = "proxies"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class Listener:
    """One row of the listener table, the same on every installation."""

    name: str
    """Name of the listener, of the proxy's entry point and of the Kubernetes port."""
    protocol: Protocol
    tls: Tls
    public_port: int
    """The port that mail programs and other servers know (25, 587, …)."""
    entry_point_port: int
    """Where the reverse proxy listens with ``PUBLIC_PORTS=entrypoints``."""
    service_port: int
    """Where the daemon listens for the proxy; demands a PROXY header when one is upstream."""
    internal_port: int
    """Where the daemon listens for Gatepost's own clients; never takes a PROXY header."""


@dataclass(frozen=True, slots=True)
class BoundListener:
    """A listener with the addresses it has in one installation."""

    listener: Listener
    daemon: str
    """Name of the daemon that answers on it."""
    proxied: bool
    """Whether the service port demands a PROXY header."""
    public: tuple[Address, ...]
    """Where clients connect; empty when a proxy that is not ours stands in front."""
    service: tuple[Address, ...]
    internal: tuple[Address, ...]

    @property
    def name(self) -> str:
        """Name of the listener."""
        return self.listener.name

    @property
    def service_reach(self) -> Reach:
        """Who may reach the service port."""
        return Reach.PROXIES if self.proxied else Reach.ANYONE


class Role(StrEnum):
    """What one daemon offers to another, found by role and never by the daemon's name."""

    DELIVERY = "delivery"
    """LMTP (RFC 2033): takes a message for a mailbox."""
    SASL = "sasl"
    """Dovecot's authentication protocol, for SMTP AUTH."""
    QUOTA_STATUS = "quota-status"
    """Postfix policy protocol: would this mailbox accept this message?"""
    API = "api"
    """HTTP administration interface of the mail store."""
    METRICS = "metrics"
    """What the gate counts, for Prometheus."""


@dataclass(frozen=True, slots=True)
class Offer:
    """Where a daemon offers a role, depending on where its users are."""

    port: int
    """TCP port, for users in another container."""
    socket: str | None = None
    """Name of the UNIX socket for users on the same machine; None: TCP there too."""


@dataclass(frozen=True, slots=True)
class Topology:
    """Who listens where, for whom: the one table that every side reads."""

    listeners: tuple[BoundListener, ...]
    """The rows of the daemons that run here: all, or those of one service in a container."""
    roles: Mapping[Role, Endpoint]
    """Where each role is found, here or elsewhere, as its users connect to it."""
    clients: Mapping[str, Address]
    """Listener name → where Gatepost's own clients connect (the ``MDA_*``/``MTA_*_ADDRESS``)."""
    trusted_proxies: tuple[IPNetwork, ...]
    offers: Mapping[Role, tuple[Endpoint, ...]] = field(default_factory=dict)
    """Where the daemons that run here offer each role."""

    def of(self, daemon: str) -> tuple[BoundListener, ...]:
        """Return the listeners that one daemon answers on, in table order."""
        return tuple(bound for bound in self.listeners if bound.daemon == daemon)

    def named(self, name: str) -> BoundListener:
        """Return the listener of that name; raise `KeyError` when there is none."""
        for bound in self.listeners:
            if bound.name == name:
                return bound
        raise KeyError(name)


# --- the place a plan is made for -----------------------------------------------------------


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
    def queue(self) -> Path:
        """Postfix's queue_directory."""
        return self.root / "queue"

    @property
    def state(self) -> Path:
        """What daemons remember between runs: a folder for each."""
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
    """What was found out about one daemon's or proxy's program on this machine."""

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
    """What a daemon is given of files that somebody else writes."""

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
    """What the mail server shows to clients."""
    relay_client: Pair
    """Client certificate by which the mail store's own submissions (Sieve) are known to the MTA."""
    api_key: str
    """Key of the mail store's HTTP interface."""
    program: Path
    """The ``gatepost`` program, for daemons that call back."""
    ipv6: bool = True
    """Whether the kernel speaks IPv6."""
    relay_passwords: Copy | None = None
    """The login at the relay host, when there is one."""
    database_authority: Copy | None = None
    """Certificates of the authority that signed the database server's, when they are given."""


# --- plans ----------------------------------------------------------------------------------


class OnChange(StrEnum):
    """What a process needs when one of its files changes."""

    RELOAD = "reload"
    RESTART = "restart"
    NOTHING = "nothing"
    """The process watches the file itself, or reads it at every use."""


@dataclass(frozen=True, slots=True)
class RenderedFile:
    """A configuration file, ready to be written."""

    path: PurePosixPath
    """Relative to the configuration's folder (`Home.config`), such as ``postfix/main.cf``."""
    content: str
    process: str
    """Name of the process that reads it."""
    on_change: OnChange = OnChange.RELOAD
    mode: int = 0o644
    group: str = "root"
    original: Original | None = None
    """Files that it is a copy of. The supervisor watches them and renews the copy."""


@dataclass(frozen=True, slots=True)
class Directory:
    """A folder that must exist before anything starts."""

    path: Path
    mode: int = 0o755
    owner: str = "root"
    group: str = "root"
    contents: str = ""
    """Whose everything below it is, as ``OWNER:GROUP``, or ``OWNER`` where the group does not
    matter; empty when nobody looks."""


@dataclass(frozen=True, slots=True)
class SystemUser:
    """An unprivileged system user (and group of the same name) that must exist."""

    name: str
    purpose: str
    """For the user database's comment field."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """An endpoint that answers when its process is ready."""

    address: Endpoint
    greeting: bytes = b""
    """What the answer begins with; empty when an open port is proof enough."""


@dataclass(frozen=True, slots=True)
class Check:
    """A daemon's own configuration checker; ``{config}`` in `argv` is the staged folder."""

    process: str
    argv: tuple[str, ...]


class Standing(StrEnum):
    """Kind of a connection that the gate hands over, by what is known of its client."""

    NAMED = "named"
    """A PROXY header named the client, or nothing more is known than its own address."""
    RELAYING = "relaying"
    """The client's address counts for ``MYNETWORKS``: its own, or one that a proxy named which may
    speak for those networks (``MTA_RELAYING_PROXIES``)."""
    ENCRYPTED = "encrypted"
    """A PROXY header says that the client's TLS ends at the proxy."""


@dataclass(frozen=True, slots=True)
class Handoff:
    """Where the gate hands over one kind of connections of one listener."""

    listener: str
    socket: Path
    """UNIX socket of a ``pass`` service (master(5))."""
    user: str
    """Who may connect to it."""
    standing: Standing = Standing.NAMED
    """Kind of the connections. Each listener has `Standing.NAMED`, which also serves the kinds
    that the listener has no service for."""


@dataclass(frozen=True, slots=True)
class Process:
    """A child process of the supervisor."""

    name: str
    """Name in logs, in ``status`` and on the command line."""
    argv: tuple[str, ...]
    after: tuple[str, ...] = ()
    """Processes that must be ready before this one starts; stopped in reverse."""
    ready: tuple[Readiness, ...] = ()
    """All of these must answer before the process counts as ready."""
    reload: tuple[str, ...] = ()
    """Command that makes the running process read its files again; empty: it must restart.

    ``{pid}`` in an argument stands for the process id.
    """
    forget: tuple[str, ...] = ()
    """Command that makes the running process forget what it remembers of accounts."""
    end_sessions: tuple[str, ...] = ()
    """Command that ends the sessions of accounts, which it reads from standard input: a line for
    each, with the address, a tab, and the folder of its mail below `Home.mail`."""
    accounts: str = ""
    """File that names the database of accounts (`gatepost.accounts.changes.open_changes`) whose
    changes `forget` and `end_sessions` are for; only root reads it."""
    servers: tuple[Address, ...] = ()
    """Servers elsewhere that its programs ask. When one is back after it was away, the process
    reads its files again: its programs may have given up asking for minutes."""
    sockets: tuple[tuple[str, Endpoint], ...] = ()
    """Listening sockets that the supervisor opens and keeps for it, each with a name. The process
    finds them in ``GATEPOST_SOCKETS``, as ``NAME:DESCRIPTOR,…``; a restart refuses nobody."""
    overlaps: bool = False
    """Whether it may run beside its successor: on a restart the new one starts first, and the old
    one keeps its open connections until they end."""
    leftovers: tuple[Path, ...] = ()
    """Files that only a dead process can have left when this one starts, and that would keep it
    from starting."""
    events: str = ""
    """Pattern of the lines that it writes about clients and messages, of which there are as many as
    there is traffic; the first group is their kind. All others are limited strictly."""
    user: str = "root"
    becomes: str = ""
    """User that a process of root's becomes by itself for good; empty for none."""
    capabilities: tuple[str, ...] = ()
    """Linux capabilities that a user other than root keeps, such as ``net_bind_service``."""
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_seconds: float = 10.0
    """How long it gets after SIGTERM before it is killed."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to write and what to start: the whole outcome of a configuration."""

    topology: Topology
    files: tuple[RenderedFile, ...]
    processes: tuple[Process, ...]
    """In an order in which every process comes after those it needs."""
    directories: tuple[Directory, ...]
    users: tuple[SystemUser, ...]
    checks: tuple[Check, ...]


# --- evidence -------------------------------------------------------------------------------


class Event(StrEnum):
    """What a daemon's log line tells about a client."""

    CONNECT = "connect"
    LOGIN = "login"
    LOGIN_FAILED = "login-failed"
    DISCONNECT = "disconnect"
    REFUSED = "refused"
    """A peer whose PROXY header was not taken, or did not come; no client was served."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What a daemon says it saw, with the words it said it in."""

    daemon: str
    event: Event
    client: str
    """The client's IP address as the daemon believes it to be."""
    port: int | None
    """The client's TCP port, where the daemon tells it."""
    user: str | None
    line: str
    """The log line itself."""
    internal: bool | None = None
    """Whether the client came by an internal listener, where the daemon tells."""


class Status(StrEnum):
    """How a finding ended."""

    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    RISK = "risk"
    """It works and is dangerous."""
    NOT_PROVEN = "not_proven"
    """It could not be tested from here."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the proof."""

    check: str
    listener: str
    family: str
    """``IPv4``, ``IPv6`` or ``-`` where it does not matter."""
    status: Status
    expected: str
    observed: str
    witness: str = ""
    """Who said so: a log line, a header, a certificate."""
    fix: str = ""
    """What to do when the status is not a pass."""
    seconds: float = field(default=0.0, compare=False)
    """How long the check took, waiting for others included."""
