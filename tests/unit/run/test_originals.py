"""New contents of what the daemons have copies of are noticed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from gatepost.model import Original, Part
from gatepost.run import originals


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(originals, "EVERY", 0.01)


def of(*files: Path) -> Original:
    """Return an original that was copied just now."""
    found = originals.digest(file.read_bytes() for file in files)
    return Original(Part.CHAIN, tuple(map(str, files)), found)


def changes(*steps: Callable[[], None], original: Original) -> list[int]:
    """Take a step after the other, and return after which of them something was noticed."""
    noticed: list[int] = []
    current = 0

    async def watch() -> None:
        async for _ in originals.changed(lambda: [original]):
            noticed.append(current)  # noqa: PERF401  it never ends

    async def main() -> None:
        nonlocal current
        watching = asyncio.create_task(watch())
        await asyncio.sleep(0.15)
        for current, step in enumerate(steps, start=1):  # noqa: B007
            step()
            await asyncio.sleep(0.15)
        watching.cancel()

    asyncio.run(main())
    return noticed


def size(file: Path) -> int:
    return len(file.read_text())


def writing(file: Path, text: str) -> Callable[[], None]:
    """Return a step that overwrites a file."""

    def write() -> None:
        file.write_text(text)

    return write


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a file with something in it."""
    path = tmp_path / "fullchain.pem"
    path.write_text("one")
    return path


def test_what_stays_is_no_change(file: Path) -> None:
    """The daemons would reload every second."""
    assert changes(lambda: None, file.touch, original=of(file)) == []


def test_overwritten_contents_are_a_change(file: Path) -> None:
    """The renewed certificate would not be shown."""
    assert changes(lambda: None, writing(file, "two"), original=of(file)) == [2]


def test_contents_of_before_the_start_are_a_change(file: Path) -> None:
    """A renewal between the copy and the start of the supervisor would be missed for ever."""
    original = of(file)
    file.write_text("two")
    assert changes(original=original) == [0]


def test_a_turned_link_is_a_change(tmp_path: Path) -> None:
    """Certbot's ``live/`` and a Secret's volume change in no other way."""
    for number in ("1", "2"):
        (tmp_path / number).mkdir()
        (tmp_path / number / "fullchain.pem").write_text(number)
    (tmp_path / "data").symlink_to("1")
    file = tmp_path / "fullchain.pem"
    file.symlink_to("data/fullchain.pem")

    def turn() -> None:
        (tmp_path / "new").symlink_to("2")
        (tmp_path / "new").replace(tmp_path / "data")

    assert changes(turn, original=of(file)) == [1]


def test_what_does_not_serve_is_told_once(file: Path) -> None:
    """The log would fill with one sentence, and a judgement run every second."""
    steps = (writing(file, "broken"), lambda: None, file.touch)
    assert changes(*steps, original=of(file)) == [1]


def test_a_file_that_is_gone_and_back_is_no_change(file: Path) -> None:
    """An editor that writes anew under the same name would reload the daemons."""
    steps = (file.unlink, writing(file, "one"))
    noticed = changes(*steps, original=of(file))
    assert noticed == [1, 2], "that it is gone is told, and that it is back ends the complaint"


def test_what_a_passing_fault_kept_out_is_yielded_again(file: Path) -> None:
    """A restart of PostgreSQL at the wrong moment would keep the old certificate for good."""
    due = [False]
    noticed: list[bool] = []

    async def watch(original: Original) -> None:
        async for _ in originals.changed(lambda: [original], lambda: due.pop() if due else False):
            noticed.append(bool(due))  # noqa: PERF401  it never ends

    async def main() -> None:
        watching = asyncio.create_task(watch(of(file)))
        await asyncio.sleep(0.1)
        writing(file, "two")()
        await asyncio.sleep(0.1)
        assert len(noticed) == 1
        due.append(True)
        await asyncio.sleep(0.1)
        watching.cancel()

    asyncio.run(main())
    assert len(noticed) == 2


def test_what_could_not_be_read_for_a_moment_is_read_later(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One look without a free file descriptor would hide a renewed certificate for good."""
    original = of(file)
    file.write_text("two")
    unreadable = True
    read = Path.read_bytes

    def reading(path: Path) -> bytes:
        if unreadable:
            raise OSError(24, "Too many open files")
        return read(path)

    def pass_by() -> None:
        nonlocal unreadable
        unreadable = False

    monkeypatch.setattr(Path, "read_bytes", reading)
    assert changes(pass_by, original=original) == [0, 1]


def test_a_file_that_is_being_written_is_waited_for(file: Path) -> None:
    """Half a certificate would be judged, and complained of, at each renewal."""
    sizes: list[int] = []

    async def watch(original: Original) -> None:
        async for _ in originals.changed(lambda: [original]):
            sizes.append(size(file))  # noqa: PERF401  it never ends

    async def main() -> None:
        watching = asyncio.create_task(watch(of(file)))
        await asyncio.sleep(0.1)
        for length in range(60):
            writing(file, "x" * length)()
            await asyncio.sleep(0.004)
        await asyncio.sleep(0.15)
        watching.cancel()

    asyncio.run(main())
    assert sizes == [59]


def test_the_digest_knows_which_file_ends_where() -> None:
    """A certificate that moved from one file to the other would be no change."""
    assert originals.digest([b"ab", b"c"]) != originals.digest([b"a", b"bc"])
    assert replace(Original(Part.KEY, ()), digest="x") != Original(Part.KEY, ())
