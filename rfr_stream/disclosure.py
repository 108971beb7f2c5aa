"""What is disclosed of a case: all that is on record, in one form that whoever gets it can check. Pure.

The form is closed and canonical, so that the same records always are the same bytes. It holds every search, those that
found nobody or that people gave up on included, and digests in the place of images and templates.
"""

import json
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Annotated, Final, Literal, TypeAlias
from uuid import UUID

from pydantic import Field, ValidationError

from rfr_stream import review
from rfr_stream.desk import GENESIS, Alert, Analysis, Entry, Examined, in_order, link, order_seed
from rfr_stream.errors import Malformed
from rfr_stream.events import (
    CAVEAT,
    FaceEmbedded,
    IdentificationConfirmed,
    IdentificationWithdrawn,
    ImageSubmitted,
    Instant,
    Prose,
    Ref,
    ReviewDecided,
    SearchEnded,
    Sha256,
    SignedAboutCase,
    SubmissionClosed,
    SubmissionEvent,
    Value,
    WithdrawalOrdered,
    canonical,
)
from rfr_stream.ports import Case, CaseState, Duty, Verifier

LIMITS: Final = (
    "A conclusion is its reviewer's own assessment, on a scale of words that is not calibrated. It is no probability.",
    "A similarity orders a list. It is no probability either, and the threshold decides who is on the list at all.",
    "Images, crops and templates are not in this bundle, only their SHA-256; whoever holds them can be asked for them.",
    "The access log is quoted where it is about this case, but for disclosures: each bundle would change the next one.",
    "Each line of the log can be checked by itself; that none is missing, only against the whole log.",
    "Whether a reviewer's training was in date was asked when each decision came; the register keeps its last date.",
    "Whether a reference was lawfully held was asked when each list was made. Its hold record is not in this bundle.",
    "Of a request that ended before any search, the ledger keeps no more than its id, its case and how it ended.",
    "A standing search that was asked again is a search of its own; what came and was too far off left no trace.",
    "A request that is still on its way is not on record yet.",
    "Submissions with known answers, which measure reviewers, are searches of no case, and are not in this bundle.",
)
"""What must be known of every bundle before it is relied on."""

NOT_EVALUATED: Final = (
    "No evaluation report is on record for any search in this bundle: how often this model, at this threshold and in "
    "galleries of this size, finds the wrong person or misses the right one, and how that differs between groups of "
    "people, is not known from this record."
)

STILL_OPEN: Final = "A search in this bundle is still open. This is not the last word on it."
_OPEN: Final = review.CAN_EXPIRE | {CaseState.AWAITING_CANDIDATES}

Promised: TypeAlias = (
    IdentificationConfirmed
    | IdentificationWithdrawn
    | SubmissionClosed
    | ImageSubmitted
    | FaceEmbedded
    | SearchEnded
    | ReviewDecided
)


# --- the document ---------------------------------------------------------------------------------------------------
class Analysed(Value):
    """One version of what a reviewer put on record of the probe alone."""

    reviewer_id: Ref
    version: Annotated[int, Field(ge=1)]
    at: Instant
    analysis: Analysis


class Shown(Value):
    """The list as one reviewer was shown it, and how they looked."""

    reviewer_id: Ref
    order: tuple[Ref, ...]
    """Persons, first to last; the seed in `examined` makes the same order of the list."""
    examined: Examined
    """Its draft stands here only if it never counted as a decision."""


class Told(Value):
    """What the review said to others; with a refusal, a decision that did not count, and went to the dead letters."""

    event_id: UUID
    type: str
    event: Promised
    refusal: str | None
    refusal_message: str | None
    published: bool
    published_at: Instant | None


class Acknowledged(Value):
    """Who has received what."""

    acknowledged: UUID
    subscriber: Ref
    at: Instant


class Search(Value):
    """One submission, and all that came of it."""

    case: Case
    analyses: tuple[Analysed, ...] = ()
    shown: tuple[Shown, ...] = ()
    told: tuple[Told, ...] = ()
    acknowledged: tuple[Acknowledged, ...] = ()
    alerts: tuple[Alert, ...] = ()


class Signer(Value):
    """A person who signed something in here, and the key that shows it."""

    reviewer_id: Ref
    duty: Duty
    public_key: str


class Line(Value):
    """A line of the access log, and the digest of the line before it, so that its own can be computed again."""

    entry: Entry
    before: Sha256


class Disclosure(Value):
    """Everything on record about one case, or about one submission of it."""

    format: Literal["rfr-disclosure-v1"] = "rfr-disclosure-v1"
    caveat: Literal["Possible lead. Not evidence of identity. Must be independently corroborated."] = CAVEAT
    about: Ref
    """A case's reference, or the id of one submission."""
    desk_url: str
    """Where people signed: a passkey's signature is bound to it."""
    searches: Annotated[tuple[Search, ...], Field(min_length=1)]
    signers: tuple[Signer, ...]
    log: tuple[Line, ...]
    limits: tuple[Prose, ...]

    @property
    def is_of_case(self) -> bool:
        """Whether it is about a whole case."""
        return self.about != str(self.searches[0].case.submission_id)

    @property
    def log_until(self) -> int:
        """Return the number of the last line quoted; with it the same bundle can be made again later."""
        return self.log[-1].entry.sequence if self.log else 0


def limits_of(searches: Sequence[Search]) -> tuple[str, ...]:
    """Return what must be known before any of this is relied on."""
    leads = [told.event for search in searches for told in search.told]
    evaluated = any(isinstance(lead, IdentificationConfirmed) and lead.evaluation_ref for lead in leads)
    is_open = any(search.case.state in _OPEN for search in searches)
    return (*((STILL_OPEN,) if is_open else ()), *(() if evaluated else (NOT_EVALUATED,)), *LIMITS)


def write(disclosure: Disclosure) -> bytes:
    """Return the one byte form."""
    return canonical(disclosure.model_dump(mode="json"))


def read(data: bytes) -> Disclosure:
    """Return the disclosure that these bytes are.

    Raises:
        Malformed: they are none, or not in the one form; the message names the place.

    """
    try:
        disclosure = Disclosure.model_validate_json(data)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        msg = f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
        raise Malformed(msg) from None
    if canonical(json.loads(data)) != data:
        msg = "not in canonical form"
        raise Malformed(msg)
    return disclosure


# --- checking it ----------------------------------------------------------------------------------------------------
def faults(disclosure: Disclosure, verifier: Verifier) -> Iterator[str]:
    """Yield what is not as it must be, in the order in which it is told; nothing: the record holds together.

    That a list has the digest it says is asked when the document is read: no list with another one can be made.
    """
    signers = {each.reviewer_id: each for each in disclosure.signers}
    for number, search in enumerate(disclosure.searches, start=1):
        case = search.case
        if disclosure.about not in {case.case_ref, str(case.submission_id)}:
            yield f"search {number}: is not about {disclosure.about}"
        if case.seeded:
            yield f"search {number}: has a known answer, and belongs to no case"
        for check in (_list_faults(case), _signature_faults(search, signers, verifier), _order_faults(search)):
            yield from (f"search {number}: {fault}" for fault in check)
        yield from (f"search {number}: {fault}" for fault in _told_faults(search))
    yield from _log_faults(disclosure.log)


def _list_faults(case: Case) -> Iterator[str]:
    for name, event in (("list", case.candidates), ("faces", case.faces)):
        if event and (event.submission.submission_id, event.submission.case_ref) != (case.submission_id, case.case_ref):
            yield f"{name}: of another submission"
    versions: dict[str, int] = {}
    for number, decision in enumerate(case.decisions, start=1):
        if case.candidates is None or decision.list_digest != case.candidates.list_digest:
            yield f"decision {number}: about another list"
        versions[decision.reviewer_id] = versions.get(decision.reviewer_id, 0) + 1
        if decision.version != versions[decision.reviewer_id]:
            yield f"decision {number}: a version of {decision.reviewer_id} is missing before it"


def _signature_faults(search: Search, signers: dict[str, Signer], verifier: Verifier) -> Iterator[str]:
    for name, said in signed_in(search):
        signer = signers.get(said.signer)
        duty = Duty.SUPERVISE if isinstance(said, WithdrawalOrdered) else Duty.REVIEW
        if said.submission_id != search.case.submission_id:
            yield f"{name}: about another submission"
        if signer is None or signer.duty is not duty:
            yield f"{name}: no key of {said.signer} that may sign it"
        elif not verifier.verify(signer.public_key, said):
            yield f"{name}: the signature is not {said.signer}'s signature of these words"


def signed_in(search: Search) -> Iterator[tuple[str, SignedAboutCase]]:
    """Yield everything that somebody signed, with what it is called."""
    case = search.case
    if case.choice:
        yield "choice of the subject", case.choice
    yield from ((f"decision {n}", decision) for n, decision in enumerate(case.decisions, start=1))
    yield from ((f"waiting decision {n}", decision) for n, decision in enumerate(case.parked, start=1))
    if case.withdrawal:
        yield "withdrawal", case.withdrawal
    for shown in search.shown:
        if shown.examined.draft and shown.examined.draft.is_signed:
            yield f"decision of {shown.reviewer_id} that never counted", shown.examined.draft
    for told in search.told:
        if isinstance(told.event, ReviewDecided):
            yield f"refused decision of {told.event.reviewer_id}", told.event


def _order_faults(search: Search) -> Iterator[str]:
    found = search.case.candidates
    for shown in search.shown:
        seed = order_seed(found, shown.reviewer_id) if found else None
        if seed is None or shown.examined.order_seed != seed:
            yield f"list as {shown.reviewer_id} saw it: the seed is not this reviewer's for this list"
        elif found and shown.order != tuple(each.person_id for each in in_order(found, seed)):
            yield f"list as {shown.reviewer_id} saw it: not the order that its seed makes"
    for number, decision in enumerate(search.case.decisions, start=1):
        looked = decision.examination
        if looked and found and looked.order_seed != order_seed(found, decision.reviewer_id):
            yield f"decision {number}: the seed is not this reviewer's for this list"


def _told_faults(search: Search) -> Iterator[str]:
    about, named = search.case.submission_id, {each.signature: each.person_id for each in search.case.decisions}
    for number, told in enumerate(search.told, start=1):
        event = told.event
        subject = event.submission.submission_id if isinstance(event, SubmissionEvent) else event.submission_id
        if (told.event_id, told.type, subject) != (event.event_id, event.ce_type, about):
            yield f"event {number}: its id is not the one that it derives, or it is about another submission"
        if isinstance(event, IdentificationConfirmed) and not all(
            named.get(review.signature, "not here") in {None, event.person_id} for review in event.reviews
        ):
            yield f"event {number}: a lead that rests on a decision which is not here, or names somebody else"
    ids = {told.event_id for told in search.told}
    for number, received in enumerate(search.acknowledged, start=1):
        if received.acknowledged not in ids:
            yield f"acknowledgement {number}: of an event which is not here"


def _log_faults(log: Sequence[Line]) -> Iterator[str]:
    for line in log:
        if line.entry.digest != link(line.before, line.entry) or (line.entry.sequence == 1) != (line.before == GENESIS):
            yield f"log line {line.entry.sequence}: does not follow from the line before it"
    for one, other in pairwise(log):
        gap = other.entry.sequence - one.entry.sequence
        if gap < 1 or (gap == 1 and other.before != one.entry.digest):
            yield f"log line {other.entry.sequence}: does not follow line {one.entry.sequence}"
