"""The gate before real Postfix: who may say who a client is, in every combination.

The test is the proxy: it connects to the service ports itself, from a trusted address or from a
stranger's, and sends headers of every kind. Postfix's own log says whom it believes it has met, and
a policy service whom an SPF check or a block list would have judged.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from accounts import ALICE, populate
from clients import lenient
from instance import PREFIX6, Instance, instance, loopback6
from policy import Policy, policy_service
from prometheus_client.parser import text_string_to_metric_families

from gatepost.proxy_protocol import Command, Endpoint, Tlv, TlvType, build_1, build_2

TRUSTED = {4: "127.0.0.9", 6: f"{PREFIX6}::9"}
STRANGER = {4: "127.0.0.66", 6: f"{PREFIX6}::66"}
CLAIMED = {4: "127.0.8.8", 6: f"{PREFIX6}::88"}
CLAIMED_SERVER = {4: "127.0.8.1", 6: f"{PREFIX6}::81"}
LISTENERS = ("smtp", "submission", "submissions")
HEADER_SECONDS = 1.0

# Below those that the kernel gives to our own connections.
ports = itertools.count(10_000)


@dataclass(frozen=True)
class Guarded:
    """A server with the gate in front, its witness, and what it does with strangers."""

    server: Instance
    policy: Policy

    def counted(self, counter: str, listener: str, **labels: str) -> float:
        """Return what the gate has counted so far."""
        url = f"http://{self.server.addresses.service}:2006/metrics"
        with urllib.request.urlopen(url, timeout=5) as answer:
            families = text_string_to_metric_families(answer.read().decode())
        wanted = {"listener": listener, **labels}.items()
        return sum(
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == f"gatepost_gate_{counter}_total" and wanted <= sample.labels.items()
        )

    def postfix_on(self, host: str, since: int) -> list[str]:
        """Return what Postfix has said about connections from an address."""
        lines = self.server.log(since).splitlines()
        return [
            ln
            for ln in lines
            if ln.startswith("postfix |") and f" connect from unknown[{host}]" in ln
        ]

    def counted_at_last(self, counter: str, listener: str, count: float) -> bool:
        """Tell whether the gate comes to have counted so many and no more."""
        deadline = time.monotonic() + 5
        while self.counted(counter, listener) < count and time.monotonic() < deadline:
            time.sleep(0.02)
        return self.counted(counter, listener) == count


@contextlib.contextmanager
def guarded(**settings: str) -> Iterator[Guarded]:
    """Run a server whose proxy is the test, with a policy service asked about every client."""
    chosen = {
        "REVERSE_PROXY": "none",
        "MTA_UPSTREAM_PROXY": "yes",
        "TRUSTED_PROXIES": ",".join(TRUSTED.values()),
        "MTA_PROXY_HEADER_SECONDS": str(HEADER_SECONDS),
        "MTA_CLIENT_CONNECTIONS": "0",
        "MTA_CLIENT_CONNECTIONS_PER_MINUTE": "0",
        **settings,
    }
    with loopback6(TRUSTED[6], STRANGER[6]), instance(chosen) as server:
        populate(server)
        with policy_service(server.addresses.outside) as policy:
            ask_about_everyone(server, policy)
            yield Guarded(server, policy)


def ask_about_everyone(server: Instance, policy: Policy) -> None:
    """Have this Postfix ask the policy service first, whatever else it would decide."""
    folder = server.home / "config" / "current" / "postfix"
    ask = f"check_policy_service inet:{policy.address}"
    subprocess.run(
        [
            *("postconf", "-c", str(folder), "-e", f"smtpd_client_restrictions={ask}"),
            f"submission_client_restrictions={ask}, permit_sasl_authenticated, reject",
        ],
        check=True,
    )
    subprocess.run(["postfix", "-c", str(folder), "reload"], check=True, capture_output=True)


@pytest.fixture(scope="module")
def rejecting() -> Iterator[Guarded]:
    """Refuse strangers, as is the default."""
    with guarded() as found:
        yield found


@pytest.fixture(scope="module")
def accepting() -> Iterator[Guarded]:
    """Serve strangers under their own address."""
    with guarded(MTA_DIRECT_CLIENTS="accept") as found:
        yield found


# --- headers --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sent:
    """What is sent before SMTP, and whom it names."""

    data: bytes
    client: Endpoint | None
    pieces: int = 1
    early: bool = False
    over_tls: bool = False
    """Whether it says that the client's TLS ended at the proxy."""


def header(kind: str, family: int) -> Sent:
    """Return a header of a kind whose addresses, where it has any, are of a family."""
    client: Endpoint = (CLAIMED[family], next(ports))
    server: Endpoint = (CLAIMED_SERVER[family], 25)
    tlvs = [Tlv(TlvType.UNIQUE_ID, b"request-7"), Tlv(TlvType.NOOP, bytes(40))]
    tlvs.append(Tlv(TlvType.SSL, b"\x01\0\0\0\0\x21\x00\x07TLSv1.3"))
    one, two = build_1(client, server), build_2(client, server)
    return {
        "v1": Sent(one, client),
        "v1-unknown": Sent(build_1(), None),
        "v1-unknown-with-addresses": Sent(one.replace(b"TCP4", b"UNKNOWN"), None)
        if family == 4
        else Sent(one.replace(b"TCP6", b"UNKNOWN"), None),
        "v1-in-pieces": Sent(one, client, pieces=12),
        "v1-with-early-data": Sent(one, client, early=True),
        "v2": Sent(two, client),
        "v2-local": Sent(build_2(client, server, command=Command.LOCAL), None),
        "v2-unspec": Sent(build_2(), None),
        "v2-with-extensions": Sent(
            build_2(client, server, tlvs=tlvs, checksum=True), client, over_tls=True
        ),
        "v2-in-pieces": Sent(build_2(client, server, tlvs=tlvs), client, pieces=12, over_tls=True),
        "v2-with-early-data": Sent(
            build_2(client, server, tlvs=tlvs), client, early=True, over_tls=True
        ),
    }[kind]


GOOD = (
    "v1",
    "v1-unknown",
    "v1-unknown-with-addresses",
    "v1-in-pieces",
    "v1-with-early-data",
    "v2",
    "v2-local",
    "v2-unspec",
    "v2-with-extensions",
    "v2-in-pieces",
    "v2-with-early-data",
)


def bad(kind: str, family: int) -> tuple[bytes, str]:
    """Return what is no header, and the reason that is counted for it."""
    client: Endpoint = (CLAIMED[family], next(ports))
    server: Endpoint = (CLAIMED_SERVER[family], 25)
    one, two = build_1(client, server), build_2(client, server, checksum=True)
    return {
        "none": (b"", "no-header"),
        "smtp": (b"EHLO client.test\r\n", "malformed"),
        "v1-malformed": (one.replace(b"TCP", b"UDP"), "malformed"),
        "v1-truncated": (one[:20], "slow"),
        "v1-oversized": (one.replace(b"\r\n", b" " * 100 + b"\r\n"), "oversized"),
        "v2-malformed": (two[:12] + b"\x31" + two[13:], "malformed"),
        "v2-truncated": (two[:20], "slow"),
        "v2-oversized": (two[:14] + b"\xff\xff" + two[16:], "oversized"),
        "v2-checksum": (two[:-1] + bytes([two[-1] ^ 1]), "checksum"),
    }[kind]


BAD = (
    "none",
    "smtp",
    "v1-malformed",
    "v1-truncated",
    "v1-oversized",
    "v2-malformed",
    "v2-truncated",
    "v2-oversized",
    "v2-checksum",
)

# --- being a proxy --------------------------------------------------------------------------


@contextlib.contextmanager
def connected(
    found: Guarded, listener: str, family: int, source: str
) -> Iterator[tuple[socket.socket, Endpoint]]:
    """Connect to a service port from an address; yield the connection and its own end."""
    address = found.server.service(listener, family=family)
    stream = socket.create_connection(address, 10, source_address=(source, 0))
    with contextlib.closing(stream):
        # Each piece shall be a packet of its own.
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield stream, stream.getsockname()[:2]


def send(stream: socket.socket, data: bytes, pieces: int = 1) -> None:
    """Send bytes in as many packets."""
    size = -(-len(data) // pieces) if data else 1
    for start in range(0, len(data), size):
        stream.sendall(data[start : start + size])
        if pieces > 1:
            time.sleep(0.01)


class Smtp:
    """Just enough SMTP to reach the policy service, with every byte under the test's control."""

    def __init__(self, stream: socket.socket, listener: str, prefix: bytes, sent: Sent) -> None:
        """Send the header, with the first command in the same packet if it is to be early."""
        self._file: socket.socket | ssl.SSLSocket = stream
        self._listener = listener
        self._over_tls = sent.over_tls
        if listener == "submissions":
            self._file = wrapped(stream, prefix, sent)
        else:
            early = b"EHLO client.test\r\n" if sent.early else b""
            send(stream, prefix + early, sent.pieces)
        self.banner = self.answer()
        if not (sent.early and listener != "submissions"):
            self.say("EHLO client.test")
        else:
            self.answer()

    def say(self, command: str) -> str:
        """Send a command and return the answer."""
        self._file.sendall(f"{command}\r\n".encode())
        return self.answer()

    def answer(self) -> str:
        """Read a reply of one or more lines."""
        lines: list[bytes] = []
        with self._file.makefile("rb", buffering=0) as reader:
            while not lines or lines[-1][3:4] == b"-":
                line = reader.readline()
                if not line:
                    break
                lines.append(line)
        return b"".join(lines).decode()

    def ask_policy(self) -> None:
        """Come as far as RCPT, where restrictions are looked at."""
        if self._listener == "submission" and self._over_tls:
            assert self.say("STARTTLS").startswith("502"), "there is nothing left to begin"
        elif self._listener == "submission":
            assert self.say("STARTTLS").startswith("220")
            self._file = lenient().wrap_socket(self._file)
            self.say("EHLO client.test")
        assert self.say("MAIL FROM:<friend@outside.test>").startswith("250")
        self.say(f"RCPT TO:<{ALICE[0]}>")


def wrapped(stream: socket.socket, prefix: bytes, sent: Sent) -> ssl.SSLSocket:
    """Send the header, then TLS; the client's hello in the same packet if it is to be early."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    probe = lenient().wrap_bio(incoming, outgoing)
    if not sent.early:
        send(stream, prefix, sent.pieces)
        return lenient().wrap_socket(stream)
    with contextlib.suppress(ssl.SSLWantReadError):
        probe.do_handshake()
    send(stream, prefix + outgoing.read())
    return _BioSocket(stream, probe, incoming, outgoing)  # type: ignore[return-value]


class _BioSocket:
    """TLS whose first flight was sent by hand; offers what `Smtp` asks of a socket."""

    def __init__(
        self,
        stream: socket.socket,
        tls: ssl.SSLObject,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
    ) -> None:
        self._stream, self._tls = stream, tls
        self._incoming, self._outgoing = incoming, outgoing
        self._retry(tls.do_handshake)

    def _retry(self, action: object) -> object:
        while True:
            try:
                result = action()  # type: ignore[operator]
            except ssl.SSLWantReadError:
                self._stream.sendall(self._outgoing.read())
                block = self._stream.recv(65536)
                if not block:
                    raise ConnectionResetError from None
                self._incoming.write(block)
            else:
                self._stream.sendall(self._outgoing.read())
                return result

    def sendall(self, data: bytes) -> None:
        self._retry(lambda: self._tls.write(data))

    def makefile(self, *_: object, **__: object) -> contextlib.AbstractContextManager[object]:
        return contextlib.nullcontext(self)

    def readline(self) -> bytes:
        line = b""
        while not line.endswith(b"\n"):
            line += self._retry(lambda: self._tls.read(1))  # type: ignore[operator]
        return line


# --- the matrix -----------------------------------------------------------------------------

families = pytest.mark.parametrize("family", [4, 6], ids=["IPv4", "IPv6"])
listeners = pytest.mark.parametrize("listener", LISTENERS)


@families
@listeners
@pytest.mark.parametrize("kind", GOOD)
@pytest.mark.parametrize("inside", [4, 6], ids=["about-IPv4", "about-IPv6"])
def test_a_trusted_proxy_is_believed(
    rejecting: Guarded, kind: str, listener: str, family: int, inside: int
) -> None:
    """Every client would be the proxy, or none would be served."""
    sent = header(kind, inside)
    mark, asked = rejecting.server.mark(), len(rejecting.policy.requests)
    with connected(rejecting, listener, family, TRUSTED[family]) as (stream, own):
        smtp = Smtp(stream, listener, sent.data, sent)
        assert smtp.banner.startswith("220"), smtp.banner
        client, port = sent.client or own
        rejecting.server.wait_for_log(
            f"postfix/{listener}/smtpd", f"connect from unknown[{client}]:{port}", since=mark
        )
        smtp.ask_policy()
        assert rejecting.policy.wait_for(port, asked) == {client}
    if sent.client is None:
        log = rejecting.server.log(mark)
        assert not [line for line in log.splitlines() if line.startswith("gate |")], log


@families
@listeners
@pytest.mark.parametrize("kind", GOOD)
def test_a_stranger_is_refused_whatever_it_claims(
    rejecting: Guarded, kind: str, listener: str, family: int
) -> None:
    """Any neighbour could walk past SPF, block lists and limits under an address of its choice."""
    sent, asked = header(kind, family), len(rejecting.policy.requests)
    mark, before = rejecting.server.mark(), rejecting.counted("forged", listener)
    with connected(rejecting, listener, family, STRANGER[family]) as (stream, own):
        send(stream, sent.data, sent.pieces)
        stream.settimeout(5)
        answer = b"".join(iter(lambda: stream.recv(1000), b""))
    assert answer.startswith(b"421 4.7.0 mail.example.org "), answer
    assert answer.endswith(b"\r\n")
    assert b"Postfix" not in answer
    assert rejecting.counted_at_last("forged", listener, before + 1)
    port = sent.client[1] if sent.client else own[1]
    assert rejecting.policy.clients(port, asked) == set()
    for host, _ in (own, sent.client or own):
        assert not rejecting.postfix_on(host, mark)


@families
@listeners
def test_a_stranger_is_refused_without_a_header_too(
    rejecting: Guarded, listener: str, family: int
) -> None:
    """The control of the test above: it is the address that counts, not what is sent."""
    before = rejecting.counted("forged", listener)
    with connected(rejecting, listener, family, STRANGER[family]) as (stream, _):
        assert stream.recv(1000).startswith(b"421 4.7.0 mail.example.org ")
    assert rejecting.counted("forged", listener) == before


@families
@listeners
@pytest.mark.parametrize("kind", GOOD)
def test_a_direct_client_stays_who_it_is(
    accepting: Guarded, kind: str, listener: str, family: int
) -> None:
    """With direct clients allowed, a forged header would still be a way in under any address."""
    sent = header(kind, family)
    mark, before = accepting.server.mark(), accepting.counted("forged", listener)
    with connected(accepting, listener, family, STRANGER[family]) as (stream, own):
        stream.settimeout(5)
        with contextlib.suppress(OSError):
            send(stream, sent.data, sent.pieces)
            stream.recv(1000)
            stream.sendall(b"EHLO client.test\r\n")
            stream.recv(1000)
        accepting.server.wait_for_log(
            f"postfix/{listener}/smtpd", f"connect from unknown[{own[0]}]:{own[1]}", since=mark
        )
    assert accepting.counted_at_last("forged", listener, before + 1)
    if sent.client:
        log = accepting.server.log(mark)
        assert f"[{sent.client[0]}]:{sent.client[1]}" not in log
        assert accepting.policy.clients(sent.client[1]) == set()


@families
@listeners
def test_a_direct_client_without_a_header_is_served(
    accepting: Guarded, listener: str, family: int
) -> None:
    """`accept` would accept nobody."""
    before, asked = accepting.counted("forged", listener), len(accepting.policy.requests)
    with connected(accepting, listener, family, STRANGER[family]) as (stream, own):
        smtp = Smtp(stream, listener, b"", Sent(b"", None))
        assert smtp.banner.startswith("220"), smtp.banner
        smtp.ask_policy()
        assert accepting.policy.wait_for(own[1], asked) == {own[0]}
    assert accepting.counted("forged", listener) == before


@families
@listeners
@pytest.mark.parametrize("kind", BAD)
def test_a_broken_header_ends_the_connection(
    rejecting: Guarded, kind: str, listener: str, family: int
) -> None:
    """A proxy that is set up wrong would make clients wait, and nothing would say why."""
    data, reason = bad(kind, family)
    mark, before = rejecting.server.mark(), rejecting.counted("refused", listener, reason=reason)
    started = time.monotonic()
    with connected(rejecting, listener, family, TRUSTED[family]) as (stream, own):
        stream.sendall(data)
        stream.settimeout(HEADER_SECONDS + 5)
        with contextlib.suppress(ConnectionResetError):
            assert stream.recv(1000) == b""
    assert time.monotonic() - started < HEADER_SECONDS + 4
    assert rejecting.counted("refused", listener, reason=reason) == before + 1
    rejecting.server.wait_for_log("gate |", f"[{own[0]}]:{own[1]}", reason, since=mark)
    assert not rejecting.postfix_on(own[0], mark)


@families
@listeners
@pytest.mark.parametrize("kind", BAD)
def test_a_strangers_broken_header_is_the_strangers_own_trouble(
    accepting: Guarded, kind: str, listener: str, family: int
) -> None:
    """Half a header would be a way past the gate."""
    data, _ = bad(kind, family)
    mark = accepting.server.mark()
    with connected(accepting, listener, family, STRANGER[family]) as (stream, own):
        stream.sendall(data)
        accepting.server.wait_for_log(
            f"postfix/{listener}/smtpd", f"connect from unknown[{own[0]}]:{own[1]}", since=mark
        )


@pytest.mark.parametrize("said", [b"", b"GET /metr"])
def test_the_metrics_port_drops_half_a_request(rejecting: Guarded, said: bytes) -> None:
    """Peers that say nothing would pile up in the process that all mail goes through."""
    address = (rejecting.server.addresses.service, 2006)
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(socket.create_connection(address, 15)) for _ in range(150)]
        for peer in peers[50:]:
            peer.sendall(said)
        # Whoever asks a whole question is answered meanwhile, or this raises.
        rejecting.counted("handed_over", "smtp")
        assert peers[-1].recv(100) == b""


def test_internal_ports_take_no_header(rejecting: Guarded) -> None:
    """Gatepost's own clients would be refused, or a neighbour could claim an address there."""
    address = rejecting.server.internal("smtp")
    mark = rejecting.server.mark()
    with socket.create_connection(address, 10, source_address=(TRUSTED[4], 0)) as stream:
        own = stream.getsockname()
        assert stream.recv(500).startswith(b"220")
        stream.sendall(header("v1", 4).data)
        assert stream.recv(500)[:1] == b"5"
    rejecting.server.wait_for_log(f"connect from unknown[{own[0]}]:{own[1]}", since=mark)
