"""Debian's stock Dovecot, in a folder and on an address of its own, to compare with.

Its configuration is the package's own, as Debian installs it (the pristine copies in
``/usr/share/dovecot``), with no more changed than it takes to serve mailboxes beside other servers:

* the copy's own folder stands wherever a file says ``/etc/dovecot``;
* ``10-auth.conf`` includes ``auth-passwdfile.conf.ext`` in place of ``auth-system.conf.ext``, as
  Dovecot's documentation says for mailboxes that are no system users. Names, hashes and homes are
  in its file ``users``, the certificate in ``private``, where the package looks for both;
* ``local.conf``, which the package includes last, names the address, the folders for sockets and
  state, the log file, and Maildir as the format.

What else a benchmark needs, such as sockets for Postfix or room for more connections than Debian's
limits allow, it says itself with `extra`. Dovecot 2.3 (Debian 12) and 2.4 (Debian 13) both work.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))

from instance import free_host

PACKAGED = Path("/usr/share/dovecot")
INSTALLED = "/etc/dovecot/"
"""What the package's files call the folder they are in."""
PORTS = {"imap": 143, "imaps": 993, "pop3": 110, "pop3s": 995, "sieve": 4190}
OWNER = 5000
"""User and group of all mail: a number without a name will do."""
SECONDS = 10.0
"""How long a start or an end may take."""

_LOCAL = """
listen = {host}
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/dovecot.log
{mail}
{extra}
"""

_MAIL = {
    "2.3": "mail_location = maildir:~/Maildir",
    "2.4": "mail_driver = maildir\nmail_home = {folder}/mail/%{{user}}\n"
    "mail_path = ~/Maildir\nmail_inbox_path =",
}


@dataclass(frozen=True)
class StockDovecot:
    """A running one, and where it is reached."""

    folder: Path
    host: str
    master: psutil.Process

    @property
    def imap(self) -> tuple[str, int]:
        """IMAP, with STARTTLS."""
        return self.host, PORTS["imap"]

    @property
    def imaps(self) -> tuple[str, int]:
        """IMAP, with TLS from the first byte."""
        return self.host, PORTS["imaps"]

    @property
    def pop3(self) -> tuple[str, int]:
        """POP3, with STARTTLS."""
        return self.host, PORTS["pop3"]

    @property
    def pop3s(self) -> tuple[str, int]:
        """POP3, with TLS from the first byte."""
        return self.host, PORTS["pop3s"]

    @property
    def log(self) -> str:
        """What it has said."""
        file = self.folder / "dovecot.log"
        return file.read_text(errors="replace") if file.exists() else ""

    def processes(self) -> list[psutil.Process]:
        """Return its master and all that it started."""
        return [self.master, *self.master.children(recursive=True)]

    @property
    def mail(self) -> Path:
        """Where the mail of all accounts is."""
        return self.folder / "mail"

    def maildir(self, address: str) -> Path:
        """Return where an account's mail is."""
        return home(self.folder, address) / "Maildir"


def home(folder: Path, address: str) -> Path:
    """Return an account's folder."""
    return folder / "mail" / address


def certificate(folder: Path) -> Path:
    """Return where the certificate is of a Dovecot in this folder; its key ends in ``.key``."""
    return folder / "etc" / "private" / "dovecot.pem"


def version() -> str:
    """Return the installed release, ``2.3`` or ``2.4``."""
    done = subprocess.run(["dovecot", "--version"], check=True, capture_output=True, text=True)
    return ".".join(done.stdout.split(".")[:2])


@contextlib.contextmanager
def stock_dovecot(
    folder: Path, accounts: Mapping[str, str], extra: str = ""
) -> Iterator[StockDovecot]:
    """Run one in an empty folder, whose path must be short, for as long as the block lasts.

    `accounts` are addresses and their ``{SCHEME}`` hashes, `extra` are lines for ``local.conf``.
    """
    host = free_host(*PORTS.values())
    _lay_out(folder, host, accounts, extra)
    configuration = folder / "etc" / "dovecot.conf"
    process = subprocess.Popen(["dovecot", "-F", "-c", configuration], stdin=subprocess.DEVNULL)
    stock = StockDovecot(folder, host, psutil.Process(process.pid))
    try:
        for port in ("imap", "pop3"):
            _wait_for_greeting(stock, PORTS[port])
        yield stock
    finally:
        children = stock.processes()[1:] if process.poll() is None else []
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(SECONDS)
        for left in psutil.wait_procs(children, SECONDS)[1]:
            left.kill()
        process.kill()
        process.wait()


def _lay_out(folder: Path, host: str, accounts: Mapping[str, str], extra: str) -> None:
    """Write the configuration, the accounts and a certificate."""
    etc = folder / "etc"
    etc.mkdir()
    shutil.copy(PACKAGED / "dovecot.conf", etc)
    shutil.copytree(PACKAGED / "conf.d", etc / "conf.d")
    for file in (etc / "conf.d").iterdir():
        file.write_text(file.read_text().replace(INSTALLED, f"{etc}/"))
    authentication = etc / "conf.d" / "10-auth.conf"
    text = authentication.read_text()
    assert text.count("\n!include auth-system.conf.ext\n") == 1, authentication
    authentication.write_text(
        text.replace("\n!include auth-system.conf.ext\n", "\n!include auth-passwdfile.conf.ext\n")
    )
    mail = _MAIL[version()].format(folder=folder)
    (etc / "local.conf").write_text(_LOCAL.format(host=host, folder=folder, mail=mail, extra=extra))
    (etc / "users").write_text(
        "".join(
            f"{address}:{digest}:{OWNER}:{OWNER}::{home(folder, address)}::\n"
            for address, digest in accounts.items()
        )
    )
    for name in ("mail", "run", "state"):
        (folder / name).mkdir()
    os.chown(folder / "mail", OWNER, OWNER)
    folder.chmod(0o755)
    _certify(certificate(folder))


def _certify(file: Path) -> None:
    """Make a certificate of the kind that Gatepost makes: the kind decides what a login costs."""
    file.parent.mkdir()
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-noenc", "-subj", "/CN=mail.example.org", "-days", "30"),
            *("-keyout", file.with_suffix(".key"), "-out", file),
        ],
        check=True,
        capture_output=True,
    )


def _wait_for_greeting(stock: StockDovecot, port: int) -> None:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline and stock.master.is_running():
        with (
            contextlib.suppress(OSError),
            socket.create_connection((stock.host, port), SECONDS) as client,
        ):
            if client.recv(100):
                return
        time.sleep(0.05)
    raise AssertionError(f"no greeting from {stock.host}:{port}:\n{stock.log[-5000:]}")
