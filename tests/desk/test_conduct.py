"""Waving through is noticed: a script that approves in a second releases nothing, and supervisors are told."""

from typing import Final

import builders
import httpx
import pytest
from desk_house import DeskHouse

from producers.console.conduct import look_back
from rfr_stream.adapters import keys
from rfr_stream.desk import AlertKind, Suitability, Visibility
from rfr_stream.events import CandidatesReady, Component, Finding, Support

SEEN: Final = {f"seen-{each}": Visibility.CLEAR.value for each in Component}
SIMILAR: Final = {f"finding-{each}": Finding.SIMILAR.value for each in Component}
A_LEAD: Final = {"choice": "1", "support": Support.STRONG_SAME.value, **SIMILAR}
NONE: Final = {"choice": "none", "support": Support.MODERATE_DIFFERENT.value}


class Script:
    """A reviewer who takes so many seconds for each comparison."""

    def __init__(self, house: DeskHouse, client: httpx.AsyncClient) -> None:
        self.house, self.client, self.number = house, client, 0

    async def decides(self, form: dict[str, str], *, seconds: float, zooms: bool = True) -> httpx.Response:
        """Take up a new case and conclude; return what the desk said to the conclusion."""
        self.number += 1
        found = builders.candidates_ready(builders.submission(f"case-{self.number}"))
        await self.house.desk.ledger.hold(builders.references_of(found))
        await self.house.hold(found)
        case = f"/cases/{found.submission.submission_id}"
        await self.client.post(f"{case}/analysis", data={"suitability": Suitability.SUITABLE.value, **SEEN})
        await self.client.get(f"{case}/comparison")
        looks = [{"place": 1, "dwell_ms": 400, "zoomed": zooms}]
        await self.client.post(f"{case}/looks", json=looks)
        self.house.clock.forward(seconds=seconds)
        said = await self.client.post(f"{case}/decision", data=form)
        if said.status_code == httpx.codes.SEE_OTHER:
            await self.signs(found)
        return said

    async def signs(self, found: CandidatesReady) -> None:
        examined = await self.house.desk.store.examinations.examined(found.submission.submission_id, "reviewer-a")
        assert examined
        assert examined.draft
        signature = keys.sign_bytes(builders.private_key("reviewer-a"), examined.draft.signed_bytes)
        case = f"/cases/{found.submission.submission_id}"
        signed = await self.client.post(f"{case}/signature", data={"signature": signature})
        assert signed.status_code == httpx.codes.SEE_OTHER, signed.text

    async def told(self) -> list[AlertKind]:
        """Return what supervisors were told, oldest first."""
        return [alert.kind for alert in await self.house.desk.store.examinations.alerts()][::-1]


@pytest.fixture
async def script(house: DeskHouse) -> Script:
    return Script(house, await house.client(await house.reviewer()))


async def test_approving_in_a_second_releases_nothing_and_is_told(script: Script) -> None:
    said = await script.decides(A_LEAD, seconds=1)

    assert said.status_code == httpx.codes.BAD_REQUEST
    assert script.house.published == []
    assert await script.told() == [AlertKind.TOO_FAST]


async def test_passing_over_in_a_second_counts_and_is_told_once(script: Script) -> None:
    for _ in range(3):
        assert (await script.decides(NONE, seconds=1)).status_code == httpx.codes.SEE_OTHER

    assert len(script.house.published) == 3
    assert await script.told() == [AlertKind.TOO_FAST]
    (alert,) = await script.house.desk.store.examinations.alerts()
    assert (alert.account_id, alert.detail) == ("reviewer-a", "compared for 1.0 s")
    assert alert.submission_id == builders.submission("case-1").submission_id


async def test_the_same_is_told_again_once_that_is_long_ago(script: Script) -> None:
    await script.decides(NONE, seconds=1)
    desk, account = script.house.desk, await script.house.account_of("reviewer-a")

    script.house.clock.forward(hours=7)
    await look_back(desk, account)
    assert await script.told() == [AlertKind.TOO_FAST]

    script.house.clock.forward(hours=2)
    await look_back(desk, account)
    assert await script.told() == [AlertKind.TOO_FAST] * 2


async def test_nothing_is_told_of_somebody_who_weighs(script: Script) -> None:
    for form in (A_LEAD, NONE, A_LEAD):
        assert (await script.decides(form, seconds=90)).status_code == httpx.codes.SEE_OTHER

    assert await script.told() == []


async def test_twenty_without_going_closer_are_told(script: Script) -> None:
    for number in range(20):
        await script.decides(NONE, seconds=150, zooms=False)
        assert await script.told() == ([AlertKind.NEVER_CLOSER] if number == 19 else [])
