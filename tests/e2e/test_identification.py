"""A picture in, two people decide, an identification out: real models, a real broker, real keys, a case system."""

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import builders
import pytest
import pytest_asyncio
from _data import TestData
from chain import Chain, Talk, running, saved
from PIL import Image, ImageEnhance, ImageFilter
from skimage import data as pictures

import topics
from producers import missing_persons, officer, public_appeal, references
from producers._intake import Report
from producers.console import signing
from producers.missing_persons import UnitRequest
from producers.officer import OfficerRequest
from producers.public_appeal import AppealRequest
from producers.references import Enrolment
from rfr_stream.adapters import keys
from rfr_stream.events import (
    UNSIGNED,
    CandidatesReady,
    GalleryName,
    IdentificationConfirmed,
    Outcome,
    Purpose,
    Regime,
    SubjectChosen,
    SubmissionClosed,
    Support,
)
from rfr_stream.ports import CaseState, Reviewer
from rfr_stream.settings import VisionSettings

pytestmark = [pytest.mark.kafka, pytest.mark.asyncio(loop_scope="module")]


def beside(left: Image.Image, right: Image.Image) -> Image.Image:
    """Return one picture of both."""
    both = Image.new("RGB", (left.width + right.width, max(left.height, right.height)))
    both.paste(left, (0, 0))
    both.paste(right, (left.width, 0))
    return both


CASE_SYSTEM: Final = Path(__file__).parents[2] / "examples" / "case_system.py"
ASTRONAUT: Final = Image.fromarray(pictures.astronaut())
PORTRAIT: Final = saved(ASTRONAUT.crop((120, 0, 330, 270)), "PNG")
BAD_CAMERA: Final = saved(
    ImageEnhance.Brightness(ASTRONAUT.filter(ImageFilter.GaussianBlur(1.6))).enhance(0.75), "JPEG", quality=35
)
SMALL_COPY: Final = saved(ASTRONAUT.resize((300, 300)), "JPEG", quality=60)
TWO_PEOPLE: Final = saved(beside(ASTRONAUT, ASTRONAUT.crop((120, 0, 330, 270)).resize((420, 540))), "PNG")
NOBODY: Final = saved(Image.fromarray(pictures.coffee()), "JPEG")
PERSON: Final = "person-7"
SUBMITTER: Final = "officer-12"
OUTCOME_FIELDS: Final = {"submission_id", "outcome", "detail", "occurred_at", "demo", "case_ref", "caveat"}
"""All that a submitter is told."""


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    with running(tmp_path_factory.mktemp("e2e"), vision=VisionSettings(pack="baseline")) as (chain, _):
        chain.start()
        yield chain


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def talk(chain: Chain) -> AsyncIterator[Talk]:
    async with chain.talking() as talk:
        await enrol(talk, {PERSON: PORTRAIT})
        yield talk


@pytest.fixture(scope="module")
def signers() -> dict[str, keys.Ed25519PrivateKey]:
    """Two people, each with a key that nobody else has."""
    return {"reviewer-1": keys.generate(), "reviewer-2": keys.generate()}


async def enrol(talk: Talk, people: dict[str, bytes]) -> None:
    """Bring people into the custody gallery through its own door, and wait until they can be found."""
    now = datetime.now(UTC)
    hold = builders.hold_record(captured_at=now - timedelta(days=30), review_due=now + timedelta(days=365))
    entries = [
        (file, Enrolment(person_id=person, gallery=GalleryName.CUSTODY, hold=hold, submitted_by="records-office"))
        for person, file in people.items()
    ]
    reports = [report async for report in references.enrol(entries, blobs=talk.blobs, publish=talk.bus.publish)]
    ids = [report.derived_id for report in reports if report.derived_id]
    async with asyncio.timeout(240):
        while len(await talk.ledger.held(ids)) + len(talk.ear.dead(topics.ENROLMENTS)) < len(people):  # noqa: ASYNC110
            await asyncio.sleep(0.1)


def asking(**fields: Any) -> dict[str, Any]:  # noqa: ANN401 - any field of a request
    """Return what every door wants to know."""
    return builders.asked(**{"case_ref": f"case-{uuid4()}", **fields})


async def officer_asks(talk: Talk, file: bytes, **fields: Any) -> UUID:  # noqa: ANN401
    request = OfficerRequest(submitted_by=SUBMITTER, **asking(**fields))
    return await handed_in(
        [r async for r in officer.submit([file], request, blobs=talk.blobs, publish=talk.bus.publish)]
    )


async def public_asks(talk: Talk, file: bytes) -> UUID:
    request = AppealRequest(endorsed_by=SUBMITTER, **asking())
    sent = public_appeal.submit([file], request, blobs=talk.blobs, publish=talk.bus.publish)
    return await handed_in([report async for report in sent])


async def unit_asks(talk: Talk, file: bytes) -> UUID:
    request = UnitRequest(submitted_by="unit-3", **asking(purpose=Purpose.MISSING, regime=Regime.GENERAL))
    sent = missing_persons.submit([file], request, blobs=talk.blobs, publish=talk.bus.publish)
    return await handed_in([report async for report in sent])


async def handed_in(reports: Sequence[Report]) -> UUID:
    (report,) = reports
    assert report.derived_id, report.reason
    return report.derived_id


async def listed(talk: Talk, submission_id: UUID) -> CandidatesReady:
    """Wait until people may look at it, and return what they see."""
    async with asyncio.timeout(60):
        while True:
            case = await talk.ledger.case(submission_id)
            if case and case.state is CaseState.AWAITING_REVIEW and case.candidates:
                return case.candidates
            await asyncio.sleep(0.05)


async def ended(talk: Talk, submission_id: UUID) -> SubmissionClosed:
    await talk.ear.until(lambda: talk.ear.outcome_of(submission_id), within_s=60)
    outcome = talk.ear.outcome_of(submission_id)
    assert outcome
    return outcome


async def decides(
    talk: Talk, found: CandidatesReady, signer: tuple[str, keys.Ed25519PrivateKey], person: str | None
) -> None:
    """Let one person sign through the reviewers' door."""
    (by, key), now = signer, datetime.now(UTC)
    judgement = signing.Judgement(
        reviewer_id=by,
        support=Support.MODERATE_SAME if person else Support.MODERATE_DIFFERENT,
        person_id=person,
        features=builders.features(),
        examination=builders.examination(analysed_at=now - timedelta(minutes=2), shown_at=now - timedelta(minutes=1)),
    )
    words = signing.draft(found, judgement, now)
    await talk.bus.publish([signing.seal(words, keys.sign_bytes(key, words.signed_bytes))])


def leads(talk: Talk, submission_id: UUID) -> list[IdentificationConfirmed]:
    said = [event for event in talk.ear.events[topics.IDENTIFICATIONS] if isinstance(event, IdentificationConfirmed)]
    return [event for event in said if event.submission_id == submission_id]


async def test_a_picture_from_a_bad_camera_becomes_a_lead_once_two_people_say_so(
    talk: Talk, signers: dict[str, keys.Ed25519PrivateKey], chain: Chain
) -> None:
    await registered(talk, signers)
    asked = await officer_asks(talk, BAD_CAMERA)
    found = await listed(talk, asked)
    assert [candidate.person_id for candidate in found.candidates] == [PERSON]

    first, second = signers.items()
    await decides(talk, found, first, PERSON)
    async with asyncio.timeout(30):
        while (await state(talk, asked)) is not CaseState.AWAITING_SECOND_REVIEW:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert not leads(talk, asked), "one person is not enough"
    await decides(talk, found, second, PERSON)
    await talk.ear.until(lambda: leads(talk, asked))

    (lead,) = leads(talk, asked)
    assert lead.person_id == PERSON
    assert (lead.evidential_status, lead.requires_corroboration) == ("INTELLIGENCE_LEAD", True)
    assert (lead.basis, lead.derived_from_rfr) == ("PERSONAL_ASSESSMENT", True)
    assert {review.reviewer_ref for review in lead.reviews} == set(signers)
    assert lead.probe_sha256 == found.submission.image.sha256
    assert {"similarity", "score", "rank"}.isdisjoint(lead.model_dump())
    outcome = await ended(talk, asked)
    assert outcome.outcome is Outcome.CONFIRMED
    assert set(outcome.model_dump()) == OUTCOME_FIELDS
    assert PERSON not in outcome.model_dump_json()
    assert case_system(chain, n=1) == [(str(lead.event_id), PERSON, lead.case_ref)]
    assert case_system(chain, n=1) == [(str(lead.event_id), PERSON, lead.case_ref)], "read again, kept once"


async def registered(talk: Talk, signers: dict[str, keys.Ed25519PrivateKey]) -> None:
    """Register these people; who only submits is not among them."""
    until = datetime.now(UTC) + timedelta(days=1)
    for name, key in signers.items():
        await talk.ledger.register(Reviewer(name, keys.public_text(key), until))


async def state(talk: Talk, submission_id: UUID) -> CaseState | None:
    case = await talk.ledger.case(submission_id)
    return case.state if case else None


def case_system(chain: Chain, *, n: int) -> list[tuple[str, str, str]]:
    """Run the reference subscriber from the topic's beginning until it has said so many lines; return what it kept."""
    database = chain.settings.data_dir / "leads.db"
    servers = chain.settings.kafka.bootstrap_servers or ""
    group = f"case-system-{uuid4()}"  # a new one each time, so that it reads all from the beginning
    command = [sys.executable, CASE_SYSTEM, "--bootstrap-servers", servers, "--database", database, "--group", group]
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True) as subscriber:
        assert subscriber.stdout
        for _ in range(n):
            subscriber.stdout.readline()
        subscriber.terminate()
    with sqlite3.connect(database) as kept:
        return kept.execute("SELECT ce_id, person_id, case_ref FROM leads").fetchall()


async def test_what_the_public_sent_is_held_until_people_decide_and_ends_without_a_lead_if_they_say_no(
    talk: Talk, signers: dict[str, keys.Ed25519PrivateKey]
) -> None:
    await registered(talk, signers)
    asked = await public_asks(talk, SMALL_COPY)
    found = await listed(talk, asked)

    for signer in signers.items():
        await decides(talk, found, signer, None)

    assert (await ended(talk, asked)).outcome is Outcome.NOT_CONFIRMED
    assert not leads(talk, asked)


async def test_the_units_picture_of_nobody_ends_with_no_face(talk: Talk) -> None:
    asked = await unit_asks(talk, NOBODY)

    assert (await ended(talk, asked)).outcome is Outcome.NO_FACE


async def test_a_search_that_finds_nobody_ends_as_an_honest_blank(talk: Talk) -> None:
    asked = await officer_asks(
        talk, PORTRAIT, purpose=Purpose.MISSING, regime=Regime.GENERAL, galleries=(GalleryName.MISSING,)
    )

    assert (await ended(talk, asked)).outcome is Outcome.NO_CANDIDATES
    assert await state(talk, asked) is CaseState.CLOSED


async def test_a_picture_that_is_cut_off_ends_as_unreadable(talk: Talk) -> None:
    asked = await officer_asks(talk, BAD_CAMERA[:6_000])

    outcome = await ended(talk, asked)
    assert outcome.outcome is Outcome.UNREADABLE
    assert "truncated or corrupt" in outcome.detail


async def test_of_two_people_the_one_that_somebody_points_at_is_sought(
    talk: Talk, signers: dict[str, keys.Ed25519PrivateKey]
) -> None:
    await registered(talk, signers)
    asked = await officer_asks(talk, TWO_PEOPLE)
    assert (await ended(talk, asked)).outcome is Outcome.SUBJECT_SELECTION_REQUIRED
    case = await talk.ledger.case(asked)
    assert case
    assert case.faces
    left = min(case.faces.faces, key=lambda box: box.x1)

    by, key = next(iter(signers.items()))
    words = SubjectChosen(
        occurred_at=datetime.now(UTC),
        submission_id=asked,
        reviewer_id=by,
        subject=left.centre,
        signature=UNSIGNED,
    )
    await talk.bus.publish([signing.seal(words, keys.sign_bytes(key, words.signed_bytes))])

    found = await listed(talk, asked)
    assert [candidate.person_id for candidate in found.candidates] == [PERSON]
    assert len(found.face.masks) == len(case.faces.faces) - 1


# --- many people ----------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def people() -> dict[str, tuple[bytes, bytes]]:
    """Two photographs of each of twenty-five people, by an opaque reference."""
    folders = sorted(TestData().test_data.glob("lfw_dev/*/"))
    several = [files for files in (sorted(folder.glob("*.jpg")) for folder in folders) if len(files) >= 6]
    assert len(several) >= 25
    return {f"person-{n}": (f[0].read_bytes(), f[1].read_bytes()) for n, f in enumerate(several[:25], start=100)}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def crowd(
    tmp_path_factory: pytest.TempPathFactory, people: dict[str, tuple[bytes, bytes]]
) -> AsyncIterator[Talk]:
    """A house whose gallery holds one photograph of each."""
    vision = VisionSettings(pack="retinaface-mobilenet", weights_dir=TestData().weights.resolve())
    starting = running(tmp_path_factory.mktemp("crowd"), vision=vision)
    chain, _ = await asyncio.to_thread(starting.__enter__)
    try:
        chain.start()
        async with chain.talking() as talk:
            await enrol(talk, {person: first for person, (first, _) in people.items()})
            yield talk
    finally:
        await asyncio.to_thread(starting.__exit__, None, None, None)


@pytest.mark.weights
async def test_people_are_found_by_another_photograph_of_them_and_nobody_is_taken_for_somebody_else(
    crowd: Talk, people: dict[str, tuple[bytes, bytes]]
) -> None:
    """A photograph of several people is sent back, with the question whom it is about; all others find the one."""
    not_enrolled = {(letter.key or b"").decode() for letter in crowd.ear.dead(topics.ENROLMENTS)}
    asked = {p: await officer_asks(crowd, second) for p, (_, second) in people.items() if p not in not_enrolled}
    assert len(asked) >= 20

    heard = crowd.ear
    await heard.until(lambda: all(heard.list_of(id_) or heard.outcome_of(id_) for id_ in asked.values()), within_s=120)
    lists = {person: found for person, id_ in asked.items() if (found := heard.list_of(id_))}
    firsts = {person: found.candidates[0].person_id for person, found in lists.items() if found.candidates}
    assert {person: first for person, first in firsts.items() if person != first} == {}
    assert len(firsts) >= 18
    sent_back = [outcome for p in asked.keys() - lists.keys() if (outcome := heard.outcome_of(asked[p]))]
    assert {outcome.outcome for outcome in sent_back} <= {Outcome.SUBJECT_SELECTION_REQUIRED}
