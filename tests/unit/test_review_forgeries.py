"""The whole way of a decision, with real keys: whatever comes, in whatever order, twice or forged."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import permutations
from typing import Any

import builders
import pytest
from builders import LATER, NOW
from hypothesis import event as counted
from hypothesis import given, settings
from hypothesis import strategies as st

from rfr_stream import stages
from rfr_stream.adapters.keys import KeyVerifier
from rfr_stream.adapters.memory.ledger import MemoryLedger
from rfr_stream.errors import NotPermitted, Rejected
from rfr_stream.events import (
    UNSIGNED,
    CandidatesReady,
    Event,
    IdentificationConfirmed,
    IdentificationWithdrawn,
    Outcome,
    Passkey,
    ReviewDecided,
    Signed,
    SubjectUnclear,
    SubmissionClosed,
    Support,
)
from rfr_stream.policy import LEAD_SUPPORT, UNDECIDED_SUPPORT, standing
from rfr_stream.ports import CaseState

FOUND = builders.candidates_ready(people=("person-1", "person-2"))
SUBMITTER = FOUND.submission.submitted_by
REGISTERED = ("reviewer-a", "reviewer-b", "reviewer-c", SUBMITTER)
VERIFIER = KeyVerifier("https://desk.example")


@dataclass
class House:
    """A ledger and the people it knows."""

    ledger: MemoryLedger = field(default_factory=MemoryLedger)

    async def open(self) -> "House":
        for by in REGISTERED:
            await self.ledger.register(builders.reviewer(by))
        await self.ledger.register(builders.reviewer("lapsed", competent_until=NOW))
        await self.ledger.register(builders.supervisor())
        await self.ledger.hold(builders.references_of(FOUND))
        return self

    async def receive(self, event: Event) -> None:
        """Take an event as the stages do; what is refused leaves no trace, and that is looked at afterwards."""
        match event:
            case Signed():
                try:
                    await stages.decide(event, ledger=self.ledger, verifier=VERIFIER, now=NOW)
                except Rejected:
                    return
            case CandidatesReady() | SubjectUnclear():
                await stages.hold([event], ledger=self.ledger, now=NOW)
            case SubmissionClosed(outcome=Outcome.EXPIRED):
                await stages.expire(cases=self.ledger, opened_before=LATER, now=LATER)
            case SubmissionClosed():
                await stages.note([event], cases=self.ledger, now=NOW)

    async def promised(self) -> list[Event]:
        return [outgoing.event for outgoing in await self.ledger.unpublished(1_000)]

    async def leads(self) -> list[IdentificationConfirmed]:
        return [event for event in await self.promised() if isinstance(event, IdentificationConfirmed)]

    async def recalls(self) -> list[IdentificationWithdrawn]:
        return [event for event in await self.promised() if isinstance(event, IdentificationWithdrawn)]


def genuine(by: str, support: Support, person_id: str | None) -> ReviewDecided:
    return builders.decision(FOUND, by=by, support=support, person_id=person_id)


def again(by: str, support: Support, version: int) -> ReviewDecided:
    return builders.amended(genuine(by, Support.STRONG_SAME, "person-1"), FOUND, support=support, version=version)


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
SECOND_WORDS = st.builds(
    again,
    st.sampled_from(REGISTERED),
    st.sampled_from([Support.STRONG_SAME, Support.INCONCLUSIVE, Support.STRONG_DIFFERENT]),
    st.sampled_from([2, 2, 3]),
)
FORGED = st.one_of(
    st.builds(in_the_name_of, st.sampled_from(REGISTERED[:3]), GENUINE),
    st.builds(genuine, st.sampled_from(["stranger", "lapsed"]), st.just(Support.STRONG_SAME), st.just("person-1")),
    st.builds(
        tampered,
        st.one_of(GENUINE, SECOND_WORDS),
        st.sampled_from(
            [
                {"support": Support.STRONG_SAME, "person_id": "person-1"},
                {"person_id": "person-2"},
                {"list_digest": FOUND.list_digest, "similarities": ("added later",)},
                {"occurred_at": LATER},
                {"version": 2, "reason": "looked again"},
                {"examination": builders.examination(compared_s=600.0)},
                {"signature": UNSIGNED},
                {"passkey": Passkey(authenticator_data="AAAA", client_data="AAAA")},
                {"passkey": Passkey(authenticator_data="A" * 4_096, client_data="e30=")},
            ]
        ),
    ),
    st.sampled_from([builders.withdrawal(by="reviewer-a"), builders.certified("stranger", by="reviewer-a")]),
)
OTHERS = st.sampled_from(
    [
        FOUND,
        builders.candidates_ready(people=("person-2", "person-1")),
        builders.candidates_ready(people=()),
        builders.closed(Outcome.NO_FACE),
        builders.subject_unclear(),
        builders.subject_chosen(),
        builders.closed(Outcome.CONFIRMED),
        builders.closed(Outcome.EXPIRED),
        builders.withdrawal(),
    ]
)
AGREED = [FOUND, *(genuine(by, Support.STRONG_SAME, "person-1") for by in REGISTERED[:2])]
TAKEN_BACK = [*AGREED, again(REGISTERED[0], Support.INCONCLUSIVE, 2)]
NOISE = st.lists(st.one_of(GENUINE, SECOND_WORDS, FORGED, OTHERS), max_size=8)
EVENTS = st.builds(
    lambda agreed, noise: [*agreed, *noise], st.sampled_from([TAKEN_BACK, AGREED, AGREED[:2], []]), NOISE
)


@settings(max_examples=100)
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
    promised, recalled = await house.leads(), await house.recalls()
    counted(f"leads: {len(promised)}, recalled: {len(recalled)}")
    given = case is not None and case.state in {CaseState.CONFIRMED, CaseState.WITHDRAWN}
    assert (len(promised), len(recalled)) == (given, case is not None and case.state is CaseState.WITHDRAWN)
    if case is None:
        return
    for decision in (*case.decisions, *case.parked):
        assert decision.reviewer_id in REGISTERED
        assert VERIFIER.verify(builders.reviewer(decision.reviewer_id).public_key, decision)
    if case.state is CaseState.CONFIRMED:
        (lead,) = promised
        assert case.candidates is not None
        said = standing(case.decisions)
        leads = [decision for decision in said if decision.support in LEAD_SUPPORT]
        assert len(leads) >= 2
        assert {decision.person_id for decision in leads} == {lead.person_id}
        assert {decision.support for decision in said} - LEAD_SUPPORT <= UNDECIDED_SUPPORT
        assert {decision.reviewer_id for decision in said} <= set(REGISTERED) - {SUBMITTER}
        assert {decision.list_digest for decision in case.decisions} == {case.candidates.list_digest}
        assert lead.person_id in {candidate.person_id for candidate in case.candidates.candidates}
        assert {each.reviewer_ref for each in lead.reviews} <= {decision.reviewer_id for decision in said}


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


# --- every kind of word, ill meant ----------------------------------------------------------------------------------
QUESTION = builders.subject_unclear(builders.submission("crowd"))
CROWD = QUESTION.submission
LEAD = [FOUND, *(genuine(by, Support.STRONG_SAME, "person-1") for by in REGISTERED[:2])]
NEWCOMER = builders.certified("reviewer-n")
GARBAGE = [
    Passkey(authenticator_data=data, client_data=client)
    for data, client in [
        ("AAAA", "AAAA"),
        ("AAAAA", "AAAAA"),
        ("A" * 4_096, "bnVsbA=="),
        ("AAAA", "W10="),
        ("AAAA", "eyI="),
    ]
]
NOBODYS: dict[str, tuple[Signed, str]] = {
    "a choice by a supervisor": (builders.subject_chosen(CROWD, by="supervisor-1"), "not registered to review"),
    "a choice by nobody known": (builders.subject_chosen(CROWD, by="stranger"), "not registered to review"),
    "a choice by somebody out of date": (builders.subject_chosen(CROWD, by="lapsed"), "training has lapsed"),
    "a choice in another's name": (
        builders.subject_chosen(CROWD).model_copy(update={"reviewer_id": "reviewer-b"}),
        "signature",
    ),
    "a choice changed on the way": (builders.subject_chosen(CROWD).model_copy(update={"subject": None}), "signature"),
    "a choice moved to another case": (
        builders.subject_chosen(CROWD).model_copy(update={"submission_id": FOUND.submission.submission_id}),
        "signature",
    ),
    "a decision by a supervisor": (genuine("supervisor-1", Support.INCONCLUSIVE, None), "not registered to review"),
    "a second word in another's name": (
        again("reviewer-b", Support.INCONCLUSIVE, 2).model_copy(update={"reviewer_id": "reviewer-a"}),
        "signature",
    ),
    "a second word of another reviewer's": (again("reviewer-c", Support.INCONCLUSIVE, 2), "version: must be 1"),
    "a withdrawal by a reviewer": (builders.withdrawal(by="reviewer-a"), "not registered to supervise"),
    "a withdrawal by nobody known": (builders.withdrawal(by="stranger"), "not registered to supervise"),
    "a withdrawal in a supervisor's name": (
        builders.withdrawal(by="reviewer-a").model_copy(update={"ordered_by": "supervisor-1"}),
        "signature",
    ),
    "a withdrawal with another reason": (builders.withdrawal().model_copy(update={"reason": "because"}), "signature"),
    "a certificate by a reviewer": (builders.certified("reviewer-n", by="reviewer-a"), "not registered to supervise"),
    "a certificate in a supervisor's name": (
        builders.certified("reviewer-n", by="reviewer-a").model_copy(update={"certified_by": "supervisor-1"}),
        "signature",
    ),
    "a certificate for longer": (
        NEWCOMER.model_copy(update={"competent_until": NEWCOMER.competent_until + timedelta(days=1)}),
        "signature",
    ),
    "a certificate of a supervisor's own": (builders.certified("supervisor-1"), "nobody certifies themselves"),
    "a certificate for a key that is another's": (
        builders.signed(
            NEWCOMER.model_copy(update={"public_key": builders.reviewer("reviewer-a").public_key}), "supervisor-1"
        ),
        "public_key",
    ),
    **{
        f"a passkey's signature that is none, {number}": (
            genuine("reviewer-c", Support.INCONCLUSIVE, None).model_copy(update={"passkey": passkey}),
            "signature",
        )
        for number, passkey in enumerate(GARBAGE)
    },
}


@pytest.mark.parametrize(("words", "why"), NOBODYS.values(), ids=NOBODYS)
async def test_what_nobody_may_say_is_refused_and_changes_nothing(words: Signed, why: str) -> None:
    house = await House().open()
    for event in (*LEAD, QUESTION):
        await house.receive(event)
    cases, promised = await house.ledger.cases(list(CaseState)), await house.promised()

    with pytest.raises(NotPermitted, match=why):
        await stages.decide(words, ledger=house.ledger, verifier=VERIFIER, now=NOW)

    assert await house.ledger.cases(list(CaseState)) == cases
    assert await house.promised() == promised
    assert await house.ledger.reviewer("reviewer-n") is None


@pytest.mark.parametrize("passkey", GARBAGE)
async def test_a_good_signature_with_a_passkeys_garbage_beside_it_is_refused_and_stays_good(passkey: Passkey) -> None:
    house, words = await House().open(), genuine("reviewer-a", Support.STRONG_SAME, "person-1")
    await house.receive(FOUND)
    await house.receive(words.model_copy(update={"passkey": passkey}))
    assert await house.ledger.cases([CaseState.AWAITING_SECOND_REVIEW]) == []

    await house.receive(words)
    assert len(await house.ledger.cases([CaseState.AWAITING_SECOND_REVIEW])) == 1


async def test_an_old_certificate_that_comes_again_makes_nobody_competent() -> None:
    house = await House().open()
    ended = NEWCOMER.model_copy(update={"occurred_at": LATER, "competent_until": LATER})
    for words in (NEWCOMER, builders.signed(ended, "supervisor-1"), NEWCOMER):
        await stages.decide(words, ledger=house.ledger, verifier=VERIFIER, now=LATER)

    newcomer = await house.ledger.reviewer("reviewer-n")
    assert newcomer is not None
    assert newcomer.competent_until == LATER


async def test_a_certificate_from_the_future_does_not_shut_out_the_next() -> None:
    house = await House().open()
    for said_at in (NOW + timedelta(days=3_650), NOW):
        words = NEWCOMER.model_copy(update={"occurred_at": said_at, "competent_until": said_at + timedelta(days=1)})
        await stages.decide(builders.signed(words, "supervisor-1"), ledger=house.ledger, verifier=VERIFIER, now=NOW)

    newcomer = await house.ledger.reviewer("reviewer-n")
    assert newcomer is not None
    assert newcomer.competent_until == NOW + timedelta(days=1)


async def test_the_whole_stream_again_changes_nothing_and_says_nothing() -> None:
    """A replay from the first offset, after the withdrawal of the lead too."""
    house = await House().open()
    stream = [FOUND, *(genuine(by, Support.STRONG_SAME, "person-1") for by in ("reviewer-a", "reviewer-b"))]
    about = FOUND.submission.submission_id
    stream = [builders.subject_unclear(), builders.subject_chosen(), *stream, builders.withdrawal()]
    for event in stream:
        await house.receive(event)
    case, promised = await house.ledger.case(about), await house.ledger.unpublished(100)

    for event in [*stream, *(outgoing.event for outgoing in promised)]:
        await house.receive(event)

    assert await house.ledger.case(about) == case
    assert await house.ledger.unpublished(100) == promised
