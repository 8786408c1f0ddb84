"""Logs of containers as a node keeps them (the CRI format), and as the API hands them out.

A line is ``TIME stdout F TEXT``; with ``P`` instead of ``F`` the text goes on in the next one.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path


def written(text: str) -> bytes:
    """Return a line of output as it is kept."""
    moment = dt.datetime.now(dt.UTC).isoformat(timespec="microseconds")
    return f"{moment} stdout F {text}\n".encode()


def read_log(file: Path, query: Mapping[str, str], stopping: Callable[[], bool]) -> Iterator[str]:
    """Yield a log's lines as the query of ``pods/log`` asks for them, each with its end.

    Known are `sinceTime`, `sinceSeconds`, `tailLines`, `timestamps` and `follow`.
    """
    since = _since(query)
    lines, position = _complete(file, 0)
    kept = [line for line in lines if since is None or _moment(line) >= since]
    if "tailLines" in query:
        count = int(query["tailLines"])
        kept = kept[-count:] if count else []
    yield from _shown(kept, query)
    while query.get("follow") == "true" and not stopping():
        lines, position = _complete(file, position)
        yield from _shown(lines, query)
        time.sleep(0.05)


def plain(file: Path) -> str:
    """Return a whole log without the marks of its format."""
    return "".join(_shown(_complete(file, 0)[0], {}))


def _complete(file: Path, position: int) -> tuple[list[str], int]:
    """Read the lines that are whole, from a position on."""
    if not file.exists():
        return [], position
    with file.open("rb") as stream:
        stream.seek(position)
        data = stream.read()
    whole = data[: data.rfind(b"\n") + 1]
    return whole.decode(errors="replace").split("\n")[:-1], position + len(whole)


def _shown(lines: list[str], query: Mapping[str, str]) -> Iterator[str]:
    for line in lines:
        moment, _, tag, text = (line.split(" ", 3) + [""] * 3)[:4]
        end = "" if tag == "P" else "\n"
        stamp = f"{moment} " if query.get("timestamps") == "true" else ""
        yield f"{stamp}{text}{end}"


def _since(query: Mapping[str, str]) -> dt.datetime | None:
    if "sinceTime" in query:
        return dt.datetime.fromisoformat(query["sinceTime"])
    if "sinceSeconds" in query:
        return dt.datetime.now(dt.UTC) - dt.timedelta(seconds=float(query["sinceSeconds"]))
    return None


def _moment(line: str) -> dt.datetime:
    text = line.partition(" ")[0]
    # Nanoseconds are more than the library reads before Python 3.11.
    return dt.datetime.fromisoformat(text)
