"""What Traefik's Helm chart makes of our values: its Deployment, its Services, extra objects.

The chart itself cannot be fetched everywhere. Written after its versions 37 and 41, and only as far
as our values reach: release ``traefik`` in the namespace it is installed in.
"""

from __future__ import annotations

from typing import Any

from kubernetes_objects import Object

NAME = {"app.kubernetes.io/name": "traefik"}
LABELS = {
    **NAME,
    "app.kubernetes.io/instance": "traefik-default",
    "app.kubernetes.io/managed-by": "Helm",
}
_PORTS: dict[str, dict[str, Any]] = {
    "traefik": {"port": 8080, "expose": {"default": False}},
    "metrics": {"port": 9100, "expose": {"default": False}},
    "web": {"port": 8000, "exposedPort": 80, "expose": {"default": True}},
    "websecure": {"port": 8443, "exposedPort": 443, "expose": {"default": True}},
}
"""The ports of the chart itself."""


def objects(values: dict[str, Any], api: str) -> list[Object]:
    """Return what the chart installs; Traefik finds the API server at `api`."""
    ports = _PORTS | {name: _PORTS.get(name, {}) | row for name, row in values["ports"].items()}
    service = values.get("service", {})
    more = service.get("additionalServices", {})
    return [
        _deployment(values, ports, api),
        _service("traefik", ports, "default", {"type": "LoadBalancer", **service.get("spec", {})}),
        # The chart up to version 39 reads the type beside the spec, those since only in it.
        *(_service(f"traefik-{name}", ports, name, row["spec"]) for name, row in more.items()),
        *values.get("extraObjects", []),
    ]


def _service(name: str, ports: dict[str, Any], shown: str, spec: dict[str, Any]) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": LABELS},
        "spec": {
            **spec,
            "selector": {k: v for k, v in LABELS.items() if not k.endswith("managed-by")},
            "ports": [
                {
                    "name": port,
                    "port": row.get("exposedPort", row["port"]),
                    "targetPort": row.get("targetPort", port),
                    "protocol": "TCP",
                }
                for port, row in ports.items()
                if row.get("expose", {}).get(shown)
            ],
        },
    }


def _deployment(values: dict[str, Any], ports: dict[str, Any], api: str) -> Object:
    arguments = [
        f"--global.checkNewVersion={str(values['global']['checkNewVersion']).lower()}",
        f"--global.sendAnonymousUsage={str(values['global']['sendAnonymousUsage']).lower()}",
        *(f"--entryPoints.{name}.address=:{row['port']}/tcp" for name, row in ports.items()),
        "--api.dashboard=true",
        "--ping=true",
        "--log.level=INFO",
        "--entryPoints.websecure.http.tls=true",
        *_trusting(ports),
        *(f"--entryPoints.{n}.asDefault=true" for n, row in ports.items() if row.get("asDefault")),
        # In a cluster these are found out from the pod; this Traefik is told where it is.
        "--providers.kubernetescrd",
        "--providers.kubernetescrd.allowEmptyServices=true",
        f"--providers.kubernetescrd.endpoint={api}",
        "--providers.kubernetesingress",
        f"--providers.kubernetesingress.endpoint={api}",
        *values.get("additionalArguments", []),
    ]
    container = {
        "name": "traefik",
        "image": "docker.io/traefik:v3.7",
        "args": arguments,
        "ports": [{"name": name, "containerPort": row["port"]} for name, row in ports.items()],
        "readinessProbe": {"httpGet": {"path": "/ping", "port": 8080}},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "traefik", "labels": LABELS},
        "spec": {
            "replicas": 1,
            "template": {"metadata": {"labels": LABELS}, "spec": {"containers": [container]}},
        },
    }


def _trusting(ports: dict[str, Any]) -> list[str]:
    """Return the arguments that let a load balancer before Traefik say who a client is."""
    return [
        f"--entryPoints.{name}.proxyProtocol.trustedIPs={','.join(trusted)}"
        for name, row in ports.items()
        if (trusted := row.get("proxyProtocol", {}).get("trustedIPs"))
    ]
