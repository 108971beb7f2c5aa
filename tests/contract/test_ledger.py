"""One law for every ledger: in memory, on SQLite and on PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import builders
import numpy as np
import pictures
import pytest
from builders import LATER, NOW

from rfr_stream import review
from rfr_stream.adapters.ledger import SqlLedger
from rfr_stream.adapters.memory.ledger import MemoryLedger
from rfr_stream.errors import NotPermitted, Rejected
from rfr_stream.events import (
    CandidatesReady,
    CaseDisposed,
    Disposal,
    Event,
    FaceEmbedded,
    Found,
    GalleryName,
    IdentificationConfirmed,
    IdentificationWithdrawn,
    ImageSubmitted,
    Outcome,
    Regime,
    ReviewDecided,
    Source,
    SubmissionClosed,
    Support,
)
from rfr_stream.faces import Point
from rfr_stream.ports import (
    Case,
    CaseState,
    Change,
    Conflict,
    Contribution,
    Duty,
    Ending,
    Extent,
    Ledger,
    Served,
    Step,
    Transition,
)
from rfr_stream.vision.fingerprint import fingerprint


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


def listed(found: CandidatesReady) -> Change:
    return Change(found.submission.submission_id, found.event_id, review.candidates_ready(found, NOW))


def decides(decision: ReviewDecided) -> Change:
    reviewer = builders.reviewer(decision.reviewer_id)
    return Change(decision.submission_id, decision.event_id, review.decided(decision, reviewer, NOW))


def asked(case_ref: str = "case-1") -> Change:
    question = builders.subject_unclear(builders.submission(case_ref=case_ref))
    return Change(question.submission.submission_id, question.event_id, review.subject_unclear(question, NOW))


def recalls(found: CandidatesReady) -> Change:
    order = builders.withdrawal(found.submission)
    return Change(order.submission_id, order.event_id, review.withdrawn(order, builders.supervisor(), LATER))


def change(about: UUID, transition: Transition) -> Change:
    return Change(about, uuid4(), transition)


def state_of(result: Case | Rejected) -> CaseState:
    assert isinstance(result, Case)
    return result.state


async def confirm(ledger: Ledger, found: CandidatesReady) -> Case:
    changes = [listed(found), *(decides(builders.decision(found, by=by)) for by in ("reviewer-a", "reviewer-b"))]
    case = (await ledger.apply(changes))[-1]
    assert isinstance(case, Case)
    return case


class TestCases:
    async def test_a_case_is_found_again_as_it_was_returned(self, ledger: Ledger) -> None:
        found = builders.candidates_ready(demo=True)

        (returned,) = await ledger.apply([listed(found)])

        expected = Case(
            found.submission.submission_id,
            CaseState.AWAITING_REVIEW,
            NOW,
            candidates=found,
            demo=True,
            case_ref="case-1",
        )
        assert returned == expected
        assert await ledger.case(found.submission.submission_id) == expected

    async def test_everything_about_a_case_survives(self, ledger: Ledger) -> None:
        found = builders.candidates_ready()
        case = await confirm(ledger, found)

        kept = await ledger.case(found.submission.submission_id)

        assert kept == case
        assert kept.outcome is Outcome.CONFIRMED
        assert [decision.reviewer_id for decision in kept.decisions] == ["reviewer-a", "reviewer-b"]

    async def test_parked_decisions_are_kept_in_order(self, ledger: Ledger) -> None:
        found = builders.candidates_ready()
        decisions = [builders.decision(found, by=by) for by in ("reviewer-b", "reviewer-a")]

        await ledger.apply([decides(decisions[0])])
        await ledger.apply([decides(decisions[1])])

        kept = await ledger.case(found.submission.submission_id)
        assert kept is not None
        assert kept.parked == tuple(decisions)

    async def test_every_version_of_everybodys_decision_survives_in_the_order_in_which_they_counted(
        self, ledger: Ledger
    ) -> None:
        found = builders.candidates_ready()
        first, second = (builders.decision(found, by=by) for by in ("reviewer-b", "reviewer-a"))
        said = [
            first,
            builders.amended(first, found, support=Support.STRONG_DIFFERENT),
            builders.amended(first, found, version=3),
            second,
            builders.amended(second, found, support=Support.INCONCLUSIVE),
        ]
        await ledger.apply([listed(found), *map(decides, said[:2])])
        for decision in said[2:]:
            (returned,) = await ledger.apply([decides(decision)])
            assert await ledger.case(found.submission.submission_id) == returned

        kept = await ledger.case(found.submission.submission_id)
        assert kept is not None
        assert kept.decisions == tuple(said)
        assert kept.state is CaseState.WITHDRAWN
        assert await ledger.cases([CaseState.WITHDRAWN]) == [kept]

    async def test_two_who_disagree_wait_for_a_third(self, ledger: Ledger) -> None:
        found = builders.candidates_ready()
        against = builders.decision(found, by="reviewer-b", support=Support.STRONG_DIFFERENT)

        await ledger.apply([listed(found), decides(builders.decision(found)), decides(against)])

        (waiting,) = await ledger.cases([CaseState.AWAITING_THIRD_REVIEW])
        (ended,) = await ledger.apply([decides(builders.decision(found, by="reviewer-c"))])
        assert len(waiting.decisions) == 2
        assert state_of(ended) is CaseState.INCONCLUSIVE

    async def test_which_faces_there_are_is_kept_until_somebody_has_chosen(self, ledger: Ledger) -> None:
        found, choice = builders.candidates_ready(), builders.subject_chosen()
        chosen = Change(
            choice.submission_id, choice.event_id, review.subject_chosen(choice, builders.reviewer(), LATER)
        )

        for step in (asked(), chosen, listed(found)):
            (returned,) = await ledger.apply([step])
            assert isinstance(returned, Case)
            assert await ledger.case(step.submission_id) == returned
            assert (returned.faces is not None) is (step is not chosen and step.event_id != found.event_id)

        kept = await ledger.case(found.submission.submission_id)
        assert kept is not None
        assert (kept.choice, kept.candidates) == (choice, found)

    async def test_who_ordered_a_withdrawal_is_kept(self, ledger: Ledger) -> None:
        found = builders.candidates_ready()
        await confirm(ledger, found)

        (returned,) = await ledger.apply([recalls(found)])

        kept = await ledger.case(found.submission.submission_id)
        assert kept == returned
        assert kept.withdrawal == builders.withdrawal(found.submission)

    async def test_that_an_answer_is_known_is_kept(self, ledger: Ledger) -> None:
        found = builders.candidates_ready()
        about = found.submission.submission_id
        await ledger.apply([change(about, review.candidates_ready(found, NOW, seeded=True))])

        kept = await ledger.case(about)

        assert kept is not None
        assert kept.seeded

    async def test_an_unknown_case_is_none(self, ledger: Ledger) -> None:
        assert await ledger.case(uuid4()) is None

    async def test_results_stand_in_the_order_of_the_changes(self, ledger: Ledger) -> None:
        lists = [builders.candidates_ready(builders.submission(name)) for name in "cab"]

        results = await ledger.apply([listed(found) for found in lists])

        assert [isinstance(r, Case) and r.candidates for r in results] == lists

    async def test_changes_to_one_case_build_on_each_other_within_a_batch(self, ledger: Ledger) -> None:
        found = builders.candidates_ready()
        first, second = (builders.decision(found, by=by) for by in ("reviewer-a", "reviewer-b"))

        results = await ledger.apply([decides(first), listed(found), decides(second)])

        assert [state_of(result) for result in results] == [
            CaseState.AWAITING_CANDIDATES,
            CaseState.AWAITING_SECOND_REVIEW,
            CaseState.CONFIRMED,
        ]

    async def test_nothing_to_apply_is_no_error(self, ledger: Ledger) -> None:
        assert await ledger.apply([]) == []

    async def test_cases_are_listed_by_state_oldest_first(self, ledger: Ledger) -> None:
        names = ("new", "old", "middle")
        ages = {"new": NOW, "old": NOW - timedelta(days=2), "middle": NOW - timedelta(days=1)}
        lists = {name: builders.candidates_ready(builders.submission(name)) for name in names}
        await ledger.apply(
            [
                change(lists[name].submission.submission_id, review.candidates_ready(lists[name], ages[name]))
                for name in names
            ]
        )
        await confirm(ledger, builders.candidates_ready(builders.submission("other")))

        async def find(limit: int = 100, opened_before: timedelta | None = None) -> list[CandidatesReady | None]:
            before = None if opened_before is None else NOW - opened_before
            found = await ledger.cases([CaseState.AWAITING_REVIEW], limit=limit, opened_before=before)
            return [case.candidates for case in found]

        assert await find() == [lists["old"], lists["middle"], lists["new"]]
        assert await find(limit=1) == [lists["old"]]
        assert await find(opened_before=timedelta(days=1)) == [lists["old"]]
        assert await ledger.cases([CaseState.EXPIRED]) == []
        assert len(await ledger.cases([CaseState.AWAITING_REVIEW, CaseState.CONFIRMED])) == 4

    async def test_listed_cases_carry_their_decisions(self, ledger: Ledger) -> None:
        cases = [await confirm(ledger, builders.candidates_ready(builders.submission(name))) for name in "ab"]

        listed_cases = await ledger.cases([CaseState.CONFIRMED])

        assert sorted(listed_cases, key=lambda c: c.submission_id) == sorted(cases, key=lambda c: c.submission_id)


class TestInbox:
    async def test_an_event_is_applied_once_however_often_it_comes(self, ledger: Ledger) -> None:
        found = builders.candidates_ready()
        case = await confirm(ledger, found)
        promised = await ledger.unpublished(10)

        again = await ledger.apply([listed(found), decides(builders.decision(found, by="reviewer-a"))])

        assert again == [case, case]
        assert await ledger.unpublished(10) == promised

    async def test_an_event_twice_in_one_batch_is_applied_once(self, ledger: Ledger) -> None:
        found = builders.candidates_ready()
        decision = decides(builders.decision(found))

        results = await ledger.apply([listed(found), decision, decision])

        assert state_of(results[1]) is CaseState.AWAITING_SECOND_REVIEW
        assert results[2] == results[1]

    async def test_a_skipped_change_shows_the_case_as_it_stands_at_its_place(self, ledger: Ledger) -> None:
        found = builders.candidates_ready()
        await ledger.apply([listed(found)])

        results = await ledger.apply([decides(builders.decision(found)), listed(found)])

        assert results[0] == results[1]
        assert state_of(results[1]) is CaseState.AWAITING_SECOND_REVIEW

    async def test_a_rejected_change_leaves_no_trace(self, ledger: Ledger) -> None:
        found = builders.candidates_ready()
        await ledger.apply([listed(found)])
        before = await ledger.case(found.submission.submission_id)
        promised = await ledger.unpublished(10)
        stranger = builders.decision(found, person_id="person-99")

        (result,) = await ledger.apply([decides(stranger)])

        assert isinstance(result, NotPermitted)
        assert await ledger.case(found.submission.submission_id) == before
        assert await ledger.unpublished(10) == promised

    async def test_an_event_that_was_rejected_may_come_again(self, ledger: Ledger) -> None:
        found = builders.candidates_ready()
        decision = builders.decision(found)
        lapsed = builders.reviewer(competent_until=NOW)
        refused = Change(decision.submission_id, decision.event_id, review.decided(decision, lapsed, NOW))
        await ledger.apply([listed(found)])

        (first,) = await ledger.apply([refused])
        (second,) = await ledger.apply([decides(decision)])

        assert isinstance(first, NotPermitted)
        assert state_of(second) is CaseState.AWAITING_SECOND_REVIEW

    async def test_one_rejected_change_does_not_touch_its_neighbours(self, ledger: Ledger) -> None:
        good = [builders.candidates_ready(builders.submission(name)) for name in "ab"]
        unknown = change(uuid4(), review.expired(NOW))

        results = await ledger.apply([listed(good[0]), unknown, listed(good[1])])

        assert [type(result) for result in results] == [Case, NotPermitted, Case]
        assert await ledger.case(unknown.submission_id) is None
        for found in good:
            assert await ledger.case(found.submission.submission_id) is not None


class TestOutbox:
    async def test_what_is_promised_is_returned_in_order_until_it_is_published(self, ledger: Ledger) -> None:
        await confirm(ledger, builders.candidates_ready())
        lead, told = await ledger.unpublished(10)
        assert isinstance(lead.event, IdentificationConfirmed)
        assert isinstance(told.event, SubmissionClosed)

        await ledger.published([lead.event.event_id])
        assert await ledger.unpublished(10) == [told]

        await ledger.published([lead.event.event_id, told.event.event_id])
        assert await ledger.unpublished(10) == []

    async def test_one_at_a_time_has_the_turn_to_carry_it(self, ledger: Ledger) -> None:
        mine = await ledger.take_turn()
        assert mine is not None
        async with mine:
            assert await mine.holds()
            assert await ledger.take_turn() is None
            assert await mine.holds()

        next_one = await ledger.take_turn()
        assert next_one is not None
        async with next_one:
            assert await next_one.holds()

    async def test_marking_nothing_or_the_unknown_is_no_error(self, ledger: Ledger) -> None:
        await confirm(ledger, builders.candidates_ready())

        await ledger.published([])
        await ledger.published([uuid4()])

        assert len(await ledger.unpublished(10)) == 2

    async def test_the_oldest_promises_come_first_across_batches(self, ledger: Ledger) -> None:
        blanks = [builders.candidates_ready(builders.submission(name), people=()) for name in "edcba"]
        for found in blanks:
            await ledger.apply([listed(found)])

        first_three = await ledger.unpublished(3)

        assert [promised.event.key for promised in first_three] == [found.key for found in blanks[:3]]

    async def test_a_promise_is_made_once_even_if_two_changes_make_it(self, ledger: Ledger) -> None:
        found = builders.candidates_ready()
        told = builders.closed(Outcome.EXPIRED)
        await ledger.apply([listed(found)])

        def tell(case: Case | None) -> Step:
            assert case is not None
            return Step(case, emit=(told,))

        await ledger.apply([change(told.submission_id, tell), change(told.submission_id, tell)])
        await ledger.apply([change(told.submission_id, tell)])

        assert [promised.event for promised in await ledger.unpublished(10)] == [told]

    async def test_a_parked_decision_that_does_not_count_is_promised_to_the_dead_letters(self, ledger: Ledger) -> None:
        found = builders.candidates_ready()
        stale = builders.decision(found, list_digest=builders.sha256("another list"))

        await ledger.apply([decides(stale), listed(found)])

        (refused,) = await ledger.unpublished(10)
        assert refused.event == stale
        assert isinstance(refused.refusal, NotPermitted)
        assert str(refused.refusal).startswith("list_digest: ")

    async def test_a_withdrawal_is_promised_after_its_lead(self, ledger: Ledger) -> None:
        found = builders.candidates_ready()
        await confirm(ledger, found)

        await ledger.apply([recalls(found)])

        assert [promised.event.ce_type for promised in await ledger.unpublished(10)] == [
            "rfr.identification-confirmed.v1",
            "rfr.submission-closed.v1",
            "rfr.identification-withdrawn.v1",
            "rfr.submission-closed.v1",
        ]


class TestReferences:
    async def test_a_held_reference_is_returned_as_it_was_given(self, ledger: Ledger) -> None:
        reference = builders.reference()

        await ledger.hold([reference])

        assert await ledger.held([reference.reference_id, uuid4()]) == {reference.reference_id: reference}

    async def test_an_incomplete_hold_record_stays_incomplete(self, ledger: Ledger) -> None:
        reference = builders.reference(
            legal_basis=None, source=None, captured_at=None, review_due=None, restricted=None
        )

        await ledger.hold([reference])

        assert await ledger.held([reference.reference_id]) == {reference.reference_id: reference}

    async def test_the_last_hold_record_stands(self, ledger: Ledger) -> None:
        reference = builders.reference()
        restricted = replace(reference, restricted=True)
        renewed = replace(restricted, legal_basis="court order")

        await ledger.hold([reference])
        await ledger.hold([restricted, renewed])

        assert await ledger.held([reference.reference_id]) == {reference.reference_id: renewed}

    async def test_an_older_record_never_replaces_a_newer_one(self, ledger: Ledger) -> None:
        """A replayed dead letter from before a restriction must not lift it."""
        older = builders.reference()
        restricted = replace(older, restricted=True, recorded_at=older.recorded_at + timedelta(seconds=1))

        await ledger.hold([restricted])
        await ledger.hold([older])
        assert await ledger.held([older.reference_id]) == {older.reference_id: restricted}

        await ledger.hold([restricted, older])
        assert await ledger.held([older.reference_id]) == {older.reference_id: restricted}

    async def test_an_erased_reference_stays_erased(self, ledger: Ledger) -> None:
        gone, kept = builders.reference("person-1"), builders.reference("person-2")
        await ledger.hold([gone, kept])

        await ledger.erase([gone.reference_id])
        await ledger.erase([gone.reference_id])
        await ledger.hold([gone, kept])

        ids = [gone.reference_id, kept.reference_id]
        assert await ledger.held(ids) == {kept.reference_id: kept}
        assert await ledger.erased(ids) == {gone.reference_id}

    async def test_what_was_never_held_can_be_erased_in_advance(self, ledger: Ledger) -> None:
        reference = builders.reference()

        await ledger.erase([reference.reference_id])
        await ledger.hold([reference])

        assert await ledger.held([reference.reference_id]) == {}

    async def test_no_references_are_no_error(self, ledger: Ledger) -> None:
        await ledger.hold([])
        await ledger.erase([])

        assert await ledger.held([]) == {}
        assert await ledger.erased([]) == set()


class TestDisposals:
    async def heard(self, ledger: Ledger) -> tuple[CaseDisposed, ...]:
        reference = builders.reference()
        return (await ledger.held([reference.reference_id]))[reference.reference_id].disposed

    @pytest.mark.parametrize("enrolled_first", [True, False])
    async def test_what_became_of_a_case_stands_beside_its_references_whichever_comes_first(
        self, ledger: Ledger, *, enrolled_first: bool
    ) -> None:
        said = builders.case_disposed()
        if enrolled_first:
            await ledger.hold([builders.reference()])
            await ledger.dispose([said])
        else:
            await ledger.dispose([said])
            await ledger.hold([builders.reference()])

        assert await self.heard(ledger) == (said,)

    async def test_the_later_word_on_a_case_stands_in_whichever_order_the_two_come(self, ledger: Ledger) -> None:
        first = builders.case_disposed(disposal=Disposal.ACQUITTED, occurred_at=NOW)
        last = builders.case_disposed(disposal=Disposal.CONVICTED, occurred_at=LATER)
        await ledger.hold([builders.reference()])

        for words in ([first, last], [last, first], [first], [last]):
            await ledger.dispose(words)
            if last in words:
                assert await self.heard(ledger) == (last,)
        await ledger.dispose([first])
        assert await self.heard(ledger) == (last,)

    async def test_each_case_of_a_person_has_its_own_word(self, ledger: Ledger) -> None:
        await ledger.hold([builders.reference(), builders.reference("person-2")])
        words = [builders.case_disposed(case_ref=f"arrest-{number}") for number in range(3)]
        for word in words:
            await ledger.dispose([word])

        assert {said.case_ref for said in await self.heard(ledger)} == {"arrest-0", "arrest-1", "arrest-2"}
        other = builders.reference("person-2").reference_id
        assert (await ledger.held([other]))[other].disposed == ()

    async def test_a_renewed_hold_record_does_not_forget_what_became_of_the_case(self, ledger: Ledger) -> None:
        await ledger.hold([builders.reference()])
        await ledger.dispose([builders.case_disposed()])
        await ledger.hold([builders.reference(recorded_at=LATER, restricted=True)])

        assert len(await self.heard(ledger)) == 1

    async def test_all_that_a_hold_record_says_is_kept(self, ledger: Ledger) -> None:
        said = builders.reference(
            age_at_capture=17,
            case_ref="arrest-1",
            disposal=Disposal.CHARGED,
            door=Source.PUBLIC_APPEAL,
            regime=Regime.GENERAL,
            found=Found(where="a river bank", when=NOW),
        )
        await ledger.hold([said])

        assert await ledger.held([said.reference_id]) == {said.reference_id: said}

    async def test_nothing_to_dispose_of_is_no_error(self, ledger: Ledger) -> None:
        await ledger.dispose([])


class TestConflicts:
    def between(self, one: str, other: str, similarity: float = 0.9) -> Conflict:
        return Conflict.between(builders.reference(one), builders.reference(other), similarity)

    async def test_a_conflict_is_new_once_and_the_nearest_comes_first(self, ledger: Ledger) -> None:
        near, far = self.between("a", "b", 0.99), self.between("a", "c", 0.7)

        assert sorted(await ledger.report([far, near]), key=lambda each: each.similarity) == [far, near]
        assert await ledger.report([near, far, self.between("b", "a", 0.99)]) == []
        assert await ledger.report([]) == []

        assert await ledger.conflicts() == [near, far]
        assert await ledger.conflicts(limit=1) == [near]

    async def test_a_conflict_ends_when_either_reference_is_erased(self, ledger: Ledger) -> None:
        stands = self.between("c", "d")
        await ledger.report([self.between("a", "b"), self.between("b", "c"), stands])

        await ledger.erase([builders.reference("b").reference_id])

        assert await ledger.conflicts() == [stands]

    async def test_nobody_who_was_erased_comes_into_a_conflict_again(self, ledger: Ledger) -> None:
        await ledger.erase([builders.reference("b").reference_id])
        stands = self.between("c", "d")
        assert await ledger.report([self.between("a", "b"), self.between("b", "c"), stands]) == [stands]
        assert await ledger.report([self.between("a", "b")]) == []
        assert await ledger.conflicts() == [stands]


class TestPages:
    async def test_page_by_page_everybody_comes_once(self, ledger: Ledger) -> None:
        held = [builders.reference(f"person-{number}") for number in range(7)]
        await ledger.hold(held)
        await ledger.dispose([builders.case_disposed("person-3")])

        pages = [page := await ledger.page(limit=3)]
        while page:
            pages.append(page := await ledger.page(after=page[-1].reference_id, limit=3))

        assert [len(each) for each in pages] == [3, 3, 1, 0]
        found = {each.reference_id: each for page in pages for each in page}
        assert found == await ledger.held([each.reference_id for each in held])
        assert list(found) == sorted(found)

    async def test_a_persons_are_all_of_theirs_and_nobody_elses(self, ledger: Ledger) -> None:
        mine = [builders.reference("person-1", reference_id=UUID(int=number)) for number in range(1, 6)]
        await ledger.hold([*mine, builders.reference("person-2"), builders.reference("person-11")])

        first = await ledger.page(person="person-1", limit=3)
        rest = await ledger.page(person="person-1", limit=3, after=first[-1].reference_id)

        assert [each.reference_id for each in (*first, *rest)] == [each.reference_id for each in mine]
        assert await ledger.page(person="person") == []


class TestDoors:
    async def test_an_image_is_known_by_every_door_that_its_references_came_through(self, ledger: Ledger) -> None:
        one = builders.reference(door=Source.OFFICER)
        other = builders.reference(reference_id=uuid4(), gallery=GalleryName.MISSING, door=Source.MISSING_PERSON)
        await ledger.hold([one, other, builders.reference("person-2")])

        found = await ledger.doors([one.image.sha256, builders.sha256("unknown")])

        assert found == {one.image.sha256: {Source.OFFICER, Source.MISSING_PERSON}}
        assert await ledger.doors([]) == {}

    async def test_an_image_that_was_searched_with_is_known_by_its_door_unless_it_was_in_custody_before(
        self, ledger: Ledger
    ) -> None:
        taken = builders.reference(gallery=GalleryName.CUSTODY, door=Source.OFFICER)
        given = builders.sha256("given")
        await ledger.hold([taken])

        for _ in range(2):
            await ledger.entrust({taken.image.sha256: Source.MISSING_PERSON, given: Source.MISSING_PERSON})
        await ledger.entrust({given: Source.DECEASED_PERSON})

        found = await ledger.doors([taken.image.sha256, given])
        assert found == {
            taken.image.sha256: {Source.OFFICER},
            given: {Source.MISSING_PERSON, Source.DECEASED_PERSON},
        }

    async def test_an_image_from_the_public_is_known_by_its_door_before_anybody_has_looked(
        self, ledger: Ledger
    ) -> None:
        said = sent_in("one")
        await ledger.contribute([said])
        assert await ledger.doors([said.image.sha256]) == {said.image.sha256: {Source.PUBLIC_APPEAL}}


class TestReviewers:
    async def test_a_registered_reviewer_is_found(self, ledger: Ledger) -> None:
        reviewer = builders.reviewer()

        await ledger.register(reviewer)

        assert await ledger.reviewer(reviewer.reviewer_id) == reviewer
        assert await ledger.reviewer("reviewer-b") is None

    async def test_training_is_renewed_and_can_be_ended(self, ledger: Ledger) -> None:
        reviewer = builders.reviewer()
        await ledger.register(reviewer)

        for until in (reviewer.competent_until + timedelta(days=365), NOW):
            await ledger.register(replace(reviewer, competent_until=until))
            assert await ledger.reviewer(reviewer.reviewer_id) == replace(reviewer, competent_until=until)

    async def test_a_key_in_use_is_never_replaced(self, ledger: Ledger) -> None:
        reviewer = builders.reviewer()
        await ledger.register(reviewer)
        usurper = replace(reviewer, public_key=builders.reviewer("reviewer-b").public_key, competent_until=LATER)

        with pytest.raises(NotPermitted, match="public_key"):
            await ledger.register(usurper)

        assert await ledger.reviewer(reviewer.reviewer_id) == reviewer

    async def test_nobody_is_two_reviewers(self, ledger: Ledger) -> None:
        reviewer = builders.reviewer()
        await ledger.register(reviewer)

        with pytest.raises(NotPermitted, match="public_key"):
            await ledger.register(replace(reviewer, reviewer_id="reviewer-b"))

        assert await ledger.reviewer("reviewer-b") is None

    async def test_a_duty_is_kept_and_never_changed(self, ledger: Ledger) -> None:
        reviewer, supervisor = builders.reviewer(), builders.supervisor()
        for person in (reviewer, supervisor):
            await ledger.register(person)
            assert await ledger.reviewer(person.reviewer_id) == person

        for person, duty in ((reviewer, Duty.SUPERVISE), (supervisor, Duty.REVIEW)):
            with pytest.raises(NotPermitted, match="one duty"):
                await ledger.register(replace(person, duty=duty))
            assert await ledger.reviewer(person.reviewer_id) == person

    async def test_what_was_said_of_a_reviewer_earlier_never_replaces_what_was_said_later(self, ledger: Ledger) -> None:
        """An old certificate that comes again must not make anybody competent."""
        certified = replace(builders.reviewer(), recorded_at=NOW)
        ended = replace(certified, competent_until=LATER, recorded_at=LATER)
        for person in (certified, ended, certified):
            await ledger.register(person)
        assert await ledger.reviewer("reviewer-a") == ended

        renewed = replace(certified, recorded_at=LATER)
        await ledger.register(renewed)
        assert await ledger.reviewer("reviewer-a") == renewed, "of the same moment, the last word"

    async def test_the_longest_key_that_may_be_certified_is_kept(self, ledger: Ledger) -> None:
        longest = replace(builders.reviewer(), public_key="A" * 2_048)

        await ledger.register(longest)

        assert await ledger.reviewer("reviewer-a") == longest


FAR_AWAY = datetime(2999, 1, 1, tzinfo=UTC)
"""After whatever the real clock says, which a ledger goes by when it marks."""


class TestSubscribers:
    """Whoever acknowledged a lead is sent its withdrawal until they have acknowledged that too."""

    async def withdrawn(self, ledger: Ledger, name: str = "probe") -> tuple[Event, Event]:
        """Give out a lead, recall it, publish both, and return them."""
        found = builders.candidates_ready(builders.submission(name))
        await confirm(ledger, found)
        await ledger.apply([recalls(found)])
        said = [owed.event for owed in await ledger.unpublished(100)]
        await ledger.published([event.event_id for event in said])
        (lead,) = [event for event in said if isinstance(event, IdentificationConfirmed)]
        (recall,) = [event for event in said if isinstance(event, IdentificationWithdrawn)]
        return lead, recall

    async def owed(self, ledger: Ledger) -> list[Event]:
        return [owed.event for owed in await ledger.unpublished(100)]

    async def test_whoever_had_the_lead_is_reminded_until_they_acknowledge_its_withdrawal(self, ledger: Ledger) -> None:
        lead, recall = await self.withdrawn(ledger)
        await ledger.acknowledge([builders.acknowledged(lead)])

        for _ in range(2):
            assert await ledger.remind(FAR_AWAY) == 1
            assert await self.owed(ledger) == [recall]
            assert await ledger.remind(FAR_AWAY) == 0, "it is on its way already"
            await ledger.published([recall.event_id])
        await ledger.acknowledge([builders.acknowledged(recall)])
        assert await ledger.remind(FAR_AWAY) == 0
        assert await self.owed(ledger) == []

    async def test_each_who_had_it_counts(self, ledger: Ledger) -> None:
        lead, recall = await self.withdrawn(ledger)
        await ledger.acknowledge([builders.acknowledged(lead, subscriber=name) for name in ("one", "other")])

        await ledger.acknowledge([builders.acknowledged(recall, subscriber="one")])
        assert await ledger.remind(FAR_AWAY) == 1
        await ledger.published([recall.event_id])
        await ledger.acknowledge([builders.acknowledged(recall, subscriber="other")])
        assert await ledger.remind(FAR_AWAY) == 0

    async def test_nobody_is_reminded_of_what_they_never_had(self, ledger: Ledger) -> None:
        lead, recall = await self.withdrawn(ledger)
        other, _ = await self.withdrawn(ledger, "other")

        assert await ledger.remind(FAR_AWAY) == 0
        await ledger.acknowledge([builders.acknowledged(recall)])
        assert await ledger.remind(FAR_AWAY) == 0
        await ledger.acknowledge([builders.acknowledged(other)])
        assert await ledger.remind(FAR_AWAY) == 1
        assert [
            event.submission_id for event in await self.owed(ledger) if isinstance(event, IdentificationWithdrawn)
        ] == [builders.submission("other").submission_id]
        assert lead not in await self.owed(ledger)

    async def test_a_lead_that_stands_is_not_said_again(self, ledger: Ledger) -> None:
        await confirm(ledger, builders.candidates_ready())
        lead, told = await self.owed(ledger)
        await ledger.published([lead.event_id, told.event_id])
        await ledger.acknowledge([builders.acknowledged(lead)])

        assert await ledger.remind(FAR_AWAY) == 0

    async def test_there_is_time_to_answer(self, ledger: Ledger) -> None:
        lead, _ = await self.withdrawn(ledger)
        await ledger.acknowledge([builders.acknowledged(lead)])

        assert await ledger.remind(datetime.now(UTC) - timedelta(hours=1)) == 0

    async def test_what_has_not_been_said_yet_is_said_once(self, ledger: Ledger) -> None:
        found = builders.candidates_ready()
        await confirm(ledger, found)
        lead, _ = await self.owed(ledger)
        await ledger.apply([recalls(found)])
        await ledger.acknowledge([builders.acknowledged(lead)])

        assert await ledger.remind(FAR_AWAY) == 0
        assert len(await self.owed(ledger)) == 4

    async def test_an_acknowledgement_that_comes_twice_or_of_nothing_is_no_error(self, ledger: Ledger) -> None:
        lead, _ = await self.withdrawn(ledger)
        stray = builders.acknowledged(builders.identification_confirmed(submission_id=uuid4()))

        await ledger.acknowledge([])
        await ledger.acknowledge([builders.acknowledged(lead), builders.acknowledged(lead), stray])
        await ledger.acknowledge([builders.acknowledged(lead)])
        await ledger.published([stray.acknowledged, uuid4()])

        assert await ledger.remind(FAR_AWAY) == 1


def sent_in(name: str, picture: str | None = None, **fields: object) -> Contribution:
    """Return a contribution of this name, with the picture of that name (by default its own; "": none)."""
    event = builders.appeal_image_received(name)
    shown = name if picture is None else picture
    said: dict[str, object] = {
        "contribution_id": event.contribution_id,
        "appeal_ref": event.appeal_ref,
        "portal": event.portal,
        "image": event.image,
        "received_at": event.occurred_at,
        "fingerprint": fingerprint(np.asarray(pictures.picture(shown))) if shown else None,
        "pixels": 480 * 360 if shown else 0,
        "flaw": None if shown else "image: truncated",
    }
    return Contribution(**{**said, **fields})  # type: ignore[arg-type]


async def groups(ledger: Ledger, *said: Contribution) -> list[UUID | None]:
    found = await ledger.grouped([each.contribution_id for each in said])
    return [found[each.contribution_id] for each in said]


class TestAppeals:
    async def test_copies_are_one_group_in_one_batch_and_across_batches(self, ledger: Ledger) -> None:
        first, copy, later, other = sent_in("a"), sent_in("b", "a"), sent_in("c", "a"), sent_in("d")
        await ledger.contribute([first, copy])
        await ledger.contribute([other, later])
        id_ = first.contribution_id
        assert await groups(ledger, first, copy, later, other) == [id_, id_, id_, other.contribution_id]

    async def test_appeals_and_worlds_share_no_group(self, ledger: Ledger) -> None:
        said = [sent_in("a"), sent_in("b", "a", appeal_ref="appeal-2"), sent_in("c", "a", demo=True)]
        await ledger.contribute(said)
        assert await groups(ledger, *said) == [each.contribution_id for each in said]

    async def test_what_could_not_be_opened_is_kept_and_belongs_to_no_group(self, ledger: Ledger) -> None:
        await ledger.contribute([sent_in("a", "")])
        assert await groups(ledger, sent_in("a")) == [None]

    async def test_again_in_any_order_changes_nothing(self, ledger: Ledger) -> None:
        said = [sent_in("a"), sent_in("b", "a"), sent_in("c"), sent_in("d", "")]
        await ledger.contribute(said)
        before = await groups(ledger, *said)
        await ledger.contribute([*reversed(said), *said])
        assert await groups(ledger, *said) == before

    async def test_nothing_to_keep_is_no_error_and_an_unknown_one_is_absent(self, ledger: Ledger) -> None:
        await ledger.contribute([])
        assert await ledger.grouped([]) == await ledger.grouped([uuid4()]) == {}

    async def test_those_who_write_at_the_same_time_found_one_group(self, ledger: Ledger) -> None:
        said = [sent_in(f"n{n}", "a") for n in range(8)]
        await asyncio.gather(*(ledger.contribute([each]) for each in said))
        assert len(set(await groups(ledger, *said))) == 1


class TestOutcomes:
    @pytest.mark.parametrize(
        ("supports", "state"),
        [
            ([Support.STRONG_DIFFERENT, Support.UNSUITABLE], CaseState.NOT_CONFIRMED),
            ([Support.INCONCLUSIVE, Support.INCONCLUSIVE], CaseState.INCONCLUSIVE),
        ],
    )
    async def test_an_end_without_a_lead_promises_none(
        self, ledger: Ledger, supports: Sequence[Support], state: CaseState
    ) -> None:
        found = builders.candidates_ready()
        decisions = [
            decides(builders.decision(found, by=by, support=support))
            for by, support in zip(("reviewer-a", "reviewer-b"), supports, strict=True)
        ]

        results = await ledger.apply([listed(found), *decisions])

        assert state_of(results[-1]) is state
        assert [type(promised.event) for promised in await ledger.unpublished(10)] == [SubmissionClosed]


async def test_whose_face_a_reference_is_held_for_stands_until_another_is_named(ledger: Ledger) -> None:
    said = builders.reference("person-1", subject=Point(1, 2))
    for again, stands in ((said, Point(1, 2)), (replace(said, subject=None), Point(1, 2))):
        await ledger.hold([again])
        assert [held.subject for held in (await ledger.held([said.reference_id])).values()] == [stands]
    await ledger.hold([replace(said, subject=Point(5, 6), recorded_at=LATER)])
    assert [held.subject for held in await ledger.page()] == [Point(5, 6)]


# --- which model serves ---------------------------------------------------------------------------------------------
OLD = Served("old", builders.identity("old"), 0.4, NOW)
NEW = Served("new", builders.identity("new"), 0.6, LATER)
STOOD_UNTIL = LATER + timedelta(days=90)


async def test_as_long_as_no_model_was_changed_no_record_says_which_serves(ledger: Ledger) -> None:
    assert tuple(await ledger.served()) == ()
    await ledger.retire()
    assert tuple(await ledger.served()) == ()


async def test_a_change_of_model_is_on_record_with_the_model_before(ledger: Ledger) -> None:
    assert await ledger.serve(NEW, OLD, seen=await ledger.extent())
    assert tuple(await ledger.served()) == (NEW, OLD)
    back = replace(OLD, since=LATER + timedelta(hours=1))
    assert await ledger.serve(back, NEW, seen=await ledger.extent())
    assert tuple(await ledger.served()) == (back, NEW)
    third = replace(NEW, embedder=builders.identity("third"))
    assert await ledger.serve(third, back, seen=await ledger.extent())
    assert tuple(await ledger.served()) == (third, back, NEW)
    await ledger.retire()
    assert tuple(await ledger.served()) == (third,)


async def test_whoever_comes_or_goes_changes_the_extent(ledger: Ledger) -> None:
    one, other = builders.reference("person-1"), builders.reference("person-2")
    await ledger.hold([one])
    before = await ledger.extent()
    assert before == await ledger.extent() == Extent(held=1, erased=0, rewritten=0)
    await ledger.hold([other])
    await ledger.erase([one.reference_id])
    assert await ledger.extent() == Extent(held=1, erased=1, rewritten=0)


async def test_no_model_is_changed_past_somebody_who_was_corrected_meanwhile(ledger: Ledger) -> None:
    one = builders.reference("person-1", subject=Point(1, 2))
    await ledger.hold([one, builders.reference("person-2", recorded_at=LATER)])
    seen = await ledger.extent()
    await ledger.hold([replace(one, subject=Point(5, 6))])
    assert not await ledger.serve(NEW, OLD, seen=seen)
    assert await ledger.serve(NEW, OLD, seen=await ledger.extent())


async def test_no_model_is_changed_past_somebody_who_came_or_went_meanwhile(ledger: Ledger) -> None:
    one, other = builders.reference("person-1"), builders.reference("person-2")
    await ledger.hold([one])
    seen = await ledger.extent()
    await ledger.hold([other])
    assert not await ledger.serve(NEW, OLD, seen=seen)
    seen = await ledger.extent()
    await ledger.erase([one.reference_id])
    assert not await ledger.serve(NEW, OLD, seen=seen)
    assert tuple(await ledger.served()) == ()
    assert await ledger.serve(NEW, OLD, seen=await ledger.extent())


def sought(by: Served, at: datetime = NOW) -> FaceEmbedded:
    template = builders.template(embedder=by.embedder)
    return builders.face_embedded().model_copy(update={"template": template, "occurred_at": at})


async def test_whoever_is_still_sought_is_asked_about_once_more_when_the_model_changes(ledger: Ledger) -> None:
    probe = sought(OLD)
    await ledger.stand([probe], STOOD_UNTIL)
    for change in ((NEW, OLD), (replace(OLD, embedder=builders.identity("third")), NEW)):
        assert await ledger.serve(*change, seen=await ledger.extent())
        (owed,) = await ledger.unpublished(9)
        assert isinstance(owed.event, ImageSubmitted)
        assert owed.event.submission == probe.submission
        assert owed.event.subject == probe.face.box.centre, "the face that was embedded before"
        assert owed.again, "else the relay takes what lies on the topic already for this"
        await ledger.published([owed.event.event_id])
        assert await ledger.unpublished(9) == []


async def test_whoever_is_sought_no_more_or_with_the_new_model_already_is_not_asked_about(ledger: Ledger) -> None:
    ended, lapsed, new = (
        probe.model_copy(update={"submission": builders.submission(name)})
        for name, probe in (("ended", sought(OLD)), ("lapsed", sought(OLD)), ("new", sought(NEW)))
    )
    await ledger.stand([ended, new], STOOD_UNTIL)
    await ledger.stand([lapsed], NOW)
    await ledger.end(ended.submission.submission_id, Ending(NOW, "unit-1", "found"))
    owed = await ledger.unpublished(9)
    assert await ledger.serve(NEW, OLD, seen=await ledger.extent())
    assert await ledger.unpublished(9) == owed


async def test_a_probe_stands_with_the_template_of_the_newer_model_and_never_of_the_older_again(ledger: Ledger) -> None:
    old, new = sought(OLD), sought(NEW, LATER)
    about = old.submission.submission_id
    await ledger.stand([old], STOOD_UNTIL)
    for again in (new, old, new):
        await ledger.stand([again], STOOD_UNTIL + timedelta(days=90))
        assert await ledger.standing(NEW.embedder, NOW) == {about}
        assert await ledger.standing(OLD.embedder, NOW) == set()
        (stood,) = await ledger.stood()
        assert (stood.probe, stood.until) == (new, STOOD_UNTIL)


async def test_a_probe_whose_search_has_ended_does_not_stand_with_a_newer_model(ledger: Ledger) -> None:
    await ledger.stand([sought(OLD)], STOOD_UNTIL)
    await ledger.end(sought(OLD).submission.submission_id, Ending(NOW, "unit-1", "found"))
    await ledger.stand([sought(NEW, LATER)], STOOD_UNTIL)
    assert await ledger.standing(NEW.embedder, NOW) == set()
    assert [each.probe for each in await ledger.stood()] == [sought(OLD)]
