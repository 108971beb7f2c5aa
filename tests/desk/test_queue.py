"""The queue: who sees what, in which order, and who holds it."""

import re
from datetime import timedelta
from typing import Any, Final

import builders
import desk_pages
import pytest
from desk_house import DeskHouse

from rfr_stream.events import CandidatesReady, Harm, Purpose, Source, Support
from rfr_stream.policy import Role

ID: Final = "6b1f2a5e-5d0c-5a57-9e0c-3d1b7a4f9c21"
NAIVE: Final = f"1~2026-01-01T00:00:00~{ID}"
FAR: Final = f"{'9' * 60}~2026-01-01T00:00:00+00:00~{ID}"


def ids(text: str) -> list[str]:
    """Return the cases on a page, in their order."""
    return re.findall(r'href="/cases/([0-9a-f-]{36})"', text)


def case_id(found: CandidatesReady) -> str:
    return str(found.submission.submission_id)


class TestWhatWaits:
    async def test_a_missing_child_comes_before_a_burglary_and_the_oldest_first_among_equals(
        self, house: DeskHouse
    ) -> None:
        asked: dict[str, dict[str, Any]] = {
            "old-burglary": {},
            "burglary": {},
            "missing": {"purpose": Purpose.MISSING},
            "serious": {"harm": Harm.SERIOUS},
            "life": {"harm": Harm.LIFE_AT_RISK},
            "child": {"purpose": Purpose.MISSING, "harm": Harm.CHILD_AT_RISK},
        }
        held = {}
        for name, fields in asked.items():
            held[case_id(await desk_pages.held(house, desk_pages.listed(name, **fields)))] = name
            house.clock.forward(minutes=10)

        page = (await (await house.client(await house.reviewer())).get("/queue")).text

        assert [held[each] for each in ids(page)] == ["child", "life", "missing", "serious", "old-burglary", "burglary"]
        assert "<strong>6</strong> waiting, the oldest for 1 h" in page

    async def test_nothing_waits_for_whoever_has_decided(self, house: DeskHouse) -> None:
        case = await desk_pages.compared(house, desk_pages.listed())

        await desk_pages.decide(case, desk_pages.nobody())

        assert ids((await case.client.get("/queue")).text) == []

    async def test_it_waits_for_the_second_reviewer_as_it_waited_for_the_first(self, house: DeskHouse) -> None:
        case = await desk_pages.compared(house, desk_pages.listed())
        other = await house.client(await house.reviewer("reviewer-b"))

        await desk_pages.decide(case, desk_pages.nobody())
        await house.count()

        assert ids((await other.get("/queue")).text) == [case.id]

    async def test_what_two_have_decided_waits_for_nobody(self, house: DeskHouse) -> None:
        found = await desk_pages.held(house, desk_pages.listed())
        for by in ("reviewer-b", "reviewer-c"):
            await house.reviewer(by)
            await house.desk.publish([builders.decision(found, by=by, support=Support.STRONG_DIFFERENT)])
        await house.count()

        assert ids((await (await house.client(await house.reviewer())).get("/queue")).text) == []

    @pytest.mark.parametrize(
        ("asked", "expected"),
        [
            ({"source": "public_appeal"}, {"appeal"}),
            ({"purpose": "missing"}, {"missing"}),
            ({"source": "officer", "purpose": "suspect"}, {"officer"}),
            ({"source": "", "purpose": ""}, {"appeal", "missing", "officer"}),
        ],
    )
    async def test_it_is_filtered_by_door_and_purpose(
        self, house: DeskHouse, asked: dict[str, str], expected: set[str]
    ) -> None:
        client = await house.client(await house.reviewer())
        held = {}
        asked_for: dict[str, dict[str, Any]] = {
            "officer": {},
            "appeal": {"source": Source.PUBLIC_APPEAL},
            "missing": {"source": Source.MISSING_PERSON, "purpose": Purpose.MISSING},
        }
        for name, fields in asked_for.items():
            held[case_id(await desk_pages.held(house, desk_pages.listed(name, **fields)))] = name

        page = (await client.get("/queue", params=asked)).text

        assert {held[each] for each in ids(page)} == expected

    async def test_pages_follow_each_other_without_a_gap_or_a_repeat(self, house: DeskHouse) -> None:
        client = await house.client(await house.reviewer())
        everything = [desk_pages.listed(f"{n}", people=1) for n in range(120)]
        await house.hold(*everything)

        seen, path = [], "/queue"
        while path:
            page = (await client.get(path)).text
            seen += ids(page)
            following = re.search(r'rel="next" href="([^"]+)"', page)
            path = following[1].replace("&amp;", "&") if following else ""

        assert len(seen) == len(set(seen)) == 120

    @pytest.mark.parametrize("place", ["x", "1~2~3", "0~2026-01-01T00:00:00+00:00~nobody", "~~", NAIVE, FAR])
    async def test_a_place_that_this_desk_never_wrote_is_refused(self, house: DeskHouse, place: str) -> None:
        client = await house.client(await house.reviewer())

        assert (await client.get("/queue", params={"after": place})).status_code == 403


class TestHolding:
    async def test_one_person_holds_a_case_at_a_time(self, house: DeskHouse) -> None:
        case = await desk_pages.taken(house, desk_pages.listed())
        other = await house.client(await house.reviewer("reviewer-b"))
        await case.client.get(case.path)

        assert ids((await other.get("/queue")).text) == []
        assert (await other.get(case.path)).status_code == 403
        assert (await other.get(f"{case.path}/analysis")).status_code == 403
        assert (await other.get(f"{case.path}/probe")).status_code == 403

    async def test_a_lease_ends_and_the_next_may_take_it(self, house: DeskHouse) -> None:
        case = await desk_pages.taken(house, desk_pages.listed())
        other = await house.client(await house.reviewer("reviewer-b"))
        await case.client.get(case.path)

        house.clock.forward(minutes=house.desk.settings.lease_minutes, seconds=1)

        assert ids((await other.get("/queue")).text) == [case.id]
        assert (await other.get(f"{case.path}/analysis")).status_code == 200
        assert (await case.client.get(f"{case.path}/analysis")).status_code == 403

    async def test_whoever_is_at_work_keeps_it(self, house: DeskHouse) -> None:
        case = await desk_pages.compared(house, desk_pages.listed())

        for _ in range(5):
            house.clock.forward(minutes=house.desk.settings.lease_minutes - 1)
            await case.client.get("/queue")  # the session is used too
            assert (await case.client.post(f"{case.path}/looks", json=[])).status_code == 204

        other = await house.client(await house.reviewer("reviewer-b"))
        assert (await other.get(case.path)).status_code == 403

    async def test_a_window_that_asks_by_itself_keeps_no_session_alive(self, house: DeskHouse) -> None:
        client = await house.client(await house.reviewer())

        for _ in range(4):
            house.clock.forward(minutes=house.desk.settings.idle_minutes / 4 + 1)
            answer = await desk_pages.rows(client)

        assert answer.status_code == 401
        assert (await client.get("/queue")).status_code == 303

    async def test_what_is_given_back_waits_for_everybody(self, house: DeskHouse) -> None:
        case = await desk_pages.taken(house, desk_pages.listed())
        other = await house.client(await house.reviewer("reviewer-b"))
        await case.client.get(case.path)

        await case.client.post(f"{case.path}/release")

        assert ids((await other.get("/queue")).text) == [case.id]

    async def test_the_next_case_is_the_most_urgent_that_nobody_holds(self, house: DeskHouse) -> None:
        first, second = await house.reviewer("reviewer-a"), await house.reviewer("reviewer-b")
        urgent = await desk_pages.held(house, desk_pages.listed("1", harm=Harm.CHILD_AT_RISK))
        other = await desk_pages.held(house, desk_pages.listed("2"))

        went = [(await (await house.client(each)).post("/queue/next")).headers["location"] for each in (first, second)]

        assert went == [f"/cases/{case_id(urgent)}", f"/cases/{case_id(other)}"]

    async def test_with_nothing_waiting_one_stays_at_the_queue(self, house: DeskHouse) -> None:
        client = await house.client(await house.reviewer())

        assert (await client.post("/queue/next")).headers["location"] == "/queue"


class TestCompetence:
    @pytest.mark.parametrize("path", ["/queue/next"])
    async def test_whose_training_has_lapsed_is_offered_nothing(self, house: DeskHouse, path: str) -> None:
        found = await desk_pages.held(house, desk_pages.listed())
        await house.desk.ledger.register(
            builders.reviewer("reviewer-a", competent_until=house.clock() + timedelta(minutes=1))
        )
        client = await house.client(await house.account("reviewer-a", Role.REVIEWER))
        assert (await client.get(f"/cases/{case_id(found)}")).status_code == 303

        house.clock.forward(minutes=1)

        refused = await client.post(path)
        assert refused.status_code == 403
        assert "Training has lapsed" in refused.text
        assert (await client.get(f"/cases/{case_id(found)}/analysis")).status_code == 403

    async def test_whom_nobody_has_certified_reviews_nothing(self, house: DeskHouse) -> None:
        found = await desk_pages.held(house, desk_pages.listed())
        client = await house.client(await house.account("reviewer-a", Role.REVIEWER))

        assert (await client.get(f"/cases/{case_id(found)}")).status_code == 403

    @pytest.mark.parametrize("role", [role for role in Role if role is not Role.REVIEWER])
    async def test_no_other_role_sees_the_queue_or_a_case(self, house: DeskHouse, role: Role) -> None:
        found = await desk_pages.held(house, desk_pages.listed())
        client = await house.client(await house.account("somebody", role))

        for path in ("/queue", f"/cases/{case_id(found)}", f"/cases/{case_id(found)}/probe"):
            assert (await client.get(path)).status_code == 403
