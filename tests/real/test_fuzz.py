"""The fuzzing of every parser: a short run on the kept inputs, and proof that it finds things.

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

FUZZ = Path(__file__).parent.parent.parent / "fuzz"
CORPUS = FUZZ / "corpus"
TARGETS = sorted(folder.name for folder in CORPUS.iterdir())

PLANTED = """\
import re, sys
from pathlib import Path

sys.path.insert(0, {folder!r})
import {name} as target
from fuzzing import instrument_func

{defect}
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
        """Show the input, what was raised, and the end, for whoever has to cure it."""
        before, found, raised = self.said.partition("=== Uncaught Python exception")
        raised = raised[:4000] if found else before[:2000]
        return "\n".join(
            [*(f"input: {data!r}" for data in self.crashes), found + raised, self.said[-2000:]]
        )


def fuzz(
    folder: Path, name: str, *options: str, program: Path | None = None, **environment: str
) -> Run:
    """Run a target on a copy of its corpus; what it writes stays in the folder."""
    shutil.copytree(CORPUS / name, folder / "corpus")
    program = program or FUZZ / f"{name}.py"
    done = subprocess.run(
        [sys.executable, program, f"-artifact_prefix={folder}/found-", *options, folder / "corpus"],
        cwd=folder,
        env={"TMPDIR": str(folder), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=300,
        check=False,
    )
    found = tuple(file.read_bytes() for file in folder.glob("found-*"))
    return Run(done.stdout + done.stderr, found, done.returncode != 0)


@pytest.mark.parametrize("name", TARGETS)
def test_a_short_run_finds_nothing(tmp_path: Path, name: str) -> None:
    """A stranger's bytes could end a process for everybody, or name a client that is none."""
    run = fuzz(tmp_path, name, "-max_total_time=2", "-runs=5000")
    assert not run.failed, str(run)
    assert not run.crashes, str(run)
    # A run in which nothing ran, or without coverage to guide it, would pass as well.
    assert "INITED cov: " in run.said, str(run)
    executed = run.said.split("stat::number_of_executed_units:")[1].split()[0]
    assert int(executed) > len(list((CORPUS / name).iterdir())), str(run)


def test_every_target_is_run() -> None:
    """One without kept inputs would be left out, here and by ``make fuzz``."""
    programs = {file.stem for file in FUZZ.glob("*.py")} - {"fuzzing"}
    assert programs == set(TARGETS)
    assert all(any((CORPUS / name).iterdir()) for name in TARGETS)


BROKEN_PROXY = """\
parse = target.parse

@instrument_func
def broken(data, longest):
    header = parse(data, longest)
    if header is not None:
{defect}
    return header

target.parse = broken
"""


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
    lines = indent(dedent(defect).strip(), " " * 8)
    is_found(tmp_path, "proxy_protocol", BROKEN_PROXY.format(defect=lines), complaint)


@pytest.mark.parametrize(
    ("name", "defect", "complaint"),
    [
        # A line break in a value is believed.
        (
            "settings",
            "from gatepost.settings import parsing\nparsing.one_line = lambda text: text",
            "AssertionError",
        ),
        # An address to listen on may go on after its scope.
        (
            "settings",
            ("from gatepost.settings import parsing\nparsing._without_scope = lambda text: text"),
            "Uncaught Python exception",
        ),
        # The error repeats the hash.
        (
            "imports",
            (
                "from gatepost.accounts import passwords\n"
                "from gatepost.errors import AccountError\n"
                "def broken(text):\n"
                "    raise AccountError(f'{text} is no hash')\n"
                "passwords.check_hash = broken"
            ),
            "a secret is told",
        ),
        # One mailbox lies in another.
        ("addresses", "target.addresses._PATH_SEPARATOR = {}", "AssertionError"),
        # What a client calls itself is taken for its address.
        (
            "witness_lines",
            (
                "from gatepost.plugins.dovecot import witness\n"
                "witness._LINE = re.compile(\n"
                "    witness._LINE.pattern.replace('(?P<user>.*)', '(?P<user>.*?)'))"
            ),
            "198.51.100.66",
        ),
        # A server's words reach the terminal as they come.
        (
            "answers",
            (
                "from gatepost.verify.clients import protocols\n"
                "protocols.shown = lambda words: words.decode('latin-1')[:120]"
            ),
            "control characters",
        ),
        # A file that is no certificate ends in a traceback.
        (
            "certificates",
            (
                "from cryptography import x509\n"
                "from gatepost.run import certificates\n"
                "certificates._read = lambda path, _variable: (\n"
                "    x509.load_pem_x509_certificates(Path(path).read_bytes())[0])"
            ),
            "ValueError",
        ),
    ],
    ids=["line-break", "scope", "secret", "folder", "forged", "escape", "certificate"],
)
def test_a_weaker_parser_is_found(tmp_path: Path, name: str, defect: str, complaint: str) -> None:
    """A rule of ours could be lost, and the fuzzing would go on finding nothing."""
    is_found(tmp_path, name, defect, complaint)


def is_found(folder: Path, name: str, defect: str, complaint: str) -> None:
    program = folder / "planted.py"
    program.write_text(PLANTED.format(folder=str(FUZZ), name=name, defect=defect))
    options = ("-seed=1", "-runs=400000", "-max_total_time=240")
    run = fuzz(folder, name, *options, program=program)
    assert run.failed, str(run)
    assert complaint in run.said, str(run)
    assert len(run.crashes) == 1, str(run)
    assert repr(run.crashes[0]) in str(run)


def test_fuzzing_that_cannot_run_says_so(tmp_path: Path) -> None:
    """A Python without atheris would have everybody believe that the parsers are fuzzed."""
    (tmp_path / "atheris.py").write_text("raise ImportError('no wheel for this Python')\n")
    run = fuzz(tmp_path, "proxy_protocol", "-runs=1", PYTHONPATH=str(tmp_path))
    assert run.failed
    assert "NOT fuzzed: no wheel for this Python" in run.said
