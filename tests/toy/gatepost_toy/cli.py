"""The toy's command."""

from __future__ import annotations

import click


@click.command()
def ring() -> None:
    """Ring the bell."""
    click.echo("ding")


COMMANDS = (ring,)
