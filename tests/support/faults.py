"""A server that is hurt while mail comes in, watched until it works again, and called to account.

What is done, to whom and when is drawn from a seed, which each test prints: the same seed does the
same again. Only the machine's own timing is not repeated.
"""

from __future__ import annotations

import contextlib
import imaplib
import random
import stat
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil
from accounts import ALICE, BOB, PASSWORD
from clients import From
from continuous_load import Figures, Letter, Load, found, wait_until
from instance import Instance, instance
from sampling import OURS

PROBE = ("probe@example.org", PASSWORD)
"""Who gets the messages that show whether the server works again."""
MAILBOXES = (ALICE, BOB, PROBE)

UNLIMITED = {
    # All senders of the load share an address.
    "MTA_CLIENT_CONNECTIONS": "0",
    "MTA_CLIENT_CONNECTIONS_PER_MINUTE": "0",
}
RECOVERY_SECONDS = 45.0
SETTLE_SECONDS = 60.0
AT_ONCE = 20
"""Deliveries to one place that Postfix has in hand at a time: so many are done twice at most when
one is cut between the mail store's work and its answer."""

_PROBE_EVERY = 0.25
_QUEUES = ("maildrop", "incoming", "active", "deferred", "corrupt", "hold")


@dataclass(frozen=True)
class Recovery:
    """How long it took after a fault until the server worked again."""

    fault: str
    mail: float
    """Seconds until a message that was begun after the fault lay in its mailbox."""
    login: float
    """Seconds until somebody could log in by IMAP and open the inbox."""

    def __str__(self) -> str:
        """Write it in a line."""
        return f"{self.fault}: mail after {self.mail:.1f} s, login after {self.login:.1f} s"


@dataclass
class Ordeal:
    """A server under load, and how it takes what is done to it."""

    load: Load
    seed: int
    home: Path
    """The folder of the mail store."""
    mta_home: Path
    """The folder of the MTA: the same, where both are one server."""
    imap: tuple[str, int]
    chance: random.Random = field(init=False)
    recoveries: list[Recovery] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Begin the seed's draws."""
        self.chance = random.Random(self.seed)
        print(f"\nseed {self.seed}")

    @classmethod
    def of(cls, server: Instance, seed: int) -> Ordeal:
        """Return a whole server's, with a load that comes through its proxy."""
        load = Load(
            smtp=server.public("smtp"),
            submission=server.public("submission"),
            recipients=(ALICE[0], BOB[0]),
            logins=(BOB,),
        )
        return cls(load, seed, server.home, server.home, server.public("imap"))

    @property
    def mail(self) -> Path:
        """The folder of all mailboxes."""
        return self.home / "mail"

    def wait(self, shortest: float, longest: float) -> None:
        """Let the load run for a while of the seed's choice."""
        time.sleep(self.chance.uniform(shortest, longest))

    def recover(self, fault: str, begun: float | None = None) -> Recovery:
        """Wait until mail arrives and a login works.

        `begun` is when the fault was over (`time.monotonic`): now, when nothing is given.
        """
        took: list[float] = []
        begun = time.monotonic() if begun is None else begun
        login = threading.Thread(target=lambda: took.append(self._until_login(begun)), daemon=True)
        login.start()
        mail = self._until_mail(begun)
        login.join(RECOVERY_SECONDS)
        assert took, f"seed {self.seed}, {fault}: no login after {RECOVERY_SECONDS:g} s"
        recovery = Recovery(fault, mail, took[0])
        print(recovery)
        self.recoveries.append(recovery)
        return recovery

    def _until_mail(self, begun: float) -> float:
        """Try again and again, and not wait for an attempt that hangs."""
        probes: list[Letter] = []
        inbox = self.mail / "example.org" / "probe" / "Maildir" / "new"
        due = 0.0
        while True:
            now = time.monotonic()
            if now >= due:
                due = now + _PROBE_EVERY
                probes.append(Letter(PROBE[0]))
                self.load.send_beside(probes[-1])
            there = "".join(
                file.read_text(errors="replace") for file in inbox.glob("*") if _young(file)
            )
            if any(probe.id in there for probe in probes):
                return time.monotonic() - begun
            assert now - begun < RECOVERY_SECONDS, (
                f"seed {self.seed}: no message arrives; {sum(p.accepted for p in probes)} of "
                f"{len(probes)} accepted, last answers {self.load.answers[-3:]}"
            )
            time.sleep(0.02)

    def _until_login(self, begun: float) -> float:
        with self.load.inside():
            while True:
                with (
                    contextlib.suppress(OSError, imaplib.IMAP4.error),
                    From("127.0.0.1").imap(self.imap, ALICE) as imap,
                ):
                    if imap.select("INBOX", readonly=True)[0] == "OK":
                        return time.monotonic() - begun
                time.sleep(0.05)

    def settle(self) -> Figures:
        """Wait until the queue is empty, then see that every accepted message has arrived."""
        queue = self.mta_home / "queue"
        due = 0.0

        def empty() -> bool:
            nonlocal due
            if time.monotonic() > due:
                # Whatever waits for its next attempt need not wait in a test.
                flush(self.mta_home)
                due = time.monotonic() + 3
            return not waiting(queue)

        took = wait_until(empty, "the queue is empty", SETTLE_SECONDS)
        figures = self.load.figures(self.mail)
        print(f"{figures}; the queue was empty after {took:.1f} s")
        for answer, times in Counter(self.load.answers).most_common(8):
            print(f"  {times:>4} {answer}")
        lost = self.load.missing(self.mail)
        assert not lost, f"seed {self.seed}: lost {lost[:5]}"
        self._see_with_a_mail_program()
        return figures

    def settle_and_tell(self, tell: Callable[[str, object], None], *, duplicates: int) -> Figures:
        """Settle, bound what may happen, and hand the figures to pytest."""
        for recovery in self.recoveries:
            tell("recovery", (recovery.fault, recovery.mail, recovery.login))
        figures = self.settle()
        tell("figures", asdict(figures))
        assert not self.load.refused, (self.seed, self.load.refused[:5])
        assert not figures.locked_out, (self.seed, figures)
        # A sender that heard no answer comes again: the second copy is its own.
        assert figures.duplicates <= figures.unknown + duplicates, (self.seed, figures)
        return figures

    def _see_with_a_mail_program(self) -> None:
        """See that all shows: what lies in a folder and does not is lost for its owner."""
        there = found(self.mail)
        for address, password in MAILBOXES:
            ids = [a.id for a in self.load.letters if a.to == address]
            with (
                self.load.inside(),
                From("127.0.0.1").imap(self.imap, (address, password)) as imap,
            ):
                count = int((imap.select("INBOX", readonly=True)[1][0] or b"0").decode())
                assert count >= sum(there[one] for one in ids), (address, count)


def flush(home: Path) -> None:
    """Have Postfix try at once whatever waits in its queue."""
    config = home / "config" / "current" / "postfix"
    subprocess.run(["postqueue", "-c", str(config), "-f"], check=False, capture_output=True)


def waiting(queue: Path) -> int:
    """Count the messages in Postfix's queue.

    Not those that a killed ``cleanup`` has left unfinished: their senders were told nothing, and
    Postfix marks a file executable when it is whole.
    """
    count = 0
    for file in (file for name in _QUEUES for file in (queue / name).rglob("*")):
        with contextlib.suppress(FileNotFoundError):
            mode = file.stat().st_mode
            count += stat.S_ISREG(mode) and bool(mode & stat.S_IXUSR)
    return count


def _young(file: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return time.time() - file.stat().st_mtime < RECOVERY_SECONDS * 2
    return False


def add_mailboxes(server: Instance) -> None:
    """Make the accounts that the load writes to."""
    server.call("domain", "add", "example.org")
    for address, password in MAILBOXES:
        # Only a mailbox with a quota is asked about.
        words = ("--password-stdin", "--quota", "1G")
        server.call("mailbox", "add", address, *words, stdin=password)


@contextlib.contextmanager
def server_for_ordeals() -> Iterator[Instance]:
    """Run a whole server with the accounts of the load."""
    with instance(UNLIMITED) as server:
        add_mailboxes(server)
        yield server


# --- processes ------------------------------------------------------------------------------


def name_of(process: psutil.Process) -> str:
    """Return who a process is: ``postfix/qmgr``, ``dovecot/auth-worker``, ``gate`` and so on."""
    words = " ".join(process.cmdline())
    for module, name in OURS.items():
        if module in words:
            return name
    program = Path(process.exe())
    folder = program.parent.name
    if folder == "dovecot":
        is_worker = program.name == "auth" and " -w" in words
        return "dovecot/auth-worker" if is_worker else f"dovecot/{program.name}"
    if folder == "sbin" and program.name == "dovecot":
        return "dovecot/master"
    if program.parent.parent.name == "postfix":
        return f"postfix/{program.name}"
    return program.name


def processes(server: Instance) -> dict[str, list[psutil.Process]]:
    """Return the server's living processes by name."""
    named: dict[str, list[psutil.Process]] = {}
    supervisor = supervisor_of(server)
    for process in [supervisor, *supervisor.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            named.setdefault(name_of(process), []).append(process)
    return named


def supervisor_of(server: Instance) -> psutil.Process:
    """Return the supervisor."""
    home = str(server.home)
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cmdline()[1:4] == ["-m", "gatepost.run.supervise", home]:
                return process
    raise AssertionError("no supervisor runs")


def kill_one(server: Instance, name: str, chance: random.Random, seconds: float = 10) -> None:
    """Kill one process of this name (SIGKILL), waiting for one where they are short-lived."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        candidates = processes(server).get(name, [])
        if candidates:
            with contextlib.suppress(psutil.NoSuchProcess):
                chance.choice(sorted(candidates, key=lambda one: one.pid)).kill()
                return
        time.sleep(0.02)
    raise AssertionError(f"no {name} was seen within {seconds:g} s: {sorted(processes(server))}")
