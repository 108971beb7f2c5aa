"""The whole way of a decision, with real keys: whatever comes, in whatever order, twice or forged."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any

import builders
import pytest
from builders import LATER, NOW
from hypothesis import event as counted
from hypothesis import given, settings
from hypothesis import strategies as st

from rfr_stream import review, stages
from rfr_stream.adapters.keys import Ed25519Verifier
from rfr_stream.adapters.memory.ledger import MemoryLedger
from rfr_stream.errors import NotPermitted, Rejected
from rfr_stream.events import (
    CandidatesReady,
    Event,
    IdentificationConfirmed,
    Outcome,
    ReviewDecided,
    SubmissionClosed,
    Support,
)
from rfr_stream.policy import LEAD_SUPPORT
from rfr_stream.ports import CaseState, Change

FOUND = builders.candidates_ready(people=("person-1", "person-2"))
SUBMITTER = FOUND.submission.submitted_by
REGISTERED = ("reviewer-a", "reviewer-b", "reviewer-c", SUBMITTER)
VERIFIER = Ed25519Verifier()


@dataclass
class House:
    """A ledger and the people it knows."""

    ledger: MemoryLedger = field(default_factory=MemoryLedger)

    async def open(self) -> "House":
        for by in REGISTERED:
            await self.ledger.register(builders.reviewer(by))
        await self.ledger.register(builders.reviewer("lapsed", competent_until=NOW))
        await self.ledger.hold(builders.references_of(FOUND))
        return self

    async def receive(self, event: Event) -> None:
        """Take an event as the stages do; what is refused leaves no trace, and that is looked at afterwards."""
        match event:
            case ReviewDecided():
                try:
                    await stages.decide(event, ledger=self.ledger, verifier=VERIFIER, now=NOW)
                except Rejected:
                    return
            case CandidatesReady():
                await stages.hold([event], cases=self.ledger, now=NOW)
            case SubmissionClosed(outcome=Outcome.EXPIRED):
                await stages.expire(cases=self.ledger, opened_before=LATER, now=LATER)
            case SubmissionClosed():
                await stages.note([event], cases=self.ledger, now=NOW)

    async def leads(self) -> list[IdentificationConfirmed]:
        promised = [outgoing.event for outgoing in await self.ledger.unpublished(1_000)]
        return [event for event in promised if isinstance(event, IdentificationConfirmed)]


def genuine(by: str, support: Support, person_id: str | None) -> ReviewDecided:
    return builders.decision(FOUND, by=by, support=support, person_id=person_id)


def tampered(decision: ReviewDecided, change: dict[str, Any]) -> ReviewDecided:
    return decision.model_copy(update=change)


def in_the_name_of(victim: str, decision: ReviewDecided) -> ReviewDecided:
    """Return the decision as its signer would have to forge it: another's name, the signer's own key."""
    other = builders.decision(FOUND, by=decision.reviewer_id, support=decision.support, person_id=decision.person_id)
    return other.model_copy(update={"reviewer_id": victim})


GENUINE = st.builds(
    genuine,
    st.sampled_from(REGISTERED),
    st.sampled_from([*Support, Support.STRONG_SAME, Support.STRONG_SAME, Support.MODERATE_SAME]),
    st.sampled_from(["person-1", "person-1", "person-2", "person-99", None]),
)
FORGED = st.one_of(
    st.builds(in_the_name_of, st.sampled_from(REGISTERED[:3]), GENUINE),
    st.builds(genuine, st.sampled_from(["stranger", "lapsed"]), st.just(Support.STRONG_SAME), st.just("person-1")),
    st.builds(
        tampered,
        GENUINE,
        st.sampled_from(
            [
                {"support": Support.STRONG_SAME, "person_id": "person-1"},
                {"person_id": "person-2"},
                {"list_digest": FOUND.list_digest, "similarities": ("added later",)},
                {"occurred_at": LATER},
                {"signature": "A" * 86 + "=="},
            ]
        ),
    ),
)
MACHINES = st.sampled_from(
    [
        FOUND,
        builders.candidates_ready(people=("person-2", "person-1")),
        builders.candidates_ready(people=()),
        builders.closed(Outcome.NO_FACE),
        builders.closed(Outcome.SUBJECT_SELECTION_REQUIRED),
        builders.closed(Outcome.CONFIRMED),
        builders.closed(Outcome.EXPIRED),
    ]
)
AGREED = [FOUND, *(genuine(by, Support.STRONG_SAME, "person-1") for by in REGISTERED[:2])]
NOISE = st.lists(st.one_of(GENUINE, FORGED, MACHINES), max_size=8)
EVENTS = st.builds(lambda agreed, noise: [*agreed, *noise], st.sampled_from([AGREED, AGREED[:2], []]), NOISE)


@settings(max_examples=100, deadline=None)
@given(EVENTS, st.randoms(use_true_random=False))
def test_a_lead_takes_two_people_whatever_else_comes(events: list[Event], random: Any) -> None:  # noqa: ANN401
    again = [*events, *random.sample(events, k=len(events) // 2)]
    random.shuffle(again)
    asyncio.run(_holds(again))


async def _holds(events: Sequence[Event]) -> None:
    house = await House().open()
    for what in events:
        await house.receive(what)

    case = await house.ledger.case(FOUND.submission.submission_id)
    promised = await house.leads()
    counted(f"leads: {len(promised)}")
    assert len(promised) == (1 if case and case.state is CaseState.CONFIRMED else 0)
    if case is None:
        return
    for decision in (*case.decisions, *case.parked):
        assert decision.reviewer_id in REGISTERED
        public_key = builders.reviewer(decision.reviewer_id).public_key
        assert VERIFIER.verify(public_key, decision.signed_bytes, decision.signature)
    for lead in promised:
        assert case.candidates is not None
        first, second = case.decisions
        assert {first.reviewer_id, second.reviewer_id} < set(REGISTERED) - {SUBMITTER}
        assert {first.person_id, second.person_id} == {lead.person_id}
        assert {first.support, second.support} <= LEAD_SUPPORT
        assert {first.list_digest, second.list_digest} == {case.candidates.list_digest}
        assert lead.person_id in {candidate.person_id for candidate in case.candidates.candidates}
        assert [review.reviewer_ref for review in lead.reviews] == [first.reviewer_id, second.reviewer_id]


async def test_two_honest_people_are_heard_in_any_order_and_however_often() -> None:
    decisions = (genuine(by, Support.STRONG_SAME, "person-1") for by in ("reviewer-a", "reviewer-b"))
    said: list[Event] = [FOUND, *decisions]
    for order in set(permutations([0, 1, 2, 0, 1, 2])):
        house = await House().open()
        for item in order:
            await house.receive(said[item])

        assert len(await house.leads()) == 1
        assert len(await house.ledger.unpublished(10)) == 2, "one lead, one outcome, no refusal"


@pytest.mark.parametrize("victim", ["reviewer-b", "reviewer-c"])
async def test_nobody_can_speak_in_anothers_name(victim: str) -> None:
    house = await House().open()
    await house.receive(FOUND)
    await house.receive(genuine("reviewer-a", Support.STRONG_SAME, "person-1"))

    forged = in_the_name_of(victim, genuine("reviewer-a", Support.MODERATE_SAME, "person-1"))
    with pytest.raises(NotPermitted, match=r"^signature: "):
        await stages.decide(forged, ledger=house.ledger, verifier=VERIFIER, now=NOW)

    assert await house.leads() == []


async def test_the_whole_stream_again_changes_nothing_and_says_nothing() -> None:
    """A replay from the first offset, after the withdrawal of the lead too."""
    house = await House().open()
    stream = [FOUND, *(genuine(by, Support.STRONG_SAME, "person-1") for by in ("reviewer-a", "reviewer-b"))]
    about = FOUND.submission.submission_id
    for event in stream:
        await house.receive(event)
    recall = Change(about, builders.identification_withdrawn().event_id, review.withdrawn("error", "officer-2", LATER))
    await house.ledger.apply([recall])
    case, promised = await house.ledger.case(about), await house.ledger.unpublished(100)

    for event in [*stream, *(outgoing.event for outgoing in promised)]:
        await house.receive(event)

    assert await house.ledger.case(about) == case
    assert await house.ledger.unpublished(100) == promised
