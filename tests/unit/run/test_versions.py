"""Versions of what runs and of what is installed."""

from __future__ import annotations

import shutil
import site
from pathlib import Path

import pytest

import gatepost
from gatepost import discovery
from gatepost.run import environment, versions


@pytest.fixture
def dpkg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a program in the place of dpkg-query(1); return the file with its answer."""
    answer = tmp_path / "answer"
    answer.write_text("")
    program = tmp_path / "dpkg-query"
    program.write_text(f'#!/bin/sh\nwhile read -r line; do echo "$line"; done <{answer}\nexit 1\n')
    program.chmod(0o755)
    monkeypatch.setattr(environment, "PATH", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    return answer


def test_a_package_has_the_version_that_dpkg_knows(dpkg: Path) -> None:
    """After an upgrade of Dovecot nothing would be restarted."""
    dpkg.write_text("dovecot-core 1:2.3-1 installed\npostfix 3.7 config-files\n")
    found = versions.installed(["dovecot-core", "postfix", "traefik"])
    assert found == {"dovecot-core": "1:2.3-1", "postfix": "", "traefik": ""}


def test_without_dpkg_no_package_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On another system every command would end in a traceback."""
    monkeypatch.setattr(environment, "PATH", str(tmp_path))
    assert versions.installed(["dovecot-core"]) == {"dovecot-core": ""}


@pytest.mark.parametrize("how", ["replaced", "written"])
def test_a_program_of_no_package_is_known_by_its_file(tmp_path: Path, how: str) -> None:
    """Traefik comes with no Debian package, and an update of it would not be seen."""
    program = tmp_path / "traefik"
    program.write_text("old")
    before = versions.installed([str(program)])
    assert versions.installed([str(program)]) == before, "the control"
    if how == "replaced":
        (tmp_path / "new").write_text("old")
        (tmp_path / "new").replace(program)
    else:
        program.write_text("older")
    assert versions.installed([str(program)]) != before
    program.unlink()
    assert versions.installed([str(program)]) == {str(program): ""}


def test_gatepost_has_a_version_of_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A supervisor from before an update of the source would go on without a word."""
    source = tmp_path / "gatepost"
    shutil.copytree(Path(gatepost.__file__).parent, source)
    before = versions.installed(["gatepost"])
    monkeypatch.setattr(gatepost, "__file__", str(source / "__init__.py"))
    assert versions.installed(["gatepost"]) == before, "where it lies does not matter"
    (source / "run" / "README").write_text("no program")
    assert versions.installed(["gatepost"]) == before
    (source / "run" / ".#health.py").symlink_to("nowhere")
    seen = versions.installed(["gatepost"])
    assert seen != before, "half an upgrade is another version, and no error"
    (source / "run" / ".#health.py").unlink()
    with (source / "run" / "health.py").open("a") as stream:
        stream.write("# another\n")
    assert versions.installed(["gatepost"]) != before


def test_its_libraries_belong_to_gatepost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library with a hole would stay in memory after its update."""

    def have(name: str, version: str, *required: str) -> None:
        folder = tmp_path / f"{name}-{version}.dist-info"
        folder.mkdir()
        lines = "".join(f"Requires-Dist: {one}\n" for one in required)
        (folder / "METADATA").write_text(f"Name: {name}\n{lines}\nRequires-Dist: words\n")

    monkeypatch.setattr(site, "getsitepackages", lambda: [str(tmp_path)])
    have("gatepost", "1.2", "psutil<8,>=7", "pytest>=8; extra == 'unit'")
    have("psutil", "7.0", "Some.Thing")
    have("some_thing", "1")
    have("pytest", "8")
    have("words", "1")
    before = versions.installed(["gatepost"])["gatepost"]
    assert before.startswith("1.2+")
    for other in ("pytest", "words"):
        shutil.move(next(tmp_path.glob(f"{other}-*")), tmp_path / f"{other}-9.dist-info")
        assert versions.installed(["gatepost"])["gatepost"] == before
    shutil.move(tmp_path / "some_thing-1.dist-info", tmp_path / "some_thing-2.dist-info")
    assert versions.installed(["gatepost"])["gatepost"] != before


def test_a_plugin_of_others_belongs_to_gatepost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plug-in of somebody else's would run its old source after an update."""
    for name, group in (("toy", discovery.GROUP), ("other", "console_scripts")):
        metadata = tmp_path / f"{name}-1.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Name: {name}\n\n")
        (metadata / "entry_points.txt").write_text(
            f"[unlike]\na = nothing\n\n[{group}]\n{name} = {name}_package.plugin\n"
        )
        (tmp_path / f"{name}_package").mkdir()
    monkeypatch.setattr(site, "getsitepackages", lambda: [str(tmp_path)])
    before = versions.installed(["gatepost"])
    (tmp_path / "other_package" / "plugin.py").write_text("PLUGIN = None\n")
    assert versions.installed(["gatepost"]) == before, "the control"
    (tmp_path / "toy_package" / "plugin.py").write_text("PLUGIN = None\n")
    changed = versions.installed(["gatepost"])
    assert changed != before
    shutil.move(tmp_path / "toy-1.dist-info", tmp_path / "toy-2.dist-info")
    assert versions.installed(["gatepost"]) != changed
    assert versions.GROUP == discovery.GROUP


def test_only_what_differs_is_older(dpkg: Path) -> None:
    """`gatepost status` would name what is new, or keep quiet of what is old."""
    dpkg.write_text("postfix 3.8 installed\ndovecot-core 2.4 installed\n")
    running = {"postfix": {"postfix": "3.7"}, "dovecot": {"dovecot-core": "2.4"}}
    assert versions.older(running) == (versions.Older("postfix", "postfix", "3.7", "3.8"),)
    assert versions.older({}) == ()
