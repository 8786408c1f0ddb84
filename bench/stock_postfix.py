"""Debian's stock Postfix, from folders of its own, to compare with.

The configuration is the package's own, ``main.cf.debian`` and ``master.cf.dist`` as installed, with
what the package's installation asks (names and networks). Added is only what a server with
mailboxes needs and Dovecot's manual describes: one virtual domain, its mailboxes in a ``hash``
table, LMTP as ``virtual_transport``; and folders and an address of this instance's own. It logs
through its own ``postlogd`` into a file, which costs no more than a system log would.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_SHARED = Path("/usr/share/postfix")
_FOR_CHROOT = ("hosts", "localtime", "nsswitch.conf", "resolv.conf", "services")
"""What Debian's ``configure-instance.sh`` copies from /etc into the chroot of each service."""


@dataclass(frozen=True)
class StockPostfix:
    """A running one: where it listens, and where its queue lies."""

    door: tuple[str, int]
    queue: Path


@contextlib.contextmanager
def stock_postfix(
    folder: Path, host: str, *, domain: str, mailboxes: Iterable[str], lmtp: str
) -> Iterator[StockPostfix]:
    """Run it on port 25 of an address for as long as the block lasts.

    `lmtp` is where the mail store is, as ``lmtp(8)`` writes a next hop.
    """
    config, queue = folder / "etc", folder / "spool"
    config.mkdir()
    (queue / "etc").mkdir(parents=True)
    for name in _FOR_CHROOT:
        shutil.copy(Path("/etc") / name, queue / "etc" / name)
    recipients = config / "recipients"
    recipients.write_text("".join(f"{address} there\n" for address in mailboxes))
    (config / "main.cf").write_text((_SHARED / "main.cf.debian").read_text())
    (config / "master.cf").write_text((_SHARED / "master.cf.dist").read_text())

    def call(program: str, *words: str) -> None:
        subprocess.run([program, "-c", str(config), *words], check=True, capture_output=True)

    call(
        *("postconf", "-e", "myhostname=mail.example.org", "myorigin=$myhostname"),
        *("mydestination=$myhostname, localhost", "mynetworks=127.0.0.0/8", "mailbox_size_limit=0"),
        *("recipient_delimiter=+", "inet_protocols=ipv4", "compatibility_level=3.6"),
        # What a server with virtual mailboxes adds.
        *(f"virtual_mailbox_domains={domain}", f"virtual_mailbox_maps=hash:{recipients}"),
        f"virtual_transport=lmtp:{lmtp}",
        # What a second instance on one machine needs.
        *(f"queue_directory={queue}", f"data_directory={folder / 'data'}"),
        *(f"maillog_file={folder / 'mail.log'}", f"maillog_file_prefixes={folder}"),
    )
    call("postconf", "-MX", "smtp/inet")
    call("postconf", "-M", f"{host}:25/inet={host}:25 inet n - y - - smtpd")
    call("postmap", f"hash:{recipients}")
    # Its own check writes to the system log alone; who is not there cannot say what is wrong.
    call("postfix", "start")
    try:
        yield StockPostfix((host, 25), queue)
    finally:
        call("postfix", "stop")
