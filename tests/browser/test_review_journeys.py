"""The way of a reviewer through a case: by mouse, with a passkey, and beside others who look at the same one."""

from collections.abc import Callable
from typing import Any

import browser_review as steps
import desk_pages
from browser_desk import BrowserDesk, add_authenticator
from playwright.async_api import Page, expect

from rfr_stream.desk import in_order, order_seed
from rfr_stream.events import CandidatesReady, IdentificationConfirmed, ReviewDecided, Support
from rfr_stream.policy import Role
from rfr_stream.ports import CaseState


async def state(desk: BrowserDesk, found: CandidatesReady) -> CaseState:
    case = await desk.house.desk.ledger.case(found.submission.submission_id)
    assert case
    return case.state


def said(desk: BrowserDesk) -> list[ReviewDecided]:
    """Return the decisions that were sent."""
    return [each for each in desk.house.published if isinstance(each, ReviewDecided)]


async def with_key(desk: BrowserDesk, make: Callable[[Page], Any]) -> Page:
    """Return the window of a reviewer who made their key in it, and was certified."""
    page = await desk.open(await desk.house.newcomer("reviewer-a", Role.REVIEWER), "/account")
    await make(page)
    await expect(page.get_by_text("Ask a supervisor to certify you")).to_be_visible()
    await steps.certify(desk.house, "reviewer-a")
    return page


async def make_password_key(page: Page) -> None:
    await page.get_by_label("Signing password", exact=True).fill(steps.SIGNING)
    await page.get_by_label("The signing password again").fill(steps.SIGNING)
    await page.get_by_role("button", name="Make the key").click()


async def make_passkey(page: Page) -> None:
    await add_authenticator(page)
    await page.get_by_role("button", name="Make a passkey").click()


class TestAWholeReview:
    async def test_by_mouse_with_a_key_that_a_password_unlocks(self, browser_desk: BrowserDesk) -> None:
        house, found = browser_desk.house, await desk_pages.held(browser_desk.house, desk_pages.listed())
        page = await with_key(browser_desk, make_password_key)

        await page.get_by_role("link", name="Queue").click()
        await page.get_by_role("button", name="Take the next case").click()
        await page.wait_for_url(f"**{steps.path(found)}/analysis")
        await steps.analyse(page)
        await page.get_by_role("button", name="Candidate 3").click()
        await page.get_by_role("button", name="Zoom in").click(click_count=2)
        await steps.compare(page, 3)
        await steps.go_on(page, house)
        await expect(page.get_by_text("Candidate 3 of the list as you saw it")).to_be_visible()
        await steps.sign(page)

        (decided,) = said(browser_desk)
        assert decided.person_id == in_order(found, order_seed(found, "reviewer-a"))[2].person_id
        assert decided.support is Support.MODERATE_SAME
        assert decided.examination
        assert decided.examination.zoomed

        await house.count()
        await expect(page.get_by_text("Your decision has been counted.")).to_be_visible(timeout=10_000)
        await page.get_by_role("button", name="Show the scores").click()
        await expect(page.get_by_role("table", name="What the machine said")).to_be_visible()
        await page.get_by_role("link", name="Change what you said").click()
        await expect(steps.choice(page, 3)).to_be_checked()
        await steps.compare(page, None)
        await page.get_by_label("Why you change what you said").fill("The left ear\nis another's.")
        await steps.go_on(page, house)
        await steps.sign(page)

        assert [each.version for each in said(browser_desk)] == [1, 2]
        assert said(browser_desk)[1].reason == "The left ear\nis another's."
        await house.count()
        await page.reload()
        await expect(page.get_by_role("heading", name="Moderate support for different people")).to_be_visible()
        await expect(page.get_by_role("heading", name="Moderate support for the same person")).to_be_visible()

    async def test_with_a_passkey(self, browser_desk: BrowserDesk) -> None:
        house, found = browser_desk.house, await desk_pages.held(browser_desk.house, desk_pages.listed())
        page = await with_key(browser_desk, make_passkey)

        await page.goto(steps.path(found))
        await steps.analyse(page)
        await steps.compare(page, 1)
        await steps.go_on(page, house)
        await steps.sign(page)
        await house.count()

        (decided,) = said(browser_desk)
        assert decided.passkey
        assert await state(browser_desk, found) is CaseState.AWAITING_SECOND_REVIEW


class TestSeveralReviewers:
    async def decides(self, desk: BrowserDesk, found: CandidatesReady, by: str, person_id: str | None) -> None:
        """Go through a review in a window of one's own; who is meant stands elsewhere in everybody's order."""
        page = await steps.at_comparison(desk, found, by)
        order = [each.person_id for each in in_order(found, order_seed(found, by))]
        await steps.compare(page, order.index(person_id) + 1 if person_id else None)
        await steps.go_on(page, desk.house)
        await steps.sign(page)

    async def test_two_who_name_the_same_person_release_a_lead(self, browser_desk: BrowserDesk) -> None:
        found = await desk_pages.held(browser_desk.house, desk_pages.listed())

        for by in ("reviewer-a", "reviewer-b"):
            await self.decides(browser_desk, found, by, "person-2")
        await browser_desk.house.count()

        assert await state(browser_desk, found) is CaseState.CONFIRMED
        sent = [each.event for each in await browser_desk.house.desk.ledger.unpublished(9)]
        assert [each.person_id for each in sent if isinstance(each, IdentificationConfirmed)] == ["person-2"]

    async def test_a_third_settles_what_two_disagree_about(self, browser_desk: BrowserDesk) -> None:
        house, found = browser_desk.house, await desk_pages.held(browser_desk.house, desk_pages.listed())
        await self.decides(browser_desk, found, "reviewer-a", "person-2")
        page = await steps.at_comparison(browser_desk, found, "reviewer-b")
        await page.get_by_label("How strongly do the images").select_option(Support.INCONCLUSIVE.value)
        await steps.go_on(page, house)
        await steps.sign(page)
        await house.count()
        assert await state(browser_desk, found) is CaseState.AWAITING_THIRD_REVIEW

        await self.decides(browser_desk, found, "reviewer-c", "person-2")
        await house.count()

        assert await state(browser_desk, found) is CaseState.CONFIRMED
