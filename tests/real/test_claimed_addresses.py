"""What a client gains by the word of a proxy: no right to relay, and no login without TLS.

The test is the proxy: it connects to the service ports itself and writes the headers.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from instance import PREFIX6, Instance, instance, loopback6
from proving import verify

from gatepost.proxy_protocol import build_1, build_2

PROXY = "127.0.0.9"
"""A proxy whose word is worth an address, and no more."""
RELAYING_PROXY = "127.0.0.10"
"""A proxy that may speak for MYNETWORKS."""
DIRECT = "127.0.0.78"
"""An address of MYNETWORKS, and what a forger claims to be."""
NETWORKS = f"{DIRECT}/32,192.0.2.0/24,{PREFIX6}:5::/80"
ELSEWHERE = "somebody@elsewhere.invalid"
SETTINGS = {
    "REVERSE_PROXY": "none",
    "MTA_UPSTREAM_PROXY": "yes",
    "MTA_DIRECT_CLIENTS": "accept",
    "TRUSTED_PROXIES": f"{PROXY},{RELAYING_PROXY}",
    "MYNETWORKS": NETWORKS,
}


@pytest.fixture(scope="module")
def strict() -> Iterator[Instance]:
    """Run a server that relays for some networks, behind two proxies of which neither may speak."""
    with loopback6(f"{PREFIX6}::9"), instance(SETTINGS) as server:
        yield server


@pytest.fixture(scope="module")
def lenient() -> Iterator[Instance]:
    """Run the same server, one of whose proxies may speak for its networks."""
    with instance({**SETTINGS, "MTA_RELAYING_PROXIES": RELAYING_PROXY}) as server:
        yield server


def asked(server: Instance, source: str, header: bytes = b"", kind: str = "service") -> str:
    """Connect to port 25 from an address, say a header, and ask to relay; return the answer."""
    address = server.service("smtp") if kind == "service" else server.internal("smtp")
    with socket.create_connection(address, 10, source_address=(source, 0)) as stream:
        stream.sendall(header)
        with stream.makefile("rwb") as session:
            assert session.readline().startswith(b"220 ")
            for command in ("HELO client.test", "MAIL FROM:<friend@outside.test>"):
                session.write(f"{command}\r\n".encode())
                session.flush()
                assert session.readline().startswith(b"250 ")
            session.write(f"RCPT TO:<{ELSEWHERE}>\r\n".encode())
            session.flush()
            return session.readline().decode()


def claims() -> list[bytes]:
    return [
        build_1((DIRECT, 4711), ("127.0.0.1", 25)),
        build_2((DIRECT, 4712), ("127.0.0.1", 25)),
        build_2(("192.0.2.7", 4713), ("127.0.0.1", 25)),
        build_2((f"::ffff:{DIRECT}", 4714), ("::1", 25)),
        build_2((f"{PREFIX6}:5::7", 4715), ("::1", 25)),
    ]


@pytest.mark.parametrize("claim", range(5))
def test_a_claimed_address_gives_no_right_to_relay(strict: Instance, claim: int) -> None:
    """Any program of the proxy's machine would send spam to the whole world."""
    assert asked(strict, PROXY, claims()[claim]).startswith("554 5.7.1")


def test_an_address_of_its_own_does(strict: Instance) -> None:
    """The control: MYNETWORKS would be of no use at all."""
    assert asked(strict, DIRECT).startswith("250 ")
    assert asked(strict, DIRECT, kind="internal").startswith("250 ")
    assert asked(strict, "127.0.0.66").startswith("554 5.7.1")


@pytest.mark.parametrize("claim", range(5))
def test_a_proxy_that_may_speak_for_the_networks_does(lenient: Instance, claim: int) -> None:
    """Printers behind a proxy on a machine of its own would have to learn to log in."""
    assert asked(lenient, RELAYING_PROXY, claims()[claim]).startswith("250 ")
    # The control: another trusted proxy, and an address outside the networks.
    assert asked(lenient, PROXY, claims()[claim]).startswith("554 5.7.1")
    stranger = build_2(("203.0.113.7", 4716), ("127.0.0.1", 25))
    assert asked(lenient, RELAYING_PROXY, stranger).startswith("554 5.7.1")


def test_the_proof_shows_that_claims_do_not_relay(strict: Instance) -> None:
    """An administrator would take the README's word for it."""
    (row,) = verify(strict, "--only", "claimed-relay").findings
    assert row["status"] == "pass", row
    assert "192.0.2." in row["observed"] or DIRECT in row["observed"]
    assert "554 5.7.1" in row["witness"]


def test_the_proof_calls_a_proxy_that_may_speak_a_risk(lenient: Instance) -> None:
    """The setting would look as safe as any other."""
    (row,) = verify(lenient, "--only", "claimed-relay").findings
    assert row["status"] == "risk", row
    assert RELAYING_PROXY in row["observed"]
    said = lenient.run("config", "check")
    assert f'MTA_RELAYING_PROXIES: "{RELAYING_PROXY}/32"' in said.stdout + said.stderr
