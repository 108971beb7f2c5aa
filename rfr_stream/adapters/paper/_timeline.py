"""What happened to one submission, in order of time, from everything on record that has a date."""

from collections.abc import Iterator
from datetime import datetime

from rfr_stream.adapters.paper._words import plain, stamp
from rfr_stream.desk import SUPPORT
from rfr_stream.disclosure import Search, Shown
from rfr_stream.events import (
    FaceEmbedded,
    IdentificationConfirmed,
    IdentificationWithdrawn,
    ImageSubmitted,
    ReviewDecided,
    SearchEnded,
)
from rfr_stream.ports import Case


def moments(search: Search) -> list[tuple[str, str, str]]:
    """Return when, who and what; of what happened in one moment, in the order in which it must have."""
    dated = [*_of_case(search.case), *_of_people(search), *_of_others(search)]
    return [(stamp(at), who, what) for at, who, what in sorted(dated, key=lambda row: row[0])]


def _of_case(case: Case) -> Iterator[tuple[datetime, str, str]]:
    about = case.candidates or case.faces
    if about:
        yield about.submission.submitted_at, about.submission.submitted_by, "submitted the image"
    if case.faces:
        yield case.faces.occurred_at, "machine", f"found {len(case.faces.faces)} faces, and asked which is meant"
    if case.choice:
        yield case.choice.occurred_at, case.choice.reviewer_id, "said which face is meant"
    if case.candidates:
        yield case.candidates.occurred_at, "machine", f"made a list of {len(case.candidates.candidates)}"
    yield case.opened_at, "ledger", "opened the case"


def _of_people(search: Search) -> Iterator[tuple[datetime, str, str]]:
    for each in search.analyses:
        yield each.at, each.reviewer_id, f"put an analysis of the probe on record, version {each.version}"
    for shown in search.shown:
        yield from _of_examination(shown)
    for decision in search.case.decisions:
        yield decision.occurred_at, decision.reviewer_id, f"signed version {decision.version}: {_concluded(decision)}"
    for alert in search.alerts:
        yield alert.at, "desk", f"alerted the supervisors: {plain(alert.kind)}, {alert.account_id}. {alert.detail}"


def _of_examination(shown: Shown) -> Iterator[tuple[datetime, str, str]]:
    examined = shown.examined
    if examined.shown_at:
        yield examined.shown_at, shown.reviewer_id, f"was shown the {len(shown.order)} candidates"
    if examined.sent_at:
        yield examined.sent_at, shown.reviewer_id, "sent a signed decision"
    if examined.revealed_at:
        yield examined.revealed_at, shown.reviewer_id, "was shown the scores"


def _of_others(search: Search) -> Iterator[tuple[datetime, str, str]]:
    if search.case.withdrawal:
        yield search.case.withdrawal.occurred_at, search.case.withdrawal.ordered_by, "ordered the lead withdrawn"
    for told in search.told:
        match told.event:
            case IdentificationConfirmed():
                what = f"gave out a lead to {told.event.person_id}"
            case IdentificationWithdrawn():
                what = f"withdrew the lead to {told.event.person_id}"
            case ImageSubmitted():
                what = "handed the submission in again, with the face that was chosen"
            case FaceEmbedded():
                what = "asked again: references that came later lie near the probe"
            case SearchEnded():
                what = "let the standing search lapse" if told.event.lapsed else "ended the standing search"
            case ReviewDecided():
                what = f"refused a decision of {told.event.reviewer_id}"
            case _:
                what = f"told the submitter: {plain(told.event.outcome).lower()}"
        yield told.event.occurred_at, "review", what
    for each in search.acknowledged:
        yield each.at, each.subscriber, "acknowledged what it had received"


def _concluded(decision: ReviewDecided) -> str:
    return SUPPORT[decision.support] + (f" ({decision.person_id})" if decision.person_id else "")
