"""A PostgreSQL server of the tests' own: real, quick, and gone afterwards."""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from instance import free_host
from psycopg import sql

PORT = 5432
USER = "gatepost"
PASSWORD = "p#a%s\"s'w\\o{r}d $x %{user} =;é"
"""Everything that a configuration file could trip on."""
ADMINISTRATOR = "postgres"

_UNPRIVILEGED = "postgres"
"""PostgreSQL refuses to run as root; its package brings this user."""
_QUICK = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
_START_SECONDS = 30.0


def programs() -> Path:
    """Return the folder of the newest server programs, which are not on PATH."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda p: int(p.parts[-3])
    )
    assert found, "PostgreSQL is missing; `make test-packages` installs it"
    return found[-1].parent


@dataclass
class Cluster:
    """A server with its data, which `stop` leaves and `start` finds again."""

    folder: Path
    host: str
    port: int = PORT
    password: str = PASSWORD
    tls: bool = True
    _server: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def ca_file(self) -> Path:
        """The certificate authority that signed the server's certificate."""
        return self.folder / "ca.crt"

    def environment(self, name: str) -> dict[str, str]:
        """Return the settings that lead to a database of it, over TLS that is verified."""
        return {
            "DB_DRIVER": "pgsql",
            "DB_HOST": self.host,
            "DB_PORT": str(self.port),
            "DB_NAME": name,
            "DB_USER": USER,
            "DB_PASSWORD": self.password,
            "DB_TLS_CA_FILE": str(self.ca_file),
        }

    def start(self) -> None:
        """Start the server and wait until it answers."""
        words = [f"-c{name}={value}" for name, value in _QUICK.items()]
        self._server = subprocess.Popen(
            [
                *_as_unprivileged(),
                str(programs() / "postgres"),
                *("-D", str(self.folder / "data"), "-h", self.host, "-p", str(self.port)),
                f"-cunix_socket_directories={self.folder}",
                f"-cssl={'on' if self.tls else 'off'}",
                f"-cssl_cert_file={self.folder / 'server.crt'}",
                f"-cssl_key_file={self.folder / 'server.key'}",
                *words,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(self.folder / "log").open("ab"),
            start_new_session=True,
        )
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                self.administer().close()
            except psycopg.OperationalError:
                said = (self.folder / "log").read_text()
                assert self._server.poll() is None, said
                assert time.monotonic() < deadline, said
                time.sleep(0.05)
            else:
                return

    def stop(self) -> None:
        """Stop the server as at the end of a machine's day: sessions are ended, data is kept."""
        if self._server:
            # Fast shutdown, see pg_ctl(1); setpriv(1) has become the server.
            self._server.send_signal(signal.SIGINT)
            self._server.wait(_START_SECONDS)
            self._server = None

    def administer(self, name: str = ADMINISTRATOR) -> psycopg.Connection:
        """Connect as the administrator; each statement is a transaction."""
        return psycopg.connect(
            host=self.host,
            port=self.port,
            user=ADMINISTRATOR,
            password=self.password,
            dbname=name,
            autocommit=True,
            connect_timeout=5,
        )

    def create(self, template: str | None = None, owner: str = USER) -> str:
        """Make a database, empty or a copy of another, and return its name."""
        name = f"accounts_{secrets.token_hex(4)}"
        with self.administer() as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}").format(
                    *map(sql.Identifier, (name, owner, template or "template0"))
                )
            )
        return name


@contextlib.contextmanager
def cluster(*, tls: bool = True) -> Iterator[Cluster]:
    """Run a server for as long as the block lasts, with TLS or, as a control, without."""
    with tempfile.TemporaryDirectory(prefix="gp-pg-", dir="/tmp") as name:
        made = Cluster(Path(name), free_host(PORT), tls=tls)
        _make(made)
        try:
            made.start()
            with made.administer() as connection:
                connection.execute(
                    sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(
                        sql.Identifier(USER), sql.Literal(made.password)
                    )
                )
            yield made
        finally:
            made.stop()


def _make(made: Cluster) -> None:
    """Make the data folder and the certificates."""
    made.folder.chmod(0o755)
    _make_certificates(made.folder, made.host)
    password = made.folder / "password"
    password.write_text(made.password + "\n")
    if os.geteuid() == 0:
        for path in (made.folder, *made.folder.iterdir()):
            shutil.chown(path, _UNPRIVILEGED, _UNPRIVILEGED)
    subprocess.run(
        [
            *_as_unprivileged(),
            str(programs() / "initdb"),
            *("--pgdata", str(made.folder / "data"), "--username", ADMINISTRATOR),
            *("--pwfile", str(password), "--auth", "scram-sha-256"),
            *("--encoding", "UTF8", "--no-sync"),
            # Sorts as people do, which is not as SQLite does.
            *("--locale", "C.UTF-8", "--locale-provider", "icu", "--icu-locale", "en"),
        ],
        check=True,
        capture_output=True,
    )
    password.unlink()


def _as_unprivileged() -> list[str]:
    """Return the words before a command that run it as a user whom the server lets run it."""
    if os.geteuid() != 0:
        return []
    user = pwd.getpwnam(_UNPRIVILEGED)
    return [
        *("setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"),
        *("--pdeathsig", "INT", "--"),
    ]


def _make_certificates(folder: Path, host: str) -> None:
    """Make an authority and a certificate for the server's address."""
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Tests of Gatepost")])
    server_key = ec.generate_private_key(ec.SECP256R1())
    server = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "A database")])
    now = dt.datetime.now(dt.UTC)

    def signed(subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(authority)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=2))
        )

    ca = signed(authority, authority_key).add_extension(
        x509.BasicConstraints(ca=True, path_length=0), critical=True
    )
    own = signed(server, server_key).add_extension(
        x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))]), critical=False
    )
    for name, builder in (("ca", ca), ("server", own)):
        made = builder.sign(authority_key, hashes.SHA256())
        (folder / f"{name}.crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key = folder / "server.key"
    key.touch(0o600)
    key.write_bytes(
        server_key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
