"""``gatepost config``: what is set, whether it is right, and what it leads to."""

from __future__ import annotations

import json
from pathlib import Path

import click

from gatepost.actions import configuration, inspection
from gatepost.actions.session import Session
from gatepost.settings import Settings


@click.group()
def config() -> None:
    """Show, check or render the configuration."""


@config.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
def show(*, as_json: bool) -> None:
    """Show every setting with its value, where it comes from and what it means.

    Secrets are hidden.
    """
    settings = configuration.current()
    values = list(settings.values())
    if as_json:
        rows = [
            {"name": v.name, "value": v.text, "source": v.source, "meaning": v.meaning}
            for v in values
        ]
        click.echo(json.dumps({"settings": rows, "warnings": settings.warnings}, indent=2))
        return
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from gatepost.cli.output import console  # noqa: PLC0415

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("setting", "value", "from", "meaning"):
        table.add_column(heading, overflow="fold")
    for value in values:
        # As text: rich takes [smtp.example.net] for a style, and shows nothing of it.
        table.add_row(*map(Text, (value.name, value.text or "-", value.source, value.meaning)))
    console().print(table)
    _warn(settings)


@config.command()
def check() -> None:
    """Check the settings, the files that they name and this machine; report all problems at once.

    Nothing is started or changed. Exits 2 when `gatepost up` would refuse something, otherwise 0.
    """
    settings = configuration.current()
    found = inspection.inspect(Session(settings))
    for warning in dict.fromkeys(found.warnings):
        click.echo(f"Warning: {warning}", err=True)
    for obstacle in found.now:
        click.echo(f"In the way of `gatepost up` now: {obstacle}", err=True)
    for unseen in found.unseen:
        click.echo(f"Not checked, because only root may: {unseen}", err=True)
    inspection.raise_problems(found)
    click.echo(inspection.conclusion(settings, found))


@config.command()
@click.argument("folder", type=click.Path(path_type=Path))
def render(folder: Path) -> None:
    """Write the configuration files that `gatepost up` would write into FOLDER.

    FOLDER must be new or empty. Nothing is started. Certificates, keys and passwords in files of
    yours are not copied: a line names the original instead.
    """
    settings = configuration.current()
    for path in configuration.render(settings, folder):
        click.echo(str(path))
    _warn(settings)


def _warn(settings: Settings) -> None:
    for warning in settings.warnings:
        click.echo(f"Warning: {warning}", err=True)


COMMANDS = [config]
