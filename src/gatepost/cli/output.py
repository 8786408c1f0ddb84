"""The console to which commands print reports."""

from __future__ import annotations

import shutil
import sys

from rich.console import Console

_WIDEST = 100


def console() -> Console:
    """Return a console for reports: colour on a terminal only, at most 100 columns."""
    columns = shutil.get_terminal_size((_WIDEST, 24)).columns if sys.stdout.isatty() else _WIDEST
    return Console(width=min(columns, _WIDEST), highlight=False, soft_wrap=False)
