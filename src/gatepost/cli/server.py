"""``gatepost up``, ``down``, ``status``, ``logs``, ``run``, ``packages``: the server here."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import click

from gatepost.actions import configuration
from gatepost.actions import status as looks
from gatepost.actions.session import Session

_STARTED = time.monotonic()


def _session() -> Session:
    """Return a session of settings that are not held against the listener table: to look only."""
    return Session(configuration.settings())


def _tell(text: str) -> None:
    """Print a step; on a terminal with the seconds since the command began."""
    passed = f"  ({time.monotonic() - _STARTED:.1f} s)" if sys.stderr.isatty() else ""
    click.echo(f"{text}{passed}", err=True)


@click.command()
@click.option("--detach", "-d", is_flag=True, help="Run in the background; return when ready.")
def up(*, detach: bool) -> None:
    """Start the mail server, or apply what changed to a running one.

    Every setting is checked first, then each daemon checks its own configuration; only then is
    anything replaced. On a running server open connections stay open, unless Gatepost itself was
    upgraded: then all services are restarted.

    Without --detach the server runs in the foreground with its log on standard output, until
    Ctrl-C or SIGTERM: for systemd, for a container.
    """
    from gatepost.actions import server  # noqa: PLC0415  slow to import

    server.up(detach=detach, tell=_tell)


@click.command()
def down() -> None:
    """Stop the mail server and wait until no process of it is left."""
    from gatepost.actions import server  # noqa: PLC0415  slow to import

    click.echo("Stopped." if server.down(_tell) else "The mail server is not running.", err=True)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
def status(*, as_json: bool) -> None:
    """Show whether the server is ready, its services and where each listener is.

    A server is not ready either when its services run another configuration than the one that
    `gatepost up` wrote last. Exits 0 when it is ready, 1 when not.
    """
    found = looks.status(_session())
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        _print_status(found)
    sys.exit(0 if found["ready"] else 1)


def _print_status(found: dict[str, Any]) -> None:
    from gatepost.cli import standing  # noqa: PLC0415  rich takes 0.1 s

    standing.show(found)


@click.command()
@click.argument("process", required=False, metavar="[SERVICE]")
@click.option("--follow", "-f", is_flag=True, help="Go on printing lines as they are written.")
@click.option(
    "--lines",
    "-n",
    default=50,
    show_default=True,
    help="How many lines back.",
    type=click.IntRange(min=0),
)
def logs(process: str | None, *, follow: bool, lines: int) -> None:
    """Show the last lines of the log, of all services or of SERVICE.

    Each line begins with the name of the service that wrote it.
    """
    session = _session()
    for line in looks.log_lines(session, lines, process):
        click.echo(line)
    if follow:
        for line in looks.follow_log(session, process):
            click.echo(line)


@click.command()
@click.argument("unit", metavar="SERVICE")
def run(unit: str) -> None:
    """Run one service in the foreground: mta (Postfix) or mda (Dovecot).

    This is what a container starts. The log goes to standard output.
    """
    from gatepost.actions import server  # noqa: PLC0415  slow to import

    server.run(unit, _tell)


@click.command()
@click.option("--install", is_flag=True, help="Install what is missing, as root.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
def packages(*, install: bool, as_json: bool) -> None:
    """List the Debian packages that the server needs; install the missing ones.

    The host's own Postfix and Dovecot are neither started nor enabled by the installation.
    Exits 1 when something needed is missing.
    """
    from gatepost.actions import server  # noqa: PLC0415  slow to import

    found, installed = server.missing_packages(install=install)
    missing = [p.name for p in found if not (p.installed or p.optional or p.name in installed)]
    if as_json:
        rows = [
            {
                "name": p.name,
                "installed": p.installed or p.name in installed,
                "optional": p.optional,
                "available": p.available,
            }
            for p in found
        ]
        click.echo(json.dumps(rows, indent=2))
    elif install:
        names = ", ".join(installed)
        click.echo(f"Installed {names}." if installed else "All system packages are installed.")
    else:
        for p in found:
            state = (
                "installed" if p.installed else "missing" if p.available else "not in this Debian"
            )
            click.echo(f"{p.name:24} {state}{' (optional)' if p.optional else ''}")
    if missing:
        click.echo("Install what is missing: gatepost packages --install", err=True)
    sys.exit(1 if missing else 0)


COMMANDS = [up, down, status, logs, run, packages]
