"""What the targets have in common: coverage, folders, libFuzzer's options, and what errors may say.

A target's input is a file's bytes, as somebody hostile or mistaken would write them. It raises when
the product does with them what it must never do.
"""

from __future__ import annotations

import shlex
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

try:
    import atheris  # type: ignore[import-untyped]
except ImportError as error:
    sys.exit(
        f"atheris cannot be imported, so the parsers are NOT fuzzed: {error}\n"
        f"There must be a wheel of it for Python {sys.version.split()[0]}; "
        "`make .venv/ready-dev` installs it."
    )

ROOT = Path(__file__).resolve().parent.parent
CORPUS = ROOT / "fuzz" / "corpus"
FINDS = ROOT / "build" / "fuzz"

sys.path.insert(0, str(ROOT / "tests" / "support"))

instrument_func = atheris.instrument_func

_STRETCHED = 1_000_000
"""Bytes of an input that is tried for its time."""
_MOST_SECONDS = 20.0
"""Processor time for such an input, watched at every branch; where each byte is looked at again for
every other, it is hours."""


def instrumented(*packages: str) -> AbstractContextManager[None]:
    """Watch the branches of what is imported meanwhile from these packages."""
    context: AbstractContextManager[None] = atheris.instrument_imports(include=list(packages))
    return context


def changed(data: bytes, most: int) -> bytes:
    """Return the input as libFuzzer changes it."""
    return bytes(atheris.Mutate(data, max(1, most)))


def told_well(
    problems: Iterable[str], *, secret: str = "", lines: int = 1, longest: int = 2500
) -> None:
    """See that each problem is fit for a terminal, short, and does not tell a secret."""
    for problem in problems:
        assert problem, "nothing is said"
        assert len(problem) <= longest, f"{len(problem)} characters: {problem[:200]!r}"
        told = problem.split("\n")
        assert len(told) <= lines, f"more lines than are ours: {problem!r}"
        assert all(line.isprintable() for line in told), f"control characters: {problem!r}"
        assert not secret or secret not in problem, f"a secret is told: {problem!r}"


def chosen(data: bytes, one_of: int = 2048) -> bool:
    """Tell whether an input is one of those few that more is done with, each time it is tried."""
    return zlib.crc32(data) % one_of == 0


def stretched(data: bytes) -> bytes:
    """Repeat a part of an input until it is long; which part, its own bytes decide."""
    begin, end = sorted(place % (len(data) + 1) for place in (*data[:2], 0, 0)[:2])
    part = data[begin:end] or data or b" "
    return data[:begin] + part * (_STRETCHED // len(part)) + data[end:]


@contextmanager
def in_time() -> Iterator[None]:
    """See that a block does not compute for longer than a long input may take."""
    began = time.process_time()
    yield
    took = time.process_time() - began
    assert took < _MOST_SECONDS, f"{took:.0f} s for an input of a megabyte"


def main(
    name: str,
    test_one_input: Callable[[bytes], None],
    arguments: list[str],
    *,
    mutate: Callable[[bytes, int, int], bytes] | None = None,
    longest: int = 1024,
    seconds: int = 30,
) -> None:
    """Run libFuzzer on the target of this name; it ends the process.

    Without a folder among the arguments it starts from ``fuzz/corpus/NAME``, and what it finds goes
    to ``build/fuzz/NAME``. ``-merge=1 KEPT FOUND``, two folders, copies into the first what the
    second adds to it; the name of a file tries that one input.
    """
    if all(word.startswith("-") for word in arguments):
        finds = FINDS / name
        finds.mkdir(parents=True, exist_ok=True)
        folders = [str(finds), str(CORPUS / name)]
        arguments = [f"-artifact_prefix={FINDS}/{name}-", *arguments, *folders]
    defaults = [f"-max_len={longest}", f"-timeout={seconds}", "-print_final_stats=1"]
    # To merge, libFuzzer gives these words to a shell.
    again = shlex.join([sys.executable, sys.argv[0]])
    options = {"custom_mutator": mutate} if mutate else {}
    atheris.Setup([again, *defaults, *arguments], test_one_input, **options)
    atheris.Fuzz()
