"""Debian's stock Postfix, from folders of its own, to compare with.

The configuration is the package's own, ``main.cf.debian`` and ``master.cf.dist`` as installed, with
what the package's installation asks (names and networks). Added is only what a server with
mailboxes needs and the manuals of Postfix and Dovecot describe: one virtual domain, its mailboxes
in a ``hash`` table, LMTP as ``virtual_transport``; submission with TLS on port 465 and Dovecot's
SASL, as the package's ``master.cf`` has it in comments; and folders and an address of this
instance's own. It logs through its own ``postlogd`` into a file, which costs no more than a system
log would.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

_SHARED = Path("/usr/share/postfix")
_FOR_CHROOT = ("hosts", "localtime", "nsswitch.conf", "resolv.conf", "services")
"""What Debian's ``configure-instance.sh`` copies from /etc into the chroot of each service."""
_SUBMISSIONS = {
    "syslog_name": "postfix/submissions",
    "smtpd_tls_wrappermode": "yes",
    "smtpd_sasl_auth_enable": "yes",
    "smtpd_reject_unlisted_recipient": "no",
    "smtpd_recipient_restrictions": "permit_sasl_authenticated,reject",
    "milter_macro_daemon_name": "ORIGINATING",
}
"""What the package's ``master.cf`` says of this service in comments."""


@dataclass(frozen=True)
class StockPostfix:
    """A running one."""

    host: str
    queue: Path

    @property
    def door(self) -> tuple[str, int]:
        """Where mail comes in."""
        return self.host, 25

    @property
    def submissions(self) -> tuple[str, int]:
        """Where its own users send, with TLS from the first byte."""
        return self.host, 465

    def processes(self) -> list[psutil.Process]:
        """Return its master and all that it started."""
        master = psutil.Process(int((self.queue / "pid" / "master.pid").read_text()))
        return [master, *master.children(recursive=True)]


@contextlib.contextmanager
def stock_postfix(
    folder: Path, host: str, *, domain: str, mailboxes: Iterable[str], certificate: Path
) -> Iterator[StockPostfix]:
    """Run it on an address for as long as the block lasts.

    The mail store is awaited at the sockets ``dovecot-lmtp`` and ``auth`` in its queue's folder
    ``private``, and `certificate` with its key beside it, ``.key``, when the first client comes.
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
        "virtual_transport=lmtp:unix:private/dovecot-lmtp",
        *("smtpd_sasl_type=dovecot", "smtpd_sasl_path=private/auth"),
        f"smtpd_tls_cert_file={certificate}",
        f"smtpd_tls_key_file={certificate.with_suffix('.key')}",
        # What a second instance on one machine needs.
        *(f"queue_directory={queue}", f"data_directory={folder / 'data'}"),
        *(f"maillog_file={folder / 'mail.log'}", f"maillog_file_prefixes={folder}"),
    )
    call("postconf", "-MX", "smtp/inet")
    call("postconf", "-M", f"{host}:25/inet={host}:25 inet n - y - - smtpd")
    call("postconf", "-M", f"{host}:465/inet={host}:465 inet n - y - - smtpd")
    for name, value in _SUBMISSIONS.items():
        call("postconf", "-P", f"{host}:465/inet/{name}={value}")
    call("postmap", f"hash:{recipients}")
    # Its own check writes to the system log alone; who is not there cannot say what is wrong.
    call("postfix", "start")
    try:
        yield StockPostfix(host, queue)
    finally:
        call("postfix", "stop")
