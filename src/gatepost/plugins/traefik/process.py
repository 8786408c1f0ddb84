"""Starting and reloading Traefik, and the probes of its readiness."""

from __future__ import annotations

from gatepost.contracts import Context
from gatepost.model import Process, Readiness
from gatepost.plugins.traefik.files import FOLDER, PROCESS, USER

_FIRST_PRIVILEGED_FREE_PORT = 1024


def processes(context: Context) -> tuple[Process, ...]:
    """Return the process: unprivileged, with one capability when it opens ports below 1024."""
    ports = [address.port for bound in context.topology.listeners for address in bound.public]
    low = min(ports) < _FIRST_PRIVILEGED_FREE_PORT
    config = context.site.home.config / FOLDER / "traefik.yaml"
    return (
        Process(
            name=PROCESS,
            argv=(str(context.site.program.parent / "traefik"), f"--configFile={config}"),
            ready=_readiness(context),
            # Its file watcher follows the old folder when `current` is swapped; SIGHUP reads anew.
            reload=("kill", "-HUP", "{pid}"),
            overlaps=True,
            user=USER.name,
            capabilities=("net_bind_service",) if low else (),
            # It waits for open connections, which last for hours; `down` does not.
            stop_seconds=1.0,
        ),
    )


def _readiness(context: Context) -> tuple[Readiness, ...]:
    """Return one probe for each public address; a banner shows that the way behind it is open."""
    # All HTTP routes share their addresses.
    return tuple(
        dict.fromkeys(
            Readiness(address.reachable, bound.listener.greeting)
            for bound in context.topology.listeners
            for address in bound.public
        )
    )
