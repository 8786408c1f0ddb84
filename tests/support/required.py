"""What a machine must be able to do for a whole folder of tests."""

from __future__ import annotations

import os
import warnings

import pytest


def require(what: str, lacks: str | None) -> None:
    """Say loudly that tests cannot run, and why; where CI counts on them they fail."""
    if not lacks:
        return
    told = f"{what} cannot run here. {lacks}"
    if os.environ.get("CI"):
        pytest.fail(told)
    warnings.warn(told, stacklevel=1)
    pytest.skip(told)
