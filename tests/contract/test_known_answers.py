"""Submissions whose answer is known, on every ledger: what waits for its turn, what comes of it, and what cannot."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import builders
import house
import pytest
from builders import LATER, NOW
from house import House
from known_answers import HALF, sown
from sqlalchemy import Connection, Update, insert, update
from sqlalchemy.exc import IntegrityError

from rfr_stream import review, stages
from rfr_stream.adapters.ledger import SqlLedger
from rfr_stream.adapters.ledger.records import outgoing_row
from rfr_stream.adapters.ledger.tables import cases, outbox, seeds
from rfr_stream.adapters.memory.ledger import MemoryLedger
from rfr_stream.adapters.memory.vision import PlantedFace
from rfr_stream.errors import NotPermitted
from rfr_stream.events import (
    CandidatesReady,
    Event,
    FaceDetected,
    FaceEmbedded,
    GalleryName,
    ImageSubmitted,
    Outcome,
    Submission,
    SubmissionClosed,
)
from rfr_stream.ports import Case, CaseState, Change, Ledger, Outgoing, Seed

LONG_AGO: Final = NOW.replace(year=NOW.year - 1)


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
async def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Ledger]:
    async with AsyncExitStack() as stack:
        if request.param == "memory":
            yield MemoryLedger()
        elif request.param == "sqlite":
            yield await stack.enter_async_context(SqlLedger(f"sqlite:///{tmp_path / 'ledger.db'}"))
        else:
            url = request.getfixturevalue("postgresql_server").fresh()
            yield await stack.enter_async_context(SqlLedger(url))


def seed(name: str, *, shows: str | None = None, **fields: Any) -> Seed:  # noqa: ANN401 - of the submission
    about = builders.submission(name, submitted_at=LONG_AGO, **fields)
    return Seed(ImageSubmitted(occurred_at=LONG_AGO, submission=about), shows)


async def came(ledger: Ledger, *names: str) -> None:
    """Let real cases come to people."""
    lists = [builders.candidates_ready(builders.submission(name)) for name in names]
    assert await stages.hold(lists, ledger=ledger, now=NOW) == [None] * len(lists)


async def promised(ledger: Ledger) -> list[Event]:
    return [owed.event for owed in await ledger.unpublished(100)]


class TestTheirTurn:
    async def test_none_comes_before_there_is_anything_to_mix_it_into(self, ledger: Ledger) -> None:
        await ledger.plant([seed("known")])

        assert await ledger.sow(HALF, LATER) == 0
        assert await promised(ledger) == []

    async def test_they_come_at_the_share_that_policy_sets(self, ledger: Ledger) -> None:
        await ledger.plant([seed(f"known-{n}") for n in range(6)])
        await came(ledger, *"abcdefgh")

        assert await ledger.sow(0.2, LATER) == 2
        assert await ledger.sow(0.2, LATER) == 0
        assert await ledger.sow(HALF, LATER) == 4, "as far as there are any"

    async def test_it_is_told_as_if_somebody_submitted_it_now(self, ledger: Ledger) -> None:
        planted = seed("known")
        await ledger.plant([planted])
        await came(ledger, "real")

        await ledger.sow(HALF, LATER)

        now = planted.event.submission.model_copy(update={"submitted_at": LATER})
        assert await promised(ledger) == [ImageSubmitted(occurred_at=LATER, submission=now)]

    async def test_one_that_never_came_to_people_is_made_up_for(self, ledger: Ledger) -> None:
        await ledger.plant([seed("blurred"), seed("sharp")])
        await came(ledger, "real")
        await ledger.sow(HALF, LATER)
        (first,) = await promised(ledger)
        assert isinstance(first, ImageSubmitted)

        end = builders.closed(Outcome.UNSUITABLE_QUALITY, submission_id=first.submission.submission_id)
        await stages.note([end], cases=ledger, now=LATER)

        assert await ledger.sow(HALF, LATER) == 1

    async def test_real_ones_that_never_came_to_people_do_not_count(self, ledger: Ledger) -> None:
        await ledger.plant([seed("known")])
        blank = builders.candidates_ready(builders.submission("blank"), people=())
        await stages.hold([blank], ledger=ledger, now=NOW)

        assert await ledger.sow(HALF, LATER) == 0

    async def test_planting_again_changes_nothing(self, ledger: Ledger) -> None:
        await ledger.plant([seed("known")])
        await came(ledger, "a", "b", "c")
        await ledger.sow(HALF, LATER)

        await ledger.plant([seed("known")])

        assert await ledger.sow(HALF, LATER) == 0


class TestWhatIsNone:
    async def test_a_request_that_came_through_a_door_first(self, ledger: Ledger) -> None:
        await came(ledger, "real")

        with pytest.raises(NotPermitted, match="submitted in earnest"):
            await ledger.plant([seed("real")])

    async def test_a_request_that_came_through_a_door_before_its_turn(self, ledger: Ledger) -> None:
        """Whoever asked waits for an answer, and gets it."""
        await ledger.plant([seed("both")])
        both = builders.candidates_ready(builders.submission("both"))

        await came(ledger, "both", "another")

        assert await ledger.seeded([both.submission.submission_id]) == set()
        assert await ledger.sow(HALF, LATER) == 0, "it has become a real one, and is none any more"
        case = await confirmed(ledger, both)
        assert case.state is CaseState.CONFIRMED
        assert [type(event).__name__ for event in await promised(ledger)] == [
            "IdentificationConfirmed",
            "SubmissionClosed",
        ]

    async def test_an_answer_that_nobody_could_give(self, ledger: Ledger) -> None:
        await ledger.hold([builders.reference("person-2")])

        with pytest.raises(NotPermitted, match="none of the galleries"):
            await ledger.plant([seed("known", shows="person-1")])

        await ledger.hold([builders.reference("person-1")])
        await ledger.plant([seed("known", shows="person-1")])


async def confirmed(ledger: Ledger, found: CandidatesReady) -> Case:
    """Let two people name the same person."""
    said = [builders.decision(found, by=by) for by in ("reviewer-a", "reviewer-b")]
    counts = [review.decided(each, builders.reviewer(each.reviewer_id), LATER) for each in said]
    changes = [Change(each.submission_id, each.event_id, count) for each, count in zip(said, counts, strict=True)]
    case = (await ledger.apply(changes))[-1]
    assert isinstance(case, Case)
    return case


class TestWhatComesOfIt:
    async def test_two_people_who_confirm_it_give_no_lead_and_no_outcome(self, ledger: Ledger) -> None:
        found = builders.candidates_ready(await sown(ledger, seed("known").event))
        await stages.hold([found], ledger=ledger, now=LATER)

        case = await confirmed(ledger, found)

        assert (case.state, case.outcome) == (CaseState.ASSESSED, None)
        assert await promised(ledger) == []
        assert review.as_told(case) is Outcome.CONFIRMED, "whoever asks is told what a real one would have become"

    @pytest.mark.parametrize("people", [(), ("person-1",)])
    async def test_neither_a_blank_nor_time_tells_anybody(self, ledger: Ledger, people: Sequence[str]) -> None:
        found = builders.candidates_ready(await sown(ledger, seed("known").event), people=people)
        await stages.hold([found], ledger=ledger, now=LATER)

        await stages.expire(cases=ledger, opened_before=LATER.replace(year=LATER.year + 1), now=LATER)

        (case,) = await ledger.cases([CaseState.CLOSED if not people else CaseState.EXPIRED], limit=1)
        assert case.seeded or people, "the real one expires too"
        told = {event.submission_id for event in await promised(ledger) if isinstance(event, SubmissionClosed)}
        assert found.submission.submission_id not in told

    async def test_nobody_is_told_that_its_subject_must_be_chosen(self, ledger: Ledger) -> None:
        question = builders.subject_unclear(await sown(ledger, seed("several").event))

        assert await stages.hold([question], ledger=ledger, now=LATER) == [None]

        case = await ledger.case(question.submission.submission_id)
        assert case
        assert (case.state, case.seeded) == (CaseState.AWAITING_SUBJECT, True)
        assert await promised(ledger) == []


@pytest.mark.parametrize("ledger", ["sqlite", "postgresql"], indirect=True)
class TestTheDatabase:
    """It refuses a lead from a known answer by itself, whichever half of the record was tampered with."""

    @pytest.mark.parametrize("forgery", [update(cases).values(seeded=False), update(seeds).values(sown=False)])
    async def test_refuses_a_lead_that_rests_on_one(self, ledger: Ledger, forgery: Update) -> None:
        assert isinstance(ledger, SqlLedger)
        found = builders.candidates_ready(await sown(ledger, seed("known").event))
        await stages.hold([found], ledger=ledger, now=LATER)
        await confirmed(ledger, found)
        lead = outgoing_row(found.submission.submission_id, Outgoing(builders.identification_confirmed(found)))

        def promise(connection: Connection) -> None:
            connection.execute(update(cases).values(state="confirmed"))
            connection.execute(forgery)
            connection.execute(insert(outbox).values(lead))

        with pytest.raises(IntegrityError, match="an identification needs a confirmed case"):
            await ledger.database.write(promise)


# --- nothing tells them apart ---------------------------------------------------------------------------------------
async def through(here: House, event: ImageSubmitted) -> list[Event]:
    """Send a submission through the machine's half, and hold its list; return every event on the way."""
    face = house.only(FaceDetected, await here.detect(event))
    template = house.only(FaceEmbedded, await here.embed(face))
    found = house.only(CandidatesReady, await here.search(template))
    assert await stages.hold([found], ledger=here.ledger, now=NOW) == [None]
    return [event, face, template, found]


def blurred(events: Sequence[Event], about: Submission) -> list[str]:
    """Return what they say in JSON, without what tells one submission from any other."""
    digests = {event.list_digest for event in events if isinstance(event, CandidatesReady)}
    texts = [event.model_dump_json() for event in events]
    for own in (str(about.submission_id), about.submission_id.hex[0] + "/", about.case_ref, *digests):
        texts = [one.replace(own, "~") for one in texts]
    return texts


async def test_a_known_answer_and_a_real_case_say_the_same_at_every_step(ledger: Ledger) -> None:
    """The same picture asked about twice: but for the ids of the two cases, byte by byte the same."""
    here = House(ledger=ledger)  # type: ignore[arg-type]  # any ledger will do
    adam = PlantedFace("adam")
    assert await here.enrol(await here.referenced(adam, person_id="person-1")) == [None]
    real = await here.submitted(adam, case_ref="case-1")
    known = await here.submitted(adam, case_ref="case-2", submitted_at=LONG_AGO)
    await ledger.plant([Seed(known.model_copy(update={"occurred_at": LONG_AGO}), "person-1")])

    in_earnest = await through(here, real)
    await ledger.sow(HALF, NOW)
    (as_sown,) = await promised(ledger)
    assert isinstance(as_sown, ImageSubmitted)
    measured = await through(here, as_sown)

    held = [await ledger.case(event.submission.submission_id) for event in (real, known)]
    assert blurred(in_earnest, real.submission) == blurred(measured, known.submission)
    assert [case and case.state for case in held] == [CaseState.AWAITING_REVIEW] * 2
    first, second = (case for case in held if case)
    assert (first.opened_at, first.faces, first.parked) == (second.opened_at, second.faces, second.parked)
    assert GalleryName.CUSTODY in in_earnest[-1].gallery_sizes  # type: ignore[attr-defined]  # a list came
