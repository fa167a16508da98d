"""What the Secret holds: certificate authorities, the key of one of them, the serving certificate and key.

Reads any Secret, however damaged or foreign, into what of it is usable plus what is wrong with the rest;
nothing in a Secret makes it fail. Knows no time: a certificate that is readable may be long expired.

    ca-cert.pem   every authority that consumers shall trust, the signing one first
    ca-key.pem    the key of the signing authority
    tls.crt       the serving certificate
    tls.key       its key
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

AUTHORITY_CERTIFICATES = "ca-cert.pem"
AUTHORITY_KEY = "ca-key.pem"
SERVING_CERTIFICATE = "tls.crt"
SERVING_KEY = "tls.key"

# A rotation needs two; two more survive a Secret that is damaged again and again.
MOST_AUTHORITIES = 4
# A Secret may hold 1 MiB; ours needs 2 kB an entry. More is not ours and not worth parsing.
_MOST_BYTES = 64 * 1024

_UNREADABLE = (
    ValueError,  # not PEM, not DER, not a key, a point off the curve, a broken extension
    TypeError,  # an encrypted key
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)

Fingerprint = bytes
"""SHA-256 of a certificate."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False, compare=False)
    """Belongs to the certificate, so that comparing certificates is enough; keys have no equality."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """What is usable of a Secret; ``problems`` says what is not, and never quotes it."""

    authorities: tuple[x509.Certificate, ...] = ()
    signer: KeyPair | None = None
    """One of the authorities, with its key."""
    serving: KeyPair | None = None
    problems: tuple[str, ...] = ()

    def issuer(self) -> x509.Certificate | None:
        """Return the authority that signed the serving certificate, if it is among ours."""
        return None if self.serving is None else issuer_of(self.serving.certificate, self.authorities)

    def trust(self) -> bytes:
        """Return what consumers shall trust: all authorities as PEM."""
        return b"".join(pem(authority) for authority in self.authorities)


class _Damage(Exception):  # noqa: N818 - not an error of ours: the part of the Secret that cannot be used
    pass


def read(data: Mapping[str, object]) -> Bundle:
    """Read a Secret's ``data``: base64 text by key."""
    problems: list[str] = []
    authorities = _read_authorities(data, problems)
    signer = _read_signer(data, authorities, problems)
    serving = _read_serving(data, problems)
    if serving is not None and issuer_of(serving.certificate, authorities) is None:
        problems.append(f"{SERVING_CERTIFICATE}: not signed by an authority in {AUTHORITY_CERTIFICATES}")
        serving = None
    return Bundle(authorities, signer, serving, tuple(problems))


def write(bundle: Bundle) -> dict[str, str]:
    """Return the ``data`` of a Secret that holds this bundle; a part that is missing is left out."""
    parts = {AUTHORITY_CERTIFICATES: bundle.trust()}
    if bundle.signer is not None:
        parts[AUTHORITY_KEY] = key_pem(bundle.signer.key)
    if bundle.serving is not None:
        parts[SERVING_CERTIFICATE] = pem(bundle.serving.certificate)
        parts[SERVING_KEY] = key_pem(bundle.serving.key)
    return {name: base64.b64encode(part).decode() for name, part in parts.items()}


def pem(certificate: x509.Certificate) -> bytes:
    """Return a certificate as PEM."""
    return certificate.public_bytes(Encoding.PEM)


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a private key as unencrypted PEM."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def fingerprint(certificate: x509.Certificate) -> Fingerprint:
    """Return what a certificate is recognised by."""
    return certificate.fingerprint(hashes.SHA256())


def fingerprints(trust: bytes) -> frozenset[Fingerprint]:
    """Return the certificates in a CA bundle; in one that cannot be read nothing is trusted."""
    try:
        return frozenset(fingerprint(each) for each in x509.load_pem_x509_certificates(trust))
    except _UNREADABLE:
        return frozenset()


def issuer_of(
    certificate: x509.Certificate, authorities: Sequence[x509.Certificate]
) -> x509.Certificate | None:
    """Return the one of these authorities that signed the certificate."""
    for authority in authorities:
        try:
            certificate.verify_directly_issued_by(authority)
        except (InvalidSignature, *_UNREADABLE):
            continue
        return authority
    return None


def _read_authorities(data: Mapping[str, object], problems: list[str]) -> tuple[x509.Certificate, ...]:
    try:
        certificates = x509.load_pem_x509_certificates(_part(data, AUTHORITY_CERTIFICATES))
        if len(certificates) > MOST_AUTHORITIES or not all(_is_authority(each) for each in certificates):
            raise _Damage("not a bundle of our authorities")  # noqa: TRY301 - one way out of every damage
    except _Damage as damage:
        problems.append(f"{AUTHORITY_CERTIFICATES}: {damage}")
    except _UNREADABLE as error:
        problems.append(f"{AUTHORITY_CERTIFICATES}: not certificates ({type(error).__name__})")
    else:
        return tuple(certificates)
    return ()


def _read_signer(
    data: Mapping[str, object], authorities: Sequence[x509.Certificate], problems: list[str]
) -> KeyPair | None:
    key = _read_key(data, AUTHORITY_KEY, problems)
    if key is None:
        return None
    for authority in authorities:
        if authority.public_key() == key.public_key():
            return KeyPair(authority, key)
    problems.append(f"{AUTHORITY_KEY}: belongs to none of the authorities in {AUTHORITY_CERTIFICATES}")
    return None


def _read_serving(data: Mapping[str, object], problems: list[str]) -> KeyPair | None:
    key = _read_key(data, SERVING_KEY, problems)
    try:
        certificate = x509.load_pem_x509_certificate(_part(data, SERVING_CERTIFICATE))
        public_key = certificate.public_key()
        _ = certificate.extensions  # parsed only when asked for: a broken one shows here, not later
    except _Damage as damage:
        problems.append(f"{SERVING_CERTIFICATE}: {damage}")
        return None
    except _UNREADABLE as error:
        problems.append(f"{SERVING_CERTIFICATE}: not a certificate ({type(error).__name__})")
        return None
    if key is None:
        return None
    if public_key != key.public_key():
        problems.append(f"{SERVING_KEY}: does not belong to {SERVING_CERTIFICATE}")
        return None
    return KeyPair(certificate, key)


def _read_key(
    data: Mapping[str, object], name: str, problems: list[str]
) -> ec.EllipticCurvePrivateKey | None:
    try:
        key = load_pem_private_key(_part(data, name), password=None)
    except _Damage as damage:
        problems.append(f"{name}: {damage}")
        return None
    except _UNREADABLE as error:
        problems.append(f"{name}: not an unencrypted private key ({type(error).__name__})")
        return None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        problems.append(f"{name}: not an EC P-256 key")
        return None
    return key


def _part(data: Mapping[str, object], name: str) -> bytes:
    value = data.get(name)
    if not isinstance(value, str) or not value:
        raise _Damage("missing")
    if len(value) > _MOST_BYTES:
        raise _Damage(f"larger than {_MOST_BYTES} bytes")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise _Damage("not base64") from None


def _is_authority(certificate: x509.Certificate) -> bool:
    """Tell whether it has all that signing with it, and verifying what it signed, needs."""
    if not isinstance(certificate.public_key(), ec.EllipticCurvePublicKey):
        return False
    extensions = certificate.extensions
    try:
        extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        usage = extensions.get_extension_for_class(x509.KeyUsage).value
        return usage.key_cert_sign and extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False
