"""A certificate and its key judged as the daemons will load them.

What a pair lacks is reported in the words of its own file: a daemon that cannot load it says so in
its log only, offers no TLS from then on, and drops whoever begins with TLS.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gatepost.errors import PreflightError, printable

if TYPE_CHECKING:
    from cryptography import x509

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----")
_CERTIFICATES = frozenset({"CERTIFICATE", "X509 CERTIFICATE"})
_PARAMETERS = frozenset({"EC PARAMETERS", "DH PARAMETERS"})
"""OpenSSL's commands write them beside a key; the daemons pass over them."""
_LONGEST_CHAIN = 20
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
_READABLE = "Give the path of a PEM file that root can read."


@dataclass(frozen=True, slots=True)
class Loaded:
    """A pair that serves."""

    chain: str
    """The certificates in PEM, the server's own first, and nothing between them."""
    key: str
    """The key in PEM."""
    certificates: tuple[x509.Certificate, ...]


@dataclass(frozen=True, slots=True)
class _Block:
    """One armoured part of a PEM file."""

    label: str
    line: int
    text: bytes
    """All of it; empty when its end is missing."""


def read(path: Path, variable: str) -> bytes:
    """Return what stands in a file; raise `PreflightError` when it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise PreflightError(
            f'{variable}: "{path}" cannot be read: {error.strerror}. {_READABLE}'
        ) from None


def judge(cert_file: Path, certified: bytes, key_file: Path, keyed: bytes) -> Loaded:
    """Return the pair in two files; raise `PreflightError` with what is wrong in which file."""
    chain, problems = _certificates(cert_file, certified)
    keys = list(_keys(keyed))
    key: bytes | None = None
    public = b""
    try:
        key, public = _only_key(key_file, keyed, keys)
    except PreflightError as error:
        problems.extend(error.problems)
    if problems:
        raise PreflightError(*problems)
    assert key is not None  # noqa: S101  or there was a problem
    first = _place_of(public, chain, cert_file)
    if first is None:
        raise PreflightError(
            f'TLS_KEY_FILE: "{key_file}" does not match the certificate in "{cert_file}". '
            "Give the key that the certificate was made for."
        )
    if first:
        raise PreflightError(
            f'TLS_CERT_FILE: "{cert_file}" begins with the certificate of {_name(chain[0])}, and '
            f"the one that the key in TLS_KEY_FILE was made for, of {_name(chain[first])}, is "
            f"number {first + 1}. Put that one first, then the one that signed it, and so on."
        )
    problems = [*_stray_key(cert_file, certified, key_file, public), *_order(cert_file, chain)]
    if problems:
        raise PreflightError(*problems)
    loaded = Loaded("".join(map(_pem, chain)), _normal(key), tuple(chain))
    _try(cert_file, loaded)
    return loaded


def authority(path: Path, content: bytes, variable: str) -> str:
    """Return the certificates of an authority; raise `PreflightError` for what cannot be one."""
    found, problems = _certificates(path, content, variable)
    if problems:
        raise PreflightError(*problems)
    return "".join(map(_pem, found))


# --- certificates ---------------------------------------------------------------------------


def _certificates(
    path: Path, content: bytes, variable: str = "TLS_CERT_FILE"
) -> tuple[list[x509.Certificate], list[str]]:
    """Return the certificates of a file in its order, and what is wrong with its blocks."""
    from gatepost import x509_reading  # noqa: PLC0415  slow to import

    found: list[x509.Certificate] = []
    blocks = list(_blocks(content))
    certificates = [block for block in blocks if block.label in _CERTIFICATES]
    if not certificates or (len(blocks) == 1 and not certificates[0].text):
        own = ", the server's own certificate first" if variable == "TLS_CERT_FILE" else ""
        none = (
            f'{variable}: "{path}" holds no certificate. Give a PEM file that begins with '
            f'"-----BEGIN CERTIFICATE-----"{own}.'
        )
        return [], [none]
    if len(certificates) > _LONGEST_CHAIN and variable == "TLS_CERT_FILE":
        many = (
            f'{variable}: "{path}" holds {len(certificates)} certificates. Give the server\'s own '
            "and the few that lead to its authority, not all authorities that there are."
        )
        return [], [many]
    problems = [
        f'{variable}: "{path}" holds a "{block.label}" at line {block.line}, which is neither a '
        "certificate nor a key. Take that part out of the file."
        for block in blocks
        if block not in certificates
        and block.label not in _PARAMETERS
        and not block.label.endswith("PRIVATE KEY")
    ]
    for number, block in enumerate(certificates, start=1):
        try:
            certificate = x509_reading.from_der(_der(block))
        except ValueError:
            what = "its end is missing" if not block.text else "it is damaged"
            problems.append(
                f'{variable}: "{path}": certificate {number}, at line {block.line}, cannot be '
                f"read: {what}. Copy the file again from whoever issued it."
            )
        else:
            found.append(certificate)
    return found, problems


def _order(path: Path, chain: list[x509.Certificate]) -> Iterator[str]:
    """Yield the first certificate after the server's own that has signed none before it."""
    for number in range(1, len(chain)):
        later, before = chain[number], chain[:number]
        if any(_signed(later, earlier) for earlier in before):
            continue
        if later in before:
            what = f"is number {before.index(later) + 1} once more"
        elif any(_signed(later, other) for other in chain[number + 1 :]):
            what = "stands before one that it has signed"
        else:
            what = "has signed none of those before it"
        yield (
            f'TLS_CERT_FILE: "{path}": certificate {number + 1}, of {_name(later)}, {what}. '
            "Order them: the server's own, then the one that signed it, and so on; leave out what "
            "does not belong to this chain."
        )
        return


def _signed(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm  # noqa: PLC0415

    if certificate.issuer != issuer.subject or certificate == issuer:
        return False
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError):
        return False
    except UnsupportedAlgorithm:  # the names fit, and OpenSSL may know more
        return True
    return True


def _place_of(public: bytes, chain: list[x509.Certificate], path: Path) -> int | None:
    """Return which certificate a key was made for."""
    from cryptography.exceptions import InternalError, UnsupportedAlgorithm  # noqa: PLC0415

    for place, certificate in enumerate(chain):
        try:
            if _public_bytes(certificate.public_key()) == public:
                return place
        except (ValueError, UnsupportedAlgorithm, InternalError):
            if place == 0:
                raise PreflightError(
                    f'TLS_CERT_FILE: "{path}" is for a kind of key that mail programs do not know. '
                    "Give a certificate for an RSA or ECDSA key."
                ) from None
    return None


def _name(certificate: x509.Certificate) -> str:
    """Return what people call a certificate: its common name, or all of its subject."""
    from cryptography.x509.oid import NameOID  # noqa: PLC0415

    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    text = str(names[0].value) if names else certificate.subject.rfc4514_string()
    return f'"{printable(text)}"'


def _pem(certificate: x509.Certificate) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415

    return certificate.public_bytes(Encoding.PEM).decode()


# --- keys -----------------------------------------------------------------------------------


def _keys(content: bytes) -> Iterator[_Block]:
    return (block for block in _blocks(content) if block.label.endswith("PRIVATE KEY"))


def _only_key(path: Path, content: bytes, keys: list[_Block]) -> tuple[bytes, bytes]:
    """Return the one key of a file in PEM, and its public half."""
    if not keys or not any(key.text for key in keys):
        swapped = any(block.label in _CERTIFICATES for block in _blocks(content))
        hint = " It holds certificates: were the two files given the wrong way round?"
        raise PreflightError(
            f'TLS_KEY_FILE: "{path}" holds no private key.{hint if swapped else ""} '
            'Give a PEM file that begins with "-----BEGIN PRIVATE KEY-----".'
        )
    loaded = {public_half(path, key.text): key.text for key in keys}
    if len(loaded) > 1:
        raise PreflightError(
            f'TLS_KEY_FILE: "{path}" holds {len(loaded)} private keys. Leave only the one that the '
            "certificate in TLS_CERT_FILE was made for."
        )
    ((public, text),) = loaded.items()
    return text, public


def _stray_key(cert_file: Path, certified: bytes, key_file: Path, public: bytes) -> Iterator[str]:
    """Yield that a certificate's file holds another key than the one that is given."""
    for block in _keys(certified):
        try:
            other = public_half(cert_file, block.text)
        except PreflightError:
            other = b""
        if other != public:
            yield (
                f'TLS_CERT_FILE: "{cert_file}" also holds a private key, at line {block.line}, and '
                f'it is not the one in "{key_file}". Take it out of the file.'
            )
            return


def public_half(path: Path, content: bytes) -> bytes:
    """Return the public half of a private key in PEM; raise `PreflightError` without one."""
    from cryptography.exceptions import InternalError, UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

    try:
        key = serialization.load_pem_private_key(content, None)
    except TypeError:
        raise PreflightError(
            f'TLS_KEY_FILE: "{path}" is protected by a password, which nobody could type when the '
            f"server starts. Take it off: openssl pkey -in {path} -out NEW"
        ) from None
    except ValueError:
        raise PreflightError(
            f'TLS_KEY_FILE: "{path}" holds no private key. '
            'Give a PEM file that begins with "-----BEGIN PRIVATE KEY-----".'
        ) from None
    except (UnsupportedAlgorithm, InternalError):  # the latter for what OpenSSL stumbles over
        raise PreflightError(
            f'TLS_KEY_FILE: "{path}" is a kind of key that mail programs do not know. '
            "Give an RSA or ECDSA key."
        ) from None
    return _public_bytes(key.public_key())


def _public_bytes(key: object) -> bytes:
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

    encoded: bytes = key.public_bytes(  # type: ignore[attr-defined]
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return encoded


def _normal(block: bytes) -> str:
    """Return a block with the line ends that every reader knows."""
    return "\n".join(line.strip() for line in block.decode("ascii").splitlines()) + "\n"


# --- armour ---------------------------------------------------------------------------------


def _blocks(content: bytes) -> Iterator[_Block]:
    begins = list(_BLOCK.finditer(content))
    ends = [*(match.start() for match in begins[1:]), len(content)][: len(begins)]
    line, counted = 1, 0
    for match, end in zip(begins, ends, strict=True):
        line += content.count(b"\n", counted, match.start())
        counted = match.start()
        closing = b"-----END " + match[1] + b"-----"
        found = content.find(closing, match.end(), end)
        text = content[match.start() : found + len(closing)] if found >= 0 else b""
        yield _Block(match[1].decode("ascii"), line, text)


def _der(block: _Block) -> bytes:
    """Return what is inside a certificate's armour; raise `ValueError` when nothing sensible is."""
    if not block.text:
        raise ValueError(block.label)
    head, tail = (f"-----{word} {block.label}-----" for word in ("BEGIN", "END"))
    text = block.text.decode("ascii").removeprefix(head).removesuffix(tail)
    return ssl.PEM_cert_to_DER_cert(f"{ssl.PEM_HEADER}{text}{ssl.PEM_FOOTER}")


# --- the daemons' own way -------------------------------------------------------------------


def _try(path: Path, pair: Loaded) -> None:
    """Load a pair with the library that the daemons use, and let a client speak TLS with it."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.minimum_version = ssl.TLSVersion.TLSv1_2
    server.set_ciphers(_CIPHERS)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    # No key is written to a disk only to be tried.
    descriptor = os.memfd_create("pair")
    try:
        os.write(descriptor, (pair.key + pair.chain).encode())
        server.load_cert_chain(f"/proc/self/fd/{descriptor}")
        _handshake(server, client)
    except ssl.SSLError as error:
        reason = (error.reason or str(error)).replace("_", " ").lower()
        raise PreflightError(
            f'TLS_CERT_FILE: "{path}" is a certificate that OpenSSL does not serve: {reason}. '
            "Have one issued for an RSA key of 2048 bits or more, or for an ECDSA key."
        ) from None
    finally:
        os.close(descriptor)


def _handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    """Speak TLS from one to the other without a network; raise `ssl.SSLError` when they cannot."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        client.wrap_bio(back, there, server_hostname="localhost"),
        server.wrap_bio(there, back, server_side=True),
    ]
    while sides:
        for side in tuple(sides):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            sides.remove(side)
