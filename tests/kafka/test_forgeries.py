"""The gate on a real Kafka: two people decide, whatever is forged, replayed, reordered or said twice."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final
from uuid import uuid4

import builders
import pytest
import pytest_asyncio
from chain import Chain, Talk, running
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import topics
from rfr_stream.events import CandidatesReady, IdentificationConfirmed, ReviewDecided, Support
from rfr_stream.ports import CaseState

pytestmark = pytest.mark.asyncio(loop_scope="module")

AGAINST: Final = None
SAID: Final = st.sampled_from(["person-1", "person-1", "person-2", AGAINST])
"""What an honest reviewer may say: whom they recognise, or nobody."""
NAMES: Final = ["reviewer-a", "reviewer-b", "reviewer-c"]


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    with running(tmp_path_factory.mktemp("forgeries")) as (chain, _):
        chain.start("review")
        yield chain


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def talk(chain: Chain) -> AsyncIterator[Talk]:
    async with chain.talking() as talk:
        await talk.register_reviewers()
        yield talk


def decision(found: CandidatesReady, by: str, said: str | None) -> ReviewDecided:
    support = Support.STRONG_SAME if said else Support.STRONG_DIFFERENT
    return builders.decision(found, by=by, support=support, person_id=said)


# --- forgeries: each takes the case, another case, and a name, and returns what must never count --------------------
def in_anothers_name(found: CandidatesReady, _: CandidatesReady, name: str) -> ReviewDecided:
    return decision(found, "stranger", "person-2").model_copy(update={"reviewer_id": name})


def signed_with_another_key(found: CandidatesReady, _: CandidatesReady, name: str) -> ReviewDecided:
    return builders.signed(decision(found, name, "person-2"), "somebody-else")


def by_nobody_known(found: CandidatesReady, _: CandidatesReady, name: str) -> ReviewDecided:
    return decision(found, f"{name}-of-elsewhere", "person-2")


def about_another_person(found: CandidatesReady, _: CandidatesReady, name: str) -> ReviewDecided:
    return decision(found, name, "person-1").model_copy(update={"person_id": "person-2"})


def turned_round(found: CandidatesReady, _: CandidatesReady, name: str) -> ReviewDecided:
    turned = {"support": Support.STRONG_SAME, "person_id": "person-2"}
    return decision(found, name, AGAINST).model_copy(update=turned)


def replayed_from_another_case(found: CandidatesReady, other: CandidatesReady, name: str) -> ReviewDecided:
    moved = {"submission_id": found.submission.submission_id, "list_digest": found.list_digest}
    return decision(other, name, "person-2").model_copy(update=moved)


def of_a_demonstration(found: CandidatesReady, _: CandidatesReady, name: str) -> ReviewDecided:
    return builders.decision(found, by=name, person_id="person-2", demo=True)


FORGERIES: Final = st.tuples(
    st.sampled_from(
        [
            in_anothers_name,
            signed_with_another_key,
            by_nobody_known,
            about_another_person,
            turned_round,
            replayed_from_another_case,
            of_a_demonstration,
        ]
    ),
    st.sampled_from(NAMES),
)


@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(st.tuples(SAID, SAID), st.lists(FORGERIES, max_size=6), st.randoms(use_true_random=False))
async def test_two_honest_people_decide_whatever_else_comes(
    talk: Talk, said: tuple[str | None, str | None], forgeries: list[Any], chance: random.Random
) -> None:
    found, other = (
        builders.candidates_ready(builders.submission(case_ref=f"case-{uuid4()}"), people=("person-1", "person-2"))
        for _ in range(2)
    )
    honest = [decision(found, by, each) for by, each in zip(NAMES, said, strict=False)]
    forged = [make(found, other, name) for make, name in forgeries]
    decisions = [*honest, *chance.sample(honest, chance.randint(0, 2)), *forged]
    chance.shuffle(decisions)
    early = chance.randint(0, len(decisions))
    await talk.ledger.hold(builders.references_of(found))

    await talk.say(*decisions[:early])
    await talk.say(found)
    await talk.say(*decisions[early:], *chance.sample([found], chance.randint(0, 1)))
    await talk.ear.until(lambda: letters_about(talk, found) == len(forged))
    await settled(talk, found, ending(*said))

    leads = leads_about(talk, found)
    assert {lead.person_id for lead in leads} == ({said[0]} if ending(*said) is CaseState.CONFIRMED else set())
    assert len({lead.event_id for lead in leads}) == len(leads) <= 1
    case = await talk.ledger.case(found.submission.submission_id)
    assert case is not None
    assert sorted(case.decisions, key=lambda each: each.reviewer_id) == honest
    assert letters_about(talk, found) == len(forged), "what is honest is never set aside"


def ending(first: str | None, second: str | None) -> CaseState:
    """Return where two honest reviewers bring a case."""
    if first != second:
        return CaseState.AWAITING_THIRD_REVIEW
    return CaseState.CONFIRMED if first else CaseState.NOT_CONFIRMED


async def settled(talk: Talk, found: CandidatesReady, state: CaseState) -> None:
    """Wait until the case stands there and all that it promised has been heard."""
    about = found.submission.submission_id
    await talk.ear.until(lambda: talk.ear.outcome_of(about) or state is CaseState.AWAITING_THIRD_REVIEW)
    if state is CaseState.CONFIRMED:
        await talk.ear.until(lambda: leads_about(talk, found))
    async with asyncio.timeout(30):
        while (case := await talk.ledger.case(about)) is None or case.state is not state:  # noqa: ASYNC110 - a database tells nobody
            await asyncio.sleep(0.02)


def letters_about(talk: Talk, found: CandidatesReady) -> int:
    key = str(found.submission.submission_id).encode()
    return sum(letter.key == key for letter in talk.ear.dead(topics.DECISIONS))


def leads_about(talk: Talk, found: CandidatesReady) -> list[IdentificationConfirmed]:
    said = talk.ear.events[topics.IDENTIFICATIONS]
    return [
        lead for lead in said if isinstance(lead, IdentificationConfirmed) and lead.key == found.submission.case_ref
    ]
