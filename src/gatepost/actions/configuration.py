"""Settings shown, checked and rendered."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from gatepost import registry
from gatepost.errors import UsageError
from gatepost.settings import Place, Settings


def settings(**fallback: str) -> Settings:
    """Return the settings of this call: the environment, then ``.env`` in the working folder.

    `fallback` are variables that count when the environment does not have them. Raises
    `SettingsError` with every problem.
    """
    return registry.load({**fallback, **os.environ}, dotenv=Path(".env"))


def current(unit: str | None = None) -> Settings:
    """Return the settings, held against the listener table as well; raises `SettingsError`.

    `unit` is the one that runs in a container of its own.
    """
    from gatepost import assembly  # noqa: PLC0415

    found = settings(GATEPOST_PLACE=Place.CONTAINER) if unit else settings()
    assembly.topology(found, unit=unit)
    return found


def render(chosen: Settings, folder: Path) -> tuple[Path, ...]:
    """Write every configuration file below a new or empty folder; return their paths.

    Nothing is started and nothing outside `folder` is written. Raises `UsageError` when the
    folder has something in it, and `PreflightError` when others could put links there.
    """
    from gatepost.actions.planning import draft  # noqa: PLC0415
    from gatepost.run import files, rights  # noqa: PLC0415

    plan = draft(chosen, require_packages=False).plan
    # Made before it is checked: somebody else could make it in between.
    folder.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        folder.mkdir(mode=0o755)
    if folder.is_dir():
        rights.require_own_folder(folder)
    if not folder.is_dir() or any(folder.iterdir()):
        raise UsageError(
            f'config render: "{folder}" is not an empty folder. Name a new one, so that nothing '
            "that is there gets mixed with what would be written."
        ).about(
            "folder-not-empty", object="folder", value=str(folder), expected="a new or empty folder"
        )
    return files.write(plan.files, folder)
