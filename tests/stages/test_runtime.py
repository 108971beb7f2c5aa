"""Stages wired to FastStream's in-memory broker, and stages among each other: who hears whom.

The in-memory broker has no offsets; what is committed when is proven in `kafka/`.
"""

from collections.abc import Sequence
from pathlib import Path

import builders
import pytest
from bus import RecordingBus, run_stages
from faststream.exceptions import StopConsume
from faststream.kafka import TestKafkaBroker

import topics
from consumers._envelope import Result
from consumers._pipeline import Stage
from consumers._runtime import subscribe
from rfr_stream.errors import BadImage
from rfr_stream.events import FaceDetected, ImageSubmitted, SubmissionClosed
from rfr_stream.settings import Settings
from topics import Record


async def detect(events: Sequence[ImageSubmitted]) -> Sequence[Result]:
    return [builders.face_detected(event.submission, demo=event.demo) for event in events]


async def embed(events: Sequence[FaceDetected]) -> Sequence[Result]:
    return [builders.face_embedded(event.submission, demo=event.demo) for event in events]


async def refuse(events: Sequence[ImageSubmitted]) -> Sequence[Result]:
    return [BadImage("image: cannot be opened") for _ in events]


async def test_what_one_stage_says_the_next_one_hears() -> None:
    chain = [Stage("rfr-embedding", topics.FACES, embed), Stage("rfr-detection", topics.SUBMISSIONS, detect)]
    heard = await run_stages(chain, [builders.image_submitted()])
    assert heard[topics.TEMPLATES.name] == [builders.face_embedded()]
    assert set(heard) == {topics.SUBMISSIONS.name, topics.FACES.name, topics.TEMPLATES.name}


async def test_two_groups_on_one_topic_each_hear_it() -> None:
    pair = [Stage("rfr-detection", topics.SUBMISSIONS, detect), Stage("rfr-second", topics.SUBMISSIONS, detect)]
    heard = await run_stages(pair, [builders.image_submitted()])
    assert len(heard[topics.FACES.name]) == 2


async def test_a_rejection_is_a_dead_letter_and_an_outcome() -> None:
    heard = await run_stages([Stage("rfr-detection", topics.SUBMISSIONS, refuse)], [builders.image_submitted()])
    (letter,) = heard[topics.SUBMISSIONS.dead("rfr-detection")]
    (outcome,) = heard[topics.OUTCOMES.name]
    assert isinstance(letter, Record)
    assert letter.header("x-rfr-reason") == "bad_image"
    assert isinstance(outcome, SubmissionClosed)


async def test_a_demonstration_runs_among_its_own() -> None:
    stage = Stage("rfr-detection", topics.SUBMISSIONS, detect)
    demo = builders.image_submitted(demo=True)
    assert topics.FACES.name in await run_stages([stage], [demo], demo=True)
    assert topics.FACES.name not in await run_stages([stage], [demo], demo=False)


async def say(bus: RecordingBus, record: Record) -> None:
    headers = {name: value.decode() for name, value in record.headers}
    await bus.broker.publish(record.value, record.topic, key=record.key, headers=headers)


async def test_a_subscription_answers_on_fast_streams_own_test_broker(tmp_path: Path) -> None:
    async def hold(event: FaceDetected) -> Result:
        return builders.face_embedded(event.submission)

    bus = RecordingBus()
    subscribe(bus, topics.FACES, "rfr-test", hold, settings=Settings(data_dir=tmp_path))
    async with TestKafkaBroker(bus.broker):
        await say(bus, topics.FACES.encode(builders.face_detected()))
        await say(bus, Record(topics.FACES.name, b"k", b"{}"))
    answer, letter = bus.sent
    assert topics.TEMPLATES.decode(answer) == builders.face_embedded()
    assert letter.topic == topics.FACES.dead("rfr-test")


async def test_after_a_bug_a_subscription_takes_nothing_more(tmp_path: Path) -> None:
    calls: list[str] = []

    async def broken(event: FaceDetected) -> Result:
        calls.append(event.key)
        raise LookupError

    bus = RecordingBus()
    subscribe(bus, topics.FACES, "rfr-test", broken, settings=Settings(data_dir=tmp_path))
    async with TestKafkaBroker(bus.broker):
        for _ in range(2):
            with pytest.raises(StopConsume):
                await say(bus, topics.FACES.encode(builders.face_detected()))
    assert len(calls) == 1
    assert isinstance(bus.failure, LookupError)
    assert not bus.sent
