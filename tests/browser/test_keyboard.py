"""A whole review without a mouse: everything is reached, the focus is always seen, and nothing lies over it."""

import browser_review as steps
import desk_pages
from barriers import FAR, require_focus_in_sight
from browser_desk import BrowserDesk
from playwright.async_api import Locator, Page, expect

from rfr_stream.events import ReviewDecided, Support


async def go_to(page: Page, target: Locator, key: str = "Tab") -> None:
    """Press a key until the focus is there."""
    for _ in range(FAR):
        await require_focus_in_sight(page)
        if await target.evaluate("(it) => it === document.activeElement"):
            return
        await page.keyboard.press(key)
    raise AssertionError(await target.inner_text())


async def test_a_whole_review_needs_no_mouse(browser_desk: BrowserDesk) -> None:
    house, found = browser_desk.house, await desk_pages.held(browser_desk.house, desk_pages.listed())
    page = await browser_desk.open(await steps.reviewer(house), "/queue")

    await go_to(page, page.get_by_role("button", name="Take the next case"))
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/analysis")

    await expect(page.get_by_label("Suitable", exact=True)).to_be_focused()
    await page.keyboard.press("Space")
    await go_to(page, page.get_by_label("Eyes: clear"))
    await page.keyboard.press("Space")
    await go_to(page, page.get_by_role("button", name="The rest cannot be seen"))
    await page.keyboard.press("Enter")
    await go_to(page, page.get_by_role("button", name="Save, and go on"))
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/comparison")

    await expect(steps.choice(page, None)).to_be_focused()
    await expect(steps.choice(page, None)).to_be_checked()
    await go_to(page, page.locator("[data-viewer=candidate]"), "Shift+Tab")
    for key in ("PageDown", "+", "ArrowRight"):
        await page.keyboard.press(key)
    await expect(page.get_by_role("button", name="Candidate 2")).to_have_attribute("aria-pressed", "true")
    await go_to(page, steps.choice(page, None))
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("ArrowDown")
    await expect(steps.choice(page, 2)).to_be_checked()
    await go_to(page, page.get_by_label("Eyes: Similar", exact=True))
    await page.keyboard.press("Space")
    await go_to(page, page.get_by_role("button", name="The rest cannot be seen"))
    await page.keyboard.press("Enter")
    await go_to(page, page.get_by_label("How strongly do the images"))
    await page.keyboard.type("Mod")
    house.clock.forward(minutes=2)
    await go_to(page, page.get_by_role("button", name="Go on to sign"))
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/signature")

    await expect(page.get_by_label("Signing password")).to_be_focused()
    await page.keyboard.type(steps.SIGNING)
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/record")
    await go_to(page, page.get_by_role("button", name="Show the scores"))
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("table", name="What the machine said")).to_be_visible()

    (decided,) = house.published
    assert isinstance(decided, ReviewDecided)
    assert (decided.submission_id, decided.support) == (found.submission.submission_id, Support.MODERATE_SAME)


async def test_the_first_stop_leads_past_the_navigation(browser_desk: BrowserDesk) -> None:
    page = await browser_desk.open(await steps.reviewer(browser_desk.house), "/account")
    skip = page.get_by_role("link", name="Skip to the page")
    await page.keyboard.press("Tab")
    await expect(skip).to_be_focused()
    await expect(skip).to_be_in_viewport()

    await page.keyboard.press("Enter")

    await expect(page.get_by_role("main")).to_be_focused()
