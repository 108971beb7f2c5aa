"""Every route, fuzzed: no answer is a 500, every refusal is problem details, and none quotes what was sent."""

import asyncio
import json
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import httpx
import pytest
import reception_house
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from reception_house import REQUEST, form, picture, video_form
from schemathesis.core.result import Ok

from rfr_stream.commands._serving import Address, served
from rfr_stream.reception import Door

FUZZED: Final = settings(max_examples=25, suppress_health_check=list(HealthCheck), database=None)
SENT: Final = "Jane-Doe-4711"
"""Goes into every value, and must come back in no answer."""
PATHS: Final = {Door.OFFICER: "/officer/submissions", Door.UNIT: "/unit/submissions"}
VIDEOS: Final = {Door.OFFICER: "/officer/videos", Door.UNIT: "/unit/videos"}
EACH: Final = [(door, paths[door]) for paths in (PATHS, VIDEOS) for door in paths]


@dataclass(frozen=True, slots=True)
class Target:
    """A reception on a port, and the tokens of a client of each door."""

    url: str
    tokens: dict[Door, str]

    def client(self, door: Door | None = Door.OFFICER) -> httpx.Client:
        """Return a client of this door, or of none."""
        headers = {"authorization": f"Bearer {self.tokens[door]}"} if door else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60)

    @property
    def document(self) -> dict[str, Any]:
        with self.client() as client:
            return cast("dict[str, Any]", client.get("/openapi.json").json())


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """Serve a reception from a thread of its own: the requests come from this one."""
    found: queue.Queue[tuple[Target, Callable[[], object]]] = queue.Queue()
    thread = threading.Thread(target=lambda: asyncio.run(_serve(tmp_path_factory.mktemp("fuzzed"), found)))
    thread.start()
    running, stop = found.get(timeout=60)
    yield running
    stop()
    thread.join(30)


async def _serve(folder: Path, found: "queue.Queue[tuple[Target, Callable[[], object]]]") -> None:
    end, loop = asyncio.Event(), asyncio.get_running_loop()
    async with reception_house.opened(folder, max_image_bytes=100_000) as house:
        tokens = {door: await house.token(door, door) for door in PATHS}
        async with served(house.app, Address("127.0.0.1", 0, setting="none")) as url:
            found.put((Target(url, tokens), lambda: loop.call_soon_threadsafe(end.set)))
            await end.wait()


def check(answer: httpx.Response) -> None:
    """Hold an answer to what every answer must be."""
    assert answer.status_code < 500, (answer.request, answer.text)
    assert answer.headers["cache-control"] == "no-store"
    assert SENT not in answer.text
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == answer.status_code


def test_the_document_is_of_openapi_3_1_and_its_examples_are_valid(target: Target) -> None:
    said = target.document
    assert said["openapi"].startswith("3.1")
    for _, path in EACH:
        body = said["paths"][path]["post"]["requestBody"]["content"]["multipart/form-data"]
        wanted = {**body["schema"]["properties"]["request"], "components": said["components"]}
        example = body["examples"]["request"]["value"]["request"]
        Draft202012Validator(wanted).validate(example)
        with pytest.raises(Exception, match="is not one of"):
            Draft202012Validator(wanted).validate({**example, "purpose": "curiosity"})


@pytest.mark.parametrize(("door", "path"), EACH)
def test_the_example_of_a_door_is_taken(target: Target, video: bytes, door: Door, path: str) -> None:
    body = target.document["paths"][path]["post"]["requestBody"]["content"]["multipart/form-data"]
    with target.client(door) as client:
        example = body["examples"]["request"]["value"]["request"]
        files = form(request=example) if path == PATHS[door] else video_form(video, **example)
        assert (client.post(path, files=files)).status_code == 202


@pytest.mark.parametrize("is_known", [True, False], ids=["client", "nobody"])
def test_documented_requests(target: Target, *, is_known: bool) -> None:
    with target.client(Door.OFFICER if is_known else None) as client:
        for result in schemathesis.openapi.from_dict(target.document).get_all_operations():
            operation = cast("Ok[Any]", result).ok()

            @FUZZED
            @given(case=operation.as_strategy())
            def fuzz(case: "schemathesis.Case[Any]") -> None:
                headers = {
                    name: value for name, value in (case.headers or {}).items() if name.lower() != "authorization"
                }
                body = cast("dict[str, Any]", case.body) if isinstance(case.body, dict) else {}
                said = json.dumps(body.get("request"), default=str).encode()
                files = form(*(each for each in body.get("image", ()) if isinstance(each, bytes)), request=said)
                if "video" in body:
                    files = [files[0], ("video", body["video"] if isinstance(body["video"], bytes) else b"")]
                check(client.request(case.method, case.formatted_path, headers=headers, files=files))

            fuzz()


ANY: Final = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20) | st.just(SENT),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.just(SENT), inner, max_size=3),
    max_leaves=5,
)


def test_one_field_of_a_request_that_is_anything(target: Target) -> None:
    with target.client() as client:

        @settings(FUZZED, max_examples=150)
        @given(name=st.sampled_from([*REQUEST, "subject", "media", "found", "regime", "galleries", SENT]), value=ANY)
        def fuzz(name: str, value: object) -> None:
            check(client.post(PATHS[Door.OFFICER], files=form(request={**REQUEST, name: value})))

        fuzz()


def test_frames_that_are_anything(target: Target) -> None:
    with target.client() as client:

        @settings(FUZZED, max_examples=150)
        @given(
            frames=ANY
            | st.dictionaries(
                st.sampled_from(["at", "every", "best"]), ANY | st.lists(st.floats(), max_size=3), max_size=3
            )
        )
        def fuzz(frames: object) -> None:
            check(client.post(VIDEOS[Door.OFFICER], files=video_form(b"no video", frames=frames)))

        fuzz()


def test_a_video_that_is_cut_and_changed(target: Target, video: bytes) -> None:
    """Few of them: each is decoded in a process of its own."""
    with target.client() as client:

        @settings(FUZZED, max_examples=12)
        @given(at=st.integers(8, len(video)), gone=st.integers(0, 200), put=st.binary(max_size=60))
        def fuzz(at: int, gone: int, put: bytes) -> None:
            changed = video[:at] + put + video[at + gone :]
            check(client.post(VIDEOS[Door.OFFICER], files=video_form(changed, frames={"every": 0.5})))

        fuzz()


def test_a_body_that_is_cut_and_changed(target: Target) -> None:
    whole = httpx.Request("POST", "http://reception", files=form(picture(1), picture(2)))
    content, kind = whole.read(), {"content-type": whole.headers["content-type"]}
    with target.client() as client:

        @settings(FUZZED, max_examples=150)
        @given(at=st.integers(0, len(content)), gone=st.integers(0, 200), put=st.binary(max_size=60))
        def fuzz(at: int, gone: int, put: bytes) -> None:
            changed = content[:at] + put + content[at + gone :]
            check(client.post(PATHS[Door.OFFICER], content=changed, headers=kind))

        fuzz()


def test_an_image_that_is_anything_behind_a_beginning(target: Target) -> None:
    beginnings = [
        picture(1, kind)[:length] for kind in ("PNG", "JPEG", "WEBP", "TIFF", "BMP") for length in (8, 20, 60)
    ]
    with target.client() as client:

        @settings(FUZZED, max_examples=150)
        @given(beginning=st.sampled_from(beginnings), rest=st.binary(max_size=400))
        def fuzz(beginning: bytes, rest: bytes) -> None:
            check(client.post(PATHS[Door.OFFICER], files=form(beginning + rest)))

        fuzz()
