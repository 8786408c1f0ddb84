"""What Traefik's own custom resources may hold, and which of their fields it gives up.

The npm package `@kubernetes-models/traefik` has an interface in TypeScript for each type of
Traefik 3, made from Traefik's source: names, types, whether a field must be there, and in its
comment whether it is deprecated. `make test-packages` fetches it into .venv.
"""

from __future__ import annotations

import re
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = Path(sys.prefix) / "traefik-models"
_KINDS = "package/traefik.io/v1alpha1"
_FIELD = re.compile(
    r'(?:/\*\*(?P<comment>(?:(?!\*/).)*)\*/\s*)?"(?P<name>\w+)"(?P<may>\??): ', re.DOTALL
)
_INTERFACE = re.compile(r"export interface \w+[^{]*\{\n(.*?)^\}", re.DOTALL | re.MULTILINE)
_SCALARS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "number": (int, float),
    "boolean": (bool,),
    "IIoK8sApimachineryPkgUtilIntstrIntOrString": (int, str),
    # kubectl and `kubernetes-validate` know what a name and a label are.
    "IIoK8sApimachineryPkgApisMetaV1ObjectMeta": (dict,),
}


@dataclass(frozen=True)
class Finding:
    """Something about a field: where it is, and what is the matter."""

    path: str
    trouble: str


@dataclass(frozen=True)
class Field:
    """A field of a type."""

    kind: str
    required: bool
    deprecated: str
    """What Traefik says about it, or nothing."""


def findings(item: dict[str, Any]) -> list[Finding]:
    """Return what an object of Traefik's has that Traefik does not know, lacks, or gives up."""
    file = f"{_KINDS}/{item['kind']}.d.ts"
    if item["apiVersion"] != "traefik.io/v1alpha1" or file not in _files():
        return [Finding("kind", f"Traefik knows no {item['apiVersion']} {item['kind']}")]
    return list(_examined(item, file, ""))


def _examined(item: dict[str, Any], file: str, path: str) -> Iterator[Finding]:
    fields = _interface(file)
    for name in item.keys() - fields.keys():
        yield Finding(f"{path}{name}", "unknown")
    for name, field in fields.items():
        here = f"{path}{name}"
        if name not in item:
            if field.required:
                yield Finding(here, "missing")
            continue
        if field.deprecated:
            yield Finding(here, f"deprecated: {field.deprecated}")
        yield from _value(item[name], field.kind, file, here)


def _value(value: Any, kind: str, file: str, path: str) -> Iterator[Finding]:
    if listed := re.fullmatch(r"Array<(.*)>", kind):
        if not isinstance(value, list):
            yield Finding(path, "not a list")
            return
        for number, element in enumerate(value):
            yield from _value(element, listed[1], file, f"{path}[{number}]")
    elif choices := re.findall(r'"([^"]*)"', kind):
        if value not in choices:
            yield Finding(path, f"not one of {choices}")
    elif types := _SCALARS.get(kind):
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            yield Finding(path, f"not a {kind}")
    elif not isinstance(value, dict):
        yield Finding(path, "not an object")
    else:
        yield from _examined(value, _imported(file, kind), f"{path}.")


@cache
def _files() -> dict[str, str]:
    """Return the package's declarations by path."""
    archives = sorted(PACKAGE.glob("kubernetes-models-traefik-*.tgz"))
    assert archives, f"{PACKAGE} does not hold Traefik's types: run make test-packages"
    with tarfile.open(archives[-1]) as archive:
        found = {}
        for member in archive:
            stream = archive.extractfile(member) if member.name.endswith(".d.ts") else None
            if stream:
                found[member.name] = stream.read().decode()
    return found


@cache
def _interface(file: str) -> dict[str, Field]:
    """Return the fields of the interface that a file declares."""
    body = re.search(
        r"export interface \w+[^{]*\{\n(.*?)^\}", _files()[file], re.DOTALL | re.MULTILINE
    )
    assert body, file
    text, fields = body[1], {}
    for found in _FIELD.finditer(text):
        end = text.index(";\n", found.end())
        comment = re.sub(r"\s*\n\s*\* ?", " ", found["comment"] or "")
        _, _, deprecated = comment.partition("Deprecated: ")
        fields[found["name"]] = Field(text[found.end() : end], not found["may"], deprecated.strip())
    assert fields, file
    return fields


def _imported(file: str, kind: str) -> str:
    """Return the file that declares a type which another file names."""
    found = re.search(rf'import \{{ {kind} \}} from "(\.[^"]+)\.js"', _files()[file])
    assert found, f"{file} imports no {kind}: this reader has to learn it"
    parts: list[str] = []
    for part in [*file.split("/")[:-1], *f"{found[1]}.d.ts".split("/")]:
        if part == "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)
