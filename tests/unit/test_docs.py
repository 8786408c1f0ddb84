"""Documents that say what is no longer so are worse than none."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import click
import pytest
import yaml

from gatepost.cli import group
from gatepost.registry import concerns, plugins
from gatepost.settings.concerns import CONCERNS

REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs"
FORMS = REPOSITORY / ".github" / "ISSUE_TEMPLATE"
BY_HAND = [
    REPOSITORY / "README.md",
    REPOSITORY / "CONTRIBUTING.md",
    REPOSITORY / "SECURITY.md",
    REPOSITORY / "CODE_OF_CONDUCT.md",
    *(path for path in sorted(DOCS.rglob("*.md")) if "_build" not in path.parts),
]
SETTINGS = {
    name.upper() for concern in (*CONCERNS.values(), *concerns()) for name in concern.model_fields
}
OF_MAKE = set(re.findall(r"(?m)^([A-Z]+) \?=", (REPOSITORY / "Makefile").read_text()))
"""Variables that the Makefile itself takes."""


def generator() -> ModuleType:
    """Load docs/generate.py, which is a program and not part of the package."""
    spec = spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shell_lines(page: Path) -> Iterator[str]:
    """Yield the commands of a page's shell blocks, continued lines joined."""
    for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL):
        yield from block.replace("\\\n", " ").splitlines()


def gatepost_calls(page: Path) -> Iterator[list[str]]:
    """Yield the words after ``gatepost`` of every call in a page."""
    for line in shell_lines(page):
        if found := re.search(r"(?:^|[|;&] *|\.venv/bin/)gatepost\s+([a-z][^|>;&]*)", line):
            yield shlex.split(found[1])


@pytest.mark.parametrize("name", ["settings.md", "ports.md", "commands.md", "kubernetes.md"])
def test_generated_page_is_fresh(name: str) -> None:
    """The reference page tells of options, defaults or ports that the program no longer has."""
    page = (DOCS / "reference" / name).read_text()
    assert page == generator().PAGES[name](), "stale: run `make docs-pages` and commit the page"


def test_every_setting_is_documented() -> None:
    """A setting exists that no page tells of, so nobody can use it."""
    page = (DOCS / "reference" / "settings.md").read_text()
    assert {name for name in SETTINGS if f"### `{name}`" not in page} == set()


def test_every_command_is_documented() -> None:
    """A command exists that no page tells of."""
    page = (DOCS / "reference" / "commands.md").read_text()
    context = click.Context(group)
    missing = [n for n in group.list_commands(context) if f"## gatepost {n}" not in page]
    assert missing == []


def test_every_listener_is_documented() -> None:
    """A listener exists whose ports no page tells."""
    page = (DOCS / "reference" / "ports.md").read_text()
    names = [listener.name for daemon in plugins() for listener in daemon.listeners]
    assert len(names) >= 8
    assert [name for name in names if f"| {name} |" not in page] == []


@pytest.mark.parametrize("page", BY_HAND, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_calls_exist(page: Path) -> None:
    """A reader types a line from a page and is told that there is no such command or option."""
    for words in gatepost_calls(page):
        command: click.Command = group
        context = click.Context(group, info_name="gatepost")
        while isinstance(command, click.Group):
            assert words, f"{page.name}: {command.name} needs a subcommand"
            below = command.get_command(context, words.pop(0))
            assert below is not None, f"{page.name}: no such command in {words}"
            command, context = below, click.Context(below, parent=context)
        known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        used = {word.partition("=")[0] for word in words if word.startswith("-")}
        assert used <= known, f"{page.name}: {command.name} has no {used - known}"


@pytest.mark.parametrize("page", BY_HAND, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_settings_exist(page: Path) -> None:
    """A reader copies a setting from a page and the program does not know it."""
    for line in shell_lines(page):
        named = re.findall(r"(?:^|\s)([A-Z][A-Z0-9_]+)=", line)
        assert set(named) <= SETTINGS | OF_MAKE, f"{page.name}: {line}"


@pytest.mark.parametrize("page", BY_HAND[:2], ids=lambda page: page.name)
def test_links_and_paths_exist(page: Path) -> None:
    """A link of a page that Sphinx does not build leads nowhere, or a path was moved."""
    text = page.read_text()
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    paths = re.findall(r"`((?:src|tests|docs)/[\w./-]+)`", text)
    assert links or paths
    named = [path for path in (*links, *paths) if "NAME" not in path]
    missing = [path for path in named if not (REPOSITORY / path).exists()]
    assert missing == []


@pytest.mark.parametrize(
    ("words", "wrong"),
    [("```sh\ngatepost mailboxes list\n```", True), ("```sh\ngatepost config check\n```", False)],
)
def test_control_calls_are_seen(tmp_path: Path, words: str, wrong: bool) -> None:  # noqa: FBT001
    """The test above looks at nothing, and passes whatever the pages say."""
    page = tmp_path / "page.md"
    page.write_text(words)
    (call,) = gatepost_calls(page)
    assert (call[0] not in group.list_commands(click.Context(group))) is wrong


def test_the_form_for_a_fault_asks_for_the_proof() -> None:
    """Maintainers would ask for it in the first answer, a day later."""
    form = yaml.safe_load((FORMS / "fault.yml").read_text())
    fields = {field["id"]: field for field in form["body"]}
    assert fields["verify"]["attributes"]["label"] == "gatepost verify --json"
    assert fields["verify"]["validations"] == {"required": True}


@pytest.mark.parametrize("form", sorted(FORMS.glob("[!c]*.yml")), ids=lambda path: path.stem)
def test_a_form_is_one(form: Path) -> None:
    """The page for new issues would be empty."""
    read = yaml.safe_load(form.read_text())
    assert read["name"]
    assert read["description"]
    kinds = {"textarea", "input", "dropdown"}
    assert all(one["type"] in kinds and one["attributes"]["label"] for one in read["body"])
    names = [one["id"] for one in read["body"]]
    assert len(names) == len(set(names))
