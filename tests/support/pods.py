"""A pod as a container of podman: what its manifest says, nothing more and nothing less.

Env, ports, volumes and the security context are the manifest's own. Requests and limits are not
enforced: a test machine may have no control groups to give.
"""

from __future__ import annotations

import base64
import functools
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubernetes_api import KubernetesApi
from kubernetes_objects import Object, named

_CAPABILITY = re.compile(r"[A-Z_]+")


@dataclass(frozen=True)
class Place:
    """Where a pod runs."""

    api: KubernetesApi
    folder: Path
    """For volumes and what belongs to pods."""
    podman: tuple[str, ...]
    """The words that begin a call of podman, its store included."""
    mark: str
    """Begins the name of each container."""


# --- what the manifest says -----------------------------------------------------------------


def environment(api: KubernetesApi, pod: Object, container: Object) -> dict[str, str]:
    """Return a container's environment; raise `KeyError` for what a node would wait for."""
    namespace = pod["metadata"]["namespace"]
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        kind, reference = _reference(source, "Ref")
        values = _values(api, kind, reference, namespace)
        found |= {source.get("prefix", "") + name: value for name, value in values.items()}
    for row in container.get("env", []):
        origin = row.get("valueFrom", {})
        if not origin:
            found[row["name"]] = _expanded(row.get("value", ""), found)
        elif "fieldRef" in origin:
            found[row["name"]] = _field(pod, origin["fieldRef"]["fieldPath"])
        else:
            kind, reference = _reference(origin, "KeyRef")
            values = _values(api, kind, reference, namespace)
            if reference["key"] in values or not reference.get("optional"):
                found[row["name"]] = values[reference["key"]]
    return found


def _reference(source: Object, end: str) -> tuple[str, Object]:
    """Return the kind and the details of a reference to a ConfigMap or a Secret."""
    kind = "ConfigMap" if f"configMap{end}" in source else "Secret"
    return kind, source[f"{kind[0].lower()}{kind[1:]}{end}"]


def _expanded(value: str, known: Mapping[str, str]) -> str:
    """Put in variables that came before: ``$(NAME)``."""
    return re.sub(r"\$\((\w+)\)", lambda found: known.get(found[1], found[0]), value)


def _values(api: KubernetesApi, kind: str, reference: Object, namespace: str) -> dict[str, str]:
    item = api.objects.get(named(kind), reference["name"], namespace)
    if item is None:
        if reference.get("optional"):
            return {}
        raise KeyError(f"{kind} {reference['name']} not found")
    return {name: value.decode() for name, value in _contents(item).items()}


def _contents(item: Object) -> dict[str, bytes]:
    """Return the values of a ConfigMap or Secret."""
    data = item.get("data") or {}
    if item["kind"] == "Secret":
        return {name: base64.b64decode(value) for name, value in data.items()}
    return {name: value.encode() for name, value in data.items()}


def _field(pod: Object, path: str) -> str:
    if labelled := re.fullmatch(r"metadata\.(labels|annotations)\['(.+)'\]", path):
        return str(pod["metadata"].get(labelled[1], {}).get(labelled[2], ""))
    if path == "status.podIPs":
        return ",".join(row["ip"] for row in pod["status"]["podIPs"])
    return str(functools.reduce(lambda value, part: value[part], path.split("."), pod))


def volumes(place: Place, pod: Object) -> dict[str, list[str]]:
    """Return the words that mount each volume of a pod; ``{at}`` in them is where."""
    namespace = pod["metadata"]["namespace"]
    made: dict[str, list[str]] = {}
    own = place.folder / "pods" / pod["metadata"]["uid"]
    for volume in pod["spec"].get("volumes", []):
        folder = own / volume["name"]
        if claim := volume.get("persistentVolumeClaim"):
            folder = place.folder / "volumes" / claim["claimName"]
        elif volume.get("emptyDir", {}).get("medium") == "Memory":
            size = _bytes(volume["emptyDir"].get("sizeLimit", "64Mi"))
            made[volume["name"]] = [
                "--mount",
                f"type=tmpfs,dst={{at}},tmpfs-size={size},tmpfs-mode=1777",
            ]
            continue
        if not folder.exists():
            folder.mkdir(parents=True)
            # As nodes make them: everybody in the pod may write.
            folder.chmod(0o777)
        for source in volume.get("projected", {}).get("sources", [volume]):
            _fill(place.api, folder, source, namespace)
        if group := pod["spec"].get("securityContext", {}).get("fsGroup"):
            os.chown(folder, -1, group)
            folder.chmod(0o2775)
        made[volume["name"]] = ["--volume", f"{folder}:{{at}}"]
    return made


def _fill(api: KubernetesApi, folder: Path, source: Object, namespace: str) -> None:
    """Write the files of a ConfigMap, a Secret, or a service account's token."""
    if not source.keys() & {"configMap", "secret"}:
        return
    kind, reference = _reference(source, "")
    name = str(reference.get("name") or reference.get("secretName"))
    item = api.objects.get(named(kind), name, namespace)
    if item is None and not reference.get("optional"):
        raise KeyError(f"{kind} {name} not found")
    paths = {row["key"]: row["path"] for row in reference.get("items", [])}
    for key, content in _contents(item).items() if item else ():
        if not paths or key in paths:
            file = folder / paths.get(key, key)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
            file.chmod(reference.get("defaultMode", 0o644))


def _bytes(quantity: str) -> int:
    """Read a quantity such as ``64Mi``."""
    number, unit = int(quantity.rstrip("KMGi")), quantity.lstrip("0123456789")
    base = 1024 if unit.endswith("i") else 1000
    return number * int(base ** ("KMG".index(unit[0]) + 1 if unit else 0))


def security(pod: Object, container: Object) -> list[str]:
    """Return podman's words for a container's security context, over the pod's."""
    context: dict[str, Any] = {
        **pod["spec"].get("securityContext", {}),
        **container.get("securityContext", {}),
    }
    assert not context.get("privileged"), "no container of ours is privileged"
    words: list[str] = []
    capabilities = context.get("capabilities", {})
    for verb in ("drop", "add"):
        for name in capabilities.get(verb, []):
            assert _CAPABILITY.fullmatch(name), name
            words += [f"--cap-{verb}", name]
    if context.get("allowPrivilegeEscalation") is False:
        words += ["--security-opt", "no-new-privileges"]
    if context.get("readOnlyRootFilesystem"):
        words += ["--read-only", "--read-only-tmpfs=false"]
    if context.get("seccompProfile", {}).get("type", "Unconfined") == "Unconfined":
        words += ["--security-opt", "seccomp=unconfined"]
    if "runAsUser" in context:
        words += ["--user", f"{context['runAsUser']}:{context.get('runAsGroup', 0)}"]
    if group := context.get("fsGroup"):
        words += ["--group-add", str(group)]
    return words


def forget(place: Place, pod: Object) -> None:
    """Remove what belonged to a pod alone; its claims stay."""
    shutil.rmtree(place.folder / "pods" / pod["metadata"]["uid"], ignore_errors=True)
