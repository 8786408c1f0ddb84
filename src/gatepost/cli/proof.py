"""``gatepost verify``: the proof on a screen or for a script."""

from __future__ import annotations

import json
import sys

import click

from gatepost.actions import configuration, proof
from gatepost.verify import catalogue, report


@click.command(epilog="Checks: " + ", ".join(check.name for check in catalogue.CHECKS) + ".")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
@click.option("--only", multiple=True, metavar="CHECK", help="Make this check only; repeatable.")
@click.option("--skip", multiple=True, metavar="CHECK", help="Leave this check out; repeatable.")
def verify(*, as_json: bool, only: tuple[str, ...], skip: tuple[str, ...]) -> None:
    """Prove that the mail path works and keeps the client's address.

    Probes every listener over IPv4 and IPv6, through the reverse proxy, in at most 10 seconds, and
    asks the daemons' own logs what they saw. Changes nothing and may run beside users.

    Exits 0 when all pass, 1 when something failed, 3 when nothing failed and something is a risk
    or could not be proven, 2 when the call or the configuration is wrong.
    """
    findings = proof.prove(configuration.current(), only=only, skip=skip)
    if as_json:
        click.echo(json.dumps(report.as_json(findings), indent=2))
    else:
        from gatepost.cli.output import console  # noqa: PLC0415  rich takes 0.1 s

        console().print(report.table(findings))
        click.echo(report.sentence(findings))
    sys.exit(report.exit_code(findings))


COMMANDS = [verify]
