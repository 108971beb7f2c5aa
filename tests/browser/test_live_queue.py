"""The queue while somebody looks at it: what comes appears, what is taken goes, and the focus stays where it is."""

from typing import Any, Final

import browser_review as steps
import desk_pages
from browser_desk import BrowserDesk
from playwright.async_api import Page, expect

from rfr_stream.events import CandidatesReady, Harm

POLL_MS: Final = 5_000
URGENT: Final[dict[str, Any]] = {"harm": Harm.CHILD_AT_RISK}


async def watching(desk: BrowserDesk) -> Page:
    """Return the queue in a window whose time a test moves."""
    page = await desk.open(await steps.reviewer(desk.house), "/account")
    await page.clock.install()
    await page.goto("/queue")
    return page


async def next_poll(page: Page) -> None:
    async with page.expect_response("**/queue?*"):
        await page.clock.run_for(POLL_MS)


def opens(found: CandidatesReady) -> str:
    return f"[href='{steps.path(found)}']"


async def test_a_case_that_comes_appears_by_itself(browser_desk: BrowserDesk) -> None:
    page = await watching(browser_desk)
    await expect(page.get_by_text("Nothing waits for you.")).to_be_visible()

    found = await desk_pages.held(browser_desk.house, desk_pages.listed())
    await next_poll(page)

    await expect(page.locator(opens(found))).to_be_visible()
    await expect(page.get_by_role("status")).to_contain_text("1 waiting")


async def test_the_focus_stays_on_the_case_that_it_is_on(browser_desk: BrowserDesk) -> None:
    standing = await desk_pages.held(browser_desk.house, desk_pages.listed("standing"))
    page = await watching(browser_desk)
    await page.locator(opens(standing)).focus()

    urgent = await desk_pages.held(browser_desk.house, desk_pages.listed("urgent", harm=Harm.CHILD_AT_RISK))
    await next_poll(page)

    await expect(page.locator("tbody tr")).to_have_count(2)
    await expect(page.locator("tbody tr").first.locator(opens(urgent))).to_be_visible()
    await expect(page.locator(opens(standing))).to_be_focused()


async def test_what_somebody_else_takes_is_gone(browser_desk: BrowserDesk) -> None:
    found = await desk_pages.held(browser_desk.house, desk_pages.listed())
    page = await watching(browser_desk)
    other = await browser_desk.house.client(await browser_desk.house.reviewer("reviewer-b"))

    await other.get(steps.path(found))
    await next_poll(page)

    await expect(page.locator(opens(found))).to_have_count(0)
    await expect(page.get_by_role("status")).to_contain_text("Nothing waits for you.")


async def test_it_holds_still_for_whoever_wants_that(browser_desk: BrowserDesk) -> None:
    page = await watching(browser_desk)
    await page.get_by_label("Keep up to date").uncheck()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    await desk_pages.held(browser_desk.house, desk_pages.listed())
    await page.clock.run_for(4 * POLL_MS)
    assert asked == []

    await page.get_by_label("Keep up to date").check()
    await next_poll(page)
    await expect(page.get_by_role("status")).to_contain_text("1 waiting")
