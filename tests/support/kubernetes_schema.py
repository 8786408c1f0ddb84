"""Fields of Kubernetes' own objects that Kubernetes gives up, by the words in its schemas."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate

VERSION: str = kubernetes_validate.latest_version()
"""The newest Kubernetes that the schemas know."""
_SCHEMAS = (
    Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema" / f"v{VERSION}-local"
)
Schema = dict[str, Any]
_SAID = re.compile(r"^\s*deprecated\b|\bis (now )?deprecated\b|\bDeprecated[:.]")


def deprecated(item: dict[str, Any]) -> list[str]:
    """Return the paths of an object's fields that its schema calls deprecated."""
    group, _, version = item["apiVersion"].rpartition("/")
    parts = [item["kind"].lower(), group.partition(".")[0], version]
    return list(_walk(item, _read(f"{'-'.join(filter(None, parts))}.json"), ""))


def _walk(value: Any, schema: Schema, path: str) -> Iterator[str]:
    if _SAID.search(schema.get("description", "")):
        yield path
    if reference := schema.get("$ref"):
        name = reference.rpartition("/")[2]
        schema = _read("_definitions.json")["$defs"][name]
    if isinstance(value, dict):
        known: Schema = schema.get("properties", {})
        for name, below in value.items():
            rest = schema.get("additionalProperties")
            found = known.get(name, rest if isinstance(rest, dict) else {})
            yield from _walk(below, found, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for number, below in enumerate(value):
            yield from _walk(below, schema.get("items", {}), f"{path}[{number}]")


@cache
def _read(name: str) -> Schema:
    found: Schema = json.loads((_SCHEMAS / name).read_text())
    return found
