"""A whole gallery in one file: CSV or JSON Lines, one reference a line.

Columns, or keys: path (from the manifest's folder), person, gallery, basis, source, captured_at, review_due; and where
they are known age_at_capture, case, disposal, door, restricted. An empty cell says nothing. A line is read by itself,
so that what is wrong with one (bytes, quotes, a date, the file that it names) is that line's reason and no other's.
"""

import csv
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final, TypeAlias

from pydantic import BeforeValidator, Field, StringConstraints, ValidationError

from producers._handed_in import HandedIn
from producers._intake import MAX_IMAGE_BYTES, Arrival, Publish, Report, Verdict, take_in
from producers.references import Enrolment, holdable
from rfr_stream.errors import Malformed, Rejected
from rfr_stream.events import Disposal, GalleryName, HoldRecord, Instant, Prose, Ref, Source, Value
from rfr_stream.ports import BlobStore
from topics._topic import explain

MAX_LINE_BYTES: Final = 65_536
"""A longer line is rejected, and never held whole."""

_CSV: Final = ".csv"
_JSON_LINES: Final = frozenset({".jsonl", ".ndjson"})


_Row: TypeAlias = tuple[int, Mapping[str, Any] | Rejected]
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


_Moment = Annotated[Instant, BeforeValidator(_as_utc)]


class Line(Value):
    """One reference as a line says it."""

    path: Annotated[str, StringConstraints(min_length=1, max_length=4096)]
    person: Ref
    gallery: GalleryName
    basis: Prose
    source: Ref
    captured_at: _Moment
    review_due: _Moment
    restricted: bool = False
    age_at_capture: Annotated[int, Field(ge=0, le=130)] | None = None
    case: Ref | None = None
    disposal: Disposal | None = None
    door: Source = Source.OFFICER

    def enrolment(self, submitted_by: str, *, demo: bool) -> Enrolment:
        """Return it as the door takes it."""
        hold = HoldRecord(
            legal_basis=self.basis,
            source=self.source,
            captured_at=self.captured_at,
            review_due=self.review_due,
            restricted=self.restricted,
            age_at_capture=self.age_at_capture,
            case_ref=self.case,
            disposal=self.disposal,
            door=self.door,
        )
        return Enrolment(person_id=self.person, gallery=self.gallery, hold=hold, submitted_by=submitted_by, demo=demo)


async def enrol(
    manifest: Path,
    *,
    submitted_by: str,
    demo: bool = False,
    blobs: BlobStore,
    publish: Publish,
    journal: HandedIn | None = None,
    max_bytes: int = MAX_IMAGE_BYTES,
) -> AsyncIterator[Report]:
    """Yield how each line fared, in order; memory holds one chunk, however long the manifest is.

    Raises:
        Malformed: the file is neither CSV nor JSON Lines, or its header lacks a column or has one that nobody knows.

        Unavailable: store, bus or journal are away; run it again later.

    """
    arrivals = (_arrival(row, manifest.parent, submitted_by, demo=demo) for row in _rows(manifest))
    async for report in take_in(arrivals, blobs=blobs, publish=publish, journal=journal, max_bytes=max_bytes):
        yield report


def count(manifest: Path) -> int:
    """Return about how many references there are, to tell how far a run has come."""
    with manifest.open("rb") as file:
        lines_n = sum(1 for _ in _lines(file))
    return lines_n - (manifest.suffix.lower() == _CSV)


def _arrival(row: _Row, folder: Path, submitted_by: str, *, demo: bool) -> Arrival | Report:
    number, fields = row
    path: Path | None = None
    try:
        line = _checked(fields)
        path = folder / line.path
        return Arrival(path, holdable(line.enrolment(submitted_by, demo=demo)), number)
    except Rejected as refusal:
        return Report(path, Verdict.REJECTED, reason=str(refusal), line=number)


def _checked(fields: Mapping[str, object] | Rejected) -> Line:
    if isinstance(fields, Rejected):
        raise fields
    said = {name: value for name, value in fields.items() if value is not None and value != ""}
    try:
        return Line.model_validate(said)
    except ValidationError as error:
        raise Malformed(explain(error)) from None


# --- from bytes to fields ---------------------------------------------------------------------------------------------
def _rows(manifest: Path) -> Iterator[_Row]:
    """Yield the fields of each line, or what is wrong with it, by the line's number in the file."""
    suffix = manifest.suffix.lower()
    if suffix != _CSV and suffix not in _JSON_LINES:
        msg = f"--manifest: must be named {_CSV} or {' or '.join(sorted(_JSON_LINES))}"
        raise Malformed(msg)
    with manifest.open("rb") as file:
        lines = _lines(file)
        columns = _columns(next(lines, (1, b""))[1]) if suffix == _CSV else None
        for number, line in lines:
            try:
                yield number, _cells(columns, line) if columns else _keys(line)
            except Rejected as refusal:
                yield number, refusal


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


def _columns(line: bytes) -> list[str]:
    columns = [name.strip() for name in _split(line)]
    unknown = [str(place) for place, name in enumerate(columns, start=1) if name not in Line.model_fields]
    missing = [name for name, field in Line.model_fields.items() if field.is_required() and name not in columns]
    if unknown or missing or len(set(columns)) != len(columns):
        msg = (
            f"header: each column once; missing: {', '.join(missing) or 'none'}; "
            f"columns of no known name: {', '.join(unknown) or 'none'}"
        )
        raise Malformed(msg)
    return columns


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
    except (json.JSONDecodeError, RecursionError):
        msg = "line: not JSON"
        raise Malformed(msg) from None
    if not isinstance(said, dict):
        msg = "line: must be a JSON object"
        raise Malformed(msg)
    return said
