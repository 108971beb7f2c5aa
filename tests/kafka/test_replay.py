"""Dead letters go back after a fix: those that are meant, once, and as they were sent."""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
import pytest_asyncio
from chain import Chain, Talk, noise, running, variables

import topics
from producers.replay import Wanted, find, replay
from rfr_stream.events import ImageSubmitted, Outcome
from rfr_stream.ports import CaseState, NewBlob
from rfr_stream.settings import VisionSettings
from topics import Record
from topics.tail import Kept, read_tail

pytestmark = pytest.mark.asyncio(loop_scope="module")

GROUP = topics.SUBMISSIONS.groups[0]
PERSON = "person-1"
_cases = count()


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    with running(tmp_path_factory.mktemp("replay"), vision=VisionSettings(pack="null")) as (chain, _):
        chain.start()
        yield chain


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def talk(chain: Chain) -> AsyncIterator[Talk]:
    async with chain.talking() as talk:
        await talk.enrol({PERSON: noise(1)})
        yield talk


async def rejected(talk: Talk, key: str) -> ImageSubmitted:
    """Submit an image that is not where it should be, and wait for the dead letter."""
    asked = await talk.request(noise(1), f"case-{next(_cases)}")
    image = asked.submission.image.model_copy(update={"uri": f"file://rfr/{key}"})
    moved = asked.model_copy(update={"submission": asked.submission.model_copy(update={"image": image})})
    await talk.say(moved)
    await talk.ear.until(lambda: letters(talk, moved))
    return moved


def letters(talk: Talk, asked: ImageSubmitted) -> list[Record]:
    return [each for each in talk.ear.dead(topics.SUBMISSIONS) if each.key == asked.key.encode() and each.value]


async def mend(talk: Talk, key: str) -> None:
    """Put the image where it should have been."""
    await talk.blobs.put([NewBlob(key, noise(1), "image/png")])


async def wanted(talk: Talk, asked: ImageSubmitted | None = None, **filters: Any) -> list[Kept]:  # noqa: ANN401
    only = Wanted(key=asked.key if asked else None, **filters)
    return await find(talk.bus.options, topics.SUBMISSIONS, GROUP, only)


async def put_back(talk: Talk, found: list[Kept], *, per_second: int = 50) -> None:
    await replay(talk.bus, topics.SUBMISSIONS, found, per_second=per_second)


async def is_under_review(talk: Talk, asked: ImageSubmitted) -> bool:
    case = await talk.ledger.case(asked.submission.submission_id)
    return case is not None and case.state is CaseState.AWAITING_REVIEW


async def test_after_the_fix_a_dead_letter_goes_all_the_way_to_review(talk: Talk) -> None:
    asked = await rejected(talk, "late/one")
    told = talk.ear.outcome_of(asked.submission.submission_id)
    assert told
    assert told.outcome is Outcome.UNREADABLE
    await mend(talk, "late/one")

    await put_back(talk, await wanted(talk, asked))

    found = await talk.ear.listed(asked)
    assert [candidate.person_id for candidate in found.candidates] == [PERSON]
    async with asyncio.timeout(20):
        while not await is_under_review(talk, asked):  # noqa: ASYNC110 - a database tells nobody
            await asyncio.sleep(0.05)


async def test_looking_changes_nothing(talk: Talk) -> None:
    asked = await rejected(talk, "late/two")
    before = await everything(talk)

    assert len(await wanted(talk, asked)) == 1
    assert len(await wanted(talk, asked)) == 1

    assert await everything(talk) == before


async def everything(talk: Talk) -> set[Kept]:
    names = (topics.SUBMISSIONS.name, topics.SUBMISSIONS.dead(GROUP))
    return {kept for name in names for kept in await read_tail(talk.bus.options, name)}


async def test_a_second_run_puts_nothing_back_twice(talk: Talk) -> None:
    asked = await rejected(talk, "late/three")
    await mend(talk, "late/three")
    await put_back(talk, await wanted(talk, asked))
    await talk.ear.listed(asked)

    again = await wanted(talk, asked)
    await put_back(talk, again)

    assert again == []
    assert len(sent(talk, asked)) == 2


def sent(talk: Talk, asked: ImageSubmitted) -> list[Record]:
    return [each for each in talk.ear.records[topics.SUBMISSIONS.name] if each.key == asked.key.encode()]


async def test_what_goes_back_is_what_was_sent_byte_for_byte(talk: Talk) -> None:
    asked = await rejected(talk, "late/four")
    await put_back(talk, await wanted(talk, asked))
    await talk.ear.until(lambda: len(sent(talk, asked)) == 2)

    first, second = sent(talk, asked)
    assert (first.topic, first.key, first.value) == (second.topic, second.key, second.value)
    assert second.headers[: len(first.headers)] == first.headers
    assert {name for name, _ in second.headers[len(first.headers) :]} == {"x-rfr-attempt", "x-rfr-first-seen"}


async def test_a_message_that_fails_again_has_its_attempts_counted_on(talk: Talk) -> None:
    asked = await rejected(talk, "late/five")
    await put_back(talk, await wanted(talk, asked))
    await talk.ear.until(lambda: len(letters(talk, asked)) == 2)

    first, second = letters(talk, asked)
    assert [each.header("x-rfr-attempt") for each in (first, second)] == ["1", "2"]
    assert first.header("x-rfr-first-seen") == second.header("x-rfr-first-seen")
    assert first.header("x-rfr-failed-at") < second.header("x-rfr-failed-at")

    await mend(talk, "late/five")
    (left,) = await wanted(talk, asked)
    assert left.record.header("x-rfr-attempt") == "2"
    await put_back(talk, [left])
    await talk.ear.listed(asked)


async def test_only_what_is_meant_goes_back(talk: Talk) -> None:
    began = datetime.now(UTC)
    missing = await rejected(talk, "late/six")
    garbage = Record(topics.SUBMISSIONS.name, b"no-id", b"{", (("ce_type", b"rfr.image-submitted.v1"),))
    await talk.send(garbage)
    await talk.ear.until(lambda: [each for each in talk.ear.dead(topics.SUBMISSIONS) if each.key == b"no-id"])

    async def keys(**filters: Any) -> set[bytes | None]:  # noqa: ANN401 - the filters of `Wanted`
        return {kept.record.key for kept in await wanted(talk, **filters)}

    key = missing.key.encode()
    assert {key, b"no-id"} <= await keys()
    assert await keys(reason="malformed") == {b"no-id"}
    assert key in await keys(reason="missing_blob")
    assert await keys(reason="poisonous") == set()
    assert await keys(since=began) == {key, b"no-id"}
    assert not {key, b"no-id"} & await keys(until=began)
    assert await keys(since=datetime.now(UTC) + timedelta(seconds=1)) == set()


async def test_the_rate_is_kept(talk: Talk) -> None:
    asked = [await rejected(talk, f"late/rate-{number}") for number in range(3)]
    found = [kept for each in asked for kept in await wanted(talk, each)]

    began = time.monotonic()
    await put_back(talk, found, per_second=1)

    assert 2 <= time.monotonic() - began < 8
    await talk.ear.until(lambda: all(len(letters(talk, each)) == 2 for each in asked))


async def test_the_command_says_what_it_would_do_and_does_it_when_told(chain: Chain, talk: Talk) -> None:
    asked = await rejected(talk, "late/seven")
    await mend(talk, "late/seven")
    words = ("replay", "submissions", GROUP, "--key", asked.key)

    assert "1 would be put back" in await rfr(chain, *words)
    assert len(sent(talk, asked)) == 1
    assert "1 put back" in await rfr(chain, *words, "--go")
    await talk.ear.listed(asked)
    assert "0 would be put back" in await rfr(chain, *words)


async def test_a_group_that_does_not_read_the_topic_is_an_error(chain: Chain) -> None:
    with pytest.raises(subprocess.CalledProcessError) as wrong:
        await rfr(chain, "replay", "submissions", "rfr-search")

    assert "rfr-submissions-v1-search-dead" in wrong.value.stderr
    assert "Traceback" not in wrong.value.stderr


async def rfr(chain: Chain, *words: str) -> str:
    """Run a command of the front door on this cluster, and return what it prints."""
    command = ["env", *variables(chain.settings), "COLUMNS=300", sys.executable, "-m", "rfr_stream", *words]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True, timeout=60)
    return str(done.stdout)


async def test_somebody_elses_garbage_under_a_submissions_key_does_not_end_it(talk: Talk) -> None:
    asked = await talk.request(noise(1), f"case-{next(_cases)}")
    garbage = Record(topics.SUBMISSIONS.name, asked.key.encode(), b"{", (("ce_type", b"rfr.image-submitted.v1"),))

    await talk.send(garbage)
    await talk.ear.until(lambda: letters(talk, asked))
    await talk.say(asked)

    async with asyncio.timeout(20):
        while not await is_under_review(talk, asked):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
