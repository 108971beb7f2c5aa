"""What a reviewer is never shown before their decision is locked, and what never depends on anybody else's."""

import re
from collections.abc import Awaitable, Callable

import builders
import desk_pages
import httpx
import pytest
from desk_house import DeskHouse

from rfr_stream.desk import in_order, order_seed
from rfr_stream.events import CandidatesReady, Support

FOUND = desk_pages.listed()
PAGES = ("", "/analysis", "/comparison", "/probe", "/signature")


async def everything_served(house: DeskHouse, client: httpx.AsyncClient, found: CandidatesReady) -> dict[str, str]:
    """Go through a whole review as far as the signature, and return what was served on the way."""
    case = f"/cases/{found.submission.submission_id}"
    served = {"queue": (await client.get("/queue")).text, "rows": (await desk_pages.rows(client)).text}
    served["analysis"] = (await client.get(f"{case}/analysis")).text
    await client.post(f"{case}/analysis", data=desk_pages.analysis())
    served["comparison"] = (await client.get(f"{case}/comparison")).text
    house.clock.forward(minutes=2)
    refused = await client.post(f"{case}/decision", data={"choice": "1", "support": "strong_support_same"})
    served["refused"] = refused.text
    served["drafted"] = (await client.post(f"{case}/decision", data=desk_pages.lead(1))).text
    return served


class TestBlindness:
    async def test_no_score_rank_threshold_person_or_purpose_is_on_the_way_to_a_decision(
        self, house: DeskHouse
    ) -> None:
        await desk_pages.held(house, FOUND)
        client = await house.client(await house.reviewer())

        served = await everything_served(house, client, FOUND)

        hidden = ["similarity", "rank", "threshold", "list_length", "gallery", "custody", "case-1", "officer-1"]
        hidden += [each.person_id for each in FOUND.candidates] + [f"{each.similarity}" for each in FOUND.candidates]
        hidden += [str(each.reference_id) for each in FOUND.candidates]
        for name in ("analysis", "comparison", "refused"):
            found = [word for word in hidden if re.search(rf"\b{re.escape(word)}\b", served[name])]
            assert not found, name
        purposes = ("suspect", "victim", "witness", "missing")
        assert not [word for word in purposes if re.search(rf"\b{word}\b", served["comparison"])]

    async def test_the_words_that_are_signed_name_the_person_and_no_score(self, house: DeskHouse) -> None:
        """The signature must be about somebody; the page that shows it comes after the conclusion."""
        await desk_pages.held(house, FOUND)
        client = await house.client(await house.reviewer())
        await everything_served(house, client, FOUND)

        text = (await client.get(f"/cases/{FOUND.submission.submission_id}/signature")).text

        named = in_order(FOUND, order_seed(FOUND, "reviewer-a"))[0]
        assert named.person_id in text
        assert not [each for each in FOUND.candidates if each is not named and f"{each.person_id}&#34;" in text]
        assert f"{named.similarity}" not in text

    async def test_nothing_says_which_of_several_images_found_whom(self, house: DeskHouse) -> None:
        varied = await desk_pages.held(house, desk_pages.listed_by_variants())
        client = await house.client(await house.reviewer())

        served = await everything_served(house, client, varied)

        words = ("found_by", "found by", "variant", "fusion", "a-rule", "recipe", "exposure", "second-image")
        assert not [(name, word) for name, page in served.items() for word in words if word in page.lower()]

    async def test_whatever_else_was_searched_the_original_is_what_is_compared(self, house: DeskHouse) -> None:
        plain, varied = await desk_pages.held(house, FOUND), desk_pages.listed_by_variants()
        await desk_pages.held(house, varied)
        client = await house.client(await house.reviewer())

        shown = [await client.get(f"/cases/{each.submission.submission_id}/probe") for each in (plain, varied)]

        assert shown[0].status_code == 200
        assert shown[0].content == shown[1].content

    async def test_images_say_nothing_in_their_headers(self, house: DeskHouse) -> None:
        await desk_pages.held(house, FOUND)
        client = await house.client(await house.reviewer())
        await everything_served(house, client, FOUND)

        shown = await client.get(f"/cases/{FOUND.submission.submission_id}/candidates/1")

        assert shown.status_code == 200
        assert set(shown.headers) <= desk_pages.PLAIN_HEADERS
        assert shown.headers["cache-control"] == "no-store"


class TestIndependence:
    @pytest.mark.parametrize("first", [None, Support.STRONG_SAME, Support.STRONG_DIFFERENT, Support.UNSUITABLE])
    async def test_the_second_reviewer_is_served_the_same_bytes_whatever_the_first_decided(
        self, tmp_path_factory: pytest.TempPathFactory, first: Support | None
    ) -> None:
        untouched = await self.served_to_the_second(tmp_path_factory, None)
        served = await self.served_to_the_second(tmp_path_factory, first)

        assert served == untouched

    async def served_to_the_second(self, folders: pytest.TempPathFactory, first: Support | None) -> dict[str, str]:
        async with desk_pages.fresh(folders) as house:
            await desk_pages.held(house, FOUND)
            await house.reviewer("reviewer-b")
            if first:
                await house.desk.publish([builders.decision(FOUND, by="reviewer-b", support=first)])
                await house.count()
            return await everything_served(house, await house.client(await house.reviewer()), FOUND)

    async def test_the_requester_is_not_served_their_own_case(self, house: DeskHouse) -> None:
        found = await desk_pages.held(house, desk_pages.listed(submitted_by="reviewer-a"))
        client = await house.client(await house.reviewer())

        answers = [await client.get(f"/cases/{found.submission.submission_id}{page}") for page in PAGES]

        assert {answer.status_code for answer in answers} == {403}
        assert str(found.submission.submission_id) not in (await client.get("/queue")).text


class TestOrder:
    def test_place_and_rank_have_nothing_to_do_with_each_other(self) -> None:
        """Spearman's coefficient of rank and place, over 2,000 lists of ten."""
        n, lists = 10, 2_000
        total = 0.0
        for number in range(lists):
            found = builders.candidates_ready(builders.submission(f"{number}"), people=[f"p-{k}" for k in range(n)])
            order = in_order(found, order_seed(found, "reviewer-a"))
            squared = sum((place - each.rank) ** 2 for place, each in enumerate(order, start=1))
            total += 1 - 6 * squared / (n * (n * n - 1))

        assert abs(total / lists) < 0.05

    def test_the_order_follows_from_the_logged_seed_and_differs_between_reviewers(self) -> None:
        seeds = [order_seed(FOUND, f"reviewer-{n}") for n in range(20)]

        orders = [in_order(FOUND, seed) for seed in seeds]

        assert [in_order(FOUND, seed) for seed in seeds] == orders
        assert len(set(orders)) > 15

    async def test_the_seed_is_in_the_log_before_the_candidates_are_served(self, house: DeskHouse) -> None:
        await desk_pages.held(house, FOUND)
        client = await house.client(await house.reviewer())
        await everything_served(house, client, FOUND)

        lines = await house.desk.store.log.about(str(FOUND.submission.submission_id))

        assert f"candidates, in the order of seed {order_seed(FOUND, 'reviewer-a')}" in [each.detail for each in lines]


class TestOrderOfSteps:
    @pytest.mark.parametrize("page", ["comparison", "candidates/1", "unsuitable", "signature"])
    async def test_nothing_of_the_comparison_is_served_before_the_analysis_is_on_record(
        self, house: DeskHouse, page: str
    ) -> None:
        found = await desk_pages.held(house, FOUND)
        client = await house.client(await house.reviewer())

        answer = await client.get(f"/cases/{found.submission.submission_id}/{page}")

        assert answer.status_code == 409

    async def test_a_candidates_image_waits_for_the_comparison_to_begin(self, house: DeskHouse) -> None:
        case = await desk_pages.analysed(house, FOUND)

        assert (await case.client.get(f"{case.path}/candidates/1")).status_code == 409
        assert (await case.client.get(f"{case.path}/comparison")).status_code == 200
        assert (await case.client.get(f"{case.path}/candidates/1")).status_code == 200

    @pytest.mark.parametrize("place", ["0", "9", "-1"])
    async def test_there_is_no_candidate_beyond_the_list(self, house: DeskHouse, place: str) -> None:
        case = await desk_pages.compared(house, FOUND)

        assert (await case.client.get(f"{case.path}/candidates/{place}")).status_code == 404

    async def test_scores_are_shown_once_the_decision_is_locked_and_not_before(self, house: DeskHouse) -> None:
        case = await desk_pages.compared(house, FOUND)
        assert (await case.client.post(f"{case.path}/reveal")).status_code == 409

        await desk_pages.decide(case, desk_pages.lead(2))
        before = (await case.client.get(f"{case.path}/record")).text
        await case.client.post(f"{case.path}/reveal")
        after = (await case.client.get(f"{case.path}/record")).text

        assert "Similarity" not in before
        assert "Similarity" in after
        assert "0.890" in after
        lines = await house.desk.store.log.about(str(FOUND.submission.submission_id))
        assert "scores revealed" in [each.detail for each in lines]


class TestTheLog:
    @pytest.mark.parametrize(
        ("page", "said"),
        [("probe", "probe"), ("candidates/2", "candidate 2: "), ("record", "own record"), ("analysis", "analysis")],
    )
    async def test_everything_that_is_looked_at_is_written_down_first(
        self, house: DeskHouse, page: str, said: str
    ) -> None:
        case = await desk_pages.compared(house, FOUND)
        await desk_pages.decide(case, desk_pages.lead(1))

        assert (await case.client.get(f"{case.path}/{page}")).status_code == 200

        lines = await house.desk.store.log.about(case.id)
        assert [each for each in lines if each.detail.startswith(said) and each.account_id == "reviewer-a"]

    @pytest.mark.parametrize("page", ["probe", "candidates/1", "analysis", "comparison"])
    async def test_what_cannot_be_written_down_is_not_served(
        self, house: DeskHouse, page: str, without_log: Callable[[], Awaitable[None]]
    ) -> None:
        case = await desk_pages.compared(house, FOUND)
        await without_log()

        assert (await case.client.get(f"{case.path}/{page}")).status_code == 500
