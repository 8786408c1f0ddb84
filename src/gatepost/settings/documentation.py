"""The reference page of all settings, made from their docstrings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from gatepost.settings.concerns import CONCERNS, Concern
from gatepost.settings.loading import show

_HEAD = """\
# Settings

Every setting is an environment variable. A value comes from the environment, then from `.env` in
the working folder, then from the default; an empty value counts as unset. Booleans are `true`,
`yes`, `on`, `1` and `false`, `no`, `off`, `0` in any case; anything else is an error.

`gatepost config show` prints all values and where each comes from. `gatepost config check` prints
every problem at once: those of the settings, of the files that they name, and of this machine.
Variables whose names resemble one of these are reported in a warning, and so are all other unknown
variables in `.env`.

A line of `.env` is `NAME=value`. Put a value with spaces or `#` in quotes, and close them on the
same line. A line that cannot be read is refused, with its number. Separate the entries of a list
with commas.
"""


def page(plugins: Iterable[type[Concern]], proxy: str) -> str:
    """Return the page as Markdown, with the settings of plug-ins behind ours.

    `proxy` is the one that stands in front of a machine by default.
    """
    concerns = (*CONCERNS.values(), *plugins)
    return "\n".join([_HEAD, *(part for concern in concerns for part in _section(concern, proxy))])


def _section(concern: type[Concern], proxy: str) -> Iterator[str]:
    title, _, rest = (concern.__doc__ or "").strip().partition("\n\n")
    yield f"## {title.rstrip('.')}\n"
    if rest:
        yield "\n".join(line.strip() for line in rest.splitlines()) + "\n"
    for name, info in concern.model_fields.items():
        yield f"### `{name.upper()}`\n"
        yield f"{info.description}\n"
        yield f"Default: {_default(info).replace('{proxy}', proxy)}\n"


def _default(info: FieldInfo) -> str:
    extra = info.json_schema_extra
    if isinstance(extra, dict) and "default" in extra:
        return str(extra["default"])
    if info.default is PydanticUndefined:
        return "none: it must be set"
    text = show(info.default)
    return f"`{text}`" if text else "unset"
