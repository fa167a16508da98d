"""New keys and certificates: the only place that draws randomness.

EC P-256: every TLS stack in use speaks it, and a handshake costs a fraction of what RSA costs.
"""

import ipaddress
import secrets
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certs.bundle import KeyPair

# Short enough that rotation is everyday life and not a surprise after ten years, long enough that an
# installation which is switched off for a few months comes back with what it had.
AUTHORITY_LIFE = timedelta(days=365)
# As public authorities have it; renewed at two thirds, a month remains to notice that renewal fails.
SERVING_LIFE = timedelta(days=90)
# Certificates are valid from an hour ago: an API server whose clock is behind ours accepts them.
BACKDATED = timedelta(hours=1)

_AUTHORITY_USAGE = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)
_SERVING_USAGE = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)

Names = frozenset[str]
"""Host names and IP addresses that a serving certificate is for."""


def new_authority(now: datetime) -> KeyPair:
    """Make a certificate authority. Its name is unique, so that no verifier mixes up old and new."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _named(f"sluice-webhook-ca-{now:%Y%m%d}-{secrets.token_hex(4)}")
    authority_id = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    certificate = (
        _builder(subject, subject, key.public_key(), now)
        .not_valid_after(now + AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_AUTHORITY_USAGE, critical=True)
        .add_extension(authority_id, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(authority_id), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    return KeyPair(certificate, key)


def new_serving(signer: KeyPair, names: Names, now: datetime) -> KeyPair:
    """Make a serving certificate; ``rotation`` asks for it only of an authority that outlives it."""
    key = ec.generate_private_key(ec.SECP256R1())
    authority = signer.certificate
    authority_id = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    certificate = (
        # names stand in the extension alone: a common name is limited to 64 characters, a Service's is not
        _builder(_named("sluice-webhook"), authority.subject, key.public_key(), now)
        .not_valid_after(now + SERVING_LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_SERVING_USAGE, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.SubjectAlternativeName([_general_name(name) for name in sorted(names)]), critical=False
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(authority_id), critical=False
        )
        .sign(signer.key, hashes.SHA256())
    )
    return KeyPair(certificate, key)


def names_of(certificate: x509.Certificate) -> Names:
    """Return the names a certificate is for, as ``new_serving`` was given them."""
    try:
        san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    hosts = san.get_values_for_type(x509.DNSName)
    addresses = san.get_values_for_type(x509.IPAddress)
    return frozenset([*hosts, *(str(address) for address in addresses)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
    )


def _named(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
