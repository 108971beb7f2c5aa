"""The reception on a real broker: what it has acknowledged is there, whatever is killed or away."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, cast

import builders
import httpx
import lab
import psutil
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from filmed import film
from reception_house import form, picture, video_form

import topics
from producers.footage import read_record
from producers.reception import create_app
from producers.reception.app import opened
from rfr_stream.adapters import keys
from rfr_stream.adapters.files import FileBlobs
from rfr_stream.adapters.ledger import SqlLedger
from rfr_stream.adapters.reception import SqlReception
from rfr_stream.events import ImageSubmitted
from rfr_stream.reception import Door, token_of
from rfr_stream.settings import IntakeSettings, KafkaSettings, Settings
from topics import admin
from topics.bus import Bus
from topics.embedded import EmbeddedKafka
from topics.lag import Lag
from topics.tail import read_tail

PATH: Final = "/officer/submissions"
VIDEOS: Final = "/officer/videos"
AT_ONCE: Final = 6
ENOUGH: Final = 25
"""Acknowledgements before the kill."""


@pytest.fixture
async def kafka(broker: EmbeddedKafka) -> KafkaSettings:
    settings = KafkaSettings(bootstrap_servers=broker.bootstrap_servers)
    await admin.apply(settings)
    return settings


def settings_of(kafka: KafkaSettings, data_dir: Path, **intake: object) -> Settings:
    return Settings(kafka=kafka, data_dir=data_dir, intake=IntakeSettings(port=0, **intake))


async def let_in(settings: Settings) -> dict[str, str]:
    """Add a client; return the headers by which it is known."""
    async with SqlLedger(f"sqlite:///{settings.data_dir.absolute() / 'ledger.db'}") as ledger:
        client = await SqlReception(ledger).add("portal-1", Door.OFFICER)
    return {"authorization": f"Bearer {token_of(client, keys.secret_of_house(settings.intake_key_file))}"}


@contextmanager
def running(kafka: KafkaSettings, data_dir: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the reception in a process of its own; yield it and where it answers."""
    command = [sys.executable, "-m", "rfr_stream", "--data-dir", str(data_dir)]
    command += ["--bootstrap-servers", str(kafka.bootstrap_servers), "up", "--stage", "reception"]
    environment = {**os.environ, "RFR_INTAKE__PORT": "0"}  # noqa: TID251 - passed on
    with (
        (data_dir / "log").open("w") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment) as process,
    ):
        try:
            assert process.stdout
            said = iter(process.stdout.readline, "")
            url = next(found[1] for line in said if (found := re.search(r"The reception: (\S+)", line)))
            yield process, url
        finally:
            process.kill()


async def upload_until_killed(
    url: str, headers: dict[str, str], process: "subprocess.Popen[str]", case: str
) -> set[str]:
    """Hand in image after image, several at once, and kill the process in the middle of it; return what it accepted."""
    acknowledged: set[str] = set()
    numbers = iter(range(100_000))

    async def hand_in_on(client: httpx.AsyncClient) -> None:
        for number in numbers:
            answer = await client.post(PATH, files=form(picture(number), case_ref=case, submitted_by=f"o-{case}"))
            assert answer.status_code == 202
            acknowledged.add(answer.json()["submissions"][0]["submission_id"])
            if len(acknowledged) >= ENOUGH:
                process.send_signal(signal.SIGKILL)

    async def stay_inside(client: httpx.AsyncClient) -> None:
        whole = httpx.Request("POST", url, files=form(picture(100_000)))
        content, kind = whole.read(), {"content-type": whole.headers["content-type"]}

        async def half_of_it() -> AsyncIterator[bytes]:
            yield content[:-50]
            await asyncio.to_thread(process.wait)

        await client.post(PATH, content=half_of_it(), headers=kind)

    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=30) as client:
        clients = [stay_inside(client), *(hand_in_on(client) for _ in range(AT_ONCE))]
        ended = await asyncio.gather(*clients, return_exceptions=True)
    assert all(isinstance(each, httpx.TransportError) for each in ended), ended
    return acknowledged


async def arrived(kafka: KafkaSettings, case: str) -> list[ImageSubmitted]:
    bus = Bus(kafka, bootstrap_servers=str(kafka.bootstrap_servers), client_id="test-reception")
    kept = await read_tail(bus.options, topics.SUBMISSIONS.name)
    events = [cast(ImageSubmitted, topics.SUBMISSIONS.decode(each.record)) for each in kept]
    return [event for event in events if event.submission.case_ref == case]


async def test_what_was_acknowledged_before_a_kill_is_there(kafka: KafkaSettings, tmp_path: Path) -> None:
    settings = settings_of(kafka, tmp_path)
    headers = await let_in(settings)
    with running(kafka, tmp_path) as (process, url):
        acknowledged = await upload_until_killed(url, headers, process, "case-reception-killed")
        process.wait()
    submissions = [event.submission for event in await arrived(kafka, "case-reception-killed")]
    assert acknowledged <= {str(each.submission_id) for each in submissions}
    async with FileBlobs(settings.blobs_dir) as blobs:
        assert all(isinstance(got, bytes) for got in await blobs.get([each.image for each in submissions]))
    assert list(settings.spool_dir.iterdir()), "nobody was inside when it was killed"
    with running(kafka, tmp_path) as (_, url):
        assert not list(settings.spool_dir.iterdir())
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as client:
            again = await client.post(
                PATH, files=form(picture(0), case_ref="case-reception-killed", submitted_by="o-case-reception-killed")
            )
            assert again.json()["submissions"][0]["submission_id"] in acknowledged


async def decoder_of(process: "subprocess.Popen[str]") -> psutil.Process:
    """Return the process that takes frames from a video, once there is one."""
    async with asyncio.timeout(30):
        while True:
            for child in psutil.Process(process.pid).children():
                if "producers.reception._decoder" in child.cmdline():
                    return child
            await asyncio.sleep(0.01)


async def test_a_kill_amid_a_video_leaves_nothing_of_it(kafka: KafkaSettings, tmp_path: Path) -> None:
    settings = settings_of(kafka, tmp_path)
    headers = await let_in(settings)
    video = film(tmp_path / "film.mp4").read_bytes()
    whole = video_form(video, frames={"every": 0.5}, case_ref="case-video", submitted_by="o-video")
    cut = video_form(video, frames={"every": 0.04}, case_ref="case-video-killed", submitted_by="o-video-killed")
    with running(kafka, tmp_path) as (process, url):
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as client:
            answer = await client.post(VIDEOS, files=whole)
            assert answer.status_code == 202
            inside = asyncio.create_task(client.post(VIDEOS, files=cut))
            decoder = await decoder_of(process)
            process.send_signal(signal.SIGKILL)
            with pytest.raises(httpx.TransportError):
                await inside
        process.wait()
    assert not psutil.wait_procs([decoder], timeout=10)[1], "it went on without anybody who waits for it"
    assert await arrived(kafka, "case-video-killed") == []
    await require_kept(kafka, settings, answer.json(), video)
    assert list(settings.spool_dir.iterdir()), "nobody was inside when it was killed"
    with running(kafka, tmp_path) as (_, url):
        assert not list(settings.spool_dir.iterdir())
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as client:
            assert (await client.post(VIDEOS, files=whole)).json() == answer.json()


async def require_kept(kafka: KafkaSettings, settings: Settings, acknowledged: dict[str, Any], video: bytes) -> None:
    """Fail if something that was acknowledged of a video is not there: events, frames, records, the video itself."""
    submissions = {
        str(event.submission.submission_id): event.submission for event in await arrived(kafka, "case-video")
    }
    assert set(submissions) == {each["submission_id"] for each in acknowledged["submissions"]}
    assert len(submissions) == 4
    async with FileBlobs(settings.blobs_dir) as blobs:
        assert all(isinstance(got, bytes) for got in await blobs.get([each.image for each in submissions.values()]))
    digest, store = acknowledged["video_sha256"], settings.blobs_dir / settings.blobs.bucket
    assert (store / "videos" / digest[:2] / digest).read_bytes() == video
    for name, submission in submissions.items():
        record = read_record(store / "frames" / name[:2] / f"{name}.json")
        assert (record.media, record.sha256) == (submission.media, submission.image.sha256)


@pytest.fixture
async def client(kafka: KafkaSettings, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a reception in this process, which looks at the broker every moment."""
    settings = settings_of(kafka, tmp_path, backlog_every_s=0.2, publish_wait_s=3)
    headers = await let_in(settings)
    async with opened(settings) as app:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://reception", headers=headers) as client:
            yield client


async def test_it_opens_by_itself_from_the_environment(
    kafka: KafkaSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RFR_KAFKA__BOOTSTRAP_SERVERS", str(kafka.bootstrap_servers))
    monkeypatch.setenv("RFR_DATA_DIR", str(tmp_path))
    headers = await let_in(settings_of(kafka, tmp_path))
    app = create_app()
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://reception", headers=headers) as client:
            answer = await client.post(PATH, files=form(case_ref="case-alone", submitted_by="o-alone"))
            assert answer.status_code == 202
    assert len(await arrived(kafka, "case-alone")) == 1


async def test_nothing_is_acknowledged_while_the_broker_is_away(
    broker: EmbeddedKafka, kafka: KafkaSettings, client: httpx.AsyncClient
) -> None:
    async def hand_in(number: int) -> int:
        files = form(picture(number), case_ref="case-away", submitted_by="o-away")
        return (await client.post(PATH, files=files)).status_code

    assert await hand_in(1) == 202
    await broker.stop()
    try:
        began = time.monotonic()
        assert await hand_in(2) == 503
        assert time.monotonic() - began < 15
    finally:
        await broker.start()
    async with asyncio.timeout(60):
        while (status := await hand_in(3)) != 202:
            assert status == 503
            await asyncio.sleep(0.5)
    shades = {each.submission.image.sha256 for each in await arrived(kafka, "case-away")}
    assert {sha256(picture(number)).hexdigest() for number in (1, 3)} <= shades


async def test_a_long_line_closes_the_doors_until_it_is_shorter(kafka: KafkaSettings, tmp_path: Path) -> None:
    await _finish(kafka)
    settings = settings_of(kafka, tmp_path, backlog=2, backlog_every_s=0.1)
    headers = await let_in(settings)
    async with opened(settings) as app:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://reception", headers=headers) as client:

            async def hand_in(number: int) -> int:
                files = form(picture(number), case_ref="case-line", submitted_by="o-line")
                return (await client.post(PATH, files=files)).status_code

            assert [await hand_in(number) for number in range(3)] == [202] * 3
            await lab.until(partial(hand_in, 9), lambda status: status == 429)
            await _finish(kafka)
            await lab.until(partial(hand_in, 9), lambda status: status == 202)


async def test_the_line_is_what_was_written_and_not_yet_committed(kafka: KafkaSettings) -> None:
    bus = Bus(kafka, bootstrap_servers=str(kafka.bootstrap_servers), client_id="test-lag")
    await _finish(kafka)
    (group,) = topics.SUBMISSIONS.groups
    async with bus, Lag(bus.options) as lag:
        assert await lag.messages(topics.SUBMISSIONS, group) == 0
        assert await lag.messages(topics.SUBMISSIONS, "rfr-nobody") >= 0
        before = await lag.messages(topics.SUBMISSIONS, "rfr-nobody")
        await bus.publish([builders.image_submitted(builders.submission(f"probe-{n}")) for n in range(5)])
        assert await lag.messages(topics.SUBMISSIONS, group) == 5
        assert await lag.messages(topics.SUBMISSIONS, "rfr-nobody") == before + 5
        await _finish(kafka)
        assert await lag.messages(topics.SUBMISSIONS, group) == 0


async def _finish(kafka: KafkaSettings) -> None:
    """Commit as detection would, once it has taken everything."""
    (group,) = topics.SUBMISSIONS.groups
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap_servers, group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        places = [TopicPartition(topics.SUBMISSIONS.name, n) for n in range(topics.SUBMISSIONS.partitions)]
        consumer.assign(places)
        await consumer.commit(await consumer.end_offsets(places))
    finally:
        await consumer.stop()
