"""No page that a reviewer sees tells a known answer from a real case: the same bytes, but for ids."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import builders
import httpx
import pytest
from builders import NOW
from desk_house import DeskHouse

from rfr_stream.adapters import keys
from rfr_stream.adapters.memory.vision import PlantedFace, plant
from rfr_stream.desk import Suitability, Visibility
from rfr_stream.events import CandidatesReady, Component, Finding, ImageSubmitted, Support
from rfr_stream.ports import CaseState, NewBlob, Seed
from rfr_stream.vision.decode import encode

REVIEWERS: Final = ("reviewer-a", "reviewer-b")
PICTURE: Final = encode(plant(PlantedFace("adam")))
SEEN: Final = {f"seen-{each}": Visibility.CLEAR.value for each in Component}
A_LEAD: Final = {
    "choice": "1",
    "support": Support.STRONG_SAME.value,
    **{f"finding-{each}": Finding.SIMILAR.value for each in Component},
}


@pytest.fixture
async def cases(house: DeskHouse) -> tuple[CandidatesReady, CandidatesReady]:
    """Two requests about one picture, of which the second was planted a month ago; both have come to people."""
    (image,) = await house.desk.blobs.put([NewBlob("originals/one", PICTURE, "image/png")])
    about = [builders.submission(image=image, case_ref=f"case-{n}") for n in (1, 2)]
    found = [builders.candidates_ready(each, people=("person-1",)) for each in about]
    await house.desk.ledger.hold(builders.references_of(found[0]))
    planted = about[1].model_copy(update={"submitted_at": NOW - timedelta(days=30)})
    await house.desk.ledger.plant([Seed(ImageSubmitted(occurred_at=NOW, submission=planted), "person-1")])
    await house.hold(found[0])
    assert await house.desk.ledger.sow(0.5, NOW) == 1
    (promised,) = await house.desk.ledger.unpublished(1)
    assert isinstance(promised.event, ImageSubmitted)
    known = builders.candidates_ready(promised.event.submission, people=("person-1",))
    await house.hold(known)
    return found[0], known


@dataclass(frozen=True)
class Walk:
    """One reviewer's way through one case, from the queue to its scores."""

    house: DeskHouse
    client: httpx.AsyncClient
    by: str
    found: CandidatesReady

    async def answers(self) -> AsyncIterator[httpx.Response]:
        """Yield every answer on the way."""
        case, client = f"/cases/{self.found.submission.submission_id}", self.client
        yield await client.get(case, follow_redirects=True)
        yield await client.get(f"{case}/probe")
        yield await client.post(f"{case}/analysis", data={"suitability": Suitability.SUITABLE.value, **SEEN})
        yield await client.get(f"{case}/comparison")
        yield await client.post(f"{case}/looks", json=[{"place": 1, "dwell_ms": 9_000, "zoomed": True}])
        self.house.clock.forward(seconds=20)
        yield await client.post(f"{case}/decision", data=A_LEAD)
        yield await client.get(f"{case}/signature")
        yield await client.post(f"{case}/signature", data={"signature": await self.signature()})
        await self.house.count()
        yield await client.get(f"{case}/record")
        yield await client.post(f"{case}/reveal", follow_redirects=True)
        yield await client.post(f"{case}/decision", data=A_LEAD)  # too late without a reason

    async def signature(self) -> str:
        examined = await self.house.desk.store.examinations.examined(self.found.submission.submission_id, self.by)
        assert examined
        assert examined.draft
        return keys.sign_bytes(builders.private_key(self.by), examined.draft.signed_bytes)

    async def blurred(self) -> list[tuple[int, dict[str, str], str]]:
        """Return what the browser got, without the ids of the case and what is encoded or digested of them."""
        case = str(self.found.submission.submission_id)
        ids = f"{case}|{case[:8]}|{self.found.list_digest}"
        own = re.compile(f"{ids}|[A-Za-z0-9+/]{{40,}}=*|[0-9a-f]{{64}}")
        return [
            (answer.status_code, _without(own, answer.headers), own.sub("~", answer.content.decode(errors="replace")))
            async for answer in self.answers()
        ]


def _without(own: re.Pattern[str], headers: httpx.Headers) -> dict[str, str]:
    return {name: own.sub("~", value) for name, value in headers.items() if name != "content-length"}


async def test_every_page_of_a_review_is_the_same(
    house: DeskHouse, cases: tuple[CandidatesReady, CandidatesReady]
) -> None:
    seen = []
    for by in REVIEWERS:
        client = await house.client(await house.reviewer(by))
        for found in cases:
            house.clock.now = NOW
            seen.append(await Walk(house, client, by, found).blurred())

    ends = [await house.desk.case(found.submission.submission_id) for found in cases]
    assert [end.state for end in ends] == [CaseState.CONFIRMED, CaseState.ASSESSED]
    assert [status for status, _, _ in seen[0]][:3] == [200, 200, 303]
    assert seen[0] == seen[1]
    assert seen[2] == seen[3]


async def test_both_stand_in_the_queue_in_the_same_words(
    house: DeskHouse, cases: tuple[CandidatesReady, CandidatesReady]
) -> None:
    client = await house.client(await house.reviewer())

    page = (await client.get("/queue")).text

    rows = re.findall(r"<tr >.*?</tr>", page, re.DOTALL)
    assert len(rows) == 2
    assert len({re.sub(r"(/cases/|open-)[^\"]*|case [0-9a-f]{8}", "~", row) for row in rows}) == 1
    assert all(str(found.submission.submission_id) in page for found in cases)
