"""What each door knows that the others do not."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import builders
import pytest
from pydantic import ValidationError

from producers import missing_persons, officer, public_appeal, references
from producers._handed_in import HandedIn
from producers._intake import Verdict
from producers._request import Request
from rfr_stream.adapters.memory.blobs import MemoryBlobs
from rfr_stream.errors import NotPermitted
from rfr_stream.events import (
    Event,
    Found,
    GalleryName,
    HoldRecord,
    ImageSubmitted,
    Purpose,
    ReferenceErased,
    ReferenceSubmitted,
    Regime,
    Source,
)

IMAGE = b"\x89PNG\r\n\x1a\n and so on"
MISSING = builders.asked(purpose=Purpose.MISSING, regime=Regime.GENERAL)


class Recorder:
    def __init__(self) -> None:
        self.events: list[Event] = []

    async def publish(self, events: Sequence[Event]) -> None:
        self.events += events


@pytest.fixture
def bus() -> Recorder:
    return Recorder()


async def test_an_appeal_is_answered_for_by_the_officer_who_endorses_it(bus: Recorder) -> None:
    request = public_appeal.AppealRequest(endorsed_by="officer-7", **MISSING)
    assert [r async for r in public_appeal.submit([IMAGE], request, blobs=MemoryBlobs(), publish=bus.publish)]
    (event,) = bus.events
    submission = cast(ImageSubmitted, event).submission
    assert (submission.source, submission.submitted_by) == (Source.PUBLIC_APPEAL, "officer-7")


@pytest.mark.parametrize("field", ["purpose", "harm", "case_ref", "legal_basis", "necessity", "provenance"])
def test_what_makes_a_search_lawful_has_no_default(field: str) -> None:
    said = {name: value for name, value in MISSING.items() if name != field}
    with pytest.raises(ValidationError, match=f"{field}\n  Field required"):
        public_appeal.AppealRequest.model_validate({"endorsed_by": "officer-7", **said})


@pytest.mark.parametrize("necessity", ["to find them", "necessary" + " " * 100, "", "." * 45, "needed " * 9])
def test_necessity_takes_more_than_a_few_words(necessity: str) -> None:
    with pytest.raises(ValidationError, match="necessity\n"):
        missing_persons.UnitRequest(submitted_by="unit-1", **{**MISSING, "necessity": necessity})


@pytest.mark.parametrize("door", [officer.OfficerRequest, missing_persons.UnitRequest, public_appeal.AppealRequest])
def test_no_door_takes_an_image_by_where_it_lies(door: type[Request]) -> None:
    theirs = {"kind": "image", "image": builders.blob().model_dump(mode="json")}
    with pytest.raises(ValidationError, match=r"variants\.0\.kind\n  Input should be 'recipe'"):
        door.model_validate({"submitted_by": "x-1", **MISSING, "variants": [theirs]})


@pytest.mark.parametrize("made", ["composite", "sketch", "e_fit", "generated", "look_alike"])
def test_what_nobody_took_has_no_name(made: str) -> None:
    provenance = {"origin": made, "obtained": "drawn by hand", "exhibit_ref": "AB/1"}
    with pytest.raises(ValidationError, match=r"provenance\.origin\n"):
        missing_persons.UnitRequest(submitted_by="unit-1", **{**MISSING, "provenance": provenance})


def test_of_the_deceased_alone_it_is_said_where_they_were_found() -> None:
    with pytest.raises(ValidationError, match=r"found\n.*say where and when"):
        missing_persons.UnitRequest(submitted_by="unit-1", **{**MISSING, "purpose": Purpose.DECEASED})
    found = Found(where="a river bank", when=builders.NOW)
    with pytest.raises(ValidationError, match=r"found\n.*of nobody else"):
        missing_persons.UnitRequest(submitted_by="unit-1", **{**MISSING, "found": found})


async def test_a_unit_that_does_not_say_which_law_is_refused_before_any_file_is_opened(bus: Recorder) -> None:
    request = missing_persons.UnitRequest(submitted_by="unit-1", **{**MISSING, "regime": None})
    with pytest.raises(NotPermitted, match=r"^regime: "):
        _ = [r async for r in missing_persons.submit([IMAGE], request, blobs=MemoryBlobs(), publish=bus.publish)]
    assert bus.events == []


async def test_what_was_asked_stands_in_the_event(bus: Recorder) -> None:
    found = Found(where="a river bank", when=builders.NOW)
    said = {**MISSING, "purpose": Purpose.DECEASED, "found": found, "age_at_capture": 41}
    request = missing_persons.UnitRequest(submitted_by="unit-1", **said)
    assert [r async for r in missing_persons.submit([IMAGE], request, blobs=MemoryBlobs(), publish=bus.publish)]
    submission = cast(ImageSubmitted, bus.events[0]).submission
    assert (submission.regime, submission.age_at_capture, submission.found) == (Regime.GENERAL, 41, found)
    assert (submission.harm, submission.provenance) == (said["harm"], said["provenance"])


async def test_the_law_of_a_search_for_an_offender_goes_without_saying(bus: Recorder) -> None:
    request = officer.OfficerRequest(submitted_by="officer-1", **builders.asked())
    assert [r async for r in officer.submit([IMAGE], request, blobs=MemoryBlobs(), publish=bus.publish)]
    assert cast(ImageSubmitted, bus.events[0]).submission.regime is Regime.LAW_ENFORCEMENT


@pytest.mark.parametrize("field", ["contributor", "contact", "email", "submitted_by", "name"])
def test_nothing_about_a_contributor_is_accepted(field: str) -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        public_appeal.AppealRequest.model_validate({"endorsed_by": "officer-7", **MISSING, field: "Jane"})


@pytest.mark.parametrize(
    ("purpose", "source"),
    [(Purpose.MISSING, Source.MISSING_PERSON), (Purpose.DECEASED, Source.DECEASED_PERSON)],
)
async def test_the_units_door_says_whom_it_looks_for(bus: Recorder, purpose: Purpose, source: Source) -> None:
    found = Found(where="a river bank", when=builders.NOW) if purpose is Purpose.DECEASED else None
    request = missing_persons.UnitRequest(submitted_by="unit-1", **{**MISSING, "purpose": purpose, "found": found})
    assert [r async for r in missing_persons.submit([IMAGE], request, blobs=MemoryBlobs(), publish=bus.publish)]
    assert cast(ImageSubmitted, bus.events[0]).submission.source is source


def test_the_units_door_is_not_for_suspects() -> None:
    with pytest.raises(ValidationError, match="purpose"):
        missing_persons.UnitRequest.model_validate(builders.asked(submitted_by="unit-1"))


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
