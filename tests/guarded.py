"""A cluster that refuses whatever its rules do not allow: the secured broker, with Kafka's own authorizer on.

Nobody stands above the rules but the broker itself, known by its certificate, and one super user.
"""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import SecretStr
from secured import SCRAM_PASSWORD, Authority, SecuredFiles, SecuredKafka

from rfr_stream.settings import KafkaSettings
from topics import access
from topics.access import Right
from topics.bus import Bus

SUPER_USER: Final = "cluster-admin"
STRANGER: Final = "rfr-stranger"
USERS: Final = (SUPER_USER, STRANGER, *(principal.name for principal in access.ALL))

_GUARDED: Final = f"""
listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:SSL,SASL:SASL_SSL,MUTUAL:SSL
inter.broker.listener.name=MUTUAL
listener.name.controller.ssl.client.auth=required
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=false
super.users=User:CN=broker;User:{SUPER_USER}
"""


class GuardedFiles(SecuredFiles):
    """The secured broker's files, with the authorizer in its properties."""

    def write(self, port: int, controller_port: int) -> None:
        """Write the broker's configuration; even the plain listener gives nobody any right."""
        SecuredFiles.write(self, port, controller_port)
        with self.properties.open("a") as out:
            out.write(_GUARDED)


class GuardedKafka(SecuredKafka):
    """The secured broker, and it refuses."""

    files = GuardedFiles


@dataclass(frozen=True)
class Guarded:
    """A guarded cluster, and everybody's way in."""

    kafka: GuardedKafka
    authority: Authority

    def settings(self, who: str) -> KafkaSettings:
        """Return the settings by which this user comes in."""
        return KafkaSettings(
            bootstrap_servers=self.kafka.sasl,
            security_protocol="SASL_SSL",
            sasl_username=who,
            sasl_password=SecretStr(SCRAM_PASSWORD),
            ca_file=self.authority.file,
        )

    def bus(self, who: str, rights: Collection[Right] = ()) -> Bus:
        """Return this user's bus."""
        return Bus(self.settings(who), bootstrap_servers=self.kafka.sasl, client_id=who, rights=rights)


@asynccontextmanager
async def guarded(folder: Path) -> AsyncIterator[Guarded]:
    """Start a cluster that knows every user of the table, and gives them no right yet."""
    authority = Authority.founded(folder / "authority")
    kafka = GuardedKafka(folder / "data", authority.certify("broker"), authority)
    await asyncio.to_thread(kafka.format, *USERS)
    async with kafka:
        yield Guarded(kafka, authority)
