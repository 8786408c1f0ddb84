"""Programs of this machine that stand in for images of others, in the pods of those images.

The official images of Traefik and PostgreSQL cannot be pulled everywhere. Their pods run the same
programs from elsewhere, with the arguments and the environment that the manifest gives the image.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from kubernetes_objects import Object
from pod_running import Command, as_user
from pods import Place, environment, volumes
from postgres import programs

TRAEFIK = Path(sys.executable).parent / "traefik"
_POSTGRES_USER = "postgres"


def program_for(place: Place, pod: Object, container: Object) -> Command | None:
    """Return the program that stands in for a container's image; None for one of our own."""
    name = container["image"].rpartition("/")[2].partition("@")[0].partition(":")[0]
    if name == "traefik":
        return Command(
            [str(TRAEFIK), *container["args"]], environment=environment(place.api, pod, container)
        )
    if name == "postgres":
        return _postgres(place, pod, container)
    return None


def _postgres(place: Place, pod: Object, container: Object) -> Command:
    """Do what the official image does: make the database at first start, then run the server."""
    settings = environment(place.api, pod, container)
    mounts = volumes(place, pod)
    claim = next(mount for mount in container["volumeMounts"] if "postgresql" in mount["mountPath"])
    folder = Path(mounts[claim["name"]][1].partition(":")[0])
    data = folder / "data"
    if not data.exists():
        subprocess.run(["chown", _POSTGRES_USER, folder], check=True)
        password = folder / "password"
        password.write_text(settings["POSTGRES_PASSWORD"])
        password.chmod(0o644)
        user = settings.get("POSTGRES_USER", "postgres")
        initdb = [
            *as_user(_POSTGRES_USER),
            *(str(programs() / "initdb"), "--pgdata", str(data), "--username", user),
            *("--pwfile", str(password), "--auth", "scram-sha-256", "--encoding", "UTF8"),
            *("--locale", "C.UTF-8", "--no-sync"),
        ]
        subprocess.run(initdb, check=True, capture_output=True)
        password.unlink()
        with (data / "pg_hba.conf").open("a") as file:
            file.write("host all all all scram-sha-256\n")
        subprocess.run(
            [
                *as_user(_POSTGRES_USER),
                str(programs() / "postgres"),
                "--single",
                "-D",
                str(data),
                "template1",
            ],
            input=f'CREATE DATABASE "{settings.get("POSTGRES_DB", user)}"\n',
            check=True,
            capture_output=True,
            text=True,
        )
    return Command(
        [
            str(programs() / "postgres"),
            *("-D", str(data), "-c", "listen_addresses=*", "-c", "unix_socket_directories="),
            *("-c", "fsync=off"),
            *container.get("args", []),
        ],
        user=_POSTGRES_USER,
        stop_signal=signal.SIGINT,
    )
