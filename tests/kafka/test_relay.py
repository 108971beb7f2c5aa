"""The relay: what the ledger has promised reaches Kafka, whatever dies or is away in between."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID, uuid4

import builders
import pytest
import pytest_asyncio
from builders import LATER, NOW
from chain import Chain, Ear, Talk, running

import topics
from consumers._relay import Relay
from rfr_stream import review
from rfr_stream.errors import Rejected, Unavailable
from rfr_stream.events import CandidatesReady, Event, ImageSubmitted, Outcome, SubmissionEvent
from rfr_stream.ports import Change, Outbox, Outgoing, Transition, Turn
from topics import Record, Topic
from topics.bus import Bus, SendFailed

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    with running(tmp_path_factory.mktemp("relay")) as (chain, _):
        yield chain


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def talk(chain: Chain) -> AsyncIterator[Talk]:
    async with chain.talking() as talk:
        yield talk


class Died(Exception):
    """The process died here."""


@dataclass
class Fragile:
    """An outbox that fails as it is told, call by call, and works from then on."""

    inner: Outbox
    reading: list[Exception] = field(default_factory=list)
    marking: list[Exception] = field(default_factory=list)

    async def take_turn(self) -> Turn | None:
        """Take the turn."""
        return await self.inner.take_turn()

    async def unpublished(self, limit: int) -> list[Outgoing]:
        """Return what is owed, or fail."""
        if self.reading:
            raise self.reading.pop(0)
        return await self.inner.unpublished(limit)

    async def published(self, event_ids: Sequence[UUID]) -> None:
        """Mark, or fail."""
        if event_ids and self.marking:
            raise self.marking.pop(0)
        await self.inner.published(event_ids)


@asynccontextmanager
async def relaying(talk: Talk, outbox: Outbox | None = None) -> AsyncIterator["asyncio.Task[None]"]:
    """A relay at work; it is killed in the end."""
    running = asyncio.create_task(Relay(talk.bus, outbox or talk.ledger).run())
    try:
        yield running
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError, Died):
            await running


def found(n: int) -> list[CandidatesReady]:
    """Return lists of so many new submissions."""
    return [builders.candidates_ready(builders.submission(case_ref=f"case-{uuid4()}")) for _ in range(n)]


async def apply(talk: Talk, found: SubmissionEvent, *transitions: tuple[UUID, Transition]) -> None:
    about = found.submission.submission_id
    results = await talk.ledger.apply([Change(about, event_id, change) for event_id, change in transitions])
    assert not [result for result in results if isinstance(result, Rejected)]


async def confirm(talk: Talk, *lists: CandidatesReady) -> None:
    """Let two people confirm these cases, in the ledger alone."""
    for each in lists:
        decisions = [builders.decision(each, by=by) for by in ("reviewer-a", "reviewer-b")]
        decided = [(d.event_id, review.decided(d, builders.reviewer(d.reviewer_id), NOW)) for d in decisions]
        await apply(talk, each, (each.event_id, review.candidates_ready(each, NOW)), *decided)


def copies(ear: Ear, topic: Topic, lists: Sequence[CandidatesReady]) -> Counter[UUID]:
    """Return how often each of these submissions was spoken of."""
    mine = {each.submission.submission_id for each in lists}
    said = [event.submission_id for event in ear.events[topic]]  # type: ignore[attr-defined] # of both topics
    return Counter(about for about in said if about in mine)


async def told_once(talk: Talk, lists: Sequence[CandidatesReady]) -> None:
    """Wait until all was said and marked; then none may have been said twice."""
    expected = Counter([each.submission.submission_id for each in lists])
    for topic in (topics.IDENTIFICATIONS, topics.OUTCOMES):
        await talk.ear.until(lambda topic=topic: len(copies(talk.ear, topic, lists)) == len(lists))  # type: ignore[misc]
    async with asyncio.timeout(10):
        while await talk.ledger.unpublished(1):  # noqa: ASYNC110 - a database tells nobody
            await asyncio.sleep(0.05)
    for topic in (topics.IDENTIFICATIONS, topics.OUTCOMES):
        assert copies(talk.ear, topic, lists) == expected


async def test_every_confirmed_case_is_told_of_once_as_a_lead(talk: Talk) -> None:
    lists = found(20)
    async with relaying(talk):
        await confirm(talk, *lists)
        await told_once(talk, lists)

    leads = [e for e in talk.ear.records[topics.IDENTIFICATIONS.name] if e.header("ce_type").endswith("confirmed.v1")]
    assert all(b'"evidential_status":"INTELLIGENCE_LEAD"' in (lead.value or b"") for lead in leads)
    assert all(b'"requires_corroboration":true' in (lead.value or b"") for lead in leads)


async def test_a_death_between_sending_and_marking_repeats_nothing(talk: Talk) -> None:
    lists = found(5)
    await confirm(talk, *lists)
    async with relaying(talk, Fragile(talk.ledger, marking=[Died()])) as dies:
        with pytest.raises(Died):
            await dies

    async with relaying(talk):
        await told_once(talk, lists)


async def test_a_send_that_fails_leaves_all_of_it_owed(talk: Talk) -> None:
    lists = found(5)
    await confirm(talk, *lists)
    with pytest.raises(SendFailed):
        await Relay(Bus.from_settings(talk.chain.settings, client_id="never-opened"), talk.ledger).run()

    async with relaying(talk):
        await told_once(talk, lists)


async def test_a_death_before_sending_loses_nothing(talk: Talk) -> None:
    lists = found(5)
    await confirm(talk, *lists)
    async with relaying(talk) as killed:
        killed.cancel()

    async with relaying(talk):
        await told_once(talk, lists)


async def test_a_ledger_that_is_away_is_waited_for(talk: Talk) -> None:
    lists, away = found(5), [Unavailable("ledger: cannot be reached")] * 2
    await confirm(talk, *lists)

    async with relaying(talk, Fragile(talk.ledger, reading=[*away], marking=[*away])) as relay:
        await told_once(talk, lists)
        assert not relay.done()


async def test_a_parked_decision_that_was_refused_is_in_the_dead_letters_with_its_reason(talk: Talk) -> None:
    (each,) = found(1)
    stale = builders.decision(each, list_digest=builders.sha256("another list"))
    parked = (stale.event_id, review.decided(stale, builders.reviewer(), NOW))
    await apply(talk, each, parked, (each.event_id, review.candidates_ready(each, NOW)))

    async with relaying(talk):
        await talk.ear.until(lambda: letter_of(talk, stale.event_id))

    letter = letter_of(talk, stale.event_id)
    assert letter
    assert letter.header("x-rfr-reason") == "not_permitted"
    assert letter.header("x-rfr-error").startswith("list_digest: ")
    assert topics.DECISIONS.decode(letter) == stale


def letter_of(talk: Talk, event_id: UUID) -> Record | None:
    letters = [each for each in talk.ear.dead(topics.DECISIONS) if each.header("ce_id") == str(event_id)]
    return letters[0] if letters else None


async def test_a_lead_and_its_recall_come_in_that_order(talk: Talk) -> None:
    (each,) = found(1)
    await confirm(talk, each)
    order = builders.withdrawal(each.submission)
    await apply(talk, each, (order.event_id, review.withdrawn(order, builders.supervisor(), LATER)))

    async with relaying(talk):
        about = each.submission.submission_id
        await talk.ear.until(lambda: copies(talk.ear, topics.IDENTIFICATIONS, [each])[about] == 2)

    said = [e for e in talk.ear.events[topics.IDENTIFICATIONS] if e.key == each.submission.case_ref]
    assert [e.ce_type for e in said] == ["rfr.identification-confirmed.v1", "rfr.identification-withdrawn.v1"]


async def test_an_image_goes_round_again_once_somebody_has_said_which_face_is_meant(talk: Talk) -> None:
    question = builders.subject_unclear(builders.submission(case_ref=f"case-{uuid4()}"))
    choice = builders.subject_chosen(question.submission)
    asked = (question.event_id, review.subject_unclear(question, NOW))
    chosen = (choice.event_id, review.subject_chosen(choice, builders.reviewer(), NOW))
    await apply(talk, question, asked, chosen)

    def again() -> list[Event]:
        return [event for event in talk.ear.events[topics.SUBMISSIONS] if event.key == question.key]

    async with relaying(talk):
        await talk.ear.until(again)

    (event,) = again()
    assert isinstance(event, ImageSubmitted)
    assert event.subject == choice.subject


async def test_an_honest_blank_and_an_expired_case_are_told_and_no_lead_is(talk: Talk) -> None:
    blank = builders.candidates_ready(builders.submission(case_ref=f"case-{uuid4()}"), people=())
    (late,) = found(1)
    await apply(talk, blank, (blank.event_id, review.candidates_ready(blank, NOW)))
    listed = (late.event_id, review.candidates_ready(late, NOW))
    await apply(talk, late, listed, (uuid4(), review.expired(NOW + timedelta(days=31))))

    async with relaying(talk):
        await talk.ear.until(lambda: len(copies(talk.ear, topics.OUTCOMES, [blank, late])) == 2)

    outcomes = [talk.ear.outcome_of(each.submission.submission_id) for each in (blank, late)]
    assert [said.outcome for said in outcomes if said] == [Outcome.NO_CANDIDATES, Outcome.EXPIRED]
    assert not copies(talk.ear, topics.IDENTIFICATIONS, [blank, late])


async def test_however_many_relays_work_each_case_is_told_of_once(talk: Talk) -> None:
    lists = found(20)
    async with relaying(talk), relaying(talk):
        for each in lists:
            await confirm(talk, each)
        await told_once(talk, lists)


async def test_whoever_takes_over_from_a_dead_relay_reads_back_what_it_sent(talk: Talk) -> None:
    lists = found(5)
    async with relaying(talk, Fragile(talk.ledger, marking=[Died()])) as dies, relaying(talk):
        await asyncio.sleep(0.5)  # the first has the turn
        await confirm(talk, *lists)
        with pytest.raises(Died):
            await dies
        await told_once(talk, lists)
