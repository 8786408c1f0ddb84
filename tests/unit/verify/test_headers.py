"""The checks about PROXY headers against a small server that is honest or broken in one way."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gatepost.contracts import Plugin
from gatepost.model import (
    Address,
    BoundListener,
    Event,
    Home,
    Listener,
    Observation,
    Protocol,
    Status,
    Tls,
    Topology,
)
from gatepost.proxy_protocol import Command, Header, ProxyProtocolError, parse
from gatepost.verify import proxied, runner
from gatepost.verify.catalogue import CHECKS
from gatepost.verify.check import Outcome, Proof
from gatepost.verify.checks import missing_header as missing
from gatepost.verify.checks.forged_direct import forged_direct
from gatepost.verify.checks.forged_through_proxy import forged_through_proxy
from gatepost.verify.checks.header_versions import header_versions
from gatepost.verify.checks.missing_header import missing_header
from gatepost.verify.clients.wire import ProbeError, Trouble
from gatepost.verify.evidence.logs import LogFile
from gatepost.verify.evidence.witnesses import LogWitness
from gatepost.verify.targets import Approach, Target
from gatepost.verify.vantage.here import Here

TRUSTED = "127.0.0.9"
STRANGER = "127.0.0.77"
HEADER_SECONDS = 0.2
LISTENER = Listener("smtp", Protocol.SMTP, Tls.STARTTLS, 25, 3325, 31025, 32025)

Check = Callable[[Proof, Target], Outcome]


class Toy:
    """A server with the PROXY protocol, and the plug-in that reads its log."""

    name = "toy"

    def __init__(self, log: Path, broken: str, *, proxied: bool) -> None:
        """Listen, with the PROXY protocol or without, and be broken in a way."""
        self.log, self.broken, self.proxied = log, broken, proxied
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.address = Address(*self.listening.getsockname())
        self.stopped = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        """Listen no more."""
        self.stopped.set()
        with contextlib.suppress(OSError):
            self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()

    def observe(self, line: str) -> Observation | None:
        """Read a line of its log."""
        if found := re.fullmatch(r"refused (\S+)", line):
            return Observation("toy", Event.REFUSED, found[1], None, None, line)
        if found := re.fullmatch(r"saw (\S+) (\d+)", line):
            return Observation("toy", Event.CONNECT, found[1], int(found[2]), None, line)
        return None

    def _accept(self) -> None:
        while True:
            try:
                stream, peer = self.listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(stream, peer), daemon=True).start()

    def _serve(self, stream: socket.socket, peer: tuple[str, int]) -> None:
        with stream, contextlib.suppress(OSError, ProxyProtocolError):
            if self.broken == "hangs up":
                return
            if self.broken == "hangs":
                self.stopped.wait(10)
            elif not self.proxied:
                self._greet(stream, peer)
            elif peer[0] != TRUSTED and self.broken != "believes everyone":
                self._refuse(stream, peer)
            else:
                if self.broken == "port had before":
                    self._say(f"saw {peer[0]} {peer[1]}")
                self._greet(stream, self._client(stream, peer))

    def _refuse(self, stream: socket.socket, peer: tuple[str, int]) -> None:
        if self.broken == "refuses in silence":
            return
        if self.broken == "refuses in its log":
            self._say(f"refused {peer[0]}")
            return
        reason = "4.3.2" if self.broken == "busy" else "4.7.0"
        stream.sendall(f"421 {reason} toy not you\r\n".encode())
        stream.shutdown(socket.SHUT_WR)
        stream.recv(1000)

    def _client(self, stream: socket.socket, peer: tuple[str, int]) -> tuple[str, int]:
        stream.settimeout(10 if self.broken == "waits" else HEADER_SECONDS)
        try:
            header = self._header(stream)
        except (TimeoutError, ProxyProtocolError):
            if self.broken == "takes anything":
                return peer
            raise
        refused = {
            "only version 2": header.version == 1,
            "no LOCAL": header.command is Command.LOCAL,
            "no UNKNOWN": header.version == 1 and header.source is None,
            "no IPv6": header.source is not None and ":" in header.source[0],
        }
        if refused.get(self.broken):
            raise ConnectionAbortedError
        return header.source if header.source and self.broken != "reads for nothing" else peer

    def _header(self, stream: socket.socket) -> Header:
        data = b""
        while True:
            more = stream.recv(1000)
            if not more:
                raise ConnectionAbortedError
            data += more
            if header := parse(data):
                return header

    def _greet(self, stream: socket.socket, client: tuple[str, int]) -> None:
        if self.broken == "hides clients":
            client = ("127.0.0.1", 9)
        if self.broken != "says nothing":
            self._say(f"saw {client[0]} {client[1]}")
        stream.sendall(b"220 toy\r\n")
        stream.settimeout(5)
        stream.recv(1000)
        stream.sendall(b"500 what?\r\n")

    def _say(self, line: str) -> None:
        with self.log.open("a") as log:
            log.write(f"{line}\n")


class Bench:
    """A run against one toy."""

    def __init__(self, folder: Path) -> None:
        """Write logs in a folder."""
        self.log = folder / "gatepost.log"
        self.log.touch()

    @contextlib.contextmanager
    def at(self, broken: str, *, proxied: bool = True, seconds: float = 8) -> Iterator[Proof]:
        """Start a toy."""
        self.toy = Toy(self.log, broken, proxied=proxied and broken != "plain")
        bound = BoundListener(
            LISTENER,
            "toy",
            proxied=True,
            public=(self.toy.address,),
            service=(self.toy.address,),
            internal=(),
        )
        self.public = Target(bound, self.toy.address, (STRANGER,))
        self.service = Target(bound, self.toy.address, (STRANGER,), Approach.SERVICE, TRUSTED)
        try:
            with LogWitness(
                LogFile(self.log), (Plugin(name="toy", observe=self.toy.observe),)
            ) as witness:
                yield Proof(
                    nonce="0123456789abcdef",
                    topology=Topology((bound,), {}, {}, ()),
                    mailname="mail.example.org",
                    certificate=None,
                    witness=witness,
                    login=None,
                    no_login="none needed",
                    selected=frozenset(),
                    vantage=Here(Home(self.log.parent)),
                    deadline=time.monotonic() + seconds,
                )
        finally:
            self.toy.stop()


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    for module in (proxied, missing):
        monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.6)
    for check in ("forged_direct", "forged_through_proxy", "header_versions"):
        monkeypatch.setattr(f"gatepost.verify.checks.{check}.LOG_SECONDS", 0.4)
    return Bench(tmp_path)


SERVICE_CHECKS: tuple[Check, ...] = (forged_direct, missing_header, header_versions)

CASES: list[tuple[str, Check, Status, str]] = [
    ("", forged_direct, Status.PASS, f"header from {STRANGER} refused, from {TRUSTED} taken"),
    ("", missing_header, Status.PASS, r"after 0\.\d s with silence and 0\.\d s with words"),
    ("", header_versions, Status.PASS, "UNKNOWN and LOCAL accepted"),
    ("believes everyone", forged_direct, Status.FAIL, f"took {STRANGER} for 127.0.0.1:"),
    ("believes everyone", missing_header, Status.PASS, "disconnected"),
    ("believes everyone", header_versions, Status.PASS, "accepted"),
    ("plain", forged_direct, Status.PASS, "was served as itself"),
    ("plain", missing_header, Status.FAIL, "takes clients without a header"),
    ("plain", header_versions, Status.FAIL, f"saw {TRUSTED} port"),
    ("takes anything", missing_header, Status.FAIL, "takes clients without a header"),
    ("takes anything", header_versions, Status.PASS, "accepted"),
    ("waits", missing_header, Status.FAIL, "silence instead of a header: still open after 0."),
    ("waits", header_versions, Status.PASS, "accepted"),
    ("only version 2", header_versions, Status.FAIL, "version 1 TCP4, version 1 TCP6, version 1"),
    ("only version 2", forged_direct, Status.PASS, "refused"),
    ("no LOCAL", header_versions, Status.FAIL, f"version 2 LOCAL from {TRUSTED} refused"),
    ("no IPv6", header_versions, Status.FAIL, "version 1 TCP6, version 2 TCP6 from"),
    ("no UNKNOWN", header_versions, Status.RISK, "version 1 UNKNOWN refused"),
    ("reads for nothing", header_versions, Status.FAIL, f"saw {TRUSTED} port"),
    # The kernel gave an earlier probe the same port.
    ("port had before", header_versions, Status.PASS, "accepted"),
    ("reads for nothing", forged_direct, Status.NOT_PROVEN, "the log says nothing"),
    ("says nothing", header_versions, Status.NOT_PROVEN, "does not say as whom"),
    # Dead in one way or the other: what is refused to everyone proves nothing.
    ("hangs up", forged_direct, Status.NOT_PROVEN, f"so was one from {TRUSTED}"),
    ("hangs up", missing_header, Status.NOT_PROVEN, f"so was {TRUSTED} with a header"),
    ("hangs up", header_versions, Status.FAIL, f"each header from {TRUSTED} refused"),
    ("hangs", forged_direct, Status.NOT_PROVEN, "neither refused nor served"),
    ("hangs", missing_header, Status.FAIL, "still open"),
    ("hangs", header_versions, Status.FAIL, "version 1 TCP4: no answer in time"),
]


@pytest.mark.parametrize(("broken", "check", "status", "words"), CASES)
def test_each_way_to_be_broken_has_its_row(
    bench: Bench, broken: str, check: Check, status: Status, words: str
) -> None:
    """A check that cannot fail proves nothing, and one that fails for all else sends astray."""
    with bench.at(broken) as run:
        outcome = check(run, bench.service)
    assert outcome.status is status, outcome
    assert re.search(words, str(outcome.observed))
    assert outcome.fix or status is Status.PASS


@pytest.mark.parametrize(
    ("broken", "status"),
    [
        ("", Status.PASS),
        ("refuses in its log", Status.PASS),
        ("refuses in silence", Status.NOT_PROVEN),
        ("busy", Status.NOT_PROVEN),
        ("believes everyone", Status.FAIL),
        ("hangs up", Status.NOT_PROVEN),
    ],
)
def test_without_a_trusted_address_only_words_are_proof(
    bench: Bench, broken: str, status: Status
) -> None:
    """The proxy runs elsewhere; a dead port must not pass for one that refuses forgeries."""
    with bench.at(broken) as run:
        outcome = forged_direct(run, replace(bench.service, trusted=None))
    assert outcome.status is status, outcome
    if status is Status.NOT_PROVEN:
        assert f"nc {bench.toy.address.host} {bench.toy.address.port}" in outcome.fix


@pytest.mark.parametrize("check", [missing_header, header_versions])
def test_who_cannot_be_the_proxy_says_how_to_test(bench: Bench, check: Check) -> None:
    """A row that says neither yes nor what to do helps nobody."""
    with bench.at("") as run:
        outcome = check(run, replace(bench.service, trusted=None))
    assert outcome.status is Status.NOT_PROVEN
    assert "TRUSTED_PROXIES" in outcome.observed
    assert "nc " in outcome.fix


def test_who_cannot_be_a_stranger_says_how_to_test(bench: Bench) -> None:
    """TRUSTED_PROXIES that covers this machine leaves nobody here to refuse."""
    with bench.at("") as run:
        outcome = forged_direct(run, replace(bench.service, sources=()))
    assert outcome.status is Status.NOT_PROVEN
    assert "outside TRUSTED_PROXIES" in outcome.observed
    assert "From a machine outside TRUSTED_PROXIES" in outcome.fix


@pytest.mark.parametrize("check", SERVICE_CHECKS)
def test_a_dead_port_is_told_as_such(bench: Bench, check: Check) -> None:
    """Nobody is refused where nobody listens."""
    with bench.at("") as run:
        bench.toy.stop()
        with pytest.raises(ProbeError) as caught:
            check(run, bench.service)
    assert caught.value.trouble is Trouble.REFUSED


@pytest.mark.parametrize("check", SERVICE_CHECKS)
@pytest.mark.parametrize("broken", ["hangs", "hangs up"])
def test_what_the_banner_row_tells_is_not_told_again(
    bench: Bench, check: Check, broken: str
) -> None:
    """One trouble in four rows hides the one row to begin with."""
    with bench.at(broken) as run:
        run.unreached[bench.public] = ProbeError(Trouble.SILENT, "no answer in time")
        with contextlib.suppress(ProbeError):  # which becomes "see the banner row"
            assert check(run, bench.service).status is not Status.FAIL


@pytest.mark.parametrize("name", ["forged-direct", "missing-header", "header-versions"])
def test_time_that_is_up_is_no_failure(bench: Bench, name: str) -> None:
    """On a busy machine a probe begins late, and has not waited long enough to judge."""
    (row,) = (check for check in CHECKS if check.name == name)
    with bench.at("hangs", seconds=0.4) as run:
        work = runner._Work((row,), dict.fromkeys(Approach, ()))
        outcome = runner._outcome(run, work, row, bench.service)
    assert outcome.status is Status.NOT_PROVEN, outcome


@pytest.mark.parametrize(
    ("broken", "status", "words"),
    [
        ("plain", Status.PASS, f"toy saw {STRANGER}:"),
        ("believes everyone", Status.FAIL, "as it claimed"),
        ("says nothing", Status.NOT_PROVEN, "toy says nothing of"),
        ("hides clients", Status.NOT_PROVEN, "toy says nothing of"),
    ],
)
def test_only_the_daemons_word_proves_a_header_void(
    bench: Bench, broken: str, status: Status, words: str
) -> None:
    """That a forged address is not in the log is true of an empty log as well."""
    with bench.at(broken, proxied=broken == "believes everyone") as run:
        outcome = forged_through_proxy(run, bench.public)
    assert outcome.status is status, outcome
    assert words in outcome.observed


@pytest.mark.parametrize("check", [forged_direct, forged_through_proxy, header_versions])
def test_no_log_is_no_proof(bench: Bench, check: Check) -> None:
    """Whom the daemon saw, only its log tells."""
    bench.log.unlink()
    with bench.at("plain") as run:
        bench.log.unlink(missing_ok=True)
        outcome = check(run, bench.service)
    assert outcome.status is Status.NOT_PROVEN
    assert "no log to read" in outcome.observed
