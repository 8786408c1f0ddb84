"""The output of ``gatepost status`` for people: tables of processes, jobs and listeners."""

from __future__ import annotations

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from gatepost.cli.output import console


def show(found: dict[str, Any]) -> None:
    """Print the answer of `gatepost.actions.status.status`."""
    out = console()
    if not found["services"]:
        out.print("No mail server has been started here yet. Start it: gatepost up --detach")
        return
    running = any(row["pid"] for row in found["services"])
    out.print("Ready." if found["ready"] else "Not ready." if running else "Not running.")
    for problem in found["problems"]:
        out.print(Text(problem), soft_wrap=True)
    out.print(_processes(found["services"]))
    if found["older"]:
        out.print(_older(found["older"]))
        out.print("Restart what runs an older version: gatepost up")
    if found["jobs"]:
        out.print(_jobs(found["jobs"]))
    out.print(_listeners(found["listeners"]))


def _table(*headings: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _row(table: Table, *cells: object) -> None:
    # As text: rich takes an IPv6 address in brackets for a style, and shows nothing of it.
    table.add_row(*(Text(str("-" if cell in {None, ""} else cell)) for cell in cells))


def _processes(rows: list[dict[str, Any]]) -> Table:
    table = _table("service", "state", "process", "restarts", "since")
    for row in rows:
        _row(table, *(row[key] for key in ("name", "state", "pid", "restarts", "since")))
    return table


def _older(rows: list[dict[str, Any]]) -> Table:
    table = _table("older version", "of", "running", "installed")
    for row in rows:
        running = row["running"] or "an earlier one"
        _row(table, row["name"], row["part"], running, row["installed"])
    return table


def _jobs(rows: list[dict[str, Any]]) -> Table:
    table = _table("job", "last", "result", "next")
    for row in rows:
        last = row["last"] or {"began": "-", "problem": "-"}
        result = "running" if row["running"] else last["problem"] or "done"
        _row(table, row["name"], last["began"], result, row["next"])
    return table


def _listeners(rows: list[dict[str, Any]]) -> Table:
    table = _table("listener", "tls", "public", "service", "internal")
    for row in rows:
        places = ("\n".join(row["addresses"][key]) for key in ("public", "service", "internal"))
        _row(table, row["name"], row["tls"], *places)
    return table
