"""Certificates that nobody verifies: for servers inside a pod that must have one and that nobody calls."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

LIFETIME = dt.timedelta(days=3650)


@dataclass(frozen=True)
class SelfSigned:
    """PEM texts."""

    certificate: str
    key: str


def self_signed(name: str) -> SelfSigned:
    """A fresh key and its own certificate for one DNS name, good for ten years."""
    # Imported here: it costs time, and programs without such a server never ask.
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return SelfSigned(certificate.public_bytes(serialization.Encoding.PEM).decode(), text.decode())
