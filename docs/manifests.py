"""The reference page of the Kubernetes objects, read from the manifests themselves.

The comment above an object explains its purpose, and whatever its fields do not show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parent.parent / "deploy"
Manifest = dict[str, Any]

_PAGE = """\
{notice}
# Kubernetes objects

Every object in `deploy/`, folder by folder. [Run it in Kubernetes](../how-to/run-in-kubernetes.md)
explains how to apply them.

| port | purpose |
|---|---|
| 31025, 31143, … | service ports: for the reverse proxy, with a PROXY header |
| 32025, 32143, … | internal ports: for this project's own pods, without a PROXY header |
| 3325, 33143, … | Traefik's entry points |

All of them are in [the table of listeners](ports.md).

{sections}

## What overlays make

| kind | name | ports | what for |
|---|---|---|---|
| ConfigMap | `gatepost` | | `common/defaults.env`, and your `.env` over it |
| Secret | `gatepost` | | your `secret.env`: `DB_PASSWORD` |

Kustomize adds a suffix to both names that changes with what is inside, so that pods start anew.

{overlays}

## Beside Traefik

Of `deploy/traefik/values.yaml`, for Traefik's Helm chart. `k3s-helmchartconfig.yaml` has the same
for k3s.

| kind | name | ports | what for |
|---|---|---|---|
{traefik}
"""
_SECTION = """\
## `{folder}`

{purpose}
"""
_TABLE = """
| kind | name | ports | what for |
|---|---|---|---|
{rows}
"""


def page(notice: str) -> str:
    """Return the page; `notice` says where it comes from."""
    folders = sorted(
        file.parent
        for file in (DEPLOY / "kustomize").rglob("kustomization.yaml")
        if "overlays" not in file.parts
    )
    overlays = sorted((DEPLOY / "kustomize" / "overlays").iterdir())
    return _PAGE.format(
        notice=notice,
        sections="\n".join(_section(folder) for folder in folders),
        overlays="\n\n".join(_overlay(folder) for folder in overlays),
        traefik="\n".join(_traefik()),
    )


def _section(folder: Path) -> str:
    text = _SECTION.format(
        folder=folder.relative_to(DEPLOY.parent),
        purpose=_comment((folder / "kustomization.yaml").read_text()),
    )
    rows = [_row(item, comment) for comment, item in _objects(folder)]
    return text + _TABLE.format(rows="\n".join(rows)) if rows else text


def _overlay(folder: Path) -> str:
    return f"`overlays/{folder.name}`\n: {_comment((folder / 'kustomization.yaml').read_text())}"


def _objects(folder: Path) -> list[tuple[str, Manifest]]:
    """Return the objects that a kustomization names, each with the comment above it."""
    named = yaml.safe_load((folder / "kustomization.yaml").read_text()).get("resources", [])
    files = [folder / name for name in named if (folder / name).is_file()]
    texts = [text for file in files for text in file.read_text().split("\n---\n")]
    return [(_comment(text), yaml.safe_load(text)) for text in texts]


def _comment(text: str) -> str:
    """Return the comment that a text begins with, as one line."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    return " ".join(lines)


def _row(item: Manifest, comment: str) -> str:
    ports, purpose = _KINDS.get(item["kind"], _nothing)(item)
    told = " ".join(filter(None, (purpose, comment)))
    name = item["metadata"]["name"]
    return f"| {item['kind']} | `{name}` | {ports} | {told.replace('|', '&#124;')} |"


# --- what the fields of each kind say -------------------------------------------------------


def _nothing(_: Manifest) -> tuple[str, str]:
    return "", ""


def _stateful_set(item: Manifest) -> tuple[str, str]:
    spec = item["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    (claim,) = spec["volumeClaimTemplates"]
    size = claim["spec"]["resources"]["requests"]["storage"]
    ports = ", ".join(str(port["containerPort"]) for port in container["ports"])
    return (
        ports,
        f"The pod `{item['metadata']['name']}-0` of `{container['image']}`, {size} of volume.",
    )


def _service(item: Manifest) -> tuple[str, str]:
    rows = item["spec"]["ports"]
    shown = [f"{row['name']} {row['port']} → {row.get('targetPort', row['port'])}" for row in rows]
    return "<br>".join(shown), ""


def _policy(item: Manifest) -> tuple[str, str]:
    rules = [
        f"from {', '.join(_peer(peer) for peer in rule['from'])}: "
        + ", ".join(str(port["port"]) for port in rule["ports"])
        for rule in item["spec"].get("ingress", [])
    ]
    return "<br>".join(rules), ""


def _peer(peer: Manifest) -> str:
    labels = peer["podSelector"]["matchLabels"]
    name = labels.get("app.kubernetes.io/name")
    return f"`{name}`" if name else f"all of {labels['app.kubernetes.io/part-of']}"


def _route(item: Manifest) -> tuple[str, str]:
    (route,) = item["spec"]["routes"]
    (service,) = route["services"]
    (entry_point,) = item["spec"]["entryPoints"]
    way = f"entry point {entry_point} → `{service['name']}`, {service['port']}"
    return way, f"All connections of that entry point, with a PROXY header to `{service['name']}`."


_KINDS: dict[str, Callable[[Manifest], tuple[str, str]]] = {
    "StatefulSet": _stateful_set,
    "Service": _service,
    "NetworkPolicy": _policy,
    "IngressRouteTCP": _route,
}


def _traefik() -> Iterator[str]:
    """Yield the Services that the chart makes of the values."""
    values = yaml.safe_load((DEPLOY / "traefik" / "values.yaml").read_text())
    rows = {name: row for name, row in values["ports"].items() if "port" in row}
    points = "<br>".join(f"{name} {row['port']}" for name, row in rows.items())
    for name in values["service"]["additionalServices"]:
        yield (
            f"| Service | `traefik-{name}` | {points} | The entry points within the cluster: what "
            "the settings `MDA_*_ADDRESS` and `MTA_*_ADDRESS` name. |"
        )
    for item in values["extraObjects"]:
        yield _row(item, "The load balancer for the ports that the world knows.")
