"""Facts about this machine."""

from __future__ import annotations

import grp
import os
import stat
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from gatepost import assembly
from gatepost.contracts import Plugin
from gatepost.errors import PreflightError
from gatepost.model import Home, KeyPair, Plan, Process, Token
from gatepost.registry import load
from gatepost.run import environment, site, versions
from gatepost.settings import Settings

TOY = Plugin(name="toy", secrets=(Token("toy.token"), KeyPair("toy", "a toy")))


@pytest.fixture
def settings(home: Home) -> Settings:
    """Return settings of a new home."""
    return load({"MAILNAME": "mx.example.org", "GATEPOST_HOME": str(home.root)})


def plugin(*version_command: str, **feature_files: str) -> Plugin:
    return Plugin(name="postfix", version_command=version_command, feature_files=feature_files)


def installed(settings: Settings, found: Plugin) -> tuple[str, frozenset[str]]:
    one = site.survey(settings, [found]).installed["postfix"]
    return one.version, one.features


def test_versions_and_features_are_found(settings: Settings, tmp_path: Path) -> None:
    """Dovecot 2.4 would be given 2.3's files, or a full-text index that is not installed."""
    (tmp_path / "there").write_text("")
    found = plugin(
        *("sh", "-c", "echo mail_version = 3.7.11-0+deb12u1 rest"),
        there=str(tmp_path / "there"),
        absent=str(tmp_path / "absent"),
    )
    assert installed(settings, found) == ("3.7.11-0+deb12u1", frozenset({"there"}))


def test_a_missing_program_is_told(settings: Settings) -> None:
    """The user would see a traceback instead of the command that installs it."""
    with pytest.raises(PreflightError) as told:
        installed(settings, plugin("no-such-program", "--version"))
    assert str(told.value) == (
        'postfix: the program "no-such-program" is not installed. '
        "Install what is missing: gatepost packages --install"
    )


def test_a_program_that_tells_no_version_is_told(settings: Settings) -> None:
    """A half-removed package would end in a traceback."""
    with pytest.raises(PreflightError) as told:
        installed(settings, plugin("sh", "-c", "echo broken"))
    assert str(told.value) == (
        "postfix: `sh -c echo broken` does not tell a version but: 'broken'. Reinstall its package."
    )


def test_looking_writes_nothing(settings: Settings, home: Home) -> None:
    """A look at what would be done would make keys as a side effect."""
    assert site.survey(settings, [TOY]).token("toy.token") == "made-at-first-start"
    assert list(home.root.iterdir()) == [home.run]


def test_keys_are_made_once_and_kept(settings: Settings, home: Home) -> None:
    """Each start would change the key, and so every daemon's files, and restart them."""
    site.prepare(settings, [TOY])
    first = site.filled(site.survey(settings, [TOY]), settings, [TOY])
    site.prepare(settings, [TOY])
    assert site.filled(site.survey(settings, [TOY]), settings, [TOY]) == first
    assert len(first.token("toy.token")) >= 32
    # `config render` may be run by somebody who may not read the key.
    assert site.survey(settings, [TOY]).token("toy.token") == "made-at-first-start"
    assert first.pair("toy").key.content == (home.secrets / "toy.key").read_text()
    assert stat.S_IMODE((home.secrets / "toy.token").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("unit", "made"),
    [
        ("mta", {"tls.crt", "tls.key"}),
        ("mda", {"tls.crt", "tls.key", "relay-client.crt", "relay-client.key", "api.key"}),
    ],
)
def test_a_unit_has_its_own_secrets_only(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, home: Home, unit: str, made: set[str]
) -> None:
    """A container would hold the key to another one's mail."""
    own = grp.getgrgid(os.getgid())
    monkeypatch.setattr(grp, "getgrnam", lambda _name: own)  # the readers' need not exist here
    site.prepare(settings, assembly.used(settings, unit))
    assert {file.name for file in home.secrets.iterdir()} == made


def test_our_own_programs_come_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Another Traefik on the machine would be started than the one that was tested."""
    for folder in ("ours", "theirs"):
        (tmp_path / folder).mkdir()
        program = tmp_path / folder / "traefik"
        program.write_text("")
        program.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(tmp_path / "ours" / "python"))
    monkeypatch.setattr(environment, "PATH", str(tmp_path / "theirs"))
    assert site.find_program("traefik") == str(tmp_path / "ours" / "traefik")
    (tmp_path / "ours" / "traefik").unlink()
    assert site.find_program("traefik") == str(tmp_path / "theirs" / "traefik")
    assert site.find_program("no-such-program") is None


PROGRAM = Plugin(name="mta", version_command=("sh", "-c", "echo 1.0"))


def parts(plan: Callable[..., Plan], settings: Settings, name: str, *argv: str) -> list[str]:
    """Return the parts of a process beside a plug-in "mta" that runs sh(1)."""
    planned = site.with_versions(plan(Process(name, argv)), [PROGRAM], settings)
    found = planned.processes[0].versions
    assert all(found.values())
    return list(found)


def test_each_process_has_the_parts_that_it_runs(
    plan: Callable[..., Plan], settings: Settings
) -> None:
    """An update would restart the wrong process, or none."""
    shell, sleep = (str(Path(f"/bin/{name}").resolve()) for name in ("sh", "sleep"))
    assert parts(plan, settings, "mta", "/etc/start") == [shell], "a script of ours leads to it"
    assert parts(plan, settings, "other", "sleep", "1") == [sleep]
    own = str(Path(sys.executable).parent / "python")
    assert parts(plan, settings, "gate", own, "-m", "gate")[0] == versions.GATEPOST


def test_packages_that_dpkg_knows_are_the_parts(
    monkeypatch: pytest.MonkeyPatch, plan: Callable[..., Plan], settings: Settings
) -> None:
    """An update of a library's package, without the program's own, would restart nothing.

    The control: a plug-in of which no package is installed is known by its program.
    """
    monkeypatch.setattr(versions, "debian", lambda names: {n: "1" for n in names if n == "mta-db"})
    mta = replace(PROGRAM, packages=lambda _: ("mta", "mta-db"), optional_packages=("mta-fts",))
    other = replace(PROGRAM, name="mda", packages=lambda _: ("mda",))
    made = plan(Process("mta", ("/etc/start",)), Process("mda", ("/etc/start",)))
    first, second = site.with_versions(made, [mta, other], settings).processes
    assert first.versions == {"mta": "", "mta-db": "1", "mta-fts": ""}
    assert list(second.versions) == [str(Path("/bin/sh").resolve())]
