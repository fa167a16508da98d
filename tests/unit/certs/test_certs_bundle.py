"""Reading a Secret: whatever is in it, what is usable comes out and the rest is named."""

import base64
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from certs.bundle import Bundle, key_pem, read, write
from certs.issue import new_authority, new_serving

NOW = datetime(2026, 6, 1, tzinfo=UTC)
SIGNER = new_authority(NOW)
WHOLE = Bundle((SIGNER.certificate,), SIGNER, new_serving(SIGNER, frozenset({"host"}), NOW))
DATA = write(WHOLE)
KEYS = ("ca-cert.pem", "ca-key.pem", "tls.crt", "tls.key")


def encoded(part: bytes) -> str:
    """Return a value as a Secret holds it."""
    return base64.b64encode(part).decode()


def test_what_was_written_is_read_back() -> None:
    """A Secret holds the whole bundle."""
    found = read(DATA)

    assert write(found) == DATA
    assert found.problems == ()
    assert found.issuer() == SIGNER.certificate


def test_secret_has_the_keys_that_other_tools_expect() -> None:
    """The keys are those of a TLS Secret plus the authority's."""
    assert sorted(DATA) == sorted(KEYS)


@pytest.mark.parametrize(
    ("damage", "authorities", "signer", "serving"),
    [
        ({"tls.crt": None}, True, True, False),
        ({"tls.key": None}, True, True, False),
        ({"tls.key": encoded(key_pem(ec.generate_private_key(ec.SECP256R1())))}, True, True, False),
        ({"ca-key.pem": None}, True, False, True),
        ({"ca-key.pem": "!"}, True, False, True),
        ({"ca-cert.pem": None}, False, False, False),
        ({"ca-cert.pem": encoded(b"garbage")}, False, False, False),
        ({"ca-cert.pem": DATA["tls.crt"]}, False, False, False),
        ({"ca-cert.pem": encoded(base64.b64decode(DATA["ca-cert.pem"]) * 5)}, False, False, False),
        ({"tls.crt": write(Bundle((SIGNER.certificate,), SIGNER, SIGNER))["tls.crt"]}, True, True, False),
        ({"ca-key.pem": "x" * 100_000}, True, False, True),
    ],
    ids=[
        "no certificate",
        "no key",
        "key of another certificate",
        "no authority key",
        "authority key not base64",
        "no authority",
        "authority garbage",
        "authority not an authority",
        "authority repeated",
        "certificate of another key",
        "authority key far too long",
    ],
)
def test_damaged_part_does_not_take_the_sound_ones_with_it(
    damage: dict[str, str | None],
    authorities: bool,  # noqa: FBT001 - a test's table
    signer: bool,  # noqa: FBT001
    serving: bool,  # noqa: FBT001
) -> None:
    """Each part is judged by itself and by what it depends on."""
    found = read({name: value for name, value in {**DATA, **damage}.items() if value is not None})

    assert (bool(found.authorities), found.signer is not None, found.serving is not None) == (
        authorities,
        signer,
        serving,
    )
    assert found.problems


def test_serving_certificate_of_an_unknown_authority_is_not_used() -> None:
    """What no consumer can verify is no serving certificate."""
    other = new_authority(NOW)
    foreign = write(Bundle((other.certificate,), other, new_serving(other, frozenset({"host"}), NOW)))

    found = read({**DATA, "tls.crt": foreign["tls.crt"], "tls.key": foreign["tls.key"]})

    assert found.serving is None
    assert found.problems == ("tls.crt: not signed by an authority in ca-cert.pem",)


def test_keys_of_another_kind_are_refused_by_name() -> None:
    """A Secret of another product is recognised as such."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    assert "ca-key.pem: not an EC P-256 key" in read({**DATA, "ca-key.pem": encoded(text)}).problems


def test_problems_do_not_quote_the_secret() -> None:
    """What stands in a Secret stays there, even when it is wrong."""
    problems = read({name: encoded(b"c29tZSBzZWNyZXQ") for name in KEYS}).problems

    assert problems
    assert "c29tZSBzZWNyZXQ" not in str(problems)


@given(
    st.dictionaries(
        st.sampled_from(KEYS) | st.text(max_size=5),
        st.sampled_from(sorted(DATA.values()))
        | st.text(max_size=20)
        | st.binary(max_size=99).map(encoded)
        | st.none(),
    )
)
def test_any_secret_can_be_read(data: dict[str, Any]) -> None:
    """No content makes reading fail, and what comes out is coherent."""
    found = read(data)

    assert found.signer is None or found.signer.certificate in found.authorities
    assert (found.serving is None) == (found.issuer() is None)


@given(st.sampled_from(KEYS), st.integers(0, 2000), st.integers(0, 255))
def test_one_wrong_byte_is_survived(name: str, position: int, byte: int) -> None:
    """A certificate or key with a byte changed is read or named, never a crash."""
    der = bytearray(base64.b64decode(base64.b64decode(DATA[name]).split(b"-----")[2]))
    der[position % len(der)] = byte
    label = base64.b64decode(DATA[name]).split(b"-----")[1].decode().removeprefix("BEGIN ")
    text = f"-----BEGIN {label}-----\n{base64.b64encode(der).decode()}\n-----END {label}-----\n"

    read({**DATA, name: encoded(text.encode())})
