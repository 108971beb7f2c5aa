"""One law for every ledger: in memory, on SQLite and on PostgreSQL."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import builders
import pytest
from builders import LATER, NOW

from rfr_stream import review
from rfr_stream.adapters.ledger import SqlLedger
from rfr_stream.adapters.memory.ledger import MemoryLedger
from rfr_stream.errors import NotPermitted, Rejected
from rfr_stream.events import (
    CandidatesReady,
    IdentificationConfirmed,
    Outcome,
    ReviewDecided,
    SubmissionClosed,
    Support,
)
from rfr_stream.ports import Case, CaseState, Change, Ledger, Step, Transition


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

        expected = Case(found.submission.submission_id, CaseState.AWAITING_REVIEW, NOW, candidates=found, demo=True)
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

        await ledger.apply([change(found.submission.submission_id, review.withdrawn("error", "officer-2", LATER))])

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


class TestOutcomes:
    @pytest.mark.parametrize(
        ("supports", "state"),
        [
            ([Support.STRONG_DIFFERENT, Support.UNSUITABLE], CaseState.NOT_CONFIRMED),
            ([Support.STRONG_SAME, Support.STRONG_DIFFERENT], CaseState.INCONCLUSIVE),
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
