"""The desk on a port, and the operating system's Chromium in front of it, all on one event loop."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import desk_house
import pytest
import pytest_asyncio
import uvicorn
from desk_house import DeskHouse
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from rfr_stream.desk import Account

CHROMIUM: Final = "/usr/bin/chromium"
HERE: Final = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One event loop for all of them: a browser takes a second to start."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@dataclass
class BrowserDesk:
    """A desk that answers on a port of this machine."""

    house: DeskHouse
    url: str
    _browser: Browser
    errors: list[str]
    """What browsers said went wrong in a page; a test that expects some clears it."""

    async def open(self, account: Account | None = None, path: str = "/") -> Page:
        """Return a window of its own on this page, of somebody who is signed in or of nobody."""
        context = await self._browser.new_context(base_url=self.url)
        if account:
            await self.sign_in(context, account)
        page = await context.new_page()
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        await page.goto(path)
        return page

    async def sign_in(self, context: BrowserContext, account: Account) -> None:
        """Give a window somebody's session."""
        name, token = self.house.desk.cookie, await self.house.session(account)
        await context.add_cookies(
            [{"name": name, "value": token, "url": self.url, "httpOnly": True, "sameSite": "Strict"}]
        )


class _Server(uvicorn.Server):
    """Leaves signals to the tests' own process."""

    def capture_signals(self) -> AbstractContextManager[None]:
        return nullcontext()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        await chromium.close()


@pytest_asyncio.fixture(loop_scope="session")
async def browser_desk(browser: Browser, tmp_path: Path) -> AsyncIterator[BrowserDesk]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        # A passkey is bound to a name, and an address is none.
        url = f"http://localhost:{listening.getsockname()[1]}"
        async with desk_house.opened(tmp_path, public_url=url) as house:
            server = _Server(uvicorn.Config(house.app, log_level="error", lifespan="off"))
            serving = asyncio.create_task(server.serve(sockets=[listening]))
            desk = BrowserDesk(house, url, browser, [])
            yield desk
            for context in browser.contexts:
                await context.close()
            server.should_exit = True
            await serving
            assert not desk.errors
