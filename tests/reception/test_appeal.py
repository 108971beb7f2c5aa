"""What portals pass on: signed, kept as it came, once; and nothing about whoever sent it goes any further."""

import io
import json
import logging
from collections.abc import Callable, Mapping
from datetime import timedelta
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

import builders
import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin
from reception_house import ReceptionHouse, form, picture

import topics
from producers.reception._answered import WINDOW, Answered
from producers.reception._signed import lines
from rfr_stream import stages, telemetry
from rfr_stream.adapters.memory.ledger import MemoryLedger
from rfr_stream.adapters.memory.vision import MemoryCodec, MemoryFingerprinter
from rfr_stream.events import AppealImageReceived
from rfr_stream.reception import Door, digest_of, signature_of
from rfr_stream.vision.decode import Limits
from rfr_stream.vision.derivative import derivative

PATH: Final = "/appeal/images"
REF: Final = "2f1c0f5e-6a0b-4f6e-9a3e-0c5b8f3f4d11"
SAID: Final = {"appeal_ref": "OP-HAWTHORN/26", "portal_ref": REF}


def body(*images: bytes, **fields: Any) -> httpx.Request:  # noqa: ANN401
    """Return a request of these images, without any signature."""
    files = form(*images, request={**SAID, **fields})
    request = httpx.Request("POST", f"http://reception{PATH}", files=files)
    request.read()
    return request


def headers(token: str, request: httpx.Request, **other: str) -> dict[str, str]:
    """Return what a portal adds to a body: its name, the time, the digest, and its signature."""
    name, _, _ = token.partition(".")
    time, digest = str(int(builders.NOW.timestamp())), digest_of(sha256(request.content).digest())
    said = {"RFR-Client": name, "RFR-Timestamp": time, "Content-Digest": digest, **other}
    signature = signature_of(token, lines(PATH, said["RFR-Timestamp"], said["Content-Digest"]))
    return {"RFR-Signature": signature, "content-type": request.headers["content-type"], **said}


async def send(
    house: ReceptionHouse,
    request: httpx.Request,
    change: Callable[[dict[str, str]], object] = lambda _: None,
    *,
    other: Mapping[str, str] | None = None,
) -> httpx.Response:
    """Sign a request as the portal does, with other headers, change what is to be wrong, and send it."""
    said = headers(await house.token("portal-1", Door.APPEAL), request, **(other or {}))
    change(said)
    transport = httpx.ASGITransport(house.app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://reception") as client:
        return await client.post(PATH, content=request.content, headers=said)


def received(house: ReceptionHouse) -> list[AppealImageReceived]:
    found = [event for event in house.behind.events if isinstance(event, AppealImageReceived)]
    assert len(found) == len(house.behind.events)
    return found


class TestWhatIsTaken:
    async def test_images_are_kept_unaltered_and_announced_on_the_appeals_topic(self, house: ReceptionHouse) -> None:
        images = [picture(1), picture(2, "JPEG")]
        answer = await send(house, body(*images))

        assert answer.status_code == 202, answer.text
        events = received(house)
        assert [str(event.contribution_id) for event in events] == answer.json()["contributions"]
        assert {(event.appeal_ref, event.portal) for event in events} == {("OP-HAWTHORN/26", "portal-1")}
        assert await house.blobs.get([event.image for event in events]) == images
        assert events[0].contribution_id == AppealImageReceived.derive(
            "portal-1", UUID(REF), sha256(images[0]).hexdigest()
        )
        assert house.is_tidy

    async def test_nobody_is_searched_for_by_it(self, house: ReceptionHouse) -> None:
        await send(house, body())
        assert {topics.topic_of(event) for event in house.behind.events} == {topics.APPEALS}

    async def test_the_same_again_later_is_the_same_contribution(self, house: ReceptionHouse) -> None:
        one = await send(house, body())
        two = await send(house, body(), other={"RFR-Timestamp": str(int(builders.NOW.timestamp()) + 1)})
        assert one.json() == two.json()
        assert len({event.event_id for event in received(house)}) == 1

    async def test_a_long_line_behind_the_other_doors_does_not_close_this_one(self, house: ReceptionHouse) -> None:
        house.behind.waiting = 10**6
        assert (await send(house, body())).status_code == 202
        house.behind.waiting = None
        assert (await send(house, body(picture(2)))).status_code == 202

    async def test_it_has_its_own_places(self, house: ReceptionHouse) -> None:
        house.here.inside[Door.OFFICER] = house.here.settings.uploads
        assert (await send(house, body())).status_code == 202
        house.here.inside[Door.APPEAL] = house.here.settings.appeal_uploads
        answer = await send(house, body(picture(2)))
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "10")
        async with house.client("officer-1") as client:
            house.here.inside[Door.OFFICER] = 0
            assert (await client.post("/officer/submissions", files=form())).status_code == 202

    async def test_while_the_bus_is_away_nothing_is_acknowledged_and_the_same_may_come_again(
        self, house: ReceptionHouse
    ) -> None:
        house.behind.is_away = True
        assert (await send(house, body())).status_code == 503
        house.behind.is_away = False
        assert (await send(house, body())).status_code == 202
        assert len(received(house)) == 1


class TestSignatures:
    @pytest.mark.parametrize(
        "change",
        [
            lambda said: said.pop("RFR-Signature"),
            lambda said: said.update({"RFR-Signature": "0" * 64}),
            lambda said: said.update({"RFR-Client": "portal-2"}),
            lambda said: said.update({"RFR-Client": "nobody"}),
            lambda said: said.pop("RFR-Client"),
            lambda said: said.update({"RFR-Timestamp": str(int(builders.NOW.timestamp()) + 1)}),
            lambda said: said.update({"RFR-Timestamp": "now"}),
            lambda said: said.pop("Content-Digest"),
            lambda said: said.update({"Content-Digest": digest_of(bytes(32))}),
            lambda said: said.update({"Content-Digest": "md5=:AAAA:"}),
        ],
    )
    async def test_what_is_not_signed_as_it_stands_does_not_come_in(
        self, house: ReceptionHouse, change: Callable[[dict[str, str]], object]
    ) -> None:
        await house.token("portal-2", Door.APPEAL)
        answer = await send(house, body(), change)
        assert answer.status_code == 401, answer.text
        assert house.behind.events == []

    @pytest.mark.parametrize(("beside_s", "status"), [(299, 202), (-299, 202), (301, 401), (-301, 401)])
    async def test_a_signature_holds_for_five_minutes(self, house: ReceptionHouse, beside_s: int, status: int) -> None:
        time = str(int(builders.NOW.timestamp()) + beside_s)
        assert (await send(house, body(), other={"RFR-Timestamp": time})).status_code == status

    async def test_a_body_that_was_not_signed_is_not_kept(self, house: ReceptionHouse) -> None:
        other = digest_of(sha256(b"another body").digest())
        answer = await send(house, body(), other={"Content-Digest": other})
        assert answer.status_code == 400
        assert "Content-Digest" in answer.text
        assert house.behind.events == []
        assert house.is_tidy

    async def test_what_is_sent_again_within_its_time_is_answered_as_before_and_not_done_again(
        self, house: ReceptionHouse
    ) -> None:
        request = body()
        first = await send(house, request)
        again = await send(house, request)
        assert (again.status_code, again.json()) == (202, first.json())
        assert len(received(house)) == 1

    async def test_a_failure_is_not_remembered(self, house: ReceptionHouse) -> None:
        request = body()
        house.behind.is_away = True
        assert (await send(house, request)).status_code == 503
        house.behind.is_away = False
        assert (await send(house, request)).status_code == 202

    async def test_whoever_was_revoked_stays_out(self, house: ReceptionHouse) -> None:
        await house.token("portal-1", Door.APPEAL)
        await house.here.store.revoke("portal-1", builders.NOW)
        assert (await send(house, body())).status_code == 401

    async def test_another_doors_client_stays_out_and_a_token_alone_opens_nothing(self, house: ReceptionHouse) -> None:
        token = await house.token("officer-1")
        request = body()
        transport = httpx.ASGITransport(house.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://reception") as client:
            signed = await client.post(PATH, content=request.content, headers=headers(token, request))
            bearer = {"authorization": f"Bearer {await house.token('portal-1', Door.APPEAL)}"}
            shown = await client.post(PATH, content=request.content, headers=bearer)
        assert (signed.status_code, shown.status_code) == (403, 401)

    def test_answers_are_forgotten_once_their_requests_would_be_refused(self) -> None:
        answered = Answered()
        answered.remember("a", 1, builders.NOW)
        answered.remember("b", 2, builders.NOW + 2 * WINDOW)
        assert (answered.known("a"), answered.known("b")) == (1, 2)
        answered.remember("c", 3, builders.NOW + 2 * WINDOW + timedelta(seconds=1))
        assert (answered.known("a"), answered.known("b")) == (None, 2)


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        "fields",
        [
            {"name": "Jane Doe"},
            {"email": "jane@example.org"},
            {"contributor": {"phone": "07700 900123"}},
            {"portal_ref": "jane@example.org"},
            {"portal_ref": "07700900123"},
            {"appeal_ref": "jane@example.org"},
            {"appeal_ref": "Jane Doe"},
            {"appeal_ref": "Jane-Doe"},
        ],
        ids=str,
    )
    async def test_whatever_could_say_who_sent_it(self, house: ReceptionHouse, fields: dict[str, Any]) -> None:
        answer = await send(house, body(**fields))
        assert answer.status_code == 422
        assert "jane" not in answer.text.lower()
        assert "07700" not in answer.text
        assert house.behind.events == []

    async def test_a_demonstrations_image_in_earnest_and_a_body_without_images(self, house: ReceptionHouse) -> None:
        assert (await send(house, body(demo=True))).status_code == 422
        empty = httpx.Request("POST", f"http://reception{PATH}", files=form(request=SAID)[:1])
        empty.read()
        assert (await send(house, empty)).status_code == 422


# --- nothing about whoever sent it ------------------------------------------------------------------------------------
NAME: Final = "Zsuzsanna-Q-Featherstonehaugh"
"""Stands wherever a browser, a telephone or a portal could leave somebody's name."""
SECRET: Final = NAME.encode()


def with_metadata(shade: int) -> bytes:
    """Return a picture whose metadata names its owner, who stays in the original and goes nowhere else."""
    out, exif, text = io.BytesIO(), Image.Exif(), PngImagePlugin.PngInfo()
    exif[0x013B], exif[0x8298], exif[0x010E] = NAME, NAME, NAME  # artist, copyright, description
    text.add_text("Author", NAME)
    Image.new("RGB", (60, 40), (shade, 90, 40)).save(out, "PNG", exif=exif, pnginfo=text)
    return out.getvalue()


PORTALS: Final = {"httpx", "httpcore"}
"""Whose log lines are not ours: the portal's own client."""


WHERE: Final = st.fixed_dictionaries(
    {
        "file": st.sampled_from([NAME, f"{NAME}.jpg", f"../{NAME}"]),
        "type": st.sampled_from(["image/png", f"image/{NAME}"]),
        "headers": st.dictionaries(
            st.sampled_from(["X-Forwarded-For", "User-Agent", "Cookie", "From", "Referer", "traceparent", "baggage"]),
            st.just(NAME),
        ),
        "fields": st.dictionaries(
            st.sampled_from(["appeal_ref", "name", NAME, "contact", "note", "portal_ref", "demo"]),
            st.just(NAME),
            max_size=2,
        ),
        "part": st.sampled_from(["image", NAME]),
        "query": st.sampled_from(["", f"?from={NAME}"]),
    }
)


@settings(max_examples=25, suppress_health_check=list(HealthCheck), database=None)
@given(sent=WHERE, shade=st.integers(0, 255))
async def test_no_detail_of_a_contributor_passes(
    house: ReceptionHouse, caplog: pytest.LogCaptureFixture, sent: dict[str, Any], shade: int
) -> None:
    caplog.set_level(logging.INFO)
    caplog.clear()
    house.behind.events.clear()
    original = with_metadata(shade)
    said = json.dumps({**SAID, **sent["fields"]}).encode()
    files = [
        ("request", (None, said, "application/json")),
        (sent["part"], (sent["file"], original, sent["type"])),
    ]
    request = httpx.Request("POST", f"http://reception{PATH}{sent['query']}", files=files)
    request.read()
    answer = await send(house, request, lambda headers: headers.update(sent["headers"]))

    assert answer.status_code in {202, 422}
    assert (answer.status_code == 202) == (not sent["fields"] and sent["part"] == "image")
    passed_on = [answer.content, str(answer.headers).encode()]
    for event in received(house):
        record = topics.APPEALS.encode(event)
        passed_on += [record.key or b"", record.value or b"", *(value for _, value in record.headers)]
    passed_on += [telemetry.JsonLines().format(line).encode() for line in caplog.records if line.name not in PORTALS]
    passed_on += await gathered(house)
    assert not [text for text in passed_on if SECRET.lower() in text.lower()]


async def gathered(house: ReceptionHouse) -> list[bytes]:
    """Let the stage take what was announced; return all that is known of it then, and what an officer would see."""
    ledger, events = MemoryLedger(), received(house)
    await stages.gather(
        events,
        blobs=house.blobs,
        codec=MemoryCodec(),
        fingerprinter=MemoryFingerprinter(),
        appeals=ledger,
        max_image_bytes=2**20,
    )
    originals = await house.blobs.get([event.image for event in events])
    assert all(isinstance(file, bytes) and SECRET in file for file in originals), "the original keeps what it came with"
    shown = [derivative(file, Limits(2**20, 10**6)).data for file in originals if isinstance(file, bytes)]
    return [repr(ledger._contributions).encode(), *shown]  # noqa: SLF001 - all of it
