"""Who may do what on the bus: the table of principals, beside the table of topics. What it does not say, Kafka refuses.

`rfr topics acls plan` compares it with a cluster; `deploy/kafka/acls/rights.md` says it in words. A new topic gets its
rights by its name in the lines of those who need it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from topics import (
    ACKNOWLEDGEMENTS,
    APPEALS,
    CANDIDATES,
    DECISIONS,
    DISPOSALS,
    ENROLMENTS,
    FACES,
    IDENTIFICATIONS,
    OUTCOMES,
    STANDING,
    SUBMISSIONS,
    TEMPLATES,
    Topic,
)


class Operation(IntEnum):
    """What somebody may do, by Kafka's numbers. To read or write includes to describe."""

    ALL = 2
    READ = 3
    WRITE = 4
    CREATE = 5
    DELETE = 6
    ALTER = 7
    DESCRIBE = 8
    CLUSTER_ACTION = 9
    DESCRIBE_CONFIGS = 10
    ALTER_CONFIGS = 11
    IDEMPOTENT_WRITE = 12
    CREATE_TOKENS = 13
    DESCRIBE_TOKENS = 14
    TWO_PHASE_COMMIT = 15


class Resource(IntEnum):
    """To what, by Kafka's numbers."""

    TOPIC = 2
    GROUP = 3
    CLUSTER = 4
    TRANSACTIONAL_ID = 5
    DELEGATION_TOKEN = 6
    USER = 7


@dataclass(frozen=True, slots=True)
class Right:
    """One thing that somebody may do."""

    operation: Operation
    resource: Resource
    name: str
    prefix: bool = False
    """Whether it is about every name that begins so."""

    def __str__(self) -> str:
        """Return it in words: `read topic rfr-faces-v1`."""
        kind = _words(self.resource)
        what = f"any {kind} whose name begins with {self.name}" if self.prefix else f"{kind} {self.name}"
        return f"{_VERBS.get((self.operation, self.resource)) or _words(self.operation)} {what}"


@dataclass(frozen=True, slots=True)
class Principal:
    """One row of the table: somebody whom the cluster knows by name, and what they need of it."""

    name: str
    who: str
    works_on: tuple[Topic, ...] = ()
    """Topics that are read in this house's groups; what is refused of them goes to the dead letters."""
    writes: tuple[Topic, ...] = ()
    watches: tuple[Topic, ...] = ()
    """Topics of which is asked how far behind their groups are."""
    looks_back: tuple[str, ...] = ()
    """Names of topics that are read without a group."""
    subscribes: tuple[Topic, ...] = ()
    """Topics that are read in groups whose names begin with the principal's own."""
    puts_back: tuple[Topic, ...] = ()
    """Topics to which dead letters go back; a receipt among the dead letters says so."""
    lays_out: str = ""
    """What the topics' names begin with that may be created, grown and configured, but neither read nor written."""

    @property
    def rights(self) -> tuple[Right, ...]:
        """Each once, in the order of the fields."""
        return tuple(dict.fromkeys(self._rights()))

    def _rights(self) -> Iterator[Right]:
        for topic in self.works_on:
            yield _read(topic.name)
            for group in topic.groups:
                yield Right(Operation.READ, Resource.GROUP, group)
                yield _write(topic.dead(group))
        yield from map(_write, (topic.name for topic in self.writes))
        for topic in self.watches:
            if topic not in self.writes:
                yield Right(Operation.DESCRIBE, Resource.TOPIC, topic.name)
            yield from (Right(Operation.DESCRIBE, Resource.GROUP, group) for group in topic.groups)
        yield from map(_read, self.looks_back)
        yield from map(_read, (topic.name for topic in self.subscribes))
        if self.subscribes:
            yield Right(Operation.READ, Resource.GROUP, self.name, prefix=True)
        for topic in self.puts_back:
            for group in topic.groups:
                yield _read(topic.dead(group))
                yield _write(topic.dead(group))
            yield _write(topic.name)
        if self.lays_out:
            yield from (Right(operation, Resource.TOPIC, self.lays_out, prefix=True) for operation in _LAYING_OUT)
            yield Right(Operation.DESCRIBE, Resource.CLUSTER, CLUSTER)  # to compare these rights; not to change them


CLUSTER: Final = "kafka-cluster"
"""The one name that a cluster has in its own rights."""
_LAYING_OUT: Final = (
    Operation.CREATE,
    Operation.DESCRIBE,
    Operation.ALTER,
    Operation.DESCRIBE_CONFIGS,
    Operation.ALTER_CONFIGS,
)


def _read(topic: str) -> Right:
    return Right(Operation.READ, Resource.TOPIC, topic)


def _write(topic: str) -> Right:
    return Right(Operation.WRITE, Resource.TOPIC, topic)


_VERBS: Final = {
    (Operation.READ, Resource.GROUP): "read as",
    (Operation.DESCRIBE_CONFIGS, Resource.TOPIC): "see the settings of",
    (Operation.ALTER_CONFIGS, Resource.TOPIC): "change the settings of",
    (Operation.ALTER, Resource.TOPIC): "add partitions to",
}
"""Where Kafka's own word would mislead."""


def _words(member: IntEnum) -> str:
    return member.name.lower().replace("_", " ")


# --- the table -------------------------------------------------------------------------------------------------------

OFFICER: Final = Principal("rfr-officer", "the officers' door", writes=(SUBMISSIONS,), watches=(SUBMISSIONS,))
PUBLIC_APPEAL: Final = Principal(
    "rfr-public-appeal", "the door for what the public sent in", writes=(APPEALS,), watches=(SUBMISSIONS,)
)
MISSING_PERSONS: Final = Principal(
    "rfr-missing-persons",
    "the door of the unit for missing and deceased people",
    writes=(SUBMISSIONS, ENROLMENTS),
    watches=(SUBMISSIONS,),
)
GALLERY_ADMIN: Final = Principal(
    "rfr-gallery-admin",
    "brings references in, says what became of their cases, and erases them",
    writes=(ENROLMENTS, DISPOSALS),
)
CASE_REGISTER: Final = Principal(
    "rfr-case-register", "custody and court systems: what became of cases", writes=(DISPOSALS,)
)

APPEAL: Final = Principal("rfr-appeal", "groups what the public sent in", works_on=(APPEALS,))
DETECTION: Final = Principal(
    "rfr-detection", "finds the subject's face", works_on=(SUBMISSIONS,), writes=(FACES, CANDIDATES, OUTCOMES)
)
EMBEDDING: Final = Principal(
    "rfr-embedding", "makes the subject's template", works_on=(FACES,), writes=(TEMPLATES, OUTCOMES)
)
SEARCH: Final = Principal("rfr-search", "lists candidates", works_on=(TEMPLATES,), writes=(CANDIDATES, OUTCOMES))
ENROLMENT: Final = Principal("rfr-enrolment", "keeps the gallery", works_on=(ENROLMENTS, DISPOSALS))

REVIEW: Final = Principal(
    "rfr-review",
    "counts what people have signed, and alone says what they confirmed",
    works_on=(CANDIDATES, OUTCOMES.read_by("rfr-note"), DECISIONS, ACKNOWLEDGEMENTS),
    # A submission goes on once a person has chosen its subject; a standing probe, once new references have met it.
    writes=(IDENTIFICATIONS, OUTCOMES, STANDING, SUBMISSIONS, TEMPLATES),
    looks_back=(
        *(topic.name for topic in (IDENTIFICATIONS, OUTCOMES, STANDING, SUBMISSIONS, TEMPLATES)),
        DECISIONS.dead("rfr-review"),
    ),
)
CALLBACK: Final = Principal(
    "rfr-callback", "tells clients what became of what they sent", works_on=(OUTCOMES.read_by("rfr-callback"),)
)
CONSOLE: Final = Principal(
    "rfr-console",
    "the desk: what reviewers sign, and what officers endorse of what the public sent in",
    writes=(DECISIONS, SUBMISSIONS),
)

CASE_SYSTEM: Final = Principal(
    "rfr-case-system",
    "a subscriber: the case system",
    subscribes=(IDENTIFICATIONS, OUTCOMES, STANDING),
    writes=(ACKNOWLEDGEMENTS,),
)

ADMIN: Final = Principal("rfr-admin", "lays out the topics: `rfr topics apply`", lays_out="rfr-")
REPLAY: Final = Principal(
    "rfr-replay",
    "puts dead letters back after a fix, but never a person's decision: `rfr replay`",
    puts_back=(APPEALS, SUBMISSIONS, FACES, TEMPLATES, CANDIDATES, ENROLMENTS, DISPOSALS),
)

ALL: Final = (
    *(OFFICER, PUBLIC_APPEAL, MISSING_PERSONS, GALLERY_ADMIN, CASE_REGISTER),
    *(APPEAL, DETECTION, EMBEDDING, SEARCH, ENROLMENT, REVIEW, CALLBACK, CONSOLE),
    *(CASE_SYSTEM, ADMIN, REPLAY),
)
