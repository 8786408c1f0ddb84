"""What is in the images, and what is not."""

from __future__ import annotations

import json
import os
import pwd
import re
import stat
import subprocess
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import containers
import pytest
from containers import mounted, podman

TITLES = {"mta": "gatepost-mta", "mda": "gatepost-mda", "all": "gatepost"}
COMMANDS = {"mta": ["run", "mta"], "mda": ["run", "mda"], "all": ["up"]}
DAEMONS = {
    "mta": {"usr/sbin/postfix"},
    "mda": {"usr/sbin/dovecot"},
    "all": {"usr/sbin/postfix", "usr/sbin/dovecot", "opt/gatepost/bin/traefik"},
}
IDS = {
    "postfix": 201,
    "dovecot": 203,
    "dovenull": 204,
    "gatepost-mail": 205,
    "gatepost-proxy": 206,
}
POSTDROP = 202
_OWN_WAY = re.compile(r"(?i)acquire::(https?|check|retries|force)|proxy|cainfo")
"""What tells apt how one machine reaches its archives."""
TARGETS = pytest.mark.parametrize("target", ["mta", "mda", "all"])


def config(image: str) -> Any:
    return json.loads(podman("image", "inspect", image))[0]["Config"]


@pytest.fixture(scope="module", params=["mta", "mda", "all"])
def root(request: pytest.FixtureRequest, images: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    """Lend the files of each image."""
    with mounted(images[request.param]) as path:
        yield request.param, path


def files(root: Path) -> Iterator[Path]:
    """Yield every regular file of an image."""
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            if stat.S_ISREG(path.lstat().st_mode):
                yield path


@TARGETS
def test_image_says_what_it_is_and_what_it_runs(images: Mapping[str, str], target: str) -> None:
    """Nobody could tell one image from another, or a bare `docker run` would start nothing."""
    made = config(images[target])
    labels = {
        name.removeprefix("org.opencontainers.image."): value
        for name, value in made["Labels"].items()
        if name.startswith("org.opencontainers.image.")
    }
    assert labels["title"] == TITLES[target]
    assert labels["version"] == version("gatepost")
    assert labels["licenses"] == "MIT"
    assert labels["description"]
    assert labels["base.name"]
    assert made["Entrypoint"] == ["tini", "--", "gatepost"]
    assert made["Cmd"] == COMMANDS[target]
    environment = dict(row.split("=", 1) for row in made["Env"])
    assert environment["GATEPOST_PLACE"] == "container"
    assert environment["GATEPOST_HOME"] == containers.HOME
    assert list(made["Volumes"]) == [containers.HOME]


def test_image_has_its_daemons_and_no_tools(root: tuple[str, Path]) -> None:
    """Whoever breaks in would find a compiler or an installer, and a pull would take longer."""
    target, path = root
    everything = set.union(*DAEMONS.values())
    assert {name for name in everything if (path / name).exists()} == DAEMONS[target]
    unwanted = re.compile(
        r"(pip|pip3[.\d]*|g?cc([-\d.]+)?|g\+\+|ld|as|make|strip|git|curl|wget|ensurepip)"
    )
    places = [path / place for place in ("usr/bin", "usr/sbin", "opt/gatepost/bin")]
    assert [f for place in places for f in place.iterdir() if unwanted.fullmatch(f.name)] == []
    site = path / "opt/gatepost/lib"
    assert next(site.rglob("site-packages/gatepost/__init__.py"), None), "the control"
    assert list(site.rglob("site-packages/pip")) == []
    assert list((path / "var/lib/apt/lists").glob("*")) == []
    assert list((path / "var/cache/apt/archives").glob("*.deb")) == []


def test_nothing_in_it_gives_rights(root: tuple[str, Path]) -> None:
    """A daemon that is broken into could become root with a set-user-id program."""
    _, path = root
    giving = {file for file in files(path) if file.lstat().st_mode & 0o6000}
    # Postfix warns at every start when these two do not have their group; it leads to no other.
    known = {path / "usr/sbin" / name for name in ("postdrop", "postqueue")}
    assert giving <= known
    assert {(file.lstat().st_mode & 0o6000, file.lstat().st_gid) for file in giving} <= {
        (stat.S_ISGID, POSTDROP)
    }


def test_users_have_the_same_numbers_in_every_image(root: tuple[str, Path]) -> None:
    """What one version has written on a volume would belong to somebody else in the next."""
    _, path = root
    users = [row.split(":") for row in (path / "etc/passwd").read_text().splitlines()]
    groups = [row.split(":") for row in (path / "etc/group").read_text().splitlines()]
    numbers = {row[0]: (int(row[2]), int(row[3])) for row in users}
    assert {name: numbers[name] for name in IDS} == {name: (n, n) for name, n in IDS.items()}
    assert {row[0]: int(row[2]) for row in groups} | {**IDS, "postdrop": POSTDROP} == {
        row[0]: int(row[2]) for row in groups
    }


def test_nothing_of_the_building_machine_is_in_it(
    root: tuple[str, Path], images: Mapping[str, str]
) -> None:
    """A proxy or a certificate authority of ours would be trusted by everybody who runs it."""
    target, path = root
    apt = [*(path / "etc/apt/apt.conf.d").iterdir(), path / "etc/apt/apt.conf"]
    lines = [line for file in apt if file.exists() for line in file.read_text().splitlines()]
    assert [line for line in lines if re.search(_OWN_WAY, line)] == []
    assert [p for p in (path / "etc/pip.conf", path / "root/.config/pip") if p.exists()] == []
    assert list((path / "run").glob("secrets*/*")) == []
    assert list((path / "usr/local/share/ca-certificates").glob("*")) == []
    known = names_of_this_machine()
    history = podman("image", "history", "--no-trunc", "--format", "{{.CreatedBy}}", images[target])
    said = f"{history}{json.dumps(config(images[target]))}"
    assert [name for name in known if name in said] == []
    # Archives that this machine reaches by another name are no others' business either.
    small = (file for file in files(path) if file.lstat().st_size < 100_000)
    text = [file for file in small if "/etc/" in str(file) or "/opt/gatepost/" in str(file)]
    found = [(file, name) for file in text for name in known if name.encode() in file.read_bytes()]
    assert found == []


def names_of_this_machine() -> set[str]:
    """Return the hosts that packages come from here, unless the whole world has them."""
    asked = [
        ["python3", "-m", "pip", "config", "list"],
        ["apt-config", "dump"],
    ]
    said = "".join(
        subprocess.run(words, capture_output=True, text=True, check=False).stdout for words in asked
    )
    said += "".join(value for name, value in os.environ.items() if name.lower().endswith("_proxy"))
    hosts = set(re.findall(r"https?://(?:[^/@\s'\";]*@)?([^/:\s'\";]+)", said))
    public = ("pypi.org", "debian.org", "localhost", "127.0.0.1", "pythonhosted.org")
    return {host for host in hosts if not host.endswith(public)}


def test_no_key_is_shared_by_all_who_have_the_image(root: tuple[str, Path]) -> None:
    """Everybody could read along who has the image."""
    _, path = root
    keys = [
        file
        for file in files(path)
        if file.suffix in {".key", ".pem"} and b"PRIVATE KEY" in file.read_bytes()
    ]
    assert keys == []


def test_owner_of_the_program_is_root(root: tuple[str, Path]) -> None:
    """A daemon that is broken into could change what runs as root next time."""
    _, path = root
    root_user = pwd.getpwnam("root").pw_uid
    program = list(files(path / "opt/gatepost"))
    assert program
    writable = stat.S_IWGRP | stat.S_IWOTH
    assert [
        f for f in program if f.lstat().st_uid != root_user or f.lstat().st_mode & writable
    ] == []
