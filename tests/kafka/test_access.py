"""Kafka itself refuses what the table of principals does not say; what it says is enough for the whole chain."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import builders
import lab
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAuthorizationFailedError
from chain import variables
from guarded import STRANGER, SUPER_USER, Guarded, guarded
from house import House, picture
from secured import SCRAM_PASSWORD

import topics
from consumers import appeals, detection, embedding, enrolment, review, search
from consumers._pipeline import Pipeline
from consumers._runtime import Runs, Task
from producers import officer, references, replay
from producers.console import app as console
from producers.officer import OfficerRequest
from producers.references import Enrolment
from rfr_stream import stages
from rfr_stream.adapters.keys import KeyVerifier
from rfr_stream.adapters.memory.vision import PlantedFace
from rfr_stream.errors import Unavailable
from rfr_stream.events import CandidatesReady, Event, GalleryName, IdentificationConfirmed
from rfr_stream.settings import KafkaSettings, Settings, VisionSettings
from topics import Record, Topic, access, acls, admin
from topics._client import NotAllowed, client_options
from topics.access import Operation, Principal, Resource, Right
from topics.acls import Difference, Kind, Permission, Rule
from topics.bus import Bus
from topics.embedded import EmbeddedKafka
from topics.lag import Lag
from topics.tail import read_tail

pytestmark = pytest.mark.asyncio(loop_scope="module")

STAGES: Final[dict[Principal, Any]] = {
    access.APPEAL: appeals,
    access.DETECTION: detection,
    access.EMBEDDING: embedding,
    access.SEARCH: search,
    access.ENROLMENT: enrolment,
    access.REVIEW: review,
}
HAND_MADE: Final[dict[Topic, Event]] = {
    topics.APPEALS: builders.appeal_image_received(),
    topics.SUBMISSIONS: builders.image_submitted(),
    topics.DISPOSALS: builders.case_disposed("person-9"),
    topics.FACES: builders.face_detected(),
    topics.TEMPLATES: builders.face_embedded(),
    topics.CANDIDATES: builders.candidates_ready(),
    topics.DECISIONS: builders.decision(),
    topics.IDENTIFICATIONS: builders.identification_confirmed(),
    topics.OUTCOMES: builders.closed(),
    topics.STANDING: builders.search_ended(),
    topics.ACKNOWLEDGEMENTS: builders.acknowledged(builders.identification_confirmed()),
    topics.ENROLMENTS: builders.reference_submitted(),
}
"""One valid event for each topic, as anybody could make it by hand."""
REVIEWERS: Final = ("reviewer-a", "reviewer-b")

every_principal = pytest.mark.parametrize("principal", access.ALL, ids=lambda each: each.name)
every_stage = pytest.mark.parametrize("stage", STAGES, ids=lambda each: each.name)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Guarded]:
    """A cluster with these rights and no more; its topics are laid out by `rfr-admin`, who has just enough for that."""
    async with guarded(tmp_path_factory.mktemp("guarded")) as cluster:
        assert await acls.apply(cluster.settings(SUPER_USER)) == ()
        assert await admin.apply(cluster.settings(access.ADMIN.name)) == ()
        yield cluster


# --- who may write ---------------------------------------------------------------------------------------------------


@every_principal
async def test_kafka_takes_an_event_only_where_the_table_says_so(cluster: Guarded, principal: Principal) -> None:
    before = await ends(cluster)
    taken = await offered(cluster, principal.name, topics.ALL)
    assert taken == {*principal.writes, *principal.puts_back}
    after = await ends(cluster)
    assert {topic for topic in topics.ALL if after[topic.name] > before[topic.name]} == taken


@pytest.mark.parametrize(
    ("topic", "alone"), [(topics.IDENTIFICATIONS, "rfr-review"), (topics.DECISIONS, "rfr-console")]
)
async def test_a_hand_made_event_is_refused_from_everybody_but_one(cluster: Guarded, topic: Topic, alone: str) -> None:
    others = [principal.name for principal in access.ALL if principal.name != alone]
    before = await ends(cluster)
    assert not [who for who in (*others, STRANGER) if await offered(cluster, who, [topic])]
    assert (await ends(cluster))[topic.name] == before[topic.name]
    assert await offered(cluster, alone, [topic]) == {topic}


@pytest.mark.parametrize("door", [access.OFFICER, access.PUBLIC_APPEAL, access.MISSING_PERSONS], ids=str)
async def test_a_door_sees_how_long_the_line_behind_it_is(cluster: Guarded, door: Principal) -> None:
    (group,) = topics.SUBMISSIONS.groups
    async with cluster.bus(door.name, door.rights) as bus, Lag(bus.options) as lag:
        assert await lag.messages(topics.SUBMISSIONS, group) >= 0


async def test_who_writes_a_topic_does_not_therefore_see_how_far_others_are(cluster: Guarded) -> None:
    (group,) = topics.SUBMISSIONS.groups
    async with cluster.bus(access.REVIEW.name) as bus, Lag(bus.options) as lag:
        with pytest.raises(Unavailable, match="GroupAuthorizationFailed"):
            await lag.messages(topics.SUBMISSIONS, group)


async def offered(cluster: Guarded, who: str, to: Sequence[Topic]) -> set[Topic]:
    """Send one valid event to each of these topics, by no code of the house; return those where the broker took it."""
    producer = AIOKafkaProducer(bootstrap_servers=cluster.kafka.sasl, **client_options(cluster.settings(who)))
    taken = set()
    async with producer:
        for topic in to:
            record = topic.encode(HAND_MADE[topic])
            try:
                await producer.send_and_wait(topic.name, record.value, record.key, headers=list(record.headers))
            except TopicAuthorizationFailedError:
                continue
            taken.add(topic)
    return taken


async def ends(cluster: Guarded) -> dict[str, int]:
    """Return how many records each topic has ever held, by what a super user sees."""
    options = client_options(cluster.settings(SUPER_USER))
    async with AIOKafkaConsumer(bootstrap_servers=cluster.kafka.sasl, **options) as consumer:
        places = [TopicPartition(topic.name, number) for topic in topics.ALL for number in range(topic.partitions)]
        found = await consumer.end_offsets(places)
    return {topic.name: sum(end for place, end in found.items() if place.topic == topic.name) for topic in topics.ALL}


# --- it is enough ----------------------------------------------------------------------------------------------------


async def test_the_whole_chain_works_with_these_rights_and_no_more(cluster: Guarded, tmp_path: Path) -> None:
    here = House()
    for name in REVIEWERS:
        await here.ledger.register(builders.reviewer(name, competent_until=datetime.now(UTC) + timedelta(days=1)))
    blank = builders.candidates_ready(people=())
    await stages.hold([blank], ledger=here.ledger, now=builders.NOW)  # owed, so that the relay begins by looking back
    async with AsyncExitStack() as stack:
        for bus, tasks in mounted(cluster, here, tmp_path):
            await stack.enter_async_context(at_work(bus, tasks))
        file = picture(PlantedFace("anna"))
        await enrolled(cluster, here, file)
        found = await listed(cluster, here, file)
        async with cluster.bus(access.CONSOLE.name, access.CONSOLE.rights) as console:
            await console.publish([builders.decision(found, by=name) for name in REVIEWERS])
        lead = await heard_by_the_case_system(cluster, found.submission.case_ref)
        async with cluster.bus(access.CASE_SYSTEM.name, access.CASE_SYSTEM.rights) as case_system:
            await case_system.publish([builders.acknowledged(lead)])
        await every_group_sets_aside_what_it_cannot_open(cluster)
        await put_back(cluster)
    assert lead.person_id == "person-1"
    assert await here.ledger.unpublished(1) == []


def mounted(cluster: Guarded, here: House, folder: Path) -> list[tuple[Bus, Sequence[Task]]]:
    """Mount each stage on the bus of its own principal; their stores are fakes."""
    gathers, detects, embeds, searches, enrols, reviews = (cluster.bus(stage.name, stage.rights) for stage in STAGES)
    settings = Settings(data_dir=folder)
    ports: dict[str, Any] = {"blobs": here.blobs, "vision": here.vision}
    more = {**ports, "gallery": here.gallery}
    more |= {"references": here.ledger, "standing": here.ledger, "models": here.ledger}
    return [
        (gathers, [appeals.mount(gathers, settings, **ports, appeals=here.ledger)]),
        (detects, [detection.mount(detects, settings, **ports)]),
        (embeds, [embedding.mount(embeds, settings, **ports, models=here.ledger)]),
        (searches, [search.mount(searches, settings, **more)]),
        (enrols, enrolment.mount(enrols, settings, **more)),
        (reviews, review.mount(reviews, settings, ledger=here.ledger, verifier=KeyVerifier())),
    ]


@asynccontextmanager
async def at_work(bus: Bus, tasks: Sequence[Task]) -> AsyncIterator[None]:
    """A stage at work in this process; what fails in it fails the test."""
    async with bus:
        await bus.broker.start()
        running = {asyncio.create_task(task.run()): task for task in tasks if isinstance(task, Runs)}
        try:
            yield
        finally:
            for one, task in running.items():
                task.stop() if isinstance(task, Pipeline) else one.cancel()
            ended = await asyncio.gather(*running, return_exceptions=True)
            await bus.broker.stop()
    assert not [each for each in ended if isinstance(each, Exception)]
    assert bus.failure is None


async def enrolled(cluster: Guarded, here: House, file: bytes) -> None:
    """Let the gallery's administrator bring in person-1, and wait until they can be found."""
    now = datetime.now(UTC)
    held = builders.hold_record(captured_at=now - timedelta(days=1), review_due=now + timedelta(days=1))
    entry = Enrolment(person_id="person-1", gallery=GalleryName.CUSTODY, hold=held, submitted_by="records-office")
    async with cluster.bus(access.GALLERY_ADMIN.name) as bus:
        reports = [each async for each in references.enrol([(file, entry)], blobs=here.blobs, publish=bus.publish)]
    ids = [report.derived_id for report in reports if report.derived_id]
    await lab.until(lambda: here.ledger.held(ids), lambda held: len(held) == 1)


async def listed(cluster: Guarded, here: House, file: bytes) -> CandidatesReady:
    """Let an officer ask, and wait until people may look at the list."""
    request = OfficerRequest(submitted_by="officer-1", **builders.asked(case_ref="case-guarded"))
    async with cluster.bus(access.OFFICER.name) as bus:
        (report,) = [each async for each in officer.submit([file], request, blobs=here.blobs, publish=bus.publish)]
    assert report.derived_id, report.reason
    about = report.derived_id
    case = await lab.until(lambda: here.ledger.case(about), lambda case: bool(case and case.candidates))
    assert case
    assert case.candidates
    return case.candidates


async def heard_by_the_case_system(cluster: Guarded, case_ref: str) -> IdentificationConfirmed:
    """Subscribe as the case system does, in a group of its own name, and commit what was taken in."""
    who = access.CASE_SYSTEM
    consumer = AIOKafkaConsumer(
        *(topic.name for topic in who.subscribes),
        bootstrap_servers=cluster.kafka.sasl,
        group_id=f"{who.name}-leads",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        **client_options(cluster.settings(who.name)),
    )
    async with asyncio.timeout(120), consumer:
        async for message in consumer:
            record = Record(message.topic, message.key, message.value, tuple(message.headers))
            if message.topic == topics.IDENTIFICATIONS.name and message.key == case_ref.encode():
                await consumer.commit()
                break
    lead = topics.IDENTIFICATIONS.decode(record)
    assert isinstance(lead, IdentificationConfirmed)
    return lead


async def every_group_sets_aside_what_it_cannot_open(cluster: Guarded) -> None:
    """Send what is no event to every topic that a stage works on, and wait for it among the dead letters."""
    worked_on = [topic for stage in STAGES for topic in stage.works_on]
    async with cluster.bus(SUPER_USER) as anybody:
        await anybody.send([Record(topic.name, b"nonsense", b"{}") for topic in worked_on])
        for name in (topic.dead(group) for topic in worked_on for group in topic.groups):
            await lab.until(
                lambda name=name: read_tail(anybody.options, name),  # type: ignore[misc]
                lambda kept: any(each.record.key == b"nonsense" for each in kept),
            )


async def put_back(cluster: Guarded) -> None:
    """Put dead letters back as whoever does so after a fix, on every topic where that is allowed; once each."""
    who = access.REPLAY
    async with cluster.bus(who.name, who.rights) as bus:
        for topic, group in [(each, group) for each in who.puts_back for group in each.groups]:
            letters = await replay.find(bus.options, topic, group, replay.Wanted(key="nonsense"))
            assert letters
            await replay.replay(bus, topic, letters, per_second=100)
            places = {(kept.partition, kept.offset) for kept in letters}
            again = await replay.find(bus.options, topic, group, replay.Wanted(key="nonsense"))
            assert not places & {(kept.partition, kept.offset) for kept in again}


# --- it is not too much, and what is missing is named ----------------------------------------------------------------


@every_stage
async def test_without_any_one_of_its_rights_a_stage_does_not_start_and_names_it(
    cluster: Guarded, stage: Principal
) -> None:
    for right in stage.rights:
        async with withdrawn(cluster, stage, right):
            with pytest.raises(NotAllowed, match=f"{stage.name} may not {right};"):
                await cluster.bus(stage.name, stage.rights).__aenter__()
    async with cluster.bus(stage.name, stage.rights):
        pass


@every_stage
async def test_every_stages_application_asks_for_its_rights_before_it_starts(
    cluster: Guarded, stage: Principal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in environment(cluster, stage.name, tmp_path):
        monkeypatch.setenv(*variable.split("=", 1))
    async with withdrawn(cluster, stage, to_set_aside(stage)):
        with pytest.raises(NotAllowed, match=f"{stage.name} may not {to_set_aside(stage)};"):
            await STAGES[stage].create_app().lifespan_context().__aenter__()


@pytest.mark.parametrize("right", access.CONSOLE.rights, ids=str)
async def test_the_desk_does_not_open_where_it_may_not_say_what_people_sign_or_endorse(
    cluster: Guarded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, right: Right
) -> None:
    for variable in environment(cluster, access.CONSOLE.name, tmp_path):
        monkeypatch.setenv(*variable.split("=", 1))
    desk = console.create_app()
    async with withdrawn(cluster, access.CONSOLE, right):
        with pytest.raises(NotAllowed, match=f"rfr-console may not {right};"):
            await desk.router.lifespan_context(desk).__aenter__()
    async with desk.router.lifespan_context(desk):
        pass


async def test_a_stages_process_says_in_a_sentence_what_it_may_not_and_ends(cluster: Guarded, tmp_path: Path) -> None:
    stage = access.DETECTION
    async with withdrawn(cluster, stage, to_set_aside(stage)):
        done = await rfr(cluster, stage.name, tmp_path, "up", "--stage", "detection")
    assert done.returncode == 1
    assert f"NotAllowed: {stage.name} may not {to_set_aside(stage)};" in done.stderr
    assert "Traceback" not in done.stderr


def to_set_aside(stage: Principal) -> Right:
    """Return the right that a stage needs only once a message is bad, and nobody would miss before."""
    source = stage.works_on[0]
    return Right(Operation.WRITE, Resource.TOPIC, source.dead(source.groups[0]))


def environment(cluster: Guarded, who: str, folder: Path) -> list[str]:
    """Return the variables of a process that comes in as this user."""
    settings = Settings(data_dir=folder, kafka=cluster.settings(who), vision=VisionSettings(pack="null"))
    said = [each for each in variables(settings) if "SASL_PASSWORD" not in each]
    return [*said, f"RFR_KAFKA__SASL_PASSWORD={SCRAM_PASSWORD}"]


async def rfr(cluster: Guarded, who: str, folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run a command as this user."""
    command = ["env", *environment(cluster, who, folder), "COLUMNS=300", sys.executable, "-m", "rfr_stream", *words]
    return await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False, timeout=60)


async def test_a_right_that_is_withdrawn_meanwhile_ends_the_process(cluster: Guarded) -> None:
    bus = cluster.bus(access.REVIEW.name, access.REVIEW.rights)
    bus.ask_again_s = 0.1
    async with bus, asyncio.timeout(20):
        await asyncio.sleep(0.3)
        assert bus.failure is None
        async with withdrawn(cluster, access.REVIEW, Right(Operation.READ, Resource.TOPIC, topics.DECISIONS.name)):
            await bus.failed.wait()
    assert isinstance(bus.failure, NotAllowed)
    assert topics.DECISIONS.name in str(bus.failure)


async def test_whoever_sends_where_they_may_not_is_told_where(cluster: Guarded) -> None:
    async with cluster.bus(access.CONSOLE.name) as unseen, cluster.bus(access.REVIEW.name) as seen:
        with pytest.raises(NotAllowed, match=f"may not write topic {topics.FACES.name};"):
            await unseen.publish([HAND_MADE[topics.FACES]])
        with pytest.raises(NotAllowed, match=f"may not write topic {topics.DECISIONS.name};"):
            await seen.publish([HAND_MADE[topics.DECISIONS]])  # it may read there
    with pytest.raises(NotAllowed, match=f"{STRANGER} may not write any topic;"):
        await cluster.bus(STRANGER).__aenter__()


async def test_whoever_looks_where_they_may_not_is_told_where(cluster: Guarded) -> None:
    for who, topic in ((access.CONSOLE, topics.CANDIDATES), (access.DETECTION, topics.FACES)):  # it may write there
        with pytest.raises(NotAllowed, match=f"may not read topic {topic.name};"):
            await read_tail(cluster.bus(who.name).options, topic.name)
    with pytest.raises(Unavailable, match="no topic rfr-nowhere-v1; `rfr topics apply`"):
        await read_tail(cluster.bus(SUPER_USER).options, "rfr-nowhere-v1")


@asynccontextmanager
async def withdrawn(cluster: Guarded, whose: Principal, right: Right) -> AsyncIterator[None]:
    """Take one right away for as long as this lasts; applying the table brings it back."""
    async with changed(cluster, Rule(f"User:{whose.name}", right), take=True):
        yield


@asynccontextmanager
async def changed(cluster: Guarded, *rules: Rule, take: bool = False) -> AsyncIterator[None]:
    """Set or take rules by hand, as a super user can, and wait until the broker knows; put it right in the end."""
    settings = cluster.settings(SUPER_USER)
    undo = acls.give if take else acls.take
    async with admin.connected(settings) as client:
        before = await acls.compare(client)
        for rule in rules:
            await (acls.take if take else acls.give)(client, rule)
        await lab.until(lambda: acls.compare(client), lambda found: len(found) >= len(before) + len(rules))
        try:
            yield
        finally:
            for rule in rules:
                await undo(client, rule)
            await lab.until(lambda: acls.compare(client), lambda found: found == before)


# --- the table and the cluster ---------------------------------------------------------------------------------------

FORGERY: Final = Right(Operation.WRITE, Resource.TOPIC, topics.IDENTIFICATIONS.name)


async def test_a_right_that_the_table_does_not_say_is_found_and_taken_away(cluster: Guarded) -> None:
    settings = cluster.settings(SUPER_USER)
    forger = Rule("User:rfr-console", FORGERY)
    async with admin.connected(settings) as client:
        await acls.give(client, forger)
        found = await lab.until(lambda: acls.compare(client), bool)
    assert found == (Difference(Kind.SURPLUS, forger),)
    assert str(found[0]) == "rfr-console may write topic rfr-identifications-v1: not in the table"
    assert await offered(cluster, "rfr-console", [topics.IDENTIFICATIONS]) == {topics.IDENTIFICATIONS}
    assert await acls.apply(settings) == ()
    assert await offered(cluster, "rfr-console", [topics.IDENTIFICATIONS]) == set()


async def test_the_rights_of_others_and_prohibitions_are_reported_and_stay(cluster: Guarded) -> None:
    stranger, forbidden = f"User:{STRANGER}", Right(Operation.READ, Resource.TOPIC, topics.DECISIONS.name)
    foreign = (
        Rule(stranger, replace(FORGERY, name="rfr", prefix=True)),
        Rule("User:*", Right(Operation.READ, Resource.TOPIC, "*")),
        Rule(stranger, Right(Operation.ALTER, Resource.CLUSTER, access.CLUSTER)),
    )
    denied = Rule("User:rfr-review", forbidden, Permission.DENY)
    harmless = (
        Rule(stranger, replace(FORGERY, name="payroll")),
        Rule(stranger, FORGERY, Permission.DENY),
    )
    async with changed(cluster, *foreign, denied):
        async with admin.connected(cluster.settings(SUPER_USER)) as client:
            for rule in harmless:
                await acls.give(client, rule)
        left = await acls.apply(cluster.settings(SUPER_USER))
        assert {(each.kind, each.rule) for each in left} == {
            *((Kind.FOREIGN, rule) for rule in foreign),
            (Kind.DENIED, denied),
        }
        assert f"{STRANGER}, who is not in the table, may write any topic whose name begins with rfr" in map(str, left)
        with pytest.raises(NotAllowed, match=str(forbidden)):
            await cluster.bus("rfr-review", access.REVIEW.rights).__aenter__()


async def test_whoever_lays_out_the_topics_sees_the_rights_and_changes_none(cluster: Guarded) -> None:
    settings = cluster.settings(access.ADMIN.name)
    assert await acls.plan(settings) == ()
    async with withdrawn(cluster, access.OFFICER, access.OFFICER.rights[0]):
        (missing,) = await acls.plan(settings)
        assert str(missing) == "rfr-officer may not yet write topic rfr-submissions-v1"
        with pytest.raises(Unavailable, match="ClusterAuthorizationFailed"):
            await acls.apply(settings)


async def test_whoever_lays_out_the_topics_can_do_that_and_nothing_else(cluster: Guarded) -> None:
    async with admin.connected(cluster.settings(access.ADMIN.name)) as client:
        made = await client.create_topics([NewTopic("rfr-scratch-v1", 1, 1), NewTopic("payroll", 1, 1)])
        assert {name: code == 0 for name, code, _ in made.topic_errors} == {"rfr-scratch-v1": True, "payroll": False}
        await lab.until(client.list_topics, lambda names: "rfr-scratch-v1" in names)
        await client.create_partitions({"rfr-scratch-v1": NewPartitions(2)})
        settings = ConfigResource(ConfigResourceType.TOPIC, "rfr-scratch-v1", {"retention.ms": "1000"})
        ((altered,),) = [answer.resources for answer in await client.alter_configs([settings])]
        assert altered[0] == 0
        refused = await client.delete_topics(["rfr-scratch-v1"])
        assert [code for _, code in refused.topic_error_codes] == [TopicAuthorizationFailedError.errno]
    async with admin.connected(cluster.settings(SUPER_USER)) as client:
        await client.delete_topics(["rfr-scratch-v1"])


async def test_whoever_may_not_lay_out_topics_is_told_which(cluster: Guarded) -> None:
    with pytest.raises(
        Unavailable, match=f"TopicAuthorizationFailed.*({topics.SUBMISSIONS.name}|{topics.DECISIONS.name})"
    ):
        await admin.apply(cluster.settings(access.CONSOLE.name))


async def test_a_cluster_that_asks_nobody_for_rights_says_so(broker: EmbeddedKafka) -> None:
    with pytest.raises(Unavailable, match="SecurityDisabled"):
        await acls.plan(KafkaSettings(bootstrap_servers=broker.bootstrap_servers))


async def test_the_command_line_plans_and_applies(cluster: Guarded, tmp_path: Path) -> None:
    async with withdrawn(cluster, access.OFFICER, access.OFFICER.rights[0]):
        planned = await rfr(cluster, SUPER_USER, tmp_path, "topics", "acls", "plan")
        assert (planned.returncode, planned.stdout) == (1, "rfr-officer may not yet write topic rfr-submissions-v1\n")
        applied = await rfr(cluster, SUPER_USER, tmp_path, "topics", "acls", "apply")
        assert (applied.returncode, applied.stdout) == (0, "The cluster is as the table says.\n")
