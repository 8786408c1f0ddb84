"""The MTA is cut from proxy and mail store, and the mail store is replaced, while mail comes in."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from accounts import ALICE, BOB
from continuous_load import Load, found, wait_until
from network import Host
from two_places import Place, Running, running, two_places

from faults import AT_ONCE, MAILBOXES, UNLIMITED, Ordeal

PROGRAMS = Path(sys.executable).parent
WAYS = {
    "proxy from MTA": (31025, 31587),
    "MTA from mail store": (2003, 2004, 2005),
}
"""What is cut from what → ports of the connections between them."""
MANNERS = {"silence": "drop", "reset": "reject with tcp reset"}


@dataclass
class Split:
    """The MTA at one place; the mail store, the proxy and the world at another."""

    mta_place: Place
    mda_place: Place
    folder: Path
    mda: Running
    mta: Running

    @contextlib.contextmanager
    def cut(self, way: str, manner: str) -> Iterator[None]:
        """Let nothing pass between two of them for as long as the block lasts."""
        ports = ", ".join(map(str, WAYS[way]))
        rules = "".join(f"tcp {end} {{{ports}}} {MANNERS[manner]};" for end in ("dport", "sport"))
        chains = "".join(
            f"chain {hook} {{type filter hook {hook} priority 0; {rules}}};"
            for hook in ("input", "output")
        )
        said = self.mta_place.run("nft", f"table inet cut {{{chains}}}")
        assert not said, said
        try:
            yield
        finally:
            self.mta_place.run("nft", "delete table inet cut")


@pytest.fixture(scope="module")
def split() -> Iterator[Split]:
    """Start both, with a database in a folder that they share, and Traefik."""
    settings = {
        **UNLIMITED,
        "MAILNAME": "mail.example.org",
        "MTA_UPSTREAM_PROXY": "true",
        "MDA_UPSTREAM_PROXY": "true",
        "MTA_SMTP_ADDRESS": "mta-internal:32025",
    }
    with (
        tempfile.TemporaryDirectory(prefix="gp-cut-", dir="/tmp") as name,
        two_places({"mta-internal": 2, "mda-internal": 3}) as (mta_place, mda_place),
        contextlib.ExitStack() as stack,
    ):
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "mda" / "accounts").mkdir(parents=True)
        (folder / "mta").mkdir()
        (folder / "mta" / "accounts").symlink_to(folder / "mda" / "accounts")
        settings["TRUSTED_PROXIES"] = f"{mda_place.address}/32"
        started = []
        for service, place in (("mda", mda_place), ("mta", mta_place)):
            environment = {**settings, "GATEPOST_HOME": str(folder / service)}
            words = (PROGRAMS / "gatepost", "run", service)
            log = folder / f"{service}.log"
            started.append(stack.enter_context(running(place, log, environment, *words)))
        for one in started:
            one.wait_for("ready: ", seconds=60)
        add_accounts({**settings, "GATEPOST_HOME": str(folder / "mda")})
        proxy = traefik(folder, mta_place.address, mda_place.address)
        stack.enter_context(running(mda_place, folder / "traefik.log", {}, *proxy))
        mda, mta = started
        yield Split(mta_place, mda_place, folder, mda, mta)


def add_accounts(environment: dict[str, str]) -> None:
    lines = ["domain add example.org", *(f"mailbox add {a} --password-stdin" for a, _ in MAILBOXES)]
    for line in lines:
        subprocess.run(
            [PROGRAMS / "gatepost", *line.split()],
            env={**environment, "PATH": "/usr/bin:/usr/sbin:/bin:/sbin"},
            input=ALICE[1],
            text=True,
            capture_output=True,
            check=True,
        )


def traefik(folder: Path, mta: str, mda: str) -> list[str | Path]:
    """Write Traefik's configuration, which passes on by PROXY protocol; return its command."""
    backends = {
        "smtp": (3325, f"{mta}:31025"),
        "submission": (33587, f"{mta}:31587"),
        "imap": (33143, f"{mda}:31143"),
    }
    dynamic = {
        "tcp": {
            "routers": {
                name: {"rule": "HostSNI(`*`)", "entryPoints": [name], "service": name}
                for name in backends
            },
            "services": {
                name: {
                    "loadBalancer": {"serversTransport": "told", "servers": [{"address": backend}]}
                }
                for name, (_, backend) in backends.items()
            },
            "serversTransports": {"told": {"proxyProtocol": {"version": 2}}},
        }
    }
    file = folder / "dynamic.yaml"
    # What is JSON is YAML.
    file.write_text(json.dumps(dynamic))
    return [
        PROGRAMS / "traefik",
        "--global.checkNewVersion=false",
        "--global.sendAnonymousUsage=false",
        f"--providers.file.filename={file}",
        *(f"--entryPoints.{name}.address=:{port}" for name, (port, _) in backends.items()),
    ]


def progress(ordeal: Ordeal) -> dict[str, int]:
    """Count what has passed each of the ways."""
    return {
        "proxy from MTA": len(ordeal.load.accepted),
        "MTA from mail store": found(ordeal.mail).total(),
    }


def test_nothing_is_lost_when_the_network_is_cut(
    split: Split, seed: int, record_property: Callable[[str, object], None]
) -> None:
    """A cable that is pulled for a moment would cost what was on its way.

    Duplicates: the mail store has the message and its answer does not get through. While the MTA
    cannot ask for passwords, logins are put off and never refused.
    """
    world = Host(split.mda_place.namespace, split.mda_place.address, "")
    load = Load(
        smtp=("127.0.0.1", 3325),
        submission=("127.0.0.1", 33587),
        recipients=(ALICE[0], BOB[0]),
        logins=(BOB,),
        inside=world.inside,
    )
    imap = ("127.0.0.1", 33143)
    ordeal = Ordeal(load, seed, split.folder / "mda", split.folder / "mta", imap)
    cuts = [(way, manner) for way in WAYS for manner in MANNERS]
    with load.running():
        for way, manner in ordeal.chance.sample(cuts, len(cuts)):
            ordeal.wait(0.5, 1)
            with split.cut(way, manner):
                # What was on its way may still arrive.
                time.sleep(1)
                through = progress(ordeal)
                ordeal.wait(1, 3)
                assert progress(ordeal)[way] == through[way], "the control: it is cut"
            ordeal.recover(f"cut {way}: {manner}")
    ordeal.settle_and_tell(record_property, duplicates=len(cuts) * AT_ONCE)


def test_nothing_is_lost_when_the_mail_stores_container_is_replaced(
    split: Split, seed: int, record_property: Callable[[str, object], None]
) -> None:
    """An update of an image would bounce mail that was accepted a moment before.

    As Compose and Kubernetes replace one: its name goes, the program ends, another starts, and the
    name leads there. At ten messages a second, and more.
    """
    world = Host(split.mda_place.namespace, split.mda_place.address, "")
    load = Load(
        smtp=("127.0.0.1", 3325),
        recipients=(ALICE[0], BOB[0]),
        senders=4,
        inside=world.inside,
    )
    imap = ("127.0.0.1", 33143)
    ordeal = Ordeal(load, seed, split.folder / "mda", split.folder / "mta", imap)
    mark = split.mta.mark()
    with load.running():
        # Traefik may hold those who come while it starts.
        wait_until(lambda: len(load.accepted) > 2 * load.senders, "mail comes in", 60)
        begun, already = time.monotonic(), len(load.accepted)
        ordeal.wait(1, 2)
        with split.mta_place.without_name("mda-internal"):
            store = split.mda.mark()
            assert split.mda.stop() == 0
            before = found(ordeal.mail).total()
            ordeal.wait(1, 3)
            assert found(ordeal.mail).total() == before, "the control: nothing is delivered"
            split.mda.start()
            split.mda.wait_for("ready: ", since=store, seconds=60)
        ordeal.recover("mail store's container replaced")
        rate = (len(load.accepted) - already) / (time.monotonic() - begun)
    said = split.mta.text()[mark:]
    assert "unable to look up host mda-internal" in said, "the control: its name was away"
    assert rate >= 10, f"the load was {rate:.1f} messages a second"
    assert "status=bounced" not in said
    ordeal.settle_and_tell(record_property, duplicates=AT_ONCE)
