"""Whose face is meant: the boxes lie where the faces are, and whoever is not meant is not seen again."""

from io import BytesIO
from typing import Final

import browser_review as steps
import builders
import pytest
from browser_desk import BrowserDesk
from PIL import Image, ImageDraw
from playwright.async_api import Page, expect

from rfr_stream.events import BlobRef, SubjectChosen, SubjectUnclear
from rfr_stream.faces import Box
from rfr_stream.ports import NewBlob

SIZE: Final = (600, 300)
MEANT, OTHER = Box(60, 80, 160, 210), Box(400, 60, 500, 190)
BLUE, RED, MASK = (20, 60, 160), (180, 40, 30), (112, 112, 112)


async def asked(desk: BrowserDesk) -> SubjectUnclear:
    """Let a frame come with a blue face and a red one."""
    frame = Image.new("RGB", SIZE, "white")
    ImageDraw.Draw(frame).rectangle((MEANT.x1, MEANT.y1, MEANT.x2, MEANT.y2), fill=BLUE)
    ImageDraw.Draw(frame).rectangle((OTHER.x1, OTHER.y1, OTHER.x2, OTHER.y2), fill=RED)
    out = BytesIO()
    frame.save(out, "PNG")
    (ref,) = await desk.house.desk.blobs.put([NewBlob("frame", out.getvalue(), "image/png")])
    assert isinstance(ref, BlobRef)
    unclear = builders.subject_unclear(builders.submission("frame", image=ref))
    unclear = unclear.model_copy(update={"faces": (MEANT, OTHER)})
    await desk.house.hold(unclear)
    return unclear


async def opened(desk: BrowserDesk, unclear: SubjectUnclear) -> Page:
    return await desk.open(await steps.reviewer(desk.house), steps.path(unclear))


@pytest.mark.parametrize("width", [1920, 1280, 640])
async def test_the_boxes_are_drawn_where_the_faces_are(browser_desk: BrowserDesk, width: int) -> None:
    page = await opened(browser_desk, await asked(browser_desk))
    await page.set_viewport_size({"width": width, "height": 900})
    frame = await page.locator("svg image").bounding_box()
    assert frame
    assert frame["width"] / frame["height"] == pytest.approx(SIZE[0] / SIZE[1], rel=0.01)
    scale = frame["width"] / SIZE[0]

    for number, face in enumerate((MEANT, OTHER)):
        drawn = await page.locator("svg rect").nth(number).bounding_box()
        assert drawn
        centre = (drawn["x"] + drawn["width"] / 2 - frame["x"], drawn["y"] + drawn["height"] / 2 - frame["y"])
        assert centre == pytest.approx(((face.x1 + face.x2) / 2 * scale, (face.y1 + face.y2) / 2 * scale), abs=2)
        assert drawn["width"] == pytest.approx((face.x2 - face.x1) * scale, abs=5)


async def test_whoever_is_not_meant_is_masked_from_then_on(browser_desk: BrowserDesk) -> None:
    house, unclear = browser_desk.house, await asked(browser_desk)
    page = await opened(browser_desk, unclear)
    await page.get_by_label("Face 1").check()
    await page.get_by_role("button", name="Go on to sign").click()
    await expect(page.get_by_role("heading", name="Face 1 is the person meant")).to_be_visible()
    await page.get_by_label("Signing password").fill(steps.SIGNING)
    await page.get_by_role("button", name="Sign and lock").click()
    await page.wait_for_url("**/queue")
    (chosen,) = await house.count()
    assert isinstance(chosen, SubjectChosen)
    assert chosen.subject == MEANT

    found = builders.candidates_ready(unclear.submission)
    await house.hold(found.model_copy(update={"face": builders.face(box=MEANT, masks=(OTHER,))}))
    await page.goto(steps.path(unclear))
    await page.wait_for_url("**/analysis")
    served = await page.request.get(f"{steps.path(unclear)}/probe")

    with Image.open(BytesIO(await served.body())) as probe:
        assert probe.size == SIZE
        assert probe.convert("RGB").getpixel((110, 145)) == BLUE
        assert {probe.convert("RGB").getpixel(at) for at in ((450, 125), (401, 61), (499, 189))} == {MASK}


async def test_none_of_them_can_be_meant(browser_desk: BrowserDesk) -> None:
    page = await opened(browser_desk, await asked(browser_desk))
    await page.get_by_label("None of them").check()
    await page.get_by_role("button", name="Go on to sign").click()
    await page.get_by_label("Signing password").fill(steps.SIGNING)
    await page.get_by_role("button", name="Sign and lock").click()
    await page.wait_for_url("**/queue")

    (chosen,) = browser_desk.house.published
    assert isinstance(chosen, SubjectChosen)
    assert chosen.subject is None
