"""A broker that lets in nobody who does not prove who they are: the embedded one, with secured listeners.

Certificates are made for the occasion. The plain listener stays: it is how the embedded broker is seen to answer.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from subprocess import run
from typing import ClassVar, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from topics.embedded import EmbeddedKafka
from topics.embedded._broker import HOST, _free_port
from topics.embedded._config import Files, Program
from topics.embedded._jars import broker_jars, find_java

USER: Final = "rfr-stage"
PLAIN_PASSWORD: Final = "plain horse battery"  # noqa: S105 - of a broker that lives as long as its test
SCRAM_PASSWORD: Final = "scram staple correct"  # noqa: S105 - as above

_LOGIN: Final = "org.apache.kafka.common.security"
_SECURED: Final = f"""
listeners=BROKER://{HOST}:{{port}},CONTROLLER://{HOST}:{{controller_port}},SASL://{HOST}:{{sasl}},MUTUAL://{HOST}:{{mutual}}
advertised.listeners=BROKER://{HOST}:{{port}},SASL://{HOST}:{{sasl}},MUTUAL://{HOST}:{{mutual}}
listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_SSL,MUTUAL:SSL
ssl.keystore.type=PEM
ssl.keystore.location={{identity}}
ssl.truststore.type=PEM
ssl.truststore.location={{authority}}
listener.name.mutual.ssl.client.auth=required
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512
listener.name.sasl.plain.sasl.jaas.config={_LOGIN}.plain.PlainLoginModule required user_{USER}="{PLAIN_PASSWORD}";
listener.name.sasl.scram-sha-512.sasl.jaas.config={_LOGIN}.scram.ScramLoginModule required;
"""
"""Behind what the embedded broker says already: of two lines about one property, the later counts."""


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key, in PEM files."""

    certificate: Path
    key: Path

    @property
    def both(self) -> Path:
        """One file with the key and the certificate: what Kafka calls a PEM key store."""
        path = self.key.with_suffix(".store.pem")
        path.write_bytes(self.key.read_bytes() + self.certificate.read_bytes())
        return path


@dataclass(frozen=True)
class Authority:
    """Somebody who signs certificates, and whom a client may or may not trust."""

    name: x509.Name
    key: ec.EllipticCurvePrivateKey
    file: Path

    @classmethod
    def founded(cls, folder: Path) -> "Authority":
        """Return a new one, whose certificate lies in this folder."""
        folder.mkdir()
        name, key = _named("an authority for tests"), ec.generate_private_key(ec.SECP256R1())
        file = folder / "authority.pem"
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        _write(file, _builder(name, name, key).add_extension(constraints, critical=True).sign(key, hashes.SHA256()))
        return cls(name, key, file)

    def certify(self, who: str, address: str = HOST) -> Certificate:
        """Return a certificate for whoever answers at this address."""
        key, made = ec.generate_private_key(ec.SECP256R1()), self.file.with_name(f"{who}.pem")
        there = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address(address))])
        _write(
            made,
            _builder(_named(who), self.name, key).add_extension(there, critical=False).sign(self.key, hashes.SHA256()),
        )
        secret = made.with_suffix(".key")
        how = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        secret.write_bytes(key.private_bytes(serialization.Encoding.PEM, *how))
        return Certificate(made, secret)


def _named(who: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, who)])


def _builder(who: x509.Name, by: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(by, who, key.public_key(), x509.random_serial_number())
    return builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))


def _write(file: Path, certificate: x509.Certificate) -> None:
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


@dataclass(frozen=True)
class SecuredFiles(Files):
    """The embedded broker's files, with more in its properties."""

    identity: Path
    authority: Path
    sasl: int
    mutual: int

    def write(self, port: int, controller_port: int) -> None:
        """Write the broker's configuration, secured listeners included."""
        Files.write(self, port, controller_port)
        with self.properties.open("a") as out:
            out.write(
                _SECURED.format(
                    port=port,
                    controller_port=controller_port,
                    sasl=self.sasl,
                    mutual=self.mutual,
                    identity=self.identity,
                    authority=self.authority,
                )
            )


class SecuredKafka(EmbeddedKafka):
    """The embedded broker with a listener for SASL over TLS, and one for clients that show a certificate."""

    files: ClassVar[type[SecuredFiles]] = SecuredFiles

    def __init__(self, data_dir: Path, identity: Certificate, authority: Authority) -> None:
        super().__init__(data_dir)
        self._secured = self.files(
            self._files.folder, identity.both, authority.file, sasl=_free_port(), mutual=_free_port()
        )
        self._files = self._secured

    @property
    def sasl(self) -> str:
        """`host:port` that wants TLS, a name and a password."""
        return f"{HOST}:{self._secured.sasl}"

    @property
    def mutual(self) -> str:
        """`host:port` that wants TLS and a client's certificate."""
        return f"{HOST}:{self._secured.mutual}"

    def format(self, *users: str) -> None:
        """Prepare the data folder with users who are known by SCRAM: they are kept in the cluster itself."""
        self._files.folder.mkdir(parents=True, mode=0o700)
        self._files.write(_free_port(), _free_port())
        scram = [f"--add-scram=SCRAM-SHA-512=[name={user},password={SCRAM_PASSWORD}]" for user in users or (USER,)]
        run([*Program(find_java(), broker_jars()).format(self._files), *scram], check=True)
