"""The PROXY protocol, versions 1 and 2: bytes to values and back, no I/O.

Written after HAProxy's specification (``doc/proxy-protocol.txt``, revision of 2020/03/05; section
numbers below are its own). A connection's first bytes say who the client is; everything after them
belongs to the protocol that is spoken on the connection.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import NamedTuple

SIGNATURE_1 = b"PROXY "
SIGNATURE_2 = b"\r\n\r\n\0\r\nQUIT\n"

LONGEST_1 = 107
"""Bytes of the longest version 1 header, its CR LF included (2.1)."""
LONGEST_2 = 16 + 0xFFFF
"""Bytes of the longest version 2 header (2.2)."""
LONGEST_UNIQUE_ID = 128
"""Bytes of the longest unique id (2.2.5)."""

Endpoint = tuple[str, int]
"""An IP address in its shortest form, and a port from 0 to 65535."""


class Reason(StrEnum):
    """Why bytes are not a PROXY header."""

    MALFORMED = "malformed"
    OVERSIZED = "oversized"
    CHECKSUM = "checksum"


class ProxyProtocolError(ValueError):
    """These bytes are not a PROXY header, whatever may follow them."""

    def __init__(self, reason: Reason, detail: str) -> None:
        """Keep the kind of mistake apart from its words."""
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


class Command(IntEnum):
    """The kind of a connection: relayed, or the proxy's own, such as a health check (2.2)."""

    LOCAL = 0
    PROXY = 1


class Family(IntEnum):
    """The family of the addresses (2.2.1)."""

    UNSPEC = 0
    INET = 1
    INET6 = 2
    UNIX = 3


class Transport(IntEnum):
    """The transport between client and proxy (2.2.1)."""

    UNSPEC = 0
    STREAM = 1
    DGRAM = 2


class TlvType(IntEnum):
    """Registered types of extensions (2.2)."""

    ALPN = 0x01
    AUTHORITY = 0x02
    CRC32C = 0x03
    NOOP = 0x04
    UNIQUE_ID = 0x05
    SSL = 0x20
    NETNS = 0x30


class _SslTlvType(IntEnum):
    VERSION = 0x21
    CN = 0x22
    CIPHER = 0x23
    SIG_ALG = 0x24
    KEY_ALG = 0x25


@dataclass(frozen=True, slots=True)
class Tlv:
    """An extension: type, length (not kept) and value."""

    type: int
    value: bytes


@dataclass(frozen=True, slots=True)
class Ssl:
    """The TLS session between client and proxy, as the proxy reports it (2.2.6)."""

    over_tls: bool
    """PP2_CLIENT_SSL: the client connected by TLS."""
    certificate_on_connection: bool
    """PP2_CLIENT_CERT_CONN."""
    certificate_in_session: bool
    """PP2_CLIENT_CERT_SESS."""
    verified: bool
    """True if the client showed a certificate and the proxy verified it."""
    version: str | None = None
    common_name: str | None = None
    cipher: str | None = None
    signature_algorithm: str | None = None
    key_algorithm: str | None = None


class Header(NamedTuple):
    """A PROXY header as it was read: a tuple, since one is made for every connection."""

    version: int
    command: Command
    size: int
    """Bytes of the header; the bytes after them belong to the client."""
    family: Family = Family.UNSPEC
    transport: Transport = Transport.UNSPEC
    source: Endpoint | None = None
    """The client; None when the header names no IP address."""
    destination: Endpoint | None = None
    """The address that the client connected to; None exactly if `source` is None."""
    paths: tuple[bytes, bytes] | None = None
    """Source and destination of `Family.UNIX`, without trailing zeros."""
    tlvs: tuple[Tlv, ...] = ()
    """Extensions in their order, unknown ones too."""

    @property
    def unique_id(self) -> bytes | None:
        """The proxy's name for the connection (2.2.5)."""
        return self._value(TlvType.UNIQUE_ID)

    @property
    def ssl(self) -> Ssl | None:
        """The client's TLS session; None if the header does not report it."""
        value = self._value(TlvType.SSL)
        return None if value is None else _ssl(value)

    def _value(self, kind: int) -> bytes | None:
        return next((tlv.value for tlv in self.tlvs if tlv.type == kind), None)


# --- reading --------------------------------------------------------------------------------


def parse(data: bytes, longest: int = LONGEST_2) -> Header | None:
    """Read the header at the beginning of a connection's bytes.

    Return None when all of `data` belongs to a header that goes on. Raise `ProxyProtocolError` as
    soon as the bytes cannot become one, or it is longer than `longest` bytes.
    """
    if data.startswith(SIGNATURE_2):
        return _parse_2(data, longest)
    if data.startswith(SIGNATURE_1):
        return _parse_1(data, longest)
    if SIGNATURE_2.startswith(data) or SIGNATURE_1.startswith(data):
        return None
    raise ProxyProtocolError(Reason.MALFORMED, "no PROXY signature")


def _parse_1(data: bytes, longest: int) -> Header | None:
    longest = min(longest, LONGEST_1)
    end = data.find(b"\r\n", 0, longest)
    if end < 0:
        if len(data) >= longest:
            raise ProxyProtocolError(Reason.OVERSIZED, f"no end of line within {longest} bytes")
        return None
    size = end + 2
    words = data[len(SIGNATURE_1) : end].split(b" ")
    if words[0] == b"UNKNOWN":
        return Header(1, Command.PROXY, size)
    families = {b"TCP4": (Family.INET, AF_INET), b"TCP6": (Family.INET6, AF_INET6)}
    if words[0] not in families or len(words) != 5:  # noqa: PLR2004  as the grammar has it
        raise ProxyProtocolError(Reason.MALFORMED, "not TCP4 or TCP6 and four words")
    family, number = families[words[0]]
    return Header(
        version=1,
        command=Command.PROXY,
        size=size,
        family=family,
        transport=Transport.STREAM,
        source=(_host_1(words[1], number), _port_1(words[3])),
        destination=(_host_1(words[2], number), _port_1(words[4])),
    )


def _host_1(word: bytes, number: int) -> str:
    try:
        return inet_ntop(number, inet_pton(number, word.decode("ascii")))
    except (ValueError, OSError):
        raise ProxyProtocolError(Reason.MALFORMED, "an address is none") from None


_LAST_PORT = 0xFFFF


def _port_1(word: bytes) -> int:
    port = int(word) if word.isdigit() else -1
    if not 0 <= port <= _LAST_PORT or word != b"%d" % port:
        raise ProxyProtocolError(Reason.MALFORMED, "a port is none")
    return port


_FIXED = struct.Struct("!12sBBH")
_INET = struct.Struct("!4s4sHH")
_INET6 = struct.Struct("!16s16sHH")
_UNIX = struct.Struct("!108s108s")
_VERSION_2 = 0x20
_COMMANDS = {_VERSION_2 | command: command for command in Command}
"""Version and command byte → command."""
_KINDS = {
    family << 4 | transport: (family, transport) for family in Family for transport in Transport
}
"""Family byte → what it stands for."""
_SIZES = {Family.UNSPEC: 0, Family.INET: _INET.size, Family.INET6: _INET6.size, Family.UNIX: 216}
"""Bytes of both addresses."""


def _parse_2(data: bytes, longest: int) -> Header | None:
    if len(data) < _FIXED.size:
        return None
    _, command_byte, family_byte, length = _FIXED.unpack_from(data)
    command = _COMMANDS.get(command_byte)
    if command is None:
        raise ProxyProtocolError(Reason.MALFORMED, "unknown version or command")
    size = _FIXED.size + length
    if size > longest:
        raise ProxyProtocolError(Reason.OVERSIZED, f"{size} bytes, the most is {longest}")
    if len(data) < size:
        return None
    if command is Command.LOCAL:
        # The receiver must skip the rest, whatever it says (2.2).
        return Header(2, command, size)
    kind = _KINDS.get(family_byte)
    if kind is None:
        raise ProxyProtocolError(Reason.MALFORMED, "unknown address family or transport")
    family, transport = kind
    start = _FIXED.size + _SIZES[family]
    if size < start:
        raise ProxyProtocolError(Reason.MALFORMED, "too short for its addresses")
    source = destination = paths = None
    if family is Family.INET or family is Family.INET6:
        number, layout = (AF_INET, _INET) if family is Family.INET else (AF_INET6, _INET6)
        client, server, client_port, server_port = layout.unpack_from(data, _FIXED.size)
        source = inet_ntop(number, client), client_port
        destination = inet_ntop(number, server), server_port
    elif family is Family.UNIX:
        one, other = _UNIX.unpack_from(data, _FIXED.size)
        paths = one.rstrip(b"\0"), other.rstrip(b"\0")
    tlvs = _extensions(data[:size], start) if size > start else ()
    return Header(2, command, size, family, transport, source, destination, paths, tlvs)


def _extensions(header: bytes, start: int) -> tuple[Tlv, ...]:
    """Read the extensions from `start` on; check the checksum, and the form of those we decode."""
    tlvs = _tlvs(header[start:])
    if [tlv.type for tlv in tlvs].count(TlvType.CRC32C) > 1:
        # Each costs a pass over the whole header.
        raise ProxyProtocolError(Reason.MALFORMED, "more than one checksum")
    for tlv in tlvs:
        start += 3
        if tlv.type == TlvType.CRC32C:
            if len(tlv.value) != 4:  # noqa: PLR2004
                raise ProxyProtocolError(Reason.MALFORMED, "a checksum has four bytes")
            zeroed = header[:start] + bytes(4) + header[start + 4 :]
            if crc32c(zeroed) != int.from_bytes(tlv.value, "big"):
                raise ProxyProtocolError(Reason.CHECKSUM, "CRC32C does not match")
        elif tlv.type == TlvType.UNIQUE_ID and len(tlv.value) > LONGEST_UNIQUE_ID:
            raise ProxyProtocolError(Reason.OVERSIZED, "the unique id has more than 128 bytes")
        elif tlv.type == TlvType.SSL:
            _ssl(tlv.value)
        start += len(tlv.value)
    return tlvs


def _tlvs(data: bytes) -> tuple[Tlv, ...]:
    found = []
    at = 0
    while at < len(data):
        if len(data) - at < 3:  # noqa: PLR2004  one byte of type, two of length
            raise ProxyProtocolError(Reason.MALFORMED, "an extension is cut off")
        kind, length = struct.unpack_from("!BH", data, at)
        at += 3
        if len(data) - at < length:
            raise ProxyProtocolError(Reason.MALFORMED, "an extension is cut off")
        found.append(Tlv(kind, data[at : at + length]))
        at += length
    return tuple(found)


def _ssl(value: bytes) -> Ssl:
    if len(value) < 5:  # noqa: PLR2004  one byte of flags, four of the verification's result
        raise ProxyProtocolError(Reason.MALFORMED, "the SSL extension is cut off")
    client, verify = struct.unpack_from("!BI", value)
    texts = {tlv.type: tlv.value.decode(errors="replace") for tlv in _tlvs(value[5:])}
    return Ssl(
        over_tls=bool(client & 1),
        certificate_on_connection=bool(client & 2),
        certificate_in_session=bool(client & 4),
        verified=bool(client & 6) and verify == 0,
        version=texts.get(_SslTlvType.VERSION),
        common_name=texts.get(_SslTlvType.CN),
        cipher=texts.get(_SslTlvType.CIPHER),
        signature_algorithm=texts.get(_SslTlvType.SIG_ALG),
        key_algorithm=texts.get(_SslTlvType.KEY_ALG),
    )


# --- writing --------------------------------------------------------------------------------


def build_1(source: Endpoint | None = None, destination: Endpoint | None = None) -> bytes:
    """Return a version 1 header; ``UNKNOWN`` without addresses.

    Raise `ValueError` when the two are not of one family, or a port is out of range.
    """
    if source is None or destination is None:
        return SIGNATURE_1 + b"UNKNOWN\r\n"
    family, _ = _packed(source, destination)
    word = "TCP4" if family is Family.INET else "TCP6"
    return f"PROXY {word} {source[0]} {destination[0]} {source[1]} {destination[1]}\r\n".encode()


def build_2(
    source: Endpoint | None = None,
    destination: Endpoint | None = None,
    *,
    command: Command = Command.PROXY,
    transport: Transport = Transport.STREAM,
    tlvs: Iterable[Tlv] = (),
    checksum: bool = False,
) -> bytes:
    """Return a version 2 header; without addresses its family and transport are unspecified.

    With `checksum` a CRC32C extension comes first. Raise `ValueError` as `build_1` does, and when
    the extensions are too long for one header.
    """
    addresses, kind = b"", 0
    if source is not None and destination is not None:
        family, addresses = _packed(source, destination)
        kind = family << 4 | transport
    extensions = b"".join(struct.pack("!BH", t.type, len(t.value)) + t.value for t in tlvs)
    if checksum:
        extensions = struct.pack("!BHI", TlvType.CRC32C, 4, 0) + extensions
    length = len(addresses) + len(extensions)
    if length > LONGEST_2 - _FIXED.size:
        raise ValueError(f"a PROXY header of {length} bytes is too long")
    header = _FIXED.pack(SIGNATURE_2, _VERSION_2 | command, kind, length) + addresses + extensions
    if not checksum:
        return header
    at = _FIXED.size + len(addresses) + 3
    return header[:at] + crc32c(header).to_bytes(4, "big") + header[at + 4 :]


def _packed(source: Endpoint, destination: Endpoint) -> tuple[Family, bytes]:
    is_ipv6 = ":" in source[0]
    number = AF_INET6 if is_ipv6 else AF_INET
    try:
        client, server = inet_pton(number, source[0]), inet_pton(number, destination[0])
        layout = _INET6 if is_ipv6 else _INET
        packed = layout.pack(client, server, source[1], destination[1])
    except (OSError, struct.error) as error:
        raise ValueError(
            f"{source} and {destination} are not two addresses of one family with ports"
        ) from error
    return (Family.INET6 if is_ipv6 else Family.INET), packed


# --- CRC32C ---------------------------------------------------------------------------------

_CASTAGNOLI = 0x82F63B78
"""The polynomial of RFC 3720, 12.1, its bits reflected."""


def _crc_of_byte(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (_CASTAGNOLI if byte & 1 else 0)
    return byte


_CRC_TABLE = tuple(map(_crc_of_byte, range(256)))


def crc32c(data: bytes) -> int:
    """Return the CRC32C of bytes (RFC 3720, appendix B.4), as the checksum extension uses it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC_TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF
