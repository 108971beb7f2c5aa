"""An image at the door: taken as it is and announced once, or refused with the field and the fix; never half of it."""

import io
import json
import tracemalloc
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import builders
import httpx
import pytest
import reception_house
from PIL import ExifTags, Image, PngImagePlugin
from reception_house import REQUEST, ReceptionHouse, faults, form, picture, streamed

from rfr_stream.adapters.memory.vision import FakeDetector, MemoryCodec, PlantedFace, plant
from rfr_stream.events import Purpose, Regime, Source
from rfr_stream.ports import Picture
from rfr_stream.reception import Door

OFFICER: Final = "/officer/submissions"
UNIT: Final = "/unit/submissions"
TURNED: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""What a camera does to the picture, by the orientation that it writes down."""
HEIC: Final = b"\x00\x00\x00\x18ftypheic" + bytes(100)


def zipped() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("zeros", bytes(2**20))
    return out.getvalue()


def text_bomb() -> bytes:
    """Return a small PNG whose text, unpacked, is large."""
    out, text = io.BytesIO(), PngImagePlugin.PngInfo()
    text.add_text("Comment", "0" * 30_000_000, zip=True)
    Image.new("RGB", (8, 8)).save(out, "PNG", pnginfo=text)
    return out.getvalue()


def held(orientation: int) -> bytes:
    """Return a picture of one face as a camera writes it that was held like this, and says so."""
    out, upright = io.BytesIO(), Image.fromarray(plant(PlantedFace("anna", x=200, y=40)))
    exif = upright.getexif()
    exif[ExifTags.Base.Orientation] = orientation
    turn = TURNED.get(orientation)
    (upright.transpose(turn) if turn is not None else upright).save(out, "PNG", exif=exif)
    return out.getvalue()


class TestWhatIsTaken:
    async def test_an_image_is_kept_unaltered_and_announced(
        self, house: ReceptionHouse, client: httpx.AsyncClient
    ) -> None:
        images = [picture(1), picture(2, "JPEG"), picture(3, "WEBP"), picture(4, "TIFF"), picture(5, "BMP"), HEIC]
        answer = await client.post(OFFICER, files=form(*images))
        assert answer.status_code == 202
        assert await house.kept() == images
        announced = house.behind.submissions
        assert [each["submission_id"] for each in answer.json()["submissions"]] == [
            str(each.submission_id) for each in announced
        ]
        assert {(each.source, each.purpose, each.regime) for each in announced} == {
            (Source.OFFICER, Purpose.SUSPECT, Regime.LAW_ENFORCEMENT)
        }

    async def test_what_an_image_is_its_bytes_say_and_not_its_name(
        self, house: ReceptionHouse, client: httpx.AsyncClient
    ) -> None:
        hidden = picture(1, "JPEG") + b"<script>alert(1)</script>" + zipped()
        answer = await client.post(OFFICER, files=form(hidden))
        assert answer.status_code == 202
        (submission,) = house.behind.submissions
        assert submission.image.media_type == "image/jpeg"
        assert await house.kept() == [hidden]

    async def test_a_face_is_where_it_is_however_the_camera_was_held(
        self, house: ReceptionHouse, client: httpx.AsyncClient
    ) -> None:
        images = [held(orientation) for orientation in range(1, 9)]
        assert (await client.post(OFFICER, files=form(*images))).status_code == 202
        originals = await house.kept()
        assert originals == images
        pictures = await MemoryCodec().decode([each for each in originals if isinstance(each, bytes)])
        found = await FakeDetector().detect([each.pixels for each in pictures if isinstance(each, Picture)])
        boxes = {face.box for faces in found for face in faces}
        assert (len(found), len(boxes)) == (8, 1)

    async def test_the_same_image_again_is_the_same_submission(
        self, house: ReceptionHouse, client: httpx.AsyncClient
    ) -> None:
        answers = [await client.post(OFFICER, files=form(picture(1), picture(1))) for _ in range(2)]
        (first, second), (third, fourth) = (answer.json()["submissions"] for answer in answers)
        assert first == second == third == fourth
        assert len({event.event_id for event in house.behind.events}) == 1

    async def test_the_unit_says_where_somebody_was_found(self, house: ReceptionHouse) -> None:
        found = {"where": "a river bank", "when": "2026-11-24T06:40:00Z"}
        said = {**REQUEST, "purpose": "deceased", "regime": "uk_gdpr", "found": found, "submitted_by": "unit-3"}
        async with house.client("mortuary", Door.UNIT) as client:
            answer = await client.post(UNIT, files=form(request=said))
        assert answer.status_code == 202
        (submission,) = house.behind.submissions
        assert (submission.source, submission.regime) == (Source.DECEASED_PERSON, Regime.GENERAL)

    async def test_nothing_is_left_lying_about(self, house: ReceptionHouse, client: httpx.AsyncClient) -> None:
        await client.post(OFFICER, files=form(picture(1)))
        await client.post(OFFICER, files=form(picture(1), b"a text"))
        assert house.is_tidy

    async def test_an_upload_never_lies_in_memory(self, tmp_path: Path) -> None:
        noise = picture(size=(600, 600), kind="BMP")  # Pillow reads its header alone, whatever follows
        async with reception_house.opened(tmp_path, max_image_bytes=64 * 2**20) as house:
            files = form(noise + bytes(48 * 2**20 - len(noise)))
            answer, peak = await streamed(house, OFFICER, files)
        assert answer == 202
        assert peak < 16 * 2**20


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("image", "status", "fix"),
        [
            (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "does not begin like"),
            (b"<!doctype html><title>x</title>", 415, "does not begin like"),
            (zipped(), 415, "does not begin like"),
            (b"GIF89a" + bytes(60), 415, "does not begin like"),
            (b"", 422, "empty"),
            (b"\xff\xd8\xff", 422, "one of"),
            (b"\x89PNG\r\n\x1a\n" + bytes(100), 422, "not one of"),
            (picture(size=(1001, 1000)), 413, "at most 1000000 pixels"),
            (picture() + bytes(2 * 2**20), 413, "at most 2097152 bytes"),
        ],
        ids=["svg", "html", "zip", "gif", "empty", "cut off", "no header", "pixels", "bytes"],
    )
    async def test_an_image_that_is_none_or_too_much(  # noqa: PLR0917
        self, house: ReceptionHouse, client: httpx.AsyncClient, image: bytes, status: int, fix: str
    ) -> None:
        answer = await client.post(OFFICER, files=form(picture(1), image))
        assert answer.status_code == status
        assert fix in faults(answer)["image[1]"]
        assert house.behind.events == []
        assert house.is_tidy

    async def test_a_bomb_in_a_header_is_not_unpacked(self, client: httpx.AsyncClient) -> None:
        bomb = text_bomb()
        tracemalloc.start()
        answer = await client.post(OFFICER, files=form(bomb))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert answer.status_code in {202, 422}
        assert peak < 20_000_000

    @pytest.mark.parametrize(
        ("changed", "field"),
        [
            ({"purpose": "curiosity"}, "request.purpose"),
            ({"necessity": "Needed."}, "request.necessity"),
            ({"regime": "uk_gdpr"}, "request.regime"),
            ({"purpose": "witness"}, "request.authoriser"),
            ({"galleries": ["missing"]}, "request.galleries"),
            ({"provenance": {**REQUEST["provenance"], "origin": "sketch"}}, "request.provenance.origin"),
            ({"submitted_by": "Jane Doe"}, "request.submitted_by"),
            ({"demo": True}, "request.demo"),
            ({"found": {"where": "here", "when": "2026-11-24T06:40:00Z"}}, "request.found"),
            ({"media": {"kind": "Jane Doe"}}, "request.media"),
            ({"Jane Doe": 1}, "request.?"),
        ],
        ids=str,
    )
    async def test_a_request_that_is_not_lawful(
        self, house: ReceptionHouse, client: httpx.AsyncClient, changed: dict[str, Any], field: str
    ) -> None:
        answer = await client.post(OFFICER, files=form(**changed))
        assert answer.status_code == 422
        assert list(faults(answer)) == [field]
        assert "Jane" not in answer.text
        assert house.behind.events == []

    async def test_an_image_that_is_named_by_where_it_lies(
        self, house: ReceptionHouse, client: httpx.AsyncClient
    ) -> None:
        somebodys = {"kind": "image", "image": builders.blob().model_dump()}
        answer = await client.post(OFFICER, files=form(variants=[somebodys]))
        assert answer.status_code == 422
        assert "request.variants.0.kind" in faults(answer)
        assert house.behind.events == []

    @pytest.mark.parametrize("field", ["purpose", "harm", "case_ref", "legal_basis", "necessity", "provenance"])
    async def test_a_request_that_leaves_something_out(self, client: httpx.AsyncClient, field: str) -> None:
        said = {name: value for name, value in REQUEST.items() if name != field}
        answer = await client.post(OFFICER, files=form(request=said))
        assert faults(answer) == {f"request.{field}": "Field required"}

    async def test_the_same_words_about_another_case(self, house: ReceptionHouse, client: httpx.AsyncClient) -> None:
        assert (await client.post(OFFICER, files=form(picture(1)))).status_code == 202
        assert (await client.post(OFFICER, files=form(picture(2)))).status_code == 202
        again = await client.post(OFFICER, files=form(picture(3), case_ref="C-78/26"))
        assert list(faults(again)) == ["request.necessity"]
        other = await client.post(OFFICER, files=form(picture(3), case_ref="C-78/26", submitted_by="officer-32"))
        assert other.status_code == 202
        assert len(house.behind.events) == 3

    async def test_a_request_that_does_not_come_first(self, client: httpx.AsyncClient) -> None:
        answer = await client.post(OFFICER, files=form()[::-1])
        assert answer.status_code == 422
        assert "first part" in faults(answer)["request"]

    async def test_a_request_without_an_image(self, client: httpx.AsyncClient) -> None:
        assert faults(await client.post(OFFICER, files=form()[:1])) == {"image": "one part or more, after `request`"}

    async def test_a_request_that_is_no_json_or_far_too_long(self, client: httpx.AsyncClient) -> None:
        answer = await client.post(OFFICER, files=form(request=b'{"purpose": Jane'))
        assert (answer.status_code, list(faults(answer))) == (422, ["request"])
        answer = await client.post(OFFICER, files=form(request=b" " * 70_000))
        assert (answer.status_code, list(faults(answer))) == (413, ["request"])

    async def test_another_part_than_images(self, client: httpx.AsyncClient) -> None:
        answer = await client.post(OFFICER, files=[*form(), ("contact", (None, b"Jane", "text/plain"))])
        assert faults(answer) == {"body": "after `request`, parts named `image` alone"}

    async def test_one_face_of_several_images(self, client: httpx.AsyncClient) -> None:
        answer = await client.post(OFFICER, files=form(picture(1), picture(2), subject={"x": 3, "y": 4}))
        assert (answer.status_code, list(faults(answer))) == (422, ["image"])

    @pytest.mark.parametrize(
        ("headers", "status", "field"),
        [
            ({"content-type": "application/json"}, 415, "Content-Type"),
            ({"content-type": "multipart/form-data"}, 415, "Content-Type"),
            ({"content-type": "multipart/form-data; boundary=x"}, 400, "body"),
            ({"content-type": f"multipart/form-data; boundary={'x' * 999}"}, 400, "body"),
            ({"content-type": "multipart/form-data; boundary=x", "content-encoding": "gzip"}, 415, "Content-Encoding"),
            ({"content-type": "multipart/form-data; boundary=x", "content-length": "many"}, 400, "Content-Length"),
        ],
    )
    async def test_a_body_that_is_no_form(
        self, client: httpx.AsyncClient, headers: dict[str, str], status: int, field: str
    ) -> None:
        answer = await client.post(OFFICER, content=b"--y\r\n", headers=headers)
        assert (answer.status_code, list(faults(answer))) == (status, [field])

    async def test_a_body_that_ends_in_the_middle(self, house: ReceptionHouse, client: httpx.AsyncClient) -> None:
        whole = httpx.Request("POST", "http://reception", files=form(picture(1)))
        content = whole.read()
        for length in (10, len(content) // 2, len(content) - 4):
            headers = {"content-type": whole.headers["content-type"]}
            answer = await client.post(OFFICER, content=content[:length], headers=headers)
            assert answer.status_code == 400, length
        assert house.behind.events == []

    async def test_more_than_a_request_may_hold(self, tmp_path: Path) -> None:
        async with (
            reception_house.opened(tmp_path, max_images=2, max_upload_bytes=5_000) as house,
            house.client() as client,
        ):
            answer = await client.post(OFFICER, files=form(*map(picture, range(3))))
            assert (answer.status_code, list(faults(answer))) == (413, ["image"])
            answer = await client.post(OFFICER, files=form(picture() + bytes(5_000)))
            assert (answer.status_code, list(faults(answer))) == (413, ["body"])
            chunks = httpx.Request("POST", "http://reception", files=form(picture() + bytes(5_000)))

            async def unannounced() -> AsyncIterator[bytes]:
                yield chunks.read()

            kind = {"content-type": chunks.headers["content-type"]}
            answer = await client.post(OFFICER, content=unannounced(), headers=kind)
            assert (answer.status_code, list(faults(answer))) == (413, ["body"])


class TestAgain:
    KEY: Final = {"idempotency-key": "7f1c-1"}

    async def test_the_same_key_with_the_same_body_is_answered_alike(self, client: httpx.AsyncClient) -> None:
        first = await client.post(OFFICER, files=form(picture(1)), headers=self.KEY)
        second = await client.post(OFFICER, files=form(picture(1)), headers=self.KEY)
        assert first.status_code == second.status_code == 202
        assert first.json() == second.json()

    @pytest.mark.parametrize("other", [form(picture(2)), form(picture(1), picture(2)), form(picture(1), harm="other")])
    async def test_the_same_key_with_another_body_is_refused(
        self, house: ReceptionHouse, client: httpx.AsyncClient, other: list[tuple[str, Any]]
    ) -> None:
        await client.post(OFFICER, files=form(picture(1)), headers=self.KEY)
        answer = await client.post(OFFICER, files=other, headers=self.KEY)
        assert (answer.status_code, list(faults(answer))) == (422, ["Idempotency-Key"])
        assert len(house.behind.events) == 1

    async def test_a_key_is_its_clients_own(self, house: ReceptionHouse, client: httpx.AsyncClient) -> None:
        await client.post(OFFICER, files=form(picture(1)), headers=self.KEY)
        async with house.client("portal-2") as another:
            assert (await another.post(OFFICER, files=form(picture(2)), headers=self.KEY)).status_code == 202

    async def test_after_a_failure_the_same_key_goes_through(
        self, house: ReceptionHouse, client: httpx.AsyncClient
    ) -> None:
        house.behind.is_away = True
        assert (await client.post(OFFICER, files=form(picture(1)), headers=self.KEY)).status_code == 503
        house.behind.is_away = False
        assert (await client.post(OFFICER, files=form(picture(1)), headers=self.KEY)).status_code == 202

    @pytest.mark.parametrize("key", ["", "k" * 129, "with space"])
    async def test_a_key_that_is_none(self, client: httpx.AsyncClient, key: str) -> None:
        answer = await client.post(OFFICER, files=form(), headers={"idempotency-key": key})
        assert (answer.status_code, list(faults(answer))) == (422, ["request.Idempotency-Key"])


class TestTooMuchAtOnce:
    async def test_when_what_waits_behind_the_doors_is_too_much(
        self, house: ReceptionHouse, client: httpx.AsyncClient
    ) -> None:
        house.behind.waiting = house.here.settings.backlog + 1
        answer = await client.post(OFFICER, files=form())
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) > 0
        house.behind.waiting -= 1
        assert (await client.post(OFFICER, files=form())).status_code == 202

    async def test_when_nobody_knows_what_waits(self, house: ReceptionHouse, client: httpx.AsyncClient) -> None:
        house.behind.waiting = None
        answer = await client.post(OFFICER, files=form())
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")

    async def test_when_too_many_are_inside_already_at_this_door(
        self, house: ReceptionHouse, client: httpx.AsyncClient
    ) -> None:
        with house.here.place_at(Door.OFFICER):
            house.here.inside[Door.OFFICER] = house.here.settings.uploads
            assert (await client.post(OFFICER, files=form())).status_code == 429
            async with house.client("mortuary", Door.UNIT) as other:
                said = {**REQUEST, "purpose": "missing", "regime": "uk_gdpr"}
                assert (await other.post(UNIT, files=form(request=said))).status_code == 202

    async def test_everybody_leaves_again(self, house: ReceptionHouse, client: httpx.AsyncClient) -> None:
        for files in (form(), form(b"a text")):
            await client.post(OFFICER, files=files)
        assert house.here.inside[Door.OFFICER] == 0


class TestWhatIsAway:
    async def test_nothing_is_acknowledged_while_the_bus_is(
        self, house: ReceptionHouse, client: httpx.AsyncClient
    ) -> None:
        house.behind.is_away = True
        answer = await client.post(OFFICER, files=form(picture(1)))
        assert answer.status_code == 503
        assert json.loads(answer.text) == {"type": "about:blank", "title": "Service Unavailable", "status": 503}
        assert not await house.here.store.has_sent("portal-1", UUID(int=0))

    async def test_nothing_is_announced_while_the_store_is(
        self, house: ReceptionHouse, client: httpx.AsyncClient, tmp_path: Path
    ) -> None:
        (tmp_path / "blobs" / "rfr").rename(tmp_path / "unmounted")
        assert (await client.post(OFFICER, files=form(picture(1)))).status_code == 503
        assert house.behind.events == []
        assert house.is_tidy

    async def test_nothing_is_taken_while_the_spool_is(
        self, house: ReceptionHouse, client: httpx.AsyncClient, tmp_path: Path
    ) -> None:
        (tmp_path / "spool").rmdir()
        assert (await client.post(OFFICER, files=form(picture(1)))).status_code == 503
        assert house.behind.events == []
