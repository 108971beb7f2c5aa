"""One result for each message, in order; what a stage may raise, and what becomes of it."""

import asyncio
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import builders
import pytest
from bus import as_message

import topics
from consumers import _patience
from consumers._envelope import Answer, Incoming, Reading, Result, next_span
from consumers._journal import Journal
from consumers._patience import Abandoned
from consumers._work import Run, TooManyDeadLetters, Work, each
from rfr_stream.errors import BadImage, Malformed, NotPermitted, Poisonous, Rejected, Unavailable, Undelivered
from rfr_stream.events import Event, ImageSubmitted

READING = Reading(topics.SUBMISSIONS, "rfr-test", demo=False)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal.open(tmp_path, "rfr-test-0")
    yield journal
    journal.close(clean=True)


def messages(n: int = 3) -> list[Incoming]:
    events = [builders.image_submitted(builders.submission(f"probe-{number}")) for number in range(n)]
    return [as_message(topics.SUBMISSIONS.encode(event), offset=offset) for offset, event in enumerate(events)]


async def results(run: Run, journal: Journal, taken: Sequence[Incoming]) -> Sequence[Result]:
    answers = await Work(READING, run, journal=journal, ceiling=100).answers(taken, let_go=asyncio.Event())
    return [answer.result for answer in answers]


async def detected(events: Sequence[ImageSubmitted]) -> Sequence[Result]:
    return [builders.face_detected(event.submission) for event in events]


async def test_each_message_has_its_result_in_its_place(journal: Journal) -> None:
    taken = messages(3)
    taken[1] = replace(taken[1], value=b"{}")
    first, second, third = await results(detected, journal, taken)
    assert isinstance(first, Event)
    assert isinstance(second, Malformed)
    assert isinstance(third, Event)
    assert first.key == (taken[0].key or b"").decode()
    assert third.key == (taken[2].key or b"").decode()


async def test_a_batch_of_nothing_but_poison_never_reaches_the_stage(journal: Journal) -> None:
    async def never(_: Sequence[Event]) -> Sequence[Result]:
        raise AssertionError

    (fault,) = await results(never, journal, [replace(messages(1)[0], value=b"{}")])
    assert isinstance(fault, Malformed)


async def test_a_demonstrations_event_is_refused_in_operation(journal: Journal) -> None:
    event = builders.image_submitted(demo=True)
    (fault,) = await results(detected, journal, [as_message(topics.SUBMISSIONS.encode(event))])
    assert isinstance(fault, NotPermitted)


async def test_a_batch_that_is_rejected_as_a_whole_is_asked_one_by_one(journal: Journal) -> None:
    taken = messages(3)
    guilty = (taken[1].key or b"").decode()

    async def strict(events: Sequence[ImageSubmitted]) -> Sequence[Result]:
        if guilty in {event.key for event in events}:
            raise BadImage
        return await detected(events)

    assert [isinstance(item, BadImage) for item in await results(strict, journal, taken)] == [False, True, False]


async def test_an_answer_too_few_is_a_bug(journal: Journal) -> None:
    async def forgetful(events: Sequence[ImageSubmitted]) -> Sequence[Result]:
        return (await detected(events))[1:]

    with pytest.raises(RuntimeError, match="2 results for 3 events"):
        await results(forgetful, journal, messages(3))


async def test_a_bug_leaves_the_messages_in_hand_and_an_outage_does_not(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_patience, "FIRST_WAIT_S", 0.0)
    calls = 0

    async def away_then_broken(_: Sequence[Event]) -> Sequence[Result]:
        nonlocal calls
        calls += 1
        if calls < 4:
            assert journal_file(journal).count("[0, 0, 0]") == 1
            raise Unavailable
        raise LookupError

    with pytest.raises(LookupError):
        await results(away_then_broken, journal, messages(1))
    assert calls == 4
    assert '"in_hand": [[0, 0, 0]]' in journal_file(journal)


def journal_file(journal: Journal) -> str:
    """Return the state that the next process would find."""
    return os.pread(journal.file, 4096, 0).decode().split("\n")[0]


async def test_who_must_let_go_during_an_outage_gives_up_at_once(journal: Journal) -> None:
    asked, let_go = asyncio.Event(), asyncio.Event()

    async def away(_: Sequence[Event]) -> Sequence[Result]:
        asked.set()
        raise Unavailable

    working = asyncio.create_task(Work(READING, away, journal=journal, ceiling=9).answers(messages(1), let_go=let_go))
    await asked.wait()
    let_go.set()
    with pytest.raises(Abandoned):
        await asyncio.wait_for(working, 1)
    assert '"in_hand": []' in journal_file(journal)


async def test_a_deadly_message_is_never_opened(journal: Journal) -> None:
    journal.deaths[0, 0] = 3

    async def never(_: Sequence[Event]) -> Sequence[Result]:
        raise AssertionError

    assert isinstance((await results(never, journal, messages(1)))[0], Poisonous)


async def test_each_makes_a_batch_of_single_answers_and_keeps_their_faults_apart(journal: Journal) -> None:
    async def one(event: ImageSubmitted) -> Result:
        if event.key == (taken[0].key or b"").decode():
            raise BadImage
        return None

    taken = messages(2)
    first, second = await results(each(one), journal, taken)
    assert isinstance(first, BadImage)
    assert second is None


def answered(taken: Sequence[Incoming], results: Sequence[Result]) -> list[Answer]:
    return [READING.answer(message, result, now=builders.NOW) for message, result in zip(taken, results, strict=True)]


async def test_a_record_that_cannot_be_made_counts_as_a_death_of_its_message(journal: Journal) -> None:
    class Unsayable(ImageSubmitted):
        """No topic carries it."""

    async def unsayable(events: Sequence[ImageSubmitted]) -> Sequence[Result]:
        return [Unsayable.model_construct(**dict(event)) for event in events]

    with pytest.raises((ValueError, LookupError)):
        await results(unsayable, journal, messages(1))
    assert '"in_hand": [[0, 0, 0]]' in journal_file(journal)


@pytest.mark.parametrize("timestamp", [-(2**63), -1, 2**63 - 1])
def test_a_timestamp_outside_of_every_calendar_is_no_obstacle(timestamp: int) -> None:
    (taken,) = messages(1)
    letter = READING.answer(replace(taken, timestamp=timestamp), BadImage(), now=builders.NOW).records[-1]
    assert datetime.fromisoformat(letter.header("x-rfr-first-seen")).year in {1970, 9999}


def test_the_ceiling_counts_rejections_in_a_row_alone(journal: Journal) -> None:
    work = Work(READING, detected, journal=journal, ceiling=3)
    taken = messages(3)
    bad: list[Result] = [BadImage(), BadImage()]
    for _ in range(5):
        assert work.records(taken, answered(taken, [*bad, None]))
    with pytest.raises(TooManyDeadLetters):
        work.records(taken, answered(taken, [*bad, BadImage()]))


def test_what_others_did_not_take_is_no_bad_deployment_of_ours(journal: Journal) -> None:
    work = Work(READING, detected, journal=journal, ceiling=3)
    taken = messages(3)
    for _ in range(5):
        assert work.records(taken, answered(taken, [Undelivered(), Undelivered(), Undelivered()]))
    with pytest.raises(TooManyDeadLetters):
        work.records(taken, answered(taken, [BadImage(), BadImage(), BadImage()]))


def test_results_become_records_in_the_order_of_their_messages(journal: Journal) -> None:
    work = Work(READING, detected, journal=journal, ceiling=9)
    taken = messages(3)
    records = work.records(taken, answered(taken, [None, builders.face_detected(), BadImage()]))
    assert [record.topic for record in records] == [
        topics.FACES.name,
        topics.OUTCOMES.name,
        topics.SUBMISSIONS.dead("rfr-test"),
    ]


def test_the_trace_goes_on_with_a_span_of_its_own() -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    traceparent = f"00-{trace}-b7ad6b7169203331-01"
    came = as_message(topics.SUBMISSIONS.encode(builders.image_submitted(), traceparent=traceparent))
    version, same, span, flags = next_span(came).split("-")
    assert (version, same, flags) == ("00", trace, "01")
    assert span != "b7ad6b7169203331"
    assert len(span) == 16


@pytest.mark.parametrize("header", [None, b"", b"nonsense", b"\xff-\xff-\xff-\xff", b"00-short-b7ad6b7169203331-01"])
def test_what_is_no_trace_begins_a_new_one(header: bytes | None) -> None:
    record = topics.SUBMISSIONS.encode(builders.image_submitted())
    came = replace(as_message(record), headers=(("traceparent", header),))
    version, trace, span, _ = next_span(came).split("-")
    assert (version, len(trace), len(span)) == ("00", 32, 16)


def test_a_rejection_is_never_an_event() -> None:
    assert not issubclass(Rejected, Event)
