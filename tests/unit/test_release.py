"""A release says its version in many places, and what changed in one."""

from __future__ import annotations

import datetime as dt
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
VERSION: str = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
SECTIONS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
"""The kinds of changes of Keep a Changelog, in its order."""

RELEASE = re.compile(r"(\d+)\.(\d+)\.(\d+) - (\d{4}-\d\d-\d\d)")
IMAGES = re.compile(r"\bgatepost(?:-mta|-mda)?:(\d[\w.]*)|\bnewTag: (\S+)")


def complaints(changelog: str, tag: str | None = None) -> list[str]:
    """Return what is wrong with a changelog; `tag` is that of its commit, if there is one."""
    title, *versions = re.split(r"(?m)^## ", changelog)
    wrong = [] if title.startswith("# Changelog\n") else ["the title is not Changelog"]
    names = [text.partition("\n")[0] for text in versions]
    if names[:1] != ["Unreleased"]:
        wrong.append("the first version is not Unreleased")
    releases: list[tuple[dt.date, tuple[int, ...]]] = []
    for name in names[1:]:
        if found := RELEASE.fullmatch(name):
            number = tuple(int(part) for part in found.groups()[:3])
            releases.append((dt.date.fromisoformat(found[4]), number))
        else:
            wrong.append(f"{name} is not VERSION - YYYY-MM-DD")
    if releases != sorted(releases, reverse=True) or len(set(releases)) != len(releases):
        wrong.append("the newest version is not first")
    for name, text in zip(names, versions, strict=True):
        headings = re.findall(r"(?m)^#{3,} ?(.*)$", text)
        if headings != [one for one in SECTIONS if one in headings]:
            wrong.append(f"{name} has the sections {headings}, which are not {SECTIONS}")
        for heading, entries in re.findall(r"(?ms)^### (.*?)$(.*?)(?=^### |\Z)", text):
            lines = [line for line in entries.splitlines() if line]
            if not lines or not all(line.startswith(("- ", "  ")) for line in lines):
                wrong.append(f"{name}: {heading} is not a list")
    if tag and tag.removeprefix("v") not in [name.partition(" ")[0] for name in names]:
        wrong.append(f"the tag {tag} has no version")
    return wrong


def tag_of_commit() -> str | None:
    """Return the version's tag of the commit that is checked out; None if it has none."""
    if shutil.which("git") is None:  # in an unpacked archive, which has no tags
        return None
    found = subprocess.run(
        ["git", "tag", "--points-at", "HEAD", "v*"],
        cwd=REPOSITORY,
        check=False,
        capture_output=True,
        text=True,
    )
    return next(iter(found.stdout.split()), None)


def test_the_changelog_is_one() -> None:
    """A user searches for what an update changes, and programs cannot read it."""
    assert complaints((REPOSITORY / "CHANGELOG.md").read_text(), tag_of_commit()) == []


def test_a_tag_names_the_version() -> None:
    """An installation of the tag would report another version than its release page."""
    assert tag_of_commit() in {None, f"v{VERSION}"}


def test_manifests_and_pages_name_images_of_this_version() -> None:
    """A pod would wait for an image that nobody has built."""
    found = {
        f"{path.relative_to(REPOSITORY)}: {name}"
        for folder in ("deploy", "docs/how-to", "docs/tutorials")
        for path in (REPOSITORY / folder).rglob("*")
        if path.suffix in {".md", ".yaml", ".yml"}
        for names in IMAGES.findall(path.read_text())
        for name in names
        if name and name != VERSION
    }
    assert found == set()


GOOD = """\
# Changelog

Words about it.

## Unreleased

### Added

- A thing.

## 0.2.0 - 2027-02-01

### Added

- A thing that
  takes two lines.

### Security

- A hole.

## 0.1.1 - 2027-01-01

### Fixed

- A mistake.
"""


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("# Changelog", "# Changes", "the title"),
        ("## Unreleased\n", "", "not Unreleased"),
        ("0.2.0 - 2027-02-01", "0.2.0", "is not VERSION"),
        ("2027-02-01", "2026-02-01", "newest"),
        ("0.2.0 - 2027-02-01", "0.1.1 - 2027-01-01", "newest"),
        ("### Security", "### Safety", "Safety"),
        ("### Security", "#### Security", "is not a list"),
        ("### Added\n\n- A thing that", "### Security\n\n- A thing that", "sections"),
        ("- A mistake.\n", "", "is not a list"),
        ("- A mistake.", "A mistake.", "is not a list"),
    ],
)
def test_control_a_mistake_is_seen(old: str, new: str, complaint: str) -> None:
    """The test reads nothing, and any text is a changelog."""
    assert complaints(GOOD) == []
    assert old in GOOD
    assert any(complaint in one for one in complaints(GOOD.replace(old, new)))


def test_control_a_tag_without_a_version_is_seen() -> None:
    """A release would have no list of what it changes."""
    assert complaints(GOOD, "v0.2.0") == []
    assert complaints(GOOD, "v0.3.0") == ["the tag v0.3.0 has no version"]


@pytest.mark.parametrize("line", ["image: gatepost-mta:9.9.9", "newTag: 9.9.9", "gatepost:9.9.9"])
def test_control_an_image_is_seen(line: str) -> None:
    """The search finds no image, and every manifest passes."""
    assert "9.9.9" in [name for names in IMAGES.findall(line) for name in names]
