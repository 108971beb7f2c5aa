"""A case with one of everything, on record in a ledger and at its desk: what disclosures are tested on."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import builders
from builders import LATER, NOW

from rfr_stream import review
from rfr_stream.adapters.desk import SqlDesk
from rfr_stream.adapters.ledger import SqlLedger
from rfr_stream.desk import (
    GENESIS,
    Alert,
    AlertKind,
    Analysis,
    Entry,
    Examined,
    Look,
    Operation,
    Seen,
    Suitability,
    Visibility,
    in_order,
    link,
    order_seed,
)
from rfr_stream.disclosure import (
    Acknowledged,
    Analysed,
    Disclosure,
    Line,
    Search,
    Shown,
    Signer,
    Told,
    limits_of,
)
from rfr_stream.events import (
    CandidatesReady,
    Component,
    Event,
    Feature,
    Finding,
    Outcome,
    ReviewDecided,
    Submission,
    Support,
)
from rfr_stream.ports import Change, Seed, Transition

CASE: Final = "CR/2026/004417"
DESK_URL: Final = "https://desk.test"
MINUTE: Final = timedelta(minutes=1)
REVIEWERS: Final = ("reviewer-a", "reviewer-b")

_FOUND: Final = {
    Component.EARS: (Finding.SIMILAR, "attached lobe; the same notch in the helix"),
    Component.SCARS: (Finding.SIMILAR, "a scar of about 1 cm over the right brow"),
    Component.NOSE: (Finding.EXPLAINED, "wider in the probe; the lens is close"),
}
COMPARED: Final = tuple(
    Feature(component=each, finding=_FOUND[each][0], note=_FOUND[each][1])
    if each in _FOUND
    else Feature(component=each, finding=Finding.NOT_VISIBLE)
    for each in Component
)


def submission(name: str, case_ref: str = CASE) -> Submission:
    return builders.submission(
        name,
        case_ref=case_ref,
        legal_basis="investigation of a burglary",
        necessity="the only image of the person; every other line of inquiry is closed",
    )


def found(
    name: str, case_ref: str = CASE, *, people: Sequence[str] = ("person-1", "person-2", "person-3")
) -> CandidatesReady:
    return builders.candidates_ready(submission(name, case_ref), people=people)


LEAD: Final = found("probe")
BLANK: Final = found("blank", people=())
ABANDONED: Final = found("abandoned")
NO_FACE: Final = submission("no-face").submission_id


def decision(listed: CandidatesReady, by: str, **fields: Any) -> ReviewDecided:  # noqa: ANN401 - any field of it
    """Return a decision made at the desk: the order was the reviewer's own."""
    looked = builders.examination(order_seed=order_seed(listed, by))
    return builders.decision(listed, by=by, **{"examination": looked, "features": COMPARED, **fields})


def document() -> Disclosure:
    """Return what is disclosed of a lead that was withdrawn, made of values alone."""
    steps = [review.candidates_ready(LEAD, NOW)(None)]
    for by in REVIEWERS:
        steps.append(review.decided(decision(LEAD, by), builders.reviewer(by), NOW)(steps[-1].case))
    order = review.withdrawn(builders.withdrawal(LEAD.submission), builders.supervisor(), LATER)
    steps.append(order(steps[-1].case))
    told = tuple(_told(event) for step in steps for event in step.emit)
    leads = [each for each in told if each.type.startswith("rfr.identification-")]
    search = Search(
        case=steps[-1].case,
        analyses=tuple(Analysed(reviewer_id=by, version=1, at=NOW, analysis=analysis()) for by in REVIEWERS),
        shown=tuple(map(_shown, REVIEWERS)),
        told=told,
        acknowledged=tuple(Acknowledged(acknowledged=each.event_id, subscriber="cms", at=LATER) for each in leads),
    )
    people = [*map(builders.reviewer, REVIEWERS), builders.supervisor()]
    return Disclosure(
        about=CASE,
        desk_url=DESK_URL,
        searches=(search,),
        signers=tuple(Signer(reviewer_id=p.reviewer_id, duty=p.duty, public_key=p.public_key) for p in people),
        log=tuple(_log(3)),
        limits=limits_of([search]),
    )


def _told(event: Any) -> Told:  # noqa: ANN401 - of several kinds
    return Told(
        event_id=event.event_id,
        type=event.ce_type,
        event=event,
        refusal=None,
        refusal_message=None,
        published=True,
        published_at=LATER,
    )


def _shown(by: str) -> Shown:
    seed = order_seed(LEAD, by)
    order = tuple(each.person_id for each in in_order(LEAD, seed))
    return Shown(reviewer_id=by, order=order, examined=Examined(seed, NOW, {1: Look(5_000)}, sent_at=NOW))


def _log(count: int) -> Iterator[Line]:
    before, about = GENESIS, str(LEAD.submission.submission_id)
    for number in range(1, count + 1):
        entry = Entry(number, NOW, "reviewer-a", Operation.CONSULTATION, about, f"candidate {number}", "")
        entry = replace(entry, digest=link(before, entry))
        yield Line(entry=entry, before=before)
        before = entry.digest


async def fill(ledger: SqlLedger) -> None:
    """Put on record a lead that was withdrawn, a blank, a case that was given up, and one that showed no face."""
    for person in (*map(builders.reviewer, REVIEWERS), builders.supervisor()):
        await ledger.register(person)
    await lead(ledger)
    await apply(ledger, BLANK, review.candidates_ready(BLANK, NOW))
    await abandon(ledger)
    await refuse(ledger)
    await plant(ledger)
    await publish(ledger)


async def lead(ledger: SqlLedger, listed: CandidatesReady = LEAD) -> None:
    """Let two people name the same person, and a supervisor withdraw the lead."""
    desk, about = SqlDesk(ledger), listed.submission.submission_id
    await apply(ledger, listed, review.candidates_ready(listed, NOW))
    for by in REVIEWERS:
        said = decision(listed, by)
        await examine(desk, listed, by)
        await apply(ledger, said, review.decided(said, builders.reviewer(by), NOW))
        await desk.examinations.sent(about, by, said, NOW)
    hasty = Alert(NOW, AlertKind.TOO_FAST, "reviewer-b", about, "6 s for 3 candidates")
    await desk.examinations.alert(hasty)
    order = builders.withdrawal(listed.submission)
    await apply(ledger, order, review.withdrawn(order, builders.supervisor(), LATER))
    await publish(ledger)


async def abandon(ledger: SqlLedger) -> None:
    """Let one person draft something that nobody ever signs, until time ends the case."""
    desk, about = SqlDesk(ledger), ABANDONED.submission.submission_id
    await apply(ledger, ABANDONED, review.candidates_ready(ABANDONED, NOW))
    await examine(desk, ABANDONED, "reviewer-a")
    drafted = decision(ABANDONED, "reviewer-a", support=Support.LIMITED_DIFFERENT)
    await desk.examinations.draft(about, "reviewer-a", drafted)
    await ledger.apply([Change(about, about, review.expired(NOW + timedelta(days=30)))])


async def refuse(ledger: SqlLedger) -> None:
    """Let somebody decide on a submission before it turns out to show nobody."""
    early = builders.signed(decision(found("no-face"), "reviewer-a"), "reviewer-a")
    await apply(ledger, early, review.decided(early, builders.reviewer(), NOW))
    ended = builders.closed(Outcome.NO_FACE, submission_id=NO_FACE, case_ref=CASE)
    await apply(ledger, ended, review.closed(ended, NOW))


async def plant(ledger: SqlLedger) -> None:
    """Plant a known answer under the case's own reference: it belongs to no case all the same."""
    known = found("known-answer")
    await ledger.hold(builders.references_of(known))
    await ledger.plant([Seed(builders.image_submitted(known.submission), "person-1")])
    await apply(ledger, known, review.candidates_ready(known, NOW, seeded=True))


async def examine(desk: SqlDesk, listed: CandidatesReady, by: str) -> None:
    """Let a reviewer look at the probe, then at the candidates."""
    about, shown_at = listed.submission.submission_id, NOW - 2 * MINUTE
    await desk.log.write(by, Operation.CONSULTATION, str(about), "case taken up", shown_at - 2 * MINUTE)
    await desk.examinations.analyse(about, by, analysis(), shown_at - MINUTE)
    await desk.log.write(by, Operation.CONSULTATION, str(about), "candidates shown", shown_at)
    await desk.examinations.show(about, by, order_seed(listed, by), shown_at)
    looks = {1: Look(12_400, zoomed=True), 2: Look(3_000), 3: Look(2_100)}
    await desk.examinations.look(about, by, looks)


def analysis() -> Analysis:
    """Return what somebody wrote of a probe that shows most of a face."""
    notes = {Component.SKIN: "even light from the left", Component.EARS: "the left one, to the lobe"}
    hidden = {Component.NECK, Component.ALTERATIONS}
    seen = [
        Seen(
            component=each,
            visibility=Visibility.NOT_VISIBLE if each in hidden else Visibility.PARTLY,
            note=notes.get(each),
        )
        for each in Component
    ]
    return Analysis(suitability=Suitability.LIMITED, seen=tuple(seen), note="one frame of a compressed video")


async def publish(ledger: SqlLedger) -> None:
    """Say what is promised, and let the case system acknowledge it."""
    promised = [each.event for each in await ledger.unpublished(100)]
    await ledger.published([event.event_id for event in promised])
    told = [event for event in promised if event.ce_type.startswith("rfr.identification-")]
    await ledger.acknowledge([builders.acknowledged(event) for event in told])


async def apply(ledger: SqlLedger, event: Event, transition: Transition) -> None:
    (verdict,) = await ledger.apply([Change(_about(event), event.event_id, transition)])
    if isinstance(verdict, Exception):
        raise verdict


def _about(event: Any) -> UUID:  # noqa: ANN401 - of several kinds
    about: UUID = getattr(event, "submission", event).submission_id
    return about
