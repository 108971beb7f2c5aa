"""Whether a changed schema may stand in the same topic version: new readers read old records, and old readers new ones.

Events are closed, so the one change allowed is a new field with a default (readers are deployed first). Refused: a
field that went, a field that must now be there or no longer need, and any other rule that changed: type, bound,
pattern, constant, default, or a value of an enum that went or came (whoever knows a closed list cannot read a longer
one).
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias

Schema: TypeAlias = Mapping[str, Any]

_PROSE: Final = frozenset({"title", "description", "$id", "$schema", "examples"})
_NOT_RULES: Final = _PROSE | {"properties", "required", "$defs", "discriminator"}
"""Compared field by field, by whoever refers to them, or (the discriminator) said again by the alternatives."""


def compatible(old: Schema, new: Schema) -> tuple[str, ...]:
    """Return what forbids the change from old to new (JSON Schemas of one event); empty: nothing does."""
    return tuple(_faults(_Node(old, old), _Node(new, new), ""))


class _Node:
    """A part of a schema, with the document that its references point into."""

    def __init__(self, schema: Schema, document: Schema) -> None:
        self.document = document
        self.schema = self._resolved(schema)

    def _resolved(self, schema: Schema) -> Schema:
        if "$ref" not in schema:
            return schema
        target: Schema = self.document["$defs"][schema["$ref"].rsplit("/", 1)[-1]]
        return self._resolved({**target, **{key: value for key, value in schema.items() if key != "$ref"}})

    def child(self, schema: Schema) -> "_Node":
        return _Node(schema, self.document)

    @property
    def properties(self) -> Mapping[str, Schema]:
        found: Mapping[str, Schema] = self.schema.get("properties", {})
        return found

    @property
    def required(self) -> frozenset[str]:
        return frozenset(self.schema.get("required", ()))


def _faults(old: _Node, new: _Node, at: str) -> Iterator[str]:
    for rule in sorted((old.schema.keys() | new.schema.keys()) - _NOT_RULES):
        yield from _rule_faults(old, new, at, rule)
    for name in old.properties:
        yield from _field_faults(old, new, f"{at}.{name}".lstrip("."), name)
    for name in sorted(new.properties.keys() - old.properties.keys()):
        if name in new.required or "default" not in new.child(new.properties[name]).schema:
            yield f"{at}.{name}".lstrip(".") + ": new, without a default"


def _rule_faults(old: _Node, new: _Node, at: str, rule: str) -> Iterator[str]:
    before, after = old.schema.get(rule), new.schema.get(rule)
    pairs = list(_parts(before, after))
    if pairs:
        for one, other in pairs:
            yield from _faults(old.child(one), new.child(other), f"{at}[]")
    elif _plain(before) != _plain(after):
        yield f"{at or 'event'}: {rule} changed"


def _plain(value: object) -> object:
    """Return the rule's value; the order of a list (an enum's) says nothing."""
    return sorted(map(repr, value)) if isinstance(value, list) else value


def _parts(before: object, after: object) -> Iterator[tuple[Schema, Schema]]:
    """Yield the schemas inside a rule, pairwise (`items`, `anyOf` ...); none: the rule is a plain value."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        yield before, after
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        both = zip(before, after, strict=True)
        yield from ((one, other) for one, other in both if isinstance(one, Mapping) and isinstance(other, Mapping))


def _field_faults(old: _Node, new: _Node, at: str, name: str) -> Iterator[str]:
    if name not in new.properties:
        yield f"{at}: removed"
        return
    if (name in old.required) != (name in new.required):
        yield f"{at}: {'no longer' if name in old.required else 'now'} required"
    yield from _faults(old.child(old.properties[name]), new.child(new.properties[name]), at)
