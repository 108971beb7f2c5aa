"""Looks for what must never be on the bus or in a log: pictures, templates, and the names of people."""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from topics import Record

MAX_NUMBERS: Final = 32
"""Landmarks are ten numbers; a template is at least a hundred."""
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/_=-]{1024,}")
_NUMBERS: Final = re.compile(rb"(?:-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?\s*[,;]\s*){%d,}" % MAX_NUMBERS)
_PICTURES: Final = (b"\xff\xd8\xff", b"\x89PNG", b"RIFF", b"II*\x00", b"MM\x00*", b"ftyp", b"<svg")


def leaks(data: bytes, *, names: tuple[str, ...] = ()) -> Iterator[str]:
    """Say what is in these bytes that must not be; nothing is the right answer."""
    if _BASE64.search(data):
        yield "a kilobyte of base64"
    if _NUMBERS.search(data):
        yield f"more than {MAX_NUMBERS} numbers in a row"
    yield from (f"a picture's first bytes, {magic!r}" for magic in _PICTURES if magic in data)
    yield from ("a person's name" for name in names if name.lower() in data.decode(errors="replace").lower())
    if any(len(numbers) > MAX_NUMBERS for numbers in _lists(_parsed(data))):
        yield f"a list of more than {MAX_NUMBERS} numbers"


def leaks_of(record: Record, *, names: tuple[str, ...] = ()) -> list[str]:
    """Say what is in a record, its headers and its key included."""
    parts = {"key": record.key or b"", "value": record.value or b""} | {
        f"header {name}": value or b"" for name, value in record.headers
    }
    return [f"{record.topic}, {part}: {what}" for part, data in parts.items() for what in leaks(data, names=names)]


def _parsed(data: bytes) -> Any:  # noqa: ANN401 - whatever JSON can hold
    try:
        return json.loads(data)
    except ValueError:
        return None


def _lists(value: Any) -> Iterator[list[float]]:  # noqa: ANN401
    if isinstance(value, dict):
        for each in value.values():
            yield from _lists(each)
    elif isinstance(value, list):
        yield [item for item in value if isinstance(item, int | float)]
        for each in value:
            yield from _lists(each)
