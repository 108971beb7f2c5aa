"""A whole gallery in one file: CSV or JSON Lines, one reference a line.

Columns, or keys: path (from the manifest's folder), person, gallery, basis, source, captured_at, review_due; and where
they are known age_at_capture, case, disposal, door, restricted. An empty cell says nothing. A line is read by itself,
so that what is wrong with one (bytes, quotes, a date, the file that it names) is that line's reason and no other's.
"""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, StringConstraints, ValidationError

from producers._handed_in import HandedIn
from producers._intake import MAX_IMAGE_BYTES, Arrival, Publish, Report, Verdict, take_in
from producers._listing import Columns, Moment, Row, count, rows, said_in
from producers.references import Enrolment, holdable
from rfr_stream.errors import Malformed, Rejected
from rfr_stream.events import Disposal, GalleryName, HoldRecord, Prose, Ref, Source, Value
from rfr_stream.ports import BlobStore
from topics import explain

__all__ = ["Line", "count", "enrol"]


class Line(Value):
    """One reference as a line says it."""

    path: Annotated[str, StringConstraints(min_length=1, max_length=4096)]
    person: Ref
    gallery: GalleryName
    basis: Prose
    source: Ref
    captured_at: Moment
    review_due: Moment
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


_COLUMNS: Final = Columns(Line.model_fields, [name for name, field in Line.model_fields.items() if field.is_required()])


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
    arrivals = (_arrival(row, manifest.parent, submitted_by, demo=demo) for row in rows(manifest, _COLUMNS))
    async for report in take_in(arrivals, blobs=blobs, publish=publish, journal=journal, max_bytes=max_bytes):
        yield report


def _arrival(row: Row, folder: Path, submitted_by: str, *, demo: bool) -> Arrival | Report:
    number, fields = row
    path: Path | None = None
    try:
        line = _checked(fields)
        path = folder / line.path
        return Arrival(path, holdable(line.enrolment(submitted_by, demo=demo)), number)
    except Rejected as refusal:
        return Report(path, Verdict.REJECTED, reason=str(refusal), line=number)


def _checked(fields: Mapping[str, object] | Rejected) -> Line:
    try:
        return Line.model_validate(said_in(fields))
    except ValidationError as error:
        raise Malformed(explain(error)) from None
