"""Children know what we tell them, and nothing of whoever typed the command."""

from __future__ import annotations

import pwd
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from gatepost.model import Home, Process
from gatepost.run import environment

PROCESS = Process("gate", ("/opt/program",), user="nobody")


def test_it_is_the_same_for_every_caller() -> None:
    """A variable of one shell would change a daemon until somebody else restarts it."""
    assert environment.fixed({"LD_PRELOAD": "x", "PATH": "/home/me/bin", "PGHOST": "db"}) == {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
    }


@pytest.mark.parametrize("zone", ["Europe/Berlin", "UTC", "CET-1CEST,M3.5.0,M10.5.0/3", "<+03>-3"])
def test_a_time_zone_is_kept(zone: str) -> None:
    """A container is told its time zone in this way and no other."""
    assert environment.fixed({"TZ": zone})["TZ"] == zone


@pytest.mark.parametrize("zone", ["", "../../etc/shadow", "a\nb", "x" * 101])
def test_no_other_text_is_a_time_zone(zone: str) -> None:
    """A library would open whatever file it names."""
    assert "TZ" not in environment.fixed({"TZ": zone})


def test_a_closed_folder_on_the_way_is_named(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log would say "Permission denied" of a file that anybody may read."""
    stranger = pwd.struct_passwd(("nobody", "x", 4_000_000, 4_000_000, "", "/", "/bin/false"))
    monkeypatch.setattr(pwd, "getpwnam", lambda _: stranger)
    home.root.chmod(0o755)
    closed = home.root / "closed"
    closed.mkdir()
    program = closed / "program"
    program.touch(mode=0o755)
    closed.chmod(0o755)
    process = replace(PROCESS, argv=(str(program),))
    assert environment.unreadable(process) is None
    closed.chmod(0o700)
    assert environment.unreadable(process) == (
        f'its user "nobody" cannot read its program, "{program}": "{closed}" is closed to that '
        "user. Keep program and checkout where everybody may read, for example below /opt or "
        f"/srv; or open the way: chmod o+rx {closed}"
    )
    # A link of a virtual environment leads to a Python elsewhere.
    link = home.root / "python"
    link.symlink_to(program)
    assert environment.unreadable(replace(process, argv=(str(link),)))
    # Root is let in everywhere.
    assert environment.unreadable(replace(process, user="root")) is None
    assert environment.unreadable(replace(process, user="root", becomes="postfix"))


def test_our_own_python_counts_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its program may be open, and its libraries closed."""
    base = Path(sys.base_prefix)
    monkeypatch.setattr(environment, "_obstacle", lambda _, path: path if path == base else None)
    ours = replace(PROCESS, argv=(sys.executable, "-m", "gatepost.plugins.gate"))
    assert f'cannot read its Python, "{base}"' in (environment.unreadable(ours) or "")
