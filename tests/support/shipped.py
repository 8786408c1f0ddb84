"""The shipped manifests, as the real kubectl renders them; no cluster is asked."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
KUSTOMIZE = DEPLOY / "kustomize"
Manifest = dict[str, Any]

KUBECTL = Path(sys.executable).with_name("kubectl")


class RenderingError(Exception):
    """What kubectl says about a folder that it cannot render."""


def render(folder: Path) -> list[Manifest]:
    """Return the objects of a kustomization; raise `RenderingError` with kubectl's words."""
    done = subprocess.run(
        [KUBECTL, "kustomize", folder], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RenderingError(done.stderr.strip())
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def overlay(place: Path, name: str = "example", files: Mapping[str, str] | None = None) -> Path:
    """Copy what ships below a folder and fill an overlay in as its user does; return its folder.

    `files` are the user's, in place of the examples; an empty text leaves a file out.
    """
    tree = shutil.copytree(KUSTOMIZE, place / "kustomize")
    folder: Path = tree / "overlays" / name
    for example in folder.glob("*.example"):
        wanted = example.name.removesuffix(".example")
        text = (files or {}).get(wanted, example.read_text())
        if text:
            (folder / wanted).write_text(text)
    return folder


def of_kind(objects: list[Manifest], kind: str) -> dict[str, Manifest]:
    """Return the objects of a kind by name."""
    return {found["metadata"]["name"]: found for found in objects if found["kind"] == kind}


def container(stateful_set: Manifest) -> Manifest:
    """Return the one container of a pod."""
    (only,) = stateful_set["spec"]["template"]["spec"]["containers"]
    found: Manifest = only
    return found


def pod_labels(stateful_set: Manifest) -> dict[str, str]:
    """Return the labels of its pods."""
    labels: dict[str, str] = stateful_set["spec"]["template"]["metadata"]["labels"]
    return labels


def environment(objects: list[Manifest], service: str) -> dict[str, str]:
    """Return what a pod is told: by its image, the ConfigMap and the Secret that it names."""
    told = {"GATEPOST_PLACE": "container"}
    for source in container(of_kind(objects, "StatefulSet")[service])["envFrom"]:
        if "configMapRef" in source:
            told |= of_kind(objects, "ConfigMap")[source["configMapRef"]["name"]]["data"]
        else:
            secret = of_kind(objects, "Secret")[source["secretRef"]["name"]]
            told |= dict.fromkeys(secret["data"], "a password")
    return told


def admitted(policy: Manifest, labels: Mapping[str, str]) -> Iterator[int]:
    """Yield the ports that a policy opens to a pod with these labels in the same namespace."""
    for rule in policy["spec"]["ingress"]:
        peers = rule.get("from")
        if peers is None or any(_matches(peer, labels) for peer in peers):
            for port in rule["ports"]:
                yield port["port"]


def _matches(peer: Manifest, labels: Mapping[str, str]) -> bool:
    if peer.keys() - {"podSelector", "namespaceSelector"}:
        raise ValueError(f"a peer that this does not know: {peer}")
    selector = peer.get("podSelector", {})
    if selector.keys() - {"matchLabels"} or peer.get("namespaceSelector"):
        raise ValueError(f"a selector that this does not know: {peer}")
    wanted: dict[str, str] = selector.get("matchLabels", {})
    return wanted.items() <= labels.items()
