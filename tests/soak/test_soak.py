"""A whole server under mixed load for a while: what it takes of the machine stays the same.

A minute with the other tests; `make soak SECONDS=3600` for as long as wanted.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from breaking import ask_no_name_server
from idle_crowd import IdleCrowd, idle_crowd
from instance import Instance, instance
from log_watch import LogWatch
from mixed_load import PASSWORD, MixedLoad, addresses
from sampling import COARSE, FINE, Figures, Sample, family, take
from trend import halves

SECONDS = int(os.environ.get("SOAK_SECONDS", "60"))
LONG = 1500
"""Seconds from which on the finer tolerances hold."""
IDLE_MAILBOXES = 6
IDLERS = 36
AWAKE = 29.0
"""Seconds until a connection is asleep that was told of a message; see "processes.conf"."""
WARM_UP = AWAKE if SECONDS < LONG else SECONDS * 0.1
"""Until the buffers and pools of processes of all daemons have the size that the load needs."""
APART = 1.2 if SECONDS < LONG else max(5.0, SECONDS / 300)
"""Seconds between two samples."""
ROUND = 120.0
"""Seconds between two messages to those who wait: they have slept meanwhile."""
TOLD_WITHIN = 10.0

EXPECTED = {
    r"-login: Warning: haproxy: Client not trusted \(rip=127\.0\.0\.66\)$": (
        "a stranger sends Dovecot a PROXY header"
    ),
    r" SSL_accept error from \S+: (-1|lost connection)$": (
        "a client speaks no TLS where it must (Postfix)"
    ),
    r" warning: TLS library problem: error:\w+:SSL routines::wrong version number:": (
        "the same, in the words of OpenSSL"
    ),
    r"TLS handshaking: SSL_accept\(\) failed: error:\w+:SSL routines::": (
        "a client speaks no TLS where it must (Dovecot)"
    ),
    r" warning: \S+: SASL (PLAIN|LOGIN) authentication failed: .*sasl_username=reader": (
        "a password is wrong"
    ),
    r" warning: non-SMTP command from ": "a client speaks no SMTP",
    r" warning: (file system clock is \d+ seconds ahead|resetting file time stamps)": (
        "the machine's clock was set back, which is nobody's load"
    ),
    r'^traefik \| \S+ ERR Error while handling TCP connection error="(read|write).* '
    r'(connection reset by peer|broken pipe)"$': "such a client hangs up before the answer",
}
"""Line that sounds like trouble → what the load, or the machine, does to provoke it."""
COUNTED = {
    "delivered": r"postfix/lmtp\[\d+\]: \w+: to=<.* status=sent ",
    "bounced": r" status=bounced ",
    "deferred": r" status=deferred ",
}

READERS = tuple((f"reader{number}@example.org", PASSWORD) for number in range(6))
WAITING = tuple((f"waiting{number}@example.org", PASSWORD) for number in range(IDLE_MAILBOXES))


def populate(server: Instance) -> None:
    """Make the accounts; one hash serves all, since they share a password."""
    server.call("domain", "add", "example.org")
    first = WAITING[0][0]
    server.call("mailbox", "add", first, "--password-stdin", stdin=PASSWORD)
    (row,) = (ln for ln in server.call("export").splitlines() if ln.startswith("mailbox,"))
    others = [*WAITING[1:], *READERS, ("changing@example.org", PASSWORD)]
    rows = [row.replace(first, user) for user, _ in others]
    server.accounts("\n".join([server.call("export").splitlines()[0], *rows, ""]))


def supervisor(server: Instance) -> int:
    """Return the process that all others of the server descend from."""
    (found,) = {psutil.Process(row["pid"]).ppid() for row in server.status()["services"]}
    return found


def folders(server: Instance) -> dict[str, list[Path]]:
    """Name the folders in which files may be left."""
    home = server.home
    return {
        **{name: [home / name] for name in ("accounts", "config", "queue", "run", "state")},
        "mail in the making": list(home.glob("mail/*/*/Maildir/tmp")),
    }


@dataclass
class Soak:
    """A server at work, and all who look at it."""

    server: Instance
    load: MixedLoad
    crowd: IdleCrowd
    log: LogWatch
    root: int
    figures: Figures = field(default_factory=Figures)
    begun: float = field(default_factory=time.monotonic)
    sent: int = 0
    """Messages to each mailbox of those who wait."""
    waited: list[float] = field(default_factory=list)
    """Seconds until those who wait were told of a message."""
    told: float = -AWAKE
    """When that was for the last time."""
    asleep: list[int] = field(default_factory=list)
    """Connections that slept before each message to those who wait."""
    services: list[dict[str, tuple[int, int]]] = field(default_factory=list)
    """Process id of each service, and how often it was started anew: before, and after."""
    orphans: list[list[str]] = field(default_factory=list)
    """Command lines of processes that do not descend from the supervisor any more."""

    def run(self) -> None:
        """Work, look and tell, until the time is over."""
        next_sample, next_round, next_line = WARM_UP, 0.0, 0.0
        while (elapsed := time.monotonic() - self.begun) < SECONDS:
            self.log.read()
            if elapsed >= next_round and elapsed < SECONDS - AWAKE:
                self.tell_all()
                next_round += ROUND
            # Those who were just told are awake, which is a process each.
            if elapsed >= next_sample and time.monotonic() - self.told > AWAKE:
                self.figures.samples.append(self.sample())
                next_sample = elapsed + APART
            if elapsed >= next_line:
                self.report(elapsed)
                next_line += max(10.0, SECONDS / 60)
            time.sleep(0.2)

    def sample(self) -> Sample:
        """Look at the server once."""
        return take(self.root, folders(self.server))

    def tell_all(self) -> None:
        """Send a message to each mailbox that is waited on, and wait until all have heard."""
        self.asleep.append(self.sleeping())
        self.sent += 1
        for user, _ in WAITING:
            self.load.send(user)
        begun = time.monotonic()
        while any(self.crowd.not_told(user, self.sent) for user, _ in WAITING):
            if time.monotonic() - begun > TOLD_WITHIN:
                break
            time.sleep(0.05)
        self.told = time.monotonic()
        self.waited.append(self.told - begun)

    def sleeping(self) -> int:
        """Count the connections that Dovecot keeps asleep: it watches a mailbox for each."""
        count = 0
        for process in family(self.root):
            if process.info["name"] == "imap-hibernate":
                with contextlib.suppress(FileNotFoundError):  # ended meanwhile
                    for descriptor in Path(f"/proc/{process.pid}/fd").iterdir():
                        with contextlib.suppress(FileNotFoundError):  # just closed
                            count += str(descriptor.readlink()) == "anon_inode:inotify"
        return count

    def report(self, elapsed: float) -> None:
        """Print a line of progress."""
        last = self.figures.samples[-1] if self.figures.samples else self.sample()
        print(
            f"{elapsed:5.0f} s: {self.load.total} done, {len(self.load.failures)} failed, "
            f"{self.log.counts['delivered']} delivered; {last.total_memory / 1e6:.0f} MB, "
            f"{last.total_descriptors:.0f} descriptors, "
            f"{sum(last.processes.values()):.0f} processes",
            flush=True,
        )

    def finish(self) -> None:
        """Wait until all that was accepted is delivered, and read the rest of the log."""
        deadline = time.monotonic() + 30
        wanted = self.load.accepted.total()
        while self.log.counts["delivered"] < wanted and time.monotonic() < deadline:
            time.sleep(0.2)
            self.log.read()

    def table(self) -> str:
        """Show what was done, and what the server took at the start and at the end."""
        lines = [f"{'done':<24}{'times':>8}{'failed':>8}{'median':>10}{'longest':>10}"]
        for kind, done in sorted(self.load.done.items()):
            median, longest = statistics.median(done.seconds or [0]), max(done.seconds or [0])
            lines.append(
                f"{kind:<24}{done.count:>8}{done.failed:>8}{median:>9.2f}s{longest:>9.2f}s"
            )
        lines += [
            f"{self.load.total} altogether; {self.log.counts['delivered']} messages delivered",
            f"{IDLERS} in IDLE, told {self.sent} times, after {max(self.waited):.1f} s at most",
            "",
            f"{'on average':<28}{'memory, kB':>20}{'descriptors':>16}{'processes':>14}",
        ]
        lines += [
            f"{sort:<28}{self._ends('memory', sort, 1000):>20}"
            f"{self._ends('descriptors', sort):>16}{self._ends('processes', sort):>14}"
            for sort in sorted(self.figures.samples[-1].processes)
        ]
        memory = halves(self.figures.row(lambda sample: sample.total_memory / 1000))
        descriptors = halves(self.figures.row(lambda sample: sample.total_descriptors))
        processes = halves(self.figures.row(lambda sample: sum(sample.processes.values())))
        lines.append(
            f"{'altogether':<28}{_arrow(memory):>20}{_arrow(descriptors):>16}"
            f"{_arrow(processes):>14}"
        )
        lines.append("")
        lines += [
            f"{f'files in {folder}':<28}{self._ends('files', folder):>20}"
            for folder in self.figures.samples[-1].files
        ]
        lines += ["", *(f"{n:>6} log lines: {why}" for why, n in self.log.reasons.items())]
        return "\n".join(lines)

    def _ends(self, what: str, sort: str, per: float = 1) -> str:
        return _arrow(halves(self.figures.row(lambda one: getattr(one, what).get(sort, 0) / per)))


def _arrow(ends: tuple[float, float]) -> str:
    return " → ".join(f"{end:,.0f}" for end in ends)


@pytest.fixture(scope="module")
def soak() -> Iterator[Soak]:
    """Run a server under load for all the time there is."""
    seed = int(os.environ.get("SOAK_SEED", random.randrange(10**6)))
    print(f"\n{SECONDS} seconds of mixed load; seed {seed} (SOAK_SEED={seed} takes it again)")
    with instance() as server:
        ask_no_name_server(server)
        populate(server)
        log = LogWatch(server.log_file, EXPECTED, COUNTED)
        log.start()
        load = MixedLoad(server, READERS[:3], READERS[3:], seed)
        logins = list(itertools.islice(itertools.cycle(WAITING), IDLERS))
        with idle_crowd(server.public("imaps"), logins, addresses(seed + 1)) as crowd:
            made = Soak(server, load, crowd, log, supervisor(server))
            made.services.append(services(server))
            with load.running():
                made.run()
            made.finish()
            # Once those who sleep, and once more those who are awake.
            made.tell_all()
            made.tell_all()
            made.finish()
            made.services.append(services(server))
            descend = {process.pid for process in family(made.root)}
            for process in server.processes():
                if process.pid not in descend:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        made.orphans.append(process.cmdline())
            print(made.table())
            yield made
        log.close()


def services(server: Instance) -> dict[str, tuple[int, int]]:
    """Return each service's process id, and how often it was started anew."""
    return {row["name"]: (row["pid"], row["restarts"]) for row in server.status()["services"]}


def test_every_honest_operation_succeeds(soak: Soak) -> None:
    """A server that fails once in ten thousand times would lose its users' trust."""
    assert set(soak.load.done) == soak.load.kinds
    assert all(done.count for done in soak.load.done.values()), soak.load.done
    assert not soak.load.failures, "\n".join(soak.load.failures)


def test_every_accepted_message_was_delivered(soak: Soak) -> None:
    """Mail that is lost under load is lost on the day on which it counts."""
    counts = soak.log.counts
    assert counts["delivered"] == soak.load.accepted.total(), counts
    assert not counts["bounced"], counts
    assert not counts["deferred"], counts


def test_no_service_was_started_anew(soak: Soak) -> None:
    """A service that dies now and then would cut its users' connections each time."""
    assert soak.services[0] == soak.services[1]


def test_those_who_wait_are_told_of_each_message(soak: Soak) -> None:
    """A phone would show new mail only when its owner looks for it."""
    assert not soak.crowd.troubles, soak.crowd.troubles
    assert soak.sent >= 2
    untold = {
        (user, count): soak.crowd.not_told(user, count)
        for user, _ in WAITING
        for count in range(1, soak.sent + 1)
    }
    assert not any(untold.values()), untold
    # The control: they were really asleep, and had to be woken. Now and then some are not, since
    # a mail program that says IDLE anew is awake for a while.
    assert statistics.median(soak.asleep[1:-1]) == IDLERS, soak.asleep


def test_nothing_grows(soak: Soak) -> None:
    """After a month the machine would have no memory, no descriptors or no processes left."""
    growing = soak.figures.growing(FINE if SECONDS >= LONG else COARSE)
    assert not growing, "\n".join(growing)


def test_every_ended_process_is_looked_after(soak: Soak) -> None:
    """Zombies and orphans would pile up until no process can be started."""
    assert not soak.figures.neglected()
    assert not soak.orphans


def test_the_log_complains_of_nothing_else(soak: Soak) -> None:
    """Whoever watches for warnings would be told of trouble there is not, or miss what there is."""
    assert not soak.log.unexpected, "\n".join(soak.log.unexpected[:50])
