"""What the public sent in: opened defensively, grouped, kept; nobody is looked for in it."""

from typing import Any
from uuid import UUID

import builders
import house
import pictures
import pytest
from house import House

from rfr_stream import stages
from rfr_stream.adapters.memory.vision import MemoryFingerprinter
from rfr_stream.errors import MissingBlob, Rejected, Unavailable
from rfr_stream.events import AppealImageReceived


async def sent(here: House, file: bytes, portal_ref: int = 1, **fields: Any) -> AppealImageReceived:  # noqa: ANN401
    """Keep a file, and return the event about it."""
    image = await here.keep(file)
    derived = AppealImageReceived.derive("portal-1", UUID(int=portal_ref), image.sha256)
    return builders.appeal_image_received(image=image, contribution_id=derived, **fields)


async def gather(here: House, *batch: AppealImageReceived) -> list[Rejected | None]:
    return await stages.gather(
        batch,
        blobs=here.blobs,
        codec=here.vision.codec,
        fingerprinter=here.vision.fingerprinter,
        appeals=here.ledger,
        max_image_bytes=64 * 2**20,
    )


async def groups(here: House, *events: AppealImageReceived) -> list[UUID | None]:
    found = await here.ledger.grouped([event.contribution_id for event in events])
    return [found[event.contribution_id] for event in events]


async def test_copies_of_one_picture_are_one_group_whoever_sent_them() -> None:
    here, one = House(), pictures.picture("one")
    files = [pictures.jpeg(one), *(change(one) for change in pictures.COPIES.values())]
    events = [await sent(here, file, n) for n, file in enumerate(files)]
    assert await gather(here, *events) == [None] * len(events)
    assert len(set(await groups(here, *events))) == 1


async def test_the_same_file_from_many_people_is_as_many_contributions_in_one_group() -> None:
    here, file = House(), pictures.jpeg(pictures.picture("one"))
    events = [await sent(here, file, n) for n in range(3)]
    await gather(here, *events)
    assert len({event.contribution_id for event in events}) == 3
    assert len(set(await groups(here, *events))) == 1


async def test_different_pictures_and_different_appeals_do_not_meet() -> None:
    here, file = House(), pictures.jpeg(pictures.picture("one"))
    here_and_there = [
        await sent(here, file, 1),
        await sent(here, file, 2, appeal_ref="appeal-2"),
        await sent(here, file, 3, demo=True),
        await sent(here, pictures.jpeg(pictures.picture("two")), 4),
    ]
    await gather(here, *here_and_there)
    assert len(set(await groups(here, *here_and_there))) == 4


@pytest.mark.parametrize(
    "file",
    [b"\xff\xd8\xff and no more", b"\x00\x00\x00\x18ftypheic and so on", pictures.jpeg(pictures.picture("one"))[:900]],
    ids=["no picture", "a format nobody opens", "cut off"],
)
async def test_what_cannot_be_opened_is_a_contribution_that_says_so(file: bytes) -> None:
    here = House()
    broken, whole = await sent(here, file), await sent(here, pictures.jpeg(pictures.picture("one")), 2)
    assert await gather(here, broken, whole) == [None, None]
    assert await groups(here, broken, whole) == [None, whole.contribution_id]


async def test_a_picture_that_is_not_there_goes_to_the_dead_letters_and_holds_up_no_other() -> None:
    here = House()
    lost, whole = builders.appeal_image_received(), await sent(here, pictures.jpeg(pictures.picture("one")), 2)
    missing, kept = await gather(here, lost, whole)
    assert isinstance(missing, MissingBlob)
    assert kept is None
    assert set(await here.ledger.grouped([lost.contribution_id, whole.contribution_id])) == {whole.contribution_id}


async def test_again_changes_nothing() -> None:
    here = House()
    events = [await sent(here, pictures.jpeg(pictures.picture(name)), 1) for name in ("one", "two")]
    await gather(here, *events)
    before = await groups(here, *events)
    await gather(here, *reversed(events))
    await gather(here, *events, *events)
    assert await groups(here, *events) == before


@pytest.mark.parametrize(("part", "method"), [("blobs", "get"), ("ledger", "contribute")])
async def test_an_outage_passes_through(part: str, method: str) -> None:
    here = House()
    event = await sent(here, pictures.jpeg(pictures.picture("one")))
    house.take_away(here, part, method, Unavailable("away"))
    with pytest.raises(Unavailable):
        await gather(here, event)
    house.bring_back(here, part, method)
    assert await gather(here, event) == [None]


async def test_no_face_is_looked_for() -> None:
    here = House()
    for method in ("detect", "embed"):
        house.take_away(here, "detector" if method == "detect" else "embedder", method, Unavailable("not asked"))
    assert isinstance(here.vision.fingerprinter, MemoryFingerprinter)
    assert await gather(here, await sent(here, pictures.jpeg(pictures.picture("one")))) == [None]
