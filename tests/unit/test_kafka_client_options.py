"""From settings to the client: what is said about trust and credentials is what the client gets."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import SecretStr

from rfr_stream.settings import KafkaSettings
from topics._client import NotLetIn, client_options

CREDENTIALS = KafkaSettings(
    security_protocol="SASL_SSL", sasl_username="rfr-search", sasl_password=SecretStr("correct horse")
)


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate that signs itself, and its key."""
    folder = tmp_path_factory.mktemp("pem")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "rfr test authority")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, *private))
    return cert_file, key_file


def test_plain_text_needs_nothing_else() -> None:
    assert client_options(KafkaSettings()) == {"security_protocol": "PLAINTEXT"}


def test_credentials_go_along_and_the_broker_must_prove_its_name() -> None:
    options = client_options(CREDENTIALS)
    context = options.pop("ssl_context")
    assert options == {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "rfr-search",
        "sasl_plain_password": "correct horse",
    }
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_a_given_authority_is_the_only_one_trusted(pem: tuple[Path, Path]) -> None:
    context = client_options(KafkaSettings(security_protocol="SSL", ca_file=pem[0]))["ssl_context"]
    assert [dict(part[0] for part in each["subject"])["commonName"] for each in context.get_ca_certs()] == [
        "rfr test authority"
    ]


def test_a_clients_certificate_is_loaded_with_its_key(pem: tuple[Path, Path]) -> None:
    cert_file, key_file = pem
    settings = KafkaSettings(security_protocol="SSL", cert_file=cert_file, key_file=key_file)
    assert isinstance(client_options(settings)["ssl_context"], ssl.SSLContext)
    with pytest.raises(NotLetIn, match="RFR_KAFKA__CERT_FILE and RFR_KAFKA__KEY_FILE"):
        client_options(settings.model_copy(update={"key_file": cert_file}))


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_an_authority_that_cannot_be_read_is_named(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "authority.pem"
    if content:
        file.write_text(content)
    with pytest.raises(NotLetIn, match=r"RFR_KAFKA__CA_FILE: .*authority\.pem"):
        client_options(KafkaSettings(security_protocol="SSL", ca_file=file))


def test_a_key_without_its_certificate_is_refused(pem: tuple[Path, Path]) -> None:
    with pytest.raises(ValueError, match="CERT_FILE"):
        client_options(KafkaSettings(security_protocol="SSL", key_file=pem[1]))


@pytest.mark.parametrize("missing", ["sasl_username", "sasl_password"])
def test_half_a_credential_is_refused(missing: str) -> None:
    with pytest.raises(ValueError, match="both are needed"):
        client_options(CREDENTIALS.model_copy(update={missing: None}))
