"""The door that announces nothing."""

from collections.abc import Sequence
from typing import Final

import builders
import pytest

from producers import known_answers, officer
from producers._intake import Verdict
from rfr_stream.adapters.memory.blobs import MemoryBlobs
from rfr_stream.adapters.memory.ledger import MemoryLedger
from rfr_stream.errors import NotPermitted
from rfr_stream.events import Event, ImageSubmitted, Purpose
from rfr_stream.ports import Seed

IMAGE: Final = b"\x89PNG\r\n\x1a\n and so on"
REQUEST: Final = officer.OfficerRequest(submitted_by="officer-1", **builders.asked())


class Recorder(MemoryLedger):
    """A ledger that says what was planted in it."""

    def __init__(self) -> None:
        super().__init__()
        self.planted: list[Seed] = []

    async def plant(self, planted: Sequence[Seed]) -> None:
        await super().plant(planted)
        self.planted += planted


async def test_what_is_planted_is_what_the_officers_door_would_have_published() -> None:
    ledger, blobs, published = Recorder(), MemoryBlobs(), list[Event]()

    async def publish(events: Sequence[Event]) -> None:
        published.extend(events)

    (sent,) = [r async for r in officer.submit([IMAGE], REQUEST, blobs=blobs, publish=publish)]
    (kept,) = [r async for r in known_answers.plant([IMAGE], REQUEST, shows=None, blobs=blobs, seeds=ledger)]

    (real,), (seed,) = published, ledger.planted
    assert isinstance(real, ImageSubmitted)
    at = {"occurred_at": builders.NOW}
    now = {"submitted_at": builders.NOW}
    assert seed.event.model_copy(update=at | {"submission": seed.event.submission.model_copy(update=now)}) == (
        real.model_copy(update=at | {"submission": real.submission.model_copy(update=now)})
    )
    assert sent == kept
    assert await blobs.get([seed.event.submission.image]) == [IMAGE]


async def test_it_says_whom_each_image_shows() -> None:
    ledger = Recorder()
    await ledger.hold([builders.reference("person-1")])

    files = [IMAGE, IMAGE + b" of another day"]
    reports = [
        r async for r in known_answers.plant(files, REQUEST, shows="person-1", blobs=MemoryBlobs(), seeds=ledger)
    ]

    assert [report.outcome for report in reports] == [Verdict.ACCEPTED] * 2
    assert [seed.person_id for seed in ledger.planted] == ["person-1"] * 2


async def test_what_is_no_image_is_not_planted() -> None:
    ledger = Recorder()

    (report,) = [
        r async for r in known_answers.plant([b"a text"], REQUEST, shows=None, blobs=MemoryBlobs(), seeds=ledger)
    ]

    assert (report.outcome, ledger.planted) == (Verdict.REJECTED, [])


async def test_policy_judges_it_as_it_judges_a_real_one() -> None:
    witness = REQUEST.model_copy(update={"purpose": Purpose.WITNESS})

    with pytest.raises(NotPermitted, match="authoriser: required"):
        _ = [r async for r in known_answers.plant([IMAGE], witness, shows=None, blobs=MemoryBlobs(), seeds=Recorder())]
