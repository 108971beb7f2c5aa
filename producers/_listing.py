"""What is handed in by a list, CSV or JSON Lines: each line is read by itself, and what is wrong with it is its own.

A line is never held longer than it may be, and its bytes, quotes and cells are no other line's fault.
"""

import csv
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final, TypeAlias

from pydantic import BeforeValidator

from rfr_stream.errors import Malformed, Rejected
from rfr_stream.events import Instant

MAX_LINE_BYTES: Final = 65_536
"""A longer line is rejected, and never held whole."""

_CSV: Final = ".csv"
_JSON_LINES: Final = frozenset({".jsonl", ".ndjson"})

Row: TypeAlias = tuple[int, Mapping[str, Any] | Rejected]
"""A line's number in the file, and its fields or what is wrong with it."""


def _as_utc(value: object) -> object:
    """Read a date or a moment; one without an offset is meant in UTC."""
    if not isinstance(value, str):
        return value
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        msg = "must be a date or a moment as ISO 8601 has it: 2026-01-31, 2026-01-31T09:30:00+00:00"
        raise ValueError(msg) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


Moment: TypeAlias = Annotated[Instant, BeforeValidator(_as_utc)]


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns a CSV's header may have, and which it must have; a dot leads into a part of a field."""

    known: Collection[str]
    required: Collection[str]

    def of(self, line: bytes) -> list[str]:
        """Return the columns that a header names.

        Raises:
            Malformed: there is one that nobody knows, one is missing, or one is there twice.

        """
        columns = [name.strip() for name in _split(line)]
        fields = {name.partition(".")[0] for name in columns}
        unknown = [str(n) for n, name in enumerate(columns, start=1) if name not in self.known]
        missing = [name for name in self.required if name not in fields]
        if unknown or missing or len(set(columns)) != len(columns):
            msg = (
                f"header: each column once; missing: {', '.join(missing) or 'none'}; "
                f"columns of no known name: {', '.join(unknown) or 'none'}"
            )
            raise Malformed(msg)
        return columns


def rows(listed: Path, columns: Columns) -> Iterator[Row]:
    """Yield the fields of each line, or what is wrong with it, by the line's number in the file.

    Raises:
        Malformed: the file is neither CSV nor JSON Lines, or its header is not one of these columns.

    """
    suffix = listed.suffix.lower()
    if suffix != _CSV and suffix not in _JSON_LINES:
        msg = f"--manifest: must be named {_CSV} or {' or '.join(sorted(_JSON_LINES))}"
        raise Malformed(msg)
    with listed.open("rb") as file:
        lines = _lines(file)
        names = columns.of(next(lines, (1, b""))[1]) if suffix == _CSV else None
        for number, line in lines:
            try:
                yield number, _cells(names, line) if names else _keys(line)
            except Rejected as refusal:
                yield number, refusal


def count(listed: Path) -> int:
    """Return about how many lines there are, to tell how far a run has come."""
    with listed.open("rb") as file:
        lines_n = sum(1 for _ in _lines(file))
    return lines_n - (listed.suffix.lower() == _CSV)


def said_in(fields: Mapping[str, object] | Rejected) -> dict[str, object]:
    """Return what a line says; an empty cell says nothing.

    Raises:
        Rejected: what is wrong with the line.

    """
    if isinstance(fields, Rejected):
        raise fields
    return {name: value for name, value in fields.items() if value is not None and value != ""}


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that say something; of a line that is too long, only as much as shows that."""
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        rest = line
        while len(rest) > MAX_LINE_BYTES and not rest.endswith(b"\n"):
            rest = file.readline(MAX_LINE_BYTES + 1)
        if line.strip():
            yield number, line


def _text(line: bytes) -> str:
    if len(line) > MAX_LINE_BYTES:
        msg = f"line: longer than {MAX_LINE_BYTES} bytes"
        raise Malformed(msg)
    try:
        return line.decode("utf-8-sig").strip("\r\n")
    except UnicodeDecodeError:
        msg = "line: not UTF-8"
        raise Malformed(msg) from None


def _cells(columns: list[str], line: bytes) -> Mapping[str, str]:
    cells = _split(line)
    if len(cells) != len(columns):
        msg = f"line: {len(cells)} cells for {len(columns)} columns"
        raise Malformed(msg)
    return dict(zip(columns, cells, strict=True))


def _split(line: bytes) -> list[str]:
    try:
        return next(csv.reader([_text(line)], strict=True), [])
    except csv.Error:
        msg = "line: not CSV; a cell with a comma or a quotation mark is quoted, and none has several lines"
        raise Malformed(msg) from None


def _keys(line: bytes) -> Mapping[str, Any]:
    try:
        said = json.loads(_text(line))
    except (ValueError, RecursionError):  # the former also of a number that is thousands of digits long
        msg = "line: not JSON"
        raise Malformed(msg) from None
    if not isinstance(said, dict):
        msg = "line: must be a JSON object"
        raise Malformed(msg)
    return said
