"""Fuzz the files of a certificate and its key, which an administrator gives us.

An input is such a file, in PEM. Besides the bytes, what is inside the armour is changed, and a key
is put beside a certificate: the kept inputs hold none, for a key in a repository alarms scanners.
"""

from __future__ import annotations

import base64
import binascii
import re
import sys
import tempfile
from pathlib import Path
from random import Random

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

import fuzzing

with fuzzing.instrumented("gatepost.run.certificates"):
    from gatepost.run import certificates

from gatepost.errors import PreflightError
from gatepost.model import Certificate
from gatepost.registry import load

problems = certificates.problems
"""What is fuzzed; a test puts a broken one here, to see that it is found out."""

_FILE = Path(tempfile.mkdtemp(prefix="fuzz-")) / "both.pem"
_SETTINGS = load(
    {
        "MAILNAME": "mail.example.org",
        "TLS_CERT_FILE": str(_FILE),
        "TLS_KEY_FILE": str(_FILE),
    }
)
_PEM = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----", re.DOTALL)
_KEYS = (
    ec.generate_private_key(ec.SECP256R1()),
    ec.generate_private_key(ec.SECP384R1()),
    ed25519.Ed25519PrivateKey.generate(),
)
_NAMED = re.compile(r'TLS_(CERT|KEY)_FILE: "/')


def test_one_input(data: bytes) -> None:
    """Raise when a file ends otherwise than as a pair that serves, or as a sentence about it."""
    _FILE.write_bytes(data)
    found = problems(_SETTINGS)
    fuzzing.told_well(found)
    for problem in found:
        assert _NAMED.match(problem), f"no file is named: {problem!r}"
    assert certificates._is_for(Certificate(_FILE, _FILE), "mail.example.org") in {True, False}  # noqa: SLF001
    try:
        mark = certificates.fingerprint(_FILE)
    except PreflightError as error:
        fuzzing.told_well(error.problems)
        assert found, "a file without a certificate would serve"
    else:
        assert re.fullmatch(r"(?:[0-9A-F]{2}:){31}[0-9A-F]{2}", mark)


def mutate(data: bytes, most: int, seed: int) -> bytes:
    """Change bytes anywhere, or inside the armour, or put a key beside a certificate."""
    chance = Random(seed)  # noqa: S311  it guards nothing
    if chance.random() < 0.1:
        key = chance.choice(_KEYS)
        data += b"\n" + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return data[:most]
    armoured = [*_PEM.finditer(data)]
    if not armoured or chance.random() < 0.2:
        return fuzzing.changed(data, most)
    chosen = chance.choice(armoured)
    try:
        inside = base64.b64decode(chosen[2], validate=False)
    except binascii.Error:
        return fuzzing.changed(data, most)
    body = base64.encodebytes(fuzzing.changed(inside, len(inside) + 16))
    label = chosen[1]
    made = b"-----BEGIN " + label + b"-----\n" + body + b"-----END " + label + b"-----\n"
    return (data[: chosen.start()] + made + data[chosen.end() :])[:most]


def main(arguments: list[str]) -> None:
    """Run libFuzzer; it ends the process."""
    fuzzing.main("certificates", test_one_input, arguments, mutate=mutate, longest=4096)


if __name__ == "__main__":
    main(sys.argv[1:])
