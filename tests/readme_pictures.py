"""Paints the README's two pictures of the desk anew: `.venv/bin/python tests/readme_pictures.py docs`.

Everybody on them is one woman, NASA's Eileen Collins, on a portrait in the public domain, and variants of it.
"""

import asyncio
import hashlib
import sys
import tempfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import browser_desk as desks
import browser_review as steps
import builders
from browser_desk import BrowserDesk
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from playwright.async_api import Page, async_playwright
from skimage import data

from rfr_stream.commands._pictures import PORTRAIT_BOX
from rfr_stream.events import BlobRef, CandidatesReady, Harm, Purpose, Source
from rfr_stream.ports import NewBlob

WIDTH: Final = 1_280
COLOURS: Final = 256
MISSING: Final = {"purpose": Purpose.MISSING, "source": Source.MISSING_PERSON}
CASES: Final[tuple[tuple[int, dict[str, Any]], ...]] = (
    (140, {"purpose": Purpose.SUSPECT, "harm": Harm.SERIOUS}),
    (95, MISSING),
    (60, {"purpose": Purpose.SUSPECT, "source": Source.PUBLIC_APPEAL}),
    (44, {**MISSING, "harm": Harm.CHILD_AT_RISK}),
    (38, {"purpose": Purpose.WITNESS}),
    (25, {"purpose": Purpose.SUSPECT}),
    (12, {"purpose": Purpose.SUSPECT, "harm": Harm.SERIOUS}),
    (6, MISSING),
)
"""How long each has waited, in minutes, and what was asked."""
VARIANTS: Final[tuple[Callable[[Image.Image], Image.Image], ...]] = (
    ImageOps.mirror,
    lambda image: ImageOps.grayscale(image).convert("RGB"),
    lambda image: image.filter(ImageFilter.GaussianBlur(1.2)),
    lambda image: ImageEnhance.Brightness(image).enhance(0.6),
    lambda image: image.rotate(-9, Image.Resampling.BICUBIC, fillcolor=(90, 90, 90)),
    lambda image: ImageEnhance.Color(image).enhance(0.35),
    lambda image: ImageOps.mirror(image.crop((25, 25, 185, 231))).resize(image.size),
    lambda image: ImageEnhance.Contrast(image).enhance(0.7),
)


async def main(folder: Path) -> None:
    """Open a desk, seed it, and paint what a reviewer sees."""
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=desks.CHROMIUM, args=["--no-sandbox"])
        with tempfile.TemporaryDirectory() as scratch:
            async with desks.opened(chromium, Path(scratch)) as desk:
                await paint(desk, folder)
        await chromium.close()


async def paint(desk: BrowserDesk, folder: Path) -> None:
    portrait = Image.fromarray(data.astronaut()).crop(PORTRAIT_BOX)
    listed = [
        await case(desk, f"{number}", portrait, minutes, **asked) for number, (minutes, asked) in enumerate(CASES)
    ]
    page = await desk.open(await steps.reviewer(desk.house, "r-ash"), "/queue")
    await page.set_viewport_size({"width": WIDTH, "height": 700})
    await keep(page, folder / "desk-queue.png")
    await page.set_viewport_size({"width": WIDTH, "height": 860})
    await page.goto(f"{steps.path(listed[0])}/analysis")
    await steps.analyse(page)
    await page.get_by_label("Eyes: Similar", exact=True).check()
    await page.get_by_label("Ears: Not visible", exact=True).check()
    await steps.choice(page, None).focus()
    await keep(page, folder / "desk-comparison.png")


async def case(desk: BrowserDesk, name: str, portrait: Image.Image, minutes: int, **asked: Any) -> CandidatesReady:  # noqa: ANN401 - of a submission
    """Let a case come that has waited so long."""
    house = desk.house
    desk.house.clock.now = builders.NOW.replace(hour=12, minute=0)
    darker = ImageEnhance.Brightness(portrait.filter(ImageFilter.GaussianBlur(0.8))).enhance(0.8)
    probe = await blob(desk, f"probe-{name}", darker)
    found = builders.candidates_ready(
        builders.submission(name, image=probe, case_ref=f"case-{name}", **asked), people=[f"p-{n}" for n in range(8)]
    )
    references = [await blob(desk, f"reference-{n}", vary(portrait)) for n, vary in enumerate(VARIANTS)]
    pairs = zip(found.candidates, references, strict=True)
    candidates = tuple(each.model_copy(update={"reference": reference}) for each, reference in pairs)
    digest = CandidatesReady.digest(found.submission.submission_id, probe.sha256, candidates)
    found = found.model_copy(update={"candidates": candidates, "list_digest": digest})
    await house.desk.ledger.hold(builders.references_of(found))
    house.clock.forward(minutes=-minutes)
    await house.hold(found)
    house.clock.forward(minutes=minutes)
    return found


async def blob(desk: BrowserDesk, name: str, image: Image.Image) -> BlobRef:
    out = BytesIO()
    image.resize((420, 540), Image.Resampling.LANCZOS).save(out, "PNG")
    (ref,) = await desk.house.desk.blobs.put([NewBlob(name, out.getvalue(), "image/png")])
    assert isinstance(ref, BlobRef)
    assert ref.sha256 == hashlib.sha256(out.getvalue()).hexdigest()
    return ref


async def keep(page: Page, path: Path) -> None:
    """Write what is in the window, in few enough colours for a repository."""
    await page.wait_for_load_state("networkidle")
    path.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(BytesIO(await page.screenshot())) as shot:
        shot.convert("RGB").quantize(COLOURS, dither=Image.Dither.FLOYDSTEINBERG).save(path, optimize=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
