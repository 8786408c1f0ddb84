"""The fuzzing of the PROXY parser: a short run on the kept corpus, and proof that it finds things.

``make fuzz`` runs it for longer. A failure shows the input: keep it in ``fuzz/corpus``.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent, indent

import pytest

ROOT = Path(__file__).parent.parent.parent
TARGET = ROOT / "fuzz" / "proxy_protocol.py"
CORPUS = ROOT / "fuzz" / "corpus" / "proxy_protocol"

PLANTED = """\
import importlib.util, sys
from dataclasses import replace

spec = importlib.util.spec_from_file_location("target", {target!r})
target = importlib.util.module_from_spec(spec)
spec.loader.exec_module(target)
parse = target.parse

@target.atheris.instrument_func
def broken(data, longest):
    header = parse(data, longest)
    if header is not None:
{defect}
    return header

target.parse = broken
target.main(sys.argv[1:])
"""


@dataclass(frozen=True)
class Run:
    """A run of the fuzzer that ended."""

    said: str
    crashes: tuple[bytes, ...]
    """The inputs that it found, of which one is enough for it to end."""
    failed: bool

    def __str__(self) -> str:
        """Show the input and what became of it, for whoever has to cure it."""
        return "\n".join([*(f"input: {data!r}" for data in self.crashes), self.said[-4000:]])


def fuzz(folder: Path, *options: str, target: Path = TARGET, **environment: str) -> Run:
    """Run a target on a copy of the corpus; what it writes stays in the folder."""
    shutil.copytree(CORPUS, folder / "corpus")
    done = subprocess.run(
        [sys.executable, target, f"-artifact_prefix={folder}/found-", *options, folder / "corpus"],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=300,
        check=False,
    )
    found = tuple(file.read_bytes() for file in folder.glob("found-*"))
    return Run(done.stdout + done.stderr, found, done.returncode != 0)


def test_a_short_run_finds_nothing(tmp_path: Path) -> None:
    """A proxy's bytes could end the gate for everybody, or name a client that is none."""
    run = fuzz(tmp_path, "-max_total_time=5", "-runs=500000")
    assert not run.failed, str(run)
    assert not run.crashes, str(run)
    # A run in which nothing ran, or without coverage to guide it, would pass as well.
    assert "INITED cov: " in run.said, str(run)
    executed = run.said.split("stat::number_of_executed_units:")[1].split()[0]
    assert int(executed) > 10 * len(list(CORPUS.iterdir())), str(run)


@pytest.mark.parametrize(
    ("defect", "complaint"),
    [
        # It takes a byte of the client's.
        ("header = header._replace(size=header.size + 1)", "after"),
        # It believes what the client says after the header.
        ("if data[header.size:][:2] == b'\\r\\n': header = header._replace(tlvs=(1,))", "follows"),
        # It fails on an extension that is nowhere in the corpus.
        (
            """
            for tlv in header.tlvs:
                if tlv.type == 0xE7:
                    if tlv.value and tlv.value[0] > 0xE0:
                        raise IndexError("planted")
            """,
            "IndexError: planted",
        ),
    ],
    ids=["size", "what-follows", "extension"],
)
def test_a_planted_defect_is_found(tmp_path: Path, defect: str, complaint: str) -> None:
    """Fuzzing that finds nothing because it looks at nothing would keep everybody calm."""
    target = tmp_path / "planted.py"
    lines = indent(dedent(defect).strip(), " " * 8)
    target.write_text(PLANTED.format(target=str(TARGET), defect=lines))
    run = fuzz(tmp_path, "-seed=1", "-runs=400000", "-max_total_time=240", target=target)
    assert run.failed, str(run)
    assert complaint in run.said, str(run)
    assert len(run.crashes) == 1, str(run)
    assert repr(run.crashes[0]) in str(run)


def test_fuzzing_that_cannot_run_says_so(tmp_path: Path) -> None:
    """A Python without atheris would have everybody believe that the parser is fuzzed."""
    (tmp_path / "atheris.py").write_text("raise ImportError('no wheel for this Python')\n")
    run = fuzz(tmp_path, "-runs=1", PYTHONPATH=str(tmp_path))
    assert run.failed
    assert "NOT fuzzed: no wheel for this Python" in run.said
