"""What `docs/intake.md` tells people to type does what it says."""

import asyncio
import json
import os
import re
import sys
from asyncio.subprocess import DEVNULL
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import builders
import pytest
import reception_house
from filmed import film
from reception_house import ReceptionHouse, picture

from producers import posting
from producers._intake import Verdict
from producers.reception.status import state_of
from rfr_stream.adapters.callbacks import HttpCallbacks
from rfr_stream.adapters.memory.blobs import MemoryBlobs
from rfr_stream.commands._serving import Address, served
from rfr_stream.errors import Undelivered
from rfr_stream.events import AppealImageReceived, Event, ImageSubmitted, Outcome, ReferenceSubmitted, VideoFrame
from rfr_stream.reception import Client, Door, token_of
from rfr_stream.settings import CallbackSettings

PAGE: Final = (Path(__file__).parents[2] / "docs" / "intake.md").read_text()


PORTAL_REF: Final = "2f1c0f5e-6a0b-4f6e-9a3e-0c5b8f3f4d11"


def snippet(kind: str, section: str = "An upload") -> str:
    """Return the first example of this kind in a section."""
    found = re.search(rf"^## {section}\n.*?```{kind}\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE)
    assert found, kind
    return found[1]


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[ReceptionHouse]:
    (tmp_path / "request.json").write_text(snippet("json"))
    (tmp_path / "still.jpg").write_bytes(picture(1, "JPEG"))
    (tmp_path / "request-video.json").write_text(snippet("json", "A video"))
    film(tmp_path / "clip.mp4")
    async with reception_house.opened(tmp_path) as opened:
        yield opened


async def typed(house: ReceptionHouse, folder: Path, *command: str, door: Door = Door.OFFICER) -> str:
    """Run a command where the page's files lie; return what it printed."""
    async with served(house.app, Address("127.0.0.1", 0, setting="none")) as url:
        mine = {"CLIENT": "portal-1", "TOKEN": await house.token("portal-1", door)}
        known = {**os.environ, **mine, "RECEPTION": url, "PORTAL_REF": PORTAL_REF}  # noqa: TID251 - passed on
        process = await asyncio.create_subprocess_exec(
            *command, cwd=folder, env=known, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        said, complaint = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, (said, complaint)
    return said.decode()


async def test_with_curl(house: ReceptionHouse, tmp_path: Path) -> None:
    said = json.loads(await typed(house, tmp_path, "bash", "-c", snippet("sh")))
    (submission,) = house.behind.submissions
    assert said["submissions"][0]["submission_id"] == str(submission.submission_id)
    promised = re.search(r'^{"submissions": .*}$', PAGE, re.MULTILINE)
    assert promised
    assert list(said["submissions"][0]) == list(json.loads(promised[0])["submissions"][0])
    assert await house.kept() == [picture(1, "JPEG")]


async def test_in_python(house: ReceptionHouse, tmp_path: Path) -> None:
    said = json.loads(await typed(house, tmp_path, sys.executable, "-c", snippet("python")))
    (submission,) = house.behind.submissions
    assert said == {"submission_id": str(submission.submission_id), "state": "received"}


async def test_a_video_with_curl(house: ReceptionHouse, tmp_path: Path) -> None:
    said = json.loads(await typed(house, tmp_path, "bash", "-c", snippet("sh", "A video")))
    assert [each["submission_id"] for each in said["submissions"]] == [
        str(each.submission_id) for each in house.behind.submissions
    ]


async def test_a_video_in_python(house: ReceptionHouse, tmp_path: Path) -> None:
    said = await typed(house, tmp_path, sys.executable, "-c", snippet("python", "A video"))
    times = [each.media.frame_time_s for each in house.behind.submissions if isinstance(each.media, VideoFrame)]
    assert [float(line.split()[0]) for line in said.splitlines()] == times == [0.48, 1.48]


@pytest.mark.parametrize(("kind", "shell"), [("sh", ("bash", "-ec")), ("python", (sys.executable, "-c"))])
async def test_a_portal_passes_on_what_the_public_sent_in(
    house: ReceptionHouse, tmp_path: Path, kind: str, shell: tuple[str, str]
) -> None:
    (tmp_path / "sent-in.jpg").write_bytes(picture(2, "JPEG"))
    house.app.state.reception = replace(house.here, clock=lambda: datetime.now(UTC))  # which is what portals sign by
    said = await typed(house, tmp_path, *shell, snippet(kind, "What the public sent in"), door=Door.APPEAL)
    (event,) = house.behind.events
    assert isinstance(event, AppealImageReceived)
    assert (event.appeal_ref, event.portal) == ("OP-HAWTHORN/26", "portal-1")
    assert str(event.contribution_id) in said
    assert await house.blobs.get([event.image]) == [picture(2, "JPEG")]


async def test_a_receiver_in_python_takes_what_is_ours_once_and_nothing_else() -> None:
    client = Client("case-system", Door.OFFICER)
    known = {**os.environ, "PORT": "0", "TOKEN": token_of(client, reception_house.KEY)}  # noqa: TID251 - passed on
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", snippet("python", "How it stands")),
        env=known,
        stdout=asyncio.subprocess.PIPE,
        stderr=DEVNULL,
    )
    try:
        assert process.stdout
        port = int(await asyncio.wait_for(process.stdout.readline(), 30))
        there = replace(client, callback=f"http://127.0.0.1:{port}/")
        at_once = CallbackSettings(attempts=1, away_s=0)
        async with HttpCallbacks(at_once, key=reception_house.KEY) as ours:
            for closed in (builders.closed(Outcome.CONFIRMED), builders.closed(Outcome.CONFIRMED), builders.closed()):
                await ours.tell(there, closed)
        async with HttpCallbacks(at_once, key=bytes(32)) as others:
            with pytest.raises(Undelivered, match="answered 401"):
                await others.tell(there, builders.closed())
        said = [json.loads(await asyncio.wait_for(process.stdout.readline(), 30))["state"] for _ in range(2)]
    finally:
        process.kill()
        await process.wait()
    assert said == ["confirmed", "no_face"]


@pytest.mark.parametrize(("kind", "submissions_n", "references_n"), [("csv", 1, 2), ("jsonl", 1, 0)])
async def test_by_a_manifest(tmp_path: Path, kind: str, submissions_n: int, references_n: int) -> None:
    for number, name in enumerate(("school.jpg", "beach.jpg", "foreshore.jpg")):
        (tmp_path / name).write_bytes(picture(number, "JPEG"))
    (tmp_path / f"unit.{kind}").write_text(far_off(snippet(kind, "Many at once")))
    said: list[Event] = []

    async def publish(events: Sequence[Event]) -> None:
        said.extend(events)

    async def any_words(*_: object) -> None:
        """Nobody has said the same before."""

    ports = {"blobs": MemoryBlobs(), "publish": publish, "own_words": any_words}
    reports = [each async for each in posting.post(tmp_path / f"unit.{kind}", **ports)]  # type: ignore[arg-type]
    assert {report.outcome for report in reports} == {Verdict.ACCEPTED}, reports
    kinds = Counter(type(event) for event in said)
    assert (kinds[ImageSubmitted], kinds[ReferenceSubmitted]) == (submissions_n, references_n)


def far_off(manifest: str) -> str:
    """Return it with a review date that no run of this test sees."""
    return manifest.replace("2027-09-01", "2999-09-01")


def test_every_outcome_is_explained() -> None:
    assert [outcome for outcome in Outcome if f"`{outcome}`" not in PAGE] == []
    assert f"`{state_of(None)}`" in PAGE


async def test_every_refusal_of_a_door_is_explained(house: ReceptionHouse) -> None:
    paths = house.app.openapi()["paths"]
    responses = [
        status for path in ("submissions", "videos") for status in paths[f"/officer/{path}"]["post"]["responses"]
    ]
    assert [status for status in responses if not re.search(rf"^\| .*\b{status}\b.* \|", PAGE, re.MULTILINE)] == []
