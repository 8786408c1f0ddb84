"""The variables, a class for each concern: type, default, and explanation.

The name of a variable is the attribute's in capitals; its docstring is the reference page's text.
The first sentence is the meaning that ``gatepost config show`` prints.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from gatepost.model import Address, IPAddress, IPNetwork
from gatepost.settings import parsing

if TYPE_CHECKING:
    from gatepost.settings.loading import Settings


def text(read: Any) -> BeforeValidator:
    """Parse text; values that are ready made (defaults) pass through."""
    return BeforeValidator(
        lambda value: read(parsing.one_line(value)) if isinstance(value, str) else value
    )


def items(read: Any) -> BeforeValidator:
    """Parse a list, which may stand on several lines."""
    return BeforeValidator(
        lambda value: (
            read(parsing.one_line(" ".join(value.split()))) if isinstance(value, str) else value
        )
    )


def choice(kind: type[StrEnum]) -> BeforeValidator:
    """Parse one of a few words, in any case."""

    def read(text: str) -> StrEnum:
        try:
            return kind(text.lower())
        except ValueError:
            known = ", ".join(kind)
            raise ValueError(
                f'"{text}" is not one of: {known}.\nSet {{name}}={next(iter(kind))}'
            ) from None

    return text(read)


Boolean = Annotated[bool, text(parsing.boolean)]
Networks = Annotated[tuple[IPNetwork, ...], items(parsing.networks)]
BindAddresses = Annotated[tuple[IPAddress, ...], items(parsing.addresses)]
HostPort = Annotated[Address, text(parsing.host_port)]
AbsolutePath = Annotated[Path, text(parsing.path)]
Count = Annotated[int, text(parsing.count)]
Seconds = Annotated[float, text(parsing.seconds)]


class Place(StrEnum):
    """The place in which the program runs; some defaults depend on it."""

    MACHINE = "machine"
    CONTAINER = "container"


class PublicPorts(StrEnum):
    """The set of ports that the reverse proxy opens."""

    ENTRYPOINTS = "entrypoints"
    STANDARD = "standard"


class DatabaseDriver(StrEnum):
    """The database in which accounts are kept."""

    SQLITE = "sqlite"
    PGSQL = "pgsql"


class DatabaseTls(StrEnum):
    """The protection of the connection to a database server (PostgreSQL's `sslmode`)."""

    DISABLE = "disable"
    ALLOW = "allow"
    PREFER = "prefer"
    REQUIRE = "require"
    VERIFY_CA = "verify-ca"
    VERIFY_FULL = "verify-full"

    @property
    def verifies(self) -> bool:
        """True if the server's certificate is verified."""
        return self in {DatabaseTls.VERIFY_CA, DatabaseTls.VERIFY_FULL}


def _driver(text: str) -> DatabaseDriver:
    """Read the driver; refuse MySQL with a message of its own."""
    if text.lower() == "mysql":
        raise ValueError(
            f'"{text}" is planned for a later version; this one keeps accounts in SQLite or '
            "PostgreSQL.\nSet {name}=sqlite or {name}=pgsql"
        )
    try:
        return DatabaseDriver(text.lower())
    except ValueError:
        raise ValueError(
            f'"{text}" is not a database that Gatepost knows.\n'
            "Set {name}=sqlite, or {name}=pgsql for PostgreSQL"
        ) from None


class Concern(BaseModel):
    """A group of variables that belong together."""

    model_config = ConfigDict(
        frozen=True, use_attribute_docstrings=True, extra="forbid", arbitrary_types_allowed=True
    )

    @classmethod
    def derived(cls, _settings: Settings) -> Mapping[str, object]:
        """Return a plug-in's defaults that depend on Gatepost's own settings, by attribute."""
        return {}

    def contradictions(self, _settings: Settings) -> Iterator[str]:
        """Yield what is wrong with a plug-in's values beside Gatepost's own, a sentence each."""
        yield from ()

    def doubts(self, _settings: Settings) -> Iterator[str]:
        """Yield allowed values of a plug-in that deserve a second look, a sentence each."""
        yield from ()


class ProxySettings(Concern):
    """The reverse proxy, and the peers whose PROXY headers are believed."""

    reverse_proxy: Annotated[str, text(parsing.name)] = Field(
        json_schema_extra={"default": "{proxy} on one machine, none in a container"}
    )
    """The reverse proxy that `gatepost up` starts in front of the mail server.

    With `none`, clients or a proxy of your own connect to the service ports directly."""
    trusted_proxies: Networks = Field(
        json_schema_extra={"default": "the address of a proxy of ours, otherwise empty"}
    )
    """Networks of the proxies whose PROXY headers are believed, comma-separated, IPv4 and IPv6.

    Every program in these networks can claim any client address, so name only your proxies. A
    network wider than /16 (IPv4) or /48 (IPv6) causes a warning. The networks may not overlap
    `MYNETWORKS`. Example: `TRUSTED_PROXIES=10.42.0.0/24,fd00:42::/64`."""


class ListenSettings(Concern):
    """Addresses and ports to listen on."""

    public_ports: Annotated[PublicPorts, choice(PublicPorts)] = PublicPorts.ENTRYPOINTS
    """The set of ports that the reverse proxy opens.

    `entrypoints` opens 3325, 33587, 33143, …, for a load balancer or a port mapping in front.
    `standard` opens 25, 587, 143, …, which mail programs know."""
    public_bind_address: BindAddresses = parsing.ANY_ADDRESS
    """IP addresses on which the reverse proxy listens, comma-separated, or `all`.

    By default it listens on all addresses, IPv4 and IPv6. Example:
    `PUBLIC_BIND_ADDRESS=192.0.2.10,2001:db8::10`."""
    service_bind_address: BindAddresses = Field(
        json_schema_extra={"default": "127.0.0.1 on one machine, all in a container"}
    )
    """IP addresses on which the daemons listen, comma-separated, or `all`.

    The proxy connects to the service ports, and Gatepost itself to the internal ports. On one
    machine no other machine needs to reach them."""


class MailSettings(Concern):
    """Names, limits and routes of the mail itself."""

    mailname: Annotated[str, text(parsing.host_name)] = Field(
        json_schema_extra={"default": "the machine's full host name"}
    )
    """The name in banners, in HELO and in the certificate.

    Other servers look this name up. It should resolve to your public address, and the address
    back to the name."""
    postmaster: Annotated[str, text(parsing.mail_address)] = Field(
        json_schema_extra={"default": "postmaster@ and the domain of MAILNAME"}
    )
    """The mailbox for `postmaster` and `abuse` of every domain, and for notices of the server."""
    recipient_delimiter: Annotated[str, text(parsing.delimiters)] = "+"
    """Characters that begin an address extension: `you+shop@example.org` reaches `you`.

    Set one character or more. The longest name that is a mailbox or an alias wins: with `+-`, mail
    for `anna-maria+shop@` goes to the mailbox `anna-maria@` and never to `anna@`. Gatepost refuses
    both mailboxes beside each other, because `anna-maria-shop@` could belong to either."""
    mynetworks: Networks = ()
    """Networks that relay without logging in, comma-separated.

    By default no network relays, not even this machine. Only the address from which a client
    itself connects counts, not an address in a PROXY header (see `MTA_RELAYING_PROXIES`). The
    networks may not overlap `TRUSTED_PROXIES`."""
    message_size_limit: Annotated[int, text(parsing.message_size)] = 50 * 1024 * 1024
    """The largest message accepted, in bytes, or with K, M or G (of 1024).

    Attachments grow by a third when they are sent: 50M carries files of about 36 MB."""
    mta_client_connections: Count = 50
    """Sessions that one client may have at once on an SMTP port; 0 means no limit.

    Sessions are counted by the client's own address, never by the proxy's. IPv6 clients are counted
    by their /64, and behind a proxy also by their /56, for which the limit is four times as high.
    Gatepost's own clients on the internal ports are not counted."""
    mta_client_connections_per_minute: Count = 300
    """Connections that one client may open in a minute on an SMTP port; 0 means no limit."""
    relayhost: Annotated[str, text(parsing.relay_host)] | None = None
    """The server to which outgoing mail is sent: `[host]:port`, or a domain.

    `[smtp.example.net]:587` is that host, `example.net` the MX hosts of a domain. Port 465 uses
    TLS from the first byte. If it is unset, mail goes to each recipient's own server."""
    relay_passwd_file: AbsolutePath | None = None
    """File with the login at `RELAYHOST`.

    It has one line: `[smtp.example.net]:587 user:password`. The MTA gets a copy, which is
    renewed when the file changes."""


class StorageSettings(Concern):
    """The place and the folder of the server."""

    gatepost_place: Annotated[Place, choice(Place)] = Place.MACHINE
    """The place in which the program runs: `machine` or `container`. The images set it.

    In a container the daemons listen on all addresses, no proxy is started, and health checks are
    answered over HTTP on port 2007: `/ready` and `/live`."""

    gatepost_home: Annotated[Path, text(parsing.folder)] = Path("/var/lib/gatepost")
    """The folder of everything that Gatepost writes: configuration, queue, mail, accounts, logs.

    A second instance on the same machine needs a folder of its own."""


class DatabaseSettings(Concern):
    """The database of accounts.

    SQLite needs `DB_DRIVER` only. It refuses the other variables, because accounts would not be
    kept on the server that they name. PostgreSQL needs `DB_HOST`, `DB_NAME`, `DB_USER` and
    `DB_PASSWORD`.
    """

    db_driver: Annotated[DatabaseDriver, text(_driver)] = DatabaseDriver.SQLITE
    """The database of accounts: `sqlite`, in `GATEPOST_HOME`, or `pgsql`, a PostgreSQL server.

    The daemons query the database themselves, for every message and every login."""
    db_host: Annotated[str, text(parsing.database_host)] | None = None
    """Host name or IP address of the database server."""
    db_port: Annotated[int, text(parsing.port)] = 5432
    """Port of the database server."""
    db_name: Annotated[str, text(parsing.database_word)] | None = None
    """Name of the database. `DB_USER` must own it; Gatepost creates its tables there."""
    db_user: Annotated[str, text(parsing.database_word)] | None = None
    """User at the database server."""
    db_password: (
        Annotated[
            SecretStr,
            BeforeValidator(lambda v: parsing.password(v) if isinstance(v, str) else v),
        ]
        | None
    ) = None
    """Password at the database server."""
    db_tls_mode: Annotated[DatabaseTls, choice(DatabaseTls)] = Field(
        json_schema_extra={"default": "`verify-full` with `DB_TLS_CA_FILE`, otherwise `require`"}
    )
    """The protection of the connection to the database server (PostgreSQL's `sslmode`).

    `require` encrypts and accepts any certificate. `verify-ca` and `verify-full` also verify the
    server's certificate, and need `DB_TLS_CA_FILE`. `disable`, `allow` and `prefer` may send
    everything in clear text, password hashes included: use them only on a network where nobody
    else can listen."""
    db_tls_ca_file: AbsolutePath | None = None
    """PEM file with the certificates of the authority of the database server.

    The daemons get copies, which are renewed when the file changes."""


class TlsSettings(Concern):
    """The certificate shown to clients.

    If it is unset, Gatepost creates a self-signed certificate at the first start and keeps it.
    """

    tls_cert_file: AbsolutePath | None = None
    """PEM file with the certificate for `MAILNAME` and its chain.

    The server's own certificate stands first, then the one that signed it, and so on. When the file
    changes, the server uses the new certificate within seconds."""
    tls_key_file: AbsolutePath | None = None
    """PEM file with the key of `TLS_CERT_FILE`, without a password.

    It may be the same file."""


CONCERNS: dict[str, type[Concern]] = {
    "mail": MailSettings,
    "proxy": ProxySettings,
    "listen": ListenSettings,
    "tls": TlsSettings,
    "storage": StorageSettings,
    "database": DatabaseSettings,
}
"""Attribute of `Settings` → its class, in the order of the reference page."""
