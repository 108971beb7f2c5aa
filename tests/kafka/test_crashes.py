"""Any process may die at any moment: nothing is lost, and every confirmed case is told of exactly once.

Five processes do the work of one house, a supervisor brings back whichever ends, and twenty of them are killed while
five hundred submissions and the decisions about them, many repeated, come in a random order. Random with a seed: the
plan is the same in every run, only the moments differ.
"""

import asyncio
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias
from uuid import UUID

import builders
import lab
import leaks
import postgresql
import pytest
import pytest_asyncio
from chain import Chain, StageProcess, Talk, noise, running

import topics
from rfr_stream.events import (
    UNSIGNED,
    BlobRef,
    Candidate,
    CandidatesReady,
    Event,
    ImageSubmitted,
    Outcome,
    ReviewDecided,
    Support,
)
from rfr_stream.ports import CaseState
from rfr_stream.settings import LedgerSettings, PipelineSettings, VisionSettings
from topics.embedded import EmbeddedKafka

pytestmark = pytest.mark.asyncio(loop_scope="module")

Which: TypeAlias = tuple[tuple[str, ...], str]
"""The stages of a process, and its instance."""
REVIEW: Final[Which] = (("review",), "0")
PROCESSES: Final[tuple[Which, ...]] = (
    (("detection",), "0"),
    (("detection",), "1"),
    (("embedding",), "0"),
    (("search", "enrolment"), "0"),
    REVIEW,
)
PEOPLE: Final = 12
SUBMISSIONS: Final = 500
KILLS: Final = 20
SEED: Final = 20_261
LATE_S: Final = 0.1
"""Records leave so late that every kill meets some: who commits or marks before they are acknowledged is found out."""


@dataclass
class Supervisor:
    """Keeps the processes running: whichever has ended is started again at once."""

    chain: Chain
    processes: dict[Which, StageProcess] = field(default_factory=dict)
    kills: int = 0
    own_ends: int = 0

    def start(self, *processes: Which) -> None:
        for stages, instance in processes:
            self.processes[stages, instance] = self.chain.start(*stages, instance=instance)

    async def at_work(self, which: Which) -> None:
        """Wait until it has partitions: one that is killed while it starts has nothing to lose."""
        async with asyncio.timeout(60):
            while not self.processes[which].has_said("partitions.assigned"):  # noqa: ASYNC110 - it tells its log alone
                await asyncio.sleep(0.1)

    def kill(self, which: Which) -> None:
        """Kill one and start it again."""
        self.processes[which].kill()
        self.kills += 1
        self.processes[which] = self.chain.start(*which[0], instance=which[1])

    async def watch(self) -> None:
        """Start again what has ended on its own."""
        while True:
            for which, process in self.processes.items():
                if not process.alive:
                    self.own_ends += 1
                    self.processes[which] = self.chain.start(*which[0], instance=which[1])
            await asyncio.sleep(0.1)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Chain, EmbeddedKafka]]:
    folder = tmp_path_factory.mktemp("crashes")
    pipeline = PipelineSettings(batch_items=8)  # small, so that much is in flight between any two steps
    with running(folder, late_s=LATE_S, vision=VisionSettings(pack="null"), pipeline=pipeline) as pair:
        yield pair


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def supervisor(house: tuple[Chain, EmbeddedKafka]) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(house[0])
    supervisor.start(*PROCESSES)
    watching = asyncio.create_task(supervisor.watch())
    yield supervisor
    watching.cancel()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def talk(house: tuple[Chain, EmbeddedKafka], supervisor: Supervisor) -> AsyncIterator[Talk]:  # noqa: ARG001 - runs
    async with house[0].talking() as talk:
        await prepare(talk)
        yield talk


async def prepare(talk: Talk) -> None:
    await talk.register_reviewers()
    await talk.enrol({person(number): noise(number) for number in range(PEOPLE)})


def person(number: int) -> str:
    return f"person-{number}"


# --- the plan -------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Fate:
    """What people will say of a submission, in order, and how it must end.

    A decision is its reviewer and what they say: `a+` names the person on the list, `a-` excludes, `a?` judges another
    list, `a!` is signed with somebody else's key.
    """

    share: int
    state: CaseState
    outcome: Outcome | None = None
    counted: str = ""
    refused: str = ""


FATES: Final = {
    "undecided": Fate(40, CaseState.AWAITING_REVIEW),
    "confirmed": Fate(25, CaseState.CONFIRMED, Outcome.CONFIRMED, "a+ b+"),
    "third too late": Fate(4, CaseState.CONFIRMED, Outcome.CONFIRMED, "a+ b+", "c+"),
    "disagreement": Fate(2, CaseState.AWAITING_THIRD_REVIEW, None, "a+ b-"),
    "a third look": Fate(3, CaseState.INCONCLUSIVE, Outcome.INCONCLUSIVE, "a+ b- c+"),
    "nobody": Fate(5, CaseState.NOT_CONFIRMED, Outcome.NOT_CONFIRMED, "a- b-"),
    "forged": Fate(4, CaseState.AWAITING_SECOND_REVIEW, None, "a+", "b!"),
    "another list": Fate(3, CaseState.AWAITING_SECOND_REVIEW, None, "a+", "b?"),
    "same person twice": Fate(3, CaseState.AWAITING_SECOND_REVIEW, None, "a+", "a-"),
    "the one who asked": Fate(3, CaseState.AWAITING_SECOND_REVIEW, None, "a+", "c+"),
    "blank": Fate(4, CaseState.CLOSED, Outcome.NO_CANDIDATES, "", "a+ b+"),
    "missing picture": Fate(4, CaseState.CLOSED, Outcome.UNREADABLE, "", "a+ b+"),
}
"""Every way to end, and its share in hundredths."""


@dataclass(frozen=True)
class Plan:
    """One submission, the decisions about it, and how it must end."""

    asked: ImageSubmitted
    fate: Fate
    counted: Sequence[ReviewDecided]
    refused: Sequence[ReviewDecided]

    @property
    def id(self) -> UUID:
        return self.asked.submission.submission_id


def planned(asked: ImageSubmitted, fate: Fate, candidates: tuple[Candidate, ...]) -> Plan:
    """Return what this fate means for a submission that finds these candidates."""
    counted, refused = (
        [decision(asked, candidates, said) for said in part.split()] for part in (fate.counted, fate.refused)
    )
    return Plan(asked, fate, counted, refused)


def decision(asked: ImageSubmitted, candidates: tuple[Candidate, ...], said: str) -> ReviewDecided:
    """Return a signed decision about a list that is known before it is made: one picture always finds the same."""
    about, letter, how = asked.submission, said[0], said[1]
    digest = CandidatesReady.digest(about.submission_id, about.image.sha256, candidates)
    names_somebody = how != "-"
    words = ReviewDecided(
        submission_id=about.submission_id,
        reviewer_id=f"reviewer-{letter}",
        list_digest=builders.sha256("another list") if how == "?" else digest,
        support=Support.STRONG_SAME if names_somebody else Support.STRONG_DIFFERENT,
        person_id=(candidates[0].person_id if candidates else person(0)) if names_somebody else None,
        similarities=("shape of the ear",),
        dissimilarities=("none found",),
        features=builders.features(),
        examination=builders.examination(),
        occurred_at=builders.NOW,
        signature=UNSIGNED,
    )
    return builders.signed(words, "somebody-else" if how == "!" else f"reviewer-{letter}")


async def plans(talk: Talk, chance: random.Random, n: int, name: str) -> list[Plan]:
    """Plan so many submissions; each person's list is learned by asking once."""
    stored = [await talk.keep(noise(number)) for number in range(PEOPLE)]
    unknown = await talk.keep(noise(9_999))
    lists = [
        (await talk.searched(noise(number), f"{name}-pilot-{number}", within_s=60)).candidates
        for number in range(PEOPLE)
    ]
    made = []
    for number in range(n):
        (name_of_fate,) = chance.choices(list(FATES), [fate.share for fate in FATES.values()])
        who = chance.randrange(PEOPLE)
        image, candidates = (unknown, ()) if name_of_fate == "blank" else (stored[who], lists[who])
        if name_of_fate == "missing picture":
            image = image.model_copy(update={"uri": "file://rfr/originals/gone"})
        asker = "reviewer-c" if name_of_fate == "the one who asked" else "officer-1"
        made.append(planned(asked_about(image, f"{name}-{number}", asker), FATES[name_of_fate], candidates))
    return made


def asked_about(image: BlobRef, case_ref: str, submitted_by: str) -> ImageSubmitted:
    return builders.image_submitted(builders.submission(image=image, case_ref=case_ref, submitted_by=submitted_by))


def shuffled(made: Sequence[Plan], chance: random.Random) -> list[Event]:
    """Return all that is said, each one to three times, decisions in their order but often before their submission."""
    timed: list[tuple[float, Event]] = []
    for plan in made:
        start = chance.uniform(0, 100)
        timed += [(start + chance.uniform(0, 5), plan.asked) for _ in range(chance.randint(1, 3))]
        when = start + (chance.uniform(-5, 0) if chance.random() < 0.3 else chance.uniform(0, 10))
        for said in (*plan.counted, *plan.refused):
            (times,) = chance.choices((1, 2, 3), (70, 20, 10))
            timed += [(when + chance.uniform(0, 0.001), said) for _ in range(times)]
            when += chance.uniform(0.01, 3)
    return [event for _, event in sorted(timed, key=lambda pair: pair[0])]


# --- the proof ------------------------------------------------------------------------------------------------------
async def test_twenty_kills_lose_nothing_and_confirm_nothing_twice(
    talk: Talk, supervisor: Supervisor, capsys: pytest.CaptureFixture[str]
) -> None:
    chance, began = random.Random(SEED), time.monotonic()  # noqa: S311 - a plan that can be repeated
    made = await plans(talk, chance, SUBMISSIONS, "kill")
    said = shuffled(made, chance)

    share = len(said) // KILLS + 1
    for start in range(0, len(said), share):
        victim = chance.choice(list(supervisor.processes))
        await supervisor.at_work(victim)
        await talk.say(*said[start : start + share])
        await asyncio.sleep(chance.uniform(0.05, 1.0))
        supervisor.kill(victim)

    await all_ends(talk, made)
    copies = prove(talk, made)
    assert supervisor.kills == KILLS
    assert copies["repeats"] <= KILLS, "what the relay repeats stays rarer than kills"
    with capsys.disabled():
        took = f"{time.monotonic() - began:.0f} s, {supervisor.kills} kills, {supervisor.own_ends} ends of their own"
        sys.stdout.write(f"\n{len(made)} submissions in {len(said)} messages, {took}; {copies}\n")


async def all_ends(talk: Talk, made: Sequence[Plan], *, within_s: float = 240.0) -> None:
    """Wait until every case stands where it must, and everything that must be said has been."""
    expected = {plan.id: plan.fate.state for plan in made}
    leads = {plan.id for plan in made if plan.fate.state is CaseState.CONFIRMED}
    closed = {plan.id for plan in made if plan.fate.outcome}
    refused = {decision.event_id for plan in made for decision in plan.refused}
    deadline = time.monotonic() + within_s
    while True:
        states = await states_of(talk, made)
        missing = {
            "states": [(expected[id_], states.get(id_)) for id_ in expected if states.get(id_) != expected[id_]][:9],
            "leads": len(leads - set(leads_of(talk))),
            "outcomes": len(closed - set(outcomes_of(talk))),
            "refusals": len(refused - set(refusals_of(talk))),
        }
        if not any(missing.values()):
            return
        assert time.monotonic() < deadline, missing
        await asyncio.sleep(0.25)


async def states_of(talk: Talk, made: Sequence[Plan]) -> dict[UUID, CaseState]:
    wanted = {plan.id for plan in made}
    found = await talk.ledger.cases(list(CaseState), limit=100_000)
    return {case.submission_id: case.state for case in found if case.submission_id in wanted}


def leads_of(talk: Talk) -> dict[UUID, Counter[UUID]]:
    """Return the `ce_id`s of the leads of each submission, with how often each was heard."""
    return counted([(e.submission_id, e.event_id) for e in talk.ear.events[topics.IDENTIFICATIONS]])  # type: ignore[attr-defined]


def outcomes_of(talk: Talk) -> dict[UUID, Counter[UUID]]:
    return counted([(e.submission_id, e.event_id) for e in talk.ear.events[topics.OUTCOMES]])  # type: ignore[attr-defined]


def refusals_of(talk: Talk) -> dict[UUID, str]:
    """Return why each decision was refused, by its `ce_id`."""
    letters = talk.ear.dead(topics.DECISIONS)
    return {UUID(letter.header("ce_id")): letter.header("x-rfr-error") for letter in letters}


def counted(pairs: Sequence[tuple[UUID, UUID]]) -> dict[UUID, Counter[UUID]]:
    found: dict[UUID, Counter[UUID]] = {}
    for about, id_ in pairs:
        found.setdefault(about, Counter())[id_] += 1
    return found


def prove(talk: Talk, made: Sequence[Plan]) -> dict[str, int]:
    """Check what was said against the plan, and return how often things were said."""
    mine = {plan.id for plan in made}
    leads = {about: ids for about, ids in leads_of(talk).items() if about in mine}
    outcomes = {about: ids for about, ids in outcomes_of(talk).items() if about in mine}
    confirmed = {plan.id for plan in made if plan.fate.state is CaseState.CONFIRMED}

    assert set(leads) == confirmed
    assert {len(ids) for ids in leads.values()} == {1}, "one distinct ce_id for each confirmed case"
    assert set(outcomes) == {plan.id for plan in made if plan.fate.outcome}
    assert {len(ids) for ids in outcomes.values()} == {1}, "one outcome for each submission that ended"
    refusals = refusals_of(talk)
    assert not [decision for plan in made for decision in plan.counted if decision.event_id in refusals]
    assert all(": " in refusals[decision.event_id] for plan in made for decision in plan.refused)
    said = sum(ids.total() for ids in leads.values())
    return {"confirmed": len(confirmed), "leads said": said, "repeats": said - len(confirmed)}


async def test_a_broker_that_is_restarted_and_killed_in_mid_run_loses_nothing(
    talk: Talk, house: tuple[Chain, EmbeddedKafka], supervisor: Supervisor
) -> None:
    chance, kafka = random.Random(SEED + 1), house[1]  # noqa: S311
    made = await plans(talk, chance, 80, "broker")
    said = shuffled(made, chance)
    third = len(said) // 3
    ended_before = supervisor.own_ends

    await talk.say(*said[:third])
    sending = asyncio.create_task(talk.say(*said[third : 2 * third]))
    await asyncio.sleep(0.1)
    await kafka.restart()
    await sending
    await talk.say(*said[2 * third :])
    await asyncio.sleep(0.2)
    await asyncio.to_thread(kafka.kill)
    await kafka.restart()

    await all_ends(talk, made)
    prove(talk, made)
    assert supervisor.own_ends == ended_before, "a broker that is away is waited for"


async def test_term_signals_drain_within_a_supervisors_grace_and_lose_nothing(
    talk: Talk, house: tuple[Chain, EmbeddedKafka], supervisor: Supervisor
) -> None:
    chance = random.Random(SEED + 2)  # noqa: S311
    made = await plans(talk, chance, 80, "term")
    sending = asyncio.create_task(talk.say(*shuffled(made, chance)))
    await asyncio.sleep(0.3)

    for which in list(supervisor.processes):
        began = time.monotonic()
        process = supervisor.processes.pop(which)
        assert await asyncio.to_thread(process.stop) == 0
        assert time.monotonic() - began < lab.GRACE_S
        supervisor.processes[which] = house[0].start(*which[0], instance=which[1])
    await sending

    await all_ends(talk, made)
    prove(talk, made)


async def test_a_review_on_postgresql_survives_its_own_kills(tmp_path: Path) -> None:
    with postgresql.running() as server:
        ledger = LedgerSettings(url=server.fresh())
        starting = running(tmp_path, late_s=LATE_S, vision=VisionSettings(pack="null"), ledger=ledger)
        chain, _ = await asyncio.to_thread(starting.__enter__)
        try:
            await review_survives(Supervisor(chain))
        finally:
            await asyncio.to_thread(starting.__exit__, None, None, None)


async def review_survives(supervisor: Supervisor) -> None:
    """Kill the process that reviews three times while it works on what people say."""
    supervisor.start((("detection", "embedding", "search", "enrolment"), "0"), REVIEW)
    async with supervisor.chain.talking() as talk:
        await prepare(talk)
        chance = random.Random(SEED + 3)  # noqa: S311
        made = await plans(talk, chance, 80, "postgresql")
        said = shuffled(made, chance)
        for start in range(0, len(said), len(said) // 3 + 1):
            await supervisor.at_work(REVIEW)
            await talk.say(*said[start : start + len(said) // 3 + 1])
            await asyncio.sleep(chance.uniform(0.5, 2))
            supervisor.kill(REVIEW)
        await all_ends(talk, made)
        prove(talk, made)


async def test_nothing_that_shows_a_person_was_said_or_logged(house: tuple[Chain, EmbeddedKafka], talk: Talk) -> None:
    await talk.say(builders.acknowledged(talk.ear.events[topics.IDENTIFICATIONS][0]))
    await talk.say(builders.appeal_image_received(), builders.case_disposed(), builders.search_ended())
    await talk.ear.until(lambda: all(talk.ear.events[topic] for topic in topics.ALL))
    records = [record for said in talk.ear.records.values() for record in said]

    assert {topic.name for topic in topics.ALL} <= {record.topic for record in records}
    assert [leak for record in records for leak in leaks.leaks_of(record)] == []
    assert list(leaks.leaks(house[0].logs().encode())) == []
