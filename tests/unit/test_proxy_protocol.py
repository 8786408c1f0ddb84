"""PROXY headers: read and written as the specification, and as another implementation, has them."""

from __future__ import annotations

import ipaddress
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from proxyprotocol import ProxyProtocolChecksumError
from proxyprotocol.result import ProxyResultIPv4, ProxyResultIPv6
from proxyprotocol.tlv import ProxyProtocolSSLTLV, ProxyProtocolTLV
from proxyprotocol.v1 import ProxyProtocolV1
from proxyprotocol.v2 import ProxyProtocolV2

from gatepost.proxy_protocol import (
    LONGEST_1,
    SIGNATURE_2,
    Command,
    Endpoint,
    Family,
    Header,
    ProxyProtocolError,
    Reason,
    Ssl,
    Tlv,
    TlvType,
    Transport,
    build_1,
    build_2,
    crc32c,
    parse,
)

CLIENT4, SERVER4 = ("192.0.2.7", 54321), ("198.51.100.1", 25)
CLIENT6, SERVER6 = ("2001:db8::7", 54321), ("2001:db8::1", 25)

ports = st.integers(0, 65535)
pairs4 = st.tuples(st.tuples(st.ip_addresses(v=4), ports), st.tuples(st.ip_addresses(v=4), ports))
pairs6 = st.tuples(st.tuples(st.ip_addresses(v=6), ports), st.tuples(st.ip_addresses(v=6), ports))
pairs = pairs4 | pairs6
Pair = tuple[tuple[Any, int], tuple[Any, int]]
custom_tlvs = st.dictionaries(st.integers(0xE0, 0xEF), st.binary(max_size=40), max_size=4)


def texts(pair: Pair) -> tuple[Endpoint, Endpoint]:
    """Write addresses as our side does."""
    (client, client_port), (server, server_port) = pair
    return (str(client), client_port), (str(server), server_port)


def same(ours: Endpoint | None, theirs: tuple[Any, int]) -> bool:
    """Compare by value: an address has more than one way to be written."""
    return ours is not None and (ipaddress.ip_address(ours[0]), ours[1]) == theirs


def other_result(pair: Pair, tlvs: dict[int, bytes]) -> ProxyResultIPv4 | ProxyResultIPv6:
    """Return the other implementation's value for a pair."""
    source, destination = pair
    tlv = ProxyProtocolTLV(init=tlvs)
    if source[0].version == 4:
        return ProxyResultIPv4(source, destination, tlv=tlv)
    return ProxyResultIPv6(source, destination, tlv=tlv)


def read(data: bytes) -> Header:
    """Read a header that must be whole."""
    header = parse(data)
    assert header is not None
    return header


# --- against another implementation ---------------------------------------------------------


@given(pairs)
def test_the_other_reads_our_version_1(pair: Pair) -> None:
    """A daemon that is not ours would see another client."""
    result = ProxyProtocolV1().unpack(build_1(*texts(pair)))
    assert (result.source, result.dest) == pair


@given(pairs, st.binary(max_size=50))
def test_we_read_the_others_version_1(pair: Pair, early: bytes) -> None:
    """A client would be seen under another address, or its first bytes would be swallowed."""
    data = ProxyProtocolV1().pack(other_result(pair, {}))
    header = read(data + early)
    assert same(header.source, pair[0])
    assert same(header.destination, pair[1])
    assert header.size == len(data)


@given(pairs, custom_tlvs, st.booleans())
def test_the_other_reads_our_version_2(pair: Pair, tlvs: dict[int, bytes], checksum: bool) -> None:  # noqa: FBT001
    """A daemon that is not ours would see another client."""
    # The other sorts extensions before it checks the sum.
    data = build_2(*texts(pair), tlvs=[Tlv(*t) for t in sorted(tlvs.items())], checksum=checksum)
    result = ProxyProtocolV2().unpack(data)
    assert (result.source, result.dest) == pair
    assert {kind: value for kind, value in result.tlv.items() if kind != TlvType.CRC32C} == tlvs
    assert (TlvType.CRC32C in result.tlv) is checksum


@given(pairs, custom_tlvs, st.binary(max_size=50))
def test_we_read_the_others_version_2(pair: Pair, tlvs: dict[int, bytes], early: bytes) -> None:
    """A client would be seen under another address, or its first bytes would be swallowed."""
    data = ProxyProtocolV2().pack(other_result(pair, tlvs))
    header = read(data + early)
    assert same(header.source, pair[0])
    assert same(header.destination, pair[1])
    assert header.size == len(data)
    assert {t.type: t.value for t in header.tlvs if t.type != TlvType.CRC32C} == tlvs


@given(pairs, st.data())
def test_both_refuse_a_header_whose_checksum_fails(pair: Pair, data: st.DataObject) -> None:
    """A header damaged on the way would name somebody else as the client."""
    header = bytearray(build_2(*texts(pair), checksum=True))
    at = data.draw(st.integers(16, len(header) - 8), label="damaged byte")
    header[at] ^= data.draw(st.integers(1, 255), label="difference")
    with pytest.raises(ProxyProtocolError, match="CRC32C"):
        parse(bytes(header))
    with pytest.raises(ProxyProtocolChecksumError):
        ProxyProtocolV2().unpack(bytes(header))


def test_the_tls_session_that_the_other_tells_of() -> None:
    """What the proxy knows of the client's certificate would be lost."""
    told = ProxyProtocolSSLTLV(
        has_ssl=True,
        has_cert_conn=True,
        verified=True,
        version="TLSv1.3",
        cn="client.example.org",
        cipher="TLS_AES_128_GCM_SHA256",
        sig_alg="SHA256",
        key_alg="RSA2048",
    )
    tlv = ProxyProtocolTLV(ssl=told, unique_id=b"request-1")
    pair = ipaddress.IPv4Address("192.0.2.7"), 1
    header = read(ProxyProtocolV2().pack(ProxyResultIPv4(pair, pair, tlv=tlv)))
    assert header.unique_id == b"request-1"
    assert header.ssl == Ssl(
        over_tls=True,
        certificate_on_connection=True,
        certificate_in_session=False,
        verified=True,
        version="TLSv1.3",
        common_name="client.example.org",
        cipher="TLS_AES_128_GCM_SHA256",
        signature_algorithm="SHA256",
        key_algorithm="RSA2048",
    )


# --- every header in pieces -----------------------------------------------------------------

EXAMPLES = [
    build_1(),
    build_1(CLIENT4, SERVER4),
    build_1(CLIENT6, SERVER6),
    b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n",
    build_2(),
    build_2(command=Command.LOCAL),
    build_2(CLIENT4, SERVER4),
    build_2(CLIENT6, SERVER6, tlvs=[Tlv(TlvType.NOOP, bytes(30))], checksum=True),
    SIGNATURE_2 + struct.pack("!BBH", 0x21, 0x31, 216) + b"/one".ljust(108, b"\0") * 2,
]


@pytest.mark.parametrize("data", EXAMPLES)
def test_a_header_in_pieces_is_waited_for_and_nothing_after_it_is_taken(data: bytes) -> None:
    """A slow network would break sessions, or the client's first command would be lost."""
    for end in range(len(data)):
        assert parse(data[:end]) is None, f"after {end} bytes"
    assert read(data) == read(data + b"EHLO client\r\n")
    assert read(data).size == len(data)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_refused_or_waited_for(data: bytes) -> None:
    """A stranger's bytes would end the gate for everybody."""
    for beginning in (b"", b"PROXY ", SIGNATURE_2, SIGNATURE_2 + b"\x21\x11\x00\x40"):
        try:
            header = parse(beginning + data)
        except ProxyProtocolError:
            continue
        assert header is None or header.size <= len(beginning + data)


# --- what has no addresses ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "family"),
    [
        (build_1(), Family.UNSPEC),
        (b"PROXY UNKNOWN 192.0.2.1 192.0.2.2 1 2\r\n", Family.UNSPEC),
        (build_2(), Family.UNSPEC),
        (build_2(CLIENT4, SERVER4, command=Command.LOCAL), Family.UNSPEC),
        (EXAMPLES[-1], Family.UNIX),
    ],
)
def test_without_ip_addresses_there_is_no_client(data: bytes, family: Family) -> None:
    """A proxy's health check would be logged as somebody."""
    header = read(data)
    assert (header.source, header.destination, header.family) == (None, None, family)


def test_local_is_skipped_whatever_it_says() -> None:
    """The specification has receivers ignore the rest, so a broken rest must not matter."""
    data = SIGNATURE_2 + struct.pack("!BBH", 0x20, 0xFF, 3) + b"abc"
    assert read(data) == Header(2, Command.LOCAL, len(data))


def test_unix_paths_are_kept() -> None:
    """A proxy in front by a UNIX socket is told apart from one that says nothing."""
    assert read(EXAMPLES[-1]).paths == (b"/one", b"/one")


def test_datagrams_are_told_apart() -> None:
    """Nobody would notice that a header speaks of something else than this connection."""
    header = read(build_2(CLIENT4, SERVER4, transport=Transport.DGRAM))
    assert header.transport is Transport.DGRAM


# --- what is refused ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"EHLO client.example.org\r\n",
        b"QUIT\r\n",
        b"proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY TCP4\r\n",
        b"PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
        b"PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
        b"PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
        b"PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY TCP6 fe80::1%eth0 fe80::2 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 -1 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
        b"PROXY TCP4 192.0.2.1\0 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.\u0661 192.0.2.2 1 2\r\n".encode(),  # an Arabic one
        SIGNATURE_2 + b"\x11\x11\x00\x0c" + bytes(12),
        SIGNATURE_2 + b"\x22\x11\x00\x0c" + bytes(12),
        SIGNATURE_2 + b"\x21\x41\x00\x0c" + bytes(12),
        SIGNATURE_2 + b"\x21\x13\x00\x0c" + bytes(12),
        SIGNATURE_2 + b"\x21\x11\x00\x0b" + bytes(11),
        SIGNATURE_2 + b"\x21\x21\x00\x0c" + bytes(12),
        SIGNATURE_2 + b"\x21\x11\x00\x0e" + bytes(12) + b"\xe0\x00",
        SIGNATURE_2 + b"\x21\x11\x00\x0f" + bytes(12) + b"\xe0\x00\x01",
        SIGNATURE_2 + b"\x21\x11\x00\x12" + bytes(12) + b"\x03\x00\x03abc",
        SIGNATURE_2 + b"\x21\x11\x00\x12" + bytes(12) + b"\x20\x00\x03abc",
        build_2(CLIENT4, SERVER4, tlvs=[Tlv(TlvType.CRC32C, bytes(4))] * 2),
    ],
)
def test_what_is_no_header_is_malformed(data: bytes) -> None:
    """Each of these, read with good will, is a way to be taken for somebody else."""
    with pytest.raises(ProxyProtocolError) as error:
        parse(data)
    assert error.value.reason is Reason.MALFORMED


def test_length_limits() -> None:
    """A header without an end would hold memory for as long as it goes on."""
    longest = b"PROXY UNKNOWN " + b"x" * (LONGEST_1 - 16) + b"\r\n"
    assert read(longest).size == LONGEST_1
    most = build_2(CLIENT4, SERVER4, tlvs=[Tlv(TlvType.NOOP, bytes(65535 - 12 - 3))])
    assert read(most).size == 16 + 65535
    for data, limit in (
        (longest[:14] + b"x" + longest[14:], None),
        (b"PROXY " + b"x" * 200, None),
        (most[:16], 4096),
        (build_2(CLIENT4, SERVER4, tlvs=[Tlv(TlvType.UNIQUE_ID, bytes(129))]), None),
    ):
        with pytest.raises(ProxyProtocolError) as error:
            parse(data) if limit is None else parse(data, limit)
        assert error.value.reason is Reason.OVERSIZED


def test_what_cannot_be_said_is_not_built() -> None:
    """A header with half an address would be sent and refused."""
    for source, destination in (
        (CLIENT4, SERVER6),
        (("nowhere", 1), SERVER4),
        (("192.0.2.1", 65536), SERVER4),
    ):
        with pytest.raises(ValueError, match="two addresses of one family"):
            build_1(source, destination)
        with pytest.raises(ValueError, match="two addresses of one family"):
            build_2(source, destination)
    with pytest.raises(ValueError, match="too long"):
        build_2(tlvs=[Tlv(TlvType.NOOP, bytes(65535))])


@pytest.mark.parametrize(
    ("data", "checksum"),
    [(b"123456789", 0xE3069283), (bytes(32), 0x8A9136AA), (b"", 0)],
)
def test_crc32c_of_rfc_3720(data: bytes, checksum: int) -> None:
    """Every header with a checksum would be refused."""
    assert crc32c(data) == checksum


def test_an_ipv4_client_in_an_ipv6_header_has_one_way_to_be_written() -> None:
    """One client would be two, by the version of the header or of Python."""
    mapped = ("::ffff:192.0.2.7", 1)
    for data in (build_1(mapped, SERVER6), build_2(mapped, SERVER6)):
        assert read(data).source == mapped
