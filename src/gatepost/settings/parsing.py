"""Text → values. Each function raises `ValueError` with what was expected and the next step.

``{name}`` in a message stands for the variable; `gatepost.settings.loading` fills it in.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os.path
import re
from collections.abc import Callable
from pathlib import Path

from gatepost import ip_addresses, literals
from gatepost.model import Address, IPAddress, IPNetwork

ANY_ADDRESS: tuple[IPAddress, ...] = (ipaddress.ip_address("0.0.0.0"), ipaddress.ip_address("::"))  # noqa: S104

_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)\Z")
_PLAIN_LOCAL = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
_ODD_IN_PATHS = re.compile(r"[^\w/.+@-]")
_ODD_IN_ADDRESSES = re.compile(r"[^\w.+&='-]", re.ASCII)
_DELIMITERS = frozenset("+-_.=#~!^&*")
_MAX_PORT = 65535
_MAX_NAME = 253
_LONGEST_LOCAL = 64
_LEAST_MESSAGE = 64 * 1024
_MOST_MESSAGE = 1024**4
_LONGEST_WAIT = 60.0
_DATABASE_WORD = re.compile(r"[a-zA-Z0-9_.@$+-]{1,63}")


def one_line(text: str) -> str:
    """Return text that is fit for a line of a configuration; the message never repeats it."""
    if not text.isprintable():
        raise ValueError(
            "it holds a character that is not printable, such as a line break or a tab.\n"
            "Write {name} on one line, without it"
        )
    return text


def boolean(text: str) -> bool:
    """Read ``true/false/yes/no/on/off/1/0`` in any case."""
    found = literals.boolean(text)
    if found is None:
        raise ValueError(
            f'"{text}" is neither true nor false.\n'
            "Write true, yes, on or 1, or false, no, off or 0: {name}=true"
        )
    return found


def size(text: str) -> int:
    """Read bytes: a number, or one with K, M, G or T for powers of 1024."""
    found = literals.size(text)
    if found is None:
        raise ValueError(
            f'"{text}" is not a size.\n'
            "Write a number of bytes, or one with K, M or G (of 1024): {name}=50M"
        )
    return found


def message_size(text: str) -> int:
    """Read the largest size of a message in bytes; at least 64 KiB, or ordinary mail is refused.

    At most 1 TiB: the daemons reckon with it in 64 bits.
    """
    limit = size(text)
    if limit < _LEAST_MESSAGE:
        raise ValueError(
            f'"{text}" is too small: ordinary messages have more than that.\n'
            "Allow at least 64K: {name}=50M"
        )
    if limit > _MOST_MESSAGE:
        raise ValueError(
            f'"{text}" is too large for the daemons to reckon with.\nAllow at most 1T: {{name}}=50M'
        )
    return limit


def count(text: str) -> int:
    """Read a number that counts something; 0 is one too."""
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise ValueError(
            f'"{text}" is not a number that counts something.\n'
            "Write 0 or more in digits: {name}=50"
        )
    return int(text)


def seconds(text: str) -> float:
    """Read a time in seconds, to the millisecond, more than none and at most a minute."""
    if not re.fullmatch(r"[0-9]{1,2}(\.[0-9]{1,3})?", text) or not 0 < float(text) <= _LONGEST_WAIT:
        raise ValueError(
            f'"{text}" is not a number of seconds from above 0 to {_LONGEST_WAIT:g}.\n'
            "Write for example {name}=3"
        )
    return float(text)


def networks(text: str) -> tuple[IPNetwork, ...]:
    """Read comma-separated IPv4 and IPv6 networks; a bare address is a network of one."""
    return tuple(_network(part) for part in _separated(text, _network, "networks"))


def _network(text: str) -> IPNetwork:
    with contextlib.suppress(ValueError):
        return ip_addresses.network(_without_scope(text))
    try:
        meant = ip_addresses.network(_without_scope(text), strict=False)
    except ValueError:
        raise ValueError(
            f'"{text}" is not a network: {_why_not(text)}\n'
            "Write it as ADDRESS/PREFIX, for example {name}=10.42.0.0/16"
        ) from None
    raise ValueError(
        f'"{text}" is not a network but an address inside {meant}.\n'
        f"Write {{name}}={meant} for the network, or {{name}}={text.partition('/')[0]} "
        "for the one address"
    )


def _why_not(text: str) -> str:
    host, slash, prefix = text.partition("/")
    if "%" in host:
        return "the scope of an address, after the %, is this machine's own affair."
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "it does not begin with an IP address."
    known = re.fullmatch(r"[0-9]{1,3}", prefix)
    if slash and not (known and int(prefix) <= address.max_prefixlen):
        return f"the prefix of an IPv{address.version} network is 0 to {address.max_prefixlen}."
    return "it is neither an address nor an address with a prefix."


def addresses(text: str) -> tuple[IPAddress, ...]:
    """Read comma-separated IP addresses to listen on, or ``all``."""
    if text.lower() in {"all", "*"}:
        return ANY_ADDRESS
    # An empty entry is refused below: nobody could connect anywhere.
    return tuple(_address(part) for part in _separated(text, _address, "addresses") or [text])


def _address(text: str) -> IPAddress:
    try:
        return ip_addresses.address(_without_scope(text.strip("[]")))
    except ValueError:
        raise ValueError(
            f'"{text}" is not an IP address.\n'
            "Write addresses of this machine, comma-separated, or all: {name}=127.0.0.1"
        ) from None


def _without_scope(text: str) -> str:
    """Refuse an address with a scope (``fe80::1%eth0``), which may hold anything after its mark."""
    if "%" in text:
        raise ValueError(text)
    return text


def _separated(text: str, read: Callable[[str], object], what: str) -> list[str]:
    """Split a list at its commas; refuse a list that is separated by anything else."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    for part in parts:
        words = [word for word in re.split(r"[\s;|]+", part) if word]
        if words[1:] and all(map(_digits_first, words)):
            with contextlib.suppress(ValueError):
                read(part)
                continue
            every = ",".join(word for one in parts for word in re.split(r"[\s;|]+", one) if word)
            raise ValueError(
                f'"{part}" is a list of {what}, and commas separate them.\nWrite {{name}}={every}'
            )
    return parts


def _digits_first(word: str) -> bool:
    """Tell whether a word begins as an IP address does."""
    return bool(re.match(r"\[?[0-9a-fA-F]*[.:]", word))


def host_port(text: str) -> Address:
    """Read ``host:port`` or ``[v6]:port``."""
    match = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([^:\[\]\s]+)):([0-9]{1,5})", text)
    if not match or not 0 < int(match[3]) <= _MAX_PORT or not _is_host(match[1] or match[2]):
        raise ValueError(
            f'"{text}" is not HOST:PORT with a port from 1 to 65535.\n'
            "Write for example {name}=mail.internal:33143, or [fd00::1]:33143 for IPv6"
        )
    return Address(_plain_host(match[1] or match[2]), int(match[3]))


def port(text: str) -> int:
    """Read a TCP port."""
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 0 < int(text) <= _MAX_PORT:
        raise ValueError(f'"{text}" is not a port.\nWrite a number from 1 to 65535: {{name}}=5432')
    return int(text)


def database_host(text: str) -> str:
    """Read one host name or IP address; an IPv6 address may stand in brackets."""
    host = text.removeprefix("[").removesuffix("]") if text.startswith("[") else text
    if not _is_host(host):
        raise ValueError(
            f'"{text}" is not a host name or IP address; a port has a variable of its own.\n'
            "Write for example {name}=db.example.net"
        )
    return _plain_host(host)


def database_word(text: str) -> str:
    """Read the name of a database or of its user, such that no daemon reads it otherwise."""
    if not _DATABASE_WORD.fullmatch(text):
        raise ValueError(
            f'"{text}" is not a name that every daemon reads alike.\n'
            "Use up to 63 letters, digits and _ . @ $ + - only: {name}=gatepost"
        )
    return text


def password(text: str) -> str:
    """Read a password: anything that fits on a line. It is never repeated in a message."""
    try:
        return one_line(text)
    except ValueError:
        raise ValueError(
            "it holds a control character, such as a line break or a tab.\n"
            "Give the user of the database a password without one, and set {name} to it"
        ) from None


def _plain_host(text: str) -> str:
    """Return a host name, or an address in numbers in its one form."""
    try:
        return str(ip_addresses.address(text))
    except ValueError:
        return text.lower()


def _is_host(text: str) -> bool:
    try:
        ipaddress.ip_address(_without_scope(text))
    except ValueError:
        return _is_name(text.lower().rstrip("."), least_labels=1)
    return True


def _is_name(text: str, *, least_labels: int = 2) -> bool:
    labels = text.split(".")
    return (
        len(text) <= _MAX_NAME
        and len(labels) >= least_labels
        and all(_LABEL.match(label.replace("_", "x")) for label in labels)
        and not labels[-1].isdigit()
    )


def host_name(text: str) -> str:
    """Read a fully qualified host name; an international one becomes A-labels (RFC 5890)."""
    name = text.lower().rstrip(".")
    if not name.isascii():
        import idna  # noqa: PLC0415  costs time that only such names should pay

        try:
            name = idna.encode(name, uts46=True).decode()
        except idna.IDNAError:
            name = ""
    if not _is_name(name):
        raise ValueError(
            f'"{text}" is not a full host name.\n'
            "Write the name that other mail servers know this one by: {name}=mail.example.org"
        )
    return name


def mail_address(text: str) -> str:
    """Read one mail address."""
    local, _, domain = text.lower().partition("@")
    if len(local) <= _LONGEST_LOCAL and _PLAIN_LOCAL.fullmatch(local) and _is_name(domain):
        return f"{local}@{domain}"
    from email_validator import EmailNotValidError, validate_email  # noqa: PLC0415  slow to import

    try:
        found = validate_email(text, check_deliverability=False, test_environment=True)
    except EmailNotValidError as error:
        raise ValueError(
            f'"{text}" is not a mail address: {error}\n'
            "Write for example {name}=postmaster@example.org"
        ) from None
    odd = _ODD_IN_ADDRESSES.search(found.local_part)
    if odd:
        raise ValueError(
            f'"{text}" has "{odd[0]}" before the @, which daemons read as something else.\n'
            "Write an address without it: {name}=postmaster@example.org"
        )
    return f"{found.local_part}@{found.ascii_domain}".lower()


def delimiters(text: str) -> str:
    """Read the characters that may begin an address extension."""
    wrong = sorted(set(text) - _DELIMITERS)
    if wrong:
        raise ValueError(
            f'"{text}" has "{wrong[0]}", which cannot begin an address extension.\n'
            f"Use one or more of {' '.join(sorted(_DELIMITERS))} : {{name}}=+"
        )
    return text


def relay_host(text: str) -> str:
    """Read a relay host (postconf(5)): ``[host]:port``, ``host`` (its MX), ``host:port``."""
    match = re.fullmatch(r"(?:\[([^\[\]\s]+)\]|([^:\[\]\s]+))(?::([0-9]{1,5}|[a-z]+))?", text)
    host = match and (match[1] or match[2])
    port = match and match[3]
    bad_port = bool(port) and str(port).isdigit() and not 0 < int(str(port)) <= _MAX_PORT
    if not host or bad_port or not _is_host(host.removeprefix("ipv6:").removeprefix("IPv6:")):
        raise ValueError(
            f'"{text}" is not a relay host.\n'
            "Write {name}=[smtp.example.net]:587 for one host, or example.net for its MX hosts"
        )
    return text


def path(text: str) -> Path:
    """Read an absolute path that means the same in every daemon's configuration and in a shell."""
    found = Path(text)
    if not found.is_absolute():
        raise ValueError(
            f'"{text}" is not an absolute path.\nWrite it from the root: {{name}}=/path/to/it'
        )
    odd = _ODD_IN_PATHS.search(text)
    if odd:
        raise ValueError(
            f'"{text}" has "{odd[0]}" in it, which daemons read as something else than a name.\n'
            "Use letters, digits and / . _ - + @ only: {name}=/path/to/it"
        )
    return found


def folder(text: str) -> Path:
    """Read the path of a folder that is written into, so not the root of everything."""
    found = path(text)
    if not os.path.normpath(found).strip("/"):
        raise ValueError(
            f'"{text}" is the root folder, whose other folders belong to the system.\n'
            "Name one of its own: {name}=/path/to/it"
        )
    return found


def name(text: str) -> str:
    """Read a plain word, such as the name of a plug-in."""
    if not re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_-]*", text):
        raise ValueError(f'"{text}" is not a name.\nWrite for example {{name}}=none')
    return text.lower()
