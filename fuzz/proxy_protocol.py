"""Fuzz the PROXY parser: what any peer may send to the gate before anything else.

An input is what has come from a peer.
"""

from __future__ import annotations

import sys
from random import Random

import fuzzing

with fuzzing.instrumented("gatepost.proxy_protocol"):
    from gatepost import proxy_protocol

from gatepost.proxy_protocol import (
    LONGEST_1,
    LONGEST_2,
    LONGEST_UNIQUE_ID,
    SIGNATURE_2,
    Command,
    Family,
    Header,
    ProxyProtocolError,
    Reason,
    Tlv,
    TlvType,
    build_1,
    build_2,
)

GATE_LONGEST = 4096
"""Bytes of the longest header that the gate takes."""

parse = proxy_protocol.parse
"""What is fuzzed; a test puts a broken one here, to see that it is found out."""


def test_one_input(data: bytes) -> None:
    """Raise when the parser does with these bytes what it must never do."""
    found = outcome(data)
    for longest in (LONGEST_2, GATE_LONGEST):
        fed = in_pieces(data, longest)
        assert fed == outcome(data, longest), f"in pieces {fed}, at once {outcome(data, longest)}"
    if isinstance(found, Reason):
        assert outcome(data + b"\r\n") is found, "what follows made a header of it"
    if isinstance(found, Header):
        within_limits(data, found)
        nothing_after_it_matters(data, found)
        built_again(data, found)
        checksum_counts(data, found)


def outcome(data: bytes, longest: int = LONGEST_2) -> Header | Reason | None:
    """Return what the parser says; any exception but its own is let through."""
    try:
        return parse(data, longest)
    except ProxyProtocolError as error:
        return error.reason


def in_pieces(data: bytes, longest: int) -> Header | Reason | None:
    """Feed byte after byte, as the gate does for the slowest of proxies, until it has an answer."""
    for end in range(len(data) + 1):
        found = outcome(data[:end], longest)
        if found is not None:
            assert not isinstance(found, Header) or found.size == end, f"{found} after {end} bytes"
            return found
    return None


def within_limits(data: bytes, header: Header) -> None:
    """See that a header keeps to the specification's limits, and to its caller's."""
    assert 0 < header.size <= len(data), "a header that is longer than its bytes"
    assert header.size <= (LONGEST_1 if header.version == 1 else LONGEST_2)
    assert (header.source is None) == (header.destination is None)
    assert (header.source is not None) == (header.family in (Family.INET, Family.INET6))
    assert len(header.unique_id or b"") <= LONGEST_UNIQUE_ID
    told = header.ssl
    if told is not None and told.verified:
        assert told.certificate_on_connection or told.certificate_in_session
    assert outcome(data, header.size) == header
    assert outcome(data, header.size - 1) is Reason.OVERSIZED


def nothing_after_it_matters(data: bytes, header: Header) -> None:
    """See that the same header is read whatever follows it."""
    for after in (b"", b"\0", b"\r\n", b"PROXY UNKNOWN\r\n", SIGNATURE_2, data):
        found = outcome(data[: header.size] + after)
        assert found == header, f"{found} when {after!r} follows"


def built_again(data: bytes, header: Header) -> None:
    """See that a header which is written from what was read says the same."""
    source, destination = header.source, header.destination
    if source is not None and destination is not None:
        again = outcome(build_1(source, destination))
        assert isinstance(again, Header)
        assert (again.source, again.destination) == (source, destination)
        assert again.family is header.family
    if header.version == 1 or header.family is Family.UNIX or header.command is Command.LOCAL:
        return
    built = build_2(source, destination, transport=header.transport, tlvs=header.tlvs)
    # Without addresses the writer leaves the transport out.
    start = 14 if source is None else 0
    assert built[start:] == data[start : header.size], f"written again: {built!r}"
    rest = [tlv for tlv in header.tlvs if tlv.type != TlvType.CRC32C]
    if header.size + 7 > LONGEST_2:
        return
    built = build_2(source, destination, transport=header.transport, tlvs=rest, checksum=True)
    again = outcome(built)
    assert isinstance(again, Header), f"its own checksum is refused: {built!r}"
    assert list(again.tlvs[1:]) == rest
    transport = header.transport if source else again.transport
    expected = header._replace(size=len(built), tlvs=again.tlvs, transport=transport)
    assert again == expected, f"{again}, not {expected}"


def checksum_counts(data: bytes, header: Header) -> None:
    """See that one wrong bit in an address is noticed when there is a checksum."""
    if header.source is None or all(tlv.type != TlvType.CRC32C for tlv in header.tlvs):
        return
    damaged = bytearray(data)
    damaged[len(SIGNATURE_2) + 4] ^= 1
    assert outcome(bytes(damaged)) is Reason.CHECKSUM, "a wrong address was believed"


def mutate(data: bytes, most: int, seed: int) -> bytes:
    """Change bytes anywhere, or one extension of a header that stays whole.

    Without the second, nearly every change breaks a length or the checksum, and what is behind them
    is never reached.
    """
    chance = Random(seed)  # noqa: S311  it guards nothing
    try:
        header = proxy_protocol.parse(data)
    except ProxyProtocolError:
        header = None
    if header is None or header.version == 1 or chance.random() < 0.5:
        return fuzzing.changed(data, most)
    tlvs = [tlv for tlv in header.tlvs if tlv.type != TlvType.CRC32C]
    at = chance.randrange(len(tlvs) + 1)
    chosen = tlvs.pop(at) if at < len(tlvs) else Tlv(chance.randrange(256), b"")
    changed = fuzzing.changed(bytes([chosen.type]) + chosen.value, len(chosen.value) + 16)
    tlvs.insert(at, Tlv(changed[0], changed[1:]))
    built = build_2(
        header.source,
        header.destination,
        transport=header.transport,
        tlvs=tlvs,
        checksum=chance.random() < 0.3,
    )
    return (built + data[header.size :])[:most]


def main(arguments: list[str]) -> None:
    """Run libFuzzer; it ends the process."""
    # A header that takes seconds is a way to keep the gate from everybody else.
    fuzzing.main("proxy_protocol", test_one_input, arguments, mutate=mutate, seconds=5)


if __name__ == "__main__":
    main(sys.argv[1:])
