"""What a certificate and its key lack, said before a daemon finds out."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, rsa
from issuing import Issued, issue, of_bits

from gatepost.errors import PreflightError
from gatepost.run import pairs

ROOT = issue("Test Root", authority=True)
BETWEEN = issue("Test R3", ROOT, authority=True)
OWN = issue("mail.example.org", BETWEEN)
OTHER = issue("other.example.org", BETWEEN)
STRANGER = issue("Stranger", authority=True)

CERT_FILE, KEY_FILE = Path("/etc/tls/fullchain.pem"), Path("/etc/tls/privkey.pem")


def judge(certified: str, keyed: str) -> pairs.Loaded:
    return pairs.judge(CERT_FILE, certified.encode(), KEY_FILE, keyed.encode())


def problem(certified: str, keyed: str = OWN.key_pem) -> str:
    """Return the one thing that is wrong with a pair."""
    with pytest.raises(PreflightError) as told:
        judge(certified, keyed)
    (found,) = told.value.problems
    return found


def chain(*issued: Issued) -> str:
    return "".join(one.pem for one in issued)


@pytest.mark.parametrize(
    "issued",
    [(OWN,), (OWN, BETWEEN), (OWN, BETWEEN, ROOT)],
    ids=["alone", "without-root", "with-root"],
)
def test_a_chain_in_order_serves(issued: tuple[Issued, ...]) -> None:
    """Nobody could bring a certificate."""
    loaded = judge(chain(*issued), OWN.key_pem)
    assert loaded.chain == chain(*issued)
    assert loaded.key == OWN.key_pem


def test_one_file_for_both_serves() -> None:
    """Postfix would load the key twice and offer no TLS; HAProxy's users have such a file."""
    both = OWN.key_pem + chain(OWN, BETWEEN)
    for content in (both, chain(OWN, BETWEEN) + OWN.key_pem):
        loaded = judge(content, content)
        assert loaded.chain == chain(OWN, BETWEEN), "the key is not among the certificates"
        assert loaded.key == OWN.key_pem


def test_what_stands_around_the_armour_is_left_out() -> None:
    """A comment of `openssl s_client` is harmless; a Windows editor's line ends are too."""
    text = f"subject=CN = mail\n{OWN.pem}\nissuer=CN = R3\n{BETWEEN.pem}".replace("\n", "\r\n")
    loaded = judge(text, OWN.key_pem.replace("\n", "\r\n"))
    assert loaded.chain == chain(OWN, BETWEEN)
    assert loaded.key == OWN.key_pem


def test_parameters_beside_a_key_are_passed_over() -> None:
    """`openssl ecparam -genkey` writes them, and every daemon passes over them."""
    parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    assert judge(OWN.pem, parameters + OWN.key_pem).key == OWN.key_pem


def test_an_intermediate_first_is_told() -> None:
    """The administrator would look for another key, and the key is right."""
    assert problem(chain(BETWEEN, OWN)) == (
        f'TLS_CERT_FILE: "{CERT_FILE}" begins with the certificate of "Test R3", and the one that '
        'the key in TLS_KEY_FILE was made for, of "mail.example.org", is number 2. Put that one '
        "first, then the one that signed it, and so on."
    )


def test_another_key_is_told() -> None:
    """After a renewal of only one file, each TLS connection would fail with riddles."""
    assert problem(chain(OWN, BETWEEN), OTHER.key_pem) == (
        f'TLS_KEY_FILE: "{KEY_FILE}" does not match the certificate in "{CERT_FILE}". '
        "Give the key that the certificate was made for."
    )


@pytest.mark.parametrize(
    ("issued", "words"),
    [
        ((OWN, ROOT, BETWEEN), 'certificate 2, of "Test Root", stands before one that it has'),
        ((OWN, BETWEEN, STRANGER), 'certificate 3, of "Stranger", has signed none of those'),
        ((OWN, OTHER, BETWEEN), 'certificate 2, of "other.example.org", has signed none'),
        ((OWN, OWN, BETWEEN), 'certificate 2, of "mail.example.org", is number 1 once more'),
    ],
)
def test_a_chain_out_of_order_is_told(issued: tuple[Issued, ...], words: str) -> None:
    """Some mail programs would refuse it and others not, and nobody could say why."""
    assert words in problem(chain(*issued))


def test_a_signature_counts_and_not_the_name_alone() -> None:
    """A renewed intermediate of the same name would pass, and no client find a way to the root."""
    namesake = issue("Test R3", ROOT, authority=True)
    assert 'certificate 2, of "Test R3", has signed none' in problem(chain(OWN, namesake))


def test_a_file_that_is_cut_off_is_told() -> None:
    """A copy that met a full disk ends in the middle of a certificate."""
    whole = chain(OWN, BETWEEN)
    found = problem(whole[:-200])
    assert found == (
        f'TLS_CERT_FILE: "{CERT_FILE}": certificate 2, at line {OWN.pem.count(chr(10)) + 1}, '
        "cannot be read: its end is missing. Copy the file again from whoever issued it."
    )


def test_a_damaged_intermediate_is_told() -> None:
    """Postfix loads nothing of such a file; the first certificate alone is no proof."""
    lines = BETWEEN.pem.splitlines()
    lines[3] = lines[3][::-1]
    assert "certificate 2, at line" in problem(OWN.pem + "\n".join(lines) + "\n")


def test_a_damaged_name_is_told() -> None:
    """Whoever asked for the name would end in a traceback, at each start."""
    for names in (0, 1):  # one: the issuer's
        damaged = of_bits(OWN, names=names)
        assert "certificate 1, at line 1, cannot be read" in problem(damaged + BETWEEN.pem)


def test_a_block_of_another_kind_is_told() -> None:
    """Postfix stops at a part that it does not know, and offers no TLS."""
    request = OWN.pem.replace("CERTIFICATE", "CERTIFICATE REQUEST")
    assert 'holds a "CERTIFICATE REQUEST" at line' in problem(OWN.pem + request)


def test_a_second_key_is_told() -> None:
    """Which of two keys a daemon takes is its own affair."""
    assert "holds 2 private keys" in problem(OWN.pem, OWN.key_pem + OTHER.key_pem)
    assert judge(OWN.pem, OWN.key_pem * 2).key == OWN.key_pem, "the same one twice is one"


def test_another_key_beside_the_certificates_is_told() -> None:
    """Postfix would take it, see that it does not match, and offer no TLS."""
    found = problem(OWN.pem + OTHER.key_pem)
    assert found.startswith(f'TLS_CERT_FILE: "{CERT_FILE}" also holds a private key, at line')


def test_files_the_wrong_way_round_are_told() -> None:
    """Two sentences about PEM would hide that only the names are swapped."""
    with pytest.raises(PreflightError) as told:
        judge(OWN.key_pem, OWN.pem)
    assert "holds no certificate" in str(told.value)
    assert "wrong way round" in str(told.value)


def test_a_key_that_openssl_finds_too_small_is_told() -> None:
    """Dovecot would not load it, and nobody read mail."""
    small = issue("mail.example.org", key=rsa.generate_private_key(65537, 1024))  # noqa: S505  that is the point
    found = problem(small.pem, small.key_pem)
    assert f'TLS_CERT_FILE: "{CERT_FILE}" is a certificate that OpenSSL does not serve' in found
    assert "too small" in found


def test_a_key_that_no_client_speaks_is_told() -> None:
    """The pair loads, and every handshake fails."""
    odd = issue("mail.example.org", key=dsa.generate_private_key(2048))
    assert "does not serve" in problem(odd.pem, odd.key_pem)


def test_a_bundle_of_all_authorities_is_told() -> None:
    """Each handshake would carry a hundred kilobytes."""
    assert "holds 22 certificates" in problem(OWN.pem + BETWEEN.pem * 21)


def test_what_is_returned_is_loaded_by_openssl(tmp_path: Path) -> None:
    """All of the above would prove nothing if the daemons' library refused the outcome."""
    loaded = judge(chain(OWN, BETWEEN), OWN.key_pem)
    file = tmp_path / "tls.pem"
    file.write_text(loaded.key + loaded.chain)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(file)
