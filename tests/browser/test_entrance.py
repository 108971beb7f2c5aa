"""Coming in with a real browser: cookies, redirects and scripts as Chromium sees them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import browser_desk as desks
import oidc_provider
import pytest
from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]
from browser_desk import BrowserDesk, add_authenticator
from oidc_provider import Running
from playwright.async_api import Browser, Page, expect

from producers.console.entrance import set_up_link
from rfr_stream.adapters import passwords
from rfr_stream.policy import Role
from rfr_stream.ports import Duty

PASSWORD, SIGNING = "correct horse battery", "a password for signing"


async def choose_password(page: Page) -> None:
    await page.get_by_label("Password", exact=True).fill(PASSWORD)
    await page.get_by_label("The same again").fill(PASSWORD)


async def make_key(page: Page) -> None:
    await page.get_by_label("Signing password", exact=True).fill(SIGNING)
    await page.get_by_label("The signing password again").fill(SIGNING)
    await page.get_by_role("button", name="Make the key").click()


class TestFromNothingToAReviewer:
    async def test_a_desk_is_set_up_and_its_first_reviewer_certified(self, browser_desk: BrowserDesk) -> None:
        house = browser_desk.house
        link = await set_up_link(house.app)
        assert link

        boss = await browser_desk.open(path=link)
        await boss.get_by_label("Account").fill("s-1")
        await choose_password(boss)
        await boss.get_by_role("button", name="Open the account").click()
        await make_key(boss)
        await boss.get_by_role("button", name="Register my key").click()
        await expect(boss.get_by_text("May supervise, until")).to_be_visible()

        await boss.get_by_role("link", name="People").click()
        await boss.get_by_label("Account").fill("r-ash")
        await boss.get_by_role("checkbox", name="reviewer").check()
        await boss.get_by_role("button", name="Make a link").click()
        invitation = await boss.locator("#invitation-link").inner_text()

        ash = await browser_desk.open(path=invitation)
        await choose_password(ash)
        await ash.get_by_role("button", name="Choose it and come in").click()
        await ash.wait_for_url("**/account")
        await add_authenticator(ash)
        await ash.get_by_role("button", name="Make a passkey").click()
        fingerprint = await ash.locator("dd code").inner_text()

        await boss.get_by_role("link", name="People").click()
        await boss.get_by_role("link", name="r-ash").click()
        await expect(boss.get_by_text(fingerprint)).to_be_visible()
        await boss.get_by_role("button", name="Certify").click()
        await boss.get_by_label("Signing password").fill(SIGNING)
        await boss.get_by_role("button", name="Sign and lock").click()
        await expect(boss.get_by_text("Signed and sent")).to_be_visible()
        await house.count()
        await expect(boss.get_by_text("May review, until")).to_be_visible(timeout=10_000)
        await expect(boss.get_by_text("Signed and sent")).to_have_count(0)

        registered = await house.desk.store.accounts.registered()
        assert {name: each.duty for name, each in registered.items()} == {"s-1": Duty.SUPERVISE, "r-ash": Duty.REVIEW}

    async def test_a_wrong_signing_password_certifies_nobody(self, browser_desk: BrowserDesk) -> None:
        house = browser_desk.house
        await house.account("r-ash", Role.REVIEWER)
        boss = await browser_desk.open(await house.newcomer("s-1", Role.SUPERVISOR), "/account")
        await make_key(boss)
        await boss.get_by_role("button", name="Register my key").click()
        await boss.goto("/people/person?of=r-ash")
        await boss.get_by_role("button", name="Certify").click()

        await boss.get_by_label("Signing password").fill("a password for guessing")
        await boss.get_by_role("button", name="Sign and lock").click()

        await expect(boss.get_by_role("alert")).to_have_text("This is not the signing password of your key.")
        assert house.published == []


class TestASessionThatEnds:
    async def queue(self, browser_desk: BrowserDesk) -> Page:
        account = await browser_desk.house.reviewer("r-ash")
        await browser_desk.house.desk.store.accounts.set_password("r-ash", await passwords.hashed(PASSWORD))
        return await browser_desk.open(account, "/queue")

    async def test_one_is_back_on_the_page_that_one_came_from(self, browser_desk: BrowserDesk) -> None:
        page = await self.queue(browser_desk)
        browser_desk.house.clock.forward(hours=1)

        await page.goto("/account")
        await page.get_by_label("Account").fill("r-ash")
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Sign in").click()

        await page.wait_for_url("**/account")
        await expect(page.get_by_role("heading", name="r-ash")).to_be_visible()

    async def test_a_page_that_asks_by_itself_shows_where_to_sign_in(self, browser_desk: BrowserDesk) -> None:
        page = await self.queue(browser_desk)
        browser_desk.house.clock.forward(hours=1)

        await page.wait_for_url("**/sign-in?next=/queue", timeout=15_000)

        assert all("401" in error for error in browser_desk.errors)
        browser_desk.errors.clear()

    async def test_going_out_leaves_nothing_to_go_back_to(self, browser_desk: BrowserDesk) -> None:
        page = await self.queue(browser_desk)
        await page.get_by_role("button", name="Sign out").click()
        await page.wait_for_url("**/sign-in")

        await page.go_back()

        await page.wait_for_url("**/sign-in?next=/queue")


class TestAnotherSite:
    async def show(self, page: Page, body: str) -> None:
        """Show a page of another site."""
        await page.route(
            "http://elsewhere.example/**", lambda route: route.fulfill(body=body, content_type="text/html")
        )
        await page.goto("http://elsewhere.example/")

    async def test_cannot_make_a_browser_write_here(self, browser_desk: BrowserDesk) -> None:
        page = await browser_desk.open(await browser_desk.house.reviewer(), "/account")

        await self.show(page, f"<form method=post action={browser_desk.url}/sign-out><button>win</button></form>")
        await page.get_by_role("button", name="win").click()

        await expect(page.get_by_text("did not come from a page of the desk")).to_be_visible()
        await page.goto(f"{browser_desk.url}/account")
        await expect(page.get_by_role("heading", name="reviewer-a")).to_be_visible()
        browser_desk.errors.clear()  # that Chromium was refused

    async def test_no_page_of_the_desk_is_framed_not_even_by_itself(self, browser_desk: BrowserDesk) -> None:
        page = await browser_desk.open()
        framing = "<iframe src=/sign-in></iframe>"
        await page.route("**/framing", lambda route: route.fulfill(body=framing, content_type="text/html"))

        async with page.expect_response("**/sign-in"):
            await page.goto("/framing")
        await page.wait_for_load_state("networkidle")

        assert "Sign in" not in "".join([await frame.content() for frame in page.frames])
        assert "frame-ancestors" in str(browser_desk.errors)
        browser_desk.errors.clear()


class TestAnOrganisationsOwnSignIn:
    @pytest.fixture
    def provider(self) -> Iterator[Running]:
        with oidc_provider.running() as started:
            yield started

    async def test_there_and_back(self, browser: Browser, provider: Running, tmp_path: Path) -> None:
        async with desks.opened(browser, tmp_path, **provider.settings()) as desk:
            page = await desk.open(path="/account")  # nobody is signed in
            assert page.url == f"{desk.url}/sign-in?next=/account"

            await page.get_by_role("link", name="Go to your organisation's sign-in").click()

            await page.wait_for_url("**/account")
            await expect(page.get_by_role("heading", name="r-ash")).to_be_visible()
            cookies = {each["name"]: each for each in await page.context.cookies()}
            assert set(cookies) == {"rfr"}
            assert (cookies["rfr"]["sameSite"], cookies["rfr"]["httpOnly"]) == ("Strict", True)

    async def test_there_and_refused(self, browser: Browser, provider: Running, tmp_path: Path) -> None:
        provider.says(rfr_roles=["reviewer", "supervisor"])
        async with desks.opened(browser, tmp_path, **provider.settings()) as desk:
            page = await desk.open(path="/sign-in")

            await page.get_by_role("link", name="Go to your organisation's sign-in").click()

            await expect(page.get_by_text("Nobody may be reviewer and supervisor.")).to_be_visible()
            assert await page.context.cookies() == []
            desk.errors.clear()  # that it was refused


class TestNoBarriers:
    STATIC: Final = ("/sign-in", "/account", "/people", "/people/person?of=r-ash")

    @pytest.mark.parametrize("path", STATIC)
    async def test_a_page_can_be_used_by_everybody(self, browser_desk: BrowserDesk, path: str) -> None:
        await browser_desk.house.account("r-ash", Role.REVIEWER)
        page = await browser_desk.open(await browser_desk.house.newcomer("s-1", Role.SUPERVISOR), path)

        await self.require_none(page)

    async def test_so_can_those_that_links_open(self, browser_desk: BrowserDesk) -> None:
        link = await set_up_link(browser_desk.house.app)
        page = await browser_desk.open(path=link or "")
        await self.require_none(page)

    async def test_so_can_the_one_that_certifies(self, browser_desk: BrowserDesk) -> None:
        await browser_desk.house.account("r-ash", Role.REVIEWER)
        page = await browser_desk.open(await browser_desk.house.supervisor(), "/people/person?of=r-ash")
        await page.get_by_role("button", name="Certify").click()

        await self.require_none(page)

    async def require_none(self, page: Page) -> None:
        assert await page.locator("h1").count() == 1
        found = await Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
