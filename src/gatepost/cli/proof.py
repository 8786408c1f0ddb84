"""``gatepost verify``: the proof on a screen, for a script, for monitoring."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import click

from gatepost.actions import configuration, proof
from gatepost.errors import UsageError
from gatepost.settings.concerns import PublicPorts
from gatepost.verify import catalogue, report
from gatepost.verify.check import CLUSTER, HERE, OUTSIDE
from gatepost.verify.runner import Tell

_EVERY_SECONDS = 60
_SOONEST_SECONDS = 20
_FILE = click.Path(path_type=Path)

Prove = Callable[[Tell], report.Report]
"""Makes one run."""


@click.command(
    epilog="Checks: "
    + ", ".join(check.name for check in catalogue.CHECKS)
    + "; with --cluster also "
    + ", ".join(sorted({c.name for c in catalogue.IN_CLUSTER} - {c.name for c in catalogue.CHECKS}))
    + "."
)
@click.option("--only", multiple=True, metavar="CHECK", help="Make this check only; repeatable.")
@click.option("--skip", multiple=True, metavar="CHECK", help="Leave this check out; repeatable.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
@click.option(
    "--junit", type=_FILE, metavar="FILE", help="Also write JUnit XML, which CI systems show."
)
@click.option(
    "--prometheus",
    type=_FILE,
    metavar="FILE",
    help="Also write metrics for node_exporter's textfile collector; FILE ends in .prom.",
)
@click.option(
    "--watch",
    is_flag=False,
    flag_value=_EVERY_SECONDS,
    type=int,
    metavar="[SECONDS]",
    help=f"Run again every SECONDS ({_EVERY_SECONDS} when not given, at least {_SOONEST_SECONDS}) "
    "on a live screen, until Ctrl-C.",
)
@click.option(
    "--target",
    metavar="HOST",
    help="Probe another machine from outside, by host name or IP address.",
)
@click.option(
    "--cluster",
    "in_cluster",
    is_flag=True,
    help="Prove the server of this Kubernetes cluster, from a pod of its own; see "
    "deploy/kustomize/verify.",
)
@click.option(
    "--tolerant",
    is_flag=True,
    help="Exit with 0 unless something failed, for what knows only good and bad.",
)
@click.option(
    "--ports",
    type=click.Choice([ports.value for ports in PublicPorts]),
    metavar="WHICH",
    help="With --target: standard (25, 587, 465, 143, 993, 110, 995, 4190; when not given) or "
    "entrypoints (3325, 33587, …).",
)
def verify(
    *,
    only: tuple[str, ...],
    skip: tuple[str, ...],
    as_json: bool,
    junit: Path | None,
    prometheus: Path | None,
    watch: int | None,
    target: str | None,
    in_cluster: bool,
    tolerant: bool,
    ports: str | None,
) -> None:
    """Prove that the mail path works and keeps the client's address.

    Probes every listener over IPv4 and IPv6, through the reverse proxy, in at most 10 seconds, and
    asks the daemons' own logs what they saw. Changes nothing and may run beside users.

    The rows that need you come first: "fail"; "risk", which works and is dangerous; "not proven",
    which could not be tested from here. Each says what was expected and observed, who was the
    witness, and what to do.

    \b
    After a change:           gatepost verify
    While you work on it:     gatepost verify --watch
    In a script:              gatepost verify --json --only client-address
    In monitoring:            gatepost verify --prometheus FILE.prom
    In CI:                    gatepost verify --junit FILE.xml
    From somewhere else:      gatepost verify --target mail.example.org
    In Kubernetes, in a pod:  gatepost verify --cluster

    With --target nothing but the machine's name is needed: no server here, no settings, no root.
    Its log and accounts cannot be seen from outside; what takes those is "not proven", with what
    to do over there.

    Exits 0 when all pass, 1 when something failed, 3 when nothing failed and something is a risk
    or could not be proven (0 with --tolerant), 2 when the call or the configuration is wrong.
    """  # noqa: D301  click reads the backspace as "keep these lines as they are"
    files = {
        option: path
        for option, path in (("junit", junit), ("prometheus", prometheus))
        if path is not None
    }
    _refuse_what_makes_no_sense(as_json=as_json, watch=watch, target=target, ports=ports)
    if in_cluster and target is not None:
        raise UsageError(
            "verify --cluster --target: the one is made in a pod of the cluster, the other from "
            "anywhere else. Leave one of them out."
        )
    vantage = CLUSTER if in_cluster else HERE if target is None else OUTSIDE
    catalogue.chosen(only, skip, vantage=vantage)
    proof.check_files(files)
    prove: Prove
    if target is None:
        settings = configuration.current()
        prove = lambda tell: proof.prove(settings, only=only, skip=skip, tell=tell)  # noqa: E731
        if in_cluster:
            prove = lambda tell: proof.prove_in_cluster(  # noqa: E731
                settings, os.environ, only=only, skip=skip, tell=tell
            )
    else:
        there = PublicPorts(ports or PublicPorts.STANDARD)
        prove = lambda tell: proof.prove_outside(  # noqa: E731
            target, ports=there, only=only, skip=skip, tell=tell
        )
    if watch is not None:
        from gatepost.cli.watching import Watch  # noqa: PLC0415

        found = Watch(prove, watch, after=partial(proof.write_files, files=files)).run()
    else:
        found = _once(prove, files, as_json=as_json)
    sys.exit(report.exit_code(found.findings, tolerant=tolerant))


def _refuse_what_makes_no_sense(
    *, as_json: bool, watch: int | None, target: str | None, ports: str | None
) -> None:
    if watch is not None and watch < _SOONEST_SECONDS:
        raise UsageError(
            f"verify --watch: {watch} seconds are too few. A run makes many connections, and a "
            "server limits how many one client may open in a minute: give "
            f"{_SOONEST_SECONDS} or more."
        )
    if watch is not None and as_json:
        raise UsageError(
            "verify --watch --json: a live screen cannot be JSON as well. Leave one of them out; "
            "--junit and --prometheus write their files after each run of --watch."
        )
    if watch is not None and not _is_screen():
        raise UsageError(
            "verify --watch: this is no terminal, and a live screen needs one. Without a terminal, "
            "run verify from cron or a systemd timer, with --json, --junit or --prometheus."
        )
    if ports is not None and target is None:
        raise UsageError(
            f"verify --ports {ports}: only --target takes it; the ports of the server here are "
            "known from PUBLIC_PORTS. Add --target HOST, or leave --ports out."
        )


def _is_screen() -> bool:
    from gatepost.cli.output import console  # noqa: PLC0415

    return sys.stdout.isatty() and not console().is_dumb_terminal


def _once(prove: Prove, files: Mapping[str, Path], *, as_json: bool) -> report.Report:
    with _progress(shown=sys.stderr.isatty() and not as_json) as tell:
        found = prove(tell)
    if as_json:
        click.echo(json.dumps(report.as_json(found.findings), indent=2))
    else:
        from gatepost.cli.output import console  # noqa: PLC0415  rich takes 0.1 s
        from gatepost.verify.report.table import table  # noqa: PLC0415

        console().print(table(found.findings))
        for words in (*found.notes, report.sentence(found.findings)):
            click.echo(words)
    proof.write_files(found, files)
    return found


@contextmanager
def _progress(*, shown: bool) -> Iterator[Tell]:
    """Show on standard error how many probes are through, and nothing once they are."""
    if not shown:
        yield lambda _done, _all: None
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )

    with Progress(
        TextColumn("Probing"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)


COMMANDS = [verify]
