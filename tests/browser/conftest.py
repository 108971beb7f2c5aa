"""One Chromium for all of these, and a desk for each."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import browser_desk as desks
import pytest
import pytest_asyncio
from browser_desk import BrowserDesk
from playwright.async_api import Browser, async_playwright, expect

HERE: Final = Path(__file__).parent

expect.set_options(timeout=20_000)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One event loop for all of them: a browser takes a second to start."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=desks.CHROMIUM, args=["--no-sandbox"])
        yield chromium
        await chromium.close()


@pytest_asyncio.fixture(loop_scope="session")
async def browser_desk(browser: Browser, tmp_path: Path) -> AsyncIterator[BrowserDesk]:
    async with desks.opened(browser, tmp_path) as desk:
        yield desk
