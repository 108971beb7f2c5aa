"""What comes between: time, other people, other tabs, and the buttons of the browser itself."""

import re

import browser_review as steps
import desk_pages
import pytest
from browser_desk import BrowserDesk
from playwright.async_api import Page, expect

from rfr_stream.adapters import passwords
from rfr_stream.events import CandidatesReady

PASSWORD, WRONG = "correct horse battery", "a password for guessing"
KEPT = "Object.keys(sessionStorage).filter((name) => name.startsWith('kept:')).length"


async def held(desk: BrowserDesk) -> CandidatesReady:
    return await desk_pages.held(desk.house, desk_pages.listed())


async def filled(desk: BrowserDesk, found: CandidatesReady) -> Page:
    """Return a comparison with its form filled in, and not sent."""
    page = await steps.at_comparison(desk, found)
    await steps.compare(page, 3)
    await page.get_by_label("Ears: note").fill("covered by hair")
    return page


async def require_filled(page: Page) -> None:
    await expect(steps.choice(page, 3)).to_be_checked()
    await expect(page.get_by_label("Eyes: Similar", exact=True)).to_be_checked()
    await expect(page.get_by_label("Ears: note")).to_have_value("covered by hair")
    await expect(page.get_by_label("How strongly do the images")).to_have_value("moderate_support_same")


async def sign_in(page: Page, desk: BrowserDesk, account_id: str) -> None:
    await desk.house.desk.store.accounts.set_password(account_id, await passwords.hashed(PASSWORD))
    await page.get_by_label("Account").fill(account_id)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()


class TestASessionThatEnds:
    async def test_what_was_filled_in_is_there_again_after_the_sign_in(self, browser_desk: BrowserDesk) -> None:
        page = await filled(browser_desk, await held(browser_desk))
        browser_desk.house.clock.forward(minutes=31)

        await page.get_by_role("button", name="Go on to sign").click()
        await page.wait_for_url(re.compile("/sign-in"))
        await sign_in(page, browser_desk, "reviewer-a")

        await page.wait_for_url("**/comparison")
        await expect(page.get_by_text("What you filled in before is here again.")).to_be_visible()
        await require_filled(page)
        await steps.go_on(page, browser_desk.house)
        assert await page.evaluate(KEPT) == 0

    async def test_the_page_says_so_as_soon_as_somebody_does_something(self, browser_desk: BrowserDesk) -> None:
        page = await filled(browser_desk, await held(browser_desk))
        await page.clock.install()
        await page.reload()
        browser_desk.house.clock.forward(minutes=31)

        await page.mouse.move(300, 300)
        async with page.expect_response("**/looks"):
            await page.clock.run_for(5_000)

        await expect(page.get_by_role("alert")).to_contain_text("Your session has ended.")

    async def test_whoever_signs_in_instead_finds_nothing_of_it(self, browser_desk: BrowserDesk) -> None:
        page = await filled(browser_desk, await held(browser_desk))
        await steps.reviewer(browser_desk.house, "reviewer-b")
        browser_desk.house.clock.forward(minutes=31)
        await page.get_by_role("button", name="Go on to sign").click()
        await page.wait_for_url(re.compile("/sign-in"))
        assert await page.evaluate(KEPT) == 1

        await sign_in(page, browser_desk, "reviewer-b")
        await expect(page.get_by_role("heading", name="Not yet")).to_be_visible()

        assert await page.evaluate(KEPT) == 0
        browser_desk.errors.clear()  # that the analysis comes first

    @pytest.mark.parametrize("way_out", ["Sign out", "Give back"])
    async def test_nothing_stays_behind_on_the_way_out(self, browser_desk: BrowserDesk, way_out: str) -> None:
        page = await filled(browser_desk, await held(browser_desk))
        assert await page.evaluate(KEPT) == 1

        await page.get_by_role("button", name=way_out).click()
        await page.wait_for_url(re.compile("/queue|/sign-in"))

        assert await page.evaluate(KEPT) == 0


class TestALeaseThatEnds:
    async def test_the_page_says_that_somebody_else_has_the_case(self, browser_desk: BrowserDesk) -> None:
        house, found = browser_desk.house, await held(browser_desk)
        page = await filled(browser_desk, found)
        other = await house.client(await house.reviewer("reviewer-b"))
        house.clock.forward(minutes=21)
        assert (await other.get(steps.path(found))).status_code == 303

        await page.get_by_role("button", name="Go on to sign").click()

        await expect(page.get_by_role("heading", name="Not permitted")).to_be_visible()
        await expect(page.get_by_text("Somebody else holds this case; take another from the queue.")).to_be_visible()
        browser_desk.errors.clear()

    async def test_nothing_that_was_saved_or_filled_in_is_lost(self, browser_desk: BrowserDesk) -> None:
        house, found = browser_desk.house, await held(browser_desk)
        page = await filled(browser_desk, found)
        other = await house.client(await house.reviewer("reviewer-b"))
        house.clock.forward(minutes=21)
        await other.get(steps.path(found))
        await page.get_by_role("button", name="Go on to sign").click()
        await expect(page.get_by_role("heading", name="Not permitted")).to_be_visible()

        await other.post(f"{steps.path(found)}/release")
        await page.goto(steps.path(found))

        await page.wait_for_url("**/comparison")  # the analysis is on record
        await require_filled(page)
        browser_desk.errors.clear()


class TestTheBrowsersOwnButtons:
    async def test_back_from_the_record_shows_the_record(self, browser_desk: BrowserDesk) -> None:
        page = await filled(browser_desk, await held(browser_desk))
        await steps.go_on(page, browser_desk.house)
        await steps.sign(page)

        await page.go_back()

        await expect(page.get_by_role("heading", name="Locked")).to_be_visible()
        assert len(browser_desk.house.published) == 1

    async def test_a_double_click_signs_once(self, browser_desk: BrowserDesk) -> None:
        page = await filled(browser_desk, await held(browser_desk))
        await steps.go_on(page, browser_desk.house)
        await page.get_by_label("Signing password").fill(steps.SIGNING)

        sent: list[str] = []
        page.on("request", lambda request: sent.append(f"{request.method} {request.url.rpartition('/')[2]}"))

        await page.get_by_role("button", name="Sign and lock").dblclick()
        await page.wait_for_url("**/record")
        await page.wait_for_load_state("networkidle")

        assert sent.count("POST signature") == 1
        assert len(browser_desk.house.published) == 1

    async def test_a_wrong_password_signs_nothing_and_may_be_corrected(self, browser_desk: BrowserDesk) -> None:
        page = await filled(browser_desk, await held(browser_desk))
        await steps.go_on(page, browser_desk.house)
        await page.get_by_label("Signing password").fill(WRONG)
        await page.get_by_role("button", name="Sign and lock").click()
        await expect(page.get_by_role("alert")).to_have_text("This is not the signing password of your key.")
        assert browser_desk.house.published == []

        await steps.sign(page)

        assert len(browser_desk.house.published) == 1

    async def test_every_page_comes_again_as_it_was(self, browser_desk: BrowserDesk) -> None:
        house, found = browser_desk.house, await held(browser_desk)
        page = await browser_desk.open(await steps.reviewer(house), f"{steps.path(found)}/analysis")
        await page.get_by_label("Anything else about the probe").fill("backlit")
        await page.reload()
        await expect(page.get_by_label("Anything else about the probe")).to_have_value("backlit")

        await steps.analyse(page)
        await steps.compare(page, 3)
        await page.get_by_label("Ears: note").fill("covered by hair")
        await page.reload()
        await require_filled(page)

        await steps.go_on(page, house)
        await page.reload()
        await expect(page.get_by_text("Candidate 3 of the list as you saw it")).to_be_visible()
        await page.get_by_role("link", name="Go back and change it").click()
        await require_filled(page)

        await steps.go_on(page, house)
        await steps.sign(page)
        await page.reload()
        await expect(page.get_by_role("heading", name="Locked")).to_be_visible()
        assert len(house.published) == 1

    async def test_what_was_refused_is_still_there(self, browser_desk: BrowserDesk) -> None:
        page = await filled(browser_desk, await held(browser_desk))

        await page.get_by_role("button", name="Go on to sign").click()

        await expect(page.get_by_role("alert").get_by_text("A comparison takes at least 5 s.")).to_be_visible()
        await expect(page.locator("#flaws")).to_be_focused()
        await require_filled(page)
        await page.goto(page.url)  # as after a sign-in
        await require_filled(page)
        browser_desk.errors.clear()


class TestTwoTabs:
    async def test_what_is_on_its_way_is_not_decided_again(self, browser_desk: BrowserDesk) -> None:
        house = browser_desk.house
        page = await filled(browser_desk, await held(browser_desk))
        other = await page.context.new_page()
        await other.goto(page.url)
        await steps.compare(other, 5)
        await steps.go_on(page, house)
        await steps.sign(page)

        await other.get_by_role("button", name="Go on to sign").click()
        await expect(other.get_by_text("Your decision is on its way")).to_be_visible()
        await other.get_by_role("link", name="Go on").click()
        await expect(other.get_by_role("heading", name="Locked")).to_be_visible()

        assert len(house.published) == 1

    async def test_once_it_is_counted_another_word_needs_its_reason(self, browser_desk: BrowserDesk) -> None:
        house = browser_desk.house
        page = await filled(browser_desk, await held(browser_desk))
        other = await page.context.new_page()
        await other.goto(page.url)
        await steps.compare(other, 5)
        await steps.go_on(page, house)
        await steps.sign(page)
        await house.count()

        await other.get_by_role("button", name="Go on to sign").click()

        await expect(other.get_by_label("Why you change what you said")).to_be_visible()
        assert len(house.published) == 1

    async def test_a_signature_of_other_words_is_refused(self, browser_desk: BrowserDesk) -> None:
        house = browser_desk.house
        page = await filled(browser_desk, await held(browser_desk))
        await steps.go_on(page, house)
        other = await page.context.new_page()
        await other.goto(page.url.replace("signature", "comparison"))
        await steps.choice(other, 5).check()
        await steps.go_on(other, house)

        await page.get_by_label("Signing password").fill(steps.SIGNING)
        await page.get_by_role("button", name="Sign and lock").click()

        await expect(page.get_by_text("Not of these words")).to_be_visible()
        assert house.published == []
        browser_desk.errors.clear()  # as Chromium saw it in `page`
