"""Several images of one subject are one submission, or none."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import builders
import pytest
from pydantic import ValidationError

from producers import officer
from producers._handed_in import HandedIn
from producers._intake import Report, Verdict
from producers._recipes import PRESETS, Preset, read_recipe
from producers._same_subject import submit_together
from rfr_stream.adapters.memory.blobs import MemoryBlobs
from rfr_stream.errors import Malformed, NotPermitted
from rfr_stream.events import Event, Exposure, ImageSubmitted, ImageVariant, Purpose, RecipeVariant, Sharpen
from rfr_stream.faces import Point


def image(number: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n number %d" % number


SHARPER = RecipeVariant(recipe=PRESETS[Preset.SHARPEN])


class Recorder:
    def __init__(self) -> None:
        self.events: list[Event] = []

    async def publish(self, events: Sequence[Event]) -> None:
        self.events += events

    @property
    def only(self) -> ImageSubmitted:
        (event,) = self.events
        assert isinstance(event, ImageSubmitted)
        return event


@pytest.fixture
def bus() -> Recorder:
    return Recorder()


def request(**fields: Any) -> officer.OfficerRequest:  # noqa: ANN401
    return officer.OfficerRequest.model_validate(builders.asked(submitted_by="officer-1", **fields))


async def handed_in(
    bus: Recorder,
    *files: Path | bytes,
    blobs: MemoryBlobs | None = None,
    journal: HandedIn | None = None,
    **fields: Any,  # noqa: ANN401
) -> list[Report]:
    store = blobs or MemoryBlobs()
    run = submit_together(files, request(**fields), blobs=store, publish=bus.publish, journal=journal)
    return [report async for report in run]


async def test_the_first_is_the_original_and_the_others_are_its_variants(bus: Recorder) -> None:
    blobs = MemoryBlobs()
    reports = await handed_in(bus, image(1), image(2), image(3), blobs=blobs, subject=Point(1, 2))
    said = bus.only.submission
    others = [each for each in said.variants if isinstance(each, ImageVariant)]
    assert await blobs.get([said.image, *(each.image for each in others)]) == [image(1), image(2), image(3)]
    assert (said.subject, [each.subject for each in others]) == (Point(1, 2), [None, None])
    assert {report.derived_id for report in reports} == {said.submission_id}
    assert [report.outcome for report in reports] == [Verdict.ACCEPTED] * 3


async def test_originals_are_kept_under_their_digests_whichever_place_they_have(bus: Recorder) -> None:
    blobs = MemoryBlobs()
    await handed_in(bus, image(1), image(2), blobs=blobs)
    kept = dict(blobs.kept)
    await handed_in(bus, image(2), image(1), blobs=blobs)
    assert blobs.kept == kept


async def test_recipes_and_images_go_together(bus: Recorder) -> None:
    await handed_in(bus, image(1), image(2), variants=(SHARPER,))
    assert [each.kind for each in bus.only.submission.variants] == ["recipe", "image"]


async def test_a_single_image_is_an_ordinary_submission(bus: Recorder) -> None:
    await handed_in(bus, image(1))
    assert bus.only.submission.variants == ()


async def test_a_folder_stands_for_what_lies_in_it(bus: Recorder, tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"{number}.png").write_bytes(image(number))
    reports = await handed_in(bus, tmp_path)
    assert [report.path for report in reports] == [tmp_path / "1.png", tmp_path / "2.png"]
    assert len(bus.only.submission.variants) == 1


@pytest.mark.parametrize("bad", [0, 1, 2])
async def test_if_one_is_refused_none_is_handed_in(bus: Recorder, bad: int) -> None:
    blobs = MemoryBlobs()
    files = [image(1), image(2), image(3)]
    files[bad] = b"no image"
    reports = await handed_in(bus, *files, blobs=blobs)
    assert (bus.events, blobs.kept) == ([], {})
    assert [report.outcome for report in reports] == [Verdict.REJECTED] * 3
    assert ["does not begin like" in (report.reason or "") for report in reports] == [n == bad for n in range(3)]


@pytest.mark.parametrize(
    "files", [(), tuple(map(image, range(10))), (image(1), image(1))], ids=["none", "ten", "twice"]
)
async def test_none_too_many_or_one_twice_is_refused_before_anything_is_kept(
    bus: Recorder, files: tuple[bytes, ...]
) -> None:
    blobs = MemoryBlobs()
    with pytest.raises(Malformed, match="images: "):
        await handed_in(bus, *files, blobs=blobs)
    assert (bus.events, blobs.kept) == ([], {})


async def test_what_policy_forbids_is_not_opened(bus: Recorder, tmp_path: Path) -> None:
    with pytest.raises(NotPermitted):
        await handed_in(bus, tmp_path / "missing.png", purpose=Purpose.WITNESS)


async def test_the_same_images_again_are_handed_in_once(bus: Recorder) -> None:
    with HandedIn() as journal:
        await handed_in(bus, image(1), image(2), journal=journal)
        again = await handed_in(bus, image(1), image(2), journal=journal)
    assert [report.outcome for report in again] == [Verdict.SKIPPED] * 2
    assert len(bus.events) == 1


@pytest.mark.parametrize("preset", Preset)
def test_every_preset_is_a_recipe_of_its_own(preset: Preset) -> None:
    assert [other for other in Preset if PRESETS[other] == PRESETS[preset]] == [preset]


def test_a_recipe_is_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "recipe.json"
    file.write_text(json.dumps({"steps": [{"kind": "exposure", "gain": 2}, {"kind": "sharpen"}]}))
    assert read_recipe(file).steps == (Exposure(gain=2), Sharpen())


@pytest.mark.parametrize("text", ["", "[]", '{"steps": []}', '{"steps": [{"kind": "restore_face"}]}'])
def test_a_file_that_holds_no_recipe_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "recipe.json"
    file.write_text(text)
    with pytest.raises(ValidationError):
        read_recipe(file)


def test_as_many_recipes_as_may_be_and_no_more() -> None:
    with pytest.raises(ValidationError, match="at most 4 items"):
        request(variants=tuple(RecipeVariant(recipe=recipe) for recipe in PRESETS.values()))
