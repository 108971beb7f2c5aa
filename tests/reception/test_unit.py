"""The unit's door: an image is searched with and, in the same step, held for later searches."""

from typing import Any, Final

import httpx
import pytest
from reception_house import REQUEST, ReceptionHouse, form, picture

from producers.reception.unit import OPENING
from rfr_stream.events import GalleryName, ReferenceSubmitted, Regime, Source
from rfr_stream.reception import Door

UNIT: Final = "/unit/submissions"
HELD: Final = {
    "person_id": "body-88",
    "basis": "held until somebody says who this was",
    "source": "mortuary-register",
    "captured_at": "2026-01-24",
    "review_due": "2999-01-24T00:00:00Z",
}
ASKED: Final[dict[str, Any]] = {
    **REQUEST,
    "purpose": "deceased",
    "regime": "uk_gdpr",
    "found": {"where": "Foreshore", "when": "2026-01-24T06:40:00Z"},
    "submitted_by": "unit-3",
    "enrol": HELD,
}


async def posted(house: ReceptionHouse, *images: bytes, **fields: Any) -> httpx.Response:  # noqa: ANN401
    async with house.client("mortuary", Door.UNIT) as client:
        return await client.post(UNIT, files=form(*images, request={**ASKED, **fields}))


def held(house: ReceptionHouse) -> list[ReferenceSubmitted]:
    return [event for event in house.behind.events if isinstance(event, ReferenceSubmitted)]


async def test_what_is_searched_with_is_held_too_in_one_step(house: ReceptionHouse) -> None:
    assert (await posted(house, picture(1), picture(2), picture(1))).status_code == 202
    assert [each.image.sha256 for each in house.behind.submissions] == [each.image.sha256 for each in held(house)]
    first, second = held(house)
    assert (first.person_id, first.gallery, first.hold.door) == (
        "body-88",
        GalleryName.DECEASED,
        Source.DECEASED_PERSON,
    )
    assert (first.hold.regime, first.hold.case_ref) == (Regime.GENERAL, "C-77/26")
    assert first.hold.found
    assert await house.blobs.get([first.image, second.image]) == [picture(1), picture(2)]


async def test_by_which_door_it_came_is_on_record_whatever_becomes_of_it(house: ReceptionHouse) -> None:
    await posted(house, picture(1), enrol=None)
    (submission,) = house.behind.submissions
    image = submission.image.sha256
    assert await house.here.ledger.doors([image]) == {image: {Source.DECEASED_PERSON}}


async def test_the_receipt_says_by_which_reference_each_image_is_held(house: ReceptionHouse) -> None:
    said = (await posted(house, picture(1), picture(2), picture(1))).json()["submissions"]
    first, second = [str(each.reference_id) for each in held(house)]
    assert [each["reference_id"] for each in said] == [first, second, first]
    asked = [str(each.submission_id) for each in house.behind.submissions]
    assert [each["submission_id"] for each in said] == [*asked, asked[0]]


async def test_who_does_not_ask_for_it_has_nothing_held(house: ReceptionHouse) -> None:
    answer = await posted(house, enrol=None)
    assert answer.status_code == 202
    assert [each["reference_id"] for each in answer.json()["submissions"]] == [None]
    assert (len(house.behind.submissions), held(house)) == (1, [])


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"review_due": "2020-01-01"}, "request.enrol"),
        ({"captured_at": "2998-01-01"}, "request.enrol"),
        ({"basis": ""}, "request.enrol.basis"),
        ({"gallery": "custody"}, "request.enrol.?"),
        ({"door": "officer"}, "request.enrol.?"),
    ],
)
async def test_what_may_not_be_held_is_refused_whole(house: ReceptionHouse, fields: dict[str, str], field: str) -> None:
    answer = await posted(house, enrol={**HELD, **fields})
    assert answer.status_code == 422
    assert [each["field"] for each in answer.json()["errors"]] == [field]
    assert house.behind.events == []
    assert house.is_tidy


async def test_no_other_door_holds_anything(house: ReceptionHouse) -> None:
    async with house.client() as client:
        answer = await client.post("/officer/submissions", files=form(enrol=HELD))
    assert answer.status_code == 422
    assert house.behind.events == []


async def test_of_a_video_nothing_is_held_since_nobody_has_said_who_is_in_a_frame(house: ReceptionHouse) -> None:
    request = {**ASKED, "frames": {"every": 2}}
    async with house.client("mortuary", Door.UNIT) as client:
        answer = await client.post("/unit/videos", files=form(request=request)[:1])
    assert answer.status_code == 422
    assert [each["field"] for each in answer.json()["errors"]] == ["request.enrol"]


async def test_the_same_again_has_the_same_ids(house: ReceptionHouse) -> None:
    await posted(house)
    await posted(house)
    ids = [event.event_id for event in house.behind.events]
    assert ids[:2] == ids[2:]


def test_the_door_may_write_what_it_takes() -> None:
    assert {"write topic rfr-submissions-v1", "write topic rfr-enrolments-v1"} <= set(
        map(str, OPENING.principal.rights)
    )
