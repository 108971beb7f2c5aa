"""Every lead that was given out is found by what it has in common with others, and no other is: on both databases."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from itertools import zip_longest
from typing import Any, Final
from uuid import UUID, uuid4

import builders
import pytest
import pytest_asyncio
from builders import LATER, NOW

from rfr_stream import review
from rfr_stream.adapters.desk import SqlDesk
from rfr_stream.adapters.ledger import SqlLedger
from rfr_stream.desk import EVERY_LEAD, Lead, LeadFilter, ModelFilter, Recipient
from rfr_stream.errors import Rejected
from rfr_stream.events import (
    Candidate,
    CandidatesReady,
    GalleryName,
    ModelIdentity,
    ReferenceSubmitted,
    ReviewDecided,
    Support,
    derive_id,
)
from rfr_stream.ports import Change, Reference, Seed

pytestmark = pytest.mark.asyncio(loop_scope="module")

CASES: Final = 90
PERSONS: Final = [f"person-{n}" for n in range(6)]
CASE_REFS: Final = [f"case-{n}" for n in range(8)]
REVIEWERS: Final = [f"reviewer-{letter}" for letter in "abcd"]
THRESHOLDS: Final = [0.3, 0.35, 0.4, 0.5]
MODELS: Final = [
    ModelIdentity(name=name, version=version, weights_sha256=builders.sha256(f"{name} {version}"))
    for name in ("model-a", "model-b")
    for version in ("1", "2")
]
FATES: Final = {"stands": 8, "ordered": 3, "amended": 2, "not confirmed": 1, "one has decided": 1, "seeded": 1}
HELD: Final = ("lawfully", "restricted", "overdue", "without a source", "erased", "never")
LONG_AGO, IN_FUTURE = datetime(2020, 1, 1, tzinfo=UTC), datetime(2090, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Told:
    """One case as it was made up, and what became of it: what the query is checked against."""

    found: CandidatesReady
    fate: str
    reviewers: Sequence[str]
    confirmed_at: datetime
    held: str
    first_round: bool
    """Whether it was published before `late` subscribed."""
    has_lead: frozenset[str]
    has_withdrawal: frozenset[str]

    @property
    def id(self) -> UUID:
        return self.found.submission.submission_id

    @property
    def named(self) -> Candidate:
        return self.found.candidates[0]

    @property
    def lead_id(self) -> UUID:
        return derive_id("rfr.identification-confirmed.v1", self.id)

    @property
    def withdrawal_id(self) -> UUID:
        return derive_id("rfr.identification-withdrawn.v1", self.id)

    @property
    def is_lead(self) -> bool:
        return self.fate in {"stands", "ordered", "amended"}

    @property
    def is_withdrawn(self) -> bool:
        return self.fate in {"ordered", "amended"}

    @property
    def recipients(self) -> set[str]:
        return {"always", *({"late"} if not self.first_round else set()), *self.has_lead}

    @property
    def outstanding(self) -> set[str]:
        return self.recipients - (self.has_withdrawal if self.is_withdrawn else self.has_lead)


# --- the world ------------------------------------------------------------------------------------------------------
def made_up(chance: random.Random) -> list[Told]:
    return [one_made_up(chance, number) for number in range(CASES)]


def one_made_up(chance: random.Random, number: int) -> Told:
    subscribers = ["always", "late", "unregistered"]
    (fate,) = chance.choices(list(FATES), list(FATES.values()))
    return Told(
        found=a_list(chance, number),
        fate=fate,
        reviewers=chance.sample(REVIEWERS, 2),
        confirmed_at=NOW + timedelta(hours=chance.randrange(20)),  # some at the same moment
        held=chance.choice(HELD),
        first_round=number < CASES // 2,
        has_lead=frozenset(name for name in subscribers if chance.random() < 0.7),
        has_withdrawal=frozenset(name for name in subscribers if chance.random() < 0.7),
    )


def a_list(chance: random.Random, number: int) -> CandidatesReady:
    about = builders.submission(f"probe-{number}", case_ref=chance.choice(CASE_REFS))
    listed = a_candidate(chance.choice(PERSONS), chance.choice(list(GalleryName)), number)
    return CandidatesReady(
        occurred_at=NOW,
        submission=about,
        face=builders.face(detector=chance.choice(MODELS)),
        template=builders.template(embedder=chance.choice(MODELS)),
        candidates=(listed,),
        threshold=chance.choice(THRESHOLDS),
        list_length=10,
        gallery_sizes={GalleryName.CUSTODY: 1_000},
        list_digest=CandidatesReady.digest(about.submission_id, about.image.sha256, (listed,)),
    )


def a_candidate(person: str, gallery: GalleryName, number: int) -> Candidate:
    image = builders.blob(f"{person}-{number}")
    reference_id = ReferenceSubmitted.derive(person, gallery, image.sha256)
    return Candidate(
        rank=1, person_id=person, reference_id=reference_id, gallery=gallery, reference=image, similarity=0.6
    )


def reference_of(told: Told) -> Reference:
    held = builders.reference(told.named.person_id, reference_id=told.named.reference_id, gallery=told.named.gallery)
    match told.held:
        case "restricted":
            return replace(held, restricted=True)
        case "overdue":
            return replace(held, review_due=NOW)
        case "without a source":
            return replace(held, source=None)
        case _:
            return held


def changes(told: Told) -> Iterator[Change]:
    """Yield what makes this case come to what it must, each to be applied for itself."""
    found, at = told.found, told.confirmed_at
    yield change(review.candidates_ready(found, NOW, seeded=told.fate == "seeded"), found.event_id, told)
    if told.fate == "one has decided":
        yield decides(told, said(told, told.reviewers[0]))
        return
    for by in told.reviewers:
        yield decides(told, said(told, by, names=told.fate != "not confirmed"))
    if told.fate == "ordered":
        order = builders.withdrawal(found.submission)
        yield change(review.withdrawn(order, builders.supervisor(), at), order.event_id, told)
    elif told.fate == "amended":
        yield decides(told, said(told, told.reviewers[1], names=False, version=2, reason="looked again"))


def change(transition: Any, event_id: UUID, told: Told) -> Change:  # noqa: ANN401
    return Change(told.id, event_id, transition)


def decides(told: Told, decision: ReviewDecided) -> Change:
    reviewer = builders.reviewer(decision.reviewer_id)
    return change(review.decided(decision, reviewer, told.confirmed_at), decision.event_id, told)


def said(told: Told, by: str, *, names: bool = True, **more: Any) -> ReviewDecided:  # noqa: ANN401
    if names:
        return builders.decision(told.found, by=by, person_id=told.named.person_id, **more)
    return builders.decision(told.found, by=by, support=Support.STRONG_DIFFERENT, **more)


@dataclass
class World:
    """A database in which all of it happened."""

    desk: SqlDesk
    told: list[Told] = field(default_factory=list)

    async def find(self, **which: Any) -> list[Lead]:  # noqa: ANN401
        return await self.desk.leads.find(LATER, **which)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["sqlite", "postgresql"])
async def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    chance = random.Random(30)  # noqa: S311 - a world that can be made again
    async with AsyncExitStack() as stack:
        file = tmp_path_factory.mktemp("leads") / "ledger.db"
        is_sqlite = request.param == "sqlite"
        url = f"sqlite:///{file}" if is_sqlite else request.getfixturevalue("postgresql_server").fresh()
        ledger = await stack.enter_async_context(SqlLedger(url))
        made = made_up(chance)
        await happen(ledger, made)
        yield World(SqlDesk(ledger), made)


async def happen(ledger: SqlLedger, made: Sequence[Told]) -> None:
    await ledger.hold([reference_of(told) for told in made if told.held != "never"])
    await ledger.erase([told.named.reference_id for told in made if told.held == "erased"])
    await ledger.plant([Seed(builders.image_submitted(t.found.submission), None) for t in made if t.fate == "seeded"])
    await ledger.subscribe("always", LONG_AGO)
    await ledger.subscribe("not yet", IN_FUTURE)
    for first_round in (True, False):
        for step in zip_longest(*(changes(told) for told in made if told.first_round is first_round)):
            results = await ledger.apply([each for each in step if each])
            assert not [result for result in results if isinstance(result, Rejected)]
        owed = await ledger.unpublished(1_000)
        await ledger.published([out.event.event_id for out in owed])
        await asyncio.sleep(0.002)
        await ledger.subscribe("late", datetime.now(UTC))
    await ledger.acknowledge([word for told in made for word in acknowledgements(told)])


def acknowledgements(told: Told) -> Iterator[Any]:
    """Yield what subscribers say; nobody has what was never said."""
    lead = builders.identification_confirmed(told.found)
    withdrawal = builders.identification_withdrawn(told.found.submission)
    for name in told.has_lead if told.is_lead else ():
        yield builders.acknowledged(lead, subscriber=name)
    for name in told.has_withdrawal if told.is_withdrawn else ():
        yield builders.acknowledged(withdrawal, subscriber=name)


# --- the oracle -----------------------------------------------------------------------------------------------------
def oracle(told: Sequence[Told], only: LeadFilter) -> list[UUID]:
    """Return the ids of those that are meant, latest first, by going through all of them."""
    meant = [each for each in told if each.is_lead and is_meant(each, only)]
    return [each.id for each in sorted(meant, key=lambda each: (each.confirmed_at, each.id.hex), reverse=True)]


def is_meant(told: Told, only: LeadFilter) -> bool:
    wrong = (
        only.submissions is not None and told.id not in only.submissions,
        not fits(told.found.face.detector, only.detector),
        not fits(told.found.template.embedder, only.embedder),
        only.threshold_from is not None and told.found.threshold < only.threshold_from,
        only.threshold_below is not None and told.found.threshold >= only.threshold_below,
        only.gallery not in {None, told.named.gallery},
        only.reviewer_id is not None and only.reviewer_id not in told.reviewers,
        only.confirmed_from is not None and told.confirmed_at < only.confirmed_from,
        only.confirmed_before is not None and told.confirmed_at >= only.confirmed_before,
        only.case_ref not in {None, told.found.submission.case_ref},
        only.person_id not in {None, told.named.person_id},
        only.reference_id not in {None, told.named.reference_id},
        only.withdrawn not in {None, told.is_withdrawn},
        only.outstanding and not told.outstanding,
        only.ineligible and told.held == "lawfully",
    )
    return not any(wrong)


def fits(model: ModelIdentity, only: ModelFilter) -> bool:
    return all(getattr(only, part) in {None, getattr(model, part)} for part in ("name", "version", "weights_sha256"))


def a_model(chance: random.Random) -> ModelFilter:
    model = chance.choice(MODELS)
    parts = {"name": model.name, "version": model.version, "weights_sha256": model.weights_sha256}
    return ModelFilter(**{part: value for part, value in parts.items() if chance.random() < 0.5})


def values(chance: random.Random, told: Sequence[Told]) -> dict[str, Any]:
    """Return for every field of a filter something that it may ask for."""
    moment = NOW + timedelta(hours=chance.randrange(-1, 22))
    return {
        "submissions": frozenset([*(each.id for each in chance.sample(told, 30)), uuid4()]),
        "detector": a_model(chance),
        "embedder": a_model(chance),
        "threshold_from": chance.choice([*THRESHOLDS, 0.45]),
        "threshold_below": chance.choice([*THRESHOLDS, 0.45]),
        "gallery": chance.choice(list(GalleryName)),
        "reviewer_id": chance.choice([*REVIEWERS, "reviewer-z"]),
        "confirmed_from": moment,
        "confirmed_before": moment + timedelta(hours=chance.randrange(12)),
        "case_ref": chance.choice(CASE_REFS),
        "person_id": chance.choice(PERSONS),
        "reference_id": chance.choice(told).named.reference_id,
        "withdrawn": chance.choice([True, False]),
        "outstanding": True,
        "ineligible": True,
    }


# --- the proof ------------------------------------------------------------------------------------------------------
async def test_whatever_is_asked_the_answer_is_exactly_what_going_through_all_finds(world: World) -> None:
    chance = random.Random(31)  # noqa: S311
    names = [each.name for each in fields(LeadFilter)]
    told_apart = set()
    for _ in range(250):
        wanted = values(chance, world.told)
        chosen = chance.sample(names, chance.choice([0, 1, 1, 1, 2, 2, 3]))
        only = LeadFilter(**{name: wanted[name] for name in chosen})
        expected = oracle(world.told, only)

        assert [lead.said.submission_id for lead in await world.find(only=only)] == expected, only

        if len(chosen) == 1 and 0 < len(expected) < len(oracle(world.told, EVERY_LEAD)):
            told_apart.add(chosen[0])
    assert told_apart == set(names), "each was seen to let some through, and not all"


async def test_all_leads_of_a_model_below_a_threshold(world: World) -> None:
    """The audit that follows a defect: neither one too few nor one too many."""
    for model in MODELS:
        only = LeadFilter(embedder=ModelFilter(model.name, model.version), threshold_below=0.4)
        expected = {
            told.id
            for told in world.told
            if told.is_lead and told.found.template.embedder == model and told.found.threshold < 0.4
        }
        found = await world.find(only=only)
        assert expected
        assert {lead.said.submission_id for lead in found} == expected
        assert len(found) == len(expected)


async def test_a_lead_comes_with_all_that_a_supervisor_must_know(world: World) -> None:
    by_id = {told.id: told for told in world.told}
    for lead in await world.find():
        told = by_id[lead.said.submission_id]
        assert lead.threshold == told.found.threshold
        assert lead.said.detector == told.found.face.detector
        assert lead.said.embedder == told.found.template.embedder
        assert lead.said.occurred_at == told.confirmed_at
        assert [review.reviewer_ref for review in lead.said.reviews] == list(told.reviewers)
        assert lead.said.event_id == told.lead_id
        assert (lead.ineligible is not None) is (told.held != "lawfully")
        assert set(lead.outstanding) == told.outstanding
        assert {each.subscriber for each in lead.recipients} == told.recipients
        assert (lead.withdrawal is not None) is told.is_withdrawn
        if lead.withdrawal:
            by, why = ("supervisor-1", "new evidence excludes this person")
            expected = (by, why) if told.fate == "ordered" else (told.reviewers[1], "looked again")
            assert (lead.withdrawal.withdrawn_by, lead.withdrawal.reason) == expected
            assert lead.withdrawal.event_id == told.withdrawal_id


async def test_a_recipient_comes_with_when_it_had_what(world: World) -> None:
    told = next(told for told in world.told if told.is_withdrawn and {"always"} == told.has_lead & {"always"})
    (lead,) = await world.find(only=LeadFilter(submissions=frozenset({told.id})))
    has_withdrawal = LATER if "always" in told.has_withdrawal else None

    assert Recipient("always", LATER, has_withdrawal) in lead.recipients


async def test_why_a_reference_may_not_be_searched_is_said(world: World) -> None:
    reasons = {
        "restricted": "restricted",
        "overdue": "review_overdue",
        "without a source": "source_missing",
        "erased": "not_held",
        "never": "not_held",
    }
    by_id = {told.id: told for told in world.told}
    found = {by_id[lead.said.submission_id].held: lead.ineligible for lead in await world.find()}
    assert found == {**reasons, "lawfully": None}


@pytest.mark.parametrize("only", [EVERY_LEAD, LeadFilter(ineligible=True), LeadFilter(outstanding=True)])
async def test_pages_are_the_whole_list_cut_in_pieces(world: World, only: LeadFilter) -> None:
    whole = await world.find(only=only)
    pages = [await world.find(only=only, limit=7)]
    while len(pages[-1]) == 7:
        pages.append(await world.find(only=only, limit=7, after=pages[-1][-1]))
    assert [lead for page in pages for lead in page] == whole
    assert len(pages) > 2
