"""Looking closely: what is pressed, dragged and turned changes what is drawn, of both images or of one."""

import json
import re
from dataclasses import dataclass
from typing import Final

import browser_review as steps
import desk_pages
import pytest_asyncio
from browser_desk import BrowserDesk
from playwright.async_api import Locator, Page, expect

PROBE, CANDIDATE = "probe", "candidate"
DRAWN: Final = """(image) => {
  const { a, b, e, f } = new DOMMatrix(getComputedStyle(image).transform);
  return [Math.hypot(a, b), Math.atan2(b, a) * 180 / Math.PI, e, f, getComputedStyle(image).filter];
}"""


@dataclass(frozen=True, slots=True)
class Drawn:
    """How an image is drawn."""

    zoom: float
    turn: float
    x: float
    y: float
    filter: str


def viewer(page: Page, name: str) -> Locator:
    return page.locator(f"[data-viewer={name}]")


async def drawn(page: Page, name: str) -> Drawn:
    zoom, turn, x, y, light = await viewer(page, name).locator("img").evaluate(DRAWN)
    return Drawn(round(zoom, 3), round(turn, 3), round(x, 1), round(y, 1), light)


async def drag(page: Page, name: str, x: int, y: int) -> None:
    box = await viewer(page, name).bounding_box()
    assert box
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    await page.mouse.move(*middle)
    await page.mouse.down()
    await page.mouse.move(middle[0] + x, middle[1] + y, steps=4)
    await page.mouse.up()


async def slide(page: Page, name: str, value: int) -> None:
    await page.get_by_label(name).evaluate(
        "(input, value) => { input.value = value; input.dispatchEvent(new Event('input', { bubbles: true })); }", value
    )


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser_desk: BrowserDesk) -> Page:
    case = await desk_pages.analysed(browser_desk.house, desk_pages.listed())
    account = await browser_desk.house.account_of(case.reviewer_id)
    return await browser_desk.open(account, f"{case.path}/comparison")


class TestMovingTogether:
    async def test_buttons_zoom_and_turn_both(self, page: Page) -> None:
        await page.get_by_role("button", name="Zoom in").click()
        await page.get_by_role("button", name="Rotate right").click()

        for each in (PROBE, CANDIDATE):
            assert await drawn(page, each) == Drawn(1.25, 5, 0, 0, "brightness(1) contrast(1)")

    async def test_the_wheel_zooms_and_a_drag_moves_both(self, page: Page) -> None:
        await viewer(page, PROBE).hover()
        await page.mouse.wheel(0, -100)
        await page.wait_for_function(
            "document.querySelector('[data-viewer=probe] img').style.transform.includes('1.12')"
        )
        await drag(page, CANDIDATE, 40, -24)

        for each in (PROBE, CANDIDATE):
            assert await drawn(page, each) == Drawn(1.12, 0, 40, -24, "brightness(1) contrast(1)")

    async def test_light_and_grid_change_both(self, page: Page) -> None:
        await slide(page, "Brightness", 150)
        await slide(page, "Contrast", 80)
        await page.get_by_role("button", name="Grid").click()

        for each in (PROBE, CANDIDATE):
            assert (await drawn(page, each)).filter == "brightness(1.5) contrast(0.8)"
            overlay = await viewer(page, each).evaluate("(it) => getComputedStyle(it, '::after').backgroundImage")
            assert "linear-gradient" in overlay
        await expect(page.get_by_role("button", name="Grid")).to_have_attribute("aria-pressed", "true")

    async def test_reset_puts_everything_back(self, page: Page) -> None:
        await page.get_by_role("button", name="Zoom in").click()
        await slide(page, "Brightness", 150)
        await page.get_by_role("button", name="Grid").click()

        await page.get_by_role("button", name="Reset").click()

        for each in (PROBE, CANDIDATE):
            assert await drawn(page, each) == Drawn(1, 0, 0, 0, "brightness(1) contrast(1)")
        await expect(page.get_by_label("Brightness")).to_have_value("100")
        await expect(page.get_by_role("button", name="Grid")).to_have_attribute("aria-pressed", "false")

    async def test_the_keys_do_what_the_buttons_do(self, page: Page) -> None:
        await viewer(page, PROBE).focus()
        for key in ("+", "+", "-", "e", "e", "q", "ArrowRight", "ArrowUp", "g"):
            await page.keyboard.press(key)

        for each in (PROBE, CANDIDATE):
            assert await drawn(page, each) == Drawn(1.25, 5, 24, -24, "brightness(1) contrast(1)")
        await page.keyboard.press("0")
        assert (await drawn(page, CANDIDATE)).zoom == 1

    async def test_what_was_laid_over_each_other_by_hand_stays_so(self, page: Page) -> None:
        await page.get_by_label("Move together").uncheck()
        await drag(page, CANDIDATE, 30, 10)
        await page.get_by_label("Move together").check()

        await drag(page, PROBE, 5, 5)
        await page.get_by_role("button", name="Zoom in").click()

        assert await drawn(page, PROBE) == Drawn(1.25, 0, 6.2, 6.2, "brightness(1) contrast(1)")
        assert await drawn(page, CANDIDATE) == Drawn(1.25, 0, 43.8, 18.8, "brightness(1) contrast(1)")


class TestMovingAlone:
    async def test_only_the_image_that_was_touched_last_obeys_the_buttons(self, page: Page) -> None:
        await page.get_by_label("Move together").uncheck()
        await viewer(page, PROBE).click()

        await page.get_by_role("button", name="Zoom in").click()
        await page.get_by_role("button", name="Rotate left").click()

        assert await drawn(page, PROBE) == Drawn(1.25, -5, 0, 0, "brightness(1) contrast(1)")
        assert (await drawn(page, CANDIDATE)).zoom == 1
        marked = await page.locator("[data-alone] + figcaption").all_inner_texts()
        assert marked == ["Probe"]


class TestOneOverTheOther:
    async def test_an_overlay_shows_as_much_of_the_candidate_as_is_mixed_in(self, page: Page) -> None:
        await page.get_by_role("button", name="Overlay").click()

        assert await viewer(page, PROBE).bounding_box() == await viewer(page, CANDIDATE).bounding_box()
        await expect(viewer(page, CANDIDATE)).to_have_css("opacity", "0.5")
        await slide(page, "Mix", 20)
        await expect(viewer(page, CANDIDATE)).to_have_css("opacity", "0.2")
        await page.get_by_role("button", name="Side by side").click()
        await expect(viewer(page, CANDIDATE)).to_have_css("opacity", "1")

    async def test_blinking_shows_one_and_then_the_other_and_keeps_the_focus(self, page: Page) -> None:
        await page.clock.install()
        await page.reload()
        await page.get_by_role("button", name="Blink").click()
        await viewer(page, CANDIDATE).focus()
        seen = []

        for _ in range(3):
            await page.clock.run_for(700)
            seen.append(await viewer(page, CANDIDATE).evaluate("(it) => getComputedStyle(it).opacity"))

        assert seen == ["0", "1", "0"]
        await expect(viewer(page, CANDIDATE)).to_be_focused()
        await page.get_by_role("button", name="Side by side").click()
        await page.clock.run_for(700)
        await expect(viewer(page, CANDIDATE)).to_have_css("opacity", "1")


class TestCandidates:
    async def test_another_is_shown_and_the_view_stays(self, page: Page) -> None:
        await page.get_by_role("button", name="Zoom in").click()

        await page.get_by_role("button", name="Candidate 5").click()

        await expect(viewer(page, CANDIDATE).locator("img")).to_have_attribute("src", re.compile("/candidates/5$"))
        await expect(page.get_by_text("Candidate 5", exact=True).first).to_be_visible()
        await expect(page.get_by_role("button", name="Candidate 5")).to_have_attribute("aria-pressed", "true")
        assert (await drawn(page, CANDIDATE)).zoom == 1.25

    async def test_page_down_and_page_up_go_through_them(self, page: Page) -> None:
        await viewer(page, CANDIDATE).focus()
        for key in ("PageUp", "PageDown", "PageDown", "PageUp"):
            await page.keyboard.press(key)

        await expect(page.get_by_role("button", name="Candidate 2")).to_have_attribute("aria-pressed", "true")

    async def test_whoever_was_chosen_is_shown_when_the_page_comes_again(self, page: Page) -> None:
        await steps.choice(page, 4).check()

        await page.reload()

        await expect(page.get_by_role("button", name="Candidate 4")).to_have_attribute("aria-pressed", "true")


class TestLooking:
    async def test_how_long_and_how_closely_is_reported_while_somebody_is_there(
        self, page: Page, browser_desk: BrowserDesk
    ) -> None:
        await page.clock.install()
        await page.reload()
        await page.get_by_role("button", name="Candidate 2").click()
        await page.clock.run_for(4_000)
        await page.get_by_role("button", name="Zoom in").click(click_count=2)
        async with page.expect_response("**/looks"):
            await page.clock.run_for(2_000)

        (row,) = await browser_desk.house.rows("SELECT looks FROM examinations")
        look = json.loads(row.looks)["2"]
        assert look["zoomed"]
        assert 4_000 <= look["dwell_ms"] <= 10_000

    async def test_an_open_window_alone_holds_no_case_and_no_session(self, page: Page) -> None:
        await page.clock.install()
        await page.reload()
        sent: list[str] = []
        page.on("request", lambda request: sent.append(request.url))
        async with page.expect_response("**/looks"):
            await page.clock.run_for(5_000)  # that it was opened
        sent.clear()

        await page.clock.run_for(60_000)

        assert sent == []
        await page.mouse.move(300, 300)
        async with page.expect_response("**/looks"):
            await page.clock.run_for(5_000)
