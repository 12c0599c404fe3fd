"""Tokens and certificates of the agents, derived from the operator's master key.

Nothing here is ever read back from the API server: the same key and datacenter give the same bytes, so the operator
needs no right to read Secrets. Ed25519 signs deterministically (RFC 8032), which makes a certificate reproducible.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from reconcilers.labels import agent_hostname

if TYPE_CHECKING:
    from pathlib import Path

_VALID_FROM = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
_VALID_UNTIL = dt.datetime(2124, 1, 1, tzinfo=dt.UTC)
_MIN_KEY_BYTES = 32


@dataclass(frozen=True, slots=True, repr=False)
class AgentIdentity:
    """What one datacenter's agents hold: the bearer token, and a certificate for ``agent_hostname(uid)``. PEM text."""

    token: str
    certificate: str
    private_key: str
    ca: str


class MasterKey:
    """The operator's own secret. After a new key the agents must restart: they hold what the old one gave."""

    def __init__(self, key: bytes) -> None:
        if len(key) < _MIN_KEY_BYTES:
            raise ValueError(f"the master key has {len(key)} bytes and needs at least {_MIN_KEY_BYTES}")
        self._key = key
        self._ca_key = Ed25519PrivateKey.from_private_bytes(self._derive("agent-ca"))
        self._ca = _certificate("cassandra-operator agents", self._ca_key, issuer=None, signer=self._ca_key)
        self.ca_pem = self._ca.public_bytes(serialization.Encoding.PEM).decode()

    @classmethod
    def read(cls, path: Path) -> MasterKey:
        return cls(path.read_bytes().strip())

    def token(self, datacenter_uid: str) -> str:
        return self._derive(f"agent-token:{datacenter_uid}").hex()

    def identity(self, datacenter_uid: str) -> AgentIdentity:
        key = Ed25519PrivateKey.from_private_bytes(self._derive(f"agent-tls:{datacenter_uid}"))
        name = agent_hostname(datacenter_uid)
        certificate = _certificate(name, key, issuer=self._ca, signer=self._ca_key)
        return AgentIdentity(
            token=self.token(datacenter_uid),
            certificate=certificate.public_bytes(serialization.Encoding.PEM).decode(),
            private_key=key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ).decode(),
            ca=self.ca_pem,
        )

    def client_context(self) -> ssl.SSLContext:
        """Trusts our own authority alone, and checks the name."""
        context = ssl.create_default_context(cadata=self.ca_pem)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        return context

    def _derive(self, purpose: str) -> bytes:
        return hmac.new(self._key, purpose.encode(), hashlib.sha256).digest()


def _certificate(
    name: str, key: Ed25519PrivateKey, *, issuer: x509.Certificate | None, signer: Ed25519PrivateKey
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, name)])
    public = key.public_key()
    digest = hashlib.sha256(public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)).digest()
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(public)
        .serial_number(int.from_bytes(digest[:16]) >> 1)  # positive, at most 20 octets: RFC 5280 4.1.2.2
        .not_valid_before(_VALID_FROM)
        .not_valid_after(_VALID_UNTIL)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .add_extension(_usage(authority=issuer is None), critical=True)
    )
    if issuer is not None:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False
        ).add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    return builder.sign(signer, algorithm=None)


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )
