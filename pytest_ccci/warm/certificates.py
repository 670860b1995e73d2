"""The zone's certificate authority and wildcard certificate: made once, kept in the state directory, renewed."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import certifi
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pytest_ccci import locks
from pytest_ccci.errors import StateDirError
from pytest_ccci.statedir import StateDir, write_atomic

__all__ = ["Certificates", "Pair", "bundle_with", "load_certificates", "make_ca", "make_leaf", "prepare", "stays_valid"]

CA_LIFE = timedelta(days=3650)
LEAF_LIFE = timedelta(days=365)
CA_SPARE = timedelta(days=400)
"""A CA is replaced before it could not sign a whole leaf's life any more."""
LEAF_SPARE = timedelta(days=30)
_SKEW = timedelta(hours=1)
_LOCK_WAIT = 60.0


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key, both as PEM."""

    certificate: bytes
    key: bytes

    def __repr__(self) -> str:
        return f"Pair({hashlib.sha256(self.certificate).hexdigest()[:12]})"


@dataclass(frozen=True)
class Certificates:
    """Where the zone's certificates are. ``version`` changes with the wildcard certificate's content."""

    ca_file: Path
    bundle_file: Path
    certificate_file: Path
    key_file: Path
    version: str


def make_ca(name: str, *, now: datetime) -> Pair:
    """A new certificate authority, with the extensions that strict verifiers ask for (RFC 5280 4.2.1.2, .3, .9)."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    own_id = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    certificate = (
        _builder(subject, subject, key, now, CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(ca=True), critical=True)
        .add_extension(own_id, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own_id), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _pair(certificate, key)


def make_leaf(ca: Pair, zone: str, *, now: datetime) -> Pair:
    """A certificate for ``zone`` and every name right under it, signed by ``ca``."""
    signer = x509.load_pem_x509_certificate(ca.certificate)
    signer_key = serialization.load_pem_private_key(ca.key, password=None)
    if not isinstance(signer_key, ec.EllipticCurvePrivateKey):
        raise StateDirError("the zone's CA key is of a kind we did not make", advice="remove the ca/ directory")
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"*.{zone}")])
    signer_id = signer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    certificate = (
        _builder(subject, signer.subject, key, now, LEAF_LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(zone), x509.DNSName(f"*.{zone}")]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(signer_id), critical=False)
        .sign(signer_key, hashes.SHA256())
    )
    return _pair(certificate, key)


def stays_valid(certificate: bytes, *, now: datetime, spare: timedelta) -> bool:
    """Whether a certificate (PEM) is valid now and for ``spare`` longer; what cannot be read is not."""
    try:
        parsed = x509.load_pem_x509_certificate(certificate)
    except ValueError:
        return False
    return parsed.not_valid_before_utc <= now and now + spare < parsed.not_valid_after_utc


def prepare(state: StateDir, zone: str, *, now: datetime | None = None) -> Certificates:
    """The CA, the wildcard certificate of ``zone`` and the bundle for containers; each made or renewed if needed.

    Two processes at once get the same ones.
    """
    moment = now or datetime.now(UTC)
    with locks.hold(
        state.locks / "ca.lock", wait=_LOCK_WAIT, owner={"for": f"certificates of {zone}"}, level=logging.DEBUG
    ):
        ca, ca_is_new = _kept(state.ca / "ca", CA_SPARE, moment), False
        if ca is None:
            ca, ca_is_new = make_ca(f"pytest-ccci {zone}", now=moment), True
            _keep(state.ca / "ca", ca)
        leaf = None if ca_is_new else _kept(state.ca / zone, LEAF_SPARE, moment)
        if leaf is None:
            leaf = make_leaf(ca, zone, now=moment)
            _keep(state.ca / zone, leaf)
        bundle = bundle_with(ca.certificate, state.ca / "bundle.pem")
    return Certificates(
        ca_file=state.ca / "ca.pem",
        bundle_file=bundle,
        certificate_file=state.ca / f"{zone}.pem",
        key_file=state.ca / f"{zone}.key",
        version=_version(leaf.certificate),
    )


def load_certificates(state: StateDir, zone: str) -> Certificates | None:
    """The certificates as they are; ``None`` where some are missing. Makes and renews nothing."""
    ca, leaf, bundle = state.ca / "ca.pem", state.ca / f"{zone}.pem", state.ca / "bundle.pem"
    if not (ca.is_file() and leaf.is_file()):
        return None
    return Certificates(ca, bundle, leaf, leaf.with_suffix(".key"), _version(leaf.read_bytes()))


def _version(leaf: bytes) -> str:
    return "c" + hashlib.sha256(leaf).hexdigest()[:8]


def bundle_with(ca: bytes, file: Path) -> Path:
    """Write the public CAs and ``ca`` (PEM) to ``file``, unless they stand there already."""
    wanted = Path(certifi.where()).read_bytes().rstrip() + b"\n\n" + ca
    if not file.exists() or file.read_bytes() != wanted:
        write_atomic(file, wanted, mode=0o644)
    return file


def _kept(stem: Path, spare: timedelta, now: datetime) -> Pair | None:
    try:
        pair = Pair(_with(stem, ".pem").read_bytes(), _with(stem, ".key").read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateDirError(
            "a certificate of the zone cannot be read",
            where=str(_with(stem, ".pem")),
            seen=f"{error.strerror}: {error.filename}",
            advice="remove the file or folder that is in its place: a new one is made",
        ) from error
    return pair if stays_valid(pair.certificate, now=now, spare=spare) and _belong(pair) else None


def _belong(pair: Pair) -> bool:
    """Whether key and certificate are one pair: a kill between the two writes leaves an old and a new one."""
    try:
        public = x509.load_pem_x509_certificate(pair.certificate).public_key()
        key = serialization.load_pem_private_key(pair.key, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return isinstance(public, ec.EllipticCurvePublicKey) and key.public_key() == public


def _keep(stem: Path, pair: Pair) -> None:
    write_atomic(_with(stem, ".key"), pair.key, mode=0o600)
    write_atomic(_with(stem, ".pem"), pair.certificate, mode=0o644)


def _with(stem: Path, suffix: str) -> Path:
    return stem.with_name(stem.name + suffix)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + life)
    )


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    return Pair(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )
