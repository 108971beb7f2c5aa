"""What each door knows that the others do not."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import builders
import pytest
from pydantic import ValidationError

from producers import missing_persons, public_appeal, references
from producers._handed_in import HandedIn
from producers._intake import Verdict
from rfr_stream.adapters.memory.blobs import MemoryBlobs
from rfr_stream.errors import NotPermitted
from rfr_stream.events import (
    Event,
    GalleryName,
    HoldRecord,
    ImageSubmitted,
    Purpose,
    ReferenceErased,
    ReferenceSubmitted,
    Source,
)

IMAGE = b"\x89PNG\r\n\x1a\n and so on"
ASKED = {"case_ref": "case-1", "legal_basis": "to find who is missing"}


class Recorder:
    def __init__(self) -> None:
        self.events: list[Event] = []

    async def publish(self, events: Sequence[Event]) -> None:
        self.events += events


@pytest.fixture
def bus() -> Recorder:
    return Recorder()


async def test_an_appeal_is_answered_for_by_the_officer_who_endorses_it(bus: Recorder) -> None:
    request = public_appeal.AppealRequest(purpose=Purpose.MISSING, endorsed_by="officer-7", **ASKED)
    assert [r async for r in public_appeal.submit([IMAGE], request, blobs=MemoryBlobs(), publish=bus.publish)]
    (event,) = bus.events
    submission = cast(ImageSubmitted, event).submission
    assert (submission.source, submission.submitted_by) == (Source.PUBLIC_APPEAL, "officer-7")


@pytest.mark.parametrize("field", ["contributor", "contact", "email", "submitted_by", "name"])
def test_nothing_about_a_contributor_is_accepted(field: str) -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        public_appeal.AppealRequest.model_validate(
            {"purpose": Purpose.MISSING, "endorsed_by": "officer-7", **ASKED, field: "Jane"}
        )


@pytest.mark.parametrize(
    ("purpose", "source"),
    [(Purpose.MISSING, Source.MISSING_PERSON), (Purpose.DECEASED, Source.DECEASED_PERSON)],
)
async def test_the_units_door_says_whom_it_looks_for(bus: Recorder, purpose: Purpose, source: Source) -> None:
    request = missing_persons.UnitRequest.model_validate({"purpose": purpose, "submitted_by": "unit-1", **ASKED})
    assert [r async for r in missing_persons.submit([IMAGE], request, blobs=MemoryBlobs(), publish=bus.publish)]
    assert cast(ImageSubmitted, bus.events[0]).submission.source is source


def test_the_units_door_is_not_for_suspects() -> None:
    with pytest.raises(ValidationError, match="purpose"):
        missing_persons.UnitRequest.model_validate({"purpose": Purpose.SUSPECT, "submitted_by": "unit-1", **ASKED})


def enrolment(*, person_id: str = "person-1", **hold: Any) -> references.Enrolment:  # noqa: ANN401
    return references.Enrolment(
        person_id=person_id,
        gallery=GalleryName.MISSING,
        hold=held(**hold),
        submitted_by="unit-1",
    )


def held(**fields: object) -> HoldRecord:
    return builders.hold_record(**{"review_due": builders.NOW + timedelta(days=36_500), **fields})


async def test_a_reference_comes_with_its_hold_record_and_the_id_of_its_image(bus: Recorder) -> None:
    blobs = MemoryBlobs()
    entries = [(IMAGE, enrolment())]
    (report,) = [r async for r in references.enrol(entries, blobs=blobs, publish=bus.publish)]
    (event,) = bus.events
    said = cast(ReferenceSubmitted, event)
    assert (said.person_id, said.gallery, said.hold) == ("person-1", GalleryName.MISSING, held())
    assert said.reference_id == report.derived_id
    assert said.reference_id == ReferenceSubmitted.derive("person-1", GalleryName.MISSING, said.image.sha256)
    assert await blobs.get([said.image]) == [IMAGE]


async def test_one_image_of_two_people_is_two_references(bus: Recorder) -> None:
    entries = [(IMAGE, enrolment(person_id="person-1")), (IMAGE, enrolment(person_id="person-2"))]
    reports = [r async for r in references.enrol(entries, blobs=MemoryBlobs(), publish=bus.publish)]
    assert len({report.derived_id for report in reports}) == 2


@pytest.mark.parametrize("chunk", [1, 64], ids=["apart", "together"])
async def test_the_last_word_on_a_reference_is_always_handed_in(bus: Recorder, tmp_path: Path, chunk: int) -> None:
    words = [enrolment(), enrolment(restricted=True), enrolment(), enrolment()]
    outcomes: list[Verdict] = []
    with HandedIn(tmp_path / "journal.sqlite") as journal:
        for start in range(0, len(words), chunk):
            entries = [(IMAGE, word) for word in words[start : start + chunk]]
            run = references.enrol(entries, blobs=MemoryBlobs(), publish=bus.publish, journal=journal)
            outcomes += [report.outcome async for report in run]
    assert outcomes == [Verdict.ACCEPTED, Verdict.ACCEPTED, Verdict.ACCEPTED, Verdict.SKIPPED]
    assert [cast(ReferenceSubmitted, event).hold.restricted for event in bus.events] == [False, True, False]


@pytest.mark.parametrize(
    ("hold", "reason"),
    [
        ({"review_due": builders.NOW - timedelta(days=3_650)}, "review_overdue"),
        ({"captured_at": builders.NOW + timedelta(days=36_000)}, "captured_in_the_future"),
    ],
)
async def test_a_hold_record_that_is_void_from_the_start_is_refused(
    bus: Recorder, hold: dict[str, Any], reason: str
) -> None:
    with pytest.raises(NotPermitted, match=reason):
        [r async for r in references.enrol([(IMAGE, enrolment(**hold))], blobs=MemoryBlobs(), publish=bus.publish)]
    assert bus.events == []


async def test_an_erasure_names_the_reference_and_the_reason(bus: Recorder) -> None:
    gone = builders.reference_erased()
    fields = gone.model_dump(exclude={"occurred_at"})
    assert await references.erase([references.Erasure(**fields)], publish=bus.publish) == 1
    assert cast(ReferenceErased, bus.events[0]).model_copy(update={"occurred_at": gone.occurred_at}) == gone
