"""Environment in, configuration out: complete trees, as daemons read them.

A change of a template, a port or a default shows here as a diff of what all daemons read.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import rendered
from differences import difference, patched
from hypothesis import given
from hypothesis import strategies as st
from rendered import (
    BASES,
    CASES,
    ENVIRONMENT,
    RENDERED,
    WITHOUT,
    changes,
    committed,
    render,
    strays,
    tree,
    write,
)

from gatepost.model import RenderedFile

REMEDY = "Is this what you meant? Run `make rendered`, look at the diff, commit it."


@pytest.mark.parametrize("name", CASES)
def test_a_tree_is_rendered_as_committed(name: str) -> None:
    """A daemon would be told something that nobody decided and nobody has read."""
    found = "\n".join(changes(RENDERED / name))
    if found:
        pytest.fail(f"{found}\n{REMEDY}", pytrace=False)


@pytest.mark.parametrize("name", CASES)
def test_a_tree_has_what_is_rendered_and_nothing_else(name: str) -> None:
    """A file that is no longer written would be read, reviewed and believed in."""
    found = strays(RENDERED / name)
    if found:
        pytest.fail(f"not in both: {', '.join(sorted(found))}\n{REMEDY}", pytrace=False)


def test_every_folder_is_a_case() -> None:
    """A folder that no case names would never be compared with anything."""
    assert {path.name for path in RENDERED.iterdir()} == set(CASES) == set(BASES)


@pytest.mark.parametrize("name", CASES)
def test_a_stored_difference_gives_the_complete_tree(name: str) -> None:
    """The differences lose a file, and the comparison goes on without it."""
    files = {str(file.path): file.content for file in render(RENDERED / name)}
    assert {path: text.content for path, text in committed(RENDERED / name).items()} == files


@pytest.mark.parametrize("name", CASES)
def test_a_case_leads_to_the_one_that_is_complete(name: str) -> None:
    """Two cases that are each other's base would agree on anything."""
    if name == "reference":
        assert not list((RENDERED / name).rglob("*.diff"))
    for base in BASES[name].values():
        assert list(BASES).index(base) < list(BASES).index(name)


def test_both_dialects_get_the_same_environment() -> None:
    """A difference between their trees could come from a setting instead of the dialect."""
    older, newer = (
        (RENDERED / name / ENVIRONMENT).read_text().splitlines()[1:]
        for name in ("reference", "reference-2.4")
    )
    assert older == newer


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_rendered_by_accident(name: str) -> None:
    """A value that was never there would be written as its Python name, and a daemon take it."""
    for file in render(RENDERED / name):
        assert "{{" not in file.content
        assert "{%" not in file.content
        assert re.search(r"[=\s]None$", file.content, re.MULTILINE) is None
        assert file.content.endswith("\n")


@pytest.mark.parametrize("name", CASES)
def test_daemons_read_copies_of_what_somebody_else_writes(name: str) -> None:
    """What a daemon reads by its own path is not compared: a renewed certificate is never shown."""
    files = render(RENDERED / name)
    copied = {file for copy in files if copy.original for file in copy.original.files}
    assert copied, "at least the pair that clients see"
    for file in files:
        if file.original is None:
            assert [one for one in copied if one in file.content] == []


@pytest.fixture(params=["reference", "postgresql-2.4"])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a fresh copy of a case, free to be damaged: one complete, one of differences."""
    name: str = request.param
    copy = Path(shutil.copytree(RENDERED / name, tmp_path / name))
    write(copy)
    return copy


def test_control_a_changed_line_is_seen(tmp_path: Path) -> None:
    """The comparison looks at nothing, and passes whatever is rendered."""
    copy = Path(shutil.copytree(RENDERED / "reference", tmp_path / "reference"))
    file = copy / "postfix" / "main.cf"
    file.write_text(
        file.read_text().replace("smtpd_tls_auth_only = yes", "smtpd_tls_auth_only = no")
    )
    (found,) = changes(copy)
    assert "-smtpd_tls_auth_only = no\n+smtpd_tls_auth_only = yes\n" in found


@pytest.mark.parametrize("name", [name for name in CASES if BASES[name]])
def test_control_each_change_of_a_difference_is_seen(tmp_path: Path, name: str) -> None:
    """A difference could say anything about its base."""
    copy = Path(shutil.copytree(RENDERED / name, tmp_path / name))
    differences = sorted(copy.rglob("*.diff"))
    assert differences
    for file in differences:
        text = file.read_text()
        for damage in (
            f"{text}+damaged\n",
            re.sub(r"(?m)^([- ].*)$", r"\1 # damaged", text, count=1),
            "@@\n",
        ):
            assert damage != text
            file.write_text(damage)
            assert list(changes(copy)) != [], f"{file.name}:\n{damage}"
        file.write_text(text)
    assert list(changes(copy)) == []


def test_control_each_file_too_few_is_seen(case: Path) -> None:
    """A file of a case could disappear, and what its base has would be believed."""
    for file in [path for path in case.rglob("*") if path.is_file()]:
        if file.name != ENVIRONMENT:
            moved = file.rename(case.parent / "moved")
            assert str(file.relative_to(case)) in strays(case)
            moved.rename(file)
    assert strays(case) == set()


def test_control_a_lost_mode_is_seen(case: Path) -> None:
    """Dovecot could not run the program that reports a full mailbox."""
    program = case / "dovecot" / "quota-warning"
    program.write_text(tree(case)["dovecot/quota-warning"].content)
    program.chmod(0o644)
    (found,) = changes(case)
    assert "quota-warning: rendered with the right to run it" in found


def test_control_files_too_many_are_seen(case: Path) -> None:
    """A file could stay that no daemon reads, until `make rendered` removes it."""
    (case / "postfix" / "old.cf").write_text("")
    assert strays(case) == {"postfix/old.cf"}
    write(case)
    assert strays(case) == set()
    assert list(changes(case)) == []


def test_control_a_line_of_files_left_out_is_seen(tmp_path: Path) -> None:
    """A case would have a file that it does not render, or lack one that it does."""
    copy = Path(shutil.copytree(RENDERED / "reference-2.4", tmp_path / "reference-2.4"))
    without = copy / WITHOUT
    whole = without.read_text()
    without.write_text(whole.partition("\n")[2])
    assert strays(copy) == {whole.partition("\n")[0]}
    without.write_text(f"{whole}dovecot/dovecot.conf\n")
    assert list(changes(copy)) == ["reference-2.4/without: says the same in other words\n"]
    without.write_text(f"{whole}dovecot/no-such-file\n")
    assert list(changes(copy)) == ["reference-2.4/without: its base has no dovecot/no-such-file\n"]


def test_a_change_of_a_template_shows_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reviewer would read the same line eight times, and miss the one that differs."""
    before = rendered.render

    def changed(case: Path) -> tuple[RenderedFile, ...]:
        return tuple(
            replace(file, content=file.content.replace("_only = yes", "_only = always"))
            if file.path.name == "main.cf"
            else file
            for file in before(case)
        )

    monkeypatch.setattr(rendered, "render", changed)
    assert [name for name in CASES if list(changes(RENDERED / name))] == ["reference"]


LINES = st.lists(st.sampled_from(["a\n", "b\n", "c\n", "\n", "@@\n", "d"]), max_size=12).map(
    "".join
)


@given(LINES, LINES)
def test_a_difference_is_lossless(base: str, text: str) -> None:
    """A tree could differ from the one that was compared and reviewed."""
    found = difference(base, text)
    assert found is None or patched(base, found) == text


def test_a_difference_has_no_line_numbers() -> None:
    """A line more at the beginning of a template would change the differences of every case."""
    base = "".join(f"{n}\n" for n in range(20))
    text = base.replace("15\n", "fifteen\n")
    assert difference(base, text) == "@@\n 14\n-15\n+fifteen\n 16\n"
    assert difference(f"new\n{base}", f"new\n{text}") == difference(base, text)


def test_a_difference_that_fits_twice_gets_more_lines_around_it() -> None:
    """The change would be made at the wrong place."""
    base = "begin\nx\ny\nx\nend\n" + "x\ny\nx\nlast\n"
    text = "begin\nx\ny\nx\nend\n" + "x\nz\nx\nlast\n"
    found = difference(base, text)
    assert found is not None
    assert " end\n" in found or " last\n" in found
    assert patched(base, found) == text
