"""How this house is let in to a Kafka cluster: one mapping from settings to aiokafka's keyword arguments.

Only protocol, certificates and credentials; the address is the caller's, since it may be the embedded broker's.
"""

import ssl
from typing import Any

from rfr_stream.settings import KafkaSettings


def client_options(settings: KafkaSettings) -> dict[str, Any]:
    """Return the security arguments of aiokafka's producer, consumer and admin client.

    Raises:
        ValueError: SASL without a username and a password, or a key file without its certificate.
        OSError: a certificate file cannot be read.

    """
    options: dict[str, Any] = {"security_protocol": settings.security_protocol}
    if settings.security_protocol.endswith("SSL"):
        options["ssl_context"] = _ssl_context(settings)
    if settings.security_protocol.startswith("SASL"):
        options |= _sasl(settings)
    return options


def _ssl_context(settings: KafkaSettings) -> ssl.SSLContext:
    """Return a context that checks the broker's certificate and name, and shows ours where one is given."""
    context = ssl.create_default_context(cafile=settings.ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.key_file is not None and settings.cert_file is None:
        msg = "RFR_KAFKA__KEY_FILE: needs RFR_KAFKA__CERT_FILE beside it"
        raise ValueError(msg)
    if settings.cert_file is not None:
        context.load_cert_chain(settings.cert_file, settings.key_file)
    return context


def _sasl(settings: KafkaSettings) -> dict[str, str]:
    if settings.sasl_username is None or settings.sasl_password is None:
        msg = "RFR_KAFKA__SASL_USERNAME and RFR_KAFKA__SASL_PASSWORD: both are needed with SASL"
        raise ValueError(msg)
    return {
        "sasl_mechanism": settings.sasl_mechanism,
        "sasl_plain_username": settings.sasl_username,
        "sasl_plain_password": settings.sasl_password.get_secret_value(),
    }
