"""The steps of CONTRIBUTING that add a plug-in lead to one."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
GATEPOST = Path(sys.executable).with_name("gatepost")
PAGE = (REPOSITORY / "CONTRIBUTING.md").read_text()
FILES = {"__init__.py", "settings.py", "plugin.py", "__main__.py", "checks.py"}

# The temporary folder counts as one more folder of plug-ins.
BESIDE = """
import gatepost.plugins
gatepost.plugins.__path__.append({folder!r})
"""
LOOK = """
import json, os, sys
from contextlib import suppress
from gatepost import assembly, registry
from rendered import DEBIAN_12, site
seen = {}
with suppress(Exception):
    from gatepost.verify.catalogue import CHECKS
    seen["check"] = "hello" in {check.name for check in CHECKS}
with suppress(Exception):
    settings = registry.load(os.environ)
    values = {value.name: value for value in settings.values()}
    plan = assembly.assemble(settings, site(settings, DEBIAN_12))
    files = {str(file.path): file.content for file in plan.files}
    seen["job"] = "hello-hourly" in {job.name for job in plan.jobs}
    seen["process"] = "hello" in {process.name for process in plan.processes}
    seen["file"] = files.get("hello/greeting") == "Hello, world!\\n"
    seen["route"] = "PathPrefix(`/hello/`)" in files["traefik/dynamic.yaml"]
    seen["setting"] = values["HELLO_NAME"].meaning.startswith("The name")
print(json.dumps(seen))
"""
JUDGE = """
import sys
from types import SimpleNamespace as Some
from gatepost.model import Address
from gatepost.plugins.hello import checks
mail = Some(name="smtp", service=(Address("127.0.0.1", 1),))
website = Some(name="hello", service=(Address("127.0.0.1", int(sys.argv[1])),))
proof = Some(topology=Some(listeners=(mail, website) if sys.argv[1] != "0" else (mail,)))
print(checks.CHECKS[0].judge(proof).status)
"""
EVERYTHING = {"setting", "check", "job", "process", "file", "route"}


def blocks() -> dict[str, str]:
    """Return the files of the page: a step names each before its block of Python."""
    steps = re.findall(r"(?ms)^\d\. `(\w+\.py)`[^\n]*\n\n   ```python\n(.*?)^   ```$", PAGE)
    return {name: textwrap.dedent(block) for name, block in steps}


class Followed:
    """The page's steps, followed in a temporary folder."""

    def __init__(self, folder: Path, files: Mapping[str, str]) -> None:
        """Write the files."""
        self.folder = folder
        (folder / "plugins" / "hello").mkdir(parents=True)
        for name, text in files.items():
            (folder / "plugins" / "hello" / name).write_text(text)
        (folder / "sitecustomize.py").write_text(BESIDE.format(folder=str(folder / "plugins")))

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment in which the folder counts."""
        paths = os.pathsep.join(map(str, (self.folder, REPOSITORY / "tests" / "support")))
        ours = {"MAILNAME": "mx.example.org", "HELLO": "true", "PYTHONPATH": paths}
        return {**os.environ, **ours}

    def run(self, *command: str | Path) -> str:
        """Return what a program prints."""
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=True, timeout=60
        )
        return done.stdout

    @contextlib.contextmanager
    def website(self, greeting: Path) -> Iterator[int]:
        """Run the website's process with a file that holds the greeting; yield its port."""
        with contextlib.ExitStack() as stack:
            listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            running = subprocess.Popen(
                [sys.executable, "-m", "gatepost.plugins.hello", "nobody", str(greeting)],
                env={**self.environment, "GATEPOST_SOCKETS": f"hello:{listening.fileno()}"},
                pass_fds=(listening.fileno(),),
                stderr=subprocess.DEVNULL,
            )
            stack.callback(running.wait)
            stack.callback(running.kill)
            yield listening.getsockname()[1]

    def verdict(self, port: int) -> str:
        """Return what the check says of a website on a port; of none, if the port is 0."""
        return self.run(sys.executable, "-c", JUDGE, str(port)).strip()

    def missing(self) -> set[str]:
        """Return what of the plug-in does not appear."""
        seen: dict[str, bool] = json.loads(self.run(sys.executable, "-c", LOOK))
        return {name for name in EVERYTHING if not seen.get(name)}


def test_the_page_has_every_file() -> None:
    """A step would be missing, or its block not be found here."""
    assert set(blocks()) == FILES


def test_the_plugin_appears_everywhere(tmp_path: Path) -> None:
    """Whoever follows the page would end with nothing, and not know why."""
    followed = Followed(tmp_path, blocks())
    assert followed.missing() == set()
    assert "HELLO_NAME" in followed.run(GATEPOST, "config", "show")


@pytest.mark.parametrize(
    ("name", "words", "instead", "missing"),
    [
        ("plugin.py", 'HttpRoute(NAME, "/hello")', 'HttpRoute(NAME, "/hallo")', {"route"}),
        ("plugin.py", '"hello-hourly"', '"hourly"', {"job"}),
        ("plugin.py", "PLUGIN = ", "PLUGIN == ", EVERYTHING),
        ("settings.py", '"""The name that', '"""Some name that', {"setting"}),
        ("checks.py", "CHECKS = ", "ROWS = ", {"check"}),
    ],
)
def test_a_broken_block_would_be_seen(
    tmp_path: Path, name: str, words: str, instead: str, missing: set[str]
) -> None:
    """The control."""
    files = blocks()
    assert words in files[name]
    files[name] = files[name].replace(words, instead)
    assert Followed(tmp_path, files).missing() == missing


def test_the_website_greets(tmp_path: Path) -> None:
    """The process would end at its start."""
    greeting = tmp_path / "greeting"
    greeting.write_text("Hello, reader!\n")
    with Followed(tmp_path, blocks()).website(greeting) as port:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        client.request("GET", "/hello")
        assert client.getresponse().read() == b"Hello, reader!\n"


def test_the_check_visits_the_website(tmp_path: Path) -> None:
    """The proof would pass while every visitor is refused, or fail where nobody wants a website."""
    followed = Followed(tmp_path, blocks())
    greeting = tmp_path / "greeting"
    greeting.write_text("Hello, reader!\n")
    assert followed.verdict(0) == "pass", "it is off"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert followed.verdict(silent.getsockname()[1]) == "fail"
    with followed.website(greeting) as port:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        client.request("GET", "/hello")
        assert client.getresponse().read()
        assert followed.verdict(port) == "pass"
