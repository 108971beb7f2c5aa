"""What keeps people from using a page: WCAG 2.2 as far as axe knows it, and what it cannot measure."""

from typing import Final

from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]
from playwright.async_api import Page

SIZES: Final = {"1280 px": (1280, 900), "1920 px": (1920, 1080), "200 %": (640, 450)}
"""Of the window in CSS pixels; at 200 % a window of 1280 by 900 has half of each."""
TAGS: Final = ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"]
FAR: Final = 160
"""Presses that are more than any page has stops."""

_OVERFLOW: Final = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
_FOCUS: Final = """() => {
  const it = document.activeElement;
  if (it === document.body) return null;
  const [box, style] = [it.getBoundingClientRect(), getComputedStyle(it)];
  const floor = document.querySelector(".caveat").getBoundingClientRect().top;
  const faults = [];
  if (style.outlineStyle === "none" || parseFloat(style.outlineWidth) < 2) faults.push("no ring");
  const fits = box.height < floor;
  if (fits ? box.top < -1 || box.bottom > floor + 1 : box.top >= floor || box.bottom <= 0) faults.push("not in sight");
  if (box.left < -1 || box.right > innerWidth + 1) faults.push("beside the page");
  return faults.length ? `${faults}: ${it.outerHTML.slice(0, 120)}` : "";
}"""
_SMALL: Final = """() => [...document.querySelectorAll("a, button, input, select, textarea, summary")]
  .filter((it) => it.checkVisibility() && it.type !== "hidden" && !(it.tagName === "A" && it.closest("p, li, td, dd")))
  .map((it) => [it, (it.closest("label") ?? it).getBoundingClientRect()])
  .filter(([it, { width, height }]) => width && (width < 24 || height < 23.9) && !it.classList.contains("skip"))
  .map(([it, { width, height }]) => `${width} x ${height}: ${it.outerHTML.slice(0, 100)}`)"""
"""Targets under 24 px, labels included; a link in a sentence is as high as its line (WCAG 2.2, 2.5.8)."""


async def require_none(page: Page) -> None:
    """Fail where a page has a barrier, in a window of each size."""
    assert await page.locator("h1").count() == 1
    for name, (width, height) in SIZES.items():
        await page.set_viewport_size({"width": width, "height": height})
        assert await page.evaluate(_OVERFLOW) <= 0, f"{name}: wider than the window"
        small = await page.evaluate(_SMALL)
        assert not small, f"{name}: {small}"
        found = await Axe().run(page, options={"runOnly": {"type": "tag", "values": TAGS}})
        assert found.violations_count == 0, f"{name}: {found.generate_report()}"


async def require_focus_in_sight(page: Page) -> None:
    """Fail where the focus is without its ring, under the caveat or beside the page (2.4.7, 2.4.11)."""
    fault = await page.evaluate(_FOCUS)
    assert not fault, fault


async def require_every_stop_in_sight(page: Page) -> None:
    """Go once round the page with the tab key, in the smallest window."""
    width, height = SIZES["200 %"]
    await page.set_viewport_size({"width": width, "height": height})
    await page.evaluate("document.activeElement.blur()")
    for _ in range(FAR):
        await page.keyboard.press("Tab")
        fault = await page.evaluate(_FOCUS)
        if fault is None:
            return
        assert not fault, fault
    msg = "the end of the page was not reached"
    raise AssertionError(msg)
