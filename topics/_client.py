"""How this house is let in to a Kafka cluster: one mapping from settings to aiokafka's keyword arguments.

Only protocol, certificates and credentials; the address is the caller's, since it may be the embedded broker's.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from rfr_stream.errors import RfrError
from rfr_stream.settings import KafkaSettings

_OF_ANOTHER_HOST: Final = frozenset({62, 64})
"""OpenSSL's numbers for a certificate that is in order, but of another name or address."""
_ASKING_S: Final = 10.0
"""How long all servers together may take to say why; after that it stays a cluster that is away."""


class NotLetIn(RfrError, ValueError):
    """A setting keeps this house out of the cluster; the message names it, and no secret."""


class NotAllowed(RfrError):
    """The cluster lets a principal in, and refuses what it must do there; the message says what."""


def not_allowed(*rights: str, who: str = "this principal") -> NotAllowed:
    """Return the error that says which rights ("read topic x") are missing."""
    return NotAllowed(f"{who} may not {', nor '.join(rights)}; `rfr topics acls plan` compares with the table")


def name_in(options: Mapping[str, Any]) -> str:
    """Return the name that these options log in by; a certificate's is known to the broker alone."""
    name: str = options.get("sasl_plain_username", "this principal")
    return name


def client_options(settings: KafkaSettings) -> dict[str, Any]:
    """Return the security arguments of aiokafka's producer, consumer and admin client.

    Raises:
        NotLetIn: SASL without a username and a password, a key file without its certificate, or a file that is not
            what its setting says.

    """
    options: dict[str, Any] = {"security_protocol": settings.security_protocol}
    if settings.security_protocol.endswith("SSL"):
        options["ssl_context"] = _ssl_context(settings)
    if settings.security_protocol.startswith("SASL"):
        options |= _sasl(settings)
    return options


@asynccontextmanager
async def let_in(options: Mapping[str, Any]) -> AsyncIterator[None]:
    """Start a client inside: where it fails because of a setting, the error says which.

    Raises:
        NotLetIn: the cluster does not accept a setting.
        KafkaError: anything else, as aiokafka raised it.

    """
    try:
        yield
    except KafkaError as error:
        # aiokafka logs why it was refused, and raises that no server answers; so one connection is tried again.
        refusal = None
        with suppress(Exception):  # whatever happens while asking must not hide what it is about
            async with asyncio.timeout(_ASKING_S):
                refusal = await _refusal(options)
        if refusal is not None:
            raise NotLetIn(refusal) from error
        raise


async def _refusal(options: Mapping[str, Any]) -> str | None:
    """Return why none of the servers lets us in, or None where that is not a matter of settings."""
    security = {name: value for name, value in options.items() if name != "bootstrap_servers"}
    refusals = []
    for host, port, _ in collect_hosts(options["bootstrap_servers"]):
        try:
            await _ask(host, port, security)
        except (OSError, KafkaError) as error:
            refusals.append(_reason(error, f"{host}:{port}", options))
        else:
            return None
    return next(filter(None, refusals), None)


async def _ask(host: str, port: int, security: Mapping[str, Any]) -> None:
    """Connect, and ask what any client asks first."""
    connection = await create_conn(host, port, **security)
    try:
        await connection.send(MetadataRequest([]))
    finally:
        connection.close()


def _reason(error: Exception, server: str, options: Mapping[str, Any]) -> str | None:
    protocol, reason = options["security_protocol"], None
    match error:
        case ssl.SSLCertVerificationError(verify_code=code, verify_message=said) if code in _OF_ANOTHER_HOST:
            reason = f"RFR_KAFKA__BOOTSTRAP_SERVERS: the certificate of {server} is another server's ({said})"
        case ssl.SSLCertVerificationError(verify_message=said):
            reason = f"RFR_KAFKA__CA_FILE: by it, the certificate of {server} is not to be trusted ({said})"
        case UnsupportedSaslMechanismError():
            reason = f"RFR_KAFKA__SASL_MECHANISM: {server} does not offer {options['sasl_mechanism']}"
        case SaslAuthenticationFailed():
            reason = f"RFR_KAFKA__SASL_USERNAME and RFR_KAFKA__SASL_PASSWORD: {server} does not accept them"
        case KafkaConnectionError() if protocol == "SSL":
            wanted = "does it want SASL, or a client's certificate?"
            reason = f"RFR_KAFKA__SECURITY_PROTOCOL or RFR_KAFKA__CERT_FILE: {server} ends the connection; {wanted}"
        case ssl.SSLError() | ConnectionResetError() | KafkaConnectionError():
            reason = f"RFR_KAFKA__SECURITY_PROTOCOL: {server} does not speak {protocol}, or is only just starting"
    return reason


def _ssl_context(settings: KafkaSettings) -> ssl.SSLContext:
    """Return a context that checks the broker's certificate and name, and shows ours where one is given."""
    if settings.key_file is not None and settings.cert_file is None:
        msg = "RFR_KAFKA__KEY_FILE: needs RFR_KAFKA__CERT_FILE beside it"
        raise NotLetIn(msg)
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except OSError as error:
        msg = f"RFR_KAFKA__CA_FILE: {settings.ca_file} holds no certificates in PEM that can be read"
        raise NotLetIn(msg) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.cert_file is not None:
        try:
            context.load_cert_chain(settings.cert_file, settings.key_file)
        except OSError as error:
            msg = f"RFR_KAFKA__CERT_FILE and RFR_KAFKA__KEY_FILE: no certificate with its key ({settings.cert_file})"
            raise NotLetIn(msg) from error
    return context


def _sasl(settings: KafkaSettings) -> dict[str, str]:
    if settings.sasl_username is None or settings.sasl_password is None:
        msg = "RFR_KAFKA__SASL_USERNAME and RFR_KAFKA__SASL_PASSWORD: both are needed with SASL"
        raise NotLetIn(msg)
    return {
        "sasl_mechanism": settings.sasl_mechanism,
        "sasl_plain_username": settings.sasl_username,
        "sasl_plain_password": settings.sasl_password.get_secret_value(),
    }
