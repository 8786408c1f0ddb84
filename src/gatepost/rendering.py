"""The one Jinja environment: templates print ready-made values and never compute.

`StrictUndefined` turns a missing value into an error instead of an empty line.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment


@cache
def _environment(package: str) -> Environment:
    # Slow to import, and most commands render nothing.
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415

    return Environment(
        loader=PackageLoader(package, "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  daemon configuration is not HTML
    )


def render(package: str, template: str, **values: Any) -> str:
    """Render ``templates/TEMPLATE`` of a plug-in package, such as ``gatepost.plugins.postfix``.

    Raises `jinja2.UndefinedError` when the template names a value that was not given.
    """
    return _environment(package).get_template(template).render(**values)
