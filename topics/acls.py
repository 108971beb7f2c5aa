"""Bring a cluster's access rights in line with the table of principals: plan | apply.

`apply` gives the table's principals what they lack, and takes from them what the table does not say. Rights of others
on this house's topics and groups are reported and stay, and so do prohibitions: to lift one is for whoever set it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from functools import partial
from itertools import chain
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest
from aiokafka.protocol.api import Request, Response

import topics
from rfr_stream.settings import KafkaSettings
from topics import access
from topics.access import Operation, Principal, Resource, Right
from topics.admin import connected, raise_on, settled

ANYWHERE: Final = "*"
"""From whichever host."""
EVERYBODY: Final = "User:*"
OURS: Final = "rfr-"
"""How the names of this house's topics and groups begin."""
_ANY: Final = 1


class Permission(IntEnum):
    """Whether a rule of the cluster gives or forbids, by Kafka's numbers."""

    DENY = 2
    ALLOW = 3


class _Pattern(IntEnum):
    """How a rule names its resource, by Kafka's numbers."""

    LITERAL = 3
    PREFIXED = 4


@dataclass(frozen=True, slots=True)
class Rule:
    """One access control entry of a cluster."""

    principal: str
    """With its type: `User:rfr-search`."""
    right: Right
    permission: Permission = Permission.ALLOW
    host: str = ANYWHERE


class Kind(StrEnum):
    """How a cluster's rules can differ from the table."""

    MISSING = "missing"
    SURPLUS = "surplus"
    DENIED = "denied"
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True)
class Difference:
    """One rule that the table asks for and the cluster lacks, or the other way round."""

    kind: Kind
    rule: Rule

    def __str__(self) -> str:
        """Return one line for people."""
        whose, right = self.rule.principal.removeprefix("User:"), self.rule.right
        match self.kind:
            case Kind.MISSING:
                return f"{whose} may not yet {right}"
            case Kind.SURPLUS:
                return f"{whose} may {right}: not in the table"
            case Kind.DENIED:
                return f"{whose} is forbidden to {right}: to lift it is for whoever set it"
            case Kind.FOREIGN:
                return f"{whose}, who is not in the table, may {right}"


def wanted() -> frozenset[Rule]:
    """Return every rule that the table asks for."""
    return frozenset(Rule(f"User:{principal.name}", right) for principal in access.ALL for right in principal.rights)


async def plan(settings: KafkaSettings) -> tuple[Difference, ...]:
    """Return what differs between the table and the cluster; empty: nothing.

    Raises:
        Unavailable: the cluster does not answer, has no authorizer, or does not permit the question.

    """
    async with connected(settings) as client:
        return await compare(client)


async def apply(settings: KafkaSettings) -> tuple[Difference, ...]:
    """Give what is missing, then take what is too much, and return what still differs.

    Raises:
        Unavailable: the cluster does not answer, or refuses.

    """
    async with connected(settings) as client:
        to_do = [each for each in await compare(client) if each.kind in {Kind.MISSING, Kind.SURPLUS}]
        for each in sorted(to_do, key=lambda each: each.kind is Kind.SURPLUS):
            await (give if each.kind is Kind.MISSING else take)(client, each.rule)
        return await settled(partial(compare, client), to_do)


async def compare(client: AIOKafkaAdminClient) -> tuple[Difference, ...]:
    """Return what differs between the table and this client's cluster."""
    asked, found = wanted(), frozenset(await _rules(client))
    missing = [Difference(Kind.MISSING, rule) for rule in asked - found]
    others = [Difference(kind, rule) for rule in found - asked if (kind := _kind_of(rule))]
    return tuple(sorted((*missing, *others), key=lambda each: (each.kind, str(each))))


def _kind_of(rule: Rule) -> Kind | None:
    """Return why a rule that the table does not ask for matters, if it does."""
    known = rule.principal in {f"User:{principal.name}" for principal in access.ALL}
    if not known and not _reaches_us(rule.right):
        return None
    if rule.permission is Permission.DENY:
        return Kind.DENIED if known or rule.principal == EVERYBODY else None
    return Kind.SURPLUS if known else Kind.FOREIGN


def _reaches_us(right: Right) -> bool:
    """Whether it is about one of this house's topics or groups, or lets somebody change the rules."""
    if right.resource is Resource.CLUSTER:
        return right.operation in {Operation.ALL, Operation.ALTER}
    if right.resource not in {Resource.TOPIC, Resource.GROUP}:
        return False
    wide = right.name == ANYWHERE or (right.prefix and OURS.startswith(right.name))
    return wide or right.name.startswith(OURS)


# --- what Kafka is asked; aiokafka has these requests, but its admin client does not offer them ----------------------


async def _rules(client: AIOKafkaAdminClient) -> list[Rule]:
    anything = DescribeAclsRequest(_ANY, None, _ANY, None, None, _ANY, _ANY)
    answer = await _ask(client, anything)
    raise_on(answer.error_code, answer.error_message)
    return [
        Rule(principal, _right(operation, resource, name, pattern), Permission(permission), host)
        for resource, name, pattern, entries in answer.resources
        for principal, host, operation, permission in entries
    ]


def _right(operation: int, resource: int, name: str, pattern: int) -> Right:
    return Right(Operation(operation), Resource(resource), name, prefix=pattern == _Pattern.PREFIXED)


async def give(client: AIOKafkaAdminClient, rule: Rule) -> None:
    """Add a rule to the cluster."""
    (answer,) = (await _ask(client, CreateAclsRequest(*_fields(rule)))).creation_responses
    raise_on(*answer)


async def take(client: AIOKafkaAdminClient, rule: Rule) -> None:
    """Remove exactly this rule from the cluster."""
    ((code, message, _),) = (await _ask(client, DeleteAclsRequest(*_fields(rule)))).filter_responses
    raise_on(code, message)


def _fields(rule: Rule) -> tuple[int | str, ...]:
    right, pattern = rule.right, _Pattern.PREFIXED if rule.right.prefix else _Pattern.LITERAL
    return (right.resource, right.name, pattern, rule.principal, rule.host, right.operation, rule.permission)


async def _ask(client: AIOKafkaAdminClient, request: Request) -> Response:
    return await client._send_request(request)  # noqa: SLF001 - what its public methods are made of


# --- the table in words ----------------------------------------------------------------------------------------------


def in_words() -> str:
    """Return the table for people, in Markdown; `deploy/kafka/acls/rights.md` is this, and a test holds it to it."""
    return "\n".join((*_HEADING, *map(_topic_in_words, topics.ALL), *chain(*map(_in_words, access.ALL))))


_HEADING: Final = (
    "# Who may do what on the bus",
    "",
    "Written by `rfr topics acls show` from `topics/access.py`. What is not said here, Kafka refuses.",
    "",
    "| topic | what it carries | who may write it | who may read it |",
    "|---|---|---|---|",
)


def _topic_in_words(topic: topics.Topic) -> str:
    who = (_who_may(operation, topic) for operation in (Operation.WRITE, Operation.READ))
    return f"| {' | '.join((topic.name, topic.purpose, *who))} |"


def _who_may(operation: Operation, topic: topics.Topic) -> str:
    right = Right(operation, Resource.TOPIC, topic.name)
    return ", ".join(principal.name for principal in access.ALL if right in principal.rights) or "nobody"


def _in_words(principal: Principal) -> Iterator[str]:
    yield from ("", f"## {principal.name}", "", f"{principal.who[0].upper()}{principal.who[1:]}.", "")
    yield from (f"- {right}" for right in principal.rights)
