"""Only what is finished is committed, once, and never what somebody else has taken over."""

import asyncio

import builders
import pytest
from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError
from bus import as_message

import topics
from consumers._envelope import Incoming
from consumers._watermark import Watermark
from rfr_stream import telemetry

TOPIC = topics.FACES.name


class Group:
    """What a consumer knows of its group: the commits, and where the topic ends."""

    def __init__(self) -> None:
        self.commits: list[dict[TopicPartition, int]] = []
        self.refuses = False
        self.answers = asyncio.Event()
        self.answers.set()

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        """Keep the offsets, or refuse them."""
        await self.answers.wait()
        if self.refuses:
            raise CommitFailedError
        self.commits.append(offsets)

    def assignment(self) -> set[TopicPartition]:
        return {TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1)}

    def highwater(self, place: TopicPartition) -> int | None:
        return 10 if place.partition == 0 else None


@pytest.fixture
def group() -> Group:
    return Group()


@pytest.fixture
def watermark(group: Group) -> Watermark:
    return Watermark("rfr-test", TOPIC, lambda: group)


def messages(*offsets: int, partition: int = 0) -> list[Incoming]:
    record = topics.FACES.encode(builders.face_detected())
    return [as_message(record, partition=partition, offset=offset) for offset in offsets]


async def test_the_offset_after_the_last_finished_message_is_committed(group: Group, watermark: Watermark) -> None:
    watermark.rise([*messages(4, 5), *messages(7, partition=1)])
    await watermark.commit()
    assert group.commits == [{TopicPartition(TOPIC, 0): 6, TopicPartition(TOPIC, 1): 8}]


async def test_only_news_is_committed(group: Group, watermark: Watermark) -> None:
    watermark.rise(messages(4))
    await watermark.commit()
    await watermark.commit()
    watermark.rise(messages(9, partition=1))
    await watermark.commit()
    assert group.commits == [{TopicPartition(TOPIC, 0): 5}, {TopicPartition(TOPIC, 1): 10}]


async def test_what_was_refused_is_tried_again(group: Group, watermark: Watermark) -> None:
    watermark.rise(messages(4))
    group.refuses = True
    await watermark.commit()
    group.refuses = False
    await watermark.commit()
    assert group.commits == [{TopicPartition(TOPIC, 0): 5}]


async def test_what_was_taken_away_is_not_committed(group: Group, watermark: Watermark) -> None:
    watermark.rise(messages(4))
    watermark.forget()
    await watermark.commit()
    assert not group.commits


async def test_a_commit_that_was_under_way_says_nothing_about_the_next_assignment(
    group: Group, watermark: Watermark
) -> None:
    watermark.rise(messages(4))
    group.answers.clear()
    under_way = asyncio.create_task(watermark.commit())
    await asyncio.sleep(0)
    watermark.forget()
    group.answers.set()
    await under_way
    watermark.rise(messages(4))
    await watermark.commit()
    assert group.commits == [{TopicPartition(TOPIC, 0): 5}] * 2


async def test_the_lag_is_what_lies_above_it(watermark: Watermark) -> None:
    watermark.rise([*messages(3), *messages(3, partition=1)])
    watermark.measure_lag()
    assert telemetry.LAG.labels("rfr-test", 0)._value.get() == 6  # noqa: SLF001 - prometheus has no other way to ask
