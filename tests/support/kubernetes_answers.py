"""What an API server says besides objects: what it knows, tables for kubectl, marks in a watch."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from kubernetes_objects import KINDS, Kind, Object

VERSION = "v1.34.0"


def bookmark(kind: Kind, version: int) -> Object:
    """Return the object that ends the initial events of a watch."""
    meta = {
        "resourceVersion": str(version),
        "annotations": {"k8s.io/initial-events-end": "true"},
    }
    return {"apiVersion": kind.api, "kind": kind.kind, "metadata": meta}


def table(items: Sequence[Object], version: str) -> Object:
    """Return objects as kubectl prints them: a name and how old they are."""
    columns = (("Name", "string", "name"), ("Age", "string", ""))
    return {
        "apiVersion": "meta.k8s.io/v1",
        "kind": "Table",
        "metadata": {"resourceVersion": version},
        "columnDefinitions": [
            {"name": name, "type": kind, "format": form, "description": name, "priority": 0}
            for name, kind, form in columns
        ],
        "rows": [
            {
                "cells": [item["metadata"]["name"], _age(item)],
                "object": {
                    "apiVersion": "meta.k8s.io/v1",
                    "kind": "PartialObjectMetadata",
                    "metadata": item["metadata"],
                },
            }
            for item in items
        ],
    }


def _age(item: Object) -> str:
    made = dt.datetime.fromisoformat(item["metadata"]["creationTimestamp"])
    return f"{(dt.datetime.now(dt.UTC) - made).seconds}s"


def discovery(path: str) -> Object | None:
    """Return what the API server says about itself; None for other paths."""
    groups: dict[str, str] = {kind.group: kind.api for kind in KINDS if kind.group}
    if path == "/version":
        return {"major": "1", "minor": VERSION.split(".")[1], "gitVersion": VERSION}
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        return {
            "apiVersion": "v1",
            "kind": "APIGroupList",
            "groups": [
                {
                    "name": group,
                    "versions": [_group_version(api)],
                    "preferredVersion": _group_version(api),
                }
                for group, api in groups.items()
            ],
        }
    asked = path.removeprefix("/apis/").removeprefix("/api/")
    resources = [_resource(kind) for kind in KINDS if kind.api == asked]
    if not resources:
        return None
    kind = {"apiVersion": "v1", "kind": "APIResourceList"}
    return {**kind, "groupVersion": asked, "resources": resources}


def _group_version(api: str) -> Object:
    return {"groupVersion": api, "version": api.partition("/")[2]}


def _resource(kind: Kind) -> Object:
    return {
        "name": kind.path,
        "singularName": kind.kind.lower(),
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "shortNames": list(kind.short),
        "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"],
    }
