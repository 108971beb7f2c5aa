"""The desk on a port of this machine, and the operating system's Chromium in front of it, on one event loop."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from shutil import which
from typing import Any, Final

import desk_house
import uvicorn
from desk_house import DeskHouse
from playwright.async_api import Browser, BrowserContext, Page

from rfr_stream.desk import Account

CHROMIUM: Final = which("chromium") or "chromium"


@dataclass
class BrowserDesk:
    """A desk that answers on a port."""

    house: DeskHouse
    url: str
    _browser: Browser
    errors: list[str] = field(default_factory=list)
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


async def add_authenticator(page: Page, **options: Any) -> None:  # noqa: ANN401 - of CDP's WebAuthn.addVirtualAuthenticator
    """Give a window something that keeps passkeys, and whose owner is there and says yes."""
    session = await page.context.new_cdp_session(page)
    await session.send("WebAuthn.enable")
    usual = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
    }
    await session.send("WebAuthn.addVirtualAuthenticator", {"options": {**usual, **options}})


class _Server(uvicorn.Server):
    """Leaves signals to the tests' own process."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def opened(browser: Browser, folder: Path, **settings: Any) -> AsyncIterator[BrowserDesk]:  # noqa: ANN401 - any of `DeskSettings`
    """Open a desk whose ledger is in this folder, and a port for it; at the end no page may have complained."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        # A passkey is bound to a name, and an address is none.
        url = f"http://localhost:{listening.getsockname()[1]}"
        async with desk_house.opened(folder, public_url=url, **settings) as house:
            server = _Server(uvicorn.Config(house.app, log_level="error", log_config=None, lifespan="off"))
            serving = asyncio.create_task(server.serve(sockets=[listening]))
            desk = BrowserDesk(house, url, browser)
            try:
                yield desk
            finally:
                for context in browser.contexts:
                    await context.close()
                server.should_exit = True
                await serving
            assert not desk.errors
