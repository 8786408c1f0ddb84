"""Words that only the authors understand stay out of pages, messages, docstrings and comments.

Readers are administrators in a hurry, many of them not native speakers.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]

CLEAN = (
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md"),
    *("docs", "deploy", ".github", "src/gatepost"),
)
"""Files and folders that are searched: all pages, and the program."""

GENERATED = {
    f"docs/reference/{name}.md" for name in ("settings", "ports", "commands", "kubernetes")
}
"""Pages whose words come from src/, where they are searched."""

PRIVATE = {
    "connect, probe": r"\bknock\w*",
    # "Evidence comes from the daemon" and "come back" are ordinary: a client that comes is not.
    "connect": (
        r"\b(?:who|whoever|nobody|anybody|somebody|clients?|probes?|prox(?:y|ies)|peers?|strangers?)"
        r" (?:that |who )?comes? (?:as|by|from|in|late|through|with)\b|\A\W*Comes? "
    ),
    # The plain infinitive stays: "nothing has to come back".
    "later, remaining, happen": (
        r"\b(?:check|mailbox|message|row|run|time)s? to come\b|\bcomes? (?:about|to be)\b"
    ),
    # Letters of the alphabet stay; a letter that is posted, read or lost is a message.
    "message": (
        r"\b(?:accept|collect|deliver|fetch|los[et]|post|read|receiv|sen[dt])\w* "
        r"(?:\w+ ){0,2}letters?\b"
        r"|\bletters? (?:(?:is|are|was|were|has been|that) )?"
        r"(?:accepted|arriv|delivered|lost|posted|sent)"
    ),
    # "Told apart" is ordinary English.
    "configured, reported, informed": r"\btold\b(?! apart)",
    "observed, reported, read": r"\bheard\b|\bsaid of\b|\b(?:is|are|was|were|be) said\b",
    # "Looked up" stays: a name is looked up in the DNS.
    "read, checked, searched": r"\blooked (?:after|at|for|through|whether)\b|\bis looked(?! up)\b",
    # "Cannot tell whether" stays, and so does a program that tells another one to do something.
    "shows, explains": (
        r"\btells (?:how|its|more|of|that|what|when|where|which|whether|why|you)\b|\btell of\b"
        r"|`(?:[\w-]+ )*[\w-]+` tells?\b|\b(?:columns?|lines?|logs?|pages?|rows?|tables?) tells?\b"
    ),
    "cleanup, removal": r"\bemptying\b",
    # "The whole address" and "as a whole" are ordinary: the adverb and the predicate are not.
    "complete, completely": (
        r"\b(?:are|be|done|given|is|it|read|replaced?|replaces it|them|written) whole\b"
        r"|(?<!as a )\bwhole(?:[,.;:)]|$| (?:and|in|or|until|before|from)\b)"
        r"|\bwhole (?:mail )?(?:part|proof|run|server|tree|way)s?\b|\bthe whole of\b"
    ),
}
"""What to write instead → a pattern of what is private.

*Shown* is missing although it stands in the list of style: a certificate is shown to a client in
ordinary English, too.
"""

OPENING = re.compile(r"(?:Who|What|Where|How|Nobody|Nothing|Whether)\b")
"""Beginnings of a docstring that leave its subject open."""


def files(place: str) -> Iterator[Path]:
    """Yield the files of a place whose words are searched.

    Templates are left out: their comments are in the rendered files, which users compare.
    """
    path = REPOSITORY / place
    found = [path] if path.is_file() else sorted(path.rglob("*"))
    for file in found:
        parts = file.relative_to(REPOSITORY).parts
        if not file.is_file() or {"_build", "__pycache__", "templates"} & set(parts):
            continue
        if str(file.relative_to(REPOSITORY)) not in GENERATED:
            yield file


def paragraphs(text: str) -> Iterator[tuple[int, str]]:
    """Yield each paragraph of a page with its line, without code and without targets of links."""
    text = re.sub(r"(?ms)^ *```.*?^ *```", lambda found: "\n" * found[0].count("\n"), text)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    for found in re.finditer(r"(?s)\S.*?(?=\n\s*\n|\n *[-*|#] |\n\|| *\Z)", text):
        yield text.count("\n", 0, found.start()) + 1, found[0]


def comments(text: str) -> Iterator[tuple[int, str]]:
    """Yield each block of comment lines of a file with its line."""
    for found in re.finditer(r"(?m)(?:^ *#(?!!).*\n?)+", text):
        words = re.sub(r"(?m)^ *# ?", "", found[0])
        yield text.count("\n", 0, found.start()) + 1, words


def docstrings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the docstrings of a module, its classes, functions and attributes, with their lines."""
    for node in ast.walk(tree):
        match node:
            case ast.Expr(value=ast.Constant(value=str(words))):
                yield node.lineno, words


def strings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield what reads as words among the strings of a module: docstrings, helps, messages."""
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(words)) if re.search(r"\w \w", words):
                yield node.lineno, words


def remarks(text: str) -> Iterator[tuple[int, str]]:
    """Yield the comments of a module, those at the end of a line of code, too."""
    yield from comments(text)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and token.line[: token.start[1]].strip():
            yield token.start[0], token.string


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """Yield what a person reads in a file, with its line."""
    text = path.read_text(encoding="utf-8", errors="replace")
    if path.suffix == ".md":
        yield from paragraphs(text)
    elif path.suffix == ".py":
        yield from strings(ast.parse(text))
        yield from remarks(text)
    else:
        yield from comments(text)


def private_words(path: Path) -> Iterator[str]:
    """Yield a line for each private word of a file."""
    for line, text in prose(path):
        words = re.sub(r"\s+", " ", text)
        for instead, pattern in PRIVATE.items():
            for found in re.finditer(pattern, words, re.IGNORECASE):
                yield f'{path}:{line}: "{found[0]}": write {instead}'


def open_beginnings(path: Path) -> Iterator[str]:
    """Yield a line for each docstring of a file that begins without its subject."""
    if path.suffix == ".py":
        for line, text in docstrings(ast.parse(path.read_text(encoding="utf-8"))):
            if found := OPENING.match(text):
                yield f"{path}:{line}: a docstring begins with {found[0]}: write a verb or a noun"


@pytest.mark.parametrize("place", CLEAN)
def test_words_are_everyones(place: str) -> None:
    """A reader meets a word that only its author understands."""
    read = list(files(place))
    assert read, f"{place} has no files"
    assert [words for path in read for words in private_words(path)] == []


@pytest.mark.parametrize("place", CLEAN)
def test_docstrings_begin_with_a_verb_or_a_noun(place: str) -> None:
    """A reader has to go through the sentence twice to find what it speaks of."""
    assert [words for path in files(place) for words in open_beginnings(path)] == []


@pytest.mark.parametrize(
    "sentence",
    [
        "Knock at the port.",
        "Where a check knocks.",
        "Whoever comes through it is refused.",
        "Come as a proxy does.",
        "Give a run its mailbox, when a check to come needs it.",
        "No connection comes about.",
        "Read every letter that was posted.",
        "Postfix is told of the change.",
        "Nothing is heard of a daemon.",
        "What daemons said of their clients.",
        "Files that are looked at in each folder.",
        "Each row tells what is wrong.",
        "`gatepost status` tells why.",
        "The emptying failed.",
        "The file is replaced whole.",
        "It is done whole or not at all.",
        "A whole mail server.",
    ],
)
def test_control_a_private_word_is_found(tmp_path: Path, sentence: str) -> None:
    """The search reads nothing, and every page passes."""
    page, module, manifest = (tmp_path / name for name in ("a.md", "a.py", "a.yaml"))
    page.write_text(f"# Title\n\nA line.\n\n- {sentence}\n")
    module.write_text(
        f'A = 1\n"""{sentence}"""\nb = 2  # {sentence}\nc = fail(f"{{A}}: {sentence}")\n'
    )
    manifest.write_text(f"# {sentence}\nkind: Pod\n")
    assert {int(words.split(":")[1]) for words in private_words(page)} == {5}
    assert {int(words.split(":")[1]) for words in private_words(manifest)} == {1}
    assert {int(words.split(":")[1]) for words in private_words(module)} == {2, 3, 4}


@pytest.mark.parametrize(
    "sentence",
    [
        "Evidence comes from the daemon.",
        "If one does not come back, ask the pod.",
        "Settings come from the environment.",
        "Use letters, digits and dots only.",
        "The domain with its own letters.",
        "Both probes are told apart by their ports.",
        "The name is looked up in the DNS.",
        "It cannot tell whether a route leads anywhere.",
        "The user name is the whole address.",
        "The check judges the server as a whole.",
        "The certificate is shown to clients.",
    ],
)
def test_control_ordinary_english_passes(tmp_path: Path, sentence: str) -> None:
    """Authors would be sent to mend what is right, and switch the search off."""
    page = tmp_path / "page.md"
    page.write_text(f"{sentence}\n\n```sh\n# Knock: code is not prose\n```\n")
    assert list(private_words(page)) == []


@pytest.mark.parametrize(
    ("docstring", "wrong"),
    [
        ("Who may read it.", True),
        ("Whether it runs.", True),
        ("Nothing is written.", True),
        ("Return who may read it.", False),
        ("Users that may read it.", False),
    ],
)
def test_control_an_open_beginning_is_found(
    tmp_path: Path,
    docstring: str,
    wrong: bool,  # noqa: FBT001
) -> None:
    """The search does not reach docstrings of attributes, or objects to good ones."""
    module = tmp_path / "a.py"
    module.write_text(f'class A:\n    b: int\n    """{docstring}"""\n')
    assert bool(list(open_beginnings(module))) is wrong
