"""Are all cases decided, and told of once, while whatever decides them is killed?

    python benches/review_kills.py [--cases 1000] [--kills 30] [--seed 12] [--reviews 2] [--database sqlite]

Review processes, each with its relay, take in lists and signed decisions from a real Kafka and decide in a real
PostgreSQL; one of all these after another is killed (SIGKILL) and comes back. What is said comes in a random order,
one message in twenty twice and one in fifty forged; records leave half a second late, so that kills meet some.
SQLite is a file and cannot be killed. One seed is one plan; only the moments differ.

What must become of each case is worked out here, from what was said alone, and every lead's signatures are checked here
again. Exit code 1 where a count is not zero that must be.
"""

import argparse
import asyncio
import json
import logging
import random
import sys
import tempfile
import time
from base64 import b64decode
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias
from uuid import UUID

from aiokafka import AIOKafkaConsumer, TopicPartition
from cryptography.exceptions import InvalidSignature
from sqlalchemy import false, func, select
from sqlalchemy.ext.asyncio import create_async_engine

sys.path.append(str(Path(__file__).parents[1] / "tests"))  # a bench is a script: nobody else says where builders are
import builders
import chain
import postgresql

import topics
from rfr_stream.adapters import opening
from rfr_stream.adapters.ledger import tables
from rfr_stream.events import CandidatesReady, Event, ReviewDecided, Support
from rfr_stream.ports import CaseState
from rfr_stream.settings import LedgerSettings, VisionSettings
from topics.bus import Bus
from topics.embedded import EmbeddedKafka
from topics.tail import read_tail

PEOPLE: Final = [f"person-{number}" for number in range(12)]
REVIEWERS: Final = [f"reviewer-{number}" for number in range(6)]
KEYS: Final = {name: builders.private_key(name).public_key() for name in REVIEWERS}
LIST_LENGTH: Final = 3
SAID_TWICE: Final = 0.05
FORGERIES: Final = 0.02
"""For each person on a list, so that two in a hundred of all messages are forged."""
LATE_S: Final = 0.5
"""How long a record is under way before it is sent: a relay that dies while cases end has some in hand."""
LONGEST_OUTAGE_S: Final = 3.0
"""Beside the time that a broker or a database needs to start."""
AT_ONCE: Final = 0.3
"""Of the kills: those that wait for nothing, so that several victims are down at once."""
PATIENCE_S: Final = 180.0
SEED: Final = 12

Body: TypeAlias = dict[str, Any]


# --- what is said ---------------------------------------------------------------------------------------------------
AGAINST: Final = "nobody on the list"
UNSURE: Final = "cannot tell"


@dataclass(frozen=True)
class Case:
    """One list, what people and forgers say of it, and how it must end."""

    found: CandidatesReady
    decisions: Sequence[ReviewDecided]
    forgeries: Sequence[ReviewDecided]
    ends: CaseState

    @property
    def id(self) -> UUID:
        return self.found.submission.submission_id


def ending(said: Sequence[str]) -> CaseState:
    """Return where a case stands once two or three reviewers have said this: a person, `AGAINST` or `UNSURE`."""
    people = [each for each in said if each not in {AGAINST, UNSURE}]
    against = said.count(AGAINST)
    if not people:
        return CaseState.NOT_CONFIRMED if against else CaseState.INCONCLUSIVE
    if len(people) >= 2 and len(set(people)) == 1 and not against:
        return CaseState.CONFIRMED
    if len(said) == 2:
        return CaseState.AWAITING_THIRD_REVIEW
    return CaseState.NOT_CONFIRMED if against == 2 else CaseState.INCONCLUSIVE


def decision(found: CandidatesReady, by: str, said: str) -> ReviewDecided:
    """Return this reviewer's signed decision."""
    support = {AGAINST: Support.STRONG_DIFFERENT, UNSURE: Support.INCONCLUSIVE}.get(said, Support.STRONG_SAME)
    person = said if support is Support.STRONG_SAME else None
    return builders.decision(found, by=by, support=support, person_id=person)


def opinions(listed: Sequence[str], chance: random.Random) -> list[str]:
    """Return what reviewers say, in turn: of ten pairs six name one person, two nobody, two need a third."""
    first, second = chance.sample(listed, 2)
    apart = chance.sample([first, chance.choice([second, AGAINST, UNSURE])], 2)
    third = chance.choice([[], [first], [AGAINST], [UNSURE]])
    (said,) = chance.choices([[first, first], [AGAINST, AGAINST], apart + third], (6, 2, 2))
    return said


def case(number: int, chance: random.Random) -> Case:
    """Return a case that some of the reviewers decide."""
    listed = chance.sample(PEOPLE, LIST_LENGTH)
    found = builders.candidates_ready(builders.submission(f"probe-{number}", case_ref=f"case-{number}"), people=listed)
    said = opinions(listed, chance)
    reviewers = chance.sample(REVIEWERS, len(said))
    aimed_at = [person for person in listed if chance.random() < FORGERIES]
    return Case(
        found,
        [decision(found, by, each) for by, each in zip(reviewers, said, strict=True)],
        [builders.signed(decision(found, chance.choice(REVIEWERS), each), "somebody-else") for each in aimed_at],
        ending(said),
    )


def shuffled(cases: Sequence[Case], chance: random.Random) -> list[Event]:
    """Return all that is said in a random order, decisions often before their list; of one case, each in its turn."""
    timed: list[tuple[float, Event]] = []
    for each in cases:
        start = chance.uniform(0, 100)
        times = [start + chance.uniform(0, 10) for _ in (each.found, *each.decisions, *each.forgeries)]
        when = [times[0], *sorted(times[1:])]
        for at, said in zip(when, (each.found, *each.decisions, *each.forgeries), strict=True):
            timed.append((at, said))
            if chance.random() < SAID_TWICE:
                timed.append((at + chance.uniform(0, 10), said))
    return [event for _, event in sorted(timed, key=lambda pair: pair[0])]


# --- what is killed -------------------------------------------------------------------------------------------------
class Victim(Protocol):
    """Something that is killed and comes back."""

    kind: str

    async def at_work(self) -> None:
        """Wait until it has something to lose."""

    async def fall(self, outage_s: float) -> None:
        """Die at once, and be at work again after the outage."""


class Review:
    """A process that reviews, and its supervisor."""

    kind = "review"

    def __init__(self, house: chain.Chain, instance: str) -> None:
        """Start it."""
        self._house, self._instance = house, instance
        self.vain_starts = self.own_ends = 0
        self._start()

    def _start(self) -> None:
        self._process = self._house.start("review", instance=self._instance)

    @property
    def _is_at_work(self) -> bool:
        """Whether it has its partitions, and its relay has begun."""
        return self._process.has_said("stage.started")

    async def at_work(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not self._is_at_work:  # noqa: ASYNC110 - it tells its log alone
                await asyncio.sleep(0.1)

    async def fall(self, outage_s: float) -> None:  # noqa: ARG002 - its supervisor is quick
        self._process.kill()
        self._start()

    async def watch(self) -> None:
        """Start it again whenever it has ended on its own: its broker or database was away when it started."""
        while True:
            if not self._process.alive:
                self.own_ends += self._is_at_work
                self.vain_starts += not self._is_at_work
                self._start()
            await asyncio.sleep(0.1)


@dataclass
class Broker:
    """The one broker of the cluster."""

    kafka: EmbeddedKafka
    kind: str = "broker"

    async def at_work(self) -> None:
        """Whoever has come back is."""

    async def fall(self, outage_s: float) -> None:
        await asyncio.to_thread(self.kafka.kill)
        await asyncio.sleep(outage_s)
        await self.kafka.restart()


@dataclass
class Database:
    """The database of record."""

    server: postgresql.PostgreSql
    kind: str = "database"

    async def at_work(self) -> None:
        """Whoever has come back is."""

    async def fall(self, outage_s: float) -> None:
        await asyncio.to_thread(self.server.kill)
        await asyncio.sleep(outage_s)
        await asyncio.to_thread(self.server.start)


@dataclass
class Killer:
    """Kills at random what has something to lose; several may be down at once."""

    victims: Sequence[Victim]
    chance: random.Random
    killed: Counter[str] = field(default_factory=Counter)
    _falls: "dict[int, asyncio.Task[None]]" = field(default_factory=dict)

    async def next_victim(self) -> Victim:
        """Choose a kind and one of it; return it once it has something to lose."""
        kind = self.chance.choice(sorted({victim.kind for victim in self.victims}))
        victim = self.chance.choice([victim for victim in self.victims if victim.kind == kind])
        if fall := self._falls.get(id(victim)):
            await fall
        await victim.at_work()
        return victim

    async def kill(self, victim: Victim) -> None:
        """Kill it at a random moment of the next second."""
        await asyncio.sleep(self.chance.uniform(0.05, 1.0))
        self._falls[id(victim)] = asyncio.create_task(victim.fall(self.chance.uniform(0, LONGEST_OUTAGE_S)))
        self.killed[victim.kind] += 1

    async def all_back(self) -> None:
        """Wait until nothing is down any more."""
        await asyncio.gather(*self._falls.values())


# --- what is there in the end ---------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Kept:
    """What the ledger's tables hold: each case's state, and its decisions as they were signed."""

    states: Mapping[UUID, str]
    decisions: Mapping[UUID, Sequence[Body]]
    owed: int


@dataclass(frozen=True)
class Said:
    """One record of IDENTIFICATIONS or OUTCOMES."""

    ce_id: str
    body: Body

    @property
    def about(self) -> UUID:
        return UUID(self.body["submission_id"])


async def kept(house: chain.Chain) -> Kept:
    """Read the ledger's tables."""
    engine = create_async_engine(
        house.settings.ledger.url or f"sqlite+aiosqlite:///{house.settings.data_dir / 'ledger.db'}"
    )
    cases, decisions, outbox = tables.cases.c, tables.decisions.c, tables.outbox.c
    bodies: dict[UUID, list[Body]] = defaultdict(list)
    async with engine.connect() as connection:
        states = {row.submission_id: row.state for row in await connection.execute(select(*cases))}
        for row in await connection.execute(select(*decisions)):
            bodies[row.submission_id].append(json.loads(row.body))
        owed = await connection.scalar(select(func.count()).where(outbox.published == false()))
    await engine.dispose()
    return Kept(states, bodies, owed or 0)


async def said_on(house: chain.Chain, topic: topics.Topic) -> list[Said]:
    """Return all that a topic holds, from its start."""
    records = [each.record for each in await read_tail(house.options, topic.name)]
    return [Said(record.header("ce_id"), json.loads(record.value or b"{}")) for record in records]


async def unread(house: chain.Chain, topic: topics.Topic) -> int:
    """Return how many messages of a topic its group has not finished."""
    (group,) = topic.groups
    async with AIOKafkaConsumer(**house.options, group_id=group, enable_auto_commit=False) as consumer:
        places = [TopicPartition(topic.name, number) for number in range(topic.partitions)]
        ends = await consumer.end_offsets(places)
        return sum([ends[place] - (await consumer.committed(place) or 0) for place in places])


async def backlog(house: chain.Chain) -> int:
    """Return how many lists and decisions wait to be read."""
    return sum([await unread(house, topic) for topic in (topics.CANDIDATES, topics.DECISIONS)])


async def settle(house: chain.Chain) -> bool:
    """Wait until all is read and then nothing is owed; whether that came about before all stood still."""
    left, since = (sys.maxsize, sys.maxsize), time.monotonic()
    while time.monotonic() - since < PATIENCE_S:
        before, left = left, (await backlog(house), (await kept(house)).owed)
        if not any(left):
            return True
        since = since if left == before else time.monotonic()
        await asyncio.sleep(0.5)
    return False


# --- the proof ------------------------------------------------------------------------------------------------------
ENDS: Final = {CaseState.CONFIRMED, CaseState.NOT_CONFIRMED, CaseState.INCONCLUSIVE}
UNSIGNED: Final[Body] = {"features": [], "examination": None, "version": 1, "reason": None}
"""Fields that came later, and what stands in them where they say nothing: then they are not signed."""


def is_signed(body: Body) -> bool:
    """Whether a decision carries the signature of the reviewer it names, checked without this project's code."""
    said = {name: value for name, value in body.items() if name not in UNSIGNED or value != UNSIGNED[name]}
    words = {name: value for name, value in said.items() if name not in {"signature", "passkey"}}
    message = json.dumps(words, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    try:
        KEYS[body["reviewer_id"]].verify(b64decode(body["signature"]), message)
    except (KeyError, InvalidSignature):
        return False
    return True


def is_reviewed(lead: Said, listed: Mapping[UUID, str], held: Sequence[Body]) -> bool:
    """Whether two reviewers signed that this case's list, the one that was sent, shows the person of the lead."""
    wanted = (str(lead.about), listed.get(lead.about), lead.body["person_id"])
    agree = [body for body in held if (body["submission_id"], body["list_digest"], body["person_id"]) == wanted]
    signed = {body["reviewer_id"] for body in agree if is_signed(body)}
    return len(signed & {review["reviewer_ref"] for review in lead.body["reviews"]}) >= 2


MUST_BE_NONE: Final = {
    "lost": "confirmed, and no lead was given out",
    "double": "leads under two ids for one case",
    "unreviewed": "leads that two reviewers have not signed",
    "undecided": "cases that do not stand where what was said must bring them",
    "untold": "cases that ended, and the submitter was not told",
}


def faults(cases: Sequence[Case], found: Kept, leads: Sequence[Said], outcomes: Sequence[Said]) -> dict[str, int]:
    """Count what must not be."""
    ids: dict[UUID, set[str]] = defaultdict(set)
    for lead in leads:
        ids[lead.about].add(lead.ce_id)
    listed = {each.id: each.found.list_digest for each in cases}
    confirmed = {each.id for each in cases if each.ends is CaseState.CONFIRMED}
    confirmed |= {about for about, state in found.states.items() if state == CaseState.CONFIRMED}
    return {
        "lost": len(confirmed - set(ids)),
        "double": len([about for about, each in ids.items() if len(each) > 1]),
        "unreviewed": len([1 for each in leads if not is_reviewed(each, listed, found.decisions.get(each.about, ()))]),
        "undecided": len([each for each in cases if found.states.get(each.id) != each.ends]),
        "untold": len({each.id for each in cases if each.ends in ENDS} - {outcome.about for outcome in outcomes}),
    }


@dataclass(frozen=True)
class Report:
    """What a run has shown."""

    messages: int
    confirmed: int
    faults: Mapping[str, int]
    repeats: int
    killed: Mapping[str, int]
    vain_starts: int
    own_ends: int
    settled: bool
    seconds: float

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        return self.settled and not any(self.faults.values())

    def __str__(self) -> str:
        """Return the table."""
        kills = ", ".join(f"{kind} {count}" for kind, count in sorted(self.killed.items()))
        rows = [
            ("messages", self.messages, "lists and decisions"),
            ("kills", sum(self.killed.values()), kills),
            ("vain starts", self.vain_starts, "of a review whose broker or database was away; started again"),
            ("own ends", self.own_ends, "of a review that was at work"),
            ("confirmed", self.confirmed, "cases in which two people named one person"),
            *((name, count, MUST_BE_NONE[name]) for name, count in self.faults.items()),
            ("repeats", self.repeats, f"of a lead under its one id; relays killed: {self.killed.get('review', 0)}"),
            ("seconds", round(self.seconds), "until nothing was owed any more" if self.settled else "NOT SETTLED"),
        ]
        return "\n".join(f"{name:<11} {count:6}  {meaning}" for name, count, meaning in rows)


# --- the run --------------------------------------------------------------------------------------------------------
async def prepare(house: chain.Chain) -> None:
    """Register the reviewers, and hold a reference of everybody who can be on a list."""
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    async with opening.ledger(house.settings) as ledger:
        for name in REVIEWERS:
            await ledger.register(builders.reviewer(name, competent_until=tomorrow))
        await ledger.hold([builders.reference(person, review_due=tomorrow) for person in PEOPLE])


async def say_and_kill(house: chain.Chain, said: Sequence[Event], killer: Killer, kills: int) -> None:
    """Say everything, and kill at random places in it, most often once the work has caught up with what was said."""
    places = [0, *sorted(killer.chance.sample(range(1, len(said)), kills)), len(said)]
    async with Bus.from_settings(house.settings, client_id="bench") as bus:
        saying = asyncio.create_task(bus.publish([]))
        for start, end in pairwise(places):
            victim = await killer.next_victim() if end < len(said) else None
            if killer.chance.random() > AT_ONCE:
                await killer.all_back()
                await saying
                await until_at_most(len(said) // (kills + 1), house)
            saying = asyncio.create_task(publish_after(saying, bus, said[start:end]))
            if victim:
                await killer.kill(victim)
        await saying
    await killer.all_back()


async def publish_after(before: "asyncio.Task[None]", bus: Bus, said: Sequence[Event]) -> None:
    """Keep the order: who speaks third must not be heard second."""
    await before
    await bus.publish(said)


async def until_at_most(wait: int, house: chain.Chain) -> None:
    """Wait until no more than so many messages wait to be read."""
    async with asyncio.timeout(PATIENCE_S):
        while await backlog(house) > wait:  # noqa: ASYNC110 - Kafka tells nobody
            await asyncio.sleep(0.5)


async def survive(house: chain.Chain, others: Sequence[Victim], plan: argparse.Namespace) -> Report:
    """Say everything while victims die, wait for the end of it, and look."""
    chance, began = random.Random(plan.seed), time.monotonic()  # noqa: S311 - a plan that can be repeated
    cases = [case(number, chance) for number in range(plan.cases)]
    said = shuffled(cases, chance)
    await prepare(house)
    reviews = [Review(house, str(number)) for number in range(plan.reviews)]
    watching = [asyncio.create_task(review.watch()) for review in reviews]
    killer = Killer([*reviews, *others], chance)
    await say_and_kill(house, said, killer, plan.kills)
    settled = await settle(house)
    for each in watching:
        each.cancel()
    leads = await said_on(house, topics.IDENTIFICATIONS)
    return Report(
        messages=len(said),
        confirmed=len([each for each in cases if each.ends is CaseState.CONFIRMED]),
        faults=faults(cases, await kept(house), leads, await said_on(house, topics.OUTCOMES)),
        repeats=len(leads) - len({lead.ce_id for lead in leads}),
        killed=killer.killed,
        vain_starts=sum(review.vain_starts for review in reviews),
        own_ends=sum(review.own_ends for review in reviews),
        settled=settled,
        seconds=time.monotonic() - began,
    )


@contextmanager
def opened(database: str) -> Iterator[tuple[chain.Chain, Sequence[Victim]]]:
    """Start a broker and a database of their own."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rfr-bench-")))
        server = stack.enter_context(postgresql.running(postgresql.KILLABLE)) if database == "postgresql" else None
        ledger = LedgerSettings(url=server.fresh() if server else None)
        starting = chain.running(folder, late_s=LATE_S, vision=VisionSettings(pack="null"), ledger=ledger)
        house, kafka = stack.enter_context(starting)
        yield house, [Broker(kafka), *([Database(server)] if server else [])]


@contextmanager
def quiet(library: str) -> Iterator[None]:
    """Keep a library's complaints out of what is printed."""
    logger = logging.getLogger(library)
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def main(given: Sequence[str] | None = None) -> int:
    """Print what a run has shown; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=1_000)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--reviews", type=int, default=2, help="processes that review")
    parser.add_argument("--database", choices=["postgresql", "sqlite"], default="postgresql")
    plan = parser.parse_args(given)
    with quiet("aiokafka"), opened(plan.database) as (house, others):  # a broker that is away is the point
        report = asyncio.run(survive(house, others, plan))
    print(f"{plan.cases} cases, {plan.reviews} reviews, Kafka, {plan.database}, seed {plan.seed}")
    print(report)
    return 0 if report.good else 1


if __name__ == "__main__":
    sys.exit(main())
