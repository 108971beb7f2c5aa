"""Which group reads which topic, and what follows where; and that importing a consumer does nothing."""

import asyncio
import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import builders
import pytest
from mounted import Mounted, lawful, running, said
from prometheus_client import REGISTRY

import topics
from consumers.review import Sweep
from rfr_stream.adapters.memory.vision import PlantedFace
from rfr_stream.events import CandidatesReady, Event, ImageSubmitted, Outcome, SubmissionClosed
from rfr_stream.ports import CaseState, Seed
from topics import Topic

ANNA = PlantedFace("anna")
FAR_AWAY = datetime(2999, 1, 1, tzinfo=UTC)
CONSUMERS: Final = ("appeals", "detection", "embedding", "search", "enrolment", "review", "callbacks")


@pytest.fixture
def house(tmp_path: Path) -> Mounted:
    return Mounted.at(tmp_path)


# --- topology -------------------------------------------------------------------------------------------------------
def test_every_group_of_the_table_reads_its_topic_and_no_other(house: Mounted) -> None:
    reading = {(stage.source.name, stage.group) for stage in house.stages}
    expected = {(topic.name, group) for topic in topics.ALL for group in topic.groups}
    assert reading == expected - {(topics.DECISIONS.name, "rfr-review")}  # one message at a time, see below


async def test_decisions_are_read_one_at_a_time_by_the_review(house: Mounted) -> None:
    async with house.reviewing():
        await house.decide(builders.decision())
    (letter,) = house.dead(topics.DECISIONS, "rfr-review")
    assert "not registered" in letter.header("x-rfr-error")


@pytest.mark.parametrize(
    ("source", "sink"),
    [(topics.SUBMISSIONS, topics.FACES), (topics.FACES, topics.TEMPLATES), (topics.TEMPLATES, topics.CANDIDATES)],
    ids=["detection", "embedding", "search"],
)
async def test_a_stage_says_what_the_next_one_reads(house: Mounted, source: Topic, sink: Topic) -> None:
    heard = await house.hears(await asked_on(house, source), groups=source.groups)
    assert set(heard) == {source.name, sink.name}
    (following,) = heard[sink.name]
    assert type(following) in sink.events


async def asked_on(house: Mounted, topic: Topic) -> Event:
    if topic is topics.SUBMISSIONS:
        return await house.here.submitted(ANNA)
    return await (house.here.detected(ANNA) if topic is topics.FACES else house.here.embedded(ANNA))


async def test_an_enrolment_says_nothing_and_makes_a_person_findable(house: Mounted) -> None:
    reference = await house.here.referenced(ANNA, hold=lawful())
    assert set(await house.hears(reference)) == {topics.ENROLMENTS.name}
    (found,) = said(await house.hears(await house.here.embedded(ANNA)), topics.CANDIDATES, CandidatesReady)
    assert [candidate.person_id for candidate in found.candidates] == ["person-1"]


async def test_what_became_of_a_case_says_nothing_and_makes_a_person_unfindable(house: Mounted) -> None:
    await house.hears(await house.here.referenced(ANNA, hold=lawful()))
    assert set(await house.hears(builders.case_disposed())) == {topics.DISPOSALS.name}
    (found,) = said(await house.hears(await house.here.embedded(ANNA)), topics.CANDIDATES, CandidatesReady)
    assert found.candidates == ()


async def test_an_erasure_says_nothing_and_is_for_a_reader_of_its_own(house: Mounted) -> None:
    reference = await house.here.referenced(ANNA, hold=lawful())
    await house.hears(reference)
    end = builders.erased(reference)
    for group, left in [("rfr-enrolment", 1), ("rfr-erasure", 0)]:
        assert set(await house.hears(end, groups=[group])) == {topics.ENROLMENTS.name}
        assert len(await house.here.ledger.held([reference.reference_id])) == left


async def test_one_face_under_two_persons_is_counted(house: Mounted) -> None:
    def counted() -> float:
        likeness = {"gallery": "custody", "likeness": "same_image"}
        return REGISTRY.get_sample_value("rfr_gallery_conflicts_total", likeness) or 0

    before = counted()
    for _ in range(2):
        people = ("person-1", "person-2")
        await house.hears(*[await house.here.referenced(ANNA, person_id=person, hold=lawful()) for person in people])
    assert counted() == before + 1


async def test_references_are_enrolled_one_batch_at_a_time_so_that_their_order_counts(tmp_path: Path) -> None:
    house = Mounted.at(tmp_path, pipeline={"depth": 4})
    depths = {group: pipeline._settings.depth for group, pipeline in house.pipelines.items()}  # noqa: SLF001
    assert depths.pop("rfr-enrolment") == 1
    assert depths.pop("rfr-callback") > 4, "one receiver that hangs keeps no other waiting"
    assert set(depths.values()) == {4}


async def test_a_held_list_says_nothing(house: Mounted) -> None:
    assert set(await house.hears(builders.candidates_ready())) == {topics.CANDIDATES.name}


async def test_the_reviews_own_outcomes_come_back_and_change_nothing(house: Mounted) -> None:
    blank = builders.candidates_ready(people=())
    async with house.reviewing():
        await house.hears(blank)
        (told,) = await house.told(topics.OUTCOMES, 1)
    assert set(await house.hears(told)) == {topics.OUTCOMES.name}


async def test_the_sweep_ends_what_waited_too_long(tmp_path: Path) -> None:
    house = Mounted.at(tmp_path, review={"expire_after_days": 1e-9})
    found = builders.candidates_ready()
    await house.hears(found)
    (sweep,) = (task for task in house.tasks if isinstance(task, Sweep))
    async with house.reviewing(), running(sweep.run()):
        (told,) = await house.told(topics.OUTCOMES, 1)
    assert isinstance(told, SubmissionClosed)
    assert told.outcome is Outcome.EXPIRED
    case = await house.here.ledger.case(found.submission.submission_id)
    assert case
    assert case.state is CaseState.EXPIRED


async def test_the_sweep_sows_known_answers_among_the_others(tmp_path: Path) -> None:
    house = Mounted.at(tmp_path, review={"seeded_share": 0.5})
    seed = builders.image_submitted(builders.submission("seed"))
    await house.here.ledger.plant([Seed(seed, None)])
    await house.hears(builders.candidates_ready())
    (sweep,) = (task for task in house.tasks if isinstance(task, Sweep))
    async with house.reviewing(), running(sweep.run()):
        (said,) = await house.told(topics.SUBMISSIONS, 1)
    assert isinstance(said, ImageSubmitted)
    assert said.event_id == seed.event_id
    assert said.occurred_at == said.submission.submitted_at > seed.occurred_at


async def test_the_sweep_reminds_whoever_has_not_acknowledged_a_withdrawal(tmp_path: Path) -> None:
    house = Mounted.at(tmp_path, review={"remind_after_hours": 1e-9, "sweep_every_s": 0.01})
    found = builders.candidates_ready()
    await with_people(house, found)
    (sweep,) = (task for task in house.tasks if isinstance(task, Sweep))
    async with house.reviewing():
        await house.hears(found)
        await house.decide(*(builders.decision(found, by=by) for by in ("reviewer-a", "reviewer-b")))
        await house.decide(builders.withdrawal())
        lead, recall = await house.told(topics.IDENTIFICATIONS, 2)
        assert set(await house.hears(builders.acknowledged(lead))) == {topics.ACKNOWLEDGEMENTS.name}
        async with running(sweep.run()):
            assert (await house.told(topics.IDENTIFICATIONS, 4))[1:] == [recall] * 3
            await house.hears(builders.acknowledged(recall))
            said_n = len(house.sent(topics.IDENTIFICATIONS))
            await asyncio.sleep(0.1)
            assert len(house.sent(topics.IDENTIFICATIONS)) <= said_n + 1, "what was on its way, and no more"


async def with_people(house: Mounted, found: CandidatesReady) -> None:
    """Let this list be lawful, and people decide about it, whenever the test runs."""
    held = [replace(reference, review_due=FAR_AWAY) for reference in builders.references_of(found)]
    await house.here.ledger.hold(held)
    for by in ("reviewer-a", "reviewer-b"):
        await house.here.ledger.register(builders.reviewer(by, competent_until=FAR_AWAY))
    await house.here.ledger.register(builders.supervisor(competent_until=FAR_AWAY))


# --- importing ------------------------------------------------------------------------------------------------------
PROBE: Final = """
import json, os, socket, sys
read = []
class Watched(dict):
    def __getitem__(self, name):
        read.append(name)
        return super().__getitem__(name)
    def get(self, name, default=None):
        read.append(name)
        return super().get(name, default)
def refuse(*_):
    raise AssertionError("a connection")
os.environ = Watched(os.environ)
socket.socket.connect = refuse
import importlib
importlib.import_module("consumers." + sys.argv[1])
print(json.dumps({
    "settings": [name for name in read if name.upper().startswith("RFR_")],
    "modules": sorted({"torch", "qdrant_edge", "qdrant_client", "sqlalchemy", "aioboto3"} & sys.modules.keys()),
}))
"""


@pytest.mark.parametrize("consumer", CONSUMERS)
def test_importing_a_consumer_reads_no_setting_connects_to_nothing_and_loads_no_model(
    consumer: str, tmp_path: Path
) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROBE, consumer], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert json.loads(ran.stdout) == {"settings": [], "modules": []}
    assert list(tmp_path.iterdir()) == []
