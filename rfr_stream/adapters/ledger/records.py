"""Rows of the ledger's tables to the values of the ports, and back."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final, TypeAlias
from uuid import UUID

from pydantic import BaseModel, TypeAdapter
from sqlalchemy import RowMapping

from rfr_stream.errors import BadImage, Malformed, MissingBlob, NotPermitted, Poisonous, Rejected
from rfr_stream.events import (
    BlobRef,
    CandidatesReady,
    CaseDisposed,
    Disposal,
    Event,
    FaceEmbedded,
    Found,
    GalleryName,
    IdentificationConfirmed,
    IdentificationWithdrawn,
    ImageSubmitted,
    ModelIdentity,
    Outcome,
    Regime,
    ReviewDecided,
    SearchEnded,
    Source,
    SubjectChosen,
    SubjectUnclear,
    SubmissionClosed,
    WithdrawalOrdered,
)
from rfr_stream.faces import Point
from rfr_stream.policy import urgency
from rfr_stream.ports import Case, CaseState, Conflict, Duty, Likeness, Outgoing, Reference, Reviewer, Seed
from rfr_stream.review import CAN_EXPIRE as WAITS

Row: TypeAlias = dict[str, Any]

_AS_THEY_ARE: Final = (
    *("reference_id", "person_id", "legal_basis", "source", "captured_at", "review_due", "restricted", "recorded_at"),
    *("age_at_capture", "case_ref"),
)
"""What of a reference stands in its row as it is."""
_PARKED: Final = TypeAdapter(tuple[ReviewDecided, ...])
_DISPOSED: Final = TypeAdapter(tuple[CaseDisposed, ...])
_NOT_DISPOSED: Final = "[]"
_SUBJECT: Final = TypeAdapter(Point)
_PROMISABLE: Final[dict[str, type[Event]]] = {
    contract.ce_type: contract
    for contract in (
        IdentificationConfirmed,
        IdentificationWithdrawn,
        ImageSubmitted,
        FaceEmbedded,
        SearchEnded,
        SubmissionClosed,
        ReviewDecided,
    )
}
_REFUSALS: Final[dict[str, type[Rejected]]] = {
    kind.reason: kind for kind in (Rejected, Malformed, BadImage, MissingBlob, NotPermitted, Poisonous)
}


def case_row(case: Case, before: Case | None) -> Row:
    """Return the row of a case; a list that the database has already is not sent again."""
    is_new = case.candidates and not (before and before.candidates)
    return {
        "submission_id": case.submission_id,
        "state": case.state.value,
        "opened_at": case.opened_at,
        "outcome": case.outcome.value if case.outcome else None,
        "demo": case.demo,
        "candidates": case.candidates.model_dump_json() if case.candidates and is_new else None,
        "parked": _PARKED.dump_json(case.parked).decode() if case.parked else "[]",
        "faces": _json(case.faces),
        "choice": _json(case.choice),
        "withdrawal": _json(case.withdrawal),
        "seeded": case.seeded,
        "case_ref": case.case_ref,
        **_queued(case),
    }


def _json(value: BaseModel | None) -> str | None:
    return value.model_dump_json() if value else None


def _queued(case: Case) -> Row:
    """Return what the queue sorts and filters by."""
    about = case.candidates or case.faces
    submission = about.submission if about else None
    return {
        "waits": case.state in WAITS,
        "urgency": urgency(submission) if submission else None,
        "source": submission.source.value if submission else None,
        "purpose": submission.purpose.value if submission else None,
        "submitted_by": submission.submitted_by if submission else None,
    }


def to_case(row: RowMapping, decisions: Sequence[str]) -> Case:
    """Return the case of a row, with the JSON of its decisions in order."""
    return Case(
        submission_id=row["submission_id"],
        state=CaseState(row["state"]),
        opened_at=row["opened_at"],
        candidates=CandidatesReady.model_validate_json(row["candidates"]) if row["candidates"] else None,
        decisions=tuple(map(ReviewDecided.model_validate_json, decisions)),
        parked=_PARKED.validate_json(row["parked"]),
        outcome=Outcome(row["outcome"]) if row["outcome"] else None,
        faces=SubjectUnclear.model_validate_json(row["faces"]) if row["faces"] else None,
        choice=SubjectChosen.model_validate_json(row["choice"]) if row["choice"] else None,
        withdrawal=WithdrawalOrdered.model_validate_json(row["withdrawal"]) if row["withdrawal"] else None,
        seeded=row["seeded"],
        demo=row["demo"],
        case_ref=row["case_ref"],
    )


def decision_rows(case: Case, before: Case | None) -> list[Row]:
    """Return the rows of the decisions that were added."""
    known = len(before.decisions) if before else 0
    return [
        {
            "submission_id": case.submission_id,
            "reviewer_id": decision.reviewer_id,
            "version": decision.version,
            "ordinal": ordinal,
            "person_id": decision.person_id,
            "body": decision.model_dump_json(),
        }
        for ordinal, decision in enumerate(case.decisions[known:], start=known)
    ]


def outgoing_row(submission_id: UUID, outgoing: Outgoing) -> Row:
    """Return the row of a promise.

    Raises:
        KeyError: the review does not promise this kind of event.

    """
    event, refusal = outgoing.event, outgoing.refusal
    return {
        "event_id": event.event_id,
        "submission_id": submission_id,
        "type": _PROMISABLE[event.ce_type].ce_type,
        "body": event.model_dump_json(),
        "refusal": refusal.reason if refusal else None,
        "refusal_message": str(refusal) if refusal else None,
    }


def to_outgoing(row: RowMapping) -> Outgoing:
    """Return the promise of a row."""
    event = _PROMISABLE[row["type"]].model_validate_json(row["body"])
    refusal = _REFUSALS[row["refusal"]](row["refusal_message"]) if row["refusal"] else None
    return Outgoing(event, refusal, again=row["published_at"] is not None)


def lead_row(lead: IdentificationConfirmed, found: CandidatesReady | None) -> Row:
    """Return the row of a lead that is given out: what it can be recalled by. Of no list, the database refuses it."""
    return {
        "submission_id": lead.submission_id,
        "lead_id": lead.event_id,
        "confirmed_at": lead.occurred_at,
        "case_ref": lead.case_ref,
        "person_id": lead.person_id,
        "reference_id": lead.reference_id,
        "gallery": lead.gallery.value,
        "threshold": found.threshold if found else None,
        **_model_columns("detector", lead.detector),
        **_model_columns("embedder", lead.embedder),
    }


def _model_columns(role: str, model: ModelIdentity) -> Row:
    return {f"{role}_{part}": getattr(model, part) for part in ("name", "version", "weights_sha256")}


def seed_row(seed: Seed) -> Row:
    """Return the row of a seed that waits for its turn."""
    return {
        "submission_id": seed.submission_id,
        "person_id": seed.person_id,
        "event": seed.event.model_dump_json(),
    }


def to_seed(row: RowMapping) -> Seed:
    """Return the seed of a row."""
    return Seed(ImageSubmitted.model_validate_json(row["event"]), row["person_id"])


def to_reviewer(row: RowMapping) -> Reviewer:
    """Return the registered person of a row."""
    return Reviewer(**{**row, "duty": Duty(row["duty"])})


def reference_row(reference: Reference) -> Row:
    """Return the row of a held reference."""
    return {
        **{name: getattr(reference, name) for name in _AS_THEY_ARE},
        "gallery": reference.gallery.value,
        "image": reference.image.model_dump_json(),
        "image_sha256": reference.image.sha256,
        "disposal": reference.disposal.value if reference.disposal else None,
        "door": reference.door.value if reference.door else None,
        "regime": reference.regime.value if reference.regime else None,
        "found": reference.found.model_dump_json() if reference.found else None,
        "disposed": disposed_text(reference.disposed),
        "subject": _SUBJECT.dump_json(reference.subject).decode() if reference.subject else None,
    }


def to_reference(row: Mapping[str, Any] | RowMapping) -> Reference:
    """Return the held reference of a row."""
    disposed = row["disposed"]
    return Reference(
        **{name: row[name] for name in _AS_THEY_ARE},
        gallery=GalleryName(row["gallery"]),
        image=BlobRef.model_validate_json(row["image"]),
        disposal=Disposal(row["disposal"]) if row["disposal"] else None,
        door=Source(row["door"]) if row["door"] else None,
        regime=Regime(row["regime"]) if row["regime"] else None,
        found=Found.model_validate_json(row["found"]) if row["found"] else None,
        disposed=() if disposed == _NOT_DISPOSED else _DISPOSED.validate_json(disposed),
        subject=_SUBJECT.validate_json(row["subject"]) if row["subject"] else None,
    )


def conflict_row(conflict: Conflict) -> Row:
    """Return the row of a conflict."""
    return {**asdict(conflict), "gallery": conflict.gallery.value, "likeness": conflict.likeness.value}


def to_conflict(row: RowMapping) -> Conflict:
    """Return the conflict of a row."""
    return Conflict(**{**row, "gallery": GalleryName(row["gallery"]), "likeness": Likeness(row["likeness"])})


def disposed_text(said: Sequence[CaseDisposed]) -> str:
    """Return what became of a person's cases as it stands beside each of their references."""
    return _DISPOSED.dump_json(tuple(said)).decode() if said else _NOT_DISPOSED


def disposal_row(said: CaseDisposed) -> Row:
    """Return the row of what became of a case."""
    return {
        "case_id": said.case_id,
        "person_id": said.person_id,
        "recorded_at": said.occurred_at,
        "event": said.model_dump_json(),
    }
