"""The table as documents: a JSON Schema per event, and one AsyncAPI document that says who sends and reads what.

They are generated, and on file so that a review sees every change; a test compares the two.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from pydantic.json_schema import models_json_schema

import topics
from rfr_stream.errors import RfrError
from rfr_stream.events import Event
from topics._compatibility import compatible
from topics._topic import DAY_MS

SCHEMAS: Final = Path(__file__).with_name("schemas")
ASYNCAPI: Final = "asyncapi.json"
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

Document = dict[str, Any]


class Incompatible(RfrError):
    """A contract changed in a way that its topic version forbids."""


def export(folder: Path = SCHEMAS) -> tuple[Path, ...]:
    """Write every document into the folder, and return what was written; what is no longer in the table stays.

    Raises:
        Incompatible: readers or records of the version on file would not bear the change; nothing was written.

    """
    new = dict(documents())
    for name, document in new.items():
        if name != ASYNCAPI and (folder / name).exists():
            _require_compatible(folder / name, document)
    return tuple(_written(folder / name, document) for name, document in new.items())


def _require_compatible(path: Path, new: Document) -> None:
    if faults := compatible(json.loads(path.read_text(encoding="utf-8")), new):
        msg = f"{path}: {'; '.join(faults)}: this needs a new version of the topic"
        raise Incompatible(msg)


def documents() -> Iterator[tuple[str, Document]]:
    """Yield each document with its name inside the folder."""
    for topic in topics.ALL:
        for event in topic.events:
            yield f"{topic.name}/{event.__name__}.json", event_schema(topic, event)
    yield ASYNCAPI, asyncapi()


def event_schema(topic: topics.Topic, event: type[Event]) -> Document:
    """Return the JSON Schema 2020-12 of the value of a record."""
    return {"$schema": DIALECT, "$id": _dataschema(topic, event), **_schema(event)}


def asyncapi() -> Document:
    """Return the AsyncAPI 3.0 document of the whole bus."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "rfr-stream",
            "version": "1.0.0",
            "description": "CloudEvents 1.0 in Kafka's binary mode: attributes in headers, the event as JSON value.",
        },
        "defaultContentType": "application/json",
        "channels": {topic.name: _channel(topic) for topic in topics.ALL},
        "operations": dict(_operations()),
        "components": {"messages": dict(_messages())},
    }


def _dataschema(topic: topics.Topic, event: type[Event]) -> str:
    """Return the URN that every record of this kind names in `ce_dataschema`."""
    return f"urn:{topic.name}:{event.__name__}"


def _schema(event: type[Event]) -> Document:
    _, both = models_json_schema([(event, "validation")], ref_template="#/$defs/{model}")
    definitions = both["$defs"]
    return {**definitions.pop(event.__name__), "$defs": definitions}


def _channel(topic: topics.Topic) -> Document:
    return {
        "address": topic.name,
        "description": topic.purpose,
        "messages": {event.__name__: {"$ref": f"#/components/messages/{event.__name__}"} for event in topic.events},
        "bindings": {
            "kafka": {
                "bindingVersion": "0.5.0",
                "partitions": topic.partitions,
                "topicConfiguration": {"cleanup.policy": ["delete"], "retention.ms": topic.retention_days * DAY_MS},
            }
        },
    }


def _operations() -> Iterator[tuple[str, Document]]:
    """Yield what is sent on every topic, and what each consumer group of this house receives."""
    for topic in topics.ALL:
        channel = {"$ref": f"#/channels/{topic.name}"}
        yield f"send-{topic.name}", {"action": "send", "channel": channel}
        for group in topic.groups:
            binding = {"kafka": {"bindingVersion": "0.5.0", "groupId": {"type": "string", "const": group}}}
            yield f"{group}-receives-{topic.name}", {"action": "receive", "channel": channel, "bindings": binding}


def _messages() -> Iterator[tuple[str, Document]]:
    for topic in topics.ALL:
        for event in topic.events:
            yield (
                event.__name__,
                {
                    "name": event.ce_type,
                    "title": event.__name__,
                    "summary": (event.__doc__ or "").strip().splitlines()[0],
                    "contentType": "application/json",
                    "headers": _headers(topic, event),
                    "payload": {"$ref": f"{topic.name}/{event.__name__}.json"},
                    "bindings": {
                        "kafka": {"bindingVersion": "0.5.0", "key": {"type": "string", "description": topic.key}}
                    },
                },
            )


def _headers(topic: topics.Topic, event: type[Event]) -> Document:
    """Return the schema of a record's headers: the attributes of CloudEvents 1.0."""
    attributes: Document = {
        "ce_specversion": {"const": "1.0"},
        "ce_id": {"type": "string", "format": "uuid", "description": "derived from what the event is about"},
        "ce_source": {"type": "string", "format": "uri-reference"},
        "ce_type": {"enum": [event.ce_type, event.ce_type.replace("rfr.", "rfr.demo.", 1)]},
        "ce_time": {"type": "string", "format": "date-time"},
        "ce_subject": {"type": "string", "description": f"the key: {topic.key}"},
        "ce_dataschema": {"const": _dataschema(topic, event)},
        "content-type": {"const": "application/json"},
    }
    trace = {"traceparent": {"type": "string", "description": "W3C trace context"}}
    return {"type": "object", "properties": attributes | trace, "required": list(attributes)}


def _written(path: Path, document: Document) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path
