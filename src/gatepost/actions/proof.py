"""The proof that the running server works and sees its clients."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import FrameType

from gatepost import assembly, registry
from gatepost.actions.accounts import accounts
from gatepost.errors import OperationError, UsageError
from gatepost.model import Home, Topology
from gatepost.run import certificates, control, locks, record, reports, site
from gatepost.settings import Settings
from gatepost.settings.concerns import PublicPorts
from gatepost.verify import catalogue, runner
from gatepost.verify.check import CLUSTER, OUTSIDE, ProofCheck
from gatepost.verify.clients import cleanup
from gatepost.verify.clients.mailbox import Login, probe_mailbox
from gatepost.verify.report import Report, export
from gatepost.verify.subject import Subject
from gatepost.verify.vantage import cluster, outside
from gatepost.verify.vantage.here import Here

_START_SECONDS = 90.0
_AGAIN_SECONDS = 0.1
_TERMINATED = 128 + signal.SIGTERM


def _quiet(_done: int, _all: int) -> None:
    """Tell nobody how far it is."""


def prove(
    settings: Settings,
    *,
    only: Collection[str] = (),
    skip: Collection[str] = (),
    tell: runner.Tell = _quiet,
) -> Report:
    """Make the proof; `only` and `skip` name checks of `gatepost.verify.catalogue`.

    Nothing is left behind, even if the program is ended meanwhile. Raises `UsageError` for
    unknown names.
    """
    checks = catalogue.chosen(only, skip)
    home = Home(settings.storage.gatepost_home)
    _await_start(home)

    def make_mailbox(nonce: str) -> AbstractContextManager[Login]:
        return _mailbox(settings, home, nonce)

    subject = Subject(
        topology=_topology(settings, home),
        vantage=Here(home),
        mailname=settings.mail.mailname,
        certificate=certificates.shown(settings, home),
        daemons=registry.plugins(),
        make_mailbox=make_mailbox,
        relaying=settings.mail.mynetworks,
        relaying_proxies=settings.value("MTA_RELAYING_PROXIES"),
    )
    return _report(subject, checks, tell)


def prove_in_cluster(
    settings: Settings,
    environ: Mapping[str, str],
    *,
    only: Collection[str] = (),
    skip: Collection[str] = (),
    tell: runner.Tell = _quiet,
) -> Report:
    """Prove a server that runs in the cluster, from a pod of its own.

    `environ` says where the cluster's API is. Raises `UsageError` as `prove`, and where this is no
    pod.
    """
    checks = catalogue.chosen(only, skip, vantage=CLUSTER)
    vantage = cluster.entered(settings, environ)
    home = Home(settings.storage.gatepost_home)
    topology = cluster.topology(settings)

    @contextmanager
    def make_mailbox(nonce: str) -> Iterator[Login]:
        home.run.mkdir(parents=True, exist_ok=True)
        # Of its own in each run: the mail store remembers passwords for a while.
        with _mailbox(settings, home, nonce) as login:
            try:
                yield login
            finally:
                # The mail store is another pod's: its mail is removed as a mail program does.
                cleanup.empty(topology, login)

    subject = Subject(
        topology=topology,
        vantage=vantage,
        mailname=settings.mail.mailname,
        certificate=None,
        daemons=registry.plugins(),
        make_mailbox=make_mailbox,
        relaying=settings.mail.mynetworks,
        relaying_proxies=settings.value("MTA_RELAYING_PROXIES"),
    )
    return _report(subject, checks, tell)


def prove_outside(
    target: str,
    *,
    ports: PublicPorts = PublicPorts.STANDARD,
    only: Collection[str] = (),
    skip: Collection[str] = (),
    tell: runner.Tell = _quiet,
) -> Report:
    """Prove what can be seen of another machine, named by host name or IP address, from here.

    Needs no settings, no server on this machine and no rights. Raises `UsageError` for unknown
    names of checks, and for a target that leads nowhere.
    """
    checks = catalogue.chosen(only, skip, vantage=OUTSIDE)
    machine = outside.find(target)
    subject = outside.subject(machine, registry.plugins(), ports)
    return replace(_report(subject, checks, tell), notes=machine.notes)


def _report(subject: Subject, checks: tuple[ProofCheck, ...], tell: runner.Tell) -> Report:
    began, start = datetime.now().astimezone(), time.monotonic()
    with ending_tidily():
        findings = runner.prove(subject, checks, tell=tell)
    return Report(subject.mailname, findings, began, time.monotonic() - start)


# --- files ----------------------------------------------------------------------------------------

_FORMATS: Mapping[str, Callable[[Report], bytes]] = {
    "junit": export.junit,
    "prometheus": export.prometheus,
}
"""Name of the option → what makes the file."""
_METRICS_SUFFIX = ".prom"


def check_files(files: Mapping[str, Path]) -> None:
    """See that files can be written, before anything is done; options' names → paths.

    Raises `UsageError` with every problem.
    """
    problems = []
    for option, path in files.items():
        if option == "prometheus" and path.suffix != _METRICS_SUFFIX and not path.exists():
            problems.append(
                f'verify --prometheus: "{path}" does not end in {_METRICS_SUFFIX}, and '
                "node_exporter's textfile collector reads no other files. Name it "
                f'"{path.with_suffix(_METRICS_SUFFIX)}".'
            )
        elif obstacle := reports.obstacle(path):
            problems.append(f'verify --{option}: "{path}" {obstacle}.')
    names = {path.resolve() for path in files.values() if path.is_file() or not path.exists()}
    if not problems and len(names) == 1 < len(files):
        problems.append(
            f'verify --junit, --prometheus: both name the file "{names.pop()}". Name two.'
        )
    if problems:
        raise UsageError(*problems)


def write_files(report: Report, files: Mapping[str, Path]) -> None:
    """Write a report into files, each replaced in one step. Raises `UsageError`."""
    for option, path in files.items():
        try:
            reports.write(path, _FORMATS[option](report))
        except OSError as error:
            raise UsageError(
                f'verify --{option}: "{path}" could not be written: {error.strerror or error}. '
                "See that there is room and that this user may write there, or name another file."
            ) from None


def _await_start(home: Home) -> None:
    """Wait while another command starts or changes the server: it is not what will run."""
    deadline = time.monotonic() + _START_SECONDS
    with suppress(OperationError):  # this user may not ask
        while time.monotonic() < deadline and (
            locks.is_writing(home)
            # A supervisor that does not answer yet, or no more.
            or (control.ask(home, "wait") is None and locks.at_work(home))
        ):
            time.sleep(_AGAIN_SECONDS)


# --- what a run needs -----------------------------------------------------------------------------


def _topology(settings: Settings, home: Home) -> Topology:
    """Return the listener table of what runs; before the first start, that of the settings."""
    try:
        running = record.current(home)
    except (
        OSError,
        ValueError,
        OperationError,
    ):  # not ours to read, or of another version of Gatepost
        running = None
    if running:
        return running.topology
    return assembly.topology(settings, ipv6=site.has_ipv6())


@contextmanager
def _mailbox(settings: Settings, home: Home, nonce: str) -> Iterator[Login]:
    with accounts(settings) as store, probe_mailbox(store, home, nonce) as login:
        yield login


@contextmanager
def ending_tidily() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM unwind the program once, so that it cleans up, and not twice."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    watched = (signal.SIGINT, signal.SIGTERM)

    def end(number: int, _frame: FrameType | None) -> None:
        for one in watched:
            signal.signal(one, signal.SIG_IGN)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(_TERMINATED)

    before = {one: signal.signal(one, end) for one in watched}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
