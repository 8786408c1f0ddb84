"""The folder in which root works: nobody else may plant, replace or lock anything there."""

from __future__ import annotations

import fcntl
import os
import pwd
import shlex
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from instance import instance

NOBODY = pwd.getpwnam("nobody").pw_uid


@pytest.fixture
def precious() -> Iterator[Path]:
    """Return a file of root's that nobody may touch."""
    with tempfile.TemporaryDirectory(prefix="gp-") as folder:
        file = Path(folder) / "precious"
        file.write_text("precious\n")
        file.chmod(0o600)
        yield file


def facts(file: Path) -> tuple[object, ...]:
    """Return all that must not change of a file."""
    found = file.stat()
    return file.read_text(), found.st_mode, found.st_uid, found.st_gid


def tree(folder: Path) -> list[tuple[str, int, int]]:
    """Return everything in a folder with its owner and mode."""
    return sorted(
        (str(p.relative_to(folder)), p.lstat().st_uid, p.lstat().st_mode) for p in folder.rglob("*")
    )


def plant(link: Path, target: Path) -> None:
    """Make a link as "nobody" would have made it."""
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target)
    os.chown(link, NOBODY, NOBODY, follow_symlinks=False)


LINKS = (
    *("run/up.lock", "run/supervisor.lock", "run/processes.new", "run/processes.json"),
    *("logs/gatepost.log", "secrets/tls.key", "secrets/tls.key.new", "secrets/api.key"),
    *("secrets/relay-client.key", "accounts/accounts.sqlite3", "config/current.new"),
)


@pytest.mark.parametrize("name", LINKS)
def test_a_planted_link_is_refused(precious: Path, name: str) -> None:
    """Root would empty, overwrite or give away the file that it leads to."""
    with instance(start=False) as server:
        plant(server.home / name, precious)
        before, around = facts(precious), tree(server.home)
        refused = server.run("up", "--detach")
        assert refused.returncode == 2, refused
        assert str(server.home / name) in refused.stderr
        assert "rm " in refused.stderr
        assert facts(precious) == before
        assert tree(server.home) == around
        subprocess.run(["rm", str(server.home / name)], check=True)
        server.up()


@pytest.mark.parametrize("name", ["mail", "queue", "secrets", "state", "logs", "run", "config"])
def test_a_planted_folder_is_refused(precious: Path, name: str) -> None:
    """Root would give the folder it leads to, and all in it, to a daemon's user."""
    with instance(start=False) as server:
        plant(server.home / name, precious.parent)
        before = precious.parent.stat()
        refused = server.run("up", "--detach")
        assert refused.returncode == 2, refused
        assert str(server.home / name) in refused.stderr
        after = precious.parent.stat()
        assert (after.st_mode, after.st_uid, after.st_gid) == (
            before.st_mode,
            before.st_uid,
            before.st_gid,
        )


def test_a_link_of_roots_own_is_followed() -> None:
    """Control: an administrator may keep the mail on another disk."""
    with tempfile.TemporaryDirectory(prefix="gp-") as disk, instance(start=False) as server:
        Path(disk).chmod(0o755)
        (server.home / "mail").symlink_to(Path(disk))
        server.up()
        assert Path(disk).stat().st_uid == pwd.getpwnam("gatepost-mail").pw_uid
        assert stat.S_IMODE(Path(disk).stat().st_mode) == 0o700


def test_a_planted_key_is_not_kept() -> None:
    """Its maker could read all mail on its way."""
    with instance(start=False) as server:
        with instance() as other:
            shutil.copytree(other.home / "secrets", server.home / "secrets")
        for file in (server.home / "secrets").iterdir():
            os.chown(file, NOBODY, NOBODY)
        refused = server.run("up", "--detach")
        assert refused.returncode == 2, refused
        assert "tls.key" in refused.stderr
        assert "planted" in refused.stderr
        assert "chown --no-dereference root" in refused.stderr


def theirs(folder: Path) -> None:
    """Give a folder to somebody else."""
    os.chown(folder, NOBODY, NOBODY)


def open_to_all(folder: Path) -> None:
    """Let everybody write in a folder."""
    folder.chmod(0o777)


def open_to_a_group(folder: Path) -> None:
    """Let a group write in a folder."""
    os.chown(folder, 0, NOBODY)
    folder.chmod(0o775)


@pytest.mark.parametrize("above", [False, True])
@pytest.mark.parametrize("spoil", [theirs, open_to_all, open_to_a_group])
@pytest.mark.parametrize("command", [("up", "--detach"), ("domain", "add", "example.org")])
def test_a_home_of_others_is_refused(
    spoil: Callable[[Path], None], command: tuple[str, ...], *, above: bool
) -> None:
    """They could swap any file between root's look and root's writing."""
    with instance(start=False) as server:
        home = server.home / "deep" / "home" if above else server.home / "home"
        home.mkdir(parents=True)
        server.settings["GATEPOST_HOME"] = str(home)
        spoilt = home.parent if above else home
        spoil(spoilt)
        refused = server.run(*command)
        assert refused.returncode == 2, refused
        assert f'"{spoilt}"' in refused.stderr
        assert not list(home.iterdir())
        # The advice mends it.
        advice = refused.stderr.split(": ")[-1].split(";")[0]
        subprocess.run(shlex.split(advice), check=True)
        done = server.run(*command, timeout=90)
        assert done.returncode == 0, done
        server.run("down")


def test_a_folder_with_the_sticky_bit_above_is_fine() -> None:
    """Control: /tmp is such a folder, and each of these tests lives there."""
    with instance() as server:
        assert server.home.parent.stat().st_mode & stat.S_ISVTX
        assert server.status()["ready"]


def test_nobody_cannot_keep_the_server_from_starting() -> None:
    """Anyone who can open a lock's file can lock it: `flock` by nobody, and no `up` any more."""
    with instance() as server:
        server.down()
        names = ("up.lock", "supervisor.lock")
        program = (
            "import fcntl, sys, os\n"
            "for name in sys.argv[1:]:\n"
            "    try:\n"
            "        fcntl.flock(os.open(name, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
            "    except PermissionError:\n"
            "        print('refused')\n"
            "print('done', flush=True)\n"
            "input()\n"
        )
        with subprocess.Popen(
            ["/usr/bin/python3", "-c", program, *(str(server.home / "run" / n) for n in names)],
            user="nobody",
            group=NOBODY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as nobody:
            assert nobody.stdout
            said = [nobody.stdout.readline().strip() for _ in range(3)]
            try:
                assert said == ["refused", "refused", "done"]
                server.up()
            finally:
                nobody.communicate("\n")


def test_a_holder_is_named() -> None:
    """Control: a lock that is held does keep it from starting, and the message says who."""
    with instance(start=False) as server:
        (server.home / "run").mkdir()
        with (server.home / "run" / "up.lock").open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            refused = server.run("up", "--detach")
        assert refused.returncode == 2, refused
        assert f"process {os.getpid()}" in refused.stderr


def test_the_callers_umask_opens_nothing() -> None:
    """With a umask of 0 everybody could write into folders of root's."""
    with instance(start=False) as server:
        before = os.umask(0)
        try:
            server.up()
        finally:
            os.umask(before)
        loose = [
            (name, oct(mode))
            for name, _, mode in tree(server.home)
            if not stat.S_ISLNK(mode)
            and not stat.S_ISSOCK(mode)
            and not stat.S_ISFIFO(mode)
            and mode & stat.S_IWOTH
        ]
        assert loose == []
