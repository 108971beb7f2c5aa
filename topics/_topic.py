"""What a topic is: a promise with a shape. Encodes and decodes its records, and names its dead letters.

A record is a CloudEvents 1.0 event in Kafka's binary mode: attributes in `ce_*` headers, the event as JSON value.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Self, TypeAlias

from pydantic import ValidationError

from rfr_stream.errors import Malformed
from rfr_stream.events import Event

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

DAY_MS: Final = 86_400_000
MAX_EVENT_BYTES: Final = 262_144
"""An event is references and digests; one that is larger holds something that it should not."""

Headers: TypeAlias = tuple[tuple[str, bytes], ...]

FAULT: Final = "x-rfr-"
"""How the headers of a dead letter begin that say why it is one: `x-rfr-reason`, `x-rfr-attempt` ..."""


@dataclass(frozen=True, slots=True)
class Record:
    """What goes to Kafka, or came from it, before anybody trusts it."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()

    def header(self, name: str) -> str:
        """Return a header's text, or an empty string; bytes that are not UTF-8 are replaced."""
        for key, value in self.headers:
            if key == name and value:
                return value.decode(errors="replace")
        return ""

    def fault(self, fact: str) -> str:
        """Return what a dead letter says of its failure (`reason`, `attempt` ...), or an empty string."""
        return self.header(FAULT + fact)


@dataclass(frozen=True, slots=True)
class Topic:
    """One row of the table in `topics/__init__.py`."""

    noun: str
    events: tuple[type[Event], ...]
    key: str
    purpose: str
    partitions: int = 12
    retention_days: int = 7
    version: int = 1
    groups: tuple[str, ...] = field(default=())
    """The consumer groups of this house that read it; each has its own dead letters."""

    @property
    def name(self) -> str:
        """The wire name."""
        return f"rfr-{self.noun}-v{self.version}"

    def read_by(self, group: str) -> Self:
        """Return it as one of the groups that share it knows it, which has nothing to do with the others."""
        return replace(self, groups=(group,))

    def dead(self, group: str) -> str:
        """The name of the dead letters of this topic and consumer group (`rfr-detection` -> `...-detection-dead`)."""
        return f"{self.name}-{group.removeprefix('rfr-')}-dead"

    def encode(self, event: Event, *, traceparent: str | None = None) -> Record:
        """Return the record that says this event on this topic.

        Raises:
            Malformed: it is larger than an event may be, and nobody would read it.

            ValueError: the topic does not carry this kind of event.

        """
        if type(event) not in self.events:
            msg = f"{self.name} does not carry {type(event).__name__}"
            raise ValueError(msg)
        key = event.key.encode()
        own = (
            ("ce_id", str(event.event_id).encode()),
            ("ce_time", event.occurred_at.isoformat().encode()),
            ("ce_subject", key),
        )
        trace = (("traceparent", traceparent.encode()),) if traceparent else ()
        headers = (*_same_for_all(self.name, type(event), event.demo), *own, *trace)
        value = event.model_dump_json().encode()
        if len(value) > MAX_EVENT_BYTES:
            msg = f"value: {len(value)} bytes, more than {MAX_EVENT_BYTES}; shorten what was written in it"
            raise Malformed(msg)
        return Record(self.name, key, value, headers)

    def decode(self, record: Record) -> Event:
        """Return the event that a record claims to be.

        Raises:
            Malformed: it is not one of this topic's events; the message names the field, and quotes no value.

        """
        if record.value is None or len(record.value) > MAX_EVENT_BYTES:
            msg = f"value: must be 1 to {MAX_EVENT_BYTES} bytes of JSON"
            raise Malformed(msg)
        ce_type = record.header("ce_type")
        contract = self._contract(ce_type)
        try:
            event = contract.model_validate_json(record.value)
        except ValidationError as error:
            raise Malformed(explain(error)) from None
        if ce_type != wire_type(event):
            msg = "ce_type: does not agree with the field demo of the value"
            raise Malformed(msg)
        if record.header("ce_id") != str(event.event_id):
            msg = "ce_id: not the id that this event derives from its content"
            raise Malformed(msg)
        if record.key != event.key.encode():
            msg = "key: not the key that this event derives from its content"
            raise Malformed(msg)
        return event

    def _contract(self, ce_type: str) -> type[Event]:
        operational = ce_type.replace(_DEMO_PREFIX, _PREFIX, 1) if ce_type.startswith(_DEMO_PREFIX) else ce_type
        for contract in self.events:
            if contract.ce_type == operational:
                return contract
        expected = " or ".join(contract.ce_type for contract in self.events)
        msg = f"header ce_type: must be {expected}"
        raise Malformed(msg)


_PREFIX: Final = "rfr."
_DEMO_PREFIX: Final = "rfr.demo."


def wire_type(event: Event) -> str:
    """Return the event's `ce_type`; a demonstration's differs, so that no subscriber can take it for a real one."""
    return _type_of(type(event), event.demo)


@lru_cache(maxsize=256)
def _same_for_all(topic: str, contract: type[Event], demo: bool) -> Headers:  # noqa: FBT001 - a cache's key
    """Return the attributes that every event of a kind shares."""
    attributes = {
        "ce_specversion": "1.0",
        "ce_source": "/rfr/demo" if demo else "/rfr",
        "ce_type": _type_of(contract, demo),
        "ce_dataschema": f"urn:{topic}:{contract.__name__}",
        "content-type": "application/json",
    }
    return tuple((name, value.encode()) for name, value in attributes.items())


@lru_cache(maxsize=256)
def _type_of(contract: type[Event], demo: bool) -> str:  # noqa: FBT001 - a cache's key
    return contract.ce_type.replace(_PREFIX, _DEMO_PREFIX, 1) if demo else contract.ce_type


_SAYS_NO_VALUE: Final = frozenset(
    {
        *(
            "missing",
            "extra_forbidden",
            "unexpected_keyword_argument",
            "value_error",
            "json_invalid",
            "enum",
            "literal_error",
            "timezone_aware",
        ),
        *("string_type", "int_type", "float_type", "bool_type", "dict_type", "tuple_type", "model_type"),
        *("string_pattern_mismatch", "string_too_short", "string_too_long", "too_short", "too_long"),
        *("greater_than", "greater_than_equal", "less_than", "less_than_equal", "finite_number"),
    }
)
"""The kinds of fault whose message is about the contract alone; others quote what came in, so their kind must do."""

_OF_UNKNOWN_NAMES: Final = frozenset({"extra_forbidden", "unexpected_keyword_argument"})
"""The kinds of fault whose path ends in a name that no contract knows: it may be a person's."""

_FIELD_NAME: Final = re.compile(r"[A-Za-z0-9_\[\]-]{1,40}")


def explain(error: ValidationError) -> str:
    """Say which fields are wrong and why, without their values: they may identify a person."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)[:8]
    return "; ".join(f"{_place(known_path(fault))}: {_reason(fault['type'], fault['msg'])}" for fault in faults)


def known_path(fault: "ErrorDetails") -> tuple[int | str, ...]:
    """Return the path to a fault; ? stands for a name of the sender's own making."""
    return (*fault["loc"][:-1], "?") if fault["type"] in _OF_UNKNOWN_NAMES else fault["loc"]


def _place(path: Sequence[int | str]) -> str:
    """Return the path to a field; what somebody wrote in a field name's stead is not repeated."""
    return ".".join(str(step) if _FIELD_NAME.fullmatch(str(step)) else "?" for step in path) or "value"


def _reason(kind: str, message: str) -> str:
    return message.removeprefix("Value error, ") if kind in _SAYS_NO_VALUE else kind.replace("_", " ")
