"""One law for every ledger: whom it lets stand, whom they meet, and what comes of that."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Final
from uuid import UUID

import builders
import pytest
from builders import NOW

from rfr_stream import review
from rfr_stream.adapters._standing import AGAIN
from rfr_stream.adapters.ledger import SqlLedger
from rfr_stream.adapters.memory.ledger import MemoryLedger
from rfr_stream.errors import NotPermitted
from rfr_stream.events import (
    CandidatesReady,
    Disposal,
    FaceEmbedded,
    GalleryName,
    Purpose,
    ReferenceSubmitted,
    ReviewDecided,
    SearchEnded,
    Support,
)
from rfr_stream.ports import Change, Ending, Ledger, Meeting, Reference, StandingProbe

EMBEDDER: Final = builders.identity()
UNTIL: Final = NOW + timedelta(days=90)
ENDING: Final = Ending(NOW, "unit-1", "came home")
PEOPLE_N: Final = 2


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


def probe(name: str = "probe") -> FaceEmbedded:
    return builders.face_embedded(builders.submission(name, purpose=Purpose.MISSING))


PROBE: Final = probe()
ID: Final = PROBE.submission.submission_id


async def stands(ledger: Ledger, about: FaceEmbedded = PROBE, *, people: tuple[str, ...] = ()) -> CandidatesReady:
    """Let a probe stand, and hold its own list."""
    await ledger.stand([about], UNTIL)
    found = builders.candidates_ready(about.submission, people=people)
    await holds(ledger, found)
    return found


async def holds(ledger: Ledger, found: CandidatesReady) -> None:
    change = review.candidates_ready(found, NOW)
    await ledger.apply([Change(found.submission.submission_id, found.event_id, change)])


async def decides(ledger: Ledger, decision: ReviewDecided) -> None:
    transition = review.decided(decision, builders.reviewer(decision.reviewer_id), NOW)
    await ledger.apply([Change(decision.submission_id, decision.event_id, transition)])


async def meets(
    ledger: Ledger, person: str, image: str = "1", *, similarity: float = 0.9, about: UUID = ID
) -> Reference:
    """Hold a reference that meets a probe, due at once."""
    blob = builders.blob(f"{person}-{image}")
    id_ = ReferenceSubmitted.derive(person, GalleryName.CUSTODY, blob.sha256)
    reference = builders.reference(person, reference_id=id_, image=blob)
    await ledger.hold([reference])
    await ledger.meet([Meeting(about, reference.reference_id, person, similarity)], NOW)
    return reference


async def renewed(ledger: Ledger, after: timedelta = timedelta()) -> list[FaceEmbedded]:
    """Return what is asked again then, and is owed from then on."""
    known = {row.event.event_id for row in await ledger.unpublished(100)}
    n = await ledger.renew(people_n=PEOPLE_N, now=NOW + after)
    owed = [row.event for row in await ledger.unpublished(100) if row.event.event_id not in known]
    again = [event for event in owed if isinstance(event, FaceEmbedded)]
    assert len(again) == n
    return again


async def about(ledger: Ledger, after: timedelta = timedelta()) -> list[list[str]]:
    """Return about how many references each is that is asked again."""
    events = await renewed(ledger, after)
    renewals = [event.submission.renewal for event in events]
    return [sorted(map(str, renewal.references)) for renewal in renewals if renewal]


def ids(*references: Reference) -> list[str]:
    return sorted(str(reference.reference_id) for reference in references)


class TestProbes:
    async def test_a_probe_is_found_again_as_it_was_and_stands_once(self, ledger: Ledger) -> None:
        await ledger.stand([PROBE, PROBE], UNTIL)
        await ledger.stand([PROBE], UNTIL + timedelta(days=1))
        assert await ledger.standing(EMBEDDER, NOW) == {ID}
        assert await ledger.probes([ID, builders.submission("unknown").submission_id]) == {ID: PROBE}
        assert await ledger.stood() == [StandingProbe(PROBE, UNTIL)]

    async def test_it_stands_for_its_own_embedder_alone(self, ledger: Ledger) -> None:
        await ledger.stand([PROBE], UNTIL)
        for other in (
            builders.identity("another"),
            EMBEDDER.model_copy(update={"version": "2"}),
            EMBEDDER.model_copy(update={"weights_sha256": builders.sha256("others")}),
            builders.identity(dimension=64),
        ):
            assert await ledger.standing(other, NOW) == set()

    async def test_it_stands_until_its_date(self, ledger: Ledger) -> None:
        await ledger.stand([PROBE], UNTIL)
        assert await ledger.standing(EMBEDDER, UNTIL - timedelta(microseconds=1)) == {ID}
        assert await ledger.standing(EMBEDDER, UNTIL) == set()

    async def test_whoever_keeps_it_moves_the_date(self, ledger: Ledger) -> None:
        await ledger.stand([PROBE], UNTIL)
        await ledger.keep(ID, UNTIL + timedelta(days=90), NOW)
        assert await ledger.standing(EMBEDDER, UNTIL) == {ID}
        assert await ledger.lapse(UNTIL) == 0

    async def test_nobody_keeps_what_does_not_stand(self, ledger: Ledger) -> None:
        with pytest.raises(NotPermitted, match="no probe of this submission stands"):
            await ledger.keep(ID, UNTIL, NOW)
        await ledger.stand([PROBE], UNTIL)
        with pytest.raises(NotPermitted, match="no probe of this submission stands"):
            await ledger.keep(ID, UNTIL + timedelta(days=1), UNTIL)

    async def test_an_end_is_for_good_and_is_told_once(self, ledger: Ledger) -> None:
        await ledger.stand([PROBE], UNTIL)
        await ledger.end(ID, ENDING)
        await ledger.stand([PROBE], UNTIL)  # from the first offset again
        assert await ledger.standing(EMBEDDER, NOW) == set()
        assert await ledger.stood() == [StandingProbe(PROBE, UNTIL, ending=ENDING)]
        with pytest.raises(NotPermitted, match="no search of this submission that could be ended"):
            await ledger.end(ID, ENDING)
        (told,) = await ledger.unpublished(10)
        assert told.event == SearchEnded(occurred_at=NOW, submission_id=ID, case_ref="case-1", lapsed=False)

    async def test_nobody_ends_what_never_stood(self, ledger: Ledger) -> None:
        with pytest.raises(NotPermitted, match="no search of this submission"):
            await ledger.end(ID, ENDING)
        assert await ledger.unpublished(10) == []

    async def test_what_nobody_keeps_lapses_and_says_so(self, ledger: Ledger) -> None:
        await ledger.stand([PROBE], UNTIL)
        assert await ledger.lapse(UNTIL - timedelta(microseconds=1)) == 0
        assert await ledger.lapse(UNTIL) == 1
        assert await ledger.lapse(UNTIL) == 0
        (told,) = await ledger.unpublished(10)
        assert isinstance(told.event, SearchEnded)
        assert told.event.lapsed


class TestMeetings:
    async def test_whom_a_probe_meets_is_asked_about_once(self, ledger: Ledger) -> None:
        await stands(ledger)
        met = await meets(ledger, "person-1")
        (again,) = await renewed(ledger)
        assert again.submission == PROBE.submission.renewed([met.reference_id])
        assert again.model_copy(update={"submission": PROBE.submission, "occurred_at": NOW}) == PROBE
        await meets(ledger, "person-1")
        await holds(ledger, builders.candidates_ready(again.submission, people=()))
        assert await renewed(ledger, AGAIN) == []

    async def test_nothing_is_asked_before_it_is_due(self, ledger: Ledger) -> None:
        await stands(ledger)
        reference = builders.reference()
        await ledger.hold([reference])
        await ledger.meet([Meeting(ID, reference.reference_id, "person-1", 0.9)], NOW + timedelta(seconds=1))
        assert await renewed(ledger) == []
        assert len(await renewed(ledger, timedelta(seconds=1))) == 1

    async def test_once_one_is_due_all_who_wait_are_asked_about_the_nearest_people_first(self, ledger: Ledger) -> None:
        await stands(ledger)
        far = await meets(ledger, "person-1", similarity=0.6)
        near = [await meets(ledger, "person-2", n, similarity=0.7) for n in "12"]
        nearest = await meets(ledger, "person-3", similarity=0.8)
        (first,) = await renewed(ledger)
        assert first.submission.renewal
        assert sorted(map(str, first.submission.renewal.references)) == ids(*near, nearest)
        assert await renewed(ledger, AGAIN) == []  # the first list is on its way
        await holds(ledger, builders.candidates_ready(first.submission, people=()))
        assert await about(ledger, 2 * AGAIN) == [ids(far)]

    async def test_two_probes_are_asked_each_for_itself(self, ledger: Ledger) -> None:
        other = probe("other")
        await stands(ledger)
        await stands(ledger, other)
        met = await meets(ledger, "person-1")
        await meets(ledger, "person-1", about=other.submission.submission_id)
        again = await renewed(ledger)
        expected = [each.submission.renewed([met.reference_id]).submission_id for each in (PROBE, other)]
        assert sorted(each.submission.submission_id for each in again) == sorted(expected)

    async def test_while_its_own_list_is_on_its_way_nothing_is_asked(self, ledger: Ledger) -> None:
        await ledger.stand([PROBE], UNTIL)
        met = await meets(ledger, "person-1")
        assert await renewed(ledger) == []
        await holds(ledger, builders.candidates_ready(PROBE.submission, people=()))
        assert await about(ledger, AGAIN) == [ids(met)]

    async def test_whoever_is_rejected_meanwhile_is_not_asked_about(self, ledger: Ledger) -> None:
        found = await stands(ledger, people=("person-1",))
        await meets(ledger, "person-1", "another")
        assert await renewed(ledger) == []
        for by in ("reviewer-a", "reviewer-b"):
            await decides(ledger, builders.decision(found, by=by, support=Support.STRONG_DIFFERENT))
        assert await renewed(ledger, AGAIN) == []

    async def test_of_whom_reviewers_could_not_tell_another_image_comes(self, ledger: Ledger) -> None:
        found = await stands(ledger, people=("person-1",))
        met = await meets(ledger, "person-1", "another")
        for by in ("reviewer-a", "reviewer-b"):
            await decides(ledger, builders.decision(found, by=by, support=Support.INCONCLUSIVE))
        assert await about(ledger, AGAIN) == [ids(met)]

    async def test_what_is_erased_before_is_forgotten_also_where_it_met_somebody_later(self, ledger: Ledger) -> None:
        await stands(ledger)
        met = await meets(ledger, "person-1")
        await ledger.erase([met.reference_id])
        assert await renewed(ledger) == []
        await meets(ledger, "person-1")  # by whoever had compared it before it was erased
        assert await renewed(ledger) == []

    async def test_whose_case_has_ended_meanwhile_is_asked_about_once_it_may_be_found(self, ledger: Ledger) -> None:
        await stands(ledger)
        met = await meets(ledger, "person-1")
        ended = builders.case_disposed(disposal=Disposal.NO_FURTHER_ACTION)
        await ledger.dispose([ended])
        assert await renewed(ledger) == []
        kept = {"disposal": Disposal.CHARGED, "occurred_at": ended.occurred_at + timedelta(days=1)}
        await ledger.dispose([ended.model_copy(update=kept)])
        assert await about(ledger, AGAIN) == [ids(met)]

    async def test_whoever_is_no_longer_sought_is_not_asked_for(self, ledger: Ledger) -> None:
        await stands(ledger)
        await meets(ledger, "person-1")
        await ledger.end(ID, ENDING)
        assert await renewed(ledger) == []

    async def test_a_confirmed_renewal_lets_the_probe_rest_until_it_is_withdrawn(self, ledger: Ledger) -> None:
        await stands(ledger)
        await meets(ledger, "person-1")
        (again,) = await renewed(ledger)
        found = builders.candidates_ready(again.submission, people=("person-1",))
        await holds(ledger, found)
        for by in ("reviewer-a", "reviewer-b"):
            await decides(ledger, builders.decision(found, by=by))
        assert await ledger.standing(EMBEDDER, NOW) == set()
        assert [each.resolved for each in await ledger.stood()] == [True]
        order = builders.withdrawal(again.submission)
        transition = review.withdrawn(order, builders.supervisor(), NOW)
        await ledger.apply([Change(order.submission_id, order.event_id, transition)])
        assert await ledger.standing(EMBEDDER, NOW) == {ID}

    async def test_a_known_answer_rests_from_the_moment_that_it_has_a_list(self, ledger: Ledger) -> None:
        await ledger.stand([PROBE], UNTIL)
        found = builders.candidates_ready(PROBE.submission)
        change = review.candidates_ready(found, NOW, seeded=True)
        await ledger.apply([Change(ID, found.event_id, change)])
        assert await ledger.standing(EMBEDDER, NOW) == set()
