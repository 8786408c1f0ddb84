"""PROXY headers as real Traefik and real HAProxy send them, read by our parser.

A client comes from an address of its own, through the proxy, to a receiver in the test that keeps
every byte. What the parser makes of them is compared with what the client itself knows.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import random
import select
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from instance import CLIENT, CLIENT6, free_host, loopback6

from gatepost.proxy_protocol import (
    Command,
    Endpoint,
    Family,
    Header,
    ProxyProtocolError,
    Reason,
    Ssl,
    TlvType,
    Transport,
    parse,
)

TRAEFIK = Path(sys.executable).parent / "traefik"
EARLY = b"EHLO client.example.org\r\n"
"""What the client says; it must follow the header byte for byte."""
SERVER_NAME = "mail.example.org"
COMMON_NAME = "client.example.org"
CLIENTS = {4: CLIENT, 6: CLIENT6}
SECONDS = 5.0
"""How long anything may take; all of it is on this machine."""

TRAEFIK_WAYS = {"v1": 1, "v2": 2}
HAPROXY_WAYS = {
    "v1": "send-proxy",
    "v2": "send-proxy-v2",
    "ssl": "send-proxy-v2-ssl",
    "ssl-cn": "send-proxy-v2-ssl-cn",
    "options": "send-proxy-v2 proxy-v2-options crc32c,unique-id",
    "everything": "send-proxy-v2 proxy-v2-options "
    "ssl,cert-cn,ssl-cipher,cert-sig,cert-key,authority,crc32c,unique-id",
}
OVER_TLS = ("ssl", "ssl-cn", "everything")
CHECKS = {"check-v1": "send-proxy", "check-v2": "send-proxy-v2"}
PORTS = range(31_701, 31_701 + 2 * (len(TRAEFIK_WAYS) + len(HAPROXY_WAYS)))

families = pytest.mark.parametrize("family", [4, 6], ids=["IPv4", "IPv6"])


# --- the receiver ---------------------------------------------------------------------------


def listening(host: str) -> socket.socket:
    """Listen on a free port."""
    receiver = socket.create_server((host, 0), family=_number(host))
    receiver.settimeout(SECONDS)
    return receiver


def _number(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def name(stream: socket.socket) -> Endpoint:
    """Return a socket's own address and port."""
    own = stream.getsockname()
    return own[0], own[1]


@dataclass(frozen=True)
class Route:
    """A way through a proxy: where clients connect, and who receives them."""

    entry: Endpoint
    receiver: socket.socket

    def receive(self, client: socket.socket) -> bytes:
        """Let a connected client speak and close; return every byte that the receiver saw."""
        client.sendall(EARLY)
        accepted, _ = self.receiver.accept()
        with accepted:
            seen = _read(accepted, EARLY)
            client.close()
            return seen + _read(accepted, None)

    def await_ready(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until a connection comes out at the other end."""
        deadline = time.monotonic() + 2 * SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(self.entry, 1) as probe:
                probe.sendall(EARLY)
                if self.receiver in select.select([probe, self.receiver], [], [], 1)[0]:
                    self.receiver.accept()[0].close()
                    return
            time.sleep(0.02)
        raise AssertionError(f"nothing comes through {self.entry}; exit code {process.poll()}")


def _read(stream: socket.socket, end: bytes | None) -> bytes:
    """Read up to these words, or to the end of the stream."""
    stream.settimeout(SECONDS)
    seen = b""
    while end is None or not seen.endswith(end):
        try:
            more = stream.recv(4096)
        except ConnectionResetError:
            break
        if not more:
            break
        seen += more
    return seen


def dial(route: Route, family: int) -> socket.socket:
    """Connect from the client's own address."""
    return socket.create_connection(route.entry, SECONDS, source_address=(CLIENTS[family], 0))


def whole(seen: bytes) -> Header:
    """Read the header, and see that what follows it is the client's, byte for byte."""
    header = parse(seen)
    assert header is not None, seen
    assert seen[header.size :] == EARLY, (header, seen)
    for end in range(header.size):
        assert parse(seen[:end]) is None, f"after {end} of {header.size} bytes"
    return header


def assert_names(header: Header, client: Endpoint, route: Route) -> None:
    """See that the header names this client and where it connected to."""
    assert header.command is Command.PROXY
    assert header.family is (Family.INET6 if ":" in client[0] else Family.INET)
    assert header.transport is Transport.STREAM
    assert header.source == client
    assert header.destination == route.entry


# --- the proxies ----------------------------------------------------------------------------


@contextlib.contextmanager
def running(folder: Path, *command: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a proxy for as long as the block lasts; when that fails, show what the proxy said."""
    output = folder / "output"
    with output.open("wb") as file:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, cwd=folder
        )
    try:
        yield process
    except BaseException:
        print(output.read_text(errors="replace")[-5000:])
        raise
    finally:
        process.terminate()
        try:
            process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclass(frozen=True)
class Place:
    """Where proxies and receivers listen: an address of each family, and ports for proxies."""

    hosts: dict[int, str]
    ports: Iterator[int]


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    """Return addresses that nobody else uses."""
    host6 = f"fd00:6a7e:7a:{random.randint(1, 0xFFFF):x}::1"
    with loopback6(host6, CLIENT6):
        yield Place({4: free_host(*PORTS), 6: host6}, iter(PORTS))


Routes = dict[tuple[str, int], Route]


@contextlib.contextmanager
def routes(place: Place, ways: Iterable[str]) -> Iterator[Routes]:
    """Listen at the far end of every way, for IPv4 and IPv6."""
    with contextlib.ExitStack() as stack:
        yield {
            (way, family): Route(
                (place.hosts[family], next(place.ports)),
                stack.enter_context(listening(place.hosts[family])),
            )
            for way in ways
            for family in (4, 6)
        }


def written(endpoint: Endpoint) -> str:
    """Write an address and port as Traefik and HAProxy both read them."""
    return (
        f"[{endpoint[0]}]:{endpoint[1]}" if ":" in endpoint[0] else f"{endpoint[0]}:{endpoint[1]}"
    )


@pytest.fixture(scope="module")
def traefik(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Routes]:
    """Run Traefik with a router for each version and family."""
    folder = tmp_path_factory.mktemp("traefik")
    with routes(place, TRAEFIK_WAYS) as ways:
        static = [
            "global: {checkNewVersion: false, sendAnonymousUsage: false}",
            f"providers: {{file: {{filename: {folder}/dynamic.yaml, watch: false}}}}",
            "entryPoints:",
        ]
        routers, services, transports = ["  routers:"], ["  services:"], ["  serversTransports:"]
        for (way, family), route in ways.items():
            label = f"{way}-{family}"
            static.append(f'  {label}: {{address: "{written(route.entry)}"}}')
            routers.append(
                f"    {label}: {{rule: HostSNI(`*`), entryPoints: [{label}], service: {label}}}"
            )
            services.append(
                f"    {label}: {{loadBalancer: {{serversTransport: {way}, "
                f'servers: [{{address: "{written(name(route.receiver))}"}}]}}}}'
            )
        transports += [
            f"    {way}: {{proxyProtocol: {{version: {version}}}}}"
            for way, version in TRAEFIK_WAYS.items()
        ]
        (folder / "traefik.yaml").write_text("\n".join(static) + "\n")
        (folder / "dynamic.yaml").write_text(
            "\n".join(["tcp:", *routers, *services, *transports]) + "\n"
        )
        with running(folder, TRAEFIK, f"--configFile={folder}/traefik.yaml") as process:
            for route in ways.values():
                route.await_ready(process)
            yield ways


@dataclass(frozen=True)
class HAProxy:
    """A running HAProxy."""

    routes: Routes
    checked: dict[tuple[str, int], socket.socket]
    """Servers of which HAProxy only asks whether they live."""
    unix: dict[str, tuple[Path, socket.socket]]
    """Where clients without an IP address connect, and who receives them."""
    certificates: Path
    """Holds ``server.pem``, ``client.pem`` that HAProxy trusts, and ``stranger.pem``."""

    def dial_tls(self, route: Route, family: int, own: str = "") -> ssl.SSLSocket:
        """Connect by TLS 1.3 from the client's own address, with a certificate of this name."""
        context = ssl.create_default_context(cafile=self.certificates / "server.pem")
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        if own:
            context.load_cert_chain(self.certificates / f"{own}.pem")
        return context.wrap_socket(dial(route, family), server_hostname=SERVER_NAME)


def certificate(file: Path, common_name: str) -> None:
    """Write a certificate that signs itself, and its key, into one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(common_name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file.write_bytes(
        signed.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


@pytest.fixture(scope="module")
def haproxy(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HAProxy]:
    """Run HAProxy with a listener for each way to announce a client, and with health checks."""
    program = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    assert program, "haproxy is missing; `make test-packages` installs it"
    folder = tmp_path_factory.mktemp("haproxy")
    certificate(folder / "server.pem", SERVER_NAME)
    certificate(folder / "client.pem", COMMON_NAME)
    certificate(folder / "stranger.pem", COMMON_NAME)
    # HAProxy is to tell what it thinks of the client's certificate, not to act on it.
    tls = (
        f"ssl crt {folder}/server.pem ca-file {folder}/client.pem verify optional "
        "crt-ignore-err all ca-ignore-err all"
    )
    # HAProxy spreads the first checks over this time.
    check = "check check-send-proxy inter 300ms"
    with routes(place, HAPROXY_WAYS) as ways, contextlib.ExitStack() as stack:
        checked = {
            (way, family): stack.enter_context(listening(place.hosts[family]))
            for way in CHECKS
            for family in (4, 6)
        }
        unix = {
            way: (folder / f"{way}.sock", stack.enter_context(listening(place.hosts[4])))
            for way in ("v1", "v2")
        }
        lines = [
            "global",
            "  maxconn 200",
            "defaults",
            "  mode tcp",
            "  timeout connect 5s",
            "  timeout client 30s",
            "  timeout server 30s",
            "  unique-id-format %ci/%cp",
        ]
        for (way, family), route in ways.items():
            bind = f"{written(route.entry)} {tls if way in OVER_TLS else ''}"
            lines += [
                f"listen {way}-{family}",
                f"  bind {bind}",
                f"  server one {written(name(route.receiver))} {HAPROXY_WAYS[way]}",
            ]
        for way, (path, receiver) in unix.items():
            lines += [
                f"listen unix-{way}",
                f"  bind unix@{path}",
                f"  server one {written(name(receiver))} {HAPROXY_WAYS[way]}",
            ]
        for (way, family), receiver in checked.items():
            lines += [
                f"backend {way}-{family}",
                f"  server one {written(name(receiver))} {CHECKS[way]} {check}",
            ]
        (folder / "haproxy.cfg").write_text("\n".join(lines) + "\n")
        with running(folder, program, "-db", "-f", folder / "haproxy.cfg") as process:
            # It opens all its listeners before it serves any.
            ways["v1", 4].await_ready(process)
            yield HAProxy(ways, checked, unix, folder)


# --- Traefik --------------------------------------------------------------------------------


@families
@pytest.mark.parametrize("way", TRAEFIK_WAYS)
def test_traefik_names_the_client(traefik: Routes, way: str, family: int) -> None:
    """Behind Traefik, Postfix would judge the proxy's address, or lose the client's first words."""
    route = traefik[way, family]
    with dial(route, family) as stream:
        client = name(stream)
        header = whole(route.receive(stream))
    assert header.version == TRAEFIK_WAYS[way]
    assert_names(header, client, route)
    assert header.tlvs == ()


# --- HAProxy --------------------------------------------------------------------------------


@families
@pytest.mark.parametrize("way", ["v1", "v2"])
def test_haproxy_names_the_client(haproxy: HAProxy, way: str, family: int) -> None:
    """Behind HAProxy, Postfix would judge the proxy's address, or lose the client's first words."""
    route = haproxy.routes[way, family]
    with dial(route, family) as stream:
        client = name(stream)
        header = whole(route.receive(stream))
    assert header.version == int(way[1])
    assert_names(header, client, route)
    assert header.tlvs == ()


@families
@pytest.mark.parametrize("way", ["ssl", "ssl-cn"])
def test_haproxy_tells_of_tls(haproxy: HAProxy, way: str, family: int) -> None:
    """Every client that comes by TLS to HAProxy would be refused, for what is said of its TLS."""
    route = haproxy.routes[way, family]
    with haproxy.dial_tls(route, family) as stream:
        client = name(stream)
        header = whole(route.receive(stream))
    assert_names(header, client, route)
    assert [tlv.type for tlv in header.tlvs] == [TlvType.SSL]
    assert header.ssl == Ssl(
        over_tls=True,
        certificate_on_connection=False,
        certificate_in_session=False,
        verified=False,
        version="TLSv1.3",
    )


@families
@pytest.mark.parametrize("way", ["ssl", "ssl-cn"])
def test_haproxy_tells_of_the_clients_certificate(haproxy: HAProxy, way: str, family: int) -> None:
    """A client with a certificate would be refused, or taken for one without."""
    route = haproxy.routes[way, family]
    with haproxy.dial_tls(route, family, "client") as stream:
        client = name(stream)
        header = whole(route.receive(stream))
    assert_names(header, client, route)
    assert header.ssl == Ssl(
        over_tls=True,
        certificate_on_connection=True,
        certificate_in_session=True,
        verified=True,
        version="TLSv1.3",
        common_name=COMMON_NAME if way == "ssl-cn" else None,
    )


def test_a_certificate_that_haproxy_does_not_trust_is_not_verified(haproxy: HAProxy) -> None:
    """Anybody could make a certificate with a customer's name and be believed."""
    route = haproxy.routes["ssl-cn", 4]
    with haproxy.dial_tls(route, 4, "stranger") as stream:
        header = whole(route.receive(stream))
    assert header.ssl is not None
    assert header.ssl.common_name == COMMON_NAME
    assert header.ssl.certificate_on_connection
    assert not header.ssl.verified


@families
def test_haproxys_checksum_and_unique_id(haproxy: HAProxy, family: int) -> None:
    """Headers with a checksum would all be refused, or none, however damaged they are."""
    route = haproxy.routes["options", family]
    with dial(route, family) as stream:
        client = name(stream)
        seen = route.receive(stream)
    header = whole(seen)
    assert_names(header, client, route)
    assert {tlv.type for tlv in header.tlvs} == {TlvType.CRC32C, TlvType.UNIQUE_ID}
    assert header.unique_id == f"{client[0]}/{client[1]}".encode()
    for at in range(16, header.size):
        damaged = bytearray(seen)
        damaged[at] ^= 1
        with contextlib.suppress(ProxyProtocolError):
            # Damage to an extension's type or length can hide the checksum itself, no address.
            found = parse(bytes(damaged))
            assert found is not None
            assert (found.source, found.destination) == (header.source, header.destination)
    damaged = bytearray(seen)
    damaged[16] ^= 1
    with pytest.raises(ProxyProtocolError) as error:
        parse(bytes(damaged))
    assert error.value.reason is Reason.CHECKSUM


@families
def test_everything_that_haproxy_can_tell(haproxy: HAProxy, family: int) -> None:
    """An administrator who turns on one option more would have no mail at all."""
    route = haproxy.routes["everything", family]
    with haproxy.dial_tls(route, family, "client") as stream:
        client = name(stream)
        cipher = stream.cipher()
        header = whole(route.receive(stream))
    assert_names(header, client, route)
    assert {tlv.type for tlv in header.tlvs} == {
        TlvType.AUTHORITY,
        TlvType.CRC32C,
        TlvType.UNIQUE_ID,
        TlvType.SSL,
    }
    assert next(t.value for t in header.tlvs if t.type == TlvType.AUTHORITY) == SERVER_NAME.encode()
    assert header.unique_id == f"{client[0]}/{client[1]}".encode()
    assert cipher is not None
    assert header.ssl == Ssl(
        over_tls=True,
        certificate_on_connection=True,
        certificate_in_session=True,
        verified=True,
        version="TLSv1.3",
        common_name=COMMON_NAME,
        cipher=cipher[0],
        signature_algorithm="ecdsa-with-SHA256",
        key_algorithm="EC256",
    )


@families
def test_haproxys_health_check_is_its_own(haproxy: HAProxy, family: int) -> None:
    """A health check would be refused, and HAProxy would send no mail to a server that lives."""
    accepted, _ = haproxy.checked["check-v2", family].accept()
    with accepted:
        seen = _read(accepted, None)
    header = parse(seen)
    assert header == Header(2, Command.LOCAL, len(seen))


@families
def test_haproxys_version_1_health_check_names_haproxy(haproxy: HAProxy, family: int) -> None:
    """A health check would be taken for a client of HAProxy's, and limited or judged as one."""
    accepted, peer = haproxy.checked["check-v1", family].accept()
    with accepted:
        own = name(accepted)
        seen = _read(accepted, None)
    header = parse(seen)
    assert header is not None
    assert header.size == len(seen)
    # Version 1 has no LOCAL. HAProxy 2.6 names its own end of the connection, others say UNKNOWN.
    assert (header.source, header.destination) in ((peer[:2], own), (None, None))


@pytest.mark.parametrize("way", ["v1", "v2"])
def test_a_client_without_an_ip_address_is_not_given_one(haproxy: HAProxy, way: str) -> None:
    """A client of a proxy's UNIX socket would be logged, and judged, as somebody it is not."""
    path, receiver = haproxy.unix[way]
    with socket.socket(socket.AF_UNIX) as stream:
        stream.settimeout(SECONDS)
        stream.connect(str(path))
        header = whole(Route(name(receiver), receiver).receive(stream))
    assert header.version == int(way[1])
    assert (header.source, header.destination) == (None, None)
